"""Fusion of whole kernels: those over the same points run as one, and what only they read is never stored.

In: ordered kernels that write each buffer once. Out: fewer kernels. A load of what the same point stores becomes the
stored expression itself, so that an update follows its gradient in registers and an activation its product.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..graph import ROWS
from .ir import Buffer, Expr, Kernel, Load, Loop, Reduction, Store
from .patterns import Item, Pattern, Patterns, Placed, on_buffers, reads_of, writes_of
from .picks import scattered
from .rewrite import reads, replace_loads, walk, with_stores

MAX_STORES = 12


@dataclass(slots=True)
class _Group:
    kernel: Item
    reads: Mapping[Buffer, bool]
    writes: set[Buffer]
    is_update: bool

    @staticmethod
    def of(kernel: Item, renewed: Mapping[Buffer, Buffer]) -> _Group:
        writes = set(writes_of(kernel))
        return _Group(kernel, reads_of(kernel), writes, not renewed.keys().isdisjoint(writes))


@dataclass(slots=True)
class _Joint:
    """Two patterns side by side: ``other`` is the second, over the first one's stand-ins where the buffers are the same.
    fresh: places of the second one's buffers that the first has not; buffers: all stand-ins, those last."""

    other: Kernel
    fresh: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    fits: bool
    merged: tuple[Pattern, tuple[int, ...]] | None = None
    """The one kernel that they make, and which of all buffers it has."""


class _Joints:
    """Which kernels fit together and what they become, looked at once for patterns that share buffers in one way."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self.known: dict[Hashable, _Joint] = {}

    def fits(self, a: Item, b: Item, overwritten: Collection[Buffer] = ()) -> bool:
        """Whether the second can run in the first one's place. overwritten: old contents that the second renews."""
        if isinstance(a, Loop) or isinstance(b, Loop):
            return False
        return self._joint(a, b, overwritten).fits

    def merge(self, a: Item, b: Item, overwritten: Collection[Buffer] = ()) -> Placed:
        """The kernel that does what both do."""
        assert isinstance(a, Placed)
        assert isinstance(b, Placed)
        joint = self._joint(a, b, overwritten)
        if joint.merged is None:
            placed = self.patterns.of(_merged(a.pattern.kernel, joint.other))
            place = {x: i for i, x in enumerate(joint.buffers)}
            joint.merged = placed.pattern, tuple(place[x] for x in placed.buffers)
        pattern, places = joint.merged
        both = (*a.buffers, *[b.buffers[i] for i in joint.fresh])
        buffers = tuple([both[i] for i in places])
        return Placed(pattern, buffers, a.writes[0].name, a.span, a.layer)

    def _joint(self, a: Placed, b: Placed, overwritten: Collection[Buffer]) -> _Joint:
        place = {x: i for i, x in enumerate(a.buffers)}
        shared = tuple([place.get(x, -1) for x in b.buffers])
        old = tuple([i for i, x in enumerate(a.buffers) if x in overwritten]) if overwritten else ()
        key = a.pattern, b.pattern, shared, old
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = _side_by_side(a.pattern, b.pattern, shared, old)
        return found


def _side_by_side(a: Pattern, b: Pattern, shared: Sequence[int], old: Sequence[int]) -> _Joint:
    fresh = tuple(i for i, at in enumerate(shared) if at < 0)
    others = {b.buffers[i]: replace(b.buffers[i], name=f"o{i}") for i in fresh}
    real = others | {b.buffers[i]: a.buffers[at] for i, at in enumerate(shared) if at >= 0}
    other = on_buffers(b.kernel, real)
    fits = _fit(a.kernel, other, {a.buffers[i] for i in old})
    return _Joint(other, fresh, (*a.buffers, *others.values()), fits)


def fuse(
    kernels: Sequence[Item],
    renewed: Mapping[Buffer, Buffer],
    kept: Collection[Buffer],
    first: Buffer | None,
    patterns: Patterns,
) -> list[Item]:
    """The kernels, those that can run together merged into the place of the earliest.

    renewed: from the buffer of new contents to that of the old. kept: buffers that must be written whoever reads
    them. first: what must be there before any update; no update moves ahead of it.
    """
    joints = _Joints(patterns)
    groups = _Groups(renewed, joints)
    barrier = 0
    for kernel in kernels:
        new = _Group.of(kernel, renewed)
        at = groups.place(new, barrier if new.is_update else 0)
        if at is None:
            groups.add(new)
        else:
            one = joints.merge(groups.all[at].kernel, kernel, groups.overwritten(new))
            groups.add(_Group.of(one, renewed), at)
        if first is not None and first in new.writes:
            barrier = len(groups.all)
    left = _sunk(groups.all, renewed, first, joints)
    return _without_dead_stores([g.kernel for g in left], kept, patterns)


def _sunk(
    groups: Sequence[_Group], renewed: Mapping[Buffer, Buffer], first: Buffer | None, joints: _Joints
) -> list[_Group]:
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
        if joints.fits(group.kernel, into.kernel):
            left[target] = _Group.of(joints.merge(group.kernel, into.kernel), renewed)
            left[i], place[i] = None, target
    return [g for g in left if g is not None]


class _Groups:
    """The groups in order, and which of them write and read each buffer, so that none is looked at without a reason."""

    def __init__(self, renewed: Mapping[Buffer, Buffer], joints: _Joints) -> None:
        self.renewed, self.joints = renewed, joints
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
            if _is_single(group.kernel):
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
        overwritten = self.overwritten(new)
        candidates = {at for b in new.reads for at in self.writers.get(b, ())}
        before = [at for b in overwritten for at in self.readers.get(b, ()) if b in self.all[at].reads]
        start = max((*candidates, *before), default=0)
        for buffer, same in new.reads.items():
            if same:
                candidates |= self.neighbours.get(buffer, set())
        if _is_single(new.kernel):
            candidates.update(self.single)
        for at in sorted(candidates):
            if at >= max(start, barrier) and self.joints.fits(self.all[at].kernel, new.kernel, overwritten):
                return at
        return None

    def overwritten(self, new: _Group) -> set[Buffer]:
        """The old contents that a kernel renews."""
        return {self.renewed[b] for b in new.writes if b in self.renewed} if new.is_update else set()


def _is_single(kernel: Item) -> bool:
    return isinstance(kernel, Placed) and not kernel.pattern.kernel.axes


def _fit(a: Kernel, b: Kernel, overwritten: set[Buffer]) -> bool:
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
    first, second = reads(a), reads(b)
    follows = any(s.buffer in second for s in a.stores)
    if _reduces(a) and _reduces(b) and not follows:
        return _alike(a, b)
    if _reduces(a) and not _reduces(b) and _sums_images(a):
        return False  # sums over rows in the lanes end in single numbers: what follows has vectors of its own
    return follows or any(same and second.get(x) for x, same in first.items()) or not a.axes


def _reduces(kernel: Kernel) -> bool:
    return any(isinstance(e, Reduction) for e in walk(*(s.value for s in kernel.stores)))


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


def _without_dead_stores(kernels: Sequence[Item], kept: Collection[Buffer], patterns: Patterns) -> list[Item]:
    """Leaves out what nobody reads, the readers of the left out as well."""
    needed = set(kept)
    alive: list[Item] = []
    for kernel in reversed(kernels):
        wanted = tuple([b in needed for b in writes_of(kernel)])
        if any(wanted):
            left = patterns.with_stores(kernel, wanted) if isinstance(kernel, Placed) else kernel
            needed.update(reads_of(left))
            alive.append(left)
    return alive[::-1]
