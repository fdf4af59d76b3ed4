"""The memory plan: every work buffer's place in one arena, reused when its lifetime is over.

Buffers of observations lie in a region that grows with the capacity (in rows, a multiple of 16), the others in a
fixed one. Each region is filled first-fit by lifetime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import ROWS
from .ir import Buffer, Kernel, Loop, Space
from .rewrite import reads
from .unit import MemoryPlan

ALIGNMENT = 64


def row_bytes(buffer: Buffer) -> tuple[int, bool]:
    """Bytes of the buffer (of one row, if it holds observations), and whether it does."""
    return buffer.elements * buffer.dtype.itemsize, ROWS in buffer.shape


def plan_memory(kernels: Sequence[Kernel | Loop], outputs: Mapping[str, Buffer]) -> MemoryPlan:
    """Offsets of all work buffers that the kernels touch."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for step, kernel in enumerate(kernels):
        for buffer in (*reads(kernel), *(s.buffer for s in kernel.stores)):
            if buffer.space is Space.work:
                first.setdefault(buffer, step)
                last[buffer] = step
    for buffer in outputs.values():
        if buffer.space is Space.work:
            last[buffer] = len(kernels)
    offsets: dict[str, tuple[int, int]] = {}
    sizes = []
    for per_row in (False, True):
        chosen = sorted((b for b in first if row_bytes(b)[1] == per_row), key=lambda b: first[b])
        sizes.append(_place(chosen, first, last, offsets, per_row))
    return MemoryPlan(offsets, sizes[0], sizes[1])


def _place(
    buffers: list[Buffer],
    first: Mapping[Buffer, int],
    last: Mapping[Buffer, int],
    offsets: dict[str, tuple[int, int]],
    per_row: bool,
) -> int:
    placed: list[tuple[int, int, Buffer]] = []
    total = 0
    unit = 4 if per_row else ALIGNMENT
    for buffer in buffers:
        size = -(-row_bytes(buffer)[0] // unit) * unit
        if per_row and size % 8 and buffer.dtype.itemsize == 8:
            size += 4
        at = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if last[other] >= first[buffer] and last[buffer] >= first[other]:
                if at + size <= start:
                    break
                at = max(at, end)
        placed.append((at, at + size, buffer))
        total = max(total, at + size)
        offsets[buffer.name] = (0, at) if per_row else (at, 0)
    return total
