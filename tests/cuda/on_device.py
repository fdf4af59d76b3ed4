"""The tests' bodies on a real device: what stands for ``Emulator``, and what stands for ``netc``, so that they reach a GPU.

Out: ``OnDevice``, an executor that counts its launches as the emulator does; ``OnCuda``, netc whose models compute on the
device unless they are told otherwise; ``bodies_of``, the bodies of a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from emulator import FORWARD, MIXED

import netc
from netc.runtime.cuda import device

ALL = 2**30
find = device.find
"""As it is before a test puts another one in its place."""


class OnDevice:
    """The device of this machine, made by what makes an emulator. blocks: of a grid, at most; for the mixed order as many as
    the device holds; once it was asked, what it said last. memory: what counts as free, at most. Threads are as many as code for a GPU is made for, and take turns
    as they like. Whatever else is asked, the device answers itself."""

    def __init__(self, threads: int = 64, blocks: int = 3, order: int = FORWARD, memory: int = 2**62) -> None:
        self.device: Any = find()
        self.most = ALL if order == MIXED else blocks
        self.blocks, self.memory = blocks, memory
        self.launches: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    def free_bytes(self) -> int:
        return min(int(self.device.free_bytes()), self.memory)

    def most_blocks(self, module: Any, entry: str, shared: int) -> int:
        self.blocks = min(int(self.device.most_blocks(module, entry, shared)), self.most)
        return self.blocks

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
        self.launches.append((entry, blocks))
        self.device.launch(module, entry, blocks, shared, arguments, alone=alone)

    def record(self, launches: Sequence[Any]) -> Any:
        return [(x.entry, x.blocks) for x in launches], self.device.record(launches)

    def replay(self, graph: Any, times: int) -> None:
        entries, recorded = graph
        self.launches += entries * times
        self.device.replay(recorded, times)


class OnCuda:
    """The package netc; ``compile`` makes models that compute on the device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(netc, name)

    def compile(self, *given: Any, **named: Any) -> Any:
        return netc.compile(*given, **{"device": "cuda", **named})


def bodies_of(module: ModuleType, *without: str) -> dict[str, Callable[..., Any]]:
    """The test functions that a module defines, by name, but for those whose names hold one of the words. Raises
    LookupError for a word that none of them holds."""
    own = {
        name: body
        for name, body in vars(module).items()
        if name.startswith("test_") and getattr(body, "__module__", "") == module.__name__
    }
    for word in without:
        if not any(word in name for name in own):
            raise LookupError(f"no test of {module.__name__} has {word} in its name")
    return {n: body for n, body in own.items() if not any(word in n for word in without)}


__all__ = ["OnCuda", "OnDevice", "bodies_of", "find"]
