"""What a command says when it cannot go on: one message for each kind of failure, never a traceback unasked.

In: the exception that ended a command. Out: a message on standard error and the exit code: 0 done, 1 program or data
wrong, 2 usage, 3 diverged, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click

from ..grammar.diagnostics import CompileError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def report(error: BaseException, *, details: bool) -> int:
    """Prints what went wrong and gives the exit code; ``details`` adds the traceback."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return 130
    if isinstance(error, BrokenPipeError):
        close_output()
        return 0
    if details:
        from traceback import print_exception

        print_exception(error)
    if isinstance(error, CompileError):
        from .output import print_diagnostics

        print_diagnostics(error.diagnostics, "full")
        return 3 if any(d.code == "E0801" for d in error.diagnostics) else 1
    click.echo(describe(error), err=True)
    return 1


def describe(error: BaseException) -> str:
    """The message for an exception that is no diagnostic."""
    if isinstance(error, OSError) and error.errno is not None:
        return _file_problem(error)
    if isinstance(error, MemoryError):
        said = f": {error}" if str(error) else ""
        return f"error: there is not enough memory{said}\n = help: a smaller batch or a smaller network needs less"
    return _bug(error)


def _file_problem(error: OSError) -> str:
    if error.filename is None and error.errno == errno.ENOENT:
        return "error: the folder you are in no longer exists"
    name = error.filename if error.filename is not None else "a file or standard output"
    if error.errno in FULL:
        return (
            f"error[E0705]: {name} cannot be written: {error.strerror}\n"
            " = help: make room, or write elsewhere; files that were there before are as they were"
        )
    return f"error: {name}: {error.strerror}"


def _bug(error: BaseException) -> str:
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return (
        f"error: a bug in netc: {said.removeprefix('bug in netc: ')}{_place(error)}\n"
        " = help: please report it with the program that shows it; `netc --traceback COMMAND ...` "
        "(or NETC_TRACEBACK=1) prints where it happened"
    )


def _place(error: BaseException) -> str:
    """The innermost line of netc's own code that the exception passed."""
    root = Path(__file__).resolve().parent.parent
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(root) or file.resolve().is_relative_to(root.parent):
            place = f" ({file.parent.name}/{file.name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def close_output() -> None:
    """Nothing more is written to standard output, not even when Python ends: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
