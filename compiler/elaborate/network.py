"""A ``net`` block to graphs: its inputs, its parameters, its output.

In: a net and the definitions it may use. Out: ``Network``, whose methods emit the forward pass and the initial
values into a given graph. The walk over the stages (``stages.py``) is the same each time; what it finds is recorded
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...grammar import syntax as s
from ...grammar.source import Span
from .. import ops
from ..graph import ROWS, DType, Graph, Shape, Value, reachable, show_shape
from ..passes.precision import origins_of_products, round_products
from .declarations import LayerInfo, Record, TensorSpec
from .expressions import evaluate
from .findings import Findings
from .patterns import dtype_named
from .precision import Precision
from .stages import Walker
from .values import UNKNOWN, Context, Definitions, Unknown, as_int, fail

MAX_EXTENT = 2**31


@dataclass(frozen=True, slots=True)
class InputSpec:
    """``shape`` is that of one observation."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    span: Span


@dataclass(frozen=True, slots=True)
class Forward:
    output: Value
    updates: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Network:
    """A net with all sizes known. precision: of its products, whatever graph they are part of."""

    name: str
    net: s.Net
    definitions: Definitions
    dtype: DType
    inputs: tuple[InputSpec, ...]
    output_shape: Shape
    parameters: tuple[TensorSpec, ...]
    buffers: tuple[TensorSpec, ...]
    layers: tuple[LayerInfo, ...]
    drawn: dict[bool, tuple[Graph, Forward]] = field(default_factory=dict, compare=False, repr=False)
    precision: Precision = Precision.full

    def forward(self, graph: Graph, *, training: bool) -> Forward:
        """Emits the forward pass; leaves are ``input.*``, ``param.*`` and ``buffer.*``. Elaborated once, then copied."""
        if training not in self.drawn:
            template, record = Graph("forward"), Record(training)
            output = self._walk(template, record)
            self.drawn[training] = template, Forward(output, record.updates)
        template, found = self.drawn[training]
        leaves = {v.id: ops.input(graph, name, v.dtype, v.shape) for name, v in template.inputs.items()}
        new = graph.draw(reachable((found.output, *found.updates.values())), leaves)
        return Forward(new[found.output.id], {n: new[v.id] for n, v in found.updates.items()})

    def rounded(self, graph: Graph) -> Graph:
        """A graph of the network, with its derivative or without, in the network's precision."""
        if self.precision is Precision.full:
            return graph
        return round_products(graph, origins_of_products(template for template, _ in self.drawn.values()))

    def places(self) -> dict[str, str]:
        """For each name of the state dict, in torch's order, the leaf that holds it."""
        found = {f"param.{p.path}": p for p in self.parameters} | {
            f"buffer.{b.path}": b for b in self.buffers
        }
        return {found[leaf].path: leaf for leaf in sorted(found, key=lambda leaf: found[leaf].number)}

    def initial(self, graph: Graph) -> dict[str, Value]:
        """Emits the initial contents of ``param.*`` and ``buffer.*``."""
        record = Record(training=True, initial=True)
        self._walk(graph, record)
        return record.values

    def _walk(self, graph: Graph, record: Record) -> Value:
        names = {i.name: ops.input(graph, f"input.{i.name}", i.dtype, (ROWS, *i.shape)) for i in self.inputs}
        output = _walk(graph, self.net, self.definitions, self.dtype, names, Walker(record))
        assert isinstance(output, Value)
        return output


def elaborate(
    net: s.Net,
    definitions: Definitions,
    dtype: DType,
    widths: Mapping[str, tuple[int, ...]] | None,
    findings: Findings,
) -> Network | None:
    """The network, or None when there is a finding.

    widths: shapes of one observation, for ``auto``; None when the data have an error of their own.
    """
    graph = Graph("forward")
    specs = declared_inputs(graph, net, definitions, dtype, widths, findings)
    record = Record(training=True)
    output: Value | Unknown = UNKNOWN
    drawn: dict[bool, tuple[Graph, Forward]] = {}
    if specs:
        with findings.collecting(net.name.span):
            names = _inputs(graph, specs)
            output = _walk(graph, net, definitions, dtype, names, Walker(record, findings))
            if isinstance(output, Value) and output.shape[:1] != (ROWS,):
                last = record.layers[-1].span if record.layers else net.name.span
                fail(
                    "E0402", f"the net gives {show_shape(output.shape)}, not a row for each observation", last,
                    f"this gives {show_shape(output.shape)}", help="the first dimension of the output must be n",
                )  # fmt: skip
    if not findings.found and not isinstance(output, Unknown):
        drawn[True] = graph, Forward(output, record.updates)
        with findings.collecting(net.name.span):
            graph = Graph("forward")
            walker = Walker(Record(training=False), findings)
            result = _walk(graph, net, definitions, dtype, _inputs(graph, specs), walker)
            if isinstance(result, Value):
                drawn[False] = graph, Forward(result, walker.record.updates)
    inputs = tuple(i for i in specs.values() if i is not None)
    if isinstance(output, Unknown) or findings.found or len(inputs) < len(specs):
        return None
    return Network(
        net.name.id, net, definitions, dtype, inputs, output.shape, tuple(record.parameters), tuple(record.buffers),
        tuple(record.layers), drawn,
    )  # fmt: skip


def _inputs(graph: Graph, specs: Mapping[str, InputSpec | None]) -> dict[str, Any]:
    """The leaves of the inputs; an unknown stands for one that is wrong."""
    return {
        n: UNKNOWN if i is None else ops.input(graph, f"input.{n}", i.dtype, (ROWS, *i.shape))
        for n, i in specs.items()
    }


def declared_inputs(
    graph: Graph,
    net: s.Net,
    definitions: Definitions,
    dtype: DType,
    widths: Mapping[str, tuple[int, ...]] | None,
    findings: Findings,
) -> dict[str, InputSpec | None]:
    """The inputs by name; None for one whose shape is not known because of an error."""
    ctx = Context(graph, dtype, definitions)
    found: dict[str, InputSpec | None] = {}
    for statement in net.body:
        if not isinstance(statement, s.Input):
            continue
        name = statement.name.id
        with findings.collecting(statement.span):
            if name in found:
                fail("E0203", f"the input `{name}` is declared twice", statement.name.span, "again here")
            found[name] = None
            shape = _shape(ctx, statement, widths)
            if shape is not None:
                found[name] = InputSpec(name, shape, dtype_named(statement.dtype, dtype), statement.span)
    with findings.collecting(net.name.span):
        if not found:
            fail(
                "E0501", f"the net `{net.name.id}` declares no input", net.name.span, "no input",
                help="begin with the shape of one observation: `input x: [3]`",
            )  # fmt: skip
    return found


def _shape(
    ctx: Context, statement: s.Input, widths: Mapping[str, tuple[int, ...]] | None
) -> tuple[int, ...] | None:
    """The declared shape; None when ``auto`` waits for data that have an error of their own."""
    name = statement.name.id
    shape: list[int] = []
    for dim, item in enumerate(statement.shape.items):
        if isinstance(item, s.Name) and item.id == "auto":
            if widths is None:
                return None
            width = widths.get(name)
            if width is None or dim >= len(width):
                fail(
                    "E0608", f"the size of `{name}` is to come from the data, but there are none", item.span,
                    f"no data for `{name}`",
                    help=f"write the size, or give `{name}` in the `data` block",
                )  # fmt: skip
            shape.append(width[dim])
            continue
        extent = as_int(evaluate(ctx, item), item.span, "a size")
        if not 1 <= extent <= MAX_EXTENT:
            fail(
                "E0304", f"a size of {extent} is out of range", item.span, "not a size",
                help=f"sizes are whole numbers from 1 to {MAX_EXTENT:,}",
            )  # fmt: skip
        shape.append(extent)
    return tuple(shape)


def _walk(
    graph: Graph,
    net: s.Net,
    definitions: Definitions,
    dtype: DType,
    inputs: Mapping[str, Any],
    walker: Walker,
) -> Value | Unknown:
    ctx = Context(graph, dtype, definitions, dict(inputs))
    ctx.names["training"] = walker.record.training
    first = next(iter(inputs.values()))
    walker.begin(next(iter(inputs)), first)
    result = walker.body(ctx, net.body, first, "", net.name.span)
    if result is None:
        fail(
            "E0504", f"the net `{net.name.id}` has no stages", net.name.span, "nothing to compute",
            help="add a layer, such as `linear(1)`",
        )  # fmt: skip
    return result
