"""The repository's shape: packages and folders agree, imports point one way, no file outgrows a room."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("grammar", "library", "compiler", "runtime")
FOLDERS = ("grammar", "compiler", "runtime", "netc", "tests", "examples", "benchmarks")
MAX_LINES = 500
# What each folder may import of ours, as dotted prefixes below the package.
ALLOWED = {
    "grammar": ("grammar",),
    "runtime": ("runtime", "grammar.cachedir", "grammar.diagnostics", "grammar.source"),
    "compiler": ("compiler", "grammar", "runtime.artifact", "runtime.cache", "runtime.philox"),
}


def sources(folder: str) -> list[Path]:
    """Python files of a folder, links not followed."""
    return sorted(p for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts and not linked(p))


def linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != ROOT and ROOT in parent.parents)


def imports(path: Path, folder: str) -> Iterator[tuple[int, int, str]]:
    """(line, level, dotted name) of each import; relative ones resolved from the top of the package."""
    package = [folder, *path.relative_to(ROOT / folder).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, 0, node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            stem = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*stem, alias.name] for alias in node.names] if len(stem) < 2 else [stem]
            yield from ((node.lineno, node.level, ".".join(name)) for name in names)


def test_every_package_is_listed_and_every_listed_package_exists() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {"netc", "netc.cli", *("netc." + f for f in LINKED)}
    for top in ("grammar", "compiler", "runtime", "netc"):
        for path in sources(top):
            parts = path.parent.relative_to(ROOT).parts
            folders.add(".".join(parts if top == "netc" else ("netc", *parts)))
    assert sorted(config["packages"]) == sorted(folders)
    assert config["package-dir"] == {"netc": "netc", **{f"netc.{f}": f for f in LINKED}}


@pytest.mark.parametrize("folder", LINKED)
def test_the_package_reaches_each_folder_through_a_relative_link(folder: str) -> None:
    link = ROOT / "netc" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_imports_point_one_way(folder: str) -> None:
    wrong = []
    for path in sources(folder):
        for line, level, name in imports(path, folder):
            ours = level > 0 or name.split(".")[0] in ("netc", *FOLDERS)
            allowed = level > 0 and any(f"{name}.".startswith(f"{a}.") for a in ALLOWED[folder])
            if ours and not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_the_import_reader_resolves_relative_names(tmp_path: Path) -> None:
    path = ROOT / "compiler" / "ops" / "record.py"
    names = {name for _, level, name in imports(path, "compiler") if level}
    assert {"compiler.graph", "compiler.loops.ir"} <= names


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_a_room(folder: str) -> None:
    long = [f"{p.relative_to(ROOT)}: {n}" for p in sources(folder) if (n := lines(p)) > MAX_LINES]
    assert not long, "\n".join(long)


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_says_what_it_is(folder: str) -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in sources(folder)
        if lines(p) > 5 and ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))) is None
    ]
    assert not silent, "\n".join(silent)


def test_tests_are_no_package_and_the_root_holds_no_module() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()
    assert not list(ROOT.glob("*.py"))
