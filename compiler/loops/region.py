"""Steps small enough for the registers.

Where all a graph does between the observations and its sums over the rows is local to a row and a few vectors wide, no
intermediate value needs memory: one loop over the rows computes them and adds to every sum.

In: the live values of a graph. Out: a ``Region``: what is computed inside the loop, what it stores; empty if there is
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..graph import ROWS, Value
from .ir import Axis

MAX_VECTORS = 4
MAX_ACCUMULATORS = 20
UNROLLED = 8
LOCAL = {"broadcast", "reshape", "permute", "sum", "max", "contract", "constant", "iota", "rows"}


@dataclass(frozen=True, slots=True)
class Region:
    """inside: ids of values that are never stored. stored: the sums over rows, by id. lanes: the vector axis."""

    inside: frozenset[int] = frozenset()
    stored: Mapping[int, Value] = field(default_factory=dict)
    lanes: Axis = field(default=Axis("lanes", 1))


def resident_region(
    live: Sequence[Value], order_of: Callable[[Value], Sequence[int]], vector_bytes: int
) -> Region:
    """The region of a graph, or an empty one. order_of: a value's dimensions from outermost to innermost."""
    rowwise = [v for v in live if ROWS in v.shape and v.op.name != "input"]
    sums = [v for v in live if ROWS not in v.shape and any(ROWS in x.shape for x in v.inputs)]
    if not sums or not rowwise or not all(_is_row_sum(v) for v in sums):
        return Region()
    behind = {v.id for v in sums}
    for v in live:
        if any(x.id in behind for x in v.inputs):
            behind.add(v.id)
    if any(v.id in behind for v in rowwise):
        return Region()
    width = vector_bytes // max(v.dtype.itemsize for v in live if v.dtype.is_float)
    extent = max((_extents(v) or [1])[-1] for v in (*rowwise, *sums))
    if not width <= 4 * extent <= 4 * MAX_VECTORS * width:
        return Region()
    if not all(_fits(v, extent) for v in rowwise):
        return Region()
    if not all(_shape_fits(v, extent, order_of(v)) for v in sums):
        return Region()
    vectors = sum(_vectors(v, extent, width) for v in sums)
    if vectors > MAX_ACCUMULATORS:
        return Region()
    return Region(frozenset(v.id for v in rowwise), {v.id: v for v in sums}, Axis(f"lanes{extent}", extent))


def _extents(v: Value) -> list[int]:
    """What is larger than one, without the rows."""
    return [d for d in v.shape if isinstance(d, int) and d != 1]


def _is_row_sum(v: Value) -> bool:
    if v.op.name == "sum":
        return all(v.inputs[0].shape[d] in (ROWS, 1) for d in v.attrs["dims"])
    return v.op.name == "contract" and not v.attrs["batch"] and len(v.attrs["axes"]) == 1


def _shape_fits(v: Value, extent: int, order: Sequence[int]) -> bool:
    """Whether a sum is a number, or rows of which each lies along the lanes in memory."""
    mine = [v.shape[d] for d in order if v.shape[d] != 1]
    return not mine or (mine.count(extent) == 1 and len(mine) <= 2 and mine[-1] == extent)


def _fits(v: Value, extent: int) -> bool:
    """Whether a value of a row lies in vectors of the lanes axis, and is made from such."""
    if v.op.name not in LOCAL and not _is_pointwise(v):
        return False
    if v.shape[0] is not ROWS or len(_extents(v)) > 1 or any(e != extent for e in _extents(v)):
        return False
    if v.op.name in ("sum", "max"):
        summed = [v.inputs[0].shape[d] for d in v.attrs["dims"]]
        return all(e in (1, extent) for e in summed)
    if v.op.name != "contract":
        return True
    if v.attrs["batch"] or len(v.attrs["axes"]) != 1:
        return False
    depth = v.inputs[0].shape[v.attrs["axes"][0][0]]
    if depth == extent:
        return not _extents(v)
    return isinstance(depth, int) and depth <= UNROLLED


def _is_pointwise(v: Value) -> bool:
    return bool(v.inputs) and v.op.name != "random" and all(x.shape == v.shape for x in v.inputs)


def _vectors(v: Value, extent: int, width: int) -> int:
    mine = _extents(v)
    total = 1
    for e in mine:
        total *= -(-e // width) if e == extent else e
    return total


__all__ = ["Region", "resident_region"]
