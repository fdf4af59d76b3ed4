"""Steps of recurrences: the passes, applied to the graph of a step.

In: a graph. Out: a graph whose scans have optimised steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..graph import Graph, Value
from ..ops import build
from ..ops.recurrence import Body
from .rewrite import by_operation, rewrite


def optimise_bodies(optimise: Callable[[Graph], Graph]) -> Callable[[Graph], Graph]:
    """The pass; ``optimise`` is what is done to a step."""

    @lru_cache(maxsize=64)
    def optimised(body: Body) -> Body:
        graph = optimise(body.graph)
        for name, leaf in body.graph.inputs.items():  # operands keep their places, needed or not
            build.input(graph, name, leaf.dtype, leaf.shape)
        return Body(graph)

    def rule(graph: Graph, value: Value) -> Value | None:
        new = optimised(value.attrs["body"])
        if new == value.attrs["body"]:
            return None
        return build.scan(
            graph, value.inputs, new, *(value.attrs[k] for k in ("result", "length", "reverse"))
        )

    return lambda graph: rewrite(graph, by_operation((rule, ("scan",))))
