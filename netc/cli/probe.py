"""Shapes of data files for elaboration, read with the standard library alone (arrays need NumPy)."""

from __future__ import annotations

from pathlib import Path

from ..compiler.elaborate import TableShape
from ..compiler.elaborate.data import Cells, Leaf, Probe
from ..grammar.source import Span
from ..runtime import tables


def prober(folder: Path) -> Probe:
    """The ``probe`` of elaboration for files in a folder."""

    def probe(kind: str, path: str, span: Span) -> TableShape:
        if kind == "csv":
            table = tables.read_csv(folder / path, span)
            return TableShape(len(table.rows), table.columns)
        shapes = tables.array_shapes(folder / path, kind, span)
        return TableShape(next((s[0] for s in shapes.values() if s), 0), (), shapes)

    return probe


def cell_checker(folder: Path) -> Cells:
    """Looks at the cells of the columns that a program reads as numbers."""

    def check(leaf: Leaf) -> None:
        if leaf.kind == "csv" and not leaf.categorical:
            tables.read_csv(folder / leaf.path, leaf.span).check_cells(leaf.columns, leaf.span)

    return check
