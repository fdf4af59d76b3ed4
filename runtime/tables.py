"""Data files: what is in them and their cells, with the standard library alone (arrays need NumPy).

Errors are diagnostics that point at the line and cell of the data file, and at the place where the program names it.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span

Rows = tuple[tuple[str, ...], ...]


def _fail(code: str, message: str, where: Label, *others: Label, help: str = "") -> NoReturn:
    raise CompileError((Diagnostic(code, message, where, others, help=help),))


def shown(path: Path) -> str:
    """A path as the user can open it: relative to the folder that they are in, where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return str(path)
    return relative if not relative.startswith("..") else str(path)


@lru_cache(maxsize=8)
def _rows(path: str, stamp: float, size: int) -> tuple[Rows, tuple[int, ...], str]:
    """The rows of cells, the last line of each, the delimiter."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        sample = file.readline()
        delimiter = max(",;\t", key=sample.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        found = [(tuple(c.strip() for c in row), reader.line_num) for row in reader if row]
    return tuple(r for r, _ in found), tuple(n for _, n in found), delimiter


def _read(path: Path, span: Span) -> tuple[Rows, tuple[int, ...], str]:
    try:
        status = path.stat()
        return _rows(str(path), status.st_mtime, status.st_size)
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*") if p.is_file()) if path.parent.is_dir() else []
        known = (
            f"{shown(path.parent)} holds {', '.join(beside[:8])}"
            if beside
            else "there is no such folder either"
        )
        _fail("E0601", f"there is no data file {shown(path)}", Label(span, "named here"),
              help=f"paths are relative to the program's folder; {known}")  # fmt: skip
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        _fail("E0609", f"{shown(path)} is no CSV text: {reason}", Label(span, "named here"),
              help="`npy`, `npz` and `safetensors` read files of arrays")  # fmt: skip
    except OSError as error:
        _fail("E0601", f"{shown(path)} cannot be read: {error.strerror}", Label(span, "named here"))


def read_csv(path: Path, span: Span) -> tuple[tuple[str, ...], Rows, int]:
    """Column names (``c0``, ``c1``, ... without a header), rows of texts, and the line of the first row."""
    rows, lines, delimiter = _read(path, span)
    if not rows:
        _fail(
            "E0602",
            f"{shown(path)} is empty",
            Label(span, "named here"),
            help="a table needs at least one row",
        )
    header = not any(_is_number(c) for c in rows[0])
    names = rows[0] if header else tuple(f"c{i}" for i in range(len(rows[0])))
    body = rows[1:] if header else rows
    if not body:
        _fail("E0602", f"{shown(path)} has a header and no rows", Label(span, "named here"))
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            what = "cell" if len(row) == 1 else "cells"
            _fail("E0603", f"{shown(path)} has rows of different lengths", _place(path, line, None, delimiter,
                  f"{len(row)} {what}, where the first row has {len(names)}"), Label(span, "the table is read here"),
                  help="every row has a cell for each column; a cell may not be left out")  # fmt: skip
    return names, body, lines[1 if header else 0]


def _place(path: Path, line: int, column: int | None, delimiter: str, text: str) -> Label:
    """A cell of the file, or a whole line."""
    source = Source(
        shown(path), path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    )
    line = min(line, source.line_count)
    start, content = source.line_starts[line - 1], source.line(line)
    parts = content.split(delimiter)
    if column is None or '"' in content or column >= len(parts):
        return Label(Span(source, start, start + len(content)), text)
    begin = start + sum(len(p) + 1 for p in parts[:column])
    cell = parts[column]
    blank = len(cell) - len(cell.lstrip())
    return Label(Span(source, begin + blank, begin + blank + len(cell.strip())), text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_cells(path: Path, columns: Sequence[int], span: Span) -> None:
    """Raises CompileError for the first cell of these columns that is no finite number."""
    names, body, _ = read_csv(path, span)
    _, lines, delimiter = _read(path, span)
    for row, line in zip(body, lines[len(lines) - len(body) :], strict=True):
        for column in columns:
            text = row[column]
            try:
                finite = math.isfinite(float(text))
            except ValueError:
                what = f"`{text}`" if text else "an empty cell"
                _fail("E0604", f"{shown(path)} has {what} where a number is needed",
                      _place(path, line, column, delimiter, f"column `{names[column]}`"),
                      Label(span, "read as numbers here"), help=_words(text))  # fmt: skip
            if not finite:
                _fail("E0605", f"{shown(path)} has a value that is not finite: {text}",
                      _place(path, line, column, delimiter, f"column `{names[column]}`"),
                      Label(span, "read as numbers here"),
                      help="a loss of such a value is never a number: leave the row out or fill the cell")  # fmt: skip


def _words(text: str) -> str:
    if not text:
        return "leave the row out or fill the cell"
    if _is_number(text.replace(",", ".")):
        return "decimals are written with a point"
    return "`categories(...)` turns a column of words into class numbers"


def codes(path: Path, column: int, words: list[str] | None, span: Span) -> tuple[list[int], list[str]]:
    """A column of words as class numbers, and the words. Given words, others raise CompileError (E0604)."""
    names, body, _ = read_csv(path, span)
    texts = [row[column] for row in body]
    found = classes(texts) if words is None else words
    numbers = {text: i for i, text in enumerate(found)}
    for at, text in enumerate(texts):
        if text not in numbers:
            _, lines, delimiter = _read(path, span)
            line = lines[len(lines) - len(body) + at]
            _fail("E0604", f"{shown(path)} has the class `{text}`, which the training data did not have",
                  _place(path, line, column, delimiter, f"column `{names[column]}`"), Label(span, "read as classes here"),
                  help="known are " + ", ".join(found[:12]))  # fmt: skip
    return [numbers[t] for t in texts], found


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
        _fail("E0601", f"there is no data file {shown(path)}", Label(span, "named here"),
              help="paths are relative to the program's folder")  # fmt: skip
    except Exception as error:
        _fail("E0609", f"{shown(path)} is damaged or no {kind} file: {error}", Label(span, "named here"))
