"""The syntax tree as an indented outline, for ``netc show --stage ast``.

In: a ``File``. Out: a line a node: its kind, its name or value, where it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from . import syntax as s
from .source import Span

_INLINE = ("op", "kind", "optional", "inferred", "keyword_only", "is_expression")
_SHOWN = {"id", "name", "value"}


def outline(file: s.File) -> str:
    """One line a node, children two spaces further in, with line:column of each node's first character."""
    rows = [row for item in file.items for row in _rows(item, "", 0)]
    width = max((len(text) for text, _ in rows), default=0)
    return "\n".join(f"{text.ljust(width)}  {place}" for text, place in rows)


def _rows(node: Any, role: str, depth: int) -> Iterator[tuple[str, str]]:
    span: Span = node.span
    words = [f"{role}:"] if role else []
    words.append(type(node).__name__.rstrip("_"))
    words += _facts(node)
    yield "  " * depth + " ".join(words), f"{span.line}:{span.column}"
    for name, child in _children(node):
        yield from _rows(child, name, depth + 1)


def _facts(node: Any) -> list[str]:
    """What is told on the node's own line: an operator, a name, a value, marks."""
    found: list[str] = []
    for f in fields(node):
        value = getattr(node, f.name)
        if f.name in _INLINE and value is not False:
            found.append(f.name if value is True else str(value))
        elif isinstance(node, (s.Number, s.String, s.Name)) and f.name in ("value", "id"):
            found.append(repr(value) if isinstance(node, s.String) else str(value))
        elif f.name in ("name", "label", "dtype", "function") and value is not None:
            text = value if isinstance(value, str) else value.id
            found.append(f"{f.name}={text}" if f.name in ("label", "dtype") else text)
    if isinstance(node, s.Apply):
        found.append(node.call.function.id)
    return found


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, s.Apply):
        yield from (("", a) for a in node.call.arguments)
        return
    for f in fields(node):
        value = getattr(node, f.name)
        if f.name in ("name", "label", "dtype", "function", "span", "op_span"):
            continue
        if isinstance(value, tuple):
            role = "" if f.name in ("items", "body", "entries", "stages", "arguments") else f.name
            yield from ((role, child) for child in value)
        elif is_dataclass(value) and not isinstance(value, Span):
            yield (f.name, value)
