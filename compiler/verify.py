"""Checks of the compiler's own work: that a graph or a lowered unit is what the representations promise.

In: a ``Graph`` after any pass, a ``Unit`` after lowering. Out: nothing, or ``InternalError`` that names the rule which
does not hold and prints where. Tests run these after every pass; a user never meets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .graph import Graph, TypeRuleError, Value
from .loops.ir import Axis, Buffer, Expr, Guarded, Kernel, Reduction, Space
from .loops.memory import row_bytes
from .loops.rewrite import children, loads
from .loops.unit import Unit
from .ops import TABLE


class InternalError(AssertionError):
    """A rule of a representation is broken: a bug in netc, not in the program."""

    def __init__(self, where: str, problem: str, dump: str = "") -> None:
        super().__init__(f"bug in netc: {where}: {problem}" + (f"\n\n{dump}" if dump else ""))


# graphs


def verify(graph: Graph, where: str = "graph") -> None:
    """Every value is known, comes after its operands and has the type of its operation's rule; leaves have names."""
    for problem in graph_problems(graph):
        raise InternalError(where, problem, "\n".join(map(repr, graph)))


def graph_problems(graph: Graph) -> Iterator[str]:
    """What is wrong with a graph, a sentence each."""
    for place, value in enumerate(graph):
        if value.id != place:
            yield f"value {place} has the number {value.id}"
        yield from _value_problems(graph, value)
    for name, leaf in graph.inputs.items():
        if not _belongs(graph, leaf) or leaf.op.name != "input" or leaf.attrs["name"] != name:
            yield f"the leaf {name} is {leaf!r}"
    for name, value in graph.outputs.items():
        if not _belongs(graph, value):
            yield f"the output {name} is no value of the graph"
        target = graph.inputs.get(name)
        if target is not None and target.type != value.type:
            yield f"the new contents of {name} are {value.type}, not {target.type}"
    named = {leaf.id for leaf in graph.inputs.values()}
    yield from (f"{v!r} is no leaf" for v in graph.live() if v.op.name == "input" and v.id not in named)


def _belongs(graph: Graph, value: Value) -> bool:
    return value.id < len(graph.values) and graph.values[value.id] is value


def _value_problems(graph: Graph, value: Value) -> Iterator[str]:
    if TABLE.get(value.op.name) is not value.op:
        yield f"{value!r} has an unknown operation"
    for operand in value.inputs:
        if operand.id >= value.id or not _belongs(graph, operand):
            yield f"{value!r} reads %{operand.id}, which is not before it"
    try:
        derived = value.op.infer(*(v.type for v in value.inputs), **value.attrs)
    except TypeRuleError as error:
        yield f"{value!r} is refused by its operation: {error}"
    else:
        if derived != value.type:
            yield f"{value!r} should be {derived}"


# units


def verify_unit(unit: Unit) -> None:
    """Axes are bound, work buffers are written before they are read and share no place while both are needed."""
    for problem in unit_problems(unit):
        raise InternalError(unit.name, problem)


def unit_problems(unit: Unit) -> Iterator[str]:
    """What is wrong with a unit, a sentence each."""
    written: set[Buffer] = set(unit.inputs.values())
    for scheduled in unit.kernels:
        kernel = scheduled.kernel
        for load in loads(kernel):
            if load.buffer not in written:
                yield f"kernel {kernel.name} reads {load.buffer.name} before it is written"
        yield from _kernel_problems(kernel)
        written |= {s.buffer for s in kernel.stores}
    for name, buffer in unit.outputs.items():
        if buffer not in written:
            yield f"the output {name} is never written"
    yield from _overlaps(unit)


def _kernel_problems(kernel: Kernel) -> Iterator[str]:
    if len({a.name for a in kernel.axes}) < len(kernel.axes):
        yield f"kernel {kernel.name} has two axes of one name"
    places = {s.buffer: s.index for s in kernel.stores}
    if len({(s.buffer, s.index) for s in kernel.stores}) < len(kernel.stores):
        yield f"kernel {kernel.name} stores twice in one place"
    for load in loads(kernel):
        elsewhere = load.buffer in places and load.index != places[load.buffer]
        if (
            elsewhere and kernel.repeat is None
        ):  # a recurrence reads a state and writes the next one behind it
            yield f"kernel {kernel.name} reads {load.buffer.name} at another place than it writes"
    for store in kernel.stores:
        used = frozenset[Axis]().union(*(i.axes() for i in store.index))
        unbound = (used | unbound_axes(store.value)) - set(kernel.axes)
        if unbound:
            yield f"kernel {kernel.name} does not bind {', '.join(sorted(a.name for a in unbound))}"
        if store.value.dtype is not store.buffer.dtype:
            yield f"kernel {kernel.name} stores {store.value.dtype} in {store.buffer.name}"


def unbound_axes(e: Expr, memo: dict[int, frozenset[Axis]] | None = None) -> frozenset[Axis]:
    """The axes an expression needs from outside, found from its parts and not from what it says of itself."""
    memo = {} if memo is None else memo
    found = memo.get(id(e))
    if found is None:
        inner = frozenset[Axis]().union(*(unbound_axes(c, memo) for c in children(e)))
        if isinstance(e, Reduction):
            inner -= set(e.axes)
        elif isinstance(e, Guarded):
            inner = inner.union(*(c.index.axes() for c in e.conditions))
        found = memo[id(e)] = inner if children(e) else e.free
    return found


def _overlaps(unit: Unit) -> Iterator[str]:
    """Pairs of work buffers that lie over each other while both are needed."""
    spans = _lifetimes(unit)
    buffers = list(spans)
    for i, a in enumerate(buffers):
        if a.name not in unit.memory.offsets:
            yield f"{a.name} has no place in memory"
            continue
        for b in buffers[i + 1 :]:
            alive = spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]
            if alive and b.name in unit.memory.offsets and _share_bytes(unit, a, b):
                yield f"{a.name} and {b.name} lie over each other"


def _lifetimes(unit: Unit) -> dict[Buffer, tuple[int, int]]:
    """The first and the last kernel that touches each work buffer; outputs live to the end."""
    spans: dict[Buffer, tuple[int, int]] = {}

    def touch(buffers: Iterable[Buffer], at: int) -> None:
        for b in buffers:
            if b.space is Space.work:
                spans[b] = (spans.get(b, (at, at))[0], at)

    for at, scheduled in enumerate(unit.kernels):
        touch((x.buffer for x in loads(scheduled.kernel)), at)
        touch((s.buffer for s in scheduled.kernel.stores), at)
    touch(unit.outputs.values(), len(unit.kernels))
    return spans


def _share_bytes(unit: Unit, a: Buffer, b: Buffer) -> bool:
    (size_a, rows_a), (size_b, rows_b) = row_bytes(a), row_bytes(b)
    if rows_a != rows_b:
        return False
    place = 1 if rows_a else 0
    start_a, start_b = unit.memory.offsets[a.name][place], unit.memory.offsets[b.name][place]
    return start_a < start_b + size_b and start_b < start_a + size_a


__all__ = ["InternalError", "graph_problems", "unbound_axes", "unit_problems", "verify", "verify_unit"]
