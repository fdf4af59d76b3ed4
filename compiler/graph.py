"""The Graph: pure, typed, interned tensor values, from leaves to named outputs.

In: operation records (``ops/``) and attributes. Out: ``Graph`` objects that the gradient, the passes, the
interpreter and the lowering read. A value's type is derived by its operation's shape rule when it is built, so
an ill-typed value cannot exist. Values are interned per graph: the same operation on the same inputs is the
same object. Values are in topological order by construction (inputs before users).

One dimension may be symbolic: ``ROWS``, the number of observations, printed ``n``. All others are integers.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..grammar.source import NOWHERE, Span

if TYPE_CHECKING:
    from .ops.record import Operation


class DType(enum.StrEnum):
    """Element types. ``bool`` takes one byte in memory. ``bfloat16`` is the upper half of a float32, without subnormal
    numbers: operands of products are rounded to it, nothing else is done in it."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    int64 = "int64"
    bool = "bool"

    @property
    def is_float(self) -> builtins.bool:
        return self in (DType.float32, DType.float64, DType.bfloat16)

    @property
    def itemsize(self) -> int:
        return {"float32": 4, "float64": 8, "bfloat16": 2, "int64": 8, "bool": 1}[self.value]

    @property
    def wide(self) -> DType:
        """The type that holds its numbers where arithmetic is done with them: that of sums, of cotangents, of NumPy."""
        return DType.float32 if self is DType.bfloat16 else self


class Rows(enum.Enum):
    """The type of ``ROWS``; an enum so that type checkers can tell it from an integer."""

    n = "n"

    def __repr__(self) -> str:
        return "n"

    __str__ = __repr__


ROWS: Final = Rows.n
Dim = int | Rows
Shape = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.value}{show_shape(self.shape)}"


def show_shape(shape: Iterable[Dim]) -> str:
    """``[n, 3]``."""
    return "[" + ", ".join(str(d) for d in shape) + "]"


class TypeRuleError(ValueError):
    """A shape rule refused its operands; the elaborator turns it into a diagnostic with both shapes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: the expression's span and the path of the layer it belongs to (``2.0``)."""

    span: Span = NOWHERE
    layer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One node. ``id`` counts from 0 in construction order within its graph."""

    id: int
    op: Operation
    inputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    type: TensorType
    origin: Origin = field(default=Origin(), repr=False)
    signature: Hashable = field(default=(), repr=False)

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __repr__(self) -> str:
        arguments = [f"%{v.id}" for v in self.inputs] + [f"{k}={v}" for k, v in self.attrs.items()]
        return f"%{self.id} = {self.op.name}({', '.join(arguments)}) : {self.type}"


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A use of a definition of the library: what it was given, by parameter, first its input; what it gave, None for an
    optimizer. path: of the layer, before the names of its parameters."""

    name: str
    given: Mapping[str, Any]
    result: Value | None
    path: str


class Graph:
    """A builder and container of interned values, with named leaves and named outputs.

    ``inputs`` maps the name of each leaf (operation ``input``) to its value; ``outputs`` is what must be
    computed. An output named like an input is that input's new contents (a parameter's update). ``calls`` remembers
    which values came from where in the library; passes and copies do not keep it.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.values: list[Value] = []
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.calls: list[Call] = []
        self.origin: Origin = Origin()
        self._interned: dict[Hashable, Value] = {}

    def add(self, op: Operation, inputs: tuple[Value, ...] = (), /, **attrs: Hashable) -> Value:
        """The value ``op(*inputs, **attrs)``; raises ``TypeRuleError`` when the shape rule refuses.

        New values take the graph's current ``origin``.
        """
        signature = _signature(attrs)
        key = op.name, tuple(v.id for v in inputs), signature
        found = self._interned.get(key)
        if found is not None:
            return found
        value_type = op.infer(*(v.type for v in inputs), **attrs)
        value = Value(len(self.values), op, inputs, attrs, value_type, self.origin, signature)
        self.values.append(value)
        self._interned[key] = value
        return value

    def adopt(self, value: Value, inputs: tuple[Value, ...], origin: Origin | None = None) -> Value:
        """A value of another graph on inputs of this one, which have the types of its own inputs."""
        key = value.op.name, tuple([v.id for v in inputs]), value.signature
        found = self._interned.get(key)
        if found is None:
            found = Value(
                len(self.values), value.op, inputs, value.attrs, value.type, origin or value.origin, value.signature
            )  # fmt: skip
            self.values.append(found)
            self._interned[key] = found
        return found

    def draw(
        self,
        values: Iterable[Value],
        new: dict[int, Value],
        moved: Callable[[Origin], Origin] = lambda origin: origin,
    ) -> dict[int, Value]:
        """Values of another graph, in their order. new: what some of them are here, by their ids there; all are in it
        afterwards. moved: where what comes from a place there comes from here."""
        origins: dict[int, Origin] = {}
        for value in values:
            if value.id in new:
                continue
            origin = origins.get(id(value.origin))
            if origin is None:
                origin = origins[id(value.origin)] = moved(value.origin)
            new[value.id] = self.adopt(value, tuple([new[v.id] for v in value.inputs]), origin)
        return new

    def live(self) -> list[Value]:
        """The values that the outputs need, in topological order."""
        return reachable(self.outputs.values())

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)


def _signature(attrs: Mapping[str, Any]) -> Hashable:
    """What equal attributes have in common."""
    if not attrs:
        return ()
    # 0.0 == -0.0, 1 == True and nan != nan as dictionary keys; their texts tell them apart.
    ordered = sorted(attrs.items())
    return tuple(ordered), tuple(repr(v) for _, v in ordered)


def reachable(roots: Iterable[Value]) -> list[Value]:
    """All values that the roots need, roots included, in topological order. Iterative: depth is no limit."""
    found: dict[int, Value] = {}
    pending = list(roots)
    while pending:
        value = pending.pop()
        if value.id not in found:
            found[value.id] = value
            pending.extend(value.inputs)
    return [found[i] for i in sorted(found)]


def users(values: Iterable[Value]) -> dict[int, list[Value]]:
    """For each value's id the values that read it."""
    table: dict[int, list[Value]] = {}
    for value in values:
        for operand in value.inputs:
            table.setdefault(operand.id, []).append(value)
    return table
