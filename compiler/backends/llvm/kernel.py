"""Kernels to LLVM functions: one mechanism for every loop nest.

In: ``Scheduled`` kernels. Out: the text of a function ``void @k(ptr buffer..., i64 rows, i64 step, i64 seed)``. Every
expression is emitted at the outermost loop level where its axes are known; each level has a list of instructions and
a memo of what it holds already. The points of a register tile are evaluated one by one: what they share is found in
the memo, so a load is made once a tile, and a reduction runs one loop with an accumulator for each of its points.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...graph import ROWS, DType
from ...loops.ir import (
    Affine,
    Apply,
    Atom,
    Axis,
    Buffer,
    Constant,
    Expr,
    FloorDiv,
    Guarded,
    Kernel,
    Load,
    Position,
    Random,
    Reduction,
    Scalar,
    Scheduled,
    Store,
)
from ...loops.rewrite import children, walk
from .guards import guarded
from .module import Module
from .reductions import Part, reduce_parts, reduce_tile
from .scalars import ROWS as SCALARS
from .scalars import Operand, mangled, type_text

Point = tuple[tuple[Axis, int], ...]


@dataclass(slots=True)
class _Scope:
    """A loop level: what it runs over, its instructions so far, the block it is in, what it has computed."""

    axis: Axis | None
    label: str
    lines: list[str] = field(default_factory=list)
    memo: dict[object, Operand] = field(default_factory=dict)


class KernelWriter:
    """Writes one kernel; also the ``Writer`` that the rows of the scalar table emit into."""

    def __init__(self, module: Module, scheduled: Scheduled) -> None:
        self.module = module
        self.kernel: Kernel = scheduled.kernel
        self.plan = scheduled.schedule
        self.names = itertools.count()
        self.scopes = [_Scope(None, "entry")]
        self.level = 0
        self.values: dict[Axis, str] = {}
        self.depth: dict[Axis, int] = {}
        self.lane_axis: Axis | None = None
        self.tile_points: dict[Axis, int] = {}
        self.buffers: dict[Buffer, str] = {}
        self.outermost = _outermost(self.kernel)

    # Writer

    def emit(self, text: str) -> str:
        name = f"%t{next(self.names)}"
        self.scopes[self.level].lines.append(f"  {name} = {text}")
        return name

    def literal(self, value: float | int | bool, dtype: DType, lanes: int) -> str:
        return self.module.literal(value, dtype, lanes)

    def function(self, name: str, dtype: DType, lanes: int) -> str:
        return self.module.helper(name, dtype, lanes)

    # the function

    def write(self, symbol: str) -> tuple[str, tuple[Buffer, ...]]:
        """The function's text and the buffers it takes, in order."""
        self._loops(list(self.kernel.axes), ())
        scope = self.scopes[0]
        parameters = [f"ptr {name}" for name in self.buffers.values()]
        head = f"define internal void {symbol}({', '.join([*parameters, 'i64 %rows', 'i64 %step', 'i64 %seed'])}) {{"
        return "\n".join([head, "entry:", *scope.lines, "  ret void", "}"]), tuple(self.buffers)

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
        if points == 1:
            self._loop(axis, "0", self._extent(axis), 1, lambda: self._loops(rest, tile))
            return
        extent = self._extent(axis)
        if isinstance(axis.extent, int) and axis.extent % points == 0:
            self._loop(axis, "0", extent, points, lambda: self._loops(rest, (*tile, (axis, points))))
            return
        whole = self.emit(f"udiv i64 {extent}, {points}")
        end = self.emit(f"mul i64 {whole}, {points}")
        self._loop(
            axis, "0", end, points, lambda: self._loops(rest, (*tile, (axis, points))), maybe_empty=True
        )
        self._loop(axis, end, extent, 1, lambda: self._loops(rest, tile), maybe_empty=True)

    def _whole(self, axis: Axis, points: int, rest: list[Axis], tile: tuple[tuple[Axis, int], ...]) -> None:
        """An axis that lies in the tile from end to end needs no loop."""
        self.values[axis], self.depth[axis] = "0", self.level
        self._loops(rest, (*tile, (axis, points)))

    def _lane_tiles(self, axis: Axis, rest: list[Axis], tile: tuple[tuple[Axis, int], ...]) -> None:
        """The lanes axis: whole tiles in a loop, then a narrower tile for what is left over."""
        width = self.plan.width
        self.lane_axis = axis
        if axis.extent is ROWS:
            self._loop(axis, "0", "%rows", width, lambda: self._loops(rest, (*tile, (axis, 1))))
            self.lane_axis = None
            return
        assert isinstance(axis.extent, int)
        vectors = -(-axis.extent // width)
        whole = axis.extent // (width * self.plan.vectors)
        if vectors <= self.plan.vectors:
            self._whole(axis, vectors, rest, tile)
            self.lane_axis = None
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
        self.lane_axis = None

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

    def _push(self, axis: Axis, label: str) -> None:
        self.scopes.append(_Scope(axis, label))
        self.level = len(self.scopes) - 1
        self.depth[axis] = self.level

    def _pop(self) -> _Scope:
        scope = self.scopes.pop()
        self.level = len(self.scopes) - 1
        return scope

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
        self.tile_points = dict(tile)
        values = []
        for store in self.kernel.stores:
            axes = frozenset[Axis]().union(*(i.axes() for i in store.index))
            points = list(_points(tuple((a, n) for a, n in tile if a in axes)))
            values.append([(point, self._value(store.value, point)) for point in points])
        for store, found in zip(self.kernel.stores, values, strict=True):
            for point, value in found:
                self._store(store, point, value)

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

    def _level(self, e: Expr) -> int:
        """The innermost loop that an expression depends on."""
        return max((self.depth[a] for a in e.free), default=0)

    def _lanes(self, free: frozenset[Axis]) -> int:
        return self.plan.width if self.lane_axis is not None and self.lane_axis in free else 1

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

    def _splat(self, value: Operand, lanes: int) -> Operand:
        if value.lanes == lanes:
            return value
        to = type_text(value.dtype, lanes)
        first = self.emit(f"insertelement {to} poison, {value.type} {value.text}, i32 0")
        all_lanes = self.emit(f"shufflevector {to} {first}, {to} poison, <{lanes} x i32> zeroinitializer")
        return Operand(all_lanes, value.dtype, lanes)

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

    # indices and memory

    def _axis_value(self, axis: Axis, point: Point) -> tuple[str, int]:
        offset = dict(point).get(axis, 0)
        if axis is self.lane_axis or axis == self.lane_axis:
            offset *= self.plan.width
        return self.values[axis], offset

    def _index(self, index: Affine, point: Point, lanes: int = 1) -> str:
        """An index as i64, in every lane if asked."""
        total = self.literal(index.constant, DType.int64, lanes)
        t = type_text(DType.int64, lanes)
        if index.rows:
            rows = self._splat(Operand(self.emit(f"mul i64 %rows, {index.rows}"), DType.int64), lanes)
            total = self.emit(f"add {t} {total}, {rows.text}")
        for coefficient, atom in index.terms:
            part = self._atom(atom, point, lanes)
            if coefficient != 1:
                part = self.emit(f"mul {t} {part}, {self.literal(coefficient, DType.int64, lanes)}")
            total = self.emit(f"add {t} {total}, {part}")
        return total

    def _atom(self, atom: object, point: Point, lanes: int) -> str:
        t = type_text(DType.int64, lanes)
        if isinstance(atom, Axis):
            base, offset = self._axis_value(atom, point)
            text = self.emit(f"add i64 {base}, {offset}") if offset else base
            value = self._splat(Operand(text, DType.int64), lanes).text
            if lanes > 1 and atom == self.lane_axis:
                steps = "<" + ", ".join(f"i64 {i}" for i in range(lanes)) + ">"
                value = self.emit(f"add {t} {value}, {steps}")
            return value
        inner = self._index(atom.value, point, lanes)  # type: ignore[attr-defined]
        divisor = self.literal(atom.divisor, DType.int64, lanes)  # type: ignore[attr-defined]
        zero, bits = self.literal(0, DType.int64, lanes), type_text(DType.bool, lanes)
        rest = self.emit(f"srem {t} {inner}, {divisor}")
        below = self.emit(f"icmp slt {t} {rest}, {zero}")
        moved = self.emit(f"add {t} {rest}, {divisor}")
        rest = self.emit(f"select {bits} {below}, {t} {moved}, {t} {rest}")
        if not isinstance(atom, FloorDiv):
            return rest
        exact = self.emit(f"sub {t} {inner}, {rest}")
        return self.emit(f"sdiv {t} {exact}, {divisor}")

    def _buffer(self, buffer: Buffer) -> str:
        return self.buffers.setdefault(buffer, f"%b{len(self.buffers)}")

    def _place(self, buffer: Buffer, index: Sequence[Affine]) -> tuple[Affine, int | None]:
        """An element's offset, and how far apart neighbours in the lanes lie (None: not evenly).

        Where the lanes run over a buffer's blocks of rows, they lie side by side, and lane 0 begins a block.
        """
        axis = self.lane_axis
        if axis is not None and buffer.block == self.plan.width and index[0] == Affine.of(axis):
            strides = buffer.strides()
            total = Affine.of(axis) * strides[0]
            for i, stride in zip(index[1:], strides[1:], strict=True):
                total = total + i * (stride * buffer.block)
            return total, 1
        offset = buffer.offset(index)
        return offset, self._lane_stride(offset)

    def _address(self, buffer: Buffer, offset: Affine, point: Point) -> str:
        """The address of an element: a base at its own loop level plus a constant."""
        constant = offset.constant
        moving: list[tuple[int, Atom]] = []
        for coefficient, atom in offset.terms:
            if isinstance(atom, Axis):
                base, shift = self._axis_value(atom, point)
                constant += coefficient * shift
                if base.isdigit():
                    constant += coefficient * int(base)
                    continue
            moving.append((coefficient, atom))
        element = "i8" if buffer.dtype is DType.bool else type_text(buffer.dtype, 1)
        base = self._base(buffer, offset, moving, element, point)
        if constant == 0:
            return base
        return self.emit(f"getelementptr {element}, ptr {base}, i64 {constant}")

    def _base(
        self, buffer: Buffer, offset: Affine, moving: list[tuple[int, Atom]], element: str, point: Point
    ) -> str:
        """The address of what a moving offset leads to: the part of each loop is added at that loop's level."""
        text = self._buffer(buffer)
        levels: dict[int, list[tuple[int, Atom]]] = {}
        for coefficient, atom in moving:
            axes = (atom,) if isinstance(atom, Axis) else tuple(atom.value.axes())
            levels.setdefault(max((self.depth[a] for a in axes), default=0), []).append((coefficient, atom))
        if offset.rows:
            levels.setdefault(0, [])
        before = self.level
        for level in sorted(levels):
            rows = offset.rows if level == 0 else 0
            axes_here = {a for _, x in levels[level] if not isinstance(x, Axis) for a in x.value.axes()}
            where = frozenset((a, i) for a, i in point if a in axes_here)
            key = ("base", text, element, tuple(levels[level]), rows, where)
            found = self.scopes[level].memo.get(key)
            if found is None:
                self.level = level
                total = self._sum(levels[level], rows, point)
                found = Operand(self.emit(f"getelementptr {element}, ptr {text}, i64 {total}"), DType.int64)
                self.scopes[level].memo[key] = found
            text = found.text
        self.level = before
        return text

    def _sum(self, terms: list[tuple[int, Atom]], rows: int, point: Point) -> str:
        parts = [self.emit(f"mul i64 %rows, {rows}")] if rows else []
        for coefficient, atom in terms:
            part = self.values[atom] if isinstance(atom, Axis) else self._atom(atom, point, 1)
            parts.append(part if coefficient == 1 else self.emit(f"mul i64 {part}, {coefficient}"))
        total = parts[0]
        for part in parts[1:]:
            total = self.emit(f"add i64 {total}, {part}")
        return total

    def _lane_stride(self, offset: Affine) -> int | None:
        stride = 0
        for coefficient, atom in offset.terms:
            if atom == self.lane_axis:
                stride += coefficient
            elif not isinstance(atom, Axis) and self.lane_axis in atom.value.axes():
                return None
        return stride

    def _mask(self, point: Point, lanes: int) -> str | None:
        """Which lanes lie inside the lanes axis; None when all do."""
        axis = self.lane_axis
        if axis is None or not isinstance(axis.extent, int):
            return None
        base, offset = self._axis_value(axis, point)
        if not base.isdigit():
            return None
        left = axis.extent - int(base) - offset
        if left >= lanes:
            return None
        return "<" + ", ".join(f"i1 {'true' if i < left else 'false'}" for i in range(lanes)) + ">"

    def _load(self, e: Load, point: Point) -> Operand:
        offset, stride = self._place(e.buffer, e.index)
        lanes = self._lanes(e.free)
        if lanes == 1:
            return self._from_memory(e.buffer, self._address(e.buffer, offset, point), 1, None)
        mask = self._mask(point, lanes)
        if stride == 1:
            return self._from_memory(e.buffer, self._address(e.buffer, offset, point), lanes, mask)
        return self._gather(e.buffer, offset, point, lanes, mask)

    def _from_memory(self, buffer: Buffer, address: str, lanes: int, mask: str | None) -> Operand:
        is_bool = buffer.dtype is DType.bool
        element = "i8" if is_bool else type_text(buffer.dtype, 1)
        t = element if lanes == 1 else f"<{lanes} x {element}>"
        align = buffer.dtype.itemsize
        if mask is None:
            text = self.emit(f"load {t}, ptr {address}, align {align}")
        else:
            suffix = f"v{lanes}{'i8' if is_bool else mangled(Operand('', buffer.dtype))}"
            text = self.emit(
                f"call {t} @llvm.masked.load.{suffix}.p0(ptr {address}, i32 {align}, <{lanes} x i1> {mask}, {t} zeroinitializer)"
            )
        if is_bool:
            text = self.emit(f"trunc {t} {text} to {type_text(DType.bool, lanes)}")
        return Operand(text, buffer.dtype, lanes)

    def _gather(self, buffer: Buffer, offset: Affine, point: Point, lanes: int, mask: str | None) -> Operand:
        element = "i8" if buffer.dtype is DType.bool else type_text(buffer.dtype, 1)
        if self.lane_axis is not None and self.lane_axis.extent is ROWS and buffer.block == 1:
            return self._gather_rows(buffer, offset, point, lanes, element)
        index = self._index(offset, point, lanes)
        name = self._buffer(buffer)
        if mask is not None:
            bits = f"<{lanes} x i1>"
            t = f"<{lanes} x i64>"
            index = self.emit(f"select {bits} {mask}, {t} {index}, {t} zeroinitializer")
        to = f"<{lanes} x {element}>"
        text = "poison"
        for lane in range(lanes):
            one = self.emit(f"extractelement <{lanes} x i64> {index}, i32 {lane}")
            address = self.emit(f"getelementptr {element}, ptr {name}, i64 {one}")
            value = self.emit(f"load {element}, ptr {address}, align {buffer.dtype.itemsize}")
            text = self.emit(f"insertelement {to} {text}, {element} {value}, i32 {lane}")
        if buffer.dtype is DType.bool:
            text = self.emit(f"trunc {to} {text} to <{lanes} x i1>")
        return Operand(text, buffer.dtype, lanes)

    def _gather_rows(self, buffer: Buffer, offset: Affine, point: Point, lanes: int, element: str) -> Operand:
        """One element of each row in the lanes; rows behind the last are read as the last."""
        axis = self.lane_axis
        assert axis is not None
        stride = next((c for c, a in offset.terms if a == axis), None)
        if stride is None or any(not isinstance(a, Axis) and axis in a.value.axes() for _, a in offset.terms):
            raise AssertionError("bug in netc: rows in the lanes need an index that is plain in them")
        rest = Affine(tuple((c, a) for c, a in offset.terms if a != axis), offset.constant, offset.rows)
        base = self._address(buffer, rest, point)
        to, text = f"<{lanes} x {element}>", "poison"
        for lane, row in enumerate(self._row_numbers(axis, stride, lanes)):
            address = self.emit(f"getelementptr {element}, ptr {base}, i64 {row}")
            value = self.emit(f"load {element}, ptr {address}, align {buffer.dtype.itemsize}")
            text = self.emit(f"insertelement {to} {text}, {element} {value}, i32 {lane}")
        if buffer.dtype is DType.bool:
            text = self.emit(f"trunc {to} {text} to <{lanes} x i1>")
        return Operand(text, buffer.dtype, lanes)

    def _row_numbers(self, axis: Axis, stride: int, lanes: int) -> list[str]:
        """``stride`` times the number of each lane's row, none beyond the last row."""
        level = self.depth[axis]
        before, self.level = self.level, level
        memo = self.scopes[level].memo
        found = []
        for lane in range(lanes):
            key = ("row", axis, self.values[axis], stride, lane)
            if key not in memo:
                row = self.emit(f"add i64 {self.values[axis]}, {lane}")
                last = self.emit("sub i64 %rows, 1")
                row = self.emit(f"call i64 @llvm.smin.i64(i64 {row}, i64 {last})")
                memo[key] = Operand(self.emit(f"mul i64 {row}, {stride}"), DType.int64)
            found.append(memo[key].text)
        self.level = before
        return found

    def _store(self, store: Store, point: Point, value: Operand) -> None:
        buffer = store.buffer
        free = frozenset[Axis]().union(*(i.axes() for i in store.index))
        lanes = self._lanes(free)
        value = self._splat(value, lanes)
        is_bool = buffer.dtype is DType.bool
        element = "i8" if is_bool else type_text(buffer.dtype, 1)
        t = element if lanes == 1 else f"<{lanes} x {element}>"
        text = self.emit(f"zext {value.type} {value.text} to {t}") if is_bool else value.text
        offset, stride = self._place(buffer, store.index)
        address = self._address(buffer, offset, point)
        align = buffer.dtype.itemsize
        lines = self.scopes[self.level].lines
        mask = self._mask(point, lanes) if lanes > 1 else None
        if lanes > 1 and stride != 1:
            raise AssertionError("bug in netc: the lanes axis of a store must have unit stride")
        if mask is None:
            lines.append(f"  store {t} {text}, ptr {address}, align {align}")
        else:
            suffix = f"v{lanes}{'i8' if is_bool else mangled(Operand('', buffer.dtype))}"
            lines.append(
                f"  call void @llvm.masked.store.{suffix}.p0({t} {text}, ptr {address}, i32 {align}, <{lanes} x i1> {mask})"
            )

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
        if e.axes == (self.lane_axis,):
            return reduce_tile(self, e, point)
        level = self.level
        parts = [Part(s, at) for s in self._siblings(e) for at in self._sharing(s, point)]
        results = reduce_parts(self, parts)
        for part, value in zip(parts, results, strict=True):
            self.scopes[level].memo[(part.e, _at(part.e, part.point))] = value
        return self.scopes[level].memo[(e, _at(e, point))]

    def _sharing(self, e: Reduction, point: Point) -> list[Point]:
        """The points of the tile where a reduction differs, with those of the loops around it that are unrolled."""
        if e not in self.outermost:
            tile = tuple((a, self.tile_points[a]) for a, _ in point if a in e.free and a in self.tile_points)
            rest = tuple((a, i) for a, i in point if a in e.free and a not in self.tile_points)
            return [(*p, *rest) for p in _points(tile)]
        return list(_points(tuple((a, n) for a, n in self.tile_points.items() if a in e.free)))

    def _siblings(self, e: Reduction) -> list[Reduction]:
        """Reductions over the same axes at the same level, none of which needs another's result."""
        group = [e]
        if e not in self.outermost:
            return group
        for other, needs in self.outermost.items():
            if other == e or other.axes != e.axes or self._level(other) != self.level:
                continue
            if any(other in self.outermost[s] or s in needs for s in group):
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
