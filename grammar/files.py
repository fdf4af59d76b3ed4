"""Reading ``.net`` files: a ``Source``, or the diagnostic that says why not."""

from __future__ import annotations

import re
from pathlib import Path

from .diagnostics import Diagnostic, Label
from .source import Source, Span

_NETLISTS = ("(export (version", "(kicad_", ".title", ".subckt", "*pads", "$packages", "(netlist", "*")
_SPICE = re.compile(r"^\.(?:title|subckt|model|include|tran|ac|dc|op|ends?)\b", re.I | re.M)


def read_source(path: str | Path) -> Source | Diagnostic:
    """The text of a file (UTF-8, a byte-order mark and CRLF are taken off)."""
    name = str(path)

    def failure(code: str, message: str, help_text: str = "") -> Diagnostic:
        return Diagnostic(code, message, Label(Span(Source(name, ""), 0, 0)), help=help_text)

    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        return failure("E0001", f"there is no file {name}", "check the path; `netc new` writes a starter")
    except IsADirectoryError:
        return failure("E0001", f"{name} is a folder", "name a .net file in it")
    except OSError as error:
        return failure("E0001", f"{name} cannot be read: {error.strerror}")
    if not raw.strip():
        return failure(
            "E0002", f"{name} is empty", "a program needs at least a `net` block; `netc new` writes a starter"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return failure("E0003", f"{name} is not text: byte {error.start} is not UTF-8")
    if "\0" in text:
        return failure("E0003", f"{name} is a binary file, not text")
    if text.lstrip().lower().startswith(_NETLISTS) or _SPICE.search(text):
        return failure(
            "E0004",
            f"{name} is an electronic netlist, not a neural network",
            "circuits and neural networks share the ending .net; `netc new` writes a starter of the latter",
        )
    return Source(name, text.replace("\r\n", "\n"))
