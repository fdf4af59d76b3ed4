"""Scan: a recurrence over time, one step as a graph of its own.

The step's leaves are ``carry.i``, a state before the step; ``each.j``, what a sequence holds at that time; ``const.k``,
the same at every time. Its outputs are ``next.i``, the states after the step, and ``out.j``. A scan's operands are first
states, sequences, constants, in that order. Time is the second dimension of what holds observations, the first of others.
``result`` says which of its results a value is: the states ``i``, the first one included, or behind them the ``out.j``.
Several results of one scan are values that differ in ``result`` alone; lowering runs them in one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import ROWS, Graph, Shape, TensorType, TypeRuleError, Value
from ..loops.ir import Affine, Expr
from . import build as b
from .record import Operation, Reader


class Body:
    """The graph of one step. Bodies that compute the same are equal."""

    __slots__ = ("_text", "graph")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        number = {v.id: i for i, v in enumerate(graph.live())}
        lines = [
            f"{v.op.name} {[number[x.id] for x in v.inputs]} {sorted(v.attrs.items())!r} {v.type}"
            for v in graph.live()
        ]
        lines += [f"in {n} {number.get(v.id)} {v.type}" for n, v in graph.inputs.items()]
        lines += [f"out {n} {number[v.id]}" for n, v in graph.outputs.items()]
        self._text = "; ".join(lines)

    def count(self, kind: str) -> int:
        """How many leaves (``carry``, ``each``, ``const``) or outputs (``next``, ``out``) of a kind there are."""
        return sum(n.startswith(kind + ".") for n in (*self.graph.inputs, *self.graph.outputs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "{" + self._text + "}"


def time_dim(shape: Shape) -> int:
    """Where time stands among the dimensions of a sequence of such elements."""
    return 1 if shape and shape[0] is ROWS else 0


def over_time(kind: TensorType, length: int) -> TensorType:
    """The type of a sequence of such elements."""
    at = time_dim(kind.shape)
    return TensorType(kind.dtype, (*kind.shape[:at], length, *kind.shape[at:]))


def _type(*operands: TensorType, body: Body, result: int, length: int, reverse: bool) -> TensorType:
    graph = body.graph
    names = [f"carry.{i}" for i in range(body.count("carry"))]
    names += [f"each.{i}" for i in range(body.count("each"))]
    names += [f"const.{i}" for i in range(body.count("const"))]
    for name, given in zip(names, operands, strict=True):
        leaf = graph.inputs[name].type
        wanted = over_time(leaf, length) if name.startswith("each") else leaf
        if wanted != given:
            raise TypeRuleError(f"{name} of a scan is {given}, not {wanted}")
    states = body.count("next")
    for i in range(states):
        if graph.outputs[f"next.{i}"].type != graph.inputs[f"carry.{i}"].type:
            raise TypeRuleError(f"a step makes {graph.outputs[f'next.{i}'].type} of the state {operands[i]}")
    if result < states:
        return over_time(operands[result], length + 1)
    return over_time(graph.outputs[f"out.{result - states}"].type, length)


def _reference(xp: Any, *arrays: Any, body: Body, result: int, length: int, reverse: bool) -> Any:
    from ..interpreter import scanned

    return scanned(body, arrays, length, reverse)[result]


def _element(reader: Reader, node: Value, index: Sequence[Affine]) -> Expr:
    return reader.read(node, index)


def part(g: Graph, x: Value, dim: int, start: int, stop: int) -> Value:
    """From start to stop along one dimension."""
    starts = [start if d == dim else 0 for d in range(len(x.shape))]
    stops = tuple(stop if d == dim else e for d, e in enumerate(x.shape))
    return b.slice(g, x, starts, stops, [1] * len(x.shape))


def at(g: Graph, x: Value, dim: int, place: int) -> Value:
    """What a sequence holds at one time."""
    one = part(g, x, dim, place, place + 1)
    return b.reshape(g, one, tuple(e for d, e in enumerate(x.shape) if d != dim))


def products(step: Graph) -> list[Value]:
    """What of a step is worth keeping for the derivative, as results ``out.j``: to compute it again costs as much as the
    step. Results that nobody asks for are not stored."""
    return [v for v in step.live() if v.op.name == "contract"]


class Backward:
    """The derivative of a scan: a scan in the other direction, of the cotangents of the states.

    Its sequences are those of the scan, the states before each step, the cotangent at each time and the scan's own
    ``out.j``, its products; a step computes the rest of the forward step again and goes backward through it. What belongs to a constant is a sum over time: of products where it
    is a contraction over observations, so that one contraction over observations and time remains.
    """

    def __init__(self, g: Graph, node: Value, cotangent: Value) -> None:
        self.g, self.node = g, node
        a = node.attrs
        self.body, self.result, self.length, self.reverse = a["body"], a["result"], a["length"], a["reverse"]
        k, m = self.body.count("carry"), self.body.count("each")
        self.first, self.each, self.const = node.inputs[:k], node.inputs[k : k + m], node.inputs[k + m :]
        self.graph = Graph("backward")
        self.outs: dict[int, int] = {}
        """The number of the output of a value of the backward step."""
        states = [b.scan(g, node.inputs, self.body, i, self.length, self.reverse) for i in range(k)]
        low = 1 if self.reverse else 0
        self.sequences = [
            *self.each,
            *(part(g, s, time_dim(f.shape), low, low + self.length) for s, f in zip(states, self.first, strict=True)),
        ]  # fmt: skip
        self.at_start: Value | None = None
        if self.result < k:
            dim = time_dim(self.first[self.result].shape)
            self.at_start = at(g, cotangent, dim, self.length if self.reverse else 0)
            cotangent = part(g, cotangent, dim, 1 - low, 1 - low + self.length)
        self.sequences.append(cotangent)

    def gradients(self) -> tuple[Value | None, ...]:
        """A cotangent for each operand of the scan."""
        from ..gradient import vjp

        wrt, pairs = self._step()
        found = self._with_products(vjp(self.graph, pairs, wrt))
        k, m = len(self.first), len(self.each)
        for i in range(k):
            self.graph.outputs[f"next.{i}"] = found[i]
        flowing = [v if v.dtype.is_float else None for v in found[k : k + m]]
        to_each = [None if v is None else self._out(v) for v in flowing]
        recipes = [self._over_time(v) if v.dtype.is_float else None for v in found[k + m :]]
        self.backward = Body(self.graph)
        return (
            *(self._to_first(i) for i in range(k)),
            *(None if j is None else self._result(k + j) for j in to_each),
            *(None if r is None else r() for r in recipes),
        )

    def _step(self) -> tuple[list[Value], list[tuple[Value, Value]]]:
        """The forward step in the backward graph: what to differentiate by, and its outputs with their cotangents."""
        k, m, graph, forward = len(self.first), len(self.each), self.graph, self.body.graph
        carried = [b.input(graph, f"carry.{i}", f.dtype, f.shape) for i, f in enumerate(self.first)]
        each = []
        for j, s in enumerate(self.sequences):
            dim = 1 if s.shape[0] is ROWS else 0
            each.append(b.input(graph, f"each.{j}", s.dtype, (*s.shape[:dim], *s.shape[dim + 1 :])))
        const = [b.input(graph, f"const.{j}", c.dtype, c.shape) for j, c in enumerate(self.const)]
        leaves = {f"carry.{i}": each[m + i] for i in range(k)}
        leaves |= {f"each.{j}": each[j] for j in range(m)} | {f"const.{j}": c for j, c in enumerate(const)}
        new = {leaf.id: leaves[name] for name, leaf in forward.inputs.items()}
        graph.draw(forward.live(), new)
        pairs = [
            (new[forward.outputs[f"next.{i}"].id], carried[i]) for i in range(k) if carried[i].dtype.is_float
        ]
        name = f"next.{self.result}" if self.result < k else f"out.{self.result - k}"
        pairs.append((new[forward.outputs[name].id], each[-1]))
        self.kept = {new[v.id].id: int(n[4:]) for n, v in forward.outputs.items() if n.startswith("out.")}
        return [*each[m : m + k], *each[:m], *const], pairs

    def _with_products(self, found: Sequence[Value]) -> list[Value]:
        """The cotangents, as values of a graph that takes the forward step's products from sequences."""
        draft, self.graph = self.graph, Graph("backward")
        new = {v.id: b.input(self.graph, name, v.dtype, v.shape) for name, v in draft.inputs.items()}
        draft.outputs = {str(i): v for i, v in enumerate(found)}
        for value in draft.live():
            number = self.kept.get(value.id)
            if number is not None:
                name = f"each.{len(self.sequences)}"
                a = (self.body, len(self.first) + number, self.length, self.reverse)
                self.sequences.append(b.scan(self.g, self.node.inputs, *a))
                new[value.id] = b.input(self.graph, name, value.dtype, value.shape)
            elif value.id not in new:
                new[value.id] = self.graph.adopt(value, tuple(new[v.id] for v in value.inputs))
        return [new[v.id] for v in found]

    def _out(self, value: Value) -> int:
        """The number of the output that gives this value at each time."""
        number = self.outs.setdefault(value.id, len(self.outs))
        self.graph.outputs[f"out.{number}"] = value
        return number

    def _result(self, number: int) -> Value:
        zeros = [b.full(self.g, 0.0 if f.dtype.is_float else 0, f.dtype, f.shape) for f in self.first]
        operands = (*zeros, *self.sequences, *self.const)
        return b.scan(self.g, operands, self.backward, number, self.length, not self.reverse)

    def _to_first(self, i: int) -> Value | None:
        first = self.first[i]
        if not first.dtype.is_float:
            return None
        found = at(self.g, self._result(i), time_dim(first.shape), self.length if self.reverse else 0)
        return found if self.at_start is None or i != self.result else b.add(self.g, found, self.at_start)

    def _sequence(self, value: Value) -> Any:
        """A value of the backward step at all times: one of the scan's own sequences, or an output."""
        for j in range(len(self.sequences)):
            if self.graph.inputs[f"each.{j}"] is value:
                return lambda: self.sequences[j]
        number = self._out(value)
        return lambda: self._result(len(self.first) + number)

    def _over_time(self, v: Value) -> Any:
        """How the sum over time of a value of the backward step is made outside of it."""
        g = self.g
        if v.op.name == "add":
            x, y = (self._over_time(o) for o in v.inputs)
            return lambda: b.add(g, x(), y())
        if v.op.name == "permute" and ROWS not in v.shape:
            x = self._over_time(v.inputs[0])
            return lambda: b.permute(g, x(), v.attrs["dims"])
        if v.op.name == "contract" and not v.attrs["batch"] and ROWS not in v.shape:
            if any(v.inputs[0].shape[p] is ROWS for p, _ in v.attrs["axes"]):
                x, y = (self._sequence(o) for o in v.inputs)
                tx, ty = (time_dim(o.shape) for o in v.inputs)
                pairs = [(p + (p >= tx), q + (q >= ty)) for p, q in v.attrs["axes"]]
                return lambda: b.contract(g, x(), y(), [*pairs, (tx, ty)])
        if v.op.name == "sum" and ROWS not in v.shape and v.inputs[0].shape[:1] == (ROWS,):
            x = self._sequence(v.inputs[0])
            return lambda: b.sum(g, x(), [1, *(d + (d >= 1) for d in v.attrs["dims"])])
        x = self._sequence(v)
        return lambda: b.sum(g, x(), [time_dim(v.shape)])


def _vjp(g: Graph, node: Value, cotangent: Value) -> tuple[Value | None, ...]:
    return Backward(g, node, cotangent).gradients()


SCAN = Operation(
    "scan", "a recurrence: its states, or what its steps give, at all times", _type, _reference, _vjp, _element,
    cases=(),
)  # fmt: skip
"""Its tests are in tests/test_scan.py: a case needs a graph of its own."""
