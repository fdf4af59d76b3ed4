"""Graphs to an artifact: lower, emit, compile (or find in the cache), describe the memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache as cache_function
from pathlib import Path

from ..runtime import cache
from ..runtime.artifact import BLOCK_THREADS, Artifact, TensorLayout, UnitLayout, pack, unpack
from .backends.cuda.module import Entry as CudaEntry
from .backends.cuda.module import Module as CudaModule
from .backends.cuda.nodes import Nodes, either, nodes
from .backends.cuda.program import prelude_text, train_entry
from .backends.cuda.splits import divided
from .backends.llvm import compile as llvm
from .backends.llvm.module import Entry, Module
from .backends.llvm.program import train_function
from .backends.llvm.target import Target, native
from .collector import uncollected
from .graph import ROWS, DType, Graph
from .loops.ir import Buffer, Space
from .loops.lower import choose_orders, lower
from .loops.unit import Unit
from .program import part, training

Orders = Mapping[str, tuple[int, ...]]


def model_layout(graph: Graph) -> tuple[tuple[TensorLayout, ...], int]:
    """Where parameters, buffers and states lie (64-byte aligned), and the size of their block."""
    orders = choose_orders(graph)
    layouts, at = [], 0
    for name, leaf in graph.inputs.items():
        if not name.startswith(("param.", "buffer.", "state.")):
            continue
        buffer = Buffer(name, leaf.dtype, leaf.shape, orders[name], Space.model)
        layouts.append(_tensor(buffer, at, 0))
        at += -(-buffer.elements * leaf.dtype.itemsize // 64) * 64
    return tuple(layouts), at


def build(
    graphs: Mapping[str, Graph], orders: Orders, *, train: bool = False, target: Target | None = None,
    many_rows: frozenset[str] = frozenset(),
) -> Artifact:  # fmt: skip
    """An artifact with an entry for each graph; ``train`` adds the run over ``step`` and ``evaluate``.

    target: the CPU it is for, by default this machine's. many_rows: the graphs that will see many observations at a time
    (``loops/arrangement.py``).
    """
    target = target or native()
    state = source_state(Path(__file__).parent)
    name = cache.key(describe(graphs, orders), f"{train} {sorted(many_rows)}", target.description, state)
    return unpack(cache.cached(name, lambda: pack(_built(graphs, orders, train, target, many_rows))))


def build_cuda(
    graphs: Mapping[str, Graph], orders: Orders, threads: int = BLOCK_THREADS, *, train: bool = False
) -> Artifact:
    """The same for a CUDA device: the artifact's code is the text of a module. threads: of its blocks."""
    name = cache.key(describe(graphs, orders), f"cuda {train} {threads}", source_state(Path(__file__).parent))
    return unpack(cache.cached(name, lambda: pack(_built_cuda(graphs, orders, train, threads))))


def _built_cuda(graphs: Mapping[str, Graph], orders: Orders, train: bool, threads: int) -> Artifact:
    module = CudaModule(threads)
    units = {n: divided(lower(g, orders, vector_bytes=0), threads) for n, g in graphs.items()}
    split = len(part(units["step"], False)) if train else None
    entries = {n: module.add(unit, n, split if n == "step" else None) for n, unit in units.items()}
    layouts = {n: _layout(entries[n], unit) for n, unit in units.items()}
    totals, launches = _totals(graphs), Nodes()
    if train:
        tables = {n: e.buffers for n, e in entries.items()}
        program = training(units, tables, totals)
        held = tables.get("evaluate", ())
        launches = nodes(program, entries["step"].calls, split or 0, len(held), threads)
        module.functions.append(prelude_text())
        module.entries.append(either(train_entry(program, tables["step"], held, threads), launches.text))
    return Artifact(
        module.text().encode(), layouts, "netc_train" if train else None, totals, module.most_rows,
        threads, launches.rounds, launches.between,
    )  # fmt: skip


def _totals(graphs: Mapping[str, Graph]) -> tuple[str, ...]:
    """What metrics are made from, in the order of the history's columns."""
    return (
        tuple(n for n in graphs["evaluate"].outputs if n.startswith("total.")) if "evaluate" in graphs else ()
    )


def _built(
    graphs: Mapping[str, Graph], orders: Orders, train: bool, target: Target, many_rows: frozenset[str]
) -> Artifact:
    module = Module()
    units: dict[str, Unit] = {}
    entries: dict[str, Entry] = {}
    text, totals = module_text(
        graphs, orders, module, units, entries, target, train=train, many_rows=many_rows
    )
    layouts = {n: _layout(entries[n], units[n]) for n in graphs}
    return Artifact(llvm.compile_text(text, target), layouts, "train" if train else None, totals)


def describe(graphs: Mapping[str, Graph], orders: Orders) -> str:
    """All that the code of some graphs depends on: equal texts, equal code."""
    lines: list[str] = []
    for name, graph in graphs.items():
        lines.append(f"graph {name}")
        number: dict[int, int] = {}
        for value in graph.live():
            number[value.id] = len(number)
            inputs = [number[v.id] for v in value.inputs]
            lines.append(f"{value.op.name} {inputs} {sorted(value.attrs.items())!r} {value.type}")
        lines += [f"in {n} {number.get(v.id)} {v.type} {orders.get(n)}" for n, v in graph.inputs.items()]
        lines += [f"out {n} {number[v.id]}" for n, v in graph.outputs.items()]
    return "\n".join(lines)


@cache_function
def source_state(folder: Path) -> str:
    """The compiler's own files by size and time: another compiler finds nothing in the cache."""
    files = sorted(f for kind in ("*.py", "*.cuh") for f in folder.rglob(kind))
    return " ".join(f"{f.name}:{(s := f.stat()).st_size}:{s.st_mtime_ns}" for f in files)


@uncollected
def module_text(
    graphs: Mapping[str, Graph],
    orders: Orders,
    module: Module,
    units: dict[str, Unit],
    entries: dict[str, Entry],
    target: Target,
    *,
    train: bool,
    many_rows: frozenset[str] = frozenset(),
) -> tuple[str, tuple[str, ...]]:
    """The LLVM text of some graphs, and the names of the metric totals in the order of the history."""
    for name, graph in graphs.items():
        unit = units[name] = lower(
            graph, orders, vector_bytes=target.vector_bytes, many_rows=name in many_rows
        )
        split = unit.outputs["loss"] if train and name == "step" else None
        entries[name] = module.add(unit, name, split)
    totals = _totals(graphs)
    if train:
        tables = {n: e.buffers for n, e in entries.items()}
        module.entries.append(train_function(module, training(units, tables, totals)))
    return module.text(target), totals


def _layout(entry: Entry | CudaEntry, unit: Unit) -> UnitLayout:
    table = [_tensor(b, *unit.memory.offsets.get(b.name, (0, 0))) for b in entry.buffers]
    slots = {b: i for i, b in enumerate(entry.buffers)}
    return UnitLayout(
        entry.name, tuple(table), {n: slots[b] for n, b in unit.inputs.items()},
        {n: slots[b] for n, b in unit.outputs.items()}, unit.memory.fixed_bytes, unit.memory.row_bytes,
        entry.work,
    )  # fmt: skip


def _tensor(buffer: Buffer, fixed: int, per_row: int) -> TensorLayout:
    shape = tuple(d for d in buffer.shape if isinstance(d, int))
    grows = ROWS in buffer.shape
    space = buffer.space.value
    kind = "uint16" if buffer.dtype is DType.bfloat16 else buffer.dtype.value  # NumPy has no bfloat16
    return TensorLayout(buffer.name, kind, shape, buffer.order, grows, space, fixed, per_row, buffer.pitch)
