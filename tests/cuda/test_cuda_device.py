"""The executor for a GPU against an imitation of CuPy: what reaches the driver, and what its errors become.

The imitation has the functions of CuPy 14 with their arguments; memory is the host's, launches are written down.
"""

from __future__ import annotations

import ctypes
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netc.runtime.artifact import BLOCK_THREADS
from netc.runtime.cuda.device import OUT_OF_MEMORY, USUAL_SHARED, Device
from netc.runtime.cuda.driver import Machine
from netc.runtime.cuda.executor import DeviceFailed, Launch

MACHINE = Machine((13, 0), 1, "Example 9000", (9, 0), 132, 2**34, True)
FUNCTION = 77


class Failure(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Stream:
    """What is launched between ``begin_capture`` and ``end_capture`` makes a graph."""

    def __init__(self, cuda: Imitation, ptr: int) -> None:
        self.cuda, self.ptr = cuda, ptr

    def synchronize(self) -> None:
        self.cuda.calls.append(("synchronize", ()))

    def begin_capture(self) -> None:
        self.cuda.calls.append(("begin", (self.ptr,)))

    def end_capture(self) -> Any:
        self.cuda.calls.append(("end", (self.ptr,)))
        if self.cuda.status:
            raise Failure(900)
        return SimpleNamespace(launch=lambda stream: self.cuda.calls.append(("graph", (stream.ptr,))))


class Imitation:
    """``cupy.cuda``: calls are kept as (function, arguments); a launch with the values that its pointers lead to."""

    CUDARuntimeError = CUDADriverError = Failure
    memcpyHostToDevice, memcpyDeviceToHost = 1, 2
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.runtime = self.driver = self.memory = self
        self.status = 0
        self.used: list[int] = []
        self.streams = 0

    def Device(self, number: int) -> Any:
        return SimpleNamespace(use=lambda: self.used.append(threading.get_ident()))

    def Stream(self, non_blocking: bool) -> Any:
        self.streams += 1
        return Stream(self, 4 + self.streams)

    def Memory(self, size: int) -> Any:
        if self.status:
            raise Failure(self.status)
        raw = np.zeros(size, np.uint8)
        return SimpleNamespace(ptr=raw.ctypes.data, raw=raw)

    def memcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        self.calls.append(("copy", (size, kind, stream)))
        ctypes.memmove(target, source, size)

    def moduleGetFunction(self, module: int, name: str) -> int:
        self.calls.append(("function", (module, name)))
        return FUNCTION

    def funcSetAttribute(self, function: int, attribute: int, value: int) -> None:
        self.calls.append(("attribute", (function, attribute, value)))

    def occupancyMaxActiveBlocksPerMultiprocessor(self, function: int, threads: int, shared: int) -> int:
        return 2

    def launchKernel(self, *given: int) -> None:
        *shape, pointers, extra = given
        assert extra == 0
        self._launch("plain", shape, pointers)

    def launchCooperativeKernel(self, *given: int) -> None:
        *shape, pointers = given
        self._launch("cooperative", shape, pointers)

    def _launch(self, kind: str, shape: list[int], pointers: int) -> None:
        if self.status:
            raise Failure(self.status)
        places = (ctypes.c_void_p * 4).from_address(pointers)
        self.calls.append((kind, (*shape, [ctypes.c_int64.from_address(p or 0).value for p in places])))


@pytest.fixture
def cuda() -> Imitation:
    return Imitation()


@pytest.fixture
def device(cuda: Imitation) -> Device:
    return Device(SimpleNamespace(cuda=cuda), MACHINE, (13, 0))


def test_every_argument_is_an_integer_of_64_bits(device: Device, cuda: Imitation) -> None:
    given = [2**62 + 1, -3, 0, 2**40]
    for blocks, alone, kind in ((1, False, "plain"), (264, False, "cooperative"), (9000, True, "plain")):
        device.launch(9, "netc_step", blocks, 1000, given, alone=alone)
        assert cuda.calls[-1] == (kind, (FUNCTION, blocks, 1, 1, BLOCK_THREADS, 1, 1, 1000, 5, given))
    assert [c for c in cuda.calls if c[0] == "function"] == [("function", (9, "netc_step"))]
    assert device.most_blocks(9, "netc_step", 1000) == 2 * 132


def test_much_shared_memory_is_asked_for_as_often_as_it_grows(device: Device, cuda: Imitation) -> None:
    for shared in (USUAL_SHARED, USUAL_SHARED + 8, USUAL_SHARED + 4, 2 * USUAL_SHARED):
        device.launch(9, "netc_step", 1, shared, [0, 0, 0, 0])
    asked = [arguments for name, arguments in cuda.calls if name == "attribute"]
    assert asked == [(FUNCTION, 8, USUAL_SHARED + 8), (FUNCTION, 8, 2 * USUAL_SHARED)]


def test_copies_have_ended_when_they_return(device: Device, cuda: Imitation) -> None:
    region, array, back = device.allocate(24), np.arange(3.0), np.zeros(3)
    device.upload(region.address, array)
    device.download(back, region.address)
    assert back.tolist() == [0, 1, 2]
    copies = [("copy", (24, 1, 5)), ("synchronize", ()), ("copy", (24, 2, 5)), ("synchronize", ())]
    assert cuda.calls == copies
    device.upload(region.address, array[:0])
    assert cuda.calls == copies


def test_each_thread_chooses_the_device_once(device: Device, cuda: Imitation) -> None:
    for _ in range(2):
        device.allocate(8)
    other = threading.Thread(target=device.allocate, args=(8,))
    other.start()
    other.join()
    assert len(cuda.used) == 2


def test_errors_of_the_driver(device: Device, cuda: Imitation) -> None:
    cuda.status = OUT_OF_MEMORY
    with pytest.raises(MemoryError):
        device.allocate(8)
    cuda.status = 700
    with pytest.raises(DeviceFailed, match="status 700"):
        device.launch(9, "netc_step", 1, 0, [0, 0, 0, 0])


def test_a_graph_is_captured_from_a_stream_of_its_own(device: Device, cuda: Imitation) -> None:
    """As plain launches, whatever their blocks: none of them waits for another. Functions are loaded before."""
    graph = device.record(
        [Launch(9, name, blocks, 64, (7, blocks, 0, 0)) for name, blocks in (("a", 1), ("b", 3))]
    )
    names = [name for name, _ in cuda.calls]
    assert names == ["function", "function", "begin", "plain", "plain", "end"]
    assert cuda.calls[2:] == [
        ("begin", (6,)),
        ("plain", (FUNCTION, 1, 1, 1, BLOCK_THREADS, 1, 1, 64, 6, [7, 1, 0, 0])),
        ("plain", (FUNCTION, 3, 1, 1, BLOCK_THREADS, 1, 1, 64, 6, [7, 3, 0, 0])),
        ("end", (6,)),
    ]
    cuda.calls.clear()
    device.replay(graph, 3)
    assert cuda.calls == [("graph", (5,))] * 3


def test_a_launch_that_fails_ends_the_capture(device: Device, cuda: Imitation) -> None:
    cuda.status = 1
    with pytest.raises(DeviceFailed, match="status 1"):
        device.record([Launch(9, "a", 1, 64, (0, 0, 0, 0))])
    assert [name for name, _ in cuda.calls] == ["function", "begin", "end"]
