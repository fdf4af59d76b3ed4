"""New observations as a network's inputs: the program's data block applied to another table or array.

In: a model that knows its program, and a ``Given``: a CSV table or an array. Out: one array for each input, scaled and
computed as the training rows were. A table with a header gives its columns by the names that the data block chose; one
without, and an array, has either all columns of the training table or only those that are needed, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .compiler.elaborate import TableShape
from .compiler.elaborate.data import DataPlan, Leaf, Probe
from .compiler.interpreter import evaluate
from .data import numbers
from .grammar import syntax as s
from .grammar.diagnostics import CompileError, Diagnostic, Label
from .grammar.source import Source, Span
from .grammar.suggest import closest
from .model import Model
from .runtime.tables import Table

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What was given: ``table`` or ``arrays`` by name (an array alone has the empty name)."""

    name: str
    table: Table | None = None
    arrays: dict[str, Array] | None = None

    @property
    def rows(self) -> int:
        if self.table is not None:
            return len(self.table.rows)
        return max((len(a) for a in (self.arrays or {}).values() if a.ndim), default=0)

    @property
    def span(self) -> Span:
        return Span(Source(self.name, ""), 0, 0)


def inputs(model: Model, given: Given) -> dict[str, Array]:
    """An array for each input of the network. Raises CompileError when the observations do not fit."""
    plan = _plan(model, given)
    if plan is None or not any(leaf.path for leaf in _used(plan)):
        return _direct(model, given)
    files = dict.fromkeys(leaf.path for leaf in _used(plan))
    if len(files) > 1:
        refuse(given, "E0608", f"the inputs come from several files ({', '.join(files)}), one was given",
               "call the model from Python, with an array for each input")  # fmt: skip
    found = evaluate(plan.graph, _leaves(model, plan, given), seed=plan.seed)
    ready = {}
    for spec in model.network.inputs:
        scaler = model.scalers.get(spec.name)
        ready[spec.name] = scaler.apply(found[spec.name]) if scaler is not None else found[spec.name]
    return ready


def refuse(given: Given, code: str, message: str, help: str = "") -> NoReturn:
    """Raises CompileError about what was given."""
    raise CompileError((Diagnostic(code, message, Label(given.span), help=help),))


# the part of the data block that the inputs need


def _plan(model: Model, given: Given) -> DataPlan | None:
    block = model.program.data_block
    names = [spec.name for spec in model.network.inputs]
    if block is None or not set(names) <= {e.name.id for e in block.entries}:
        return None
    entries = {e.name.id: e for e in block.entries}
    needed, pending = set(), names
    while pending:
        name = pending.pop()
        if name in entries and name not in needed:
            needed.add(name)
            pending += s.names(entries[name].value)
    kept = tuple(e for e in block.entries if e.name.id in needed)
    return replace(model.program, data_block=replace(block, entries=kept)).data(_probe(model, given))


def _probe(model: Model, given: Given) -> Probe:
    """Files have the columns they had at training and as many rows as were given."""

    def probe(kind: str, path: str, span: Span) -> TableShape:
        if kind == "csv":
            known = model.columns.get(path) or (given.table.columns if given.table is not None else ())
            return TableShape(given.rows, tuple(known))
        arrays = given.arrays or {}
        shapes = {name: tuple(a.shape) for name, a in arrays.items()}
        if given.table is not None:
            shapes = {"": (given.rows, len(given.table.columns))}
        only = next(iter(shapes.values()), (given.rows,))
        return TableShape(given.rows, (), _Default(shapes, only))

    return probe


class _Default(dict[str, tuple[int, ...]]):
    """Shapes of a file's arrays, which are taken from what was given, under whatever name."""

    def __contains__(self, key: object) -> bool:
        return True

    def __init__(self, shapes: dict[str, tuple[int, ...]], other: tuple[int, ...]) -> None:
        super().__init__(shapes)
        self.other = other

    def __missing__(self, key: str) -> tuple[int, ...]:
        return self.other


def _used(plan: DataPlan) -> list[Leaf]:
    live = {v.attrs["name"] for v in plan.graph.live() if v.op.name == "input"}
    return [leaf for leaf in plan.leaves if leaf.name in live]


# columns


def _leaves(model: Model, plan: DataPlan, given: Given) -> dict[str, Array]:
    used = _used(plan)
    wanted = sorted({c for leaf in used if leaf.kind == "csv" for c in leaf.columns})
    entry_of = {e.categories: e.name for e in plan.entries if e.categories}
    found: dict[str, Array] = {}
    for leaf in used:
        if leaf.kind != "csv":
            found[leaf.name] = _array(given, leaf)
            continue
        columns = _columns(model.columns.get(leaf.path), wanted, leaf.columns, given)
        if leaf.categorical:
            if given.table is None:
                refuse(given, "E0604", "the program reads words, and an array holds none", "give a CSV file")
            words = model.classes.get(entry_of.get(leaf.name, ""))
            found[leaf.name] = np.array(given.table.codes(columns[0], words, given.span)[0], np.int64)
        elif given.table is not None:
            found[leaf.name] = numbers(given.table, columns, given.span)
        else:
            found[leaf.name] = _array(given, leaf).reshape(given.rows, -1)[:, columns]
    return found


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"needed are {shown}" + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def _columns(known: list[str] | None, wanted: list[int], chosen: tuple[int, ...], given: Given) -> list[int]:
    """Where columns of the training table are in what was given."""
    table = given.table
    if table is not None and table.header and known is not None:
        missing = [known[c] for c in wanted if known[c] not in table.columns]
        if missing:
            guess = closest(missing[0], table.columns)
            refuse(given, "E0606", f"{given.name} has no column `{missing[0]}`",
                   f"did you mean `{guess}`?" if guess else _list([known[c] for c in wanted]))  # fmt: skip
        return [table.columns.index(known[c]) for c in chosen]
    width = len(table.columns) if table is not None else _array_width(given)
    if known is not None and width == len(known):
        return list(chosen)
    if width == len(wanted):
        return [wanted.index(c) for c in chosen]
    if known is None and width > max(chosen):
        return list(chosen)
    all_of_them = f", or all {len(known)} of the training table" if known is not None else ""
    refuse(given, "E0606", f"{given.name} has {width} columns; {len(wanted)} are needed{all_of_them}")


def _array_width(given: Given) -> int:
    array = next(iter((given.arrays or {}).values()))
    return int(np.prod(array.shape[1:], dtype=np.int64))


def _array(given: Given, leaf: Leaf) -> Array:
    if given.table is not None:
        return numbers(given.table, range(len(given.table.columns)), given.span)
    arrays = given.arrays or {}
    if leaf.key in arrays:
        return arrays[leaf.key]
    if len(arrays) != 1:
        refuse(given, "E0606", f"{given.name} has no array `{leaf.key}`", "it has " + ", ".join(arrays))
    return next(iter(arrays.values()))


def _direct(model: Model, given: Given) -> dict[str, Array]:
    """The inputs side by side: a program without a data block, or one that draws its data, says nothing more."""
    specs = model.network.inputs
    arrays = given.arrays or {}
    if given.table is None and all(spec.name in arrays for spec in specs):
        return {spec.name: arrays[spec.name] for spec in specs}
    if given.table is not None:
        table = numbers(given.table, range(len(given.table.columns)), given.span)
    else:
        table = next(iter(arrays.values()))
    widths = [int(np.prod(spec.shape, dtype=np.int64)) for spec in specs]
    table = table.reshape(given.rows, -1)
    if table.shape[1] != sum(widths):
        names = ", ".join(f"`{spec.name}` {list(spec.shape)}" for spec in specs)
        refuse(
            given,
            "E0606",
            f"{given.name} has {table.shape[1]} columns; {sum(widths)} are needed, for {names}",
        )
    parts = np.split(table, np.cumsum(widths)[:-1], axis=1)
    return {spec.name: part.reshape(-1, *spec.shape) for spec, part in zip(specs, parts, strict=True)}
