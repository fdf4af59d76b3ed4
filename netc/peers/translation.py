"""A graph as a list of another framework's calls: whole layers where it has them, single operations elsewhere.

In: a graph with the library's calls that made it, and a ``Framework``. Out: ``Translated``, a flat list of functions to
run on arrays. A value that a call of the library gave is computed by the framework's own layer, if there is one, and
nothing inside of the call is looked at; all other values are translated one by one, as a user of the framework would
write them down. What would be slow that way and has no counterpart (windows) raises ``NoCounterpart`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..compiler.graph import ROWS, Call, Graph, Value, reachable
from ..compiler.interpreter import Interpreter

ELEMENTWISE = frozenset(
    ("add", "sub", "mul", "div", "pow", "mod", "maximum", "minimum", "lt", "le", "eq", "ne")
)
ROW_COUNT = 0
"""The place that holds the number of rows."""


class NoCounterpart(Exception):
    """The other framework has nothing of this kind; the message is for users."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A function of the arrays of some values. rows: it takes their number first. part: of several results, which;
    equal ``group``: they are computed once."""

    function: Callable[..., Any]
    reads: tuple[Value, ...]
    rows: bool = False
    group: Hashable = None
    part: int | None = None


class Framework(Protocol):
    """What is known of a framework."""

    title: str

    def layer(self, call: Call, leaves: Mapping[str, Value]) -> Counterpart | None:
        """The framework's own layer or function for a call; leaves: its parameters and buffers, by name within it."""

    def operation(self, value: Value, operands: Sequence[Value | float]) -> Counterpart | None:
        """One operation; operands that are the same number everywhere come as that number."""

    def constant(self, array: Any) -> Any:
        """An array of the framework's."""


@dataclass(frozen=True, slots=True)
class Translated:
    """Steps in order, each (function, places that it reads, place that it writes)."""

    leaves: Mapping[str, int]
    constants: Mapping[int, Any]
    steps: Sequence[tuple[Callable[..., Any], tuple[int, ...], int]]
    outputs: Mapping[str, int]
    size: int

    def run(self, leaves: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """The outputs for these leaves."""
        places: list[Any] = [None] * self.size
        places[ROW_COUNT] = rows
        for place, constant in self.constants.items():
            places[place] = constant
        for name, place in self.leaves.items():
            places[place] = leaves[name]
        for function, reads, place in self.steps:
            places[place] = function(*[places[i] for i in reads])
        return {name: places[place] for name, place in self.outputs.items()}


def translate(
    graph: Graph, outputs: Mapping[str, Value], framework: Framework, *, drawn: bool = False
) -> Translated:
    """The outputs of a graph. drawn: random numbers are leaves ``random.<stream>`` instead of the framework's own; layers
    that draw are then taken apart. Raises NoCounterpart."""
    return _Translation(graph, framework, drawn).all(outputs)


@dataclass(slots=True)
class _Translation:
    graph: Graph
    framework: Framework
    drawn: bool
    calls: dict[int, list[Call]] = field(default_factory=dict)
    fixed: dict[int, bool] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    groups: dict[Hashable, int] = field(default_factory=dict)
    leaves: dict[str, int] = field(default_factory=dict)
    constants: dict[int, Any] = field(default_factory=dict)
    steps: list[tuple[Callable[..., Any], tuple[int, ...], int]] = field(default_factory=list)
    size: int = ROW_COUNT + 1

    def all(self, outputs: Mapping[str, Value]) -> Translated:
        for call in self.graph.calls:
            if call.result is not None and all(v is not call.result for v in call.given.values()):
                self.calls.setdefault(call.result.id, []).append(call)
        for value in reachable(outputs.values()):
            movable = value.op.name not in ("input", "rows", "random") and ROWS not in value.shape
            self.fixed[value.id] = movable and all(self.fixed[v.id] for v in value.inputs)
        for value in outputs.values():
            self._reach(value)
        named = {name: self.places[value.id] for name, value in outputs.items()}
        return Translated(self.leaves, self.constants, self.steps, named, self.size)

    def _place(self) -> int:
        self.size += 1
        return self.size - 1

    def _reach(self, root: Value) -> None:
        """Steps for a value and all that it needs; iterative, since networks are deep."""
        pending: list[tuple[Value, Counterpart | None]] = [(root, None)]
        while pending:
            value, found = pending.pop()
            if value.id in self.places:
                continue
            if self._given(value):
                continue
            found = found or self._counterpart(value)
            missing = [v for v in found.reads if v.id not in self.places]
            if missing:
                pending.append((value, found))
                pending.extend((v, None) for v in missing)
            else:
                self.places[value.id] = self._emit(found)

    def _given(self, value: Value) -> bool:
        """Leaves and constants have places and no steps."""
        name = None
        if value.op.name == "input":
            name = str(value.attrs["name"])
        elif value.op.name == "random" and self.drawn:
            name = f"random.{value.attrs['stream']}"
        elif not self.fixed[value.id]:
            return False
        place = self.places[value.id] = self._place()
        if name is not None:
            self.leaves[name] = place
        else:
            interpreter = Interpreter({})
            interpreter.run(reachable([value]))
            self.constants[place] = self.framework.constant(interpreter.results[value.id])
        return True

    def _emit(self, found: Counterpart) -> int:
        reads = tuple(self.places[v.id] for v in found.reads)
        if found.rows:
            reads = (ROW_COUNT, *reads)
        if found.part is None:
            place = self._place()
            self.steps.append((found.function, reads, place))
            return place
        whole = self.groups.get(found.group)
        if whole is None:
            whole = self.groups[found.group] = self._place()
            self.steps.append((found.function, reads, whole))
        place, part = self._place(), found.part
        self.steps.append((lambda results: results[part], (whole,), place))
        return place

    def _counterpart(self, value: Value) -> Counterpart:
        for call in self.calls.get(value.id, ()):
            if not (self.drawn and _draws(call)):
                own = {
                    name.split(".", 1)[1].removeprefix(call.path + "."): leaf
                    for name, leaf in self.graph.inputs.items()
                    if name.startswith((f"param.{call.path}.", f"buffer.{call.path}."))
                }
                found = self.framework.layer(call, own)
                if found is not None:
                    return found
        found = self.framework.operation(value, _operands(value))
        if found is None:
            raise NoCounterpart(f"no {self.framework.title} counterpart for {self._owner(value)}")
        return found

    def _owner(self, value: Value) -> str:
        """What a user knows a value by: the call of the library that it belongs to, or the operation."""
        for call in reversed(self.graph.calls):
            if call.result is not None and any(v is value for v in _inside(call)):
                return f"`{call.name}`"
        return (
            f"`{value.op.name}` in layer {value.origin.layer}" if value.origin.layer else f"`{value.op.name}`"
        )


def _inside(call: Call) -> list[Value]:
    """The values that a call made, as far as its result needs them."""
    assert call.result is not None
    given = {v.id for v in call.given.values() if isinstance(v, Value)}
    found: dict[int, Value] = {}
    pending = [call.result]
    while pending:
        value = pending.pop()
        if value.id not in found and value.id not in given:
            found[value.id] = value
            pending.extend(value.inputs)
    return list(found.values())


def _draws(call: Call) -> bool:
    return any(v.op.name == "random" for v in _inside(call))


def number(value: Value) -> float | None:
    """The number that a value is everywhere, where that is known."""
    while value.op.name == "broadcast":
        value = value.inputs[0]
    constant = value.attrs.get("value") if value.op.name == "constant" else None
    return constant if isinstance(constant, (int, float)) else None


def _operands(value: Value) -> list[Value | float]:
    """Operands, numbers and what the framework broadcasts by itself as they were before they were broadcast."""
    if value.op.name not in ELEMENTWISE and value.op.name != "where":
        return list(value.inputs)
    found: list[Value | float] = []
    for operand in value.inputs:
        constant = number(operand)
        found.append(operand if constant is None else constant)
    choices = found[1:] if value.op.name == "where" else found
    whole = [v for v in choices if isinstance(v, Value) and not _implicit(v)]
    if not whole:  # something must have the shape and the type of the result
        return list(value.inputs)
    return [v.inputs[0] if isinstance(v, Value) and _implicit(v) else v for v in found]


def _implicit(value: Value) -> bool:
    """A broadcast over leading dimensions and from extents of 1, as every framework does it."""
    if value.op.name != "broadcast":
        return False
    rank, source = len(value.shape), len(value.inputs[0].shape)
    return tuple(value.attrs["dims"]) == tuple(range(rank - source, rank))


def applied(function: Callable[..., Any], operands: Sequence[Value | float]) -> Counterpart:
    """A function of operands of which some are numbers."""
    reads = tuple(v for v in operands if isinstance(v, Value))
    if len(reads) == len(operands):
        return Counterpart(function, reads)
    if len(operands) == 2:
        first, second = operands
        if isinstance(first, Value):
            return Counterpart(lambda a: function(a, second), reads)
        return Counterpart(lambda b: function(first, b), reads)

    def filled(*arrays: Any) -> Any:
        given = iter(arrays)
        return function(*(next(given) if isinstance(v, Value) else v for v in operands))

    return Counterpart(filled, reads)


def concrete(attribute: Any, rows: int) -> Any:
    """An attribute with the number of rows filled in."""
    if attribute is ROWS:
        return rows
    if isinstance(attribute, tuple):
        return tuple(concrete(a, rows) for a in attribute)
    return attribute


def mentions_rows(attribute: Any) -> bool:
    if isinstance(attribute, tuple):
        return any(mentions_rows(a) for a in attribute)
    return attribute is ROWS


def with_rows(
    function: Callable[..., Any], attributes: Mapping[str, Any], reads: tuple[Value, ...]
) -> Counterpart:
    """``function(*arrays, **attributes)``, the number of rows filled in where an attribute mentions it."""
    if not any(mentions_rows(a) for a in attributes.values()):
        return Counterpart(lambda *arrays: function(*arrays, **attributes), reads)

    def filled(rows: int, *arrays: Any) -> Any:
        return function(*arrays, **{k: concrete(a, rows) for k, a in attributes.items()})

    return Counterpart(filled, reads, rows=True)
