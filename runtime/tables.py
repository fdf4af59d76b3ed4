"""Data files: what is in them (``probe``, standard library only) and their cells (``read_columns``).

Errors are diagnostics whose primary span is where the program names the file; notes give line and column of the cell.
"""

from __future__ import annotations

import csv
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Span


def _fail(code: str, message: str, span: Span, *notes: str, help: str = "") -> NoReturn:
    raise CompileError((Diagnostic(code, message, Label(span), notes=notes, help=help),))


@lru_cache(maxsize=8)
def _rows(path: str, stamp: float) -> tuple[tuple[str, ...], ...]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        sample = file.readline()
        delimiter = max(",;\t", key=sample.count)
        file.seek(0)
        return tuple(tuple(c.strip() for c in row) for row in csv.reader(file, delimiter=delimiter) if row)


def read_csv(path: Path, span: Span) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], int]:
    """Column names (``c0``, ``c1``, ... without a header), rows of texts, and the line of the first row."""
    try:
        rows = _rows(str(path), path.stat().st_mtime)
    except FileNotFoundError:
        _fail(
            "E0601", f"there is no data file {path}", span, help="paths are relative to the program's folder"
        )
    except (UnicodeDecodeError, csv.Error):
        _fail("E0609", f"{path} is not a CSV text", span)
    except OSError as error:
        _fail("E0601", f"{path} cannot be read: {error.strerror}", span)
    if not rows:
        _fail("E0602", f"{path} is empty", span)
    header = not any(_is_number(c) for c in rows[0])
    names = rows[0] if header else tuple(f"c{i}" for i in range(len(rows[0])))
    body = rows[1:] if header else rows
    if not body:
        _fail("E0602", f"{path} has a header and no rows", span)
    for number, row in enumerate(body, 2 if header else 1):
        if len(row) != len(names):
            _fail("E0603", f"{path} has rows of different lengths", span,
                  f"line {number} has {len(row)} cells, {len(names)} are expected")  # fmt: skip
    return names, body, 2 if header else 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cell(text: str, path: Path, line: int, column: str, span: Span) -> float:
    """The number in a cell."""
    try:
        value = float(text)
    except ValueError:
        shown = f"`{text}`" if text else "nothing"
        _fail("E0604", f"{path} has {shown} where a number is needed", span, f"line {line}, column {column}",
              help="use categories(...) for a column of words")  # fmt: skip
    if not math.isfinite(value):
        _fail(
            "E0605", f"{path} has a value that is not finite", span, f"line {line}, column {column}: {text}"
        )
    return value


def classes(texts: list[str]) -> list[str]:
    """The distinct values of a categorical column, numbers in their order, words by alphabet."""
    found = set(texts)
    return sorted(found, key=lambda t: (0, float(t), t) if _is_number(t) else (1, 0.0, t))


def array_shapes(path: Path, kind: str, span: Span) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays in an .npy, .npz or safetensors file."""
    return {k: tuple(v.shape) for k, v in load_arrays(path, kind, span).items()}


def load_arrays(path: Path, kind: str, span: Span) -> dict[str, Any]:
    """The arrays of a file by name; an .npy file's has the empty name."""
    import numpy as np

    try:
        if kind == "safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(str(path)))
        loaded = np.load(path, allow_pickle=False)
        return {"": loaded} if kind == "npy" else {k: loaded[k] for k in loaded.files}
    except FileNotFoundError:
        _fail("E0601", f"there is no data file {path}", span)
    except Exception as error:
        _fail("E0609", f"{path} is damaged or no {kind} file: {error}", span)
