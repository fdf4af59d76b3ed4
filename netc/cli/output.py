"""Printing for the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from ..grammar.diagnostics import Diagnostic
from ..grammar.render import Format, render


def print_diagnostics(found: Iterable[Diagnostic], form: Format) -> None:
    """To standard error, JSON to standard output; coloured on a terminal unless NO_COLOR is set."""
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ and form == "full"
    click.echo(render(found, form, color=color), err=form != "json", color=color)
