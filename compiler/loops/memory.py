"""The memory plan: every work buffer's place in one arena, reused when its lifetime is over.

Buffers of observations lie in a region that grows with the capacity (in rows, a multiple of 16), the others in a
fixed one. Each region is filled first-fit by lifetime.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Mapping, Sequence

from ..graph import ROWS
from .ir import Buffer, Space
from .patterns import Item, reads_of, writes_of
from .unit import MemoryPlan

ALIGNMENT = 64


def row_bytes(buffer: Buffer) -> tuple[int, bool]:
    """Bytes of the buffer (of one row, if it holds observations), and whether it does."""
    return buffer.elements * buffer.dtype.itemsize, ROWS in buffer.shape


def plan_memory(kernels: Sequence[Item], outputs: Mapping[str, Buffer]) -> MemoryPlan:
    """Offsets of all work buffers that the kernels touch."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for step, kernel in enumerate(kernels):
        for buffer in (*reads_of(kernel), *writes_of(kernel)):
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
    gaps = _Gaps()
    ends: list[tuple[int, int, int]] = []
    """Of what is in use: the last step that needs it, and its place."""
    total = 0
    unit = 4 if per_row else ALIGNMENT
    for buffer in buffers:
        size = -(-row_bytes(buffer)[0] // unit) * unit
        if per_row and size % 8 and buffer.dtype.itemsize == 8:
            size += 4
        while ends and ends[0][0] < first[buffer]:
            _, begin, end = heapq.heappop(ends)
            gaps.give(begin, end)
        at = gaps.take(size)
        heapq.heappush(ends, (last[buffer], at, at + size))
        total = max(total, at + size)
        offsets[buffer.name] = (0, at) if per_row else (at, 0)
    return total


class _Gaps:
    """The free parts of an arena without end, in order; no two of them touch."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self.stops: list[float] = [math.inf]

    def take(self, size: int) -> int:
        """The first place with so many bytes."""
        i = next(i for i, (a, b) in enumerate(zip(self.starts, self.stops, strict=True)) if a + size <= b)
        at = self.starts[i]
        self.starts[i] += size
        if self.starts[i] == self.stops[i]:
            del self.starts[i], self.stops[i]
        return at

    def give(self, start: int, stop: int) -> None:
        """A part that is free again."""
        i = bisect.bisect_left(self.starts, start)
        if self.starts[i] == stop:
            self.starts[i] = start
        else:
            self.starts.insert(i, start)
            self.stops.insert(i, stop)
        if i and self.stops[i - 1] == start:
            self.stops[i - 1] = self.stops[i]
            del self.starts[i], self.stops[i]
