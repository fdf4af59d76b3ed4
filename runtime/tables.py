"""Data files: what is in them and their cells, with the standard library alone (arrays need NumPy).

In: paths or texts, with the place where the program names them. Out: ``Table``: columns and rows of texts; arrays by
name. Errors are diagnostics that point at the line and cell of the data file, and at the place in the program.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A CSV text. Without a header (a first row with a number in it) columns are called ``c0``, ``c1``, ...

    lines: for each row of the body the line of the file that it ends in.
    """

    name: str
    text: str
    delimiter: str
    header: bool
    columns: tuple[str, ...]
    rows: Rows
    lines: tuple[int, ...]

    def place(self, line: int, column: int | None, text: str) -> Label:
        """A cell of the file, or a whole line."""
        source = Source(self.name, self.text.replace("\r\n", "\n").replace("\r", "\n"))
        line = min(line, source.line_count)
        start, content = source.line_starts[line - 1], source.line(line)
        parts = content.split(self.delimiter)
        if column is None or '"' in content or column >= len(parts):
            return Label(Span(source, start, start + len(content)), text)
        begin = start + sum(len(p) + 1 for p in parts[:column])
        cell = parts[column]
        blank = len(cell) - len(cell.lstrip())
        return Label(Span(source, begin + blank, begin + blank + len(cell.strip())), text)

    def cells(self, columns: Sequence[int]) -> Iterator[str]:
        """The texts of these columns, row by row."""
        chosen = map(itemgetter(*columns), self.rows)
        return chain.from_iterable(chosen) if len(columns) > 1 else chosen

    def check_cells(self, columns: Sequence[int], span: Span) -> None:
        """Raises CompileError for the first cell of these columns that is no finite number."""
        if self._all_finite(columns):
            return
        for row, line in zip(self.rows, self.lines, strict=True):
            for column in columns:
                if not _is_finite(row[column]):
                    self._refuse(
                        row[column], self.place(line, column, f"column `{self.columns[column]}`"), span
                    )

    def _all_finite(self, columns: Sequence[int]) -> bool:
        """The same at the speed of C, without telling where."""
        if not columns:
            return True
        try:
            return all(map(math.isfinite, map(float, self.cells(columns))))
        except ValueError:
            return False

    def _refuse(self, text: str, place: Label, span: Span) -> NoReturn:
        second = Label(span, "read as numbers here")
        if _is_number(text):
            _fail("E0605", f"{self.name} has a value that is not finite: {text}", place, second,
                  help="a loss of such a value is never a number: leave the row out or fill the cell")  # fmt: skip
        what = f"`{text}`" if text else "an empty cell"
        _fail("E0604", f"{self.name} has {what} where a number is needed", place, second, help=_words(text))

    def codes(self, column: int, words: list[str] | None, span: Span) -> tuple[list[int], list[str]]:
        """A column of words as class numbers, and the words. Given words, others raise CompileError (E0604)."""
        texts = [row[column] for row in self.rows]
        found = classes(texts) if words is None else words
        numbers = {text: i for i, text in enumerate(found)}
        for text, line in zip(texts, self.lines, strict=True):
            if text not in numbers:
                _fail("E0604", f"{self.name} has the class `{text}`, which the training data did not have",
                      self.place(line, column, f"column `{self.columns[column]}`"),
                      Label(span, "read as classes here"), help="known are " + ", ".join(found[:12]))  # fmt: skip
        return [numbers[t] for t in texts], found


@lru_cache(maxsize=8)
def _split(text: str) -> tuple[str, list[tuple[tuple[str, ...], int]]]:
    """The delimiter; the cells of each row, with the line that it ends in."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    blanks = any(c in text for c in " \t\u00a0")
    return delimiter, [
        (tuple(map(str.strip, row)) if blanks else tuple(row), reader.line_num) for row in reader if row
    ]


def parse_csv(text: str, name: str, span: Span) -> Table:
    """The table in a text; raises CompileError when it is none. The delimiter is the commonest of ``,`` ``;`` tab."""
    named = Label(span, "named here")
    try:
        delimiter, found = _split(text)
    except csv.Error as error:
        _fail("E0609", f"{name} is no CSV text: {error}", named)
    if not found:
        _fail("E0602", f"{name} is empty", named, help="a table needs at least one row")
    rows, lines = tuple(r for r, _ in found), tuple(n for _, n in found)
    header = not any(_is_number(c) for c in rows[0])
    first = 1 if header else 0
    columns = rows[0] if header else tuple(f"c{i}" for i in range(len(rows[0])))
    table = Table(name, text, delimiter, header, columns, rows[first:], lines[first:])
    if not table.rows:
        _fail("E0602", f"{name} has a header and no rows", named)
    for row, line in found:
        if len(row) != len(columns):
            what = "cell" if len(row) == 1 else "cells"
            _fail("E0603", f"{name} has rows of different lengths",
                  table.place(line, None, f"{len(row)} {what}, where the first row has {len(columns)}"),
                  Label(span, "the table is read here"),
                  help="every row has a cell for each column; a cell may not be left out")  # fmt: skip
    return table


@lru_cache(maxsize=8)
def _text(path: str, stamp: float, size: int) -> str:
    return Path(path).read_bytes().decode("utf-8-sig")


def read_csv(path: Path, span: Span) -> Table:
    """The table in a file; raises CompileError (E0601, E0602, E0603, E0609)."""
    named = Label(span, "named here")
    try:
        status = path.stat()
        text = _text(str(path), status.st_mtime, status.st_size)
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*") if p.is_file()) if path.parent.is_dir() else []
        known = (
            f"{shown(path.parent)} holds {', '.join(beside[:8])}"
            if beside
            else "there is no such folder either"
        )
        _fail("E0601", f"there is no data file {shown(path)}", named,
              help=f"paths are relative to {_base(span)}; {known}")  # fmt: skip
    except UnicodeDecodeError:
        _fail("E0609", f"{shown(path)} is no CSV text: it is not UTF-8 text", named,
              help="`npy`, `npz` and `safetensors` read files of arrays")  # fmt: skip
    except OSError as error:
        _fail("E0601", f"{shown(path)} cannot be read: {error.strerror}", named)
    return parse_csv(text, shown(path), span)


def _base(span: Span) -> str:
    """What the path of a data file starts from: it is named in a program or by a command."""
    return "the program's folder" if span.source.text else "the folder you are in"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _words(text: str) -> str:
    if not text:
        return "leave the row out or fill the cell"
    if _is_number(text.replace(",", ".")):
        return "decimals are written with a point"
    return "`categories(...)` turns a column of words into class numbers"


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
              help=f"paths are relative to {_base(span)}")  # fmt: skip
    except Exception as error:
        _fail("E0609", f"{shown(path)} is damaged or no {kind} file: {error}", Label(span, "named here"))
