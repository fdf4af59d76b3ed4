"""The command line: ``netc``. Commands live in modules of their own, imported when used."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

COMMANDS = {
    "train": "Train the network of a .net file.",
    "predict": "Apply saved weights to observations.",
    "eval": "Loss and metrics of saved weights.",
    "bench": "Time the training steps and predictions of a program.",
    "new": "Write a starter program.",
    "check": "Report what is wrong with .net files.",
    "fmt": "Write .net files in the canonical way.",
    "show": "Print a stage of compilation.",
    "explain": "Say more about a diagnostic's code.",
    "doctor": "Print versions, the CPU, the cache.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"netc.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="netc")
@click.option(
    "--traceback", is_flag=True, expose_value=False, help="Show where a failure happened, for a report of it."
)
def main() -> None:
    """A compiler for small and medium neural networks."""


def run(arguments: list[str] | None = None) -> None:
    """Entry point: exit codes 0 done, 1 program or data wrong, 2 usage, 3 diverged, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    details = "--traceback" in given or os.environ.get("NETC_TRACEBACK", "0") not in ("", "0")
    try:
        code = main.main(arguments, prog_name="netc", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        code = _failed(error, details)
    except KeyboardInterrupt as error:
        code = _failed(error, details)
    if isinstance(code, int) and code:
        sys.exit(code)


def _failed(error: BaseException, details: bool) -> int:
    from .failures import report

    return report(error, details=details)


def settings_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``k=v`` options as constants: numbers, true, false, or texts."""
    from ..grammar.diagnostics import CompileError
    from ..grammar.parser import parse_expression
    from ..grammar.syntax import Number, String

    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise click.UsageError(f"--set takes NAME=VALUE, not {pair}")
        if text in ("true", "false"):
            found[name] = text == "true"
            continue
        try:
            value = parse_expression(text, "--set")
        except CompileError:
            value = String(text)
        found[name] = value.value if isinstance(value, (Number, String)) else text
    return found
