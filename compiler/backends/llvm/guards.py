"""Guarded expressions: a value where conditions on indices hold, another elsewhere.

Both sides are computed and one is selected; the loads of the guarded side have every index brought inside its buffer,
so that nothing is ever read out of bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph import ROWS, DType
from ...loops.ir import Affine, Apply, Axis, Condition, Expr, Extent, Guarded, Load
from .scalars import ROWS as SCALARS
from .scalars import Operand, type_text

if TYPE_CHECKING:
    from .access import Point
    from .expressions import ExpressionWriter


def guarded(w: ExpressionWriter, e: Guarded, point: Point) -> Operand:
    """Both sides where the guard depends on lanes; otherwise a branch, so that no load leaves its buffer."""
    lanes = w._lanes(e.free)
    test_free = frozenset[Axis]().union(*(c.index.axes() for c in e.conditions))
    test_lanes = w._lanes(test_free)
    test = holds(w, e.conditions, point, test_lanes)
    body = clamped(w, e.body, e.conditions, point)
    body = w._splat(body, lanes)
    otherwise = w._spread(e.otherwise, w._value(e.otherwise, point), lanes, point)
    bits = w._splat(Operand(test, DType.bool, test_lanes), lanes)
    text = w.emit(
        f"select {bits.type} {bits.text}, {body.type} {body.text}, {otherwise.type} {otherwise.text}"
    )
    return Operand(text, e.dtype, lanes)


def holds(w: ExpressionWriter, conditions: Sequence[Condition], point: Point, lanes: int) -> str:
    total = w.literal(True, DType.bool, lanes)
    t, bits = type_text(DType.int64, lanes), type_text(DType.bool, lanes)
    for condition in conditions:
        index = w._index(condition.index, point, lanes)
        if condition.lower is not None:
            part = w.emit(f"icmp sge {t} {index}, {w.literal(condition.lower, DType.int64, lanes)}")
            total = w.emit(f"and {bits} {total}, {part}")
        if condition.upper is not None:
            upper = "%rows" if condition.upper is ROWS else str(condition.upper)
            bound = (
                w._splat(Operand(upper, DType.int64), lanes).text
                if condition.upper is ROWS
                else w.literal(int(upper), DType.int64, lanes)
            )
            part = w.emit(f"icmp slt {t} {index}, {bound}")
            total = w.emit(f"and {bits} {total}, {part}")
    return total


def clamped(w: ExpressionWriter, e: Expr, conditions: Sequence[Condition], point: Point) -> Operand:
    """An expression whose loads may be asked outside their buffers: every index is brought inside."""
    match e:
        case Load():
            return clamped_load(w, e, point)
        case Apply():
            lanes = w._lanes(e.free)
            operands = [w._splat(clamped(w, a, conditions, point), lanes) for a in e.arguments]
            return Operand(SCALARS[e.op](w, operands, e.dtype), e.dtype, lanes)
        case Guarded():
            lanes = w._lanes(e.free)
            test_lanes = w._lanes(frozenset[Axis]().union(*(c.index.axes() for c in e.conditions)))
            test = w._splat(Operand(holds(w, e.conditions, point, test_lanes), DType.bool, test_lanes), lanes)
            body = w._splat(clamped(w, e.body, e.conditions, point), lanes)
            other = w._splat(clamped(w, e.otherwise, conditions, point), lanes)
            text = w.emit(
                f"select {test.type} {test.text}, {body.type} {body.text}, {other.type} {other.text}"
            )
            return Operand(text, e.dtype, lanes)
        case _:
            return w._value(e, point)


def clamped_load(w: ExpressionWriter, e: Load, point: Point) -> Operand:
    """A load with every index brought inside its dimension; numbers where they can be, lanes where they must."""
    lanes = w._lanes(e.free)
    side_by_side = (
        lanes > 1 and e.buffer.block == w.plan.width and w.lane_axis is not None
        and e.index[0] == Affine.of(w.lane_axis)
    )  # fmt: skip
    wide = 1 if side_by_side else lanes
    parts = []
    for d, (index, extent) in enumerate(zip(e.index, e.buffer.shape, strict=True)):
        if d == 0 and side_by_side:
            parts.append(w.values[w.lane_axis])  # type: ignore[index]
        else:
            parts.append(_inside(w, w._index(index, point, wide), extent, wide))
    total = _offset(w, e, parts, wide, side_by_side)
    name, dtype = w._buffer(e.buffer), e.buffer.dtype
    element = "i8" if dtype is DType.bool else type_text(dtype, 1)
    if wide == 1:
        address = w.emit(f"getelementptr {element}, ptr {name}, i64 {total}")
        return w._from_memory(e.buffer, address, lanes, None)
    t = type_text(DType.int64, lanes)
    text, to = "poison", f"<{lanes} x {element}>"
    for lane in range(lanes):
        one = w.emit(f"extractelement {t} {total}, i32 {lane}")
        address = w.emit(f"getelementptr {element}, ptr {name}, i64 {one}")
        value = w.emit(f"load {element}, ptr {address}, align {dtype.itemsize}")
        text = w.emit(f"insertelement {to} {text}, {element} {value}, i32 {lane}")
    if dtype is DType.bool:
        text = w.emit(f"trunc {to} {text} to <{lanes} x i1>")
    return Operand(text, dtype, lanes)


def _inside(w: ExpressionWriter, value: str, extent: Extent, lanes: int) -> str:
    """An index brought between the ends of its dimension."""
    t, s = type_text(DType.int64, lanes), "i64" if lanes == 1 else f"v{lanes}i64"
    if extent is ROWS:
        upper = w._splat(Operand(w.emit("sub i64 %rows, 1"), DType.int64), lanes).text
    else:
        upper = w.literal(int(extent) - 1, DType.int64, lanes)
    value = w.emit(f"call {t} @llvm.smax.{s}({t} {value}, {t} {w.literal(0, DType.int64, lanes)})")
    return w.emit(f"call {t} @llvm.smin.{s}({t} {value}, {t} {upper})")


def _offset(w: ExpressionWriter, e: Load, parts: Sequence[str], lanes: int, side_by_side: bool) -> str:
    """The offset of an element whose indices are known as text; see ``Buffer.offset``."""
    if e.buffer.panel > 1:
        return _panel_offset(w, e, parts, lanes)
    t, strides, block = type_text(DType.int64, lanes), e.buffer.strides(), e.buffer.block
    total = w.literal(0, DType.int64, lanes)

    def add(value: str, factor: int) -> str:
        scaled = w.emit(f"mul {t} {value}, {w.literal(factor, DType.int64, lanes)}")
        return w.emit(f"add {t} {total}, {scaled}")

    for d, (value, stride) in enumerate(zip(parts, strides, strict=True)):
        if d > 0 or block == 1:
            total = add(value, stride * block)
        elif side_by_side:
            total = add(value, stride)
        else:
            size = w.literal(block, DType.int64, lanes)
            total = add(w.emit(f"udiv {t} {value}, {size}"), stride * block)
            total = add(w.emit(f"urem {t} {value}, {size}"), 1)
    return total


def _panel_offset(w: ExpressionWriter, e: Load, parts: Sequence[str], lanes: int) -> str:
    t, order = type_text(DType.int64, lanes), e.buffer.order
    extent, panel = e.buffer.shape[order[0]], w.literal(e.buffer.panel, DType.int64, lanes)
    many = "%rows" if extent is ROWS else str(extent)
    around, inner = parts[order[0]], parts[order[1]]
    number = w.emit(f"udiv {t} {inner}, {panel}")
    before = w.emit(f"mul {t} {number}, {w._splat(Operand(many, DType.int64), lanes).text}")
    line = w.emit(f"mul {t} {w.emit(f'add {t} {before}, {around}')}, {panel}")
    return w.emit(f"add {t} {line}, {w.emit(f'urem {t} {inner}, {panel}')}")
