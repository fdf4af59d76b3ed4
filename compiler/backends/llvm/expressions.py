"""The values of a kernel: each expression at its own loop level, each reduction in one loop for all points of the tile.

In: expressions of the Loop IR and a point of the register tile. Out: instructions, and the operand that holds the value.
Every expression is emitted at the outermost level where its axes are known; the memo of a level holds what it has computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...graph import DType
from ...loops.chunks import partial_sums
from ...loops.ir import (
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
    Scalar,
    Scheduled,
)
from ...loops.picks import Pick, picked
from ...loops.rewrite import children, walk
from .access import AccessWriter, Point
from .guards import guarded
from .reductions import Part, State, reduce_parts, reduce_tile
from .scalars import ROWS as SCALARS
from .scalars import Operand, type_text

if TYPE_CHECKING:
    from .module import Module


class ExpressionWriter(AccessWriter):
    """Emits expressions into the levels of one kernel."""

    def __init__(self, module: Module, scheduled: Scheduled) -> None:
        super().__init__(module, scheduled.schedule)
        self.kernel: Kernel = scheduled.kernel
        self.kernel_lanes: Axis | None = None
        """The axis in the lanes of the loops around the stores."""
        self.outermost = _outermost(self.kernel)
        self.begun: frozenset[Reduction] = frozenset()
        """Reductions whose loops are being emitted."""
        self.partial = partial_sums(self.kernel) if self.plan.chunk else None
        """Where sums wait that are added up in chunks."""
        self.terms: tuple[str, str] | None = None
        """Which terms of such a sum are being added."""
        self.first = self.last = ""
        """Whether these are its first, its last ones."""

    def _value(self, e: Expr, point: Point) -> Operand:
        """The value of an expression at a point of the tile, from the memo or emitted at its level."""
        level = self._level(e)
        key = (e, _at(e, point))
        found = self.scopes[level].memo.get(key)
        if found is not None:
            return found
        # Deeper levels step aside, so that a loop opened here (a reduction's) lies at this level.
        before, aside = self.level, self.scopes[level + 1 :]
        self.scopes, self.level = self.scopes[: level + 1], level
        value = self._emit(e, point)
        self.scopes, self.level = [*self.scopes, *aside], before
        return self.scopes[level].memo.setdefault(key, value)

    def _emit(self, e: Expr, point: Point) -> Operand:
        match e:
            case Constant():
                return Operand(self.literal(e.value, e.dtype, 1), e.dtype)
            case Position():
                lanes = self._lanes(e.free)
                index = Operand(self._index(e.index, point, lanes), DType.int64, lanes)
                return Operand(SCALARS[Scalar.cast](self, [index], e.dtype), e.dtype, lanes)
            case Load():
                return self._load(e, point)
            case Apply():
                return self._apply(e, point)
            case Guarded():
                return guarded(self, e, point)
            case Random():
                return self._random(e, point)
            case Reduction():
                return self._reduction(e, point)

    def _spread(self, e: Expr, value: Operand, lanes: int, point: Point) -> Operand:
        """A number in all lanes, made once at the number's own level."""
        if value.lanes == lanes:
            return value
        if isinstance(e, Constant):
            return Operand(self.literal(e.value, e.dtype, lanes), e.dtype, lanes)
        level = self._level(e)
        key = ("splat", e, _at(e, point), lanes)
        found = self.scopes[level].memo.get(key)
        if found is None:
            before, self.level = self.level, level
            found = self.scopes[level].memo[key] = self._splat(value, lanes)
            self.level = before
        return found

    def _apply(self, e: Apply, point: Point) -> Operand:
        lanes = self._lanes(e.free)
        operands = [self._spread(a, self._value(a, point), lanes, point) for a in e.arguments]
        return Operand(SCALARS[e.op](self, operands, e.dtype), e.dtype, lanes)

    # random draws

    def _random(self, e: Random, point: Point) -> Operand:
        lanes = self._lanes(e.free)
        t = type_text(DType.int64, lanes)
        index = self._index(e.index, point, lanes)
        step = self._splat(Operand("%step", DType.int64), lanes).text
        low = self._splat(Operand(self.emit("and i64 %seed, 4294967295"), DType.int64), lanes).text
        high = self._splat(Operand(self.emit("lshr i64 %seed, 32"), DType.int64), lanes).text
        symbol = self.module.philox(e.dtype, lanes)
        stream = self.literal(e.stream, DType.int64, lanes)
        text = self.emit(
            f"call {type_text(e.dtype, lanes)} {symbol}({t} {index}, {t} {stream}, {t} {step}, {t} {low}, {t} {high})"
        )
        return Operand(text, e.dtype, lanes)

    # reductions

    def _reduction(self, e: Reduction, point: Point) -> Operand:
        """One loop nest for all points of the tile that the reduction depends on, and for its siblings."""
        around = self.lane_axis
        if around not in e.free:
            self.lane_axis = self.kernel_lanes  # a loop in lanes that this does not take part in
        if e.axes == (self.kernel_lanes,):
            result = reduce_tile(self, e, point)
        else:
            result = self._reduced(e, point)
        self.lane_axis = around
        return result

    def resumed(self, part: Part, start: State) -> State:
        """What a sum goes on from: nothing, or what its first chunks have left."""
        if self.partial is None:
            return start
        found = self._load(Load(self.partial.buffer, self.partial.index), part.point)
        return (self.emit(f"select i1 {self.first}, {found.type} {start[0]}, {found.type} {found.text}"),)

    def _reduced(self, e: Reduction, point: Point) -> Operand:
        level = self.level
        group, parts = [e], self._alike(e, point)
        if not parts:
            group = self._siblings(e)
            parts = [Part(s, at) for s in group for at in self._sharing(s, point)]
        begun, self.begun = self.begun, self.begun.union(group)
        results = reduce_parts(self, parts)
        self.begun = begun
        for part, value in zip(parts, results, strict=True):
            self.scopes[level].memo[(part.e, _at(part.e, part.point))] = value
        return self.scopes[level].memo[(e, _at(e, point))]

    def pick(self, e: Reduction) -> Pick | None:
        """What a reduction picks, where all lanes pick the same."""
        found = picked(e)
        return None if found is None or self.lane_axis in found.index.free else found

    def _alike(self, e: Reduction, point: Point) -> list[Part]:
        """The points of the tile where a reduction picks what it picks at this one; none for other reductions."""
        found = self.pick(e)
        if found is None:
            return []
        here = _at(found.index, point)
        return [Part(e, at) for at in self._sharing(e, point) if _at(found.index, at) == here]

    def full_points(self, e: Reduction) -> int:
        """The points of a whole tile where a reduction differs."""
        unrolled = dict(self.plan.unroll)
        count = 1
        for axis in e.free:
            count *= self.plan.vectors if axis == self.kernel_lanes else unrolled.get(axis.name, 1)
        return count

    def _sharing(self, e: Reduction, point: Point) -> list[Point]:
        """The points of the tile where a reduction differs, with those of the loops around it that are unrolled."""
        if e not in self.outermost:
            tile = tuple((a, self.tile_points[a]) for a, _ in point if a in e.free and a in self.tile_points)
            rest = tuple((a, i) for a, i in point if a in e.free and a not in self.tile_points)
            return [(*p, *rest) for p in points_of(tile)]
        return list(points_of(tuple((a, n) for a, n in self.tile_points.items() if a in e.free)))

    def _siblings(self, e: Reduction) -> list[Reduction]:
        """Reductions over the same axes at the same level, none of which needs another's result, nor one that is begun."""
        group = [e]
        if e not in self.outermost:
            return group
        for other, needs in self.outermost.items():
            if other == e or other.axes != e.axes or self._level(other) != self.level or self.pick(other):
                continue
            if any(other in self.outermost[s] or s in needs for s in group):
                continue
            if other in self.begun or needs & self.begun:
                continue
            point = next(iter(self._sharing(other, ())))
            if (other, _at(other, point)) not in self.scopes[self.level].memo:
                group.append(other)
        return group


def _outermost(kernel: Kernel) -> dict[Reduction, set[Reduction]]:
    """The reductions of a kernel that lie in no other, and which others each of them contains."""
    found: dict[Reduction, set[Reduction]] = {}
    pending: list[Expr] = [s.value for s in reversed(kernel.stores)]
    seen: set[int] = set()
    while pending:
        e = pending.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Reduction):
            found.setdefault(e, {x for x in walk(e.body) if isinstance(x, Reduction)})
        else:
            pending.extend(children(e))
    return found


def _at(e: Expr, point: Point) -> frozenset[tuple[Axis, int]]:
    """What of a point matters to an expression."""
    return frozenset((a, i) for a, i in point if a in e.free)


def points_of(tile: tuple[tuple[Axis, int], ...]) -> Iterator[Point]:
    axes = [a for a, _ in tile]
    for indices in itertools.product(*(range(n) for _, n in tile)):
        yield tuple(zip(axes, indices, strict=True))


__all__ = ["ExpressionWriter", "points_of"]
