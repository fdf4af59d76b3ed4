"""Passes over graphs: ``PASSES`` lists them in the order they run.

A pass is a pure function Graph -> Graph. What an output is worth does not change; an ``exact`` pass keeps NaN and
infinities too, the others keep finite values but for the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph import Graph
from .bodies import optimise_bodies
from .dead import drop_dead
from .fold import fold
from .share import share
from .simplify import simplify
from .windows import rearrange_windows


@dataclass(frozen=True, slots=True)
class Pass:
    name: str
    run: Callable[[Graph], Graph]
    exact: bool


PASSES = (
    Pass("bodies", optimise_bodies(lambda graph: optimise(graph)), exact=False),
    Pass("fold", fold, exact=True),
    Pass("simplify", simplify, exact=True),
    Pass("rearrange_windows", rearrange_windows, exact=False),
    Pass("share", share, exact=True),
    Pass("drop_dead", drop_dead, exact=True),
)


def optimise(graph: Graph, after: Callable[[Pass, Graph], None] | None = None) -> Graph:
    """All passes in order. ``after`` sees the result of each: to verify, to print, to compare."""
    for step in PASSES:
        graph = step.run(graph)
        if after is not None:
            after(step, graph)
    return graph
