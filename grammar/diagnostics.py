"""Diagnostics: what is wrong with a program or its data, where, and what to do about it.

In: a code of the catalogue, spans and texts. Out: ``Diagnostic`` records, which ``render.py`` prints, and
``CompileError``, which carries all that were found in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .source import Span


@dataclass(frozen=True, slots=True)
class Label:
    """A span with the few words printed beside its carets."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    code: stable, ``E0101`` style, listed with its explanation in ``explain.md``.
    message: one sentence without the final stop.
    primary: the smallest span that tells; its text names the offending shape or word.
    secondary: the causes (a declaration, the first of two definitions, the other shape).
    notes: facts (the flow of shapes up to the failing layer, one line each).
    help: what can be done.
    """

    code: str
    message: str
    primary: Label
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""
    severity: Literal["error", "warning"] = "error"


class CompileError(Exception):
    """Raised once per compilation with every diagnostic found; ``str()`` is the rendered text."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        from .render import render

        return render(self.diagnostics).rstrip()
