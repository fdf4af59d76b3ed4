"""A lowered graph: its kernels in order, its buffers, and where they lie in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .ir import Buffer, Scheduled
from .patterns import Call


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Work memory: a buffer lies at ``fixed + per_row * capacity`` bytes, the arena has as many of both."""

    offsets: Mapping[str, tuple[int, int]]
    fixed_bytes: int
    row_bytes: int


@dataclass(frozen=True)
class Unit:
    """``inputs`` and ``outputs`` map names to the buffers that hold them; layers: the layer of what a buffer holds, by the
    buffer's name."""

    name: str
    calls: tuple[Call, ...]
    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]
    memory: MemoryPlan
    layers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def kernels(self) -> tuple[Scheduled, ...]:
        """The kernels in order, each on its own buffers."""
        return tuple(call.made() for call in self.calls)
