"""The sweep that passes share: from the leaves to the outputs, into a new graph.

In: a graph and rules, listed under the name of the operation they look at. Out: a graph with the same leaves and
outputs. A rule sees a value whose operands are already rewritten and answers with what stands for it, of the same type,
or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..graph import Graph, Value

Rule = Callable[[Graph, Value], Value | None]
Rules = Mapping[str, Sequence[Rule]]
MOST_REWRITES = 10


def by_operation(*rules: tuple[Rule, Iterable[str]]) -> Rules:
    """The table of rules, each given with the operations whose values it may replace."""
    table: dict[str, list[Rule]] = {}
    for rule, names in rules:
        for name in names:
            table.setdefault(name, []).append(rule)
    return table


def rewrite(graph: Graph, rules: Rules) -> Graph:
    """The rules, applied to each value until none fits it."""
    if not any(value.op.name in rules for value in graph.live()):
        return graph
    return rebuild(graph, lambda result, value: _rewritten(result, value, rules))


def rebuild(graph: Graph, replace: Callable[[Graph, Value], Value]) -> Graph:
    """A graph of the leaves and the live values, each as ``replace`` gives it back."""
    result = Graph(graph.name)
    new = {leaf.id: result.adopt(leaf, ()) for leaf in graph.inputs.values()}
    for value in graph.live():
        if value.id not in new:
            result.origin = value.origin
            new[value.id] = replace(result, result.adopt(value, tuple(new[v.id] for v in value.inputs)))
    result.inputs = {name: new[leaf.id] for name, leaf in graph.inputs.items()}
    result.outputs = {name: new[value.id] for name, value in graph.outputs.items()}
    return result


def _rewritten(graph: Graph, value: Value, rules: Rules) -> Value:
    for _ in range(MOST_REWRITES):
        found = next((r for r in (rule(graph, value) for rule in rules.get(value.op.name, ())) if r), None)
        if found is None or found is value:
            return value
        assert found.type == value.type, f"bug in netc: {found!r} does not stand for {value!r}"
        value = found
    return value
