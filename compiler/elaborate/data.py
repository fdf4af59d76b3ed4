"""A ``data`` block to a plan: which tables are read, which graph computes the observations from them.

In: the block and ``probe``, which tells the shape of a data file without reading its cells. Out: ``DataPlan``: a
graph whose leaves are columns of tables, its outputs the observations by name, and what is done to each afterwards
(scaling is fitted on training rows, so it cannot be part of the graph).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Label
from ...grammar.source import Span
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import DType, Graph, Value, show_shape
from .builtins import REQUIRED, Builtin
from .expressions import evaluate
from .findings import Findings
from .values import UNKNOWN, Context, Definitions, as_int, as_tensor, describe, fail, is_number, within_limit

SETTINGS = ("validation", "split", "split_seed", "seed")
SPLITS = ("random", "last")


@dataclass(frozen=True, slots=True)
class TableShape:
    """What probing a file tells. For arrays ``columns`` is empty and ``arrays`` maps keys to shapes."""

    rows: int
    columns: tuple[str, ...] = ()
    arrays: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


Probe = Callable[[str, str, Span], TableShape]
"""(kind, path as written, span) -> shape; raises CompileError when the file cannot be used."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Columns of a table (CSV) or one array of a file: a leaf of the data graph."""

    name: str
    kind: str
    path: str
    columns: tuple[int, ...]
    key: str
    categorical: bool
    span: Span


Cells = Callable[[Leaf], None]
"""Looks at the cells of a leaf; raises CompileError when one is no number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``scaling`` is none, standardize or minmax."""

    name: str
    scaling: str
    categories: str
    span: Span


@dataclass(frozen=True, slots=True)
class DataPlan:
    graph: Graph
    leaves: tuple[Leaf, ...]
    entries: tuple[Entry, ...]
    span: Span
    validation: float = 0.0
    split: str = "random"
    split_seed: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    kind: str
    path: str
    shape: TableShape
    span: Span


@dataclass(frozen=True, slots=True)
class _ScaledTensor:
    kind: str
    value: Value


class _Reader:
    """The functions a data block has beyond those of expressions."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.leaves: list[Leaf] = []

    def builtins(self) -> dict[str, Builtin]:
        one = (("path", REQUIRED),)
        tables = {k: Builtin(one, self._table(k)) for k in ("csv", "npy", "npz", "safetensors")}
        scalers = {k: Builtin((("x", REQUIRED),), self._scale(k)) for k in ("standardize", "minmax")}
        return {**tables, **scalers, "categories": Builtin((("column", REQUIRED),), self._categories)}

    def _table(self, kind: str) -> Callable[..., Any]:
        def run(ctx: Context, span: Span, path: Any) -> Any:
            if not isinstance(path, str):
                fail("E0303", f"a file name in quotes is needed here, not {describe(path)}", span)
            table = _Table(kind, path, self.probe(kind, path, span), span)
            return self.select(ctx, table, [], span) if kind == "npy" else table

        return run

    def _scale(self, kind: str) -> Callable[..., Any]:
        def run(ctx: Context, span: Span, x: Any) -> Any:
            return _ScaledTensor(kind, as_tensor(ctx, x, span))

        return run

    def _categories(self, ctx: Context, span: Span, column: Any) -> Any:
        leaf = next(
            (x for x in self.leaves if isinstance(column, Value) and x.name == column.attrs.get("name")), None
        )
        if leaf is None or len(leaf.columns) != 1:
            fail("E0303", "categories() takes one column of a CSV table", span)
        name = leaf.name + ".codes"
        rows = column.shape[0]
        self.leaves.append(Leaf(name, leaf.kind, leaf.path, leaf.columns, "", True, span))
        return ops.input(ctx.graph, name, DType.int64, (rows,))

    def select(self, ctx: Context, table: Any, items: list[Any], span: Span) -> Value:
        """Columns of a table, or an array of a file, as a leaf."""
        if not isinstance(table, _Table):
            fail("E0303", f"columns are taken from a table, not from {describe(table)}", span)
        name = f"table.{len(self.leaves)}"
        if table.kind == "csv":
            columns = self._columns(ctx, table, items, span)
            self.leaves.append(Leaf(name, "csv", table.path, columns, "", False, span))
            return ops.input(ctx.graph, name, ctx.dtype, (table.shape.rows, len(columns)))
        key: Any = ""
        if table.kind != "npy":
            key = evaluate(ctx, items[0]) if len(items) == 1 and not isinstance(items[0], s.Slice) else None
            if key not in table.shape.arrays:
                known = "it has " + ", ".join(table.shape.arrays)
                fail("E0606", f"{table.path} has no array `{key}`", span, "unknown",
                     help=did_you_mean(str(key), table.shape.arrays, known))  # fmt: skip
        self.leaves.append(Leaf(name, table.kind, table.path, (), key, False, span))
        return ops.input(ctx.graph, name, ctx.dtype, table.shape.arrays[key])

    def _columns(self, ctx: Context, table: _Table, items: list[Any], span: Span) -> tuple[int, ...]:
        names = table.shape.columns
        found: list[int] = []
        for item in items or [s.Slice(None, None, None, span=span)]:
            if isinstance(item, s.Slice):
                start = 0 if item.start is None else self._column(ctx, table, item.start)
                if item.stop is None:
                    stop = len(names)
                else:
                    last = evaluate(ctx, item.stop)
                    stop = (
                        self._column(ctx, table, item.stop) + 1
                        if isinstance(last, str)
                        else as_int(last, item.stop.span)
                    )
                    stop = stop + len(names) if stop < 0 else stop
                if not 0 <= start < stop <= len(names):
                    fail(
                        "E0606",
                        f"columns {start}:{stop} leave the {len(names)} columns of {table.path}",
                        item.span,
                    )
                found += range(start, stop)
            elif isinstance(item, s.ListOf):
                found += [self._column(ctx, table, part) for part in item.items]
            else:
                found.append(self._column(ctx, table, item))
        return tuple(found)

    def _column(self, ctx: Context, table: _Table, e: s.Expr) -> int:
        value, names = evaluate(ctx, e), table.shape.columns
        if isinstance(value, str):
            if value not in names:
                known = "it has " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
                fail("E0606", f"{table.path} has no column `{value}`", e.span, "unknown",
                     help=did_you_mean(value, names, known))  # fmt: skip
            return names.index(value)
        at = as_int(value, e.span, "a column")
        if not -len(names) <= at < len(names):
            fail("E0606", f"{table.path} has {len(names)} columns, none is number {at}", e.span)
        return at % len(names)


def plan(
    block: s.Settings, definitions: Definitions, dtype: DType, probe: Probe, findings: Findings
) -> DataPlan:
    """What could be read of the block; all that is wrong goes to ``findings``."""
    reader = _Reader(probe)
    graph = Graph("data")
    ctx = Context(graph, dtype, definitions, path="data")
    ctx.names.update(reader.builtins())
    ctx.names["select"] = reader.select
    settings: dict[str, Any] = {}
    entries: dict[str, Entry] = {}
    first: dict[str, s.Entry] = {}
    for entry in block.entries:
        with findings.collecting(entry.span):
            name = entry.name.id
            if entry.members is not None:
                fail("E0503", "`for` stands behind an optimizer alone", entry.members.span, "not here")
            earlier = first.setdefault(name, entry)
            if earlier is not entry:
                fail("E0203", f"`{name}` is set twice", entry.name.span, "again here",
                     secondary=(Label(earlier.name.span, "first here"),))  # fmt: skip
            ctx.names[name] = UNKNOWN
            before = len(graph.values)
            value = evaluate(ctx, entry.value)
            for each in graph.values[before:]:
                within_limit(each.shape, each.dtype, entry.value.span)
            if name in SETTINGS:
                settings[name] = _setting(name, value, entry.value.span)
            elif (made := _entry(ctx, entry, value)) is not None:
                entries[name] = made
    head = Span(block.span.source, block.span.start, block.span.start + len(block.kind))
    return DataPlan(graph, tuple(reader.leaves), tuple(entries.values()), head, **settings)


def _entry(ctx: Context, entry: s.Entry, value: Any) -> Entry | None:
    """Binds the name; an output of the graph when the value is a tensor."""
    name, scaling, graph = entry.name.id, "none", ctx.graph
    if isinstance(value, _ScaledTensor):
        scaling, value = value.kind, value.value
    ctx.names[name] = value
    if not isinstance(value, Value):
        return None
    if not value.shape or not isinstance(value.shape[0], int):
        fail("E0607", f"`{name}` has no rows", entry.value.span, describe(value),
             help="the first dimension counts the observations")  # fmt: skip
    graph.outputs[name] = value
    codes = value.attrs["name"] if value.op.name == "input" and value.dtype is DType.int64 else ""
    return Entry(name, scaling, codes, entry.value.span)


def _setting(name: str, value: Any, span: Span) -> Any:
    if name == "split":
        if value not in SPLITS:
            fail("E0304", f"the rows kept for validation are chosen at random or are the last, not {describe(value)}", span,
                 help='write `split = "random"` or `split = "last"`')  # fmt: skip
        return value
    if name == "validation":
        if not is_number(value) or not 0 <= value < 1:
            fail(
                "E0304",
                f"validation is the part of the rows kept for it, not {describe(value)}",
                span,
                "from 0 to less than 1",
                help="`validation = 0.2` keeps a fifth",
            )
        return float(value)
    return as_int(value, span)


def check_cells(plan: DataPlan, cells: Cells, findings: Findings) -> None:
    """Looks at the cells of every leaf that an observation is computed from."""
    needed = {v.attrs["name"] for v in plan.graph.live() if v.op.name == "input"}
    for leaf in plan.leaves:
        if leaf.name in needed:
            with findings.collecting(leaf.span):
                cells(leaf)


def check_rows(plan: DataPlan, names: list[str]) -> int:
    """All observations have one number of rows; returns it."""
    used = [(e, plan.graph.outputs[e.name]) for e in plan.entries if e.name in names]
    first = used[0]
    for entry, value in used:
        if value.shape[0] != first[1].shape[0]:
            fail("E0607", f"`{entry.name}` has {value.shape[0]} rows, `{first[0].name}` {first[1].shape[0]}", entry.span,
                 show_shape(value.shape), secondary=(Label(first[0].span, show_shape(first[1].shape)),))  # fmt: skip
    return int(first[1].shape[0])  # type: ignore[arg-type]
