"""Long sums in chunks: so many terms for all points of a block, then the next, so that what they are made of is met again
in the cache.

In: kernels. Out: where a sum waits between its chunks, and how long these are. A sum waits in the elements that its kernel
stores; a kernel that updates in place what it reads gets a buffer of its own for that, while memory is still to be planned.
The order of additions is that of a sum added up at once.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ..graph import ROWS
from .ir import Axis, Buffer, Combine, Kernel, Reduction, Space, Store
from .picks import picked, scattered
from .rewrite import reads, walk

LONG, TERMS = 2048, 512
"""Sums of so many terms are added up in chunks of about so many."""
MANY = 16
"""Places of one observation that make a sum over observations a long one."""
TYPICAL_ROWS = 256


def partial_sums(kernel: Kernel) -> Store | None:
    """Where a kernel's sum waits: what is stored there holds as exact a number, at the sum's own points, and is not read."""
    total = _long_sum(kernel)
    if total is None:
        return None
    read = reads(kernel)
    for store in kernel.stores:
        axes = frozenset[Axis]().union(*(i.axes() for i in store.index))
        plain = store.buffer.dtype is total.dtype and store.buffer.block == 1
        if plain and axes == frozenset(kernel.axes) and store.buffer not in read:
            return store
    return None


def with_room(kernel: Kernel) -> Kernel:
    """The kernel, with a buffer for its sum if that is a long one and has nowhere to wait."""
    total = _long_sum(kernel)
    if total is None or not chunk_of(total) or partial_sums(kernel) is not None:
        return kernel
    like = kernel.stores[0]
    if frozenset[Axis]().union(*(i.axes() for i in like.index)) != frozenset(kernel.axes):
        return kernel
    buffer = Buffer(f"sum.{kernel.name}", total.dtype, like.buffer.shape, like.buffer.order, Space.work)
    return replace(kernel, stores=(*kernel.stores, Store(buffer, like.index, total, room=True)))


def _long_sum(kernel: Kernel) -> Reduction | None:
    """A kernel's only reduction, if it is a sum at every point of the kernel."""
    found = {e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduction)}
    total = found.pop() if len(found) == 1 and not kernel.resident else None
    if total is None or total.combine is not Combine.sum or total.free != frozenset(kernel.axes):
        return None
    if picked(total) is not None or scattered(kernel) is not None:
        return None
    return total if len(total.axes) == 1 or total.axes[0].extent is ROWS else None


def chunk_of(total: Reduction) -> int:
    """How far along its first axis a sum is added up at a time; 0 for all of it."""
    first, inner = total.axes[0], prod(typical(a) for a in total.axes[1:])
    if first.extent is ROWS:
        return max(TERMS // inner, 1) if inner >= MANY else 0
    extent = int(first.extent)
    return 0 if extent < LONG else -(-extent // -(-extent // TERMS))


def typical(axis: Axis) -> int:
    """The extent of an axis; for observations how many there usually are."""
    return axis.extent if isinstance(axis.extent, int) else TYPICAL_ROWS


__all__ = ["TYPICAL_ROWS", "chunk_of", "partial_sums", "typical", "with_room"]
