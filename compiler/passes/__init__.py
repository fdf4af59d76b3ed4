"""Passes over graphs: ``PASSES`` lists them in the order they run; one more runs when a graph is lowered.

A pass is a pure function Graph -> Graph. What an output is worth does not change; an ``exact`` pass keeps NaN and
infinities too, the others keep finite values but for the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph import Graph
from .bodies import optimise_bodies
from .chosen import ask_the_chosen
from .dead import drop_dead
from .fold import fold
from .parts import join_parts
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
    Pass("join_parts", join_parts, exact=True),
    Pass("share", share, exact=True),
    Pass("drop_dead", drop_dead, exact=True),
)

BEFORE_LOWERING = Pass("ask_the_chosen", ask_the_chosen, exact=True)
"""Decides which values have to be kept. Not among the others, since formulas are easier to read without it."""


def optimise(graph: Graph, after: Callable[[Pass, Graph], None] | None = None) -> Graph:
    """All passes in order. ``after`` sees the result of each: to verify, to print, to compare."""
    for step in PASSES:
        graph = step.run(graph)
        if after is not None:
            after(step, graph)
    return graph
