"""Collecting what is wrong, so that one check reports all independent mistakes of a program.

In: failures of evaluations. Out: their diagnostics, each once. What depends on a failed part becomes ``UNKNOWN``, and
whatever meets it fails silently: a mistake is told once, where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...grammar.diagnostics import CompileError, Diagnostic
from ...grammar.source import Span
from .values import Exhausted, Failed, Poisoned, too_deep

MAX_FINDINGS = 50


class Enough(Exception):
    """Raised when there are so many findings that more would not help."""


@dataclass(slots=True)
class Findings:
    """``found`` in the order of discovery."""

    found: list[Diagnostic] = field(default_factory=list)
    _seen: set[tuple[str, str, str, int]] = field(default_factory=set)

    def add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.primary.span
        key = (diagnostic.code, diagnostic.message, span.source.name, span.start)
        if key not in self._seen:
            self._seen.add(key)
            self.found.append(diagnostic)

    @contextmanager
    def collecting(
        self, span: Span, change: Callable[[Diagnostic], Diagnostic] | None = None
    ) -> Iterator[None]:
        """Failures inside become findings; ``change`` is applied to each. Nesting without end fails at ``span``."""
        try:
            yield
        except Poisoned:
            pass
        except Failed as failure:
            self.add(change(failure.diagnostic) if change else failure.diagnostic)
            if isinstance(failure, Exhausted):
                raise Enough from None
        except CompileError as error:
            for diagnostic in error.diagnostics:
                self.add(diagnostic)
        except RecursionError:
            self.add(too_deep(span))
        if len(self.found) > MAX_FINDINGS:
            raise Enough

    def raised(self) -> None:
        """Raises CompileError when there is an error among the findings."""
        if any(d.severity == "error" for d in self.found):
            raise CompileError(tuple(self.found))
