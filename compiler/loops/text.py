"""Lowered units as text: loop nests with formulas, schedules as remarks, and the memory plan.

In: a ``Unit``. Out: text to be read. What several expressions share, and what would make a line too long, gets a name
in the outermost loop where all its axes are known: the place where a backend computes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ...grammar.source import NOWHERE
from ..graph import show_shape
from .ir import (
    Affine,
    Apply,
    Atom,
    Axis,
    Buffer,
    ByRows,
    Condition,
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
    Schedule,
    Scheduled,
    Space,
    Store,
)
from .rewrite import children, loads, walk
from .unit import Unit

WIDTH = 88
MANY = 3
INDENT = "    "
OUTER, INNER = "ijklm", "pqrstuvwxyz"
INFIX = {
    Scalar.add: ("+", 4), Scalar.sub: ("-", 4), Scalar.mul: ("*", 5), Scalar.div: ("/", 5), Scalar.mod: ("%", 5),
    Scalar.pow: ("^", 7), Scalar.lt: ("<", 3), Scalar.le: ("<=", 3), Scalar.eq: ("==", 3), Scalar.ne: ("!=", 3),
    Scalar.logical_and: ("and", 2), Scalar.logical_or: ("or", 1),
}  # fmt: skip
ATOM = 9
Text = tuple[str, int]
Names = Callable[[str], str]


def unit_text(unit: Unit, layer_name: Names = str) -> str:
    """The whole unit. layer_name: what to call a layer, by its path."""
    parts = [f"unit {unit.name}", "", *_memory(unit)]
    for number, scheduled in enumerate(unit.kernels):
        parts += ["", *kernel_lines(number, scheduled, layer_name)]
    return "\n".join(parts)


def kernel_lines(number: int, scheduled: Scheduled, layer_name: Names = str) -> list[str]:
    """One kernel: a heading and its loops."""
    kernel = scheduled.kernel
    place = "" if kernel.span is NOWHERE else f"({kernel.span})"
    origin = " ".join(x for x in (layer_name(kernel.layer), place) if x)
    head = f"kernel {number} {kernel.name}" + (f"    # {origin}" if origin else "")
    if kernel.repeat is not None:
        head = f"for each {kernel.repeat.axis.name} < {kernel.repeat.axis.extent}: {head}"
    return [head, *_KernelText(kernel, scheduled.schedule).lines()]


# memory


def _memory(unit: Unit) -> list[str]:
    plan = unit.memory
    rows = [("buffer", "type", "space", "place", "kernels")]
    for buffer, (first, last) in _used(unit).items():
        kind = f"{buffer.dtype.value}{show_shape(buffer.shape)}"
        rows.append((buffer.name, kind, buffer.space.value, _place(unit, buffer), f"{first}-{last}"))
    widths = [max(len(r[i]) for r in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return [f"work memory: {plan.fixed_bytes:,} bytes and {plan.row_bytes:,} a row", "", *lines]


def _place(unit: Unit, buffer: Buffer) -> str:
    """Where a buffer lies and how: bytes in the arena, the order of dimensions, blocks of observations."""
    words = []
    if buffer.space is Space.work:
        fixed, per_row = unit.memory.offsets[buffer.name]
        words.append(f"{per_row:,} n" if any(not isinstance(e, int) for e in buffer.shape) else f"{fixed:,}")
    if buffer.order != tuple(range(len(buffer.shape))):
        words.append("order " + " ".join(map(str, buffer.order)))
    if buffer.block > 1:
        words.append(f"blocks of {buffer.block}")
    if buffer.panel > 1:
        words.append(f"panels of {buffer.panel}")
    return ", ".join(words)


def _used(unit: Unit) -> dict[Buffer, tuple[int, int]]:
    """Each buffer with the first and the last kernel that touches it."""
    spans: dict[Buffer, tuple[int, int]] = {}
    for at, scheduled in enumerate(unit.kernels):
        kernel = scheduled.kernel
        for buffer in (*(x.buffer for x in reversed(loads(kernel))), *(s.buffer for s in kernel.stores)):
            spans[buffer] = (spans.get(buffer, (at, at))[0], at)
    return spans


# kernels


@dataclass(slots=True)
class _Block:
    """Lines inside a loop. axes: those the loop binds; names: what has been given a name here."""

    axes: frozenset[Axis] = frozenset()
    parent: _Block | None = None
    lines: list[str] = field(default_factory=list)
    names: dict[Expr, str] = field(default_factory=dict)

    def home(self, e: Expr) -> _Block:
        """The outermost block where all axes of an expression are known."""
        block = self
        while block.parent is not None and not e.free & block.axes:
            block = block.parent
        return block

    def find(self, e: Expr) -> str | None:
        block: _Block | None = self
        while block is not None:
            if e in block.names:
                return block.names[e]
            block = block.parent
        return None


class _KernelText:
    """One kernel's lines."""

    def __init__(self, kernel: Kernel, schedule: Schedule) -> None:
        self.kernel, self.schedule = kernel, schedule
        self.axis_names: dict[Axis, str] = {}
        for axis, letter in zip(kernel.axes, _letters(OUTER), strict=False):
            self.axis_names[axis] = letter
        self.inner = _letters(INNER)
        self.shared = _shared(kernel)
        self.coordinates: dict[Affine, str] = {}
        self.count = 0

    def lines(self) -> list[str]:
        if self.kernel.resident:
            return self._resident()
        blocks = [_Block()]
        for axis in self.kernel.axes:
            blocks.append(_Block(frozenset({axis}), blocks[-1]))
        self._name_coordinates(blocks)
        self._name_old_contents(blocks[-1])
        if self.schedule.ahead:
            blocks[-1].lines.append(f"# asks ahead for {', '.join(sorted(self.schedule.ahead))}")
        for store in self.kernel.stores:
            blocks[-1].lines.append(self._store(store, blocks[-1]))
        result: list[str] = []
        for depth, block in enumerate(blocks):
            result += [INDENT * (depth + 1) + line for line in block.lines]
            if depth < len(self.kernel.axes):
                result.append(INDENT * (depth + 1) + self._loop(self.kernel.axes[depth]))
        return result

    def _name_coordinates(self, blocks: Sequence[_Block]) -> None:
        """Gives names to quotients and remainders of the kernel's axes that are written many times."""
        accesses = [s.index for s in self.kernel.stores] + [x.index for x in loads(self.kernel)]
        for index, uses in Counter(i for access in accesses for i in access).items():
            plain = all(isinstance(atom, Axis) for _, atom in index.terms)
            if uses < MANY or plain or not index.axes() <= set(self.kernel.axes):
                continue
            home = next(b for b in reversed(blocks) if b.axes & index.axes())
            text = self._index(index)
            self.coordinates[index] = f"c{len(self.coordinates) + 1}"
            home.lines.append(f"{self.coordinates[index]} = {text}")

    def _name_old_contents(self, block: _Block) -> None:
        """Gives names to elements that a later store needs as they were before an earlier one."""
        written: set[Buffer] = set()
        for store in self.kernel.stores:
            for e in walk(store.value):
                if isinstance(e, Load) and e.buffer in written and block.find(e) is None:
                    self._name(e, [self._element(e.buffer, e.index)], block)
            written.add(store.buffer)

    def _resident(self) -> list[str]:
        """Stores with loops of their own, whose sums run side by side in one loop."""
        block = _Block()
        for store in self.kernel.stores:
            inner = _Block(frozenset(self.kernel.axes), block)
            line = self._store(store, inner)
            used = frozenset[Axis]().union(*(i.axes() for i in store.index))
            loops = ", ".join(self._extent(a) for a in self.kernel.axes if a in used)
            block.lines += [f"for {loops}" if loops else "once", *(INDENT + x for x in (*inner.lines, line))]
        remark = "# in one pass over the rows; all sums stay in registers" + self._remark(
            self.kernel.axes[-1]
        )
        return [INDENT + remark, *(INDENT + line for line in block.lines)]

    def _loop(self, axis: Axis) -> str:
        return f"for {self._extent(axis)}{self._remark(axis)}"

    def _extent(self, axis: Axis) -> str:
        return f"{self._axis(axis)} < {axis.extent}"

    def _remark(self, axis: Axis) -> str:
        """How the schedule runs an axis."""
        words = []
        if axis.name in self.schedule.lanes:
            vectors = f"{self.schedule.vectors} vectors" if self.schedule.vectors > 1 else "a vector"
            words.append(f"lanes: {vectors} of {self.schedule.width}")
        if self.schedule.block and axis == self.kernel.axes[0]:
            words.append(f"blocks of {self.schedule.block} points")
        if self.schedule.chunk and axis == self.kernel.axes[0]:
            words.append(f"sums in chunks of {self.schedule.chunk}")
        points = dict(self.schedule.unroll).get(axis.name, 1)
        if points > 1:
            words.append(f"tile: {points} points")
        return f"    # {', '.join(words)}" if words else ""

    def _axis(self, axis: Axis) -> str:
        if axis not in self.axis_names:
            self.axis_names[axis] = next(self.inner)
        return self.axis_names[axis]

    def _store(self, store: Store, block: _Block) -> str:
        value = self._formula(store.value, block, whole=True)[0]
        block.names.setdefault(store.value, self._element(store.buffer, store.index))
        return f"{self._element(store.buffer, store.index)} = {value}"

    def _element(self, buffer: Buffer, index: Sequence[Affine]) -> str:
        return f"{buffer.name}[{', '.join(map(self._index, index))}]" if index else buffer.name

    # expressions

    def _show(self, e: Expr, block: _Block) -> Text:
        """The text of a part: its name if it has one, or should get one."""
        known = block.find(e)
        if known is not None:
            return known, ATOM
        text = self._formula(e, block)
        if isinstance(e, (Constant, Position, Load)) or not (e in self.shared or len(text[0]) > WIDTH):
            return text
        return (
            (text[0], ATOM) if block.find(e) == text[0] else (self._name(e, [text[0]], block.home(e)), ATOM)
        )

    def _name(self, e: Expr, lines: Sequence[str], home: _Block) -> str:
        self.count += 1
        name = home.names[e] = f"t{self.count}"
        home.lines += [f"{name} = {lines[0]}", *lines[1:]]
        return name

    def _formula(self, e: Expr, block: _Block, *, whole: bool = False) -> Text:
        match e:
            case Constant():
                return _number(e.value)
            case Position():
                return self._index(e.index), 4
            case Load():
                return self._element(e.buffer, e.index), ATOM
            case Random():
                return f"random({e.stream}, {self._index(e.index)})", ATOM
            case Apply():
                return self._apply(e, block)
            case Guarded():
                holds = " and ".join(self._condition(c) for c in e.conditions)
                parts = [self._show(x, block)[0] for x in (e.body, e.otherwise)]
                return f"where({holds}, {parts[0]}, {parts[1]})", ATOM
            case Reduction():
                return self._reduction(e, block)

    def _apply(self, e: Apply, block: _Block) -> Text:
        parts = [self._show(a, block) for a in e.arguments]
        if e.op in INFIX:
            symbol, strength = INFIX[e.op]
            return f"{_wrap(parts[0], strength)} {symbol} {_wrap(parts[1], strength + 1)}", strength
        if e.op is Scalar.neg:
            return f"-{_wrap(parts[0], 6)}", 6
        name = {Scalar.cast: e.dtype.value, Scalar.select: "where"}.get(e.op, e.op.value)
        return f"{name}({', '.join(text for text, _ in parts)})", ATOM

    def _reduction(self, e: Reduction, block: _Block) -> Text:
        home = block.home(e)
        inside = _Block(frozenset(e.axes), home)
        body = self._show(e.body, inside)
        lanes = "".join(" in lanes" for a in e.axes if a.name in self.schedule.lanes)
        head = f"{e.combine.value}({', '.join(self._extent(a) for a in e.axes)}{lanes})"
        if not inside.lines:
            return f"{head} {_wrap(body, 5)}", 4
        return self._name(e, [head, *(INDENT + x for x in (*inside.lines, body[0]))], home), ATOM

    def _condition(self, c: Condition) -> str:
        text = self._index(c.index)
        if c.lower is not None and c.upper == c.lower + 1:
            return f"{text} == {c.lower}"
        low = "" if c.lower is None else f"{c.lower} <= "
        return f"{low}{text}" + ("" if c.upper is None else f" < {c.upper}")

    def _index(self, index: Affine) -> str:
        if index in self.coordinates:
            return self.coordinates[index]
        parts = [(c, self._atom(a)) for c, a in index.terms]
        parts += [(index.rows, "n")] if index.rows else []
        if index.constant or not parts:
            parts.append((index.constant, ""))
        text = ""
        for factor, atom in sorted(parts, key=lambda p: p[0] < 0):
            size = abs(factor)
            term = str(size) if not atom else atom if size == 1 else f"{size} * {_grouped(atom)}"
            sign = "-" if factor < 0 else "+"
            text += f" {sign} {term}" if text else term if factor >= 0 else f"-{term}"
        return text

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Axis):
            return self._axis(atom)
        if isinstance(atom, ByRows):
            return f"{_grouped(self._index(atom.value))} * n"
        return f"{_grouped(self._index(atom.value))} {'//' if isinstance(atom, FloorDiv) else '%'} {atom.divisor}"


def _letters(alphabet: str) -> Iterator[str]:
    """a, b, ..., then a1, b1, ..."""
    yield from alphabet
    count = 1
    while True:
        yield from (f"{letter}{count}" for letter in alphabet)
        count += 1


def _shared(kernel: Kernel) -> set[Expr]:
    """Expressions that several others read."""
    readers: dict[Expr, int] = {}
    seen: set[Expr] = set()
    for e in walk(*(s.value for s in kernel.stores)):
        if e in seen:
            continue
        seen.add(e)
        for child in children(e):
            readers[child] = readers.get(child, 0) + 1
    for store in kernel.stores:
        readers[store.value] = readers.get(store.value, 0) + 1
    return {e for e, count in readers.items() if count > 1}


def _wrap(text: Text, least: int) -> str:
    return text[0] if text[1] >= least else f"({text[0]})"


def _grouped(index: str) -> str:
    return index if index.isidentifier() else f"({index})"


def _number(value: float | int | bool) -> Text:
    if isinstance(value, bool):
        return ("true" if value else "false"), ATOM
    return f"{value:.9g}", ATOM if value >= 0 else 6


__all__ = ["kernel_lines", "unit_text"]
