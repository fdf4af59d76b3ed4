"""``netc explain``: what a diagnostic's code means, with examples."""

from __future__ import annotations

import click

from ..grammar.catalogue import entries, explain
from ..grammar.suggest import closest


@click.command("explain")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Say what a code such as E0401 means; without one, list them all."""
    if code is None:
        for entry in entries().values():
            click.echo(f"{entry.code}  {entry.title}")
        return
    text = explain(code)
    if text is None:
        guess = closest(code.upper(), entries())
        hint = f"; did you mean {guess}?" if guess else ""
        raise click.UsageError(f"there is no code {code}{hint}")
    click.echo(text)
