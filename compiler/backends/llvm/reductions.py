"""Reductions as loops: an accumulator for each point of the tile, in vectors along the lanes axis of the tile or of
the reduction itself. The order of additions depends on the kernel alone, never on threads or on the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph import ROWS, DType
from ...loops.ir import Apply, Axis, Combine, Reduction, Scalar
from .scalars import ROWS as SCALARS
from .scalars import Operand, mangled, type_text

if TYPE_CHECKING:
    from .kernel import KernelWriter, Point


def reduce_points(w: KernelWriter, e: Reduction, points: Sequence[Point]) -> list[Operand]:
    """Emits the loops at the writer's current level; one result for each point."""
    return _Loops(w, e, points).run()


class _Loops:
    def __init__(self, w: KernelWriter, e: Reduction, points: Sequence[Point]) -> None:
        self.w, self.e, self.points = w, e, points
        self.outer_lanes = w.lane_axis
        last = e.axes[-1]
        self.own = last if last.name in w.plan.lanes else None
        depends = w.lane_axis is not None and w.lane_axis in e.free
        assert not (self.own and depends), "bug in netc: two lanes axes in one expression"
        self.lanes = w.plan.width if self.own or depends else 1
        self.is_arg = e.combine is Combine.argmax
        self.dtype = e.body.dtype

    def run(self) -> list[Operand]:
        if self.own is not None:
            self.w.lane_axis = self.own
        start = [self._start() for _ in self.points]
        state = self._nest(list(self.e.axes), start)
        if self.own is not None:
            state = [self._across(s) for s in state]
        self.w.lane_axis = self.outer_lanes
        return [Operand(s[-1], self.e.dtype, 1 if self.own is not None else self.lanes) for s in state]

    def _start(self) -> tuple[str, ...]:
        if self.e.combine is Combine.sum:
            return (self.w.literal(0.0 if self.dtype.is_float else 0, self.dtype, self.lanes),)
        lowest = float("-inf") if self.dtype.is_float else -(2**63)
        first = self.w.literal(lowest, self.dtype, self.lanes)
        return (first, self.w.literal(-1, DType.int64, self.lanes)) if self.is_arg else (first,)

    def _types(self) -> tuple[str, ...]:
        value = type_text(self.dtype, self.lanes)
        return (value, type_text(DType.int64, self.lanes)) if self.is_arg else (value,)

    def _nest(self, axes: list[Axis], state: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        if not axes:
            return [self._combine(s, p) for s, p in zip(state, self.points, strict=True)]
        axis, rest = axes[0], axes[1:]
        if axis == self.own:
            return self._lane_axis(axis, state)
        return self._loop(axis, "0", "%rows" if axis.extent is ROWS else str(axis.extent), 1, state, rest)

    def _lane_axis(self, axis: Axis, state: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        assert isinstance(axis.extent, int)
        whole = axis.extent // self.lanes * self.lanes
        if whole:
            state = self._loop(axis, "0", str(whole), self.lanes, state, [])
        if whole < axis.extent:
            state = self._fixed(axis, whole, state, [], axis.extent - whole)
        return state

    def _fixed(
        self, axis: Axis, value: int, state: list[tuple[str, ...]], rest: list[Axis], active: int = 0
    ) -> list[tuple[str, ...]]:
        w = self.w
        w.values[axis] = str(value)
        label = f"fix{next(w.names)}"
        w._push(axis, label)
        self.active = active
        result = self._nest(rest, state)
        self.active = 0
        scope = w._pop()
        outer = w.scopes[w.level]
        outer.lines += [f"  br label %{label}", f"{label}:", *scope.lines]
        outer.label = scope.label
        return result

    active = 0

    def _loop(
        self, axis: Axis, start: str, end: str, step: int, state: list[tuple[str, ...]], rest: list[Axis]
    ) -> list[tuple[str, ...]]:
        w = self.w
        if end == str(step):
            return self._fixed(axis, 0, state, rest)
        n = next(w.names)
        counter = f"%x{n}"
        w.values[axis] = counter
        w._push(axis, f"head{n}")
        phis = [tuple(f"%a{n}.{i}.{j}" for j in range(len(s))) for i, s in enumerate(state)]
        result = self._nest(rest, phis)
        scope = w._pop()
        outer = w.scopes[w.level]
        latch = scope.label
        types = self._types()
        lines = [f"  br label %pre{n}", f"pre{n}:", f"  br label %head{n}", f"head{n}:"]
        lines.append(f"  {counter} = phi i64 [ {start}, %pre{n} ], [ {counter}.next, %{latch} ]")
        for phi, first, last in zip(phis, state, result, strict=True):
            for name, a, b, t in zip(phi, first, last, types, strict=True):
                lines.append(f"  {name} = phi {t} [ {a}, %pre{n} ], [ {b}, %{latch} ]")
        lines += scope.lines
        lines += [
            f"  {counter}.next = add nuw nsw i64 {counter}, {step}",
            f"  %again{n} = icmp ult i64 {counter}.next, {end}",
            f"  br i1 %again{n}, label %head{n}, label %exit{n}",
            f"exit{n}:",
        ]
        outer.lines += lines
        outer.label = f"exit{n}"
        return result

    def _combine(self, state: tuple[str, ...], point: Point) -> tuple[str, ...]:
        w, e, t = self.w, self.e, self._types()[0]
        is_product = isinstance(e.body, Apply) and e.body.op is Scalar.mul and self.dtype.is_float
        if e.combine is Combine.sum and is_product and not self.active:
            assert isinstance(e.body, Apply)
            a, b = (w._spread(x, w._value(x, point), self.lanes, point) for x in e.body.arguments)
            suffix = mangled(Operand("", self.dtype, self.lanes))
            return (w.emit(f"call {t} @llvm.fma.{suffix}({t} {a.text}, {t} {b.text}, {t} {state[0]})"),)
        value = w._spread(e.body, w._value(e.body, point), self.lanes, point)
        if self.active:
            value = self._only_active(value)
        if e.combine is Combine.sum:
            return (w.emit(f"{'fadd' if self.dtype.is_float else 'add'} {t} {state[0]}, {value.text}"),)
        if e.combine is Combine.max:
            row = SCALARS[Scalar.maximum]
            return (row(w, [Operand(state[0], self.dtype, self.lanes), value], self.dtype),)
        return self._larger(state, (value.text, self._position(point)))

    def _only_active(self, value: Operand) -> Operand:
        bits = (
            "<" + ", ".join(f"i1 {'true' if i < self.active else 'false'}" for i in range(self.lanes)) + ">"
        )
        text = self.w.emit(
            f"select <{self.lanes} x i1> {bits}, {value.type} {value.text}, {value.type} {self._start()[0]}"
        )
        return Operand(text, value.dtype, self.lanes)

    def _position(self, point: Point) -> str:
        from ...loops.ir import Affine

        index, stride = Affine(), 1
        for axis in reversed(self.e.axes):
            index = index + Affine.of(axis) * stride
            stride *= axis.extent if isinstance(axis.extent, int) else 1
        if self.own is not None:
            return self.w._index(index, point, self.lanes)
        return self.w._splat(Operand(self.w._index(index, point, 1), DType.int64), self.lanes).text

    def _larger(self, old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
        """The pair of the larger value, the earlier position among equals; a NaN counts as largest."""
        w, (t, it) = self.w, self._types()
        bits = type_text(DType.bool, self.lanes)
        if self.dtype.is_float:
            above = w.emit(f"fcmp ogt {t} {new[0]}, {old[0]}")
            new_nan = w.emit(f"fcmp uno {t} {new[0]}, {new[0]}")
            old_number = w.emit(f"fcmp ord {t} {old[0]}, {old[0]}")
            nan = w.emit(f"and {bits} {new_nan}, {old_number}")
            above = w.emit(f"or {bits} {above}, {nan}")
        else:
            above = w.emit(f"icmp sgt {t} {new[0]}, {old[0]}")
        first = w.emit(f"icmp slt {it} {old[1]}, {w.literal(0, DType.int64, self.lanes)}")
        take = w.emit(f"or {bits} {above}, {first}")
        return (
            w.emit(f"select {bits} {take}, {t} {new[0]}, {t} {old[0]}"),
            w.emit(f"select {bits} {take}, {it} {new[1]}, {it} {old[1]}"),
        )

    def _across(self, state: tuple[str, ...]) -> tuple[str, ...]:
        """The lanes of an accumulator together: halves are combined until one is left (sum, max), or lane by lane."""
        w, lanes = self.w, self.lanes
        if self.is_arg:
            return self._across_positions(state)
        text, t = state[0], type_text(self.dtype, lanes)
        half = lanes // 2
        while half:
            order = ", ".join(f"i32 {i + half if i < half else 0}" for i in range(lanes))
            other = w.emit(f"shufflevector {t} {text}, {t} poison, <{lanes} x i32> <{order}>")
            operands = [Operand(text, self.dtype, lanes), Operand(other, self.dtype, lanes)]
            op = Scalar.add if self.e.combine is Combine.sum else Scalar.maximum
            text = SCALARS[op](w, operands, self.dtype)
            half //= 2
        return (w.emit(f"extractelement {t} {text}, i32 0"),)

    def _across_positions(self, state: tuple[str, ...]) -> tuple[str, ...]:
        w, lanes = self.w, self.lanes
        types = self._types()
        pairs = []
        for lane in range(lanes):
            pairs.append(
                tuple(
                    w.emit(f"extractelement {t} {s}, i32 {lane}") for s, t in zip(state, types, strict=True)
                )
            )
        self.lanes = 1
        best = pairs[0]
        for pair in pairs[1:]:
            best = self._earlier(best, pair)
        self.lanes = lanes
        return best

    def _earlier(self, a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
        """Of two lanes' pairs the larger, of equals the earlier; a lane that saw nothing has position -1."""
        w, (t, it) = self.w, self._types()
        c = self._larger(a, b)
        equal = w.emit(f"{'fcmp ueq' if self.dtype.is_float else 'icmp eq'} {t} {a[0]}, {b[0]}")
        seen = w.emit(f"icmp sge i64 {b[1]}, 0")
        before = w.emit(f"icmp slt i64 {b[1]}, {a[1]}")
        both = w.emit(f"and i1 {equal}, {before}")
        use_b = w.emit(f"and i1 {both}, {seen}")
        empty = w.emit(f"icmp slt i64 {b[1]}, 0")
        value = w.emit(f"select i1 {use_b}, {t} {b[0]}, {t} {c[0]}")
        at = w.emit(f"select i1 {use_b}, {it} {b[1]}, {it} {c[1]}")
        return (
            w.emit(f"select i1 {empty}, {t} {a[0]}, {t} {value}"),
            w.emit(f"select i1 {empty}, {it} {a[1]}, {it} {at}"),
        )
