"""``netc show library:NAME``: one entry of the library: its text and, for functions and layers, its derivative.

In: a name. Out: the text as it stands in ``library/*.net``, and the formulas of output and gradients for an input on which
the entry works without arguments, where there is one.
"""

from __future__ import annotations

from pathlib import Path

from ..compiler import units
from ..compiler.elaborate import library_definition, library_names
from ..compiler.elaborate.program import load
from ..compiler.formula import formulas
from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span
from ..grammar.suggest import did_you_mean
from ..grammar.syntax import Definition

PREFIX = "library:"
INPUTS = ("[4]", "[3, 4]", "[2, 4, 4]", "[2, 4, 4, 4]")
"""Shapes of an observation that are tried in turn."""
MOST_LINES = 30


def show_entry(name: str) -> str:
    """The entry; raises CompileError (E0202) when the library has no such name."""
    definition = library_definition(name)
    if definition is None:
        where = Label(Span(Source(PREFIX + name, ""), 0, 0))
        advice = did_you_mean(name, library_names())
        raise CompileError((Diagnostic("E0202", f"the library has no `{name}`", where, help=advice),))
    source = definition.span.source
    head = f"# {source.name}, line {definition.span.line}"
    return "\n".join([head, "", written(definition), *derivative(name, definition.kind)])


def written(definition: Definition) -> str:
    """The definition with the comment above it, as they stand in the file."""
    source, span = definition.span.source, definition.span
    lines = source.text.split("\n")
    first = span.line - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    last = source.text.count("\n", 0, span.end)
    return "\n".join(lines[first : last + 1])


def derivative(name: str, kind: str) -> list[str]:
    """Lines with the gradients of a function or layer on the first input that it takes without arguments."""
    if kind not in ("fn", "layer"):
        return []
    for shape in INPUTS:
        text = f"net entry {{\n    input x: {shape}\n    {name}\n}}\n"
        try:
            network = load(Source(Path(name).name, text)).network()
            found = formulas(units.backward(network, training=True)).split("\n")
        except CompileError:
            continue
        if len(found) > MOST_LINES:
            return []
        return ["", f"# on x: [n, {shape[1:]}, with the gradient of its output as `cotangent`", *found]
    return []
