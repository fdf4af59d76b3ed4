"""Products in bfloat16: the operands of a network's contractions rounded, their sums left in float32.

In: a graph with its derivative, and the origins of the contractions that are meant: those of a network's forward pass, which
the contractions of its derivative share, not those of losses and optimizers. Out: the graph with a cast to bfloat16 on each
of their operands. It runs before all other passes and behind the derivative, so that cotangents are rounded where they are
factors of a product and nowhere else.

A tensor is rounded before it is permuted, padded or seen through windows, once for all its readers; what is the same in
all steps of a recurrence outside of it. A product with truth values (a one-hot array, a mask) selects, it stays exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..graph import DType, Graph, Origin, Value, users
from ..ops import build
from ..ops.recurrence import Body
from .rewrite import rebuild

MOVES = frozenset({"broadcast", "reshape", "permute", "slice", "flip", "window"})


def origins_of_products(graphs: Iterable[Graph]) -> frozenset[Origin]:
    """Where the contractions of some graphs come from, those in the steps of recurrences too."""
    found: set[Origin] = set()
    for graph in graphs:
        for value in graph:
            if value.op.name == "contract":
                found.add(value.origin)
            elif value.op.name == "scan":
                inner = origins_of_products([value.attrs["body"].graph])
                found |= {*inner, value.origin} if inner else inner
    return frozenset(found)


def round_products(graph: Graph, origins: Collection[Origin]) -> Graph:
    """The graph with the operands of its float32 contractions of these origins in bfloat16."""
    bodies: dict[Body, Body] = {}

    def replaced(g: Graph, value: Value) -> Value:
        if value.op.name == "scan":
            body = value.attrs["body"]
            if body not in bodies:
                bodies[body] = _rounded_body(body, origins)
            return _rounded_scan(g, value, bodies[body])
        if not _is_product(value, origins):
            return value
        return g.add(value.op, tuple(_rounded(g, x) for x in value.inputs), **value.attrs)

    return rebuild(graph, replaced)


def _is_product(value: Value, origins: Collection[Origin]) -> bool:
    if value.op.name != "contract" or not value.attrs["axes"] or value.origin not in origins:
        return False
    return all(x.dtype is DType.float32 and not _tells(x) for x in value.inputs)


def _tells(x: Value) -> bool:
    """Whether a tensor consists of truth values, as zeros and ones."""
    while x.op.name in MOVES:
        x = x.inputs[0]
    return x.op.name == "cast" and x.inputs[0].dtype is DType.bool


def _rounded(g: Graph, x: Value) -> Value:
    """A tensor in bfloat16, rounded before its elements are moved about."""
    if x.op.name in MOVES or (x.op.name == "pad" and x.attrs["value"] == 0):
        return g.add(x.op, (_rounded(g, x.inputs[0]),), **x.attrs)
    return build.cast(g, x, DType.bfloat16)


def _rounded_scan(g: Graph, value: Value, body: Body) -> Value:
    a = value.attrs
    if body == a["body"]:
        return value
    operands = list(value.inputs)
    first = body.count("carry") + body.count("each")
    for place in range(first, len(operands)):
        if body.graph.inputs[f"const.{place - first}"].dtype is DType.bfloat16:
            operands[place] = _rounded(g, operands[place])
    return build.scan(g, operands, body, a["result"], a["length"], a["reverse"])


def _rounded_body(body: Body, origins: Collection[Origin]) -> Body:
    """The step with its products rounded; constants that it needs in bfloat16 alone are so outside already."""
    graph = round_products(body.graph, origins)
    readers = users(graph.live())
    narrow = {
        leaf.id
        for name, leaf in graph.inputs.items()
        if name.startswith("const.") and readers.get(leaf.id) and all(map(_narrows, readers[leaf.id]))
    }
    result, new = Graph(graph.name), {}
    for name, leaf in graph.inputs.items():
        kind = DType.bfloat16 if leaf.id in narrow else leaf.dtype
        new[leaf.id] = build.input(result, name, kind, leaf.shape)
    for value in graph.live():
        if value.id not in new:
            given = tuple(new[v.id] for v in value.inputs)
            new[value.id] = (
                given[0]
                if _narrows(value) and given[0].dtype is DType.bfloat16
                else result.adopt(value, given)
            )
    result.outputs = {name: new[v.id] for name, v in graph.outputs.items()}
    return Body(result)


def _narrows(value: Value) -> bool:
    return value.op.name == "cast" and value.dtype is DType.bfloat16


__all__ = ["origins_of_products", "round_products"]
