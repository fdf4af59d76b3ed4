"""Kernels to LLVM functions: one mechanism for every loop nest.

In: ``Scheduled`` kernels. Out: the text of a function ``void @k(ptr buffer..., i64 rows, i64 step, i64 seed)``. Every
expression is emitted at the outermost loop level where its axes are known; each level has a list of instructions and
a memo of what it holds already. The points of a register tile are evaluated one by one: what they share is found in
the memo, so a load is made once a tile, and a reduction runs one loop with an accumulator for each of its points.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ...graph import ROWS, DType
from ...loops.chunks import partial_sums
from ...loops.ir import (
    Apply,
    Axis,
    Buffer,
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
from ...loops.picks import Pick, picked, scattered
from ...loops.rewrite import children, reads, walk
from ...loops.schedule import even_border
from .access import AccessWriter, Point
from .guards import guarded
from .reductions import Part, State, reduce_parts, reduce_tile
from .scalars import ROWS as SCALARS
from .scalars import Operand, type_text
from .scatter import write_scatter

if TYPE_CHECKING:
    from .module import Module


BLOCK, TERMS = Axis("block", 0), Axis("terms", 0)


class KernelWriter(AccessWriter):
    """Writes one kernel."""

    def __init__(self, module: Module, scheduled: Scheduled) -> None:
        super().__init__(module, scheduled.schedule)
        self.kernel: Kernel = scheduled.kernel
        self.kernel_lanes: Axis | None = None
        self.block: tuple[str, str] | None = None
        self.share = 0
        """How many neighbours of the outermost axis cannot be divided between threads; 0 when nothing can."""
        self.outermost = _outermost(self.kernel)
        written = {s.buffer for s in self.kernel.stores}
        self.overlaps = not self.plan.chunk and not any(b in written for b in reads(self.kernel))
        """Whether a point may be computed twice: not where the kernel changes what it reads, or goes on from its stores."""
        self.partial = partial_sums(self.kernel) if self.plan.chunk else None
        """Where sums wait that are added up in chunks."""
        self.terms: tuple[str, str] | None = None
        """Which terms of such a sum are being added."""
        self.first = self.last = ""
        """Whether these are its first, its last ones."""
        self.begun: frozenset[Reduction] = frozenset()
        """Reductions whose loops are being emitted."""

    # the function

    def write(self, symbol: str) -> tuple[str, tuple[Buffer, ...]]:
        """The function's text and the buffers it takes, in order."""
        time = []
        if self.kernel.repeat is not None:
            axis, counter = self.kernel.repeat.axis, self.kernel.repeat.counter
            self.values[axis], self.depth[axis] = "%time", 0
            time.append(f"  %time = load i64, ptr {self._buffer(counter)}, align 8")
        found = scattered(self.kernel)
        if found is not None:
            write_scatter(self, found)
        elif self.plan.block:
            self._blocks()
        else:
            self._chunks(lambda: self._loops(list(self.kernel.axes), ()))
        scope = self.scopes[0]
        parameters = [f"ptr {name}" for name in self.buffers.values()]
        numbers = ("rows", "step", "seed", *(("begin", "end") if self.share else ()))
        parameters += [f"i64 %{name}" for name in numbers]
        head = f"define internal void {symbol}({', '.join(parameters)}) {{"
        return "\n".join([head, "entry:", *time, *scope.lines, "  ret void", "}"]), tuple(self.buffers)

    def _loops(self, axes: list[Axis], tile: tuple[tuple[Axis, int], ...]) -> None:
        if not axes:
            self._stores(tile)
            return
        axis, rest = axes[0], axes[1:]
        points = dict(self.plan.unroll).get(axis.name, 1)
        if axis.name in self.plan.lanes:
            self._lane_tiles(axis, rest, tile)
            return
        if points == axis.extent:
            self._whole(axis, points, rest, tile)
            return
        start, end = self._bounds(axis, points)
        if points == 1:
            self._loop(axis, start, end, 1, lambda: self._loops(rest, tile))
        elif axis.extent is ROWS:
            self._row_tiles(axis, points, start, end, rest, tile)
        else:
            self._even_tiles(axis, points, start, end, rest, tile)

    def _row_tiles(
        self,
        axis: Axis,
        points: int,
        start: str,
        end: str,
        rest: list[Axis],
        tile: tuple[tuple[Axis, int], ...],
    ) -> None:
        """Tiles over rows, whose number is known when running. The last tile lies over the one before where it would
        reach beyond the last row: what both compute is the same. Fewer rows than a tile has are computed one by one."""
        whole = (*tile, (axis, points))
        if not self.overlaps:
            self._uneven_rows(axis, points, start, end, rest, tile)
            return
        fits = self.emit(f"icmp uge i64 %rows, {points}")
        middle = self.emit(f"select i1 {fits}, i64 {end}, i64 {start}")
        last = self.emit(f"sub i64 %rows, {points}")

        def body() -> None:
            at = self.values[axis]
            self.values[axis] = self.emit(f"call i64 @llvm.smin.i64(i64 {at}, i64 {last})")
            self._loops(rest, whole)

        self._loop(axis, start, middle, points, body, maybe_empty=True)
        self._loop(axis, middle, end, 1, lambda: self._loops(rest, tile), maybe_empty=True)

    def _uneven_rows(
        self,
        axis: Axis,
        points: int,
        start: str,
        end: str,
        rest: list[Axis],
        tile: tuple[tuple[Axis, int], ...],
    ) -> None:
        """Tiles of so many rows, then of one less where their number allows that, else single rows."""
        up = self.emit(f"add i64 %rows, {points - 1}")
        tiles = self.emit(f"udiv i64 {up}, {points}")
        short = self.emit(f"sub i64 {self.emit(f'mul i64 {tiles}, {points}')}, %rows")
        fits = self.emit(f"icmp ule i64 {short}, {tiles}")
        even = self.emit(f"mul i64 {self.emit(f'sub i64 {tiles}, {short}')}, {points}")
        whole = self.emit(f"sub i64 %rows, {self.emit(f'urem i64 %rows, {points}')}")
        border = self.emit(f"select i1 {fits}, i64 {even}, i64 {whole}")
        rounded = [self._tile_begin(x, border, points - 1) for x in (start, end)]
        start, end = (
            self.emit(f"select i1 {fits}, i64 {x}, i64 {y}")
            for x, y in zip(rounded, (start, end), strict=True)
        )
        first = self.emit(f"call i64 @llvm.smin.i64(i64 {end}, i64 {border})")
        last = self.emit(f"call i64 @llvm.smax.i64(i64 {start}, i64 {border})")
        middle = self.emit(f"select i1 {fits}, i64 {end}, i64 {last}")
        for begin, stop, size in ((start, first, points), (last, middle, points - 1)):
            inner = (*tile, (axis, size))
            self._loop(axis, begin, stop, size, partial(self._loops, rest, inner), maybe_empty=True)
        self._loop(axis, middle, end, 1, lambda: self._loops(rest, tile), maybe_empty=True)

    def _even_tiles(
        self,
        axis: Axis,
        points: int,
        start: str,
        end: str,
        rest: list[Axis],
        tile: tuple[tuple[Axis, int], ...],
    ) -> None:
        """Tiles over an axis of known extent: of so many points, then of one less, so that no small rest is left."""
        assert isinstance(axis.extent, int)
        border = even_border(axis.extent, points)
        if border == axis.extent:
            self._loop(axis, start, end, points, lambda: self._loops(rest, (*tile, (axis, points))))
            return
        if (start, end) == ("0", str(axis.extent)):
            first = last = str(border)
        else:
            start, end = (self._tile_begin(x, border, points - 1) for x in (start, end))
            first = self.emit(f"call i64 @llvm.smin.i64(i64 {end}, i64 {border})")
            last = self.emit(f"call i64 @llvm.smax.i64(i64 {start}, i64 {border})")
        self._loop(
            axis, start, first, points, lambda: self._loops(rest, (*tile, (axis, points))), maybe_empty=True
        )
        short = (*tile, (axis, points - 1))
        self._loop(axis, last, end, points - 1, lambda: self._loops(rest, short), maybe_empty=True)

    def _tile_begin(self, place: str, border: int | str, points: int) -> str:
        """Where the tile at a place begins, behind a border that tiles of so many points follow."""
        behind = self.emit(f"sub i64 {place}, {border}")
        part = self.emit(f"srem i64 {behind}, {points}")
        part = self.emit(f"call i64 @llvm.smax.i64(i64 {part}, i64 0)")
        return self.emit(f"sub i64 {place}, {part}")

    def _blocks(self) -> None:
        """The outermost axis in blocks; within a block it is the innermost loop."""
        outer, *others = self.kernel.axes
        size = self.plan.block
        start, end = self._bounds(outer, dict(self.plan.unroll).get(outer.name, 1))

        def body() -> None:
            first = self.values[BLOCK]
            last = self.emit(f"add i64 {first}, {size}")
            self.block = first, self.emit(f"call i64 @llvm.smin.i64(i64 {last}, i64 {end})")
            self._chunks(lambda: self._loops([*others, outer], ()))

        self._loop(BLOCK, start, end, size, body)

    def _chunks(self, body: Callable[[], None]) -> None:
        """All points, several times where sums are added up in chunks."""
        if self.partial is None:
            body()
            return
        extent = self._extent(next(e.axes[0] for e in self.outermost))

        def some() -> None:
            start = self.values[TERMS]
            end = self.emit(f"add i64 {start}, {self.plan.chunk}")
            self.terms = start, self.emit(f"call i64 @llvm.smin.i64(i64 {end}, i64 {extent})")
            self.first = self.emit(f"icmp eq i64 {start}, 0")
            self.last = self.emit(f"icmp uge i64 {end}, {extent}")
            body()

        self._loop(TERMS, "0", extent, self.plan.chunk, some)

    def _bounds(self, axis: Axis, step: int) -> tuple[str, str]:
        """Where a loop over an axis begins and ends: the outermost runs over this thread's share of whole steps."""
        if self.block is not None and axis == self.kernel.axes[0]:
            return self.block
        if axis != self.kernel.axes[0] or (isinstance(axis.extent, int) and axis.extent <= step):
            return "0", self._extent(axis)
        self.share = step
        return "%begin", "%end"

    def _whole(self, axis: Axis, points: int, rest: list[Axis], tile: tuple[tuple[Axis, int], ...]) -> None:
        """An axis that lies in the tile from end to end needs no loop."""
        self.values[axis], self.depth[axis] = "0", self.level
        self._loops(rest, (*tile, (axis, points)))

    def _lane_tiles(self, axis: Axis, rest: list[Axis], tile: tuple[tuple[Axis, int], ...]) -> None:
        """The lanes axis: whole tiles in a loop, then a narrower tile for what is left over."""
        width = self.plan.width
        self.lane_axis = self.kernel_lanes = axis
        if axis.extent is ROWS:
            start, end = self._bounds(axis, width)
            self._loop(axis, start, end, width, lambda: self._loops(rest, (*tile, (axis, 1))))
            self.lane_axis = self.kernel_lanes = None
            return
        assert isinstance(axis.extent, int)
        vectors = -(-axis.extent // width)
        whole = axis.extent // (width * self.plan.vectors)
        if vectors <= self.plan.vectors:
            self._whole(axis, vectors, rest, tile)
            self.lane_axis = self.kernel_lanes = None
            return
        if whole:
            step = width * self.plan.vectors
            inner = (*tile, (axis, self.plan.vectors))
            self._loop(axis, "0", str(whole * step), step, lambda: self._loops(rest, inner))
        left = vectors - whole * self.plan.vectors
        if left:
            self._fixed(
                axis, whole * self.plan.vectors * width, lambda: self._loops(rest, (*tile, (axis, left)))
            )
        self.lane_axis = self.kernel_lanes = None

    def _fixed(self, axis: Axis, value: int, body: object) -> None:
        """A level whose axis has a known value: a loop of one turn without the loop."""
        self.values[axis] = str(value)
        label = f"fix{next(self.names)}"
        self._push(axis, label)
        body()  # type: ignore[operator]
        scope = self._pop()
        outer = self.scopes[self.level]
        outer.lines += [f"  br label %{label}", f"{label}:", *scope.lines]
        outer.label = scope.label

    def _extent(self, axis: Axis) -> str:
        return "%rows" if axis.extent is ROWS else str(axis.extent)

    def _loop(
        self, axis: Axis, start: str, end: str, step: int, body: object, *, maybe_empty: bool = False
    ) -> None:
        n = next(self.names)
        counter = f"%x{n}"
        if not maybe_empty and start == "0" and end == str(step):
            self._fixed(axis, 0, body)
            return
        self.values[axis] = counter
        self._push(axis, f"head{n}")
        body()  # type: ignore[operator]
        scope = self._pop()
        outer = self.scopes[self.level]
        if maybe_empty:
            test = self.emit(f"icmp ult i64 {start}, {end}")
            outer.lines.append(f"  br i1 {test}, label %pre{n}, label %exit{n}")
        else:
            outer.lines.append(f"  br label %pre{n}")
        latch = scope.label
        outer.lines += [
            f"pre{n}:", f"  br label %head{n}", f"head{n}:",
            f"  {counter} = phi i64 [ {start}, %pre{n} ], [ {counter}.next, %{latch} ]",
            *scope.lines,
            f"  {counter}.next = add nuw nsw i64 {counter}, {step}",
            f"  %again{n} = icmp ult i64 {counter}.next, {end}",
            f"  br i1 %again{n}, label %head{n}, label %exit{n}",
            f"exit{n}:",
        ]  # fmt: skip
        outer.label = f"exit{n}"

    def _stores(self, tile: tuple[tuple[Axis, int], ...]) -> None:
        # Neighbours along the axis of fewest points follow each other: what they share need not be held for long.
        tile = tuple(sorted(tile, key=lambda part: -part[1]))
        self.tile_points = dict(tile)
        self._ask_ahead(tile)
        if self.partial is None:
            self._store_all(tile)
            return
        sums = [(point, self._value(e, point)) for e in self.outermost for point in _points(tile)]
        n = next(self.names)
        lines = self.scopes[self.level].lines
        lines += [f"  br i1 {self.last}, label %whole{n}, label %part{n}", f"part{n}:"]
        for point, value in sums:
            self._store(self.partial, point, value)
        lines += [f"  br label %stored{n}", f"whole{n}:"]
        self._store_all(tile)
        lines += [f"  br label %stored{n}", f"stored{n}:"]
        self.scopes[self.level].label = f"stored{n}"

    def resumed(self, part: Part, start: State) -> State:
        """What a sum goes on from: nothing, or what its first chunks have left."""
        if self.partial is None:
            return start
        found = self._load(Load(self.partial.buffer, self.partial.index), part.point)
        return (self.emit(f"select i1 {self.first}, {found.type} {start[0]}, {found.type} {found.text}"),)

    def _store_all(self, tile: tuple[tuple[Axis, int], ...]) -> None:
        values = []
        stores = [s for s in self.kernel.stores if not s.room]
        for store in stores:
            axes = frozenset[Axis]().union(*(i.axes() for i in store.index))
            points = list(_points(tuple((a, n) for a, n in tile if a in axes)))
            values.append([(point, self._value(store.value, point)) for point in points])
        for store, found in zip(stores, values, strict=True):
            for point, value in found:
                self._store(store, point, value)

    def _ask_ahead(self, tile: tuple[tuple[Axis, int], ...]) -> None:
        """Prefetches what the tile reads behind its reductions."""
        if not self.plan.ahead:
            return
        loads = dict.fromkeys(x for s in self.kernel.stores for x in walk(s.value) if isinstance(x, Load))
        for load in loads:
            if load.buffer.name in self.plan.ahead and load.free == frozenset(self.kernel.axes):
                for point in _points(tile):
                    self._prefetch(load, point)

    # expressions

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
            return [(*p, *rest) for p in _points(tile)]
        return list(_points(tuple((a, n) for a, n in self.tile_points.items() if a in e.free)))

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


def _points(tile: tuple[tuple[Axis, int], ...]) -> Iterator[Point]:
    axes = [a for a, _ in tile]
    for indices in itertools.product(*(range(n) for _, n in tile)):
        yield tuple(zip(axes, indices, strict=True))


__all__ = ["KernelWriter"]
