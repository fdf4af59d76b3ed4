"""Schedules: which axis lies in the vector lanes, and how many points make a register tile.

In: a kernel. Out: a ``Schedule``, from strides and extents alone, in microseconds. Nothing here changes which terms an
element is made of; partial sums change the order in which a sum's terms are added, alike for every batch of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import ROWS
from .chunks import chunk_of, partial_sums, typical
from .ir import Affine, Axis, Expr, Kernel, Load, Reduction, Schedule
from .picks import Scatter, picked, scattered
from .rewrite import children, walk

CACHE_BYTES = 512 * 1024
"""What a kernel may count on in the second-level cache."""
STREAM_BYTES = 4 * 1024 * 1024
"""What may come from the third-level cache again for every tile of the other axes, where it is read in one direction."""


def stride_along(load: Load, axis: Axis) -> int | None:
    """Elements between neighbours along an axis; None when the index is not affine in it."""
    buffer = load.buffer
    if buffer.block > 1 and load.index[0] == Affine.of(axis):
        return 1 if not any(axis in i.axes() for i in load.index[1:]) else None
    if buffer.panel > 1 and axis in load.index[buffer.order[-1]].axes():
        return 1 if load.index[buffer.order[-1]] == Affine.of(axis) else None
    total = 0
    for coefficient, atom in buffer.offset(load.index).terms:
        if isinstance(atom, Axis):
            total += coefficient if atom == axis else 0
        elif axis in atom.value.axes():
            return None
    return total


def _mismatch(loads: Sequence[Load], axis: Axis) -> int:
    """How many loads would have to gather if the axis lay in the lanes."""
    return sum(1 for x in loads if stride_along(x, axis) not in (0, 1))


def schedule(kernel: Kernel, vector_bytes: int) -> Schedule:
    """The schedule of a kernel for vectors of that many bytes; for none there is nothing to choose."""
    if not vector_bytes:
        return Schedule()
    width = max(vector_bytes // _element_bytes(kernel), 1)
    if kernel.resident:
        lanes = kernel.axes[-1]
        vectors = -(-int(lanes.extent) // width)  # type: ignore[arg-type]
        points = tuple((a.name, int(a.extent)) for a in kernel.axes[:-1])  # type: ignore[arg-type]
        return Schedule(frozenset({lanes.name}), width, vectors, points)
    scatter = scattered(kernel)
    if scatter is not None:
        return _scattering(kernel, scatter, width)
    reductions = list(dict.fromkeys(x for x in _parts(kernel) if isinstance(x, Reduction)))
    parallel = _parallel_lanes(kernel, width)
    found = [(r, picked(r)) for r in reductions]
    reductions = [r for r, pick in found if pick is None]
    if any(pick is not None and parallel in pick.index.free for _, pick in found):
        parallel = None
    own = _own_lanes(reductions, parallel, width)
    if parallel is not None and any(
        parallel in r.free and own & {a.name for a in r.axes} for r in reductions
    ):
        parallel = None
    names = own if parallel is None else own | {parallel.name}
    across = None if reductions or found or parallel is None else _across(kernel, parallel, width)
    if across is not None:
        return Schedule(frozenset(names), width, 1, ((across.name, width),))
    registers = 32 if vector_bytes == 64 else 16
    vectors = _vectors(parallel, _widest(parallel, bool(found), registers, width), width)
    points = _points(kernel, reductions, parallel, own, vectors, registers)
    chunk = 0 if partial_sums(kernel) is None or parallel is None else chunk_of(reductions[0])
    block = _blocked(kernel, reductions, dict(points), chunk)
    ahead = frozenset[str]() if chunk else _ahead(kernel)
    return Schedule(frozenset(names), width, vectors, points, block, chunk, ahead)


def _scattering(kernel: Kernel, scatter: Scatter, width: int) -> Schedule:
    """Neighbours that one index names are added side by side."""
    lanes = _parallel_lanes(kernel, width)
    if lanes is None or lanes == scatter.axis or lanes in scatter.index.free:
        return Schedule()
    return Schedule(frozenset({lanes.name}), width, min(-(-int(lanes.extent) // width), 4))  # type: ignore[arg-type]


def _parts(kernel: Kernel) -> list[object]:
    return list(walk(*(s.value for s in kernel.stores)))


def _element_bytes(kernel: Kernel) -> int:
    """Bytes of the widest element: it decides how many lanes a vector has."""
    sizes = [s.buffer.dtype.itemsize if s.buffer.dtype.is_float else 4 for s in kernel.stores]
    sizes += [x.dtype.itemsize for x in _parts(kernel) if isinstance(x, Load) and x.dtype.is_float]
    return max(sizes)


def _parallel_lanes(kernel: Kernel, width: int) -> Axis | None:
    """The axis of the kernel whose neighbours all stores put side by side: rows in blocks, or the innermost."""
    if not kernel.axes:
        return None
    first, last = kernel.axes[0], kernel.axes[-1]
    targets = [Load(s.buffer, s.index) for s in kernel.stores]
    if first.extent is ROWS and all(t.buffer.block == width and stride_along(t, first) == 1 for t in targets):
        loads = [x for x in _parts(kernel) if isinstance(x, Load)]
        if all(stride_along(x, first) is not None for x in loads):
            return first
    if isinstance(last.extent, int) and all(stride_along(t, last) == 1 for t in targets):
        return last
    return None


def _own_lanes(reductions: Sequence[Reduction], parallel: Axis | None, width: int) -> frozenset[str]:
    """Axes along which reductions run in the lanes, to add up the lanes at their end."""
    chosen = [(r, _own_lanes_axis(r, parallel, width)) for r in reductions]
    wanted = {a.name for _, a in chosen if a is not None}
    refused = {x.name for r, a in chosen for x in r.axes if x != a}
    return frozenset(wanted - refused)


def _own_lanes_axis(reduction: Reduction, parallel: Axis | None, width: int) -> Axis | None:
    body = list(walk(reduction.body))
    loads = [x for x in body if isinstance(x, Load)]
    first, axis = reduction.axes[0], reduction.axes[-1]
    if any(isinstance(x, Reduction) and x.free & set(reduction.axes) for x in body):
        return None
    if (
        first.extent is ROWS
        and any(stride_along(x, first) == 1 for x in loads)
        and not _mismatch(loads, first)
    ):
        axis = first
    elif not isinstance(axis.extent, int) or 2 * axis.extent < width or axis.extent < 2:
        return None
    if _mismatch(loads, axis):
        return None
    if parallel is None or parallel not in reduction.free:
        return axis
    if parallel.extent is ROWS:
        return None
    return axis if _mismatch(loads, parallel) > 0 or int(parallel.extent) < 0.3 * width else None


def _across(kernel: Kernel, parallel: Axis, width: int) -> Axis | None:
    """The axis along which memory lies that is read across: as many points of it as a vector has lanes are read along
    memory and turned in registers."""
    if parallel.extent is ROWS:
        return None
    loads = [x for x in _parts(kernel) if isinstance(x, Load) and stride_along(x, parallel) not in (0, 1)]
    for axis in kernel.axes:
        fits = axis != parallel and isinstance(axis.extent, int) and axis.extent % width == 0
        if fits and any(stride_along(x, axis) == 1 for x in loads):
            return axis
    return None


def _widest(parallel: Axis | None, sums: bool, registers: int, width: int) -> int:
    """The most vectors that a tile has side by side. With few registers two: more rows then meet each vector that is
    loaded, and a row of a panel is one line of the cache; three where that leaves none over."""
    if not sums or parallel is None or parallel.extent is ROWS:
        return 2
    return 3 if registers > 16 or -(-int(parallel.extent) // width) == 3 else 2


def _vectors(parallel: Axis | None, most: int, width: int) -> int:
    """Vectors of the parallel lanes axis in a tile, at most so many."""
    if parallel is None or parallel.extent is ROWS:
        return 1
    needed = -(-int(parallel.extent) // width)
    vectors = min(needed, most)
    return -(-needed // -(-needed // vectors))


def _points(
    kernel: Kernel,
    reductions: Sequence[Reduction],
    parallel: Axis | None,
    own: frozenset[str],
    vectors: int,
    registers: int,
) -> tuple[tuple[str, int], ...]:
    """How many points of other axes a tile has, so that its accumulators fit the registers and share loads."""
    if not reductions:
        return ()
    side_by_side = max(len([r for r in reductions if r.axes == other.axes]) for other in reductions)
    free = [a for a in kernel.axes if a != parallel and any(a in r.free for r in reductions)]
    images = parallel is not None and parallel.extent is ROWS
    if not any(a.extent is ROWS and a.name in own for r in reductions for a in r.axes):
        free = [a for a in free if any(_is_shared(a, r) for r in reductions)]
    if images:
        return _two_axes(free, max(registers // 2 // side_by_side, 1), 4)
    if any(a.extent is ROWS and a.name in own for r in reductions for a in r.axes):
        return _innermost(free, max((registers - 7) // side_by_side, 1))
    if parallel is None and len(free) > 1:
        return _two_axes([free[0], free[-1]], max(registers // 2 // side_by_side, 1), 2)
    budget = max((registers - 2 - vectors) // vectors, 1)
    budget = max(budget // side_by_side, 1)
    for axis in reversed(free):
        points = _even(axis, min(budget, 8))
        if points > 1:
            return ((axis.name, points),)
    return ()


def _blocked(kernel: Kernel, reductions: Sequence[Reduction], points: Mapping[str, int], chunk: int) -> int:
    """How much of the outermost axis is worked on before going on along the others; 0 for all of it at once.

    Where what does not depend on the outermost axis is too large for the cache, it would be read again for every tile
    of that axis. In blocks it is read once a block, while a part of it meets all tiles of the block from the cache.
    """
    if len(kernel.axes) < 2 or not reductions:
        return 0
    outer = kernel.axes[0]
    loads = {x for r in reductions for x in walk(r.body) if isinstance(x, Load)}
    repeated = max((_bytes(x, None) for x in loads if outer not in x.free), default=0)
    own = sum(_bytes(x, outer) for x in loads if outer in x.free)
    if repeated < CACHE_BYTES or not own:
        return 0
    step = points.get(outer.name, 1)
    if chunk:
        own = max(own * chunk // typical(reductions[0].axes[0]), 1)
    streams = not chunk and all(_is_stream(x, reductions) for x in loads if outer in x.free)
    return max((STREAM_BYTES if streams else CACHE_BYTES // 2) // own // step, 1) * step


def _is_stream(load: Load, reductions: Sequence[Reduction]) -> bool:
    """Whether a reduction reads neighbour after neighbour: the processor fetches those ahead of time by itself."""
    return any(stride_along(load, r.axes[-1]) == 1 for r in reductions if r.axes[-1] in load.free)


def _ahead(kernel: Kernel) -> frozenset[str]:
    """What is read behind the reductions, where together it is too large for the cache."""
    loads: set[Load] = set()
    pending: list[Expr] = [s.value for s in kernel.stores]
    reduced = False
    while pending:
        e = pending.pop()
        if isinstance(e, Reduction):
            reduced = True
        elif isinstance(e, Load):
            loads.add(e)
        else:
            pending += children(e)
    if not reduced or sum(_bytes(x, None) for x in loads) < CACHE_BYTES:
        return frozenset()
    return frozenset(x.buffer.name for x in loads if x.free == frozenset(kernel.axes))


def _bytes(load: Load, without: Axis | None) -> int:
    """Bytes of all that a load reads, or of what it reads at one place of an axis."""
    size = load.dtype.itemsize
    for axis in load.free:
        if axis != without:
            size *= typical(axis)
    return size


def _is_shared(axis: Axis, reduction: Reduction) -> bool:
    """Whether neighbours along an axis read something in common inside the reduction."""
    loads = [x for x in walk(reduction.body) if isinstance(x, Load) and x.free & set(reduction.axes)]
    return axis in reduction.free and any(axis not in x.free for x in loads)


def _divisor(axis: Axis, most: int) -> int:
    """The largest divisor of an axis up to a bound; of the rows, which may be any number, the bound."""
    if axis.extent is ROWS:
        return most
    extent = int(axis.extent)
    return max(d for d in range(1, min(most, extent) + 1) if extent % d == 0)


def _even(axis: Axis, most: int) -> int:
    """Points of a tile, at most so many, so that the tiles are of one size, or of this and one less where a divisor
    would be much smaller."""
    divisor = _divisor(axis, most)
    if axis.extent is ROWS:
        return divisor
    extent = int(axis.extent)
    points = -(-extent // -(-extent // most))
    return divisor if 4 * divisor >= 3 * points else points


def even_border(extent: int, points: int) -> int:
    """Up to where tiles have so many points; behind it they have one less."""
    tiles = -(-extent // points)
    short = tiles * points - extent
    if short > tiles:
        raise AssertionError(f"bug in netc: {extent} is not made of tiles of {points} and {points - 1}")
    return (tiles - short) * points


def _two_axes(axes: Sequence[Axis], budget: int, side: int) -> tuple[tuple[str, int], ...]:
    """Points of the innermost axes and of the outermost: neighbours share inputs, channels share weights."""
    points: dict[str, int] = {}
    inner = 1
    for axis in reversed(axes[1:]):
        if inner < side:
            points[axis.name] = _divisor(axis, min(2 * side // inner, budget // inner))
            inner *= points[axis.name]
    if axes:
        points[axes[0].name] = _divisor(axes[0], max(budget // inner, 1))
    return tuple((n, p) for n, p in points.items() if p > 1)


def _innermost(axes: Sequence[Axis], budget: int) -> tuple[tuple[str, int], ...]:
    """Whole innermost axes while they fit, then a part of the outermost."""
    points: dict[str, int] = {}
    if len(axes) == 1:
        budget = max(budget // 6, 1)  # nothing is shared: only the latency of additions has to be hidden
    for axis in reversed(axes[1:]):
        if int(axis.extent) > budget:  # type: ignore[arg-type]
            break
        points[axis.name] = int(axis.extent)  # type: ignore[arg-type]
        budget //= int(axis.extent)  # type: ignore[arg-type]
    if axes:
        points[axes[0].name] = _divisor(axes[0], max(min(budget, 8), 1))
    return tuple((n, p) for n, p in points.items() if p > 1)


__all__ = ["schedule", "stride_along"]
