"""Barriers between kernels: only where one must see what another wrote, or must not overwrite what another reads.

In: the kernels of a unit and its memory plan. Out: for each kernel whether all threads wait before it. Buffers that share
bytes of the arena count as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...loops.ir import Buffer, Scheduled, Space
from ...loops.memory import row_bytes
from ...loops.rewrite import reads
from ...loops.unit import MemoryPlan


def barriers(kernels: Sequence[Scheduled], memory: MemoryPlan) -> list[bool]:
    """Whether a barrier stands before each kernel; within a recurrence one stands before each."""
    found = []
    read: list[Buffer] = []
    written: list[Buffer] = []
    for scheduled in kernels:
        kernel = scheduled.kernel
        mine, stored = list(reads(kernel)), [s.buffer for s in kernel.stores]
        waits = (
            kernel.repeat is not None
            or _touch(mine, written, memory)
            or _touch(stored, written, memory)
            or _touch(stored, read, memory)
        )
        if waits:
            read, written = [], []
        read += mine
        written += stored
        found.append(waits)
    return found


def _touch(some: Sequence[Buffer], others: Sequence[Buffer], memory: MemoryPlan) -> bool:
    return any(a == b or _overlap(a, b, memory) for a in some for b in others)


def _overlap(a: Buffer, b: Buffer, memory: MemoryPlan) -> bool:
    """Whether two buffers of the arena share bytes."""
    if a.space is not Space.work or b.space is not Space.work:
        return False
    (size_a, grows_a), (size_b, grows_b) = row_bytes(a), row_bytes(b)
    if grows_a != grows_b or a.name not in memory.offsets or b.name not in memory.offsets:
        return False
    start_a, start_b = (memory.offsets[x.name][1 if grows_a else 0] for x in (a, b))
    return start_a < start_b + size_b and start_b < start_a + size_a


__all__ = ["barriers"]
