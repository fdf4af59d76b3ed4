"""Reductions as loops: one loop for all that run over the same axes, an accumulator for each of them and each point of
the tile, in vectors along the lanes axis of the tile or of the reduction itself.

Short axes are unrolled. A sum with few accumulators is kept in several partial ones, so that additions overlap. The
order of additions depends on the kernel and the number of rows alone, never on threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...graph import ROWS, DType
from ...loops.ir import Affine, Apply, Axis, Combine, Load, Reduction, Scalar
from .positions import earlier, larger
from .scalars import ROWS as SCALARS
from .scalars import Operand, mangled, type_text
from .scatter import one_place

if TYPE_CHECKING:
    from .access import Point
    from .expressions import ExpressionWriter

State = tuple[str, ...]
UNROLLED = 8
"""The longest axis that becomes straight code."""
STRAIGHT = 16
"""The most vectors of a lanes axis, over all parts, that become straight code."""
ACCUMULATORS = 8
"""Independent sums that hide the latency of an addition."""


@dataclass(frozen=True, slots=True)
class Part:
    """One reduction at one point of the tile."""

    e: Reduction
    point: Point


def reduce_parts(w: ExpressionWriter, parts: Sequence[Part]) -> list[Operand]:
    """Emits the loops at the writer's current level; one result for each part. All have the same axes."""
    return _Loops(w, parts).run()


def reduce_tile(w: ExpressionWriter, e: Reduction, point: Point) -> Operand:
    """A reduction over the lanes axis of a tile that holds the axis wholly: its vectors, then their lanes."""
    axis = e.axes[-1]
    assert isinstance(axis.extent, int)
    loops = _Loops(w, [Part(e, point)], tile=True)
    state = loops.start(0)
    for i in range(w.tile_points[axis]):
        loops.active = axis.extent - i * loops.lanes[0]
        rest = tuple((a, k) for a, k in point if a != axis)
        state = loops.combine(0, state, (*rest, (axis, i)))
    text = loops.across(0, state)[-1]
    return Operand(text, e.dtype)


class _Loops:
    def __init__(self, w: ExpressionWriter, parts: Sequence[Part], *, tile: bool = False) -> None:
        self.w, self.parts = w, parts
        self.axes = parts[0].e.axes
        self.outer_lanes = w.lane_axis
        self.pick = None if tile else w.pick(parts[0].e)
        lanes = (a for a in self.axes if a.name in w.plan.lanes and a != w.lane_axis and not self.pick)
        self.own = self.axes[-1] if tile else next(lanes, None)
        self.lanes = [self._lanes_of(p.e) for p in parts]
        self.full = sum(w.full_points(e) for e in dict.fromkeys(p.e for p in parts))
        """The accumulators of a whole tile: what is left over after the last tile adds up in the same order."""
        self.extra: Point = ()
        self.active = 0
        """How many lanes of a vector count, where not all do."""
        self.rows_left = False
        """Whether a vector holds the rows that are left over."""
        self.mask = ""
        """Which lanes count, where the number of rows decides."""

    def _lanes_of(self, e: Reduction) -> int:
        depends = self.w.lane_axis is not None and self.w.lane_axis in e.free
        assert not (self.own is not None and depends), "bug in netc: two lanes axes in one expression"
        return self.w.plan.width if self.own is not None or depends else 1

    def run(self) -> list[Operand]:
        kept = {a: (self.w.values.get(a), self.w.depth.get(a)) for a in self.axes}
        if self.own is not None:
            self.w.lane_axis = self.own
        axes = list(self.axes)
        if self.pick is not None:
            axes = [*(a for a in axes if a != self.pick.axis), self.pick.axis]
        first = [self.w.resumed(p, self.start(i)) for i, p in enumerate(self.parts)]
        state = self._nest(axes, first)
        if self.own is not None:
            state = [self.across(i, s) for i, s in enumerate(state)]
        self.w.lane_axis = self.outer_lanes
        for axis, (value, depth) in kept.items():
            if value is not None and depth is not None:
                self.w.values[axis], self.w.depth[axis] = value, depth
        lanes = [1] * len(state) if self.own is not None else self.lanes
        return [Operand(s[-1], p.e.dtype, n) for s, p, n in zip(state, self.parts, lanes, strict=True)]

    # accumulators

    def start(self, i: int) -> State:
        """What an accumulator begins with."""
        e, lanes = self.parts[i].e, self.lanes[i]
        dtype = e.body.dtype
        if e.combine is Combine.sum:
            return (self.w.literal(0.0 if dtype.is_float else 0, dtype, lanes),)
        lowest = float("-inf") if dtype.is_float else -(2**63)
        first = self.w.literal(lowest, dtype, lanes)
        return (first, self.w.literal(-1, DType.int64, lanes)) if e.combine is Combine.argmax else (first,)

    def _types(self, i: int) -> State:
        e, lanes = self.parts[i].e, self.lanes[i]
        value = type_text(e.body.dtype, lanes)
        return (value, type_text(DType.int64, lanes)) if e.combine is Combine.argmax else (value,)

    def combine(self, i: int, state: State, point: Point) -> State:
        """The accumulator with the body's value at a point."""
        w, e, lanes = self.w, self.parts[i].e, self.lanes[i]
        dtype, t = e.body.dtype, self._types(i)[0]
        is_product = isinstance(e.body, Apply) and e.body.op is Scalar.mul and dtype.is_float
        zero = is_product and all(isinstance(x, Load) for x in e.body.arguments)  # type: ignore[union-attr]
        masked = (bool(self.mask) and not zero) or 0 < self.active < lanes
        if e.combine is Combine.sum and is_product and not masked:
            assert isinstance(e.body, Apply)
            a, b = (w._spread(x, w._value(x, point), lanes, point) for x in e.body.arguments)
            suffix = mangled(Operand("", dtype, lanes))
            return (w.emit(f"call {t} @llvm.fmuladd.{suffix}({t} {a.text}, {t} {b.text}, {t} {state[0]})"),)
        value = w._spread(e.body, w._value(e.body, point), lanes, point)
        if masked:
            value = self._only_active(i, value)
        if e.combine is Combine.argmax:
            return larger(w, dtype, lanes, state, (value.text, self._position(i, point)))
        return (self._together(i, state[0], value.text, lanes),)

    def _together(self, i: int, a: str, b: str, lanes: int) -> str:
        e = self.parts[i].e
        op = Scalar.add if e.combine is Combine.sum else Scalar.maximum
        operands = [Operand(a, e.body.dtype, lanes), Operand(b, e.body.dtype, lanes)]
        return SCALARS[op](self.w, operands, e.body.dtype)

    def _only_active(self, i: int, value: Operand) -> Operand:
        lanes = self.lanes[i]
        flags = ", ".join(f"i1 {'true' if k < self.active else 'false'}" for k in range(lanes))
        mask = self.mask or f"<{flags}>"
        text = self.w.emit(
            f"select <{lanes} x i1> {mask}, {value.type} {value.text}, {value.type} {self.start(i)[0]}"
        )
        return Operand(text, value.dtype, lanes)

    def _position(self, i: int, point: Point) -> str:
        index, stride = Affine(), 1
        for axis in reversed(self.axes):
            index = index + Affine.of(axis) * stride
            stride *= axis.extent if isinstance(axis.extent, int) else 1
        if self.own is not None:
            return self.w._index(index, point, self.lanes[i])
        return self.w._splat(Operand(self.w._index(index, point, 1), DType.int64), self.lanes[i]).text

    def across(self, i: int, state: State) -> State:
        """The lanes of an accumulator together: halves are combined until one is left."""
        w, e, count = self.w, self.parts[i].e, self.lanes[i]
        while count > 1:
            count //= 2
            low, high = self._halves(i, state, count)
            if e.combine is Combine.argmax:
                state = earlier(w, e.body.dtype, count, low, high)
            else:
                state = (self._together(i, low[0], high[0], count),)
        return state

    def _halves(self, i: int, state: State, half: int) -> tuple[State, State]:
        """The lower and the upper half of an accumulator's lanes."""
        w = self.w
        kinds = [self.parts[i].e.body.dtype, DType.int64][: len(state)]
        found = []
        for first in (0, half):
            order = ", ".join(f"i32 {first + k}" for k in range(half))
            part = []
            for text, kind in zip(state, kinds, strict=True):
                t = type_text(kind, 2 * half)
                if half == 1:
                    part.append(w.emit(f"extractelement {t} {text}, i32 {first}"))
                else:
                    part.append(w.emit(f"shufflevector {t} {text}, {t} poison, <{half} x i32> <{order}>"))
            found.append(tuple(part))
        return found[0], found[1]

    # loops

    def _nest(self, axes: list[Axis], state: list[State]) -> list[State]:
        if not axes:
            return [self.combine(i, s, (*self.parts[i].point, *self.extra)) for i, s in enumerate(state)]
        axis, rest = axes[0], axes[1:]
        if self.w.terms is not None and axis == self.axes[0]:
            return self._loop(axis, *self.w.terms, 1, state, rest)
        if self.pick is not None and axis == self.pick.axis:
            point = (*self.parts[0].point, *self.extra)
            index, stop = one_place(self.w, self.w._value(self.pick.index, point).text, "0", str(axis.extent))
            return self._loop(axis, index, stop, 1, state, rest, maybe_empty=True)
        if axis == self.own and axis.extent is ROWS:
            return self._row_lanes(axis, state, rest)
        if axis == self.own:
            return self._lane_axis(axis, state)
        if isinstance(axis.extent, int) and axis.extent <= UNROLLED and self._short(axis.extent, rest):
            return self._straight(axis, axis.extent, state, rest)
        if axis.extent is ROWS:
            return self._over_rows(axis, state, rest)
        return self._loop(axis, "0", str(axis.extent), 1, state, rest)

    def _short(self, extent: int, rest: Sequence[Axis]) -> bool:
        size = extent * len(self.parts)
        for axis in rest:
            if axis != self.own and isinstance(axis.extent, int) and axis.extent <= UNROLLED:
                size *= axis.extent
        return size <= 80

    def _straight(self, axis: Axis, count: int, state: list[State], rest: list[Axis]) -> list[State]:
        """An axis as points of the tile: straight code, loads shared."""
        w = self.w
        w.values[axis], w.depth[axis] = "0", w.level
        before = self.extra
        for k in range(count):
            self.extra = (*before, (axis, k))
            state = self._nest(rest, state)
        self.extra = before
        return state

    def _partials(self) -> int:
        if any(p.e.combine is Combine.argmax for p in self.parts):
            return 1
        return max(1, min(4, ACCUMULATORS // self.full))

    def _lane_axis(self, axis: Axis, state: list[State]) -> list[State]:
        assert isinstance(axis.extent, int)
        lanes = self.lanes[0]
        vectors, left = divmod(axis.extent, lanes)
        if (vectors + 1) * self.full <= STRAIGHT:
            return self._straight_lanes(axis, state)
        partials = min(self._partials(), vectors)
        whole = vectors - vectors % partials if partials else 0
        if whole:
            state = self._partial(axis, "0", str(whole * lanes), partials, lanes, state, [])
        if whole < vectors:
            state = self._loop(axis, str(whole * lanes), str(vectors * lanes), lanes, state, [])
        if left:
            self.active = left
            state = self._fixed(axis, vectors * lanes, state)
            self.active = 0
        return state

    def _row_lanes(self, axis: Axis, state: list[State], rest: list[Axis]) -> list[State]:
        """Rows in the lanes: whole vectors of them, then one in which those behind the last row are masked."""
        w, lanes = self.w, self.lanes[0]
        whole = w.emit(f"and i64 %rows, {-lanes}")
        state = self._loop(axis, "0", whole, lanes, state, rest, maybe_empty=True)
        self.rows_left = True
        state = self._loop(axis, whole, "%rows", lanes, state, rest, maybe_empty=True)
        self.rows_left = False
        self.mask = w.row_mask = ""
        return state

    def _mask_rows(self, axis: Axis) -> None:
        """Which lanes hold a row, for the vector of rows that this turn of the loop is at."""
        w, lanes = self.w, self.lanes[0]
        left = w._splat(Operand(w.emit(f"sub i64 %rows, {w.values[axis]}"), DType.int64), lanes).text
        t, steps = type_text(DType.int64, lanes), ", ".join(f"i64 {k}" for k in range(lanes))
        self.mask = w.row_mask = w.emit(f"icmp slt {t} <{steps}>, {left}")

    def _straight_lanes(self, axis: Axis, state: list[State]) -> list[State]:
        """The vectors of a short lanes axis, the last one perhaps in part."""
        w, lanes = self.w, self.lanes[0]
        assert isinstance(axis.extent, int)
        w.values[axis], w.depth[axis] = "0", w.level
        before = self.extra
        for k in range(-(-axis.extent // lanes)):
            self.extra, self.active = (*before, (axis, k)), axis.extent - k * lanes
            state = self._nest([], state)
        self.extra, self.active = before, 0
        return state

    def _over_rows(self, axis: Axis, state: list[State], rest: list[Axis]) -> list[State]:
        partials = self._partials()
        if partials == 1 or rest:
            return self._loop(axis, "0", "%rows", 1, state, rest)
        w = self.w
        n = next(w.names)
        left = w.emit(f"urem i64 %rows, {partials}")
        whole = w.emit(f"sub i64 %rows, {left}")
        state = self._partial(axis, "0", whole, partials, 1, state, rest, label=n)
        return self._loop(axis, whole, "%rows", 1, state, rest, maybe_empty=True)

    def _partial(
        self, axis: Axis, start: str, end: str, count: int, step: int, state: list[State], rest: list[Axis],
        label: int | None = None,
    ) -> list[State]:  # fmt: skip
        """A loop over several neighbours at a time, each with accumulators of its own, added up in a tree."""
        if count == 1:
            return self._loop(axis, start, end, step, state, rest)
        parts = self.parts
        wide = [s if k == 0 else self.start(i) for k in range(count) for i, s in enumerate(state)]
        self.parts, self.lanes = list(parts) * count, self.lanes * count
        self.spread = len(parts)
        wide = self._loop(axis, start, end, step * count, wide, rest, maybe_empty=label is not None)
        self.spread = 0
        size = len(parts)
        groups = [wide[k * size : (k + 1) * size] for k in range(count)]
        while len(groups) > 1:
            groups = [self._added(groups[k], groups[k + 1]) if k + 1 < len(groups) else groups[k]
                      for k in range(0, len(groups), 2)]  # fmt: skip
        self.parts, self.lanes = parts, self.lanes[:size]
        return groups[0]

    spread = 0
    """Where not 0: that many parts, several times over; each repetition is the next step of the loop's axis."""

    def _added(self, a: list[State], b: list[State]) -> list[State]:
        return [
            (self._together(i, x[0], y[0], self.lanes[i]),) for i, (x, y) in enumerate(zip(a, b, strict=True))
        ]

    def _fixed(self, axis: Axis, value: int, state: list[State]) -> list[State]:
        """The last, partly used vector."""
        w = self.w
        w.values[axis] = str(value)
        label = f"fix{next(w.names)}"
        w._push(axis, label)
        result = self._nest([], state)
        scope = w._pop()
        outer = w.scopes[w.level]
        outer.lines += [f"  br label %{label}", f"{label}:", *scope.lines]
        outer.label = scope.label
        return result

    def _loop(
        self, axis: Axis, start: str, end: str, step: int, state: list[State], rest: list[Axis], *,
        maybe_empty: bool = False,
    ) -> list[State]:  # fmt: skip
        w = self.w
        n = next(w.names)
        counter = f"%x{n}"
        w.values[axis] = counter
        w._push(axis, f"head{n}")
        phis = [tuple(f"%a{n}.{i}.{j}" for j in range(len(s))) for i, s in enumerate(state)]
        result = self._body(axis, phis, rest)
        scope = w._pop()
        outer = w.scopes[w.level]
        before, latch = outer.label, scope.label
        types = [self._types(i) for i in range(len(state))]
        if maybe_empty:
            some = w.emit(f"icmp ult i64 {start}, {end}")
            lines = [f"  br i1 {some}, label %pre{n}, label %exit{n}"]
        else:
            lines = [f"  br label %pre{n}"]
        lines += [f"pre{n}:", f"  br label %head{n}", f"head{n}:"]
        lines.append(f"  {counter} = phi i64 [ {start}, %pre{n} ], [ {counter}.next, %{latch} ]")
        for phi, first, last, kinds in zip(phis, state, result, types, strict=True):
            for name, a, b, t in zip(phi, first, last, kinds, strict=True):
                lines.append(f"  {name} = phi {t} [ {a}, %pre{n} ], [ {b}, %{latch} ]")
        lines += scope.lines
        lines += [
            f"  {counter}.next = add nuw nsw i64 {counter}, {step}",
            f"  %again{n} = icmp ult i64 {counter}.next, {end}",
            f"  br i1 %again{n}, label %head{n}, label %exit{n}",
            f"exit{n}:",
        ]
        if maybe_empty:
            merged = [tuple(f"{name}.out" for name in phi) for phi in phis]
            for phi, first, last, kinds in zip(merged, state, result, types, strict=True):
                for name, a, b, t in zip(phi, first, last, kinds, strict=True):
                    lines.append(f"  {name} = phi {t} [ {a}, %{before} ], [ {b}, %{latch} ]")
            result = merged
        outer.lines += lines
        outer.label = f"exit{n}"
        return result

    def _body(self, axis: Axis, state: list[State], rest: list[Axis]) -> list[State]:
        if self.rows_left and axis == self.own:
            self._mask_rows(axis)
        if not self.spread:
            return self._nest(rest, state)
        assert not rest
        before = self.extra
        result = []
        for i, s in enumerate(state):
            self.extra = (*before, (axis, i // self.spread))
            result.append(self.combine(i, s, (*self.parts[i].point, *self.extra)))
        self.extra = before
        return result
