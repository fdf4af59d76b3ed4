"""What a device is to the runtime: memory, modules and launches, behind one interface.

``device.py`` fills it with CuPy for a GPU; the tests fill it with an emulator on the CPU. All else in this folder is
the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes on the device, alive as long as this is. The address is divisible by 64."""

    address: int
    size: int
    owner: Any


@dataclass(frozen=True, slots=True)
class Launch:
    """An entry of a loaded module, on so many blocks with so many bytes of shared memory. arguments: integers and addresses."""

    module: Any
    entry: str
    blocks: int
    shared: int
    arguments: tuple[int, ...]


class DeviceFailed(RuntimeError):
    """The device or its driver reports an error, after which it takes no more work from this process."""


class Executor(Protocol):
    """A device. All methods may raise DeviceFailed. Launches run one behind the other, in the order they are asked for."""

    threads: int
    """Threads of every block that it starts; a module is written for so many."""

    def free_bytes(self) -> int:
        """How much memory can still be allocated."""

    def allocate(self, size: int) -> Region:
        """So many bytes of memory; what it holds is not defined. Raises MemoryError when there are not so many."""

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copies a contiguous array to the device."""

    def download(self, array: NDArray[Any], address: int) -> None:
        """Fills a contiguous array from the device, once all launches before have ended."""

    def load(self, text: str) -> Any:
        """The module that a CUDA C++ text makes."""

    def most_blocks(self, module: Any, entry: str, shared: int) -> int:
        """How many blocks of an entry the device holds at once."""

    def launch(
        self,
        module: Any,
        entry: str,
        blocks: int,
        shared: int,
        arguments: Sequence[int],
        *,
        alone: bool = False,
    ) -> None:
        """Starts an entry: no more than ``most_blocks`` blocks, all at once; any number of them, in any order, where each
        works alone. arguments: integers and addresses."""

    def record(self, launches: Sequence[Launch]) -> Any:
        """A graph of launches, which is kept by what is returned. Each begins when the one before it has ended; within one
        no block may wait for another. Raises MemoryError when there is no room for it."""

    def replay(self, graph: Any, times: int) -> None:
        """Starts the launches of a graph, so many times over."""


__all__ = ["DeviceFailed", "Executor", "Launch", "Region"]
