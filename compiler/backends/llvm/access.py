"""Where a kernel's code goes, and how it reaches memory: loop levels, indices, addresses, loads and stores.

In: loads and stores of the Loop IR, at a point of the register tile. Out: instructions at the right loop level. The part
of an address that a loop moves is computed at that loop's level; what points of a tile share is made once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...graph import ROWS, DType
from ...loops.ir import Affine, Atom, Axis, Buffer, ByRows, Expr, FloorDiv, Load, Schedule, Store
from .scalars import Operand, mangled, type_text
from .transpose import turned_axis, turned_load

if TYPE_CHECKING:
    from .module import Module

Point = tuple[tuple[Axis, int], ...]


@dataclass(slots=True)
class Scope:
    """A loop level: what it runs over, its instructions so far, the block it is in, what it has computed."""

    axis: Axis | None
    label: str
    lines: list[str] = field(default_factory=list)
    memo: dict[object, Operand] = field(default_factory=dict)


class AccessWriter:
    """The levels of one kernel's code; also the ``Writer`` that the rows of the scalar table emit into."""

    def __init__(self, module: Module, plan: Schedule) -> None:
        self.module, self.plan = module, plan
        self.names = itertools.count()
        self.scopes = [Scope(None, "entry")]
        self.level = 0
        self.values: dict[Axis, str] = {}
        self.depth: dict[Axis, int] = {}
        self.lane_axis: Axis | None = None
        self.buffers: dict[Buffer, str] = {}
        self.tile_points: dict[Axis, int] = {}
        """The points of the tile that is being written."""
        self.places: dict[object, tuple[Affine, int | None]] = {}
        self.row_mask = ""
        """Inside a sum over rows in the lanes: which lanes hold a row. What is loaded for the others is zero."""

    # Writer

    def emit(self, text: str) -> str:
        name = f"%t{next(self.names)}"
        self.scopes[self.level].lines.append(f"  {name} = {text}")
        return name

    def literal(self, value: float | int | bool, dtype: DType, lanes: int) -> str:
        return self.module.literal(value, dtype, lanes)

    def function(self, name: str, dtype: DType, lanes: int) -> str:
        return self.module.helper(name, dtype, lanes)

    # levels

    def _push(self, axis: Axis, label: str) -> None:
        self.scopes.append(Scope(axis, label))
        self.level = len(self.scopes) - 1
        self.depth[axis] = self.level

    def _pop(self) -> Scope:
        scope = self.scopes.pop()
        self.level = len(self.scopes) - 1
        return scope

    def _level(self, e: Expr) -> int:
        """The innermost loop that an expression depends on."""
        return max((self.depth[a] for a in e.free), default=0)

    def _lanes(self, free: frozenset[Axis]) -> int:
        return self.plan.width if self.lane_axis is not None and self.lane_axis in free else 1

    def _splat(self, value: Operand, lanes: int) -> Operand:
        if value.lanes == lanes:
            return value
        to = type_text(value.dtype, lanes)
        first = self.emit(f"insertelement {to} poison, {value.type} {value.text}, i32 0")
        all_lanes = self.emit(f"shufflevector {to} {first}, {to} poison, <{lanes} x i32> zeroinitializer")
        return Operand(all_lanes, value.dtype, lanes)

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
        if isinstance(atom, ByRows):
            rows = self._splat(Operand("%rows", DType.int64), lanes).text
            return self.emit(f"mul {t} {inner}, {rows}")
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

    def _place(self, buffer: Buffer, index: tuple[Affine, ...]) -> tuple[Affine, int | None]:
        """An element's offset, and how far apart neighbours in the lanes lie (None: not evenly).

        Where the lanes run over a buffer's blocks of rows or along its panels, they lie side by side, and lane 0 begins a
        block or a vector of a panel.
        """
        key = (buffer, index, self.lane_axis)
        found = self.places.get(key)
        if found is None:
            found = self.places[key] = self._found_place(buffer, index)
        return found

    def _found_place(self, buffer: Buffer, index: tuple[Affine, ...]) -> tuple[Affine, int | None]:
        axis = self.lane_axis
        if axis is not None and buffer.block == self.plan.width and index[0] == Affine.of(axis):
            strides = buffer.strides()
            total = Affine.of(axis) * strides[0]
            for i, stride in zip(index[1:], strides[1:], strict=True):
                total = total + i * (stride * buffer.block)
            return total, 1
        offset = buffer.offset(index)
        if buffer.panel > 1 and axis is not None and index[buffer.order[-1]] == Affine.of(axis):
            return offset, 1
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
            return self.row_mask or None
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
        axis = turned_axis(self, offset, lanes) if stride is not None and e.dtype is not DType.bool else None
        if axis is None or stride is None or (self.lane_axis is not None and self.lane_axis.extent is ROWS):
            return self._gather(e.buffer, offset, point, lanes, mask)
        memo, here = self.scopes[self.level].memo, dict(point)
        for i, value in enumerate(turned_load(self, e, offset, stride, axis, point)):
            other = frozenset((a, i if a == axis else k) for a, k in point if a in e.free)
            memo.setdefault((e, other), value)
        return memo[(e, frozenset((a, k) for a, k in here.items() if a in e.free))]

    def _prefetch(self, e: Load, point: Point) -> None:
        """Asks for the cache lines of a load; a hint, so what lies behind a buffer's end does no harm."""
        offset, _ = self._place(e.buffer, e.index)
        address = self._address(e.buffer, offset, point)
        self.scopes[self.level].lines.append(
            f"  call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 2, i32 1)"
        )

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
