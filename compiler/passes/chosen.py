"""Conditions, asked of what was chosen by them.

``y = where(x <= 0, 0, x)`` tells by itself whether ``x <= 0``: it is so just where ``y <= 0``. Derivatives ask again for
the condition; asked of ``y`` they need ``y`` alone, which is there anyway, and ``x`` need not be kept.

In: a graph. Out: the same graph with such conditions rewritten for all but the choice itself. NaN is neither below nor
above and stays NaN where it is chosen, so that it, too, gets the same answer.
"""

from __future__ import annotations

from ..graph import Graph, Value
from .fold import constant_of
from .rewrite import rebuild

COMPARISONS = ("lt", "le")


def ask_the_chosen(graph: Graph) -> Graph:
    """The graph with conditions asked of the values they chose."""
    if not any(v.op.name == "where" for v in graph.live()):
        return graph
    answers: dict[int, Value] = {}

    def replaced(g: Graph, value: Value) -> Value:
        if value.op.name == "where" and value.inputs[0].id not in answers:
            found = _condition(g, value)
            if found is not None:
                answers[value.inputs[0].id] = found
                return value
        if not any(v.id in answers for v in value.inputs):
            return value
        return g.adopt(value, tuple(answers.get(v.id, v) for v in value.inputs))

    return rebuild(graph, replaced)


def _condition(g: Graph, chosen: Value) -> Value | None:
    """The condition of a choice between a bound, or a part of x, and x itself, as one on the result."""
    condition, first, second = chosen.inputs
    if condition.op.name not in COMPARISONS:
        return None
    left, right = condition.inputs
    x, bound = (right, left) if constant_of(right) is None else (left, right)
    limit = constant_of(bound)
    if limit is None or x not in (first, second):
        return None
    other = second if x is first else first
    # What is chosen instead of x must lie where x then lies: at a bound that the comparison counts to that side, or, for
    # a bound of 0, at a part of x of the same sign.
    keeps_bound = (condition.op.name == "le") == (x is second)
    same = constant_of(other) == limit and keeps_bound
    if not same and not (limit == 0 and keeps_bound and _is_part(other, x)):
        return None
    sides = (chosen, bound) if x is left else (bound, chosen)
    return g.add(condition.op, sides)


def _is_part(value: Value, x: Value) -> bool:
    """Whether a value is x times a positive number that is one in every type."""
    if value.op.name != "mul" or x not in value.inputs:
        return False
    factor = constant_of(value.inputs[1] if value.inputs[0] is x else value.inputs[0])
    return factor is not None and 1e-30 < factor < 1e30
