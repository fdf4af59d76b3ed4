"""Schedules: which axis lies in the vector lanes, and how many points make a register tile.

In: a kernel. Out: a ``Schedule``, from strides and extents alone, in microseconds. Nothing here changes results.
"""

from __future__ import annotations

from .ir import (
    Affine,
    Apply,
    Axis,
    Constant,
    Expr,
    Guarded,
    Kernel,
    Load,
    Position,
    Random,
    Reduction,
    Schedule,
)

REGISTERS = 32


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


def walk(e: Expr) -> list[Expr]:
    """All subexpressions, each once."""
    found: dict[int, Expr] = {}
    pending = [e]
    while pending:
        x = pending.pop()
        if id(x) in found:
            continue
        found[id(x)] = x
        if isinstance(x, Apply):
            pending.extend(x.arguments)
        elif isinstance(x, Reduction):
            pending.append(x.body)
        elif isinstance(x, Guarded):
            pending += [x.body, x.otherwise]
    return list(found.values())


def _mismatch(loads: list[Load], axis: Axis) -> int:
    """How many loads would have to gather if the axis lay in the lanes."""
    return sum(1 for x in loads if stride_along(x, axis) not in (0, 1))


def schedule(kernel: Kernel, vector_bytes: int) -> Schedule:
    """The schedule of a kernel for vectors of that many bytes."""
    store = kernel.stores[0]
    parts = walk(store.value)
    loads = [x for x in parts if isinstance(x, Load)]
    element = max(
        [
            store.buffer.dtype.itemsize if store.buffer.dtype.is_float else 4,
            *(x.dtype.itemsize for x in loads if x.dtype.is_float),
        ]
    )
    width = max(vector_bytes // element, 1)
    lanes: set[str] = set()
    inner = kernel.axes[-1] if kernel.axes else None
    reductions = [x for x in parts if isinstance(x, Reduction)]
    parallel = inner if inner is not None and isinstance(inner.extent, int) and inner.extent > 1 else None
    for reduction in reductions:
        axis = reduction.axes[-1]
        mine = [x for x in walk(reduction.body) if isinstance(x, Load)]
        if (
            not isinstance(axis.extent, int)
            or axis.extent < 2
            or any(isinstance(x, Reduction) for x in walk(reduction.body))
        ):
            continue
        depends = parallel is not None and parallel in reduction.free
        own = _mismatch(mine, axis)
        if not depends and own == 0 and axis.extent * 2 >= width:
            lanes.add(axis.name)
        elif depends and parallel is not None and own == 0 and axis.extent * 2 >= width:
            usable = min(parallel.extent, width) / width  # type: ignore[type-var, operator]
            if _mismatch(mine, parallel) > 0 or usable < 0.3:
                lanes.add(axis.name)
    blocked = any(r.free and parallel in r.free and r.axes[-1].name in lanes for r in reductions)
    if parallel is not None and not blocked:
        lanes.add(parallel.name)
    else:
        parallel = None
    return Schedule(frozenset(lanes), width, *_tile(kernel, reductions, parallel, width))


def _tile(
    kernel: Kernel, reductions: list[Reduction], parallel: Axis | None, width: int
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Vectors per tile and points of another parallel axis, so that accumulators fit the registers."""
    vectors = 1
    if parallel is not None:
        needed = -(-int(parallel.extent) // width)  # type: ignore[arg-type,arg-type,unused-ignore]
        vectors = min(needed, 4 if reductions else 2)
        vectors = -(-needed // -(-needed // vectors))
    if not reductions:
        return vectors, ()
    budget = max((REGISTERS - 4) // (vectors + 1), 1) if vectors > 1 else 8
    for axis in reversed(kernel.axes[:-1] if parallel is not None else kernel.axes):
        if any(axis in r.free for r in reductions) and not any(
            axis.name == r.axes[-1].name for r in reductions
        ):
            points = min(budget, 8)
            if isinstance(axis.extent, int):
                while axis.extent % points:
                    points -= 1
            if points > 1:
                return vectors, ((axis.name, points),)
    return vectors, ()


__all__ = ["Affine", "Constant", "Position", "Random", "schedule", "stride_along", "walk"]
