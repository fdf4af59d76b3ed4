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
    seen = [key for value in graph.live() if (key := _key(value)) is not None]
    if len(set(seen)) == len(seen):
        return graph
    first: dict[tuple[str, int, int], Value] = {}

    def shared(_: Graph, value: Value) -> Value:
        key = _key(value)
        return value if key is None else first.setdefault(key, value)

    return rebuild(graph, shared)


def _key(value: Value) -> tuple[str, int, int] | None:
    """What is the same for values that differ in the order of their operands alone."""
    if value.op.name not in COMMUTATIVE:
        return None
    a, b = sorted([v.id for v in value.inputs])
    return value.op.name, a, b
