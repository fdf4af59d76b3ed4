"""A ``net`` block to graphs: stages, layers, parameters, and the flow of shapes.

In: a net and the definitions it may use. Out: ``Network``, whose methods emit the forward pass and the initial
values into a given graph. The walk over the stages is the same each time; what it finds is recorded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Diagnostic, Label
from ...grammar.source import Span
from ...grammar.suggest import closest
from .. import ops
from ..graph import ROWS, DType, Graph, Shape, TensorType, Value, show_shape
from .expressions import bind, call, check_requirement, evaluate
from .values import Context, Definitions, Failed, as_int, describe, fail, joint_shape, spread

MAX_STAGES = 20_000
MAX_PARAMETERS = 2**32


@dataclass(frozen=True, slots=True)
class InputSpec:
    """``shape`` is that of one observation."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    span: Span


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A parameter or buffer: ``path`` is its name in a state dict."""

    path: str
    shape: tuple[int, ...]
    dtype: DType
    layer: str
    span: Span


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A row of the shape table."""

    path: str
    name: str
    span: Span
    input_shape: Shape
    output_shape: Shape
    parameters: tuple[str, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class Forward:
    output: Value
    updates: Mapping[str, Value]


@dataclass(slots=True)
class _Record:
    """What one walk finds."""

    training: bool
    initial: bool = False
    parameters: list[TensorSpec] = field(default_factory=list)
    buffers: list[TensorSpec] = field(default_factory=list)
    layers: list[LayerInfo] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    updates: dict[str, Value] = field(default_factory=dict)
    stages: int = 0
    diagnostics: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Network:
    """A net with all sizes known."""

    name: str
    net: s.Net
    definitions: Definitions
    dtype: DType
    inputs: tuple[InputSpec, ...]
    output_shape: Shape
    parameters: tuple[TensorSpec, ...]
    buffers: tuple[TensorSpec, ...]
    layers: tuple[LayerInfo, ...]

    def forward(self, graph: Graph, *, training: bool) -> Forward:
        """Emits the forward pass; leaves are ``input.*``, ``param.*`` and ``buffer.*``."""
        record = _Record(training)
        output = _walk(graph, self.net, self.definitions, self.dtype, self.inputs, record)
        return Forward(output, record.updates)

    def initial(self, graph: Graph) -> dict[str, Value]:
        """Emits the initial contents of ``param.*`` and ``buffer.*``."""
        record = _Record(training=True, initial=True)
        _walk(graph, self.net, self.definitions, self.dtype, self.inputs, record)
        return record.values


def elaborate(
    net: s.Net, definitions: Definitions, dtype: DType, widths: Mapping[str, tuple[int, ...]]
) -> Network:
    """Raises Failed for the first problem of the net. widths: shapes of one observation, for ``auto``."""
    graph = Graph("check")
    inputs = _inputs(graph, net, definitions, dtype, widths)
    record = _Record(training=True)
    output = _walk(graph, net, definitions, dtype, inputs, record)
    total = sum(_size(p.shape) for p in record.parameters)
    if total > MAX_PARAMETERS:
        fail(
            "E0505",
            f"the network has {total:,} parameters",
            net.name.span,
            f"{total * dtype.itemsize / 2**30:.1f} GiB",
        )
    return Network(
        net.name.id, net, definitions, dtype, inputs, output.shape, tuple(record.parameters), tuple(record.buffers),
        tuple(record.layers),
    )  # fmt: skip


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _inputs(
    graph: Graph, net: s.Net, definitions: Definitions, dtype: DType, widths: Mapping[str, tuple[int, ...]]
) -> tuple[InputSpec, ...]:
    ctx = Context(graph, dtype, definitions)
    found: list[InputSpec] = []
    for statement in net.body:
        if not isinstance(statement, s.Input):
            continue
        name, width = statement.name.id, widths.get(statement.name.id)
        if any(i.name == name for i in found):
            fail("E0203", f"the input `{name}` is declared twice", statement.name.span)
        shape: list[int] = []
        for dim, item in enumerate(statement.shape.items):
            if isinstance(item, s.Name) and item.id == "auto":
                if width is None or dim >= len(width):
                    fail(
                        "E0608",
                        f"the size of `{name}` is to come from the data, but there are none",
                        item.span,
                    )
                shape.append(width[dim])
                continue
            extent = as_int(evaluate(ctx, item), item.span, "a size")
            if not 1 <= extent <= 2**31:
                fail("E0304", f"a size of {extent} is out of range", item.span)
            shape.append(extent)
        found.append(InputSpec(name, tuple(shape), _dtype(statement.dtype, dtype), statement.span))
    if not found:
        fail(
            "E0501",
            f"the net `{net.name.id}` declares no input",
            net.name.span,
            help="begin with `input x: [3]`",
        )
    return tuple(found)


def _dtype(name: s.Name | None, default: DType) -> DType:
    if name is None:
        return default
    if name.id == "float":
        return default
    if name.id not in DType.__members__:
        guess = closest(name.id, DType.__members__)
        fail(
            "E0406",
            f"there is no element type `{name.id}`",
            name.span,
            help=f"did you mean `{guess}`?" if guess else "",
        )
    return DType[name.id]


def _walk(
    graph: Graph,
    net: s.Net,
    definitions: Definitions,
    dtype: DType,
    inputs: tuple[InputSpec, ...],
    record: _Record,
) -> Value:
    ctx = Context(graph, dtype, definitions)
    ctx.names["training"] = record.training
    for spec in inputs:
        ctx.names[spec.name] = ops.input(graph, f"input.{spec.name}", spec.dtype, (ROWS, *spec.shape))
    walker = _Walker(record)
    result = walker.body(ctx, net.body, ctx.names[inputs[0].name], "", net.name.span)
    if result is None:
        fail("E0504", f"the net `{net.name.id}` has no stages", net.name.span)
    return result


class _Walker:
    """Carries the record through stages and layers."""

    def __init__(self, record: _Record) -> None:
        self.record = record

    def body(
        self, ctx: Context, statements: tuple[s.Statement, ...], x: Value, path: str, where: Span
    ) -> Value | None:
        """Statements of a net, layer or block: declarations, bindings, stages, at most one return."""
        position, moved = 0, False
        flow: list[str] = []
        for statement in statements:
            match statement:
                case s.Input():
                    pass
                case s.Param():
                    self._tensor(ctx, statement, path, self.record.parameters, "param.")
                case s.Buffer():
                    self._tensor(ctx, statement, path, self.record.buffers, "buffer.")
                case s.Let():
                    ctx.names[statement.name.id] = evaluate(ctx, statement.value)
                case s.Update():
                    self._update(ctx, statement, path)
                case s.Require():
                    check_requirement(ctx, statement)
                case s.Return():
                    result = evaluate(ctx, statement.value)
                    if not isinstance(result, Value):
                        fail("E0303", f"a tensor must be returned, not {describe(result)}", statement.span)
                    return result
                case s.Apply() | s.Sequential() | s.Residual() | s.Repeat() | s.Concat():
                    label = statement.label.id if statement.label else str(position)
                    try:
                        x = self.stage(ctx, statement, x, _join(path, label))
                    except Failed as failure:
                        raise Failed(_with_flow(failure.diagnostic, flow)) from None
                    flow.append(f"{statement.span.text.split(chr(10))[0][:40]} -> {show_shape(x.shape)}")
                    position, moved = position + 1, True
                case _:
                    fail("E0503", "this statement cannot stand here", statement.span)
        return x if moved else None

    def stage(self, ctx: Context, stage: s.Stage, x: Value, path: str) -> Value:
        """One stage on its input; ``path`` is where its parameters live."""
        self.record.stages += 1
        if self.record.stages > MAX_STAGES:
            fail("E0505", f"the network has more than {MAX_STAGES:,} stages", stage.span)
        ctx.spend(stage.span)
        match stage:
            case s.Apply():
                return self._apply(ctx, stage, x, path)
            case s.Sequential():
                return self._block(ctx, stage.stages, x, path, stage.span)
            case s.Residual():
                return self._residual(ctx, stage, x, path)
            case s.Repeat():
                times = as_int(evaluate(ctx, stage.count), stage.count.span, "a number of copies")
                if not 0 <= times <= MAX_STAGES:
                    fail("E0304", f"{times} copies are out of range", stage.count.span)
                for i in range(times):
                    x = self._block(ctx, stage.stages, x, _join(path, str(i)), stage.span)
                return x
            case s.Concat():
                return self._concat(ctx, stage, x, path)

    def _block(self, ctx: Context, stages: tuple[Any, ...], x: Value, path: str, span: Span) -> Value:
        inner = ctx.inside(dict(ctx.names), span, path)
        return self.body(inner, stages, x, path, span) or x

    def _residual(self, ctx: Context, stage: s.Residual, x: Value, path: str) -> Value:
        branch = self._block(ctx, stage.stages, x, path, stage.span)
        base = x
        if stage.shortcut is not None:
            base = self._block(ctx, stage.shortcut, x, _join(path, "shortcut"), stage.span)
        if base.shape != branch.shape:
            fail(
                "E0401", "the block of a residual changes the shape", stage.span,
                f"{show_shape(base.shape)} + {show_shape(branch.shape)}",
                help="project the input with `shortcut { ... }` behind the block",
            )  # fmt: skip
        with ctx.at(stage.span):
            return ops.add(ctx.graph, base, branch)

    def _concat(self, ctx: Context, stage: s.Concat, x: Value, path: str) -> Value:
        dim = as_int(evaluate(ctx, stage.dim), stage.dim.span, "a dimension")
        parts = []
        for i, branch in enumerate(stage.branches):
            label = branch.label.id if branch.label else str(i)
            parts.append(self._block(ctx, branch.stages, x, _join(path, label), branch.span))
        if not parts or not -len(parts[0].shape) <= dim < len(parts[0].shape):
            fail("E0407", f"there is no dimension {dim} to join along", stage.dim.span)
        with ctx.at(stage.span):
            return ops.concat(ctx.graph, parts, dim % len(parts[0].shape))

    def _apply(self, ctx: Context, stage: s.Apply, x: Value, path: str) -> Value:
        name = stage.call.function.id
        definition = ctx.definitions.find(name)
        before = len(self.record.parameters)
        if definition is not None and definition.kind == "layer":
            y = self._layer(ctx, definition, stage, x, path)
        elif definition is not None and definition.kind != "fn":
            fail(
                "E0202",
                f"`{name}` is a definition of {definition.kind}, not a layer",
                stage.call.function.span,
            )
        else:
            inner = ctx.inside(dict(ctx.names), stage.span, path)
            result = self._unknown_as_layer(inner, stage, x)
            y = result
        added = tuple(p.path for p in self.record.parameters[before:])
        text = stage.call.span.text or name
        self.record.layers.append(LayerInfo(path, text, stage.span, x.shape, y.shape, added, path.count(".")))
        return y

    def _unknown_as_layer(self, ctx: Context, stage: s.Apply, x: Value) -> Value:
        try:
            result = call(ctx, stage.call, [x])
        except Failed as failure:
            if (
                failure.diagnostic.code == "E0202"
                and failure.diagnostic.primary.span == stage.call.function.span
            ):
                fail("E0202", f"there is no layer or function `{stage.call.function.id}`", stage.call.function.span,
                     "unknown", help=failure.diagnostic.help)  # fmt: skip
            raise
        if not isinstance(result, Value):
            fail("E0303", f"a stage must give a tensor, not {describe(result)}", stage.span)
        return result

    def _layer(self, ctx: Context, definition: s.Definition, stage: s.Apply, x: Value, path: str) -> Value:
        names = bind(ctx, definition, stage.call.arguments, stage.call.span)
        names["training"] = self.record.training
        inner = ctx.inside(names, stage.span, path)
        for statement in definition.body:
            if isinstance(statement, s.Input):
                match_shape(inner, statement, x, stage, definition)
                names[statement.name.id] = x
                break
        else:
            fail("E0501", f"the layer `{definition.name.id}` declares no input", definition.name.span)
        for parameter in definition.parameters:
            if parameter.name.id not in names:
                fail(
                    "E0403", f"`{parameter.name.id}` of `{definition.name.id}` cannot be inferred", stage.span
                )
        result = self.body(inner, definition.body, x, path, stage.span)
        if result is None:
            fail("E0504", f"the layer `{definition.name.id}` returns nothing", definition.name.span)
        return result

    def _tensor(
        self, ctx: Context, statement: s.Param | s.Buffer, path: str, found: list[TensorSpec], prefix: str
    ) -> None:
        name = statement.name.id
        if statement.optional and ctx.names.get(name) in (False, None):
            ctx.names[name] = 0
            return
        shape = tuple(as_int(evaluate(ctx, item), item.span, "a size") for item in statement.shape.items)
        if any(d < 1 for d in shape) or _size(shape) > MAX_PARAMETERS:
            fail("E0304", f"`{name}` would have the shape {list(shape)}", statement.span)
        kind = statement.dtype if isinstance(statement, s.Buffer) else None
        spec = TensorSpec(_join(path, name), shape, _dtype(kind, ctx.dtype), path, statement.span)
        if any(p.path == spec.path for p in found):
            fail("E0203", f"`{spec.path}` is declared twice", statement.name.span)
        found.append(spec)
        leaf = ops.input(ctx.graph, prefix + spec.path, spec.dtype, shape)
        ctx.names[name] = leaf
        if self.record.initial:
            inner = ctx.inside({**ctx.names, "shape": list(shape)}, statement.span, spec.path)
            value = evaluate(inner, statement.init)
            with ctx.at(statement.span):
                tensor = ops.constant(ctx.graph, value, spec.dtype) if not isinstance(value, Value) else value
                ready = spread(ctx, ops.cast(ctx.graph, tensor, spec.dtype), shape)
            self.record.values[prefix + spec.path] = ready

    def _update(self, ctx: Context, statement: s.Update, path: str) -> None:
        name = statement.name.id
        target = ctx.graph.inputs.get("buffer." + _join(path, name))
        if target is None or not self.record.training or ctx.names.get(name) == 0:
            if target is None and ctx.names.get(name) != 0:
                fail("E0503", f"`{name}` is no buffer of this layer", statement.name.span)
            return
        value = evaluate(ctx, statement.value)
        with ctx.at(statement.span):
            tensor = value if isinstance(value, Value) else ops.constant(ctx.graph, value, target.dtype)
            tensor = ops.cast(ctx.graph, tensor, target.dtype)
            if tensor.shape != target.shape and joint_shape(tensor.shape, target.shape) != target.shape:
                fail(
                    "E0402",
                    f"`{name}` is {show_shape(target.shape)}, not {show_shape(tensor.shape)}",
                    statement.span,
                )
            self.record.updates["buffer." + _join(path, name)] = spread(ctx, tensor, target.shape)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _with_flow(d: Diagnostic, flow: list[str]) -> Diagnostic:
    if d.code not in ("E0401", "E0402", "E0403") or d.notes or not flow:
        return d
    return Diagnostic(d.code, d.message, d.primary, d.secondary, ("\n".join(flow[-6:]),), d.help, d.severity)


def match_shape(ctx: Context, pattern: s.Input, x: Value, stage: s.Apply, definition: s.Definition) -> None:
    """Binds the names of a layer's input pattern to the sizes of its input, or says what does not fit."""
    items = list(pattern.shape.items)
    shape = list(x.shape)
    text = pattern.shape.span.text
    dots = [i for i, item in enumerate(items) if isinstance(item, s.Ellipsis_)]
    fits = len(shape) >= len(items) - 1 if dots else len(shape) == len(items)
    if not fits:
        fail(
            "E0401", f"`{definition.name.id}` needs an input {text}, not {show_shape(x.shape)}", stage.span,
            f"the input is {show_shape(x.shape)}", secondary=(Label(pattern.span, f"{text} is declared here"),),
        )  # fmt: skip
    if dots:
        middle = len(shape) - len(items) + 1
        shape[dots[0] : dots[0] + middle] = []
        items.pop(dots[0])
    for item, extent in zip(items, shape, strict=True):
        if isinstance(item, s.Name) and item.id not in ctx.names:
            ctx.names[item.id] = extent
            continue
        expected = evaluate(ctx, item)
        if expected != extent:
            fail(
                "E0403" if isinstance(item, s.Name) else "E0401",
                f"`{definition.name.id}` expects {item.span.text} = {expected}, the input has {extent}", stage.span,
                f"the input is {show_shape(x.shape)}", secondary=(Label(pattern.span, f"{text} is declared here"),),
                help=f"leave `{item.span.text}` out: it is inferred from the input" if isinstance(item, s.Name) else "",
            )  # fmt: skip
    if pattern.dtype is not None and x.dtype is not _dtype(pattern.dtype, ctx.dtype):
        fail("E0406", f"`{definition.name.id}` needs {pattern.dtype.id}, not {x.dtype.value}", stage.span)


Types = Mapping[str, TensorType]
