"""One piece of device memory for a whole training run, or for several, planned before it is allocated.

In: the sizes of its parts, by name. Out: their addresses; or ``NotEnough`` with the numbers, before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..memory import gib
from .executor import Executor, Region

ALIGNMENT = 256


class NotEnough(MemoryError):
    """The device has less memory than is needed. parts: bytes by what they are for."""

    def __init__(self, parts: Mapping[str, int], free: int) -> None:
        self.parts, self.free, self.needed = dict(parts), free, sum(parts.values())
        super().__init__(f"{gib(self.needed)} of device memory are needed, {gib(free)} are free")


def allocate(executor: Executor, purpose: str, size: int) -> Region:
    """Memory for one purpose; raises NotEnough where there is too little."""
    free = executor.free_bytes()
    if size > free:
        raise NotEnough({purpose: size}, free)
    try:
        return executor.allocate(size)
    except MemoryError:
        raise NotEnough({purpose: size}, executor.free_bytes()) from None


class Arena:
    """sizes: bytes of each part by ``<what it is for>.<name>``, of a task's own part with ``@<its number>`` behind."""

    def __init__(self, executor: Executor, sizes: Mapping[str, int]) -> None:
        self.executor = executor
        self.offsets: dict[str, int] = {}
        kinds: dict[str, int] = {}
        at = 0
        for name, size in sizes.items():
            self.offsets[name] = at
            room = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
            kind = name.split("@")[0].split(".")[0]
            kinds[kind] = kinds.get(kind, 0) + room
            at += room
        free = executor.free_bytes()
        if at > free:
            raise NotEnough(kinds, free)
        try:
            self.region = executor.allocate(at)
        except MemoryError:  # taken by another process since, or in too many pieces
            raise NotEnough(kinds, executor.free_bytes()) from None

    def address(self, name: str) -> int:
        return self.region.address + self.offsets[name]

    def upload(self, name: str, array: NDArray[Any]) -> None:
        self.executor.upload(self.address(name), array)

    def download(self, array: NDArray[Any], name: str, offset: int = 0) -> None:
        self.executor.download(array, self.address(name) + offset)


class Share:
    """What one of several tasks sees of an arena: parts of its own, under names with its number behind them, and parts that
    are common to all, which only the first task fills."""

    def __init__(self, arena: Arena, number: int) -> None:
        self.arena, self.number = arena, number
        own = f"@{number}"
        self.offsets = {
            n.removesuffix(own): at for n, at in arena.offsets.items() if "@" not in n or n.endswith(own)
        }

    def address(self, name: str) -> int:
        return self.arena.region.address + self.offsets[name]

    def upload(self, name: str, array: NDArray[Any]) -> None:
        if self.number == 0 or name not in self.arena.offsets:
            self.arena.executor.upload(self.address(name), array)

    def download(self, array: NDArray[Any], name: str, offset: int = 0) -> None:
        self.arena.executor.download(array, self.address(name) + offset)


__all__ = ["Arena", "NotEnough", "Share", "allocate"]
