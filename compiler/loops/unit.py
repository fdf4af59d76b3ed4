"""A lowered graph: its kernels in order, its buffers, and where they lie in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .ir import Buffer, Scheduled


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Work memory: a buffer lies at ``fixed + per_row * capacity`` bytes, the arena has as many of both."""

    offsets: Mapping[str, tuple[int, int]]
    fixed_bytes: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class Unit:
    """``inputs`` and ``outputs`` map names to the buffers that hold them; layers: the layer of what a buffer holds, by the
    buffer's name."""

    name: str
    kernels: tuple[Scheduled, ...]
    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]
    memory: MemoryPlan
    layers: Mapping[str, str] = field(default_factory=dict)
