"""``netc fmt``: programs written in the one canonical way."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from pathlib import Path

import click

from ..grammar.diagnostics import CompileError, Diagnostic
from ..grammar.files import read_source
from ..grammar.format import format_source
from .output import print_diagnostics


@click.command("fmt")
@click.argument("files", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def command(files: tuple[str, ...], check: bool, diff: bool) -> None:
    """Format .net files in place. A folder stands for the .net files in it, - for standard input."""
    found: list[Diagnostic] = []
    changed = 0
    for name in _expanded(files):
        try:
            changed += _one(name, check, diff)
        except CompileError as error:
            found += error.diagnostics
    if found:
        print_diagnostics(found, "full")
    if found or (check and changed):
        raise click.exceptions.Exit(1)


def _expanded(names: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in names:
        path = Path(name)
        found += [str(p) for p in sorted(path.rglob("*.net"))] if path.is_dir() else [name]
    return list(dict.fromkeys(found))


def _one(name: str, check: bool, diff: bool) -> bool:
    """Formats one file; True when it is not as it should be. Raises CompileError when it cannot be read."""
    before = _read(name)
    after = format_source(before.removeprefix("\ufeff").replace("\r\n", "\n"), name)
    if diff:
        _print_difference(name, before, after)
    elif name == "-" and not check:
        sys.stdout.write(after)
    elif before != after:
        click.echo(f"would format {name}" if check else f"formatted {name}")
    if before != after and name != "-" and not check and not diff:
        _replace(Path(name), after)
    return before != after


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    source = read_source(name)
    if isinstance(source, Diagnostic):
        raise CompileError((source,))
    return Path(name).read_bytes().decode("utf-8")


def _print_difference(name: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, f"{name} formatted", lineterm=""
    )
    for line in lines:
        click.echo(line)


def _replace(path: Path, text: str) -> None:
    """The whole file or nothing: a temporary file beside it takes its place, with its permissions."""
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
