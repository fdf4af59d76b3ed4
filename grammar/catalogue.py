"""The catalogue of diagnostics: every code with its title, its explanation and its examples.

In: ``explain.md``, one section a code. Out: ``Entry`` records, and ``explain`` for one of them as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HEADING = re.compile(r"^## (E\d{4}): (.+)$", re.M)


@dataclass(frozen=True, slots=True)
class Entry:
    """text: Markdown below the heading: what it means, a wrong example, a right one."""

    code: str
    title: str
    text: str


@cache
def entries() -> dict[str, Entry]:
    """All entries by code, in the order of the file."""
    parts = _HEADING.split(Path(__file__).with_name("explain.md").read_text(encoding="utf-8"))[1:]
    rows = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {code: Entry(code, title, text.strip()) for code, title, text in rows}


def explain(code: str) -> str | None:
    """An entry as text for a terminal: fences taken off, examples indented. None for an unknown code."""
    entry = entries().get(code.strip().upper())
    if entry is None:
        return None
    lines, inside = [f"{entry.code}: {entry.title}", ""], False
    for line in entry.text.split("\n"):
        if line.startswith("```"):
            inside = not inside
            continue
        lines.append(f"    {line}" if inside and line else line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip()
