"""What is not imported and not parsed again: commands that only read programs start without NumPy, LLVM and lark."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from netc.grammar import cachedir, parser, syntax, trees
from netc.grammar.source import NOWHERE, Source, Span

ROOT = Path(__file__).parent.parent
REGRESSION = str(ROOT / "examples" / "regression.net")
TEXTS = sorted([*(ROOT / "library").glob("*.net"), *(ROOT / "examples").glob("*.net")])
HEAVY = {"numpy", "llvmlite", "rich", "safetensors", "cupy", "torch"}


def imported(arguments: list[str], cache: Path) -> set[str]:
    """The top-level modules that a command imports, by Python's own account."""
    command = [sys.executable, "-X", "importtime", "-c", "from netc.cli.main import run; run()", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NETC_CACHE_DIR": str(cache)}, input=""
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["check", REGRESSION], ["fmt", "--check", REGRESSION], ["explain", "E0401"], ["--version"]],
)
def test_reading_programs_needs_neither_numpy_nor_llvm(arguments: list[str], tmp_path: Path) -> None:
    assert not HEAVY & imported(arguments, tmp_path)


def test_a_program_that_was_read_before_needs_no_parser(tmp_path: Path) -> None:
    assert "lark" in imported(["check", REGRESSION], tmp_path)
    assert "lark" not in imported(["check", REGRESSION], tmp_path)
    assert "lark" not in imported(["--help"], tmp_path)
    assert "lark" not in imported(["explain"], tmp_path)


def test_training_needs_no_terminal_library_where_there_is_no_terminal(tmp_path: Path) -> None:
    found = imported(
        ["train", REGRESSION, "--epochs", "1", "--out", str(tmp_path / "runs")], tmp_path / "cache"
    )
    assert "numpy" in found
    assert not {"rich", "torch", "cupy", "pandas"} & found


# syntax trees on disk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path))
    return tmp_path / "trees"


def parsed_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that the parser itself reads from now on."""
    seen: list[str] = []
    real = parser.parse

    def parse(source: Source) -> Any:
        seen.append(source.name)
        return real(source)

    monkeypatch.setattr(parser, "parse", parse)
    return seen


def spans(node: Any) -> list[tuple[int, int] | None]:
    """Every span in a tree, in order; None for those that are nowhere."""
    if isinstance(node, Span):
        return [None if node is NOWHERE else (node.start, node.end)]
    if isinstance(node, tuple):
        return [x for part in node for x in spans(part)]
    if is_dataclass(node):
        return [x for f in fields(node) for x in spans(getattr(node, f.name))]
    return []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_a_kept_tree_is_the_parsed_one(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(path.name, path.read_text(encoding="utf-8"))
    first, _ = parser.parse(source)
    trees.parse(source)
    read = parsed_by(monkeypatch)
    other = Source("another name", source.text)
    kept, diagnostics = trees.parse(other)
    assert not read
    assert not diagnostics
    assert repr(kept) == repr(first)
    assert kept == first
    assert spans(kept) == spans(first)
    assert kept.items[0].span.source is other


def test_every_kind_of_node_can_be_kept() -> None:
    kinds = {c for c in vars(syntax).values() if is_dataclass(c)} - {Span}
    assert set(trees._CLASSES) == kinds


TEXT = "net a { input x: [3]; linear(4) }\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: c[:3],
        lambda c: c[: len(c) // 2],
        lambda c: c[:-1] + bytes([c[-1] ^ 1]),
        lambda c: bytes(len(c)),
        lambda c: c + b"x",
    ],
)
def test_a_damaged_entry_is_the_same_as_none(
    damage: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = trees.parse(Source("a.net", TEXT))
    (entry,) = folder.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    read = parsed_by(monkeypatch)
    assert trees.parse(Source("a.net", TEXT))[0] == expected
    assert read == ["a.net"]
    assert trees.parse(Source("a.net", TEXT))[0] == expected
    assert read == ["a.net"]


def test_entries_of_another_version_or_text_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.parse(Source("a.net", TEXT))
    read = parsed_by(monkeypatch)
    monkeypatch.setattr(trees, "_stamp", lambda: "another version")
    trees.parse(Source("a.net", TEXT))
    assert read == ["a.net"]
    same = next(folder.iterdir())
    monkeypatch.setattr(trees, "_path", lambda text: same)  # as if two texts had one checksum
    tree, _ = trees.parse(Source("b.net", TEXT.replace("4", "5")))
    assert read == ["a.net", "b.net"]
    assert "value=5" in repr(tree)


def test_mistakes_are_told_every_time(folder: Path) -> None:
    for _ in range(2):
        assert [d.code for d in trees.parse(Source("a.net", "net a { input x: [3]; linear( }\n"))[1]]
    assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_is_the_same_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "file"))
    assert trees.parse(Source("a.net", TEXT))[0].items


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    for i in range(9):
        cachedir.keep(tmp_path / "kept" / f"{i}", b"x", 4)
        os.utime(tmp_path / "kept" / f"{i}", (i, i))
    assert sorted(f.name for f in (tmp_path / "kept").iterdir()) == ["5", "6", "7", "8"]


def test_very_deep_trees_are_parsed_all_the_same(folder: Path) -> None:
    text = "const a = " + "-" * 3000 + "1\n"
    first, found = parser.parse(Source("deep.net", text))
    kept, again = trees.parse(Source("deep.net", text))
    assert [d.code for d in found] == [d.code for d in again]
    assert len(first.items) == len(kept.items)
