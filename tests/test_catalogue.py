"""The catalogue is complete and true: codes of the source tree, examples that show what they claim."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import netc
from netc.cli.explain import command
from netc.grammar.catalogue import Entry, entries, explain

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def used() -> set[str]:
    files = [p for top in ("grammar", "compiler", "runtime", "netc") for p in (ROOT / top).rglob("*.py")]
    return {code for p in files for code in re.findall(r'"(E\d{4})"', p.read_text(encoding="utf-8"))}


def test_every_code_in_use_is_explained() -> None:
    assert len(used()) > 40
    assert used() <= set(entries())


def test_explained_codes_in_no_use_are_reported() -> None:
    if unused := sorted(set(entries()) - used()):
        warnings.warn(f"explained, not in use: {', '.join(unused)}", stacklevel=1)


def test_entries_are_in_order_and_each_once() -> None:
    text = (ROOT / "grammar" / "explain.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (E\d{4})", text, re.M)
    assert headings == sorted(set(headings)) == list(entries())
    assert text.count("\n## ") == len(headings)


def halves(entry: Entry) -> tuple[dict[str, str], dict[str, str]]:
    """The blocks of the wrong and of the right example, by language."""
    before, wrong = entry.text.split("\nWrong:\n")
    wrong, right = wrong.split("\nRight:\n")
    assert before.strip()
    return dict(FENCE.findall(wrong)), dict(FENCE.findall(right))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("catalogue")
    (place / "data").mkdir()
    shutil.copy(ROOT / "examples" / "data" / "diabetes.csv", place / "data")
    return place


def codes(folder: Path, blocks: dict[str, str]) -> list[str]:
    (folder / "data.csv").write_text(blocks.get("csv", ""), encoding="utf-8")
    (folder / "program.net").write_text(blocks["net"], encoding="utf-8")
    return [d.code for d in netc.check(folder / "program.net")]


@pytest.mark.parametrize("entry", entries().values(), ids=list(entries()))
def test_examples_show_the_code_and_how_to_be_rid_of_it(entry: Entry, folder: Path) -> None:
    wrong, right = halves(entry)
    assert wrong
    assert right
    if "net" in wrong:
        assert entry.code in codes(folder, wrong)
    if "net" in right:
        assert codes(folder, right) == []


def test_most_examples_are_programs() -> None:
    assert sum("net" in halves(e)[0] for e in entries().values()) > 35


def test_explain_prints_an_entry_indented() -> None:
    text = explain("e0501")
    assert text is not None
    assert text.startswith("E0501: no input\n")
    assert "\n    net a { linear(1) }\n" in text
    assert "```" not in text
    assert explain("E9999") is None


def test_the_command_explains_lists_and_refuses() -> None:
    runner = CliRunner()
    assert runner.invoke(command, ["E0101"]).output.startswith("E0101: ")
    assert runner.invoke(command, []).output.count("\n") == len(entries())
    refused = runner.invoke(command, ["E0102x"])
    assert refused.exit_code == 2
    assert "did you mean E0102?" in refused.output
