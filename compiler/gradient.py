"""Reverse-mode differentiation, Graph to the same Graph.

In: values with cotangents, and the values to differentiate with respect to. Out: one gradient for each of the
latter. Derivative rules come from the operation records alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import ops
from .graph import Graph, Value, reachable
from .ops.record import NotDifferentiable


def vjp(graph: Graph, outputs: Sequence[tuple[Value, Value]], wrt: Sequence[Value]) -> list[Value]:
    """Vector-Jacobian products.

    outputs: pairs of a value and its cotangent, of one type. wrt: values of the graph. Returns for each of ``wrt``
    the sum over outputs of cotangent times Jacobian, of that value's type (float32 for bfloat16); zeros where nothing
    flows.
    """
    order = reachable(value for value, _ in outputs)
    active = _depends_on(order, {v.id for v in wrt})
    cotangents: dict[int, Value] = {}
    for value, cotangent in outputs:
        _accumulate(graph, cotangents, value, cotangent)
    previous = graph.origin
    for node in reversed(order):
        cotangent = cotangents.get(node.id)  # type: ignore[assignment]
        if cotangent is None or node.id not in active or isinstance(node.op.vjp, NotDifferentiable):
            continue
        if not any(v.id in active for v in node.inputs):
            continue
        graph.origin = node.origin
        for operand, part in zip(node.inputs, node.op.vjp(graph, node, cotangent), strict=True):
            if part is not None and operand.id in active:
                _accumulate(graph, cotangents, operand, part)
    graph.origin = previous
    return [cotangents.get(v.id) or ops.full(graph, 0.0, v.dtype.wide, v.shape) for v in wrt]


def _depends_on(order: Sequence[Value], wanted: set[int]) -> set[int]:
    """The values through which a derivative to one of the wanted can flow."""
    active = set(wanted)
    for value in order:
        flows = value.dtype.is_float and not isinstance(value.op.vjp, NotDifferentiable)
        if flows and any(v.id in active for v in value.inputs):
            active.add(value.id)
    return active


def _accumulate(graph: Graph, cotangents: dict[int, Value], value: Value, part: Value) -> None:
    wanted = value.dtype.wide, value.shape
    assert (part.dtype, part.shape) == wanted, f"bug in netc: cotangent {part.type} for {value!r}"
    known = cotangents.get(value.id)
    cotangents[value.id] = part if known is None else ops.add(graph, known, part)
