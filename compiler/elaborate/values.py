"""What expressions evaluate to while compiling, and how evaluation fails.

A value is known when compiling (int, float, bool, str, None, list of known values) or is a graph Value. Known
values fold; as soon as a tensor takes part, graph nodes come out, with broadcasts made explicit.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from .. import ops
from ..graph import ROWS, DType, Graph, Origin, Shape, TypeRuleError, Value, show_shape

MAX_DEPTH = 60
MAX_STEPS = 200_000
MAX_ELEMENTS = 2**31
MAX_ELEMENTS_OF_ONE = 2**28

Known = Any
"""int, float, bool, str, None, ROWS, ``Absent`` or a list of these."""


class Failed(Exception):
    """Carries one diagnostic out of an evaluation. Not frozen: a context manager sets its traceback."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Poisoned(Failed):
    """Follows from a failure that is already reported: nothing to tell."""


class Exhausted(Failed):
    """A bound of the whole compilation is reached: going on would not help."""


class Unknown:
    """The type of ``UNKNOWN``: a value that could not be computed because of an error already reported."""


UNKNOWN = Unknown()


def poisoned(span: Span) -> NoReturn:
    raise Poisoned(Diagnostic("E0201", "follows from another error", Label(span)))


def too_deep(span: Span) -> Diagnostic:
    return Diagnostic(
        "E0204", "the program is nested too deeply", Label(span, "while this was evaluated"),
        help="give parts names, or end the recursion",
    )  # fmt: skip


def in_library(span: Span) -> bool:
    return span.source.name.startswith("library:")


def seen_from(d: Diagnostic, span: Span, text: str = "") -> Diagnostic:
    """A failure inside the library, told at the place of the program that led there."""
    if not in_library(d.primary.span) or in_library(span):
        return d
    cause = Label(d.primary.span, d.primary.text or d.message)
    return replace(d, primary=Label(span, text), secondary=(cause, *d.secondary[:1]))


def fail(code: str, message: str, span: Span, text: str = "", **rest: Any) -> NoReturn:
    raise Failed(Diagnostic(code, message, Label(span, text), **rest))


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything a program can call: definitions by name, and its constants.

    lookup finds a definition of the library; kinds tells the kind of each of the library's names.
    """

    items: Mapping[str, s.Definition]
    constants: dict[str, Known]
    lookup: Callable[[str], s.Definition | None]
    kinds: Callable[[], Mapping[str, str]] = dict

    def find(self, name: str) -> s.Definition | None:
        return self.items.get(name) or self.lookup(name)

    def names(self, *kinds: str) -> list[str]:
        """The names that can be used of these kinds, the program's own first."""
        own = [n for n, d in self.items.items() if d.kind in kinds]
        return own + [n for n, kind in self.kinds().items() if kind in kinds and n not in self.items]


class Remembered(Protocol):
    """Takes the states of one call of a schedule."""

    def declare(self, ctx: Context, statement: s.State) -> None: ...

    def update(self, ctx: Context, statement: s.Update) -> None: ...


class Memory(Protocol):
    """Where schedules keep states; only an optimizer's arguments have one."""

    def remember(self) -> Remembered: ...


@dataclass(slots=True)
class Context:
    """Where an evaluation stands: the graph it emits into, the names it sees, the layer it is in."""

    graph: Graph
    dtype: DType
    definitions: Definitions
    names: dict[str, Known | Value] = field(default_factory=dict)
    path: str = ""
    depth: int = 0
    budget: list[int] = field(default_factory=lambda: [MAX_STEPS])
    draws: dict[str, int] = field(default_factory=dict)
    library: bool = False
    memory: Memory | None = None

    def find(self, name: str) -> s.Definition | None:
        """What a name is defined as: in the program, then in the library; inside the library there alone."""
        return self.definitions.lookup(name) if self.library else self.definitions.find(name)

    @property
    def constants(self) -> Mapping[str, Known]:
        """The program's constants; the library does not see them."""
        return {} if self.library else self.definitions.constants

    def inside(
        self, names: dict[str, Any], span: Span, path: str | None = None, body: s.Definition | None = None
    ) -> Context:
        """The context of a block, or of the body of a definition."""
        if self.depth >= MAX_DEPTH:
            fail(
                "E0204", f"definitions call each other more than {MAX_DEPTH} deep", span, f"at level {MAX_DEPTH}",
                help="end the recursion with `if ... then ... else`, or use `repeat`",
            )  # fmt: skip
        return Context(
            self.graph, self.dtype, self.definitions, names, self.path if path is None else path, self.depth + 1,
            self.budget, self.draws, self.library if body is None else in_library(body.name.span), self.memory,
        )  # fmt: skip

    def spend(self, span: Span) -> None:
        self.budget[0] -= 1
        if self.budget[0] < 0:
            message = f"the program takes more than {MAX_STEPS:,} steps to compile"
            label, advice = (
                Label(span, "here they are used up"),
                "fewer copies in `repeat`, or smaller definitions",
            )
            raise Exhausted(Diagnostic("E0505", message, label, help=advice))

    def stream(self) -> int:
        """A random stream of its own for the next draw of this layer."""
        count = self.draws[self.path] = self.draws.get(self.path, -1) + 1
        return stream_number(self.path, count)

    @contextmanager
    def at(self, span: Span) -> Iterator[None]:
        """Graph values made inside come from this span; a refused shape rule becomes a diagnostic there."""
        previous = self.graph.origin
        self.graph.origin = Origin(span, self.path)
        try:
            yield
        except TypeRuleError as error:
            fail("E0402", str(error), span, "shapes do not agree")
        finally:
            self.graph.origin = previous


def stream_number(path: str, count: int) -> int:
    """The random stream of a layer's draw, counted from 0."""
    return zlib.crc32(f"{path}#{count}".encode()) & 0x7FFFFFFF


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, Value)


def describe(value: Any) -> str:
    """A value's kind in words, for messages."""
    if isinstance(value, Value):
        return f"a tensor {show_shape(value.shape)} of {value.dtype.value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the text "{value}"'
    if value is None:
        return "none"
    if value is ROWS:
        return "the number of observations n"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"the number {value}" if is_number(value) else f"a {type(value).__name__.strip('_').lower()}"


def as_int(value: Any, span: Span, what: str = "a whole number") -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        code = "E0405" if isinstance(value, Value) else "E0303"
        fail(code, f"{what} is needed here, not {describe(value)}", span)
    return value


def as_bool(value: Any, span: Span) -> bool:
    if not isinstance(value, bool):
        code = "E0405" if isinstance(value, Value) else "E0303"
        fail(code, f"true or false, known when compiling, is needed here, not {describe(value)}", span)
    return value


def as_tensor(ctx: Context, value: Any, span: Span, dtype: DType | None = None) -> Value:
    """A graph value; a known number becomes a constant of the given (or the program's) dtype."""
    if isinstance(value, Value):
        return value
    if isinstance(value, bool):
        return ops.constant(ctx.graph, value, dtype or DType.bool)
    if is_number(value):
        return ops.constant(ctx.graph, value, dtype or ctx.dtype)
    if value is ROWS:
        return ops.cast(ctx.graph, ops.rows(ctx.graph), dtype or ctx.dtype)
    fail("E0303", f"a tensor or number is needed here, not {describe(value)}", span)


def joint_shape(a: Shape, b: Shape) -> Shape | None:
    """NumPy's broadcasting of two shapes, or None."""
    result = []
    for i in range(1, max(len(a), len(b)) + 1):
        x = a[-i] if i <= len(a) else 1
        y = b[-i] if i <= len(b) else 1
        if x != y and 1 not in (x, y):
            return None
        result.append(y if x == 1 else x)
    return tuple(reversed(result))


def spread(ctx: Context, x: Value, shape: Shape) -> Value:
    """Broadcast over leading dimensions, as NumPy aligns them."""
    offset = len(shape) - len(x.shape)
    return ops.broadcast(ctx.graph, x, shape, range(offset, len(shape)))


def unify(ctx: Context, values: list[Any], span: Span) -> list[Value]:
    """Tensors of one dtype and one shape from tensors and numbers."""
    tensors = [v for v in values if isinstance(v, Value)]
    dtype = _joint_dtype(ctx, tensors, values)
    ready = [ops.cast(ctx.graph, as_tensor(ctx, v, span, dtype), dtype) for v in values]
    shape: Shape = ()
    for value in ready:
        joint = joint_shape(shape, value.shape)
        if joint is None:
            fail(
                "E0402", f"shapes {show_shape(shape)} and {show_shape(value.shape)} do not broadcast", span,
                f"{show_shape(shape)} against {show_shape(value.shape)}", help=BROADCASTING,
            )  # fmt: skip
        shape = joint
    within_limit(shape, dtype, span)
    return [spread(ctx, v, shape) for v in ready]


BROADCASTING = "dimensions must be equal or 1, counted from the last"


def within_limit(shape: Iterable[Any], dtype: DType, span: Span) -> None:
    """Refuses tensors that no memory would hold; the number of observations counts as one."""
    shape = tuple(shape)
    total = math.prod(d for d in shape if isinstance(d, int))
    limit = MAX_ELEMENTS_OF_ONE if ROWS in shape else MAX_ELEMENTS
    if total > limit:
        fail(
            "E0505", f"a tensor {show_shape(shape)} would have {total:,} elements", span,
            f"{total * dtype.itemsize / 2**30:,.1f} GiB" + (" for each observation" if ROWS in shape else ""),
            help=f"a tensor may have {limit:,}" + (" for each observation" if ROWS in shape else ""),
        )  # fmt: skip


def _joint_dtype(ctx: Context, tensors: list[Value], values: list[Any]) -> DType:
    floats = [t.dtype for t in tensors if t.dtype.is_float]
    if floats:
        return DType.float64 if DType.float64 in floats else DType.float32
    if any(isinstance(v, float) for v in values) or any(v is ROWS for v in values):
        return ctx.dtype
    if any(t.dtype is DType.int64 for t in tensors) or any(
        is_number(v) and not isinstance(v, bool) for v in values
    ):
        return DType.int64 if tensors else ctx.dtype
    return DType.bool if tensors else ctx.dtype


def shape_of(value: Any, span: Span) -> Shape:
    """A known list of sizes as a shape."""
    if not isinstance(value, list):
        fail("E0303", f"a list of sizes is needed here, not {describe(value)}", span)
    for item in value:
        if item is not ROWS and as_int(item, span, "a size") < 1:
            fail("E0304", f"a size cannot be {item}", span)
    within_limit(value, DType.float32, span)
    return tuple(value)
