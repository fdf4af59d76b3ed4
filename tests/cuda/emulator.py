"""An executor on the CPU: CUDA C++ compiled by g++, each CUDA thread a fiber (``emulator.h``).

In: the text of a module, as for a GPU. Out: the same results, in any order of threads and blocks that is asked for. Fresh
memory holds NaN, so that what was never written is seen. Fails, and does not skip, where there is no g++.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netc.grammar.cachedir import cache_directory
from netc.runtime.cuda.executor import Launch, Region

HEADER = Path(__file__).parent / "emulator.h"
OPTIONS = ("-std=c++17", "-O0", "-fPIC", "-shared", "-w", "-ffp-contract=off", "-fno-strict-aliasing")
FORWARD, BACKWARD, MIXED = range(3)
"""Orders in which threads and blocks take turns."""


class SynchronisationError(AssertionError):
    """A barrier was not reached by all of its threads, or blocks wait for ever."""


@dataclass
class Emulator:
    """blocks: how many the pretended device holds at once. threads: of a block, a multiple of 32."""

    threads: int = 64
    blocks: int = 3
    order: int = FORWARD
    memory: int = 2**62
    launches: list[tuple[str, int]] = field(default_factory=list)

    def free_bytes(self) -> int:
        return self.memory

    def allocate(self, size: int) -> Region:
        raw = np.full(size + 64, 0xFF, np.uint8)
        start = -raw.ctypes.data % 64
        return Region(raw.ctypes.data + start, size, raw)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: NDArray[Any], address: int) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def load(self, text: str) -> ctypes.CDLL:
        return ctypes.CDLL(str(built(text)))

    def most_blocks(self, module: ctypes.CDLL, entry: str, shared: int) -> int:
        return self.blocks

    def launch(
        self,
        module: ctypes.CDLL,
        entry: str,
        blocks: int,
        shared: int,
        arguments: Sequence[int],
        *,
        alone: bool = False,
    ) -> None:
        launch = Launch(module, entry, blocks, shared, tuple(arguments))
        assert alone or blocks <= self.blocks
        self._run(launch, together=not alone)

    def record(self, launches: Sequence[Launch]) -> tuple[Launch, ...]:
        return tuple(launches)

    def replay(self, graph: tuple[Launch, ...], times: int) -> None:
        for launch in graph * times:
            assert launch.blocks <= self.blocks
            self._run(launch, together=False)

    def _run(self, launch: Launch, *, together: bool) -> None:
        """together: blocks may wait for each other."""
        module, entry, blocks, shared = launch.module, launch.entry, launch.blocks, launch.shared
        assert blocks >= 1
        self.launches.append((entry, blocks))
        given = (ctypes.c_longlong * 4)(*launch.arguments)
        emulate = module.emulate
        emulate.restype = ctypes.c_char_p
        emulate.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_uint] * 2,
            ctypes.c_size_t,
            ctypes.c_void_p,
            *[ctypes.c_int] * 2,
        ]
        kernel = ctypes.cast(getattr(module, entry), ctypes.c_void_p)
        problem = emulate(kernel, blocks, self.threads, shared, given, self.order, together)
        if problem is not None:
            raise SynchronisationError(f"{entry}: {problem.decode()}")


def built(text: str) -> Path:
    """The library that g++ makes of a module's text; kept, so that each text is compiled once."""
    compiler = os.environ.get("CXX") or shutil.which("g++")
    assert compiler, "the CUDA tests run emitted code on the CPU and need g++ (Debian: apt install g++)"
    whole = HEADER.read_text(encoding="utf-8") + text
    folder = cache_directory() / "emulator"
    path = folder / (hashlib.sha256(whole.encode()).hexdigest()[:32] + ".so")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            source, made = Path(place) / "module.cpp", Path(place) / "module.so"
            source.write_text(whole, encoding="utf-8")
            command = [compiler, *OPTIONS, str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"bug in netc: g++ refuses emitted code\n{done.stderr[:4000]}"
            made.replace(path)
    return path
