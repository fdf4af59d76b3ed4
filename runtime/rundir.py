"""Run folders: ``runs/NAME-001`` with history.csv, run.json and weights; valid at any moment a run may be killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import failure, write_atomically

BUFFERED = 1 << 16


def create(root: Path, name: str) -> Path:
    """A new folder with the next free number; raises CompileError (E0705)."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(_last_number(root, name) + 1, 1_000_000):
            path = root / f"{name}-{number:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        message = f"no run folder can be made in {root}: {error.strerror}"
        raise failure("E0705", message, root, "choose another place with --out") from None
    raise RuntimeError("bug in netc: no free run number")


def latest(root: Path, name: str) -> Path | None:
    """The run of that name with the highest number, if there is any."""
    number = _last_number(root, name)
    return root / f"{name}-{number:03d}" if number else None


def _last_number(root: Path, name: str) -> int:
    pattern = re.compile(re.escape(name) + r"-(\d{3,})")
    try:
        found = [pattern.fullmatch(entry.name) for entry in os.scandir(root) if entry.is_dir()]
    except OSError:
        return 0
    return max((int(m[1]) for m in found if m), default=0)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


class HistoryFile:
    """history.csv, a line an epoch; whole lines only, also on a disk that is full.

    A new file replaces that of an earlier part of the run when its first lines are written. Raises CompileError
    (E0705) when the disk is full.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path = path
        self._pending = [",".join(columns) + "\n"]
        self._size = 0
        self._started = False

    def add(self, *cells: float | int | None) -> None:
        self._pending.append(",".join("" if c is None else repr(c) for c in cells) + "\n")
        self._size += len(self._pending[-1])
        if self._size > BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Everything added so far is in the file afterwards."""
        content = "".join(self._pending).encode()
        if not self._started:
            write_atomically(self.path, content)
        elif content:
            self._append(content)
        self._started, self._pending, self._size = True, [], 0

    def _append(self, content: bytes) -> None:
        size = None
        try:
            with self.path.open("ab", buffering=0) as file:
                size = file.tell()
                done = 0
                while done < len(content):
                    done += file.write(content[done:])
        except OSError as error:
            if size is not None:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, size)
            raise failure("E0705", f"{self.path} cannot be written: {error.strerror}", self.path) from None

    def close(self) -> None:
        self.flush()
