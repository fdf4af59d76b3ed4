"""Kernels to LLVM functions: one mechanism for every loop nest.

In: ``Scheduled`` kernels. Out: the text of a function ``void @k(ptr buffer..., i64 rows, i64 step, i64 seed)``: its loops
over tiles of rows and axes, its blocks and chunks, its stores. The points of a register tile are evaluated one by one:
what they share is found in the memo of a loop level, so a load is made once a tile, and a reduction runs one loop with
an accumulator for each of its points.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ...graph import ROWS
from ...loops.ir import Axis, Buffer, Load, Scheduled
from ...loops.picks import scattered
from ...loops.rewrite import reads, walk
from ...loops.schedule import even_border
from .expressions import ExpressionWriter, points_of
from .scatter import write_scatter

if TYPE_CHECKING:
    from .module import Module


BLOCK, TERMS = Axis("block", 0), Axis("terms", 0)


class KernelWriter(ExpressionWriter):
    """Writes one kernel."""

    def __init__(self, module: Module, scheduled: Scheduled) -> None:
        super().__init__(module, scheduled)
        self.block: tuple[str, str] | None = None
        self.share = 0
        """How many neighbours of the outermost axis cannot be divided between threads; 0 when nothing can."""
        written = {s.buffer for s in self.kernel.stores}
        self.overlaps = not self.plan.chunk and not any(b in written for b in reads(self.kernel))
        """Whether a point may be computed twice: not where the kernel changes what it reads, or goes on from its stores."""

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
        sums = [(point, self._value(e, point)) for e in self.outermost for point in points_of(tile)]
        n = next(self.names)
        lines = self.scopes[self.level].lines
        lines += [f"  br i1 {self.last}, label %whole{n}, label %part{n}", f"part{n}:"]
        for point, value in sums:
            self._store(self.partial, point, value)
        lines += [f"  br label %stored{n}", f"whole{n}:"]
        self._store_all(tile)
        lines += [f"  br label %stored{n}", f"stored{n}:"]
        self.scopes[self.level].label = f"stored{n}"

    def _store_all(self, tile: tuple[tuple[Axis, int], ...]) -> None:
        values = []
        stores = [s for s in self.kernel.stores if not s.room]
        for store in stores:
            axes = frozenset[Axis]().union(*(i.axes() for i in store.index))
            points = list(points_of(tuple((a, n) for a, n in tile if a in axes)))
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
                for point in points_of(tile):
                    self._prefetch(load, point)


__all__ = ["KernelWriter"]
