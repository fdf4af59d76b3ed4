"""From a data plan to arrays: read the tables, evaluate the graph, split, scale.

In: a ``DataPlan`` and the program's folder. Out: training and validation arrays by name. The graph interpreter does
the arithmetic, in the program's precision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler.elaborate.data import DataPlan, Entry, Leaf
from .compiler.interpreter import evaluate
from .grammar.diagnostics import CompileError, Diagnostic, Label
from .grammar.source import Span
from .runtime import philox, tables

Array = NDArray[Any]
SPLIT_STREAM = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Scaler:
    """``(x - shift) / scale``, fitted on training rows."""

    shift: Array
    scale: Array

    def apply(self, x: Array) -> Array:
        return ((x - self.shift) / self.scale).astype(x.dtype)

    def invert(self, x: Array) -> Array:
        return (x * self.scale + self.shift).astype(x.dtype)


@dataclass(frozen=True, slots=True)
class Data:
    """What a data block gives. What was learned from the training rows, and must be the same for other rows:
    scalers by entry, the words of categories by entry, the columns of each CSV file."""

    training: Mapping[str, Array]
    validation: Mapping[str, Array] | None
    scalers: Mapping[str, Scaler] = field(default_factory=dict)
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    columns: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """Scalers and classes of an earlier training, to be used instead of new ones."""

    scalers: Mapping[str, Scaler] = field(default_factory=dict)
    classes: Mapping[str, list[str]] = field(default_factory=dict)


def load(
    plan: DataPlan, folder: Path, dtype: str, used: Collection[str] = (), known: Known | None = None
) -> Data:
    """The observations of a data block. used: the entries that must be finite.

    Raises CompileError for files that cannot be used and values that are not finite.
    """
    known = known or Known()
    needed = {v.attrs["name"] for v in plan.graph.live() if v.op.name == "input"}
    entry_of = {e.categories: e.name for e in plan.entries if e.categories}
    classes: dict[str, list[str]] = {}
    columns: dict[str, list[str]] = {}
    leaves: dict[str, Array] = {}
    for leaf in (x for x in plan.leaves if x.name in needed):
        if leaf.kind == "csv":
            columns[leaf.path] = list(tables.read_csv(folder / leaf.path, leaf.span).columns)
        if leaf.categorical:
            words = known.classes.get(entry_of.get(leaf.name, ""))
            table = tables.read_csv(folder / leaf.path, leaf.span)
            codes, found = table.codes(leaf.columns[0], words, leaf.span)
            leaves[leaf.name] = np.array(codes, np.int64)
            classes[entry_of.get(leaf.name, leaf.name)] = found
        else:
            leaves[leaf.name] = _numbers(leaf, folder, dtype)
    arrays = evaluate(plan.graph, leaves, seed=plan.seed)
    ready = {e.name: np.ascontiguousarray(arrays[e.name]) for e in plan.entries}
    for entry in plan.entries:
        if entry.name in used:
            check_finite(ready[entry.name], entry)
    return _split(plan, ready, known, classes, columns)


def _split(
    plan: DataPlan,
    ready: dict[str, Array],
    known: Known,
    classes: dict[str, list[str]],
    columns: dict[str, list[str]],
) -> Data:
    rows = max((len(a) for a in ready.values()), default=0)
    kept = min(round(rows * plan.validation), max(rows - 1, 0))
    draws = philox.uniform(plan.split_seed, SPLIT_STREAM, 0, rows, np.float64)
    order = np.argsort(draws, kind="stable") if plan.split == "random" else np.arange(rows)[::-1]
    first, second = np.sort(order[kept:]), np.sort(order[:kept])
    scalers: dict[str, Scaler] = {}
    for entry in plan.entries:
        if entry.scaling != "none":
            found = known.scalers.get(entry.name)
            scaler = found if found is not None else fit_scaler(ready[entry.name][first], entry.scaling)
            scalers[entry.name] = scaler
            ready[entry.name] = scaler.apply(ready[entry.name])

    def part(chosen: Array) -> dict[str, Array]:
        return {n: np.ascontiguousarray(a[chosen]) for n, a in ready.items() if len(a) == rows}

    return Data(part(first), part(second) if kept else None, scalers, classes, columns)


def check_finite(array: Array, entry: Entry) -> None:
    """Raises CompileError (E0605) for the first value that is not finite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    row, *rest = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
    value = array[(row, *rest)]
    place = f"row {row}" + (f", position {rest}" if rest else "")
    raise CompileError(
        (
            Diagnostic(
                "E0605", f"`{entry.name}` holds a value that is not finite: {value}", Label(entry.span, place),
                help="a loss of such a value is never a number: leave the row out or fill the cell",
            ),
        )
    )  # fmt: skip


def fit_scaler(x: Array, kind: str) -> Scaler:
    """Mean and standard deviation, or minimum and range, of each column; a constant column is only shifted."""
    values = x.astype(np.float64)
    if kind == "standardize":
        shift, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 1e-13 * np.abs(shift), scale, 0.0)  # what rounding leaves of a constant
    else:
        shift, scale = values.min(0), np.ptp(values, 0)
    return Scaler(shift, np.where(scale > 0, scale, 1.0))


def _numbers(leaf: Leaf, folder: Path, dtype: str) -> Array:
    path = folder / leaf.path
    if leaf.kind != "csv":
        array = np.asarray(tables.load_arrays(path, leaf.kind, leaf.span)[leaf.key])
        if array.dtype.kind not in "biuf":
            message = f"{tables.shown(path)} holds {array.dtype} values where numbers are needed"
            raise CompileError((Diagnostic("E0604", message, Label(leaf.span, "read as numbers here")),))
        return array
    return numbers(tables.read_csv(path, leaf.span), leaf.columns, leaf.span).astype(dtype)


def numbers(table: tables.Table, columns: Sequence[int], span: Span) -> Array:
    """Columns of a table in float64; raises CompileError for a cell that is no finite number."""
    try:
        found = map(float, table.cells(columns) if columns else ())
        array = np.fromiter(found, np.float64, len(table.rows) * len(columns))
    except ValueError:
        array = np.array([np.nan])
    if not np.isfinite(array).all():
        table.check_cells(columns, span)
    return array.reshape(len(table.rows), len(columns))
