"""Diagnostics to text: full with caret lines, concise, JSON, or GitHub annotations."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Literal

from .diagnostics import Diagnostic, Label
from .source import Span

Format = Literal["full", "concise", "json", "github"]
_RED, _BLUE, _BOLD, _OFF = "\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def render(diagnostics: Iterable[Diagnostic], form: Format = "full", *, color: bool = False) -> str:
    """All diagnostics as one text, without a final line break."""
    found = list(diagnostics)
    if form == "json":
        return json.dumps([_record(d) for d in found], indent=2)
    if form == "full":
        return "\n\n".join(_full(d, color) for d in found)
    return "\n".join(_concise(d) if form == "concise" else _github(d) for d in found)


def _concise(d: Diagnostic) -> str:
    return f"{_place(d.primary.span)}: {d.severity}[{d.code}]: {d.message}"


def _github(d: Diagnostic) -> str:
    span = d.primary.span
    message = d.message.replace("%", "%25").replace("\n", "%0A")
    return (
        f"::{d.severity} file={span.source.name},line={span.line},col={span.column},title={d.code}::{message}"
    )


def _record(d: Diagnostic) -> dict[str, object]:
    span = d.primary.span
    return {
        "code": d.code, "severity": d.severity, "message": d.message, "file": span.source.name, "line": span.line,
        "column": span.column, "start": span.start, "end": span.end, "notes": list(d.notes), "help": d.help,
        "related": [{"file": x.span.source.name, "line": x.span.line, "text": x.text} for x in d.secondary],
    }  # fmt: skip


def _place(span: Span) -> str:
    return str(span) if span.source.text else span.source.name


def _full(d: Diagnostic, color: bool) -> str:
    def paint(text: str, style: str) -> str:
        return f"{style}{text}{_OFF}" if color else text

    labels = [(d.primary, "^"), *((x, "-") for x in d.secondary)]
    width = max(len(str(x.span.line)) for x, _ in labels)
    gutter = " " * width
    lines = [paint(f"{d.severity}[{d.code}]", _RED) + paint(f": {d.message}", _BOLD)]
    shown: tuple[object, int] = (None, 0)
    for label, mark in labels:
        if not label.span.source.text:
            if label is d.primary:
                lines.append(f"{gutter}--> {label.span.source.name}")
            continue
        if shown[0] is not label.span.source:
            lines.append(paint(f"{gutter}--> ", _BLUE) + _place(label.span))
        rows = _excerpt(label, mark, width, lambda text: paint(text, _BLUE), lambda text: paint(text, _RED))
        same = shown == (label.span.source, label.span.line)
        lines += rows[2:] if same else rows
        shown = (label.span.source, label.span.line)
    lines += [paint(f"{gutter} = ", _BLUE) + f"note: {_indent(n, width)}" for n in d.notes]
    if d.help:
        lines.append(paint(f"{gutter} = ", _BLUE) + f"help: {_indent(d.help, width)}")
    return "\n".join(lines)


def _indent(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * (width + 9))


def _excerpt(label: Label, mark: str, width: int, frame: object, accent: object) -> list[str]:
    span = label.span
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    shown = text.expandtabs(4)
    before = _cells(text[: column - 1].expandtabs(4))
    length = max(_cells(text[column - 1 : column - 1 + max(span.end - span.start, 1)].expandtabs(4)), 1)
    bar = frame(f"{' ' * width} |")  # type: ignore[operator]
    carets = accent(f"{mark * length} {label.text}".rstrip())  # type: ignore[operator]
    return [bar, frame(f"{line:>{width}} |") + f" {shown}", f"{bar} {' ' * before}{carets}"]  # type: ignore[operator]


def _cells(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
