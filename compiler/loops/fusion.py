"""Fusion of whole kernels: those over the same points run as one, and what only they read is never stored.

In: ordered kernels that write each buffer once. Out: fewer kernels. A load of what the same point stores becomes the
stored expression itself, so that an update follows its gradient in registers and an activation its product.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..graph import ROWS
from .ir import Buffer, Expr, Kernel, Load, Loop, Reduction, Store
from .picks import scattered
from .rewrite import reads, replace_loads, walk, with_stores

MAX_STORES = 12
Item = Kernel | Loop


@dataclass(slots=True)
class _Group:
    kernel: Item
    reads: Mapping[Buffer, bool]
    writes: set[Buffer]
    reductions: int
    is_update: bool

    @staticmethod
    def of(kernel: Item, renewed: Mapping[Buffer, Buffer]) -> _Group:
        writes = {s.buffer for s in kernel.stores}
        heavy = {e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduction)}
        return _Group(kernel, reads(kernel), writes, len(heavy), any(b in renewed for b in writes))


def fuse(
    kernels: Sequence[Item],
    renewed: Mapping[Buffer, Buffer],
    kept: Collection[Buffer],
    first: Buffer | None,
) -> list[Item]:
    """The kernels, those that can run together merged into the place of the earliest.

    renewed: from the buffer of new contents to that of the old. kept: buffers that must be written whoever reads
    them. first: what must be there before any update; no update moves ahead of it.
    """
    groups = _Groups(renewed)
    barrier = 0
    for kernel in kernels:
        new = _Group.of(kernel, renewed)
        at = groups.place(new, barrier if new.is_update else 0)
        if at is None:
            groups.add(new)
        else:
            into = groups.all[at].kernel
            assert isinstance(into, Kernel)
            assert isinstance(kernel, Kernel)
            groups.add(_Group.of(_merged(into, kernel), renewed), at)
        if first is not None and first in new.writes:
            barrier = len(groups.all)
    return _without_dead_stores([g.kernel for g in _sunk(groups.all, renewed, first)], kept)


def _sunk(groups: Sequence[_Group], renewed: Mapping[Buffer, Buffer], first: Buffer | None) -> list[_Group]:
    """The groups, each joined to the first that reads what it writes, where it can wait for that."""
    left: list[_Group | None] = list(groups)
    place = list(range(len(groups)))
    readers: dict[Buffer, list[int]] = {}
    changes: dict[Buffer, list[int]] = {}
    for i, group in enumerate(groups):
        for buffer in group.reads:
            readers.setdefault(buffer, []).append(i)
        for buffer in group.writes & renewed.keys():
            changes.setdefault(renewed[buffer], []).append(i)
    for i in reversed(range(len(groups))):
        group = groups[i]
        target = min((place[j] for b in group.writes for j in readers.get(b, ()) if j > i), default=i)
        into = left[target]
        if target == i or into is None or first in group.writes or group.is_update:
            continue
        if any(i < place[j] <= target for b in group.reads for j in changes.get(b, ())):
            continue
        if _fits(group, into, set()):
            assert isinstance(group.kernel, Kernel)
            assert isinstance(into.kernel, Kernel)
            left[target] = _Group.of(_merged(group.kernel, into.kernel), renewed)
            left[i], place[i] = None, target
    return [g for g in left if g is not None]


class _Groups:
    """The groups in order, and which of them write and read each buffer, so that none is looked at without a reason."""

    def __init__(self, renewed: Mapping[Buffer, Buffer]) -> None:
        self.renewed = renewed
        self.all: list[_Group] = []
        self.writers: dict[Buffer, set[int]] = {}
        self.readers: dict[Buffer, set[int]] = {}
        self.neighbours: dict[Buffer, set[int]] = {}
        """Those that read a buffer only at the element that they store."""
        self.single: list[int] = []
        """Those of a single point."""

    def add(self, group: _Group, at: int | None = None) -> None:
        """Behind all others, or in place of one that it holds."""
        if at is None:
            at = len(self.all)
            self.all.append(group)
            if isinstance(group.kernel, Kernel) and not group.kernel.axes:
                self.single.append(at)
        else:
            self.all[at] = group
        for buffer in group.writes:
            self.writers.setdefault(buffer, set()).add(at)
        for buffer, same in group.reads.items():
            self.readers.setdefault(buffer, set()).add(at)
            if same:
                self.neighbours.setdefault(buffer, set()).add(at)

    def place(self, new: _Group, barrier: int) -> int | None:
        """The earliest group that the kernel can join, looking back until something it depends on."""
        overwritten = {self.renewed[b] for b in new.writes if b in self.renewed}
        candidates = {at for b in new.reads for at in self.writers.get(b, ())}
        before = [at for b in overwritten for at in self.readers.get(b, ()) if b in self.all[at].reads]
        start = max((*candidates, *before), default=0)
        for buffer, same in new.reads.items():
            if same:
                candidates |= self.neighbours.get(buffer, set())
        if isinstance(new.kernel, Kernel) and not new.kernel.axes:
            candidates.update(self.single)
        for at in sorted(candidates):
            if at >= max(start, barrier) and _fits(self.all[at], new, overwritten):
                return at
        return None


def _fits(group: _Group, new: _Group, overwritten: set[Buffer]) -> bool:
    a, b = group.kernel, new.kernel
    if isinstance(a, Loop) or isinstance(b, Loop):
        return False
    if scattered(a) is not None or scattered(b) is not None:
        return False  # what is added last may be the first
    if a.axes != b.axes or a.resident or b.resident or len(a.stores) + len(b.stores) > MAX_STORES:
        return False
    points = {s.buffer: s.index for s in a.stores}
    for e in walk(*(s.value for s in b.stores)):
        if isinstance(e, Load) and e.buffer in points and e.index != points[e.buffer]:
            return False
    index = b.stores[0].index
    for e in walk(*(s.value for s in a.stores)):
        if isinstance(e, Load) and e.buffer in overwritten and e.index != index:
            return False
    follows = any(x in new.reads for x in group.writes)
    if group.reductions and new.reductions and not follows:
        return _alike(a, b)
    if group.reductions and not new.reductions and _sums_images(a):
        return False  # sums over rows in the lanes end in single numbers: what follows has vectors of its own
    return follows or any(same and new.reads.get(x) for x, same in group.reads.items()) or not a.axes


def _sums_images(kernel: Kernel) -> bool:
    """Whether a kernel adds up buffers that keep rows side by side, over those rows."""
    return any(r.axes[0].extent is ROWS for r in _outermost(kernel)) and any(
        b.block > 1 for b in reads(kernel)
    )


def _alike(a: Kernel, b: Kernel) -> bool:
    """Whether the outermost reductions of two kernels run over the same axes and read something in common."""
    first, second = ({x.axes for x in _outermost(k)} for k in (a, b))
    return first == second and len(first) == 1 and any(x in reads(b) for x in reads(a))


def _outermost(kernel: Kernel) -> list[Reduction]:
    inner: set[int] = set()
    found = [e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduction)]
    for e in found:
        inner |= {id(x) for x in walk(e.body) if isinstance(x, Reduction)}
    return [e for e in found if id(e) not in inner]


def _merged(a: Kernel, b: Kernel) -> Kernel:
    stored = {s.buffer: s for s in a.stores}
    memo: dict[int, Expr] = {}

    def forwarded(e: Load) -> Expr:
        return stored[e.buffer].value if e.buffer in stored else e

    stores = tuple(Store(s.buffer, s.index, replace_loads(s.value, forwarded, memo)) for s in b.stores)
    return with_stores(a, (*a.stores, *stores))


def _without_dead_stores(kernels: Sequence[Item], kept: Collection[Buffer]) -> list[Item]:
    """Leaves out what nobody reads, the readers of the left out as well."""
    needed = set(kept)
    alive: list[Item] = []
    for kernel in reversed(kernels):
        stores = tuple(s for s in kernel.stores if s.buffer in needed)
        if stores:
            left = with_stores(kernel, stores)
            needed.update(reads(left))
            alive.append(left)
    return alive[::-1]
