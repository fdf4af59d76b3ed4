"""Schedules: which axis lies in the vector lanes, and how many points make a register tile.

In: a kernel. Out: a ``Schedule``, from strides and extents alone, in microseconds. Nothing here changes which terms an
element is made of; partial sums change the order in which a sum's terms are added, alike for every batch of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ir import Axis, Kernel, Load, Reduction, Schedule
from .rewrite import walk

REGISTERS = 32
LATENCY = 8
"""Independent sums that keep the arithmetic units busy."""


def stride_along(load: Load, axis: Axis) -> int | None:
    """Elements between neighbours along an axis; None when the index is not affine in it."""
    total = 0
    for index, stride in zip(load.index, load.buffer.strides(), strict=True):
        for coefficient, atom in index.terms:
            if isinstance(atom, Axis):
                total += coefficient * stride if atom == axis else 0
            elif axis in atom.value.axes():
                return None
    return total


def _mismatch(loads: Sequence[Load], axis: Axis) -> int:
    """How many loads would have to gather if the axis lay in the lanes."""
    return sum(1 for x in loads if stride_along(x, axis) not in (0, 1))


def schedule(kernel: Kernel, vector_bytes: int) -> Schedule:
    """The schedule of a kernel for vectors of that many bytes."""
    width = max(vector_bytes // _element_bytes(kernel), 1)
    if kernel.resident:
        lanes = kernel.axes[-1]
        vectors = -(-int(lanes.extent) // width)  # type: ignore[arg-type]
        points = tuple((a.name, int(a.extent)) for a in kernel.axes[:-1])  # type: ignore[arg-type]
        return Schedule(frozenset({lanes.name}), width, vectors, points)
    reductions = list(dict.fromkeys(x for x in _parts(kernel) if isinstance(x, Reduction)))
    inner = kernel.axes[-1] if kernel.axes else None
    parallel = inner if inner is not None and isinstance(inner.extent, int) else None
    own = _own_lanes(reductions, parallel, width)
    if parallel is not None and any(parallel in r.free and r.axes[-1].name in own for r in reductions):
        parallel = None
    lanes_names = own if parallel is None else own | {parallel.name}
    vectors, unroll = _tile(kernel, reductions, parallel, width)
    return Schedule(frozenset(lanes_names), width, vectors, unroll)


def _parts(kernel: Kernel) -> list[object]:
    return list(walk(*(s.value for s in kernel.stores)))


def _element_bytes(kernel: Kernel) -> int:
    """Bytes of the widest element: it decides how many lanes a vector has."""
    sizes = [s.buffer.dtype.itemsize if s.buffer.dtype.is_float else 4 for s in kernel.stores]
    sizes += [x.dtype.itemsize for x in _parts(kernel) if isinstance(x, Load) and x.dtype.is_float]
    return max(sizes)


def _own_lanes(reductions: Sequence[Reduction], parallel: Axis | None, width: int) -> set[str]:
    """Reductions that run along their own last axis in the lanes, and add up the lanes at their end."""
    wanted = {r.axes[-1].name for r in reductions if _wants_own_lanes(r, parallel, width)}
    return wanted - {r.axes[-1].name for r in reductions if not _wants_own_lanes(r, parallel, width)}


def _wants_own_lanes(reduction: Reduction, parallel: Axis | None, width: int) -> bool:
    axis = reduction.axes[-1]
    body = list(walk(reduction.body))
    if not isinstance(axis.extent, int) or 2 * axis.extent < width or axis.extent < 2:
        return False
    if any(isinstance(x, Reduction) for x in body):
        return False
    mine = [x for x in body if isinstance(x, Load)]
    if _mismatch(mine, axis):
        return False
    if parallel is None or parallel not in reduction.free:
        return True
    usable = min(int(parallel.extent), width) / width  # type: ignore[arg-type]
    return _mismatch(mine, parallel) > 0 or usable < 0.3


def _tile(
    kernel: Kernel, reductions: Sequence[Reduction], parallel: Axis | None, width: int
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Vectors per tile and points of another parallel axis, so that accumulators fit the registers."""
    vectors = 1
    if parallel is not None:
        needed = -(-int(parallel.extent) // width)  # type: ignore[arg-type]
        vectors = min(needed, 4 if reductions else 2)
        vectors = -(-needed // -(-needed // vectors))
    if not reductions:
        return vectors, ()
    side_by_side = max(len([r for r in reductions if r.axes == other.axes]) for other in reductions)
    budget = max((REGISTERS - 4) // (vectors + 1), 1) if vectors > 1 else 8
    budget = max(budget // side_by_side, 1)
    for axis in reversed(kernel.axes[:-1] if parallel is not None else kernel.axes):
        if any(axis in r.free for r in reductions) and not any(axis == r.axes[-1] for r in reductions):
            points = min(budget, 8)
            if isinstance(axis.extent, int):
                while axis.extent % points:
                    points -= 1
            if points > 1:
                return vectors, ((axis.name, points),)
    return vectors, ()


__all__ = ["schedule", "stride_along"]
