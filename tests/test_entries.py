"""The library's text as a reader meets it: every entry says what it is and has an example that compiles.

An entry without an example is a part of others, and is used by them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netc.cli import entry
from netc.compiler.elaborate import check_fit, library_definition, library_names
from netc.compiler.elaborate.program import load
from netc.grammar.source import Source
from netc.grammar.syntax import Definition

LIBRARY = Path(__file__).parent.parent / "library"
LONG = {"transformer_encoder_layer", "lbfgs"}
"""Of more than thirty lines: what they do has no shorter form."""


def found(name: str) -> Definition:
    definition = library_definition(name)
    assert definition is not None
    return definition


SHOWN = [name for name in library_names() if entry.example(found(name))]
PARTS = sorted(set(library_names()) - set(SHOWN))


@pytest.mark.parametrize("name", SHOWN)
def test_an_entry_says_what_it_is_and_its_example_compiles(name: str) -> None:
    definition = found(name)
    use = entry.example(definition)
    assert use is not None
    assert entry.comment(definition), "no comment above it"
    assert re.search(rf"\b{name}\b", use.call)
    program = load(Source(name, entry.program(definition.kind, use)))
    network, plan = program.network(), program.train()
    assert network.output_shape
    if plan is not None and len(use.shapes) < 2:
        check_fit(network, plan, None)
    assert bool(entry.derivative(definition)) == (definition.kind in ("fn", "layer") and bool(use.shapes))


def test_parts_are_parts_of_something() -> None:
    text = re.sub("#.*", "", "\n".join(p.read_text(encoding="utf-8") for p in LIBRARY.glob("*.net")))
    assert [name for name in PARTS if len(re.findall(rf"\b{name}\b", text)) < 2] == []


def test_entries_are_short_and_their_files_too() -> None:
    assert {n for n in library_names() if entry.body(found(n)).count("\n") >= 30} == LONG
    assert [p.name for p in LIBRARY.glob("*.net") if p.read_text(encoding="utf-8").count("\n") > 400] == []


def test_an_example_is_found_and_taken_apart() -> None:
    use = entry.example(found("cross_entropy_loss"))
    assert use == entry.Example("cross_entropy_loss()", ("[3]", "[]: int64"))
    assert use.text == "cross_entropy_loss() of [3] and []: int64"
    assert entry.derivative(found("conv2d"))[0].endswith("on x: [n, 3, 16, 16] gives [n, 8, 16, 16]")
    assert entry.example(found("reduced")) is None
