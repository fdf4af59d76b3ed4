"""The executor for a GPU: CuPy loads, allocates and launches; NVRTC compiles, with what it made kept on disk.

In: nothing. Out: ``find()``, the first device as an ``Executor``, or ``MissingDevice``. CuPy is imported here alone, when a
device is asked for. Modules are compiled by ``nvrtc.py`` and not by CuPy, which would flush denormal numbers to zero; launches
go to the driver's own functions, so that every argument is a 64-bit integer and no grid is made smaller unasked.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import cache as kept
from ..artifact import BLOCK_THREADS
from . import nvrtc
from .driver import Machine, MissingDevice, machine
from .executor import DeviceFailed, Launch, Region

INSTALL = 'pip install "netc[cuda]"'
USUAL_SHARED = 48 * 1024
"""Dynamic shared memory that a kernel may have without asking for more."""
OUT_OF_MEMORY = 2
"""CUDA's number for it, cudaErrorMemoryAllocation."""


@cache
def find() -> Device:
    """The first device. Raises MissingDevice, naming the first thing that is not as it must be."""
    found = machine()
    if not found.cooperative:
        message = f"{found.name} cannot run blocks that wait for each other"
        raise MissingDevice(message, "a device from 2016 or later is needed")
    cupy = import_cupy()
    compiler = checked_compiler(found)
    _start(cupy, found)
    return Device(cupy, found, compiler)


def import_cupy() -> Any:
    """CuPy; raises MissingDevice."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        said = str(error).strip().split("\n")[0]
        raise MissingDevice(f"CuPy, which reaches the device, cannot be imported ({said})", INSTALL) from None


def _start(cupy: Any, found: Machine) -> None:
    """Makes a context on the device."""
    try:
        cupy.cuda.Device(0).use()
        cupy.cuda.runtime.deviceSynchronize()
    except (cupy.cuda.runtime.CUDARuntimeError, RuntimeError) as error:
        number = int(cupy.cuda.runtime.runtimeGetVersion())
        wanted, has = (number // 1000, number % 1000 // 10), found.version
        if wanted[0] > has[0]:
            message = f"the NVIDIA driver serves CUDA {has[0]}.{has[1]}, the installed CuPy needs {wanted[0]}.{wanted[1]}"
            help = (
                f"update the driver, or install CuPy for the driver's version: pip install cupy-cuda{has[0]}x"
            )
            raise MissingDevice(message, help) from None
        message = f"the device does not start ({error})"
        raise MissingDevice(message, "`nvidia-smi` shows its state and who is using it") from None


def checked_compiler(found: Machine) -> tuple[int, int]:
    """The version of NVRTC, which must know the device's architecture; raises MissingDevice."""
    try:
        version, known = nvrtc.version(), nvrtc.architectures()
    except nvrtc.MissingCompiler as error:
        raise MissingDevice(str(error), INSTALL) from None
    needed = found.architecture
    if needed not in known:
        newer = "pip install -U nvidia-cuda-nvrtc"
        older = "the device is too old for it; an earlier one may know it: pip install nvidia-cuda-nvrtc-cu12"
        message = f"NVRTC {version[0]}.{version[1]} makes code for sm_{known[0]} to sm_{known[-1]}, {found.name} needs sm_{needed}"
        raise MissingDevice(message, newer if needed > known[-1] else older)
    return version


class Device:
    """One GPU. All launches and copies go through one stream, in their order, from whatever thread."""

    threads = BLOCK_THREADS

    def __init__(self, cupy: Any, found: Machine, compiler: tuple[int, int]) -> None:
        self.cupy, self.machine, self.compiler = cupy, found, compiler
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._failures = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._functions: dict[tuple[int, str], int] = {}
        self._roomy: dict[int, int] = {}
        self._thread = threading.local()

    def _asked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the driver; every thread must have chosen the device once. Raises DeviceFailed, MemoryError."""
        try:
            if not getattr(self._thread, "ready", False):
                self.cupy.cuda.Device(0).use()
                self._thread.ready = True
            return call(*arguments)
        except self._failures as error:
            if getattr(error, "status", None) == OUT_OF_MEMORY:
                raise MemoryError(str(error)) from None
            raise DeviceFailed(str(error)) from None

    def free_bytes(self) -> int:
        free, _ = self._asked(self.cupy.cuda.runtime.memGetInfo)
        return int(free)

    def allocate(self, size: int) -> Region:
        memory = self._asked(self.cupy.cuda.memory.Memory, max(size, 1))
        return Region(int(memory.ptr), size, memory)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        self._copy(address, array.ctypes.data, array.nbytes, self.cupy.cuda.runtime.memcpyHostToDevice)

    def download(self, array: NDArray[Any], address: int) -> None:
        self._copy(array.ctypes.data, address, array.nbytes, self.cupy.cuda.runtime.memcpyDeviceToHost)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        """The host's memory may change or go as soon as this returns, so that the copy must have ended."""
        if size:
            self._asked(self.cupy.cuda.runtime.memcpyAsync, target, source, size, kind, self.stream.ptr)
            self._asked(self.stream.synchronize)

    def load(self, text: str) -> int:
        """The handle of a module, which is never unloaded."""
        architecture = f"sm_{self.machine.architecture}"
        name = kept.key(text, architecture, f"nvrtc {self.compiler}", *nvrtc.OPTIONS)
        code = kept.cached(name, lambda: nvrtc.compile_text(text, architecture)[0])
        return int(self._asked(self.cupy.cuda.driver.moduleLoadData, code))

    def _function(self, module: int, entry: str, shared: int) -> int:
        driver = self.cupy.cuda.driver
        if (module, entry) not in self._functions:
            self._functions[module, entry] = self._asked(driver.moduleGetFunction, module, entry)
        function = self._functions[module, entry]
        if shared > self._roomy.get(function, USUAL_SHARED):
            attribute = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._asked(driver.funcSetAttribute, function, attribute, shared)
            self._roomy[function] = shared
        return function

    def most_blocks(self, module: int, entry: str, shared: int) -> int:
        function = self._function(module, entry, shared)
        count = self.cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
        return max(1, int(self._asked(count, function, self.threads, shared))) * self.machine.processors

    def launch(
        self,
        module: int,
        entry: str,
        blocks: int,
        shared: int,
        arguments: Sequence[int],
        *,
        alone: bool = False,
    ) -> None:
        launch = Launch(module, entry, blocks, shared, tuple(arguments))
        self._start(launch, self.stream, together=blocks > 1 and not alone)

    def _start(self, launch: Launch, stream: Any, *, together: bool) -> None:
        """together: its blocks wait for each other. The driver reads the arguments before it returns."""
        driver, function = self.cupy.cuda.driver, self._function(launch.module, launch.entry, launch.shared)
        values = np.array(launch.arguments, np.int64)
        pointers = values.ctypes.data + 8 * np.arange(len(values), dtype=np.int64)
        shape = (launch.blocks, 1, 1, self.threads, 1, 1, launch.shared, stream.ptr, pointers.ctypes.data)
        if together:
            self._asked(driver.launchCooperativeKernel, function, *shape)
        else:
            self._asked(driver.launchKernel, function, *shape, 0)

    def record(self, launches: Sequence[Launch]) -> Any:
        """Captured from a stream of its own, so that what other threads ask for meanwhile gets into no graph."""
        for launch in launches:
            self._function(launch.module, launch.entry, launch.shared)  # loading may be no part of a capture
        stream = self._asked(lambda: self.cupy.cuda.Stream(non_blocking=True))
        self._asked(stream.begin_capture)
        try:
            for launch in launches:
                self._start(launch, stream, together=False)
        except BaseException:
            with suppress(DeviceFailed, MemoryError):
                self._asked(stream.end_capture)
            raise
        return self._asked(stream.end_capture)

    def replay(self, graph: Any, times: int) -> None:
        for _ in range(times):
            self._asked(graph.launch, self.stream)


__all__ = ["Device", "checked_compiler", "find", "import_cupy"]
