"""Dead code: what no output needs is left out, leaves included.

In: a graph. Out: a graph of live values alone, numbered without gaps.
"""

from __future__ import annotations

from ..graph import Graph
from .rewrite import rebuild


def drop_dead(graph: Graph) -> Graph:
    """The graph without values that no output needs."""
    live = {v.id for v in graph.live()}
    if len(live) == len(graph.values):
        return graph
    needed = Graph(graph.name)
    needed.inputs = {name: leaf for name, leaf in graph.inputs.items() if leaf.id in live}
    needed.outputs = graph.outputs
    return rebuild(needed, lambda _, value: value)
