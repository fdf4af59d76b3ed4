"""Loads across memory, for a whole tile at once: vectors are read along memory and turned in registers.

In: a load whose neighbours in the lanes lie far apart, while those along an axis of the tile lie side by side. Out: its
values at all points of that axis, so that each cache line is read once and by vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph import DType
from ...loops.ir import Affine, Axis, Load
from .scalars import Operand, type_text

if TYPE_CHECKING:
    from .access import AccessWriter, Point


def turned_axis(w: AccessWriter, offset: Affine, lanes: int) -> Axis | None:
    """The axis of the tile, as many points long as a vector, along which an offset moves by one."""
    coefficients = {atom: c for c, atom in offset.terms if isinstance(atom, Axis)}
    if len(coefficients) < len(offset.terms):
        return None
    for axis, points in w.tile_points.items():
        if points == lanes and axis != w.lane_axis and coefficients.get(axis) == 1:
            return axis
    return None


def turned_load(
    w: AccessWriter, e: Load, offset: Affine, stride: int, axis: Axis, point: Point
) -> list[Operand]:
    """The load at every point of the axis. stride: elements between neighbours in the lanes."""
    lane_axis, lanes = w.lane_axis, w.plan.width
    assert lane_axis is not None
    assert isinstance(lane_axis.extent, int)
    start = tuple((a, 0 if a == axis else i) for a, i in point)
    base, shift = w._axis_value(lane_axis, point)
    active = min(lane_axis.extent - int(base) - shift, lanes) if base.isdigit() else lanes
    rows = [w._address(e.buffer, offset + lane * stride, start) for lane in range(active)]
    found = [w._from_memory(e.buffer, address, lanes, None).text for address in rows]
    found += ["zeroinitializer"] * (lanes - active)
    return [Operand(text, e.dtype, lanes) for text in transposed(w, found, e.dtype)]


def transposed(w: AccessWriter, rows: Sequence[str], dtype: DType) -> list[str]:
    """The columns of a square of vectors: bit by bit, the number of a row and of a lane change places."""
    count, found = len(rows), list(rows)
    t = type_text(dtype, count)
    distance = count // 2
    while distance:
        for i in (i for i in range(count) if not i & distance):
            low = [k if not k & distance else count + k - distance for k in range(count)]
            high = [k + distance if not k & distance else count + k for k in range(count)]
            a, b = found[i], found[i + distance]
            for place, order in ((i, low), (i + distance, high)):
                mask = ", ".join(f"i32 {k}" for k in order)
                found[place] = w.emit(f"shufflevector {t} {a}, {t} {b}, <{count} x i32> <{mask}>")
        distance //= 2
    return found


__all__ = ["transposed", "turned_axis", "turned_load"]
