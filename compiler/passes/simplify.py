"""Algebra that holds for every value, NaN and infinities included.

In: a graph. Out: a graph without factors of one, whole powers, and operations that undo or repeat each other.
"""

from __future__ import annotations

from .. import ops
from ..graph import Graph, Value
from .fold import constant_of
from .rewrite import by_operation, rewrite


def times_one(g: Graph, v: Value) -> Value | None:
    """x * 1 and 1 * x are x."""
    for i in (0, 1):
        if constant_of(v.inputs[i]) == 1:
            return v.inputs[1 - i]
    return None


def over_one(g: Graph, v: Value) -> Value | None:
    """x / 1 is x."""
    return v.inputs[0] if constant_of(v.inputs[1]) == 1 else None


def power(g: Graph, v: Value) -> Value | None:
    """x^2 is x * x, x^1 is x."""
    x, exponent = v.inputs[0], constant_of(v.inputs[1])
    if exponent == 2:
        return ops.mul(g, x, x)
    return x if exponent == 1 else None


def double(g: Graph, v: Value) -> Value | None:
    """Two negations, permutations, reshapes or broadcasts behind each other."""
    if v.op.name != v.inputs[0].op.name:
        return None
    x = v.inputs[0].inputs[0]
    if v.op.name == "neg":
        return x
    if v.op.name == "permute":
        inner = v.inputs[0].attrs["dims"]
        return ops.permute(g, x, [inner[d] for d in v.attrs["dims"]])
    if v.op.name == "reshape":
        return ops.reshape(g, x, v.shape)
    return ops.broadcast(g, x, v.shape, [v.attrs["dims"][d] for d in v.inputs[0].attrs["dims"]])


DOUBLE = (double, ("neg", "permute", "reshape", "broadcast"))
RULES = by_operation((times_one, ("mul",)), (over_one, ("div",)), (power, ("pow",)), DOUBLE)


def simplify(graph: Graph) -> Graph:
    """The graph with these rules applied."""
    return rewrite(graph, RULES)
