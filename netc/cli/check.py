"""``netc check``: everything wrong with programs, without NumPy, without LLVM."""

from __future__ import annotations

from pathlib import Path

import click

from ..compiler.elaborate import check
from ..grammar.diagnostics import Diagnostic
from ..grammar.files import read_source
from ..grammar.render import Format
from .output import print_diagnostics
from .probe import cell_checker, prober


@click.command("check")
@click.argument("files", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(["full", "concise", "json", "github"]), default="full")
def command(files: tuple[str, ...], form: Format) -> None:
    """Report what is wrong with .net files."""
    found: list[Diagnostic] = []
    for file in files:
        found += _check(file)
    if found or form == "json":
        print_diagnostics(found, form)
    if any(d.severity == "error" for d in found):
        raise click.exceptions.Exit(1)


def _check(file: str) -> list[Diagnostic]:
    source = read_source(file)
    if isinstance(source, Diagnostic):
        return [source]
    folder = Path(file).resolve().parent
    return list(check(source, prober(folder), cell_checker(folder), folder=folder))
