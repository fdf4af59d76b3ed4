"""The reference is complete and true, and names mean what it says they mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import netc
from netc.compiler.elaborate import (
    arithmetic,
    data,
    declarations,
    findings,
    program,
    stages,
    training,
    values,
)
from netc.compiler.elaborate.builtins import BUILTINS
from netc.compiler.graph import Graph
from netc.grammar import mistakes, parser

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
TABLE_READERS = {"csv", "npy", "npz", "safetensors", "standardize", "minmax", "categories"}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> str:
    return "\n".join(line.split("|")[1] for line in section(title).split("\n") if line.startswith("| "))


def names(cells: str) -> set[str]:
    return set(re.findall(r"`(\w+)", cells))


def test_every_builtin_is_described() -> None:
    assert names(first_cells("Expressions")) - {"function"} == set(BUILTINS)


def test_parameters_of_builtins_are_described() -> None:
    shown = dict(re.findall(r"`(\w+)\(([^`]*)\)`", first_cells("Expressions")))
    for name, builtin in BUILTINS.items():
        assert shown[name].split(", ") == [p for p, _ in builtin.parameters], name


def test_every_entry_of_data_and_train_is_described() -> None:
    assert names(first_cells("Data")) - {"table"} == TABLE_READERS | set(data.SETTINGS)
    assert names(first_cells("Training")) == set(training.SETTINGS)
    reader = data._Reader(lambda kind, path, span: data.TableShape(1))
    assert set(reader.builtins()) == TABLE_READERS


@pytest.mark.parametrize(
    ("what", "bound"),
    [
        ("characters of a file", parser.MAX_CHARACTERS),
        ("brackets and blocks inside each other", parser.MAX_DEPTH),
        ("definitions that call each other", values.MAX_DEPTH),
        ("a layer inside itself", stages.MAX_RECURSION),
        ("files that import each other", program.MAX_IMPORTS),
        ("stages of a network, copies of a `repeat`", stages.MAX_STAGES),
        ("steps of evaluation", values.MAX_STEPS),
        ("items of a list", arithmetic.MAX_LIST),
        ("parameters of a network", declarations.MAX_PARAMETERS),
        ("elements of a tensor", values.MAX_ELEMENTS),
        ("elements of a tensor", values.MAX_ELEMENTS_OF_ONE),
    ],
)
def test_limits_are_what_the_reference_says(what: str, bound: int) -> None:
    (row,) = [line for line in section("Limits").split("\n") if line.startswith(f"| {what} |")]
    assert f"{bound:,}" in row
    assert findings.MAX_FINDINGS > 0


def test_reserved_words_are_listed() -> None:
    listed = re.search(r"These words cannot be names: `([^`]*)`", TEXT)
    assert listed is not None
    assert set(listed.group(1).split()) == set(mistakes.RESERVED)


# names


def outputs(text: str) -> set[str]:
    """The operations of a program's forward pass."""
    model = netc.compile(source=text)
    graph = Graph("test")
    model.network.forward(graph, training=True)
    return {value.op.name for value in graph}


def test_a_program_may_redefine_what_the_library_uses() -> None:
    plain = "net a { input x: [1, 8, 8]; conv2d(2, 3); gelu }"
    redefined = "fn per_dim(v, dims) = 7\nfn sqrt(x) = 3\nconst pi = 4\nconst groups = 5\n" + plain
    assert outputs(redefined) == outputs(plain)


def test_the_own_definition_goes_before_the_library() -> None:
    found = netc.check("fn relu(x, y) = x + y\nnet a { input x: [3]; relu }\n")
    assert [d.code for d in found] == ["E0301"]


def test_a_definition_does_not_see_the_names_of_its_caller() -> None:
    found = netc.check("fn f(x) = x + hidden\nnet a { input x: [3]; hidden = 2; f; linear(1) }\n")
    assert [(d.code, d.message) for d in found] == [("E0201", "there is no name `hidden` here")]


def test_an_inner_block_sees_the_bindings_around_it() -> None:
    assert netc.check("net a { input x: [3]; width = 3; residual { linear(width) } linear(1) }\n") != []
    assert netc.check("net a { input x: [3]; width = 3; residual { linear(width) }; linear(1) }\n") == []
