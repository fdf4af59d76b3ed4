"""A graph as a diagram, for Mermaid or Graphviz.

In: a ``Graph``. Out: text in the language of either tool: values as boxes, layers as frames around theirs, leaves and
outputs round. Constants stand in the boxes of their readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .graph import Graph, Value, show_shape
from .listing import attribute_text, told

Names = Callable[[str], str]
FORMATS = ("mermaid", "dot")


@dataclass(frozen=True, slots=True)
class _Box:
    """``lines`` of its label, and whether it is round."""

    name: str
    lines: tuple[str, ...]
    round: bool


@dataclass(frozen=True, slots=True)
class _Picture:
    """frames: boxes by the layer they belong to; edges: pairs of names."""

    frames: Mapping[str, Sequence[_Box]]
    edges: Sequence[tuple[str, str]]


def draw(graph: Graph, form: str, layer_name: Names = str) -> str:
    """The live part of a graph. form: ``mermaid`` or ``dot``; layer_name: what to call a layer, by its path."""
    picture = _picture(graph)
    return _mermaid(picture, layer_name) if form == "mermaid" else _dot(picture, graph.name, layer_name)


def _picture(graph: Graph) -> _Picture:
    frames: dict[str, list[_Box]] = {}
    edges: list[tuple[str, str]] = []
    leaves = {leaf.id: name for name, leaf in graph.inputs.items()}
    for value in graph.live():
        if constant_text(value) is not None:
            continue
        name = f"v{value.id}"
        title = leaves.get(value.id, value.op.name)
        details = [constant_text(v) for v in value.inputs] + [
            f"{k} {attribute_text(a)}" for k, a in _told(value)
        ]
        lines = (
            " ".join([title, *(d for d in details if d)]),
            f"{value.dtype.value}{show_shape(value.shape)}",
        )
        frames.setdefault(value.origin.layer, []).append(_Box(name, lines, value.id in leaves))
        edges += [(f"v{v.id}", name) for v in value.inputs if constant_text(v) is None]
    for i, (name, value) in enumerate(graph.outputs.items()):
        frames.setdefault("", []).append(_Box(f"o{i}", (name,), True))
        edges += [(f"v{value.id}", f"o{i}")] if constant_text(value) is None else []
    return _Picture(frames, edges)


def _told(value: Value) -> list[tuple[str, object]]:
    return [] if value.op.name == "input" else list(told(value).items())


def constant_text(value: Value) -> str | None:
    """The number that fills a value, if it is a constant, repeated or not."""
    while value.op.name == "broadcast":
        value = value.inputs[0]
    return attribute_text(value.attrs["value"]) if value.op.name == "constant" else None


# Mermaid


def _mermaid(picture: _Picture, layer_name: Names) -> str:
    lines = ["flowchart TD"]
    for i, (layer, boxes) in enumerate(picture.frames.items()):
        inner = [_mermaid_box(b) for b in boxes]
        if layer:
            frame = f'subgraph f{i}["{_mermaid_text(layer_name(layer))}"]'
            lines += [f"    {frame}", *(f"        {x}" for x in inner), "    end"]
        else:
            lines += [f"    {x}" for x in inner]
    return "\n".join([*lines, *(f"    {a} --> {b}" for a, b in picture.edges)])


def _mermaid_box(box: _Box) -> str:
    label = "<br/>".join(map(_mermaid_text, box.lines))
    return f'{box.name}(["{label}"])' if box.round else f'{box.name}["{label}"]'


def _mermaid_text(text: str) -> str:
    """Text inside quotes; Mermaid writes other characters as ``#code;``."""
    return "".join(c if c.isalnum() or c in " ._-,()[]=*+/:" else f"#{ord(c)};" for c in text)


# Graphviz


def _dot(picture: _Picture, name: str, layer_name: Names) -> str:
    lines = [f"digraph {_dot_text(name)} {{", '    node [shape=box, fontname="sans-serif"];']
    for i, (layer, boxes) in enumerate(picture.frames.items()):
        inner = [_dot_box(b) for b in boxes]
        if layer:
            inner = [f"label={_dot_text(layer_name(layer))};", *inner]
            lines += [f"    subgraph cluster_{i} {{", *(f"        {x}" for x in inner), "    }"]
        else:
            lines += [f"    {x}" for x in inner]
    return "\n".join([*lines, *(f"    {a} -> {b};" for a, b in picture.edges), "}"])


def _dot_box(box: _Box) -> str:
    shape = ", shape=ellipse" if box.round else ""
    return f"{box.name} [label={_dot_text(*box.lines)}{shape}];"


def _dot_text(*lines: str) -> str:
    return '"' + "\\n".join(x.replace("\\", "\\\\").replace('"', '\\"') for x in lines) + '"'


__all__ = ["FORMATS", "draw"]
