"""Sharing: what is computed twice is computed once.

In: a graph. Out: a graph in which equal operations on equal operands are one value. Graphs intern their values, so
that most of this has happened by the time they are built; rebuilding merges what rewrites made equal. Here operands
that may change places are looked at in either order.
"""

from __future__ import annotations

from ..graph import Graph, Value
from .rewrite import rebuild

COMMUTATIVE = frozenset({"add", "mul", "eq", "ne", "logical_and", "logical_or"})


def share(graph: Graph) -> Graph:
    """The graph with the first of equal values in place of all."""
    first: dict[tuple[str, int, int], Value] = {}

    def shared(_: Graph, value: Value) -> Value:
        if value.op.name not in COMMUTATIVE:
            return value
        a, b = sorted(v.id for v in value.inputs)
        return first.setdefault((value.op.name, a, b), value)

    return rebuild(graph, shared)
