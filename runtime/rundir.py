"""Run folders: ``runs/NAME-001`` with history.csv, run.json and weights; valid at any moment a run may be killed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span
from .checkpoint import write_atomically


def create(root: Path, name: str) -> Path:
    """A new folder with the next free number; raises CompileError (E0705)."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100_000):
            path = root / f"{name}-{number:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        where = Label(Span(Source(str(root), ""), 0, 0))
        message = f"no run folder can be made in {root}: {error.strerror}"
        raise CompileError(
            (Diagnostic("E0705", message, where, help="choose another place with --out"),)
        ) from None
    raise RuntimeError("bug in netc: no free run number")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


class HistoryFile:
    """history.csv, a line an epoch, flushed at once."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._write(columns)

    def _write(self, cells: list[Any]) -> None:
        self._file.write(",".join(str(c) for c in cells) + "\n")
        self._file.flush()

    def add(self, *cells: float | int | None) -> None:
        self._write(["" if c is None else repr(c) for c in cells])

    def close(self) -> None:
        self._file.close()
