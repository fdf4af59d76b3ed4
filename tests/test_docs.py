"""The documentation tells the truth: its programs compile, its Python runs, its lists are complete.

In: every Markdown file of the repository's top, ``docs/`` and ``examples/``. Blocks marked ``net`` must parse, and
check without a finding where they hold a whole program; blocks marked ``python`` of one file run one after another.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import netc
from netc.compiler.loops.ir import Scalar
from netc.compiler.ops import TABLE
from netc.grammar.parser import parse
from netc.grammar.source import Source

ROOT = Path(__file__).parent.parent
FILES = [
    p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")) if p.is_file()
]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """(line, text) of each block of a language, without the indentation of its fence."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, kind, body = match.groups()
        if kind == language:
            line = text.count("\n", 0, match.start(3)) + 1
            found.append((line, re.sub(f"^{indent}", "", body, flags=re.M)))
    return found


def each(language: str) -> list[tuple[str, str]]:
    return [(f"{p.relative_to(ROOT)}:{line}", text) for p in FILES for line, text in blocks(p, language)]


NET = each("net")
PYTHON = [p for p in FILES if blocks(p, "python")]


@pytest.mark.parametrize(("place", "text"), NET, ids=[place for place, _ in NET])
def test_programs_parse(place: str, text: str) -> None:
    _, diagnostics = parse(Source(place, text))
    assert not diagnostics, [d.message for d in diagnostics]


@pytest.mark.parametrize(("place", "text"), NET, ids=[place for place, _ in NET])
def test_whole_programs_are_without_a_finding(place: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    if re.search(r"^net \w+ *\{", text, re.M):
        findings = netc.check(text)
        assert not findings, [(d.code, d.message) for d in findings]


@pytest.mark.parametrize("path", PYTHON, ids=[str(p.relative_to(ROOT)) for p in PYTHON])
def test_python_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "documentation"}
    for line, text in blocks(path, "python"):
        exec(compile("\n" * (line - 1) + text, str(path), "exec"), names)


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_links_lead_somewhere(path: Path) -> None:
    missing = [
        x for x in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / x.strip()).exists()
    ]
    assert not missing


def test_the_readme_shows_the_example_itself() -> None:
    (program, *_) = [text for _, text in blocks(ROOT / "README.md", "net")]
    example = (ROOT / "examples" / "regression.net").read_text(encoding="utf-8")
    assert program.strip() in re.sub(r"^#[^\n]*\n", "", example, flags=re.M)


def test_every_operation_is_listed() -> None:
    graph, loops = (ROOT / "docs" / "ir.md").read_text(encoding="utf-8").split("## Loop IR")
    rows = "\n".join(line for line in graph.split("\n") if line.startswith("| "))
    assert set(re.findall(r"`(\w+)", rows)) == set(TABLE)
    scalars = loops.split("Scalar operations")[1].split("##")[0]
    assert set(re.findall(r"`(\w+)`", scalars)) == {s.value for s in Scalar}


def test_the_page_of_the_library_is_as_its_text() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_library.py"))["page"]()
    stored = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert made == stored, "run: python docs/make_library.py"


EXAMPLES = sorted((ROOT / "examples").glob("*.net"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[p.name for p in EXAMPLES])
def test_examples_are_without_a_finding(path: Path) -> None:
    findings = netc.check(path)
    assert not findings, [(d.code, d.message) for d in findings]
