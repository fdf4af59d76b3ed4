"""Recurrences: the results of a scan to one loop over time around the kernels of a step.

The states of all times lie in one buffer, the first ones in front; a step reads its own place and writes the next, so
that nothing is copied from one step to another. Indices of a step's kernels hold the time as a given axis.

In: the scan values of a graph and the lowering of that graph. Out: a ``Loop`` for each recurrence.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import DType, Graph, Value
from ..ops.recurrence import over_time, time_dim
from .fusion import fuse
from .ir import Affine, Axis, Buffer, Constant, Expr, Kernel, Load, Loop, Repeat, Space, Store
from .lower import Lowering
from .order import ordered
from .patterns import Placed
from .rewrite import with_loads


def recurrences(scans: Sequence[Value]) -> list[list[Value]]:
    """Scan values, those of one recurrence together."""
    groups: dict[object, list[Value]] = {}
    for value in scans:
        a = value.attrs
        key = (tuple(v.id for v in value.inputs), a["body"], a["length"], a["reverse"])
        groups.setdefault(key, []).append(value)
    return list(groups.values())


def lower_scan(outer: Lowering, nodes: Sequence[Value], number: int) -> Loop:
    """The loop that fills the buffers of all results of one recurrence. number: tells it from others of its unit."""
    return _Step(outer, nodes, f"t{number}").loop()


class _Step(Lowering):
    """Lowers the graph of one step, whose leaves are places in buffers of the graph around it."""

    def __init__(self, outer: Lowering, nodes: Sequence[Value], name: str) -> None:
        attrs = nodes[0].attrs
        self.body, self.length, self.reverse = attrs["body"], attrs["length"], attrs["reverse"]
        self.outer, self.nodes, self.origin = outer, nodes, nodes[0].origin
        k, m = self.body.count("carry"), self.body.count("each")
        operands = nodes[0].inputs
        self.first, self.each, self.const = operands[:k], operands[k : k + m], operands[k + m :]
        super().__init__(self._graph(name), {}, outer.vector_bytes, outer.fused)
        self.prefix = f"{name}."
        self.time = Axis(name, self.length, given=True)
        self.placed: dict[Buffer, Affine] = {}
        """For buffers over time the place that this step's element has."""
        self.before: dict[Buffer, tuple[Buffer, Affine]] = {}
        """What stands for a state before the step, until kernels are in order: its buffer and place."""

    def _graph(self, name: str) -> Graph:
        """The step, with those of its outputs that are wanted."""
        whole, k = self.body.graph, len(self.first)
        graph = Graph(name)
        graph.values, graph.inputs = whole.values, whole.inputs
        wanted = {f"out.{v.attrs['result'] - k}" for v in self.nodes if v.attrs["result"] >= k}
        wanted |= {f"next.{i}" for i in range(k)}
        graph.outputs = {n: v for n, v in whole.outputs.items() if n in wanted}
        return graph

    def loop(self) -> Loop:
        """The whole recurrence."""
        starts = self._results()
        self._materialise()
        items = ordered(self._kernels(), {}, None)
        if self.fused:
            items = fuse(items, {}, list(self.placed), None, self.patterns)
        kernels = [with_loads(k.kernel(), self._settled) for k in items if isinstance(k, Placed)]
        counter = Buffer(self.time.name, DType.int64, (), (), Space.work)
        zero = Store(counter, (), Constant(0, DType.int64))
        start = Kernel(counter.name, (), (zero,), self.origin.span, self.origin.layer)
        return Loop(Repeat(self.time, counter), (start, *starts), tuple(kernels))

    def _results(self) -> list[Kernel]:
        """Buffers for everything a step leaves; the kernels that put the first states in place."""
        by_result = {v.attrs["result"]: self.outer.buffers[v.id] for v in self.nodes}
        self.copies: list[tuple[Buffer, Value]] = []
        time, starts = Affine.of(self.time), []
        now = Affine.of(self.length - 1) - time if self.reverse else time
        for i, first in enumerate(self.first):
            buffer = by_result.get(i) or self._buffer(f"state{i}", first)
            after, before = (now, now + 1) if self.reverse else (now + 1, now)
            value = self.graph.outputs[f"next.{i}"]
            leaf = self.body.graph.inputs[f"carry.{i}"]
            stand_in = Buffer(f"{self.prefix}before{i}", leaf.dtype, leaf.shape, _plain(leaf), Space.work)
            self.before[stand_in] = buffer, before
            self.buffers[leaf.id] = stand_in
            self._give(buffer, after, value)
            starts.append(self._start(buffer, first, Affine.of(self.length if self.reverse else 0)))
        for name, value in self.graph.outputs.items():
            if name.startswith("out."):
                self._give(by_result[len(self.first) + int(name[4:])], now, value)
        return starts

    def _buffer(self, name: str, first: Value) -> Buffer:
        kind = over_time(first.type, self.length + 1)
        return Buffer(f"{self.prefix}{name}", kind.dtype, kind.shape, tuple(range(kind.rank)), Space.work)

    def _give(self, buffer: Buffer, place: Affine, value: Value) -> None:
        self.placed[buffer] = place
        if value.op.name == "input" or value.id in self.buffers:
            self.copies.append((buffer, value))
        else:
            self.buffers[value.id] = buffer

    def _start(self, buffer: Buffer, first: Value, place: Affine) -> Kernel:
        axes = {d: Axis(f"i{d}", e) for d, e in enumerate(first.shape) if e != 1}
        index = [Affine.of(axes[d]) if d in axes else Affine() for d in range(len(first.shape))]
        store = Store(buffer, _timed(index, time_dim(first.shape), place), self.outer.outside(first, index))
        return Kernel(
            f"{buffer.name}.first", tuple(axes.values()), (store,), self.origin.span, self.origin.layer
        )

    # the step's own reading and placing

    def _call(self, buffer: Buffer, value: Value, *, copy: bool = False) -> Placed:
        return self.patterns.of(self._kernel(buffer, value, copy=copy))

    def read(self, value: Value, index: Sequence[Affine]) -> Expr:
        kind, _, number = value.attrs["name"].partition(".") if value.op.name == "input" else ("", "", "")
        if kind == "each":
            time = Affine.of(self.time)
            now = Affine.of(self.length - 1) - time if self.reverse else time
            return self.outer.outside(self.each[int(number)], _timed(index, time_dim(value.shape), now))
        if kind == "const":
            return self.outer.outside(self.const[int(number)], index)
        return super().read(value, index)

    def _place(self, buffer: Buffer, index: Sequence[Affine]) -> tuple[Affine, ...]:
        place = self.placed.get(buffer)
        return tuple(index) if place is None else _timed(index, _time_of(buffer), place)

    def _dims(self, buffer: Buffer, value: Value) -> Sequence[int]:
        return range(len(value.shape)) if buffer in self.placed else buffer.order

    def _settled(self, e: Load) -> Expr:
        """A load of a state before the step, from where it lies."""
        found = self.before.get(e.buffer)
        return e if found is None else Load(found[0], _timed(e.index, _time_of(found[0]), found[1]))


def _plain(value: Value) -> tuple[int, ...]:
    return tuple(range(len(value.shape)))


def _time_of(buffer: Buffer) -> int:
    return time_dim(buffer.shape)


def _timed(index: Sequence[Affine], dim: int, place: Affine) -> tuple[Affine, ...]:
    return (*index[:dim], place, *index[dim:])
