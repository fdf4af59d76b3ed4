"""A graph as text: one line a value, grouped by the layer it comes from.

In: a ``Graph``. Out: text to be read: leaves, values in order with their operands, attributes and types, outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

from .graph import Graph, Value

IN_THE_TYPE = {"shape", "dtype", "name"}


def listing(graph: Graph, layer_name: Callable[[str], str] = str) -> str:
    """The live part of a graph. layer_name: what to call a layer, by its path."""
    lines = [f"graph {graph.name}", "", "leaves"]
    width = max(map(len, graph.inputs), default=0)
    for name, leaf in graph.inputs.items():
        lines.append(f"    %{leaf.id:<4} {name:<{width}}  {leaf.type}")
    computed = [v for v in graph.live() if v.op.name != "input"]
    texts = {v.id: operation_text(v) for v in computed}
    width = min(max(map(len, texts.values()), default=0), 64)
    for layer, values in groupby(computed, key=lambda v: v.origin.layer):
        lines += ["", layer_name(layer) or "elsewhere"]
        lines += [f"    %{v.id:<4} = {texts[v.id]:<{width}}  {v.type}" for v in values]
    lines += ["", "outputs"]
    return "\n".join([*lines, *(f"    {name} = %{value.id}" for name, value in graph.outputs.items())])


def operation_text(value: Value) -> str:
    """``sum(%3, dims=[1])``: operation, operands, and attributes that the type does not tell."""
    parts = [f"%{v.id}" for v in value.inputs]
    parts += [f"{k}={attribute_text(v)}" for k, v in told(value).items()]
    return f"{value.op.name}({', '.join(parts)})"


def told(value: Value) -> Mapping[str, object]:
    """The attributes worth telling."""
    return {k: v for k, v in value.attrs.items() if k not in IN_THE_TYPE and v != ()}


def attribute_text(attribute: object) -> str:
    if isinstance(attribute, tuple):
        return "[" + ", ".join(attribute_text(a) for a in attribute) + "]"
    return str(attribute)


__all__ = ["listing", "operation_text", "told"]
