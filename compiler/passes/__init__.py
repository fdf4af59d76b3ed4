"""Passes over graphs. Each is a pure function Graph -> Graph; ``PASSES`` lists them in the order they run."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from .simplify import simplify

PASSES: tuple[Callable[[Graph], Graph], ...] = (simplify,)


def optimise(graph: Graph) -> Graph:
    """All passes in order."""
    for run in PASSES:
        graph = run(graph)
    return graph
