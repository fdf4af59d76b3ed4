"""From a data plan to arrays: read the tables, evaluate the graph, split, scale.

In: a ``DataPlan`` and the program's folder. Out: training and validation arrays by name. The graph interpreter does
the arithmetic, in the program's precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiler.elaborate.data import DataPlan, Leaf
from .compiler.interpreter import evaluate
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
    training: Mapping[str, Array]
    validation: Mapping[str, Array] | None
    scalers: Mapping[str, Scaler] = field(default_factory=dict)
    classes: Mapping[str, list[str]] = field(default_factory=dict)


def load(plan: DataPlan, folder: Path, dtype: str) -> Data:
    """Raises CompileError for files that cannot be used."""
    classes: dict[str, list[str]] = {}
    needed = {v.attrs["name"] for v in plan.graph.live() if v.op.name == "input"}
    leaves = {leaf.name: _leaf(leaf, folder, dtype, classes) for leaf in plan.leaves if leaf.name in needed}
    arrays = evaluate(plan.graph, leaves, seed=plan.seed)
    entries = {e.name: e for e in plan.entries}
    ready = {n: np.ascontiguousarray(a) for n, a in arrays.items() if n in entries}
    rows = max(len(a) for a in ready.values())
    kept = round(rows * plan.validation)
    order = np.argsort(philox.uniform(plan.split_seed, SPLIT_STREAM, 0, rows, np.float64), kind="stable")
    first, second = np.sort(order[kept:]), np.sort(order[:kept])
    scalers: dict[str, Scaler] = {}
    for name, entry in entries.items():
        if entry.scaling != "none":
            scalers[name] = scaler = fit_scaler(ready[name][first], entry.scaling)
            ready[name] = scaler.apply(ready[name])
    named = {n: classes[e.categories] for n, e in entries.items() if e.categories in classes}
    training = {n: np.ascontiguousarray(a[first]) for n, a in ready.items() if len(a) == rows}
    validation = (
        {n: np.ascontiguousarray(a[second]) for n, a in ready.items() if len(a) == rows} if kept else None
    )
    return Data(training, validation, scalers, named)


def fit_scaler(x: Array, kind: str) -> Scaler:
    """Mean and standard deviation, or minimum and range, of each column; a constant column is only shifted."""
    values = x.astype(np.float64)
    if kind == "standardize":
        shift, scale = values.mean(0), values.std(0)
    else:
        shift, scale = values.min(0), np.ptp(values, 0)
    return Scaler(shift, np.where(scale > 0, scale, 1.0))


def _leaf(leaf: Leaf, folder: Path, dtype: str, classes: dict[str, list[str]]) -> Array:
    path = folder / leaf.path
    if leaf.kind != "csv":
        return np.asarray(tables.load_arrays(path, leaf.kind, leaf.span)[leaf.key])
    _, rows, _ = tables.read_csv(path, leaf.span)
    if leaf.categorical:
        texts = [row[leaf.columns[0]] for row in rows]
        found = classes[leaf.name] = tables.classes(texts)
        codes = {text: i for i, text in enumerate(found)}
        return np.array([codes[t] for t in texts], np.int64)
    try:
        array = np.array([[row[c] for c in leaf.columns] for row in rows], dtype=np.float64)
    except ValueError:
        array = np.array([[np.nan]])
    if not np.isfinite(array).all():
        tables.check_cells(path, leaf.columns, leaf.span)
    return array.astype(dtype)
