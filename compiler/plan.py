"""The plan of a step, layer by layer: shapes, parameters, FLOPs, bytes, memory, predicted time.

In: a network, a graph of it, the graph's lowered unit, a number of rows. Out: a ``Plan``, as records or as a table.
FLOPs are counted in the graph: forward is what the loss (or the output) needs, backward all else. Bytes and time are
those of the kernels, by the roofline of ``cost.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .cost import Cost, Machine, count, flops, kernel_costs
from .elaborate import Network
from .graph import Graph, reachable, show_shape
from .loops.ir import Buffer, Space
from .loops.unit import Unit

LOSS, OPTIMIZER, ELSEWHERE = "loss", "optimizer", "elsewhere"
MODEL = ("param", "buffer", "state")


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """memory: bytes of the layer's parameters, buffers, optimizer states and intermediate values."""

    path: str
    name: str
    output: str = ""
    parameters: int = 0
    forward: int = 0
    backward: int = 0
    bytes: float = 0.0
    memory: int = 0
    seconds: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """rows: observations a step. total: of the whole step; its memory is the model's block and the arena, in which
    values whose lifetimes do not overlap share places."""

    name: str
    unit: str
    rows: int
    kernels: int
    layers: tuple[LayerPlan, ...]
    total: LayerPlan


@dataclass(slots=True)
class _Sums:
    forward: int = 0
    backward: int = 0
    memory: int = 0
    cost: Cost = field(default=Cost())


def make_plan(network: Network, graph: Graph, unit: Unit, rows: int, machine: Machine) -> Plan:
    """The plan of one unit of a network, lowered from that graph."""
    sums = {x.path: _Sums() for x in network.layers} | {x: _Sums() for x in (LOSS, OPTIMIZER, ELSEWHERE)}
    first = {v.id for v in reachable(graph.outputs[n] for n in ("loss", "output") if n in graph.outputs)}
    for value in graph.live():
        to = sums[_row(value.origin.layer, sums)]
        if value.id in first:
            to.forward += flops(value, rows)
        else:
            to.backward += flops(value, rows)
    for scheduled in unit.kernels:
        for store, cost in kernel_costs(scheduled, rows, machine):
            to = sums[_row(unit.layers.get(store.buffer.name, scheduled.kernel.layer), sums)]
            to.cost += cost
            to.memory += _bytes(store.buffer, rows) if store.buffer.space is Space.work else 0
    for name, leaf in graph.inputs.items():
        if name.split(".")[0] in MODEL:
            to = sums[_row(name.split(".", 1)[1], sums)]
            to.memory += count(leaf.shape, rows) * leaf.dtype.itemsize
    layers = _layers(network, sums)
    return Plan(network.name, unit.name, rows, len(unit.kernels), layers, _total(layers, graph, unit, rows))


def _layers(network: Network, sums: Mapping[str, _Sums]) -> tuple[LayerPlan, ...]:
    sizes = {p.path: math.prod(p.shape) for p in network.parameters}
    seconds = sum(s.cost.seconds for s in sums.values()) or 1.0
    known = {x.path: x for x in network.layers}
    rows = []
    for path, s in sums.items():
        layer = known.get(path)
        row = LayerPlan(
            path,
            "",
            "",
            0,
            s.forward,
            s.backward,
            s.cost.bytes,
            s.memory,
            s.cost.seconds,
            s.cost.seconds / seconds,
        )
        if layer is not None:
            parameters = sum(sizes[p] for p in layer.parameters)
            row = replace(row, name=layer.name, output=show_shape(layer.output_shape), parameters=parameters)
        if layer is not None or s.cost.seconds or s.forward or s.backward:
            rows.append(row)
    return tuple(rows)


def _total(layers: Sequence[LayerPlan], graph: Graph, unit: Unit, rows: int) -> LayerPlan:
    model = sum(
        count(v.shape, rows) * v.dtype.itemsize for n, v in graph.inputs.items() if n.split(".")[0] in MODEL
    )
    arena = unit.memory.fixed_bytes + unit.memory.row_bytes * (-(-rows // 16) * 16)
    return LayerPlan(
        "total", "", "", sum(x.parameters for x in layers), sum(x.forward for x in layers),
        sum(x.backward for x in layers), sum(x.bytes for x in layers), model + arena, sum(x.seconds for x in layers),
        sum(x.share for x in layers),
    )  # fmt: skip


def _row(layer: str, rows: Mapping[str, object]) -> str:
    """The table's row for a layer's path: itself or the longest part of it that has one."""
    if layer.startswith(OPTIMIZER):
        return OPTIMIZER
    parts = layer.split(".")
    for length in range(len(parts), 0, -1):
        path = ".".join(parts[:length])
        if path in rows:
            return path
    return ELSEWHERE


def _bytes(buffer: Buffer, rows: int) -> int:
    return count(buffer.shape, rows) * buffer.dtype.itemsize


# the table


def table(plan: Plan) -> str:
    """The plan in at most 100 columns."""
    head = ("layer", "output", "params", "forward", "backward", "moved", "memory", "time", "share")
    body = [_cells(x) for x in (*plan.layers, plan.total)]
    widths = [max(len(r[i]) for r in (head, *body)) for i in range(len(head))]
    lines = [_line(r, widths) for r in (head, *body)]
    rule = "-" * max(map(len, lines))
    title = f"{plan.name}: {plan.unit} of {plan.rows} rows, {plan.kernels} kernels"
    remark = "FLOPs forward and backward; bytes moved by the kernels; time predicted for one core"
    return "\n".join([title, "", *lines[:-1], rule, lines[-1], "", remark])


def _cells(x: LayerPlan) -> tuple[str, ...]:
    return (
        _short(f"{x.path}  {x.name}".rstrip(), 20), _short(x.output, 15), _whole(x.parameters),
        amount(x.forward), amount(x.backward), amount(x.bytes, "B"), amount(x.memory, "B"), duration(x.seconds),
        f"{x.share:.1%}" if x.share else "",
    )  # fmt: skip


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [c.ljust(w) for c, w in zip(cells[:2], widths[:2], strict=True)]
    right = [c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _whole(number: int) -> str:
    return amount(number) if number >= 10**6 else f"{number:,}" if number else ""


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def amount(value: float, unit: str = "") -> str:
    """A number in three digits: ``1.23 M``, ``4.5 kB``."""
    if not value:
        return ""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    digits = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{digits} {prefix}{unit}".rstrip()


def duration(seconds: float) -> str:
    """``820 ns``, ``1.2 us``."""
    if not seconds:
        return ""
    for unit, size in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
