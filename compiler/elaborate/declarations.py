"""Parameters and buffers: what layers declare, and the record of one walk over a network.

In: ``param``, ``buffer`` and ``<-`` statements in their context. Out: entries of a ``Record``: specifications, leaves of
the graph, initial values, updates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...grammar import syntax as s
from ...grammar.source import Span
from .. import ops
from ..graph import DType, Shape, Value, show_shape
from .expressions import evaluate
from .patterns import dtype_named
from .values import Context, as_int, as_tensor, describe, fail, joint_shape, spread

MAX_PARAMETERS = 2**31


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A parameter or buffer: ``path`` is its name in a state dict, ``number`` its place there."""

    path: str
    shape: tuple[int, ...]
    dtype: DType
    layer: str
    span: Span
    number: int = 0


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


@dataclass(slots=True)
class Record:
    """What one walk finds."""

    training: bool
    initial: bool = False
    parameters: list[TensorSpec] = field(default_factory=list)
    buffers: list[TensorSpec] = field(default_factory=list)
    layers: list[LayerInfo] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    updates: dict[str, Value] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    stages: int = 0
    elements: int = 0


def declare(ctx: Context, record: Record, statement: s.Param | s.Buffer, path: str, *, check: bool) -> None:
    """A parameter or buffer: its leaf, its name, its initial value when that is asked for or to be checked."""
    found, prefix = (
        (record.parameters, "param.") if isinstance(statement, s.Param) else (record.buffers, "buffer.")
    )
    name = statement.name.id
    if statement.optional and ctx.names.get(name) in (False, None):
        ctx.names[name] = 0
        return
    shape = sizes(ctx, statement.shape)
    if any(d < 1 for d in shape):
        fail(
            "E0304",
            f"`{name}` would have the shape {show_shape(shape)}",
            statement.span,
            "sizes begin at 1",
        )
    kind = statement.dtype if isinstance(statement, s.Buffer) else None
    own, dtype = join(path, _own_name(ctx, statement)), dtype_named(kind, ctx.dtype)
    spec = TensorSpec(own, shape, dtype, path, statement.span, len(record.parameters) + len(record.buffers))
    _count(record, spec, statement.span)
    if prefix + spec.path in record.names:
        fail("E0203", f"`{spec.path}` is declared twice", statement.name.span, "again here")
    record.names.add(prefix + spec.path)
    found.append(spec)
    value = ops.input(ctx.graph, prefix + spec.path, spec.dtype, shape)
    if record.initial or check:
        record.values[prefix + spec.path] = _initial(ctx, statement, spec)
    ctx.names[name] = value


def _own_name(ctx: Context, statement: s.Param | s.Buffer) -> str:
    """The name in the state dict: the one in the program, or the text behind ``as``."""
    if isinstance(statement, s.Buffer) or statement.alias is None:
        return statement.name.id
    text = evaluate(ctx, statement.alias)
    if not isinstance(text, str) or not all(word.isidentifier() for word in text.split(".")):
        fail(
            "E0303",
            f"the name of a parameter is a word, or several with dots, not {describe(text)}",
            statement.alias.span,
        )
    return text


def sizes(ctx: Context, written: s.ListOf) -> tuple[int, ...]:
    """The shape; an item that is a list stands for all its sizes."""
    shape: list[int] = []
    for item in written.items:
        value = evaluate(ctx, item)
        shape += [as_int(v, item.span, "a size") for v in (value if isinstance(value, list) else [value])]
    return tuple(shape)


def _count(record: Record, spec: TensorSpec, span: Span) -> None:
    """Parameters that no memory would hold are refused before anything is made of them."""
    record.elements += elements(spec.shape)
    if record.elements > MAX_PARAMETERS:
        gigabytes = f"{record.elements * spec.dtype.itemsize / 2**30:,.1f} GiB"
        fail(
            "E0505", f"the network would have {record.elements:,} parameters, {gigabytes}", span,
            f"`{spec.path}` is {show_shape(spec.shape)}",
            help=f"a network may have {MAX_PARAMETERS:,}",
        )  # fmt: skip


def _initial(ctx: Context, statement: s.Param | s.Buffer, spec: TensorSpec) -> Value:
    """The initial contents."""
    inner = ctx.inside({**ctx.names, "shape": list(spec.shape)}, statement.span, spec.path)
    value = evaluate(inner, statement.init)
    with ctx.at(statement.init.span):
        tensor = as_tensor(ctx, value, statement.init.span, spec.dtype)
        if joint_shape(tensor.shape, spec.shape) != spec.shape:
            fail(
                "E0402", f"`{spec.path}` is {show_shape(spec.shape)}, its initial value {show_shape(tensor.shape)}",
                statement.init.span, show_shape(tensor.shape),
            )  # fmt: skip
        return spread(ctx, ops.cast(ctx.graph, tensor, spec.dtype), spec.shape)


def update(ctx: Context, record: Record, statement: s.Update, path: str) -> None:
    """New contents of a buffer, in training."""
    name = statement.name.id
    target = ctx.graph.inputs.get("buffer." + join(path, name))
    if target is None or not record.training or ctx.names.get(name) == 0:
        if target is None and ctx.names.get(name) != 0:
            fail("E0503", f"`{name}` is no buffer of this layer", statement.name.span, "cannot be updated",
                 help=f"declare it: `buffer {name}: [...] = zeros()`")  # fmt: skip
        return
    value = evaluate(ctx, statement.value)
    with ctx.at(statement.span):
        tensor = as_tensor(ctx, value, statement.value.span, target.dtype)
        tensor = ops.cast(ctx.graph, tensor, target.dtype)
        if tensor.shape != target.shape and joint_shape(tensor.shape, target.shape) != target.shape:
            fail(
                "E0402", f"`{name}` is {show_shape(target.shape)}, its new value {show_shape(tensor.shape)}", statement.value.span,
                show_shape(tensor.shape),
            )  # fmt: skip
        record.updates["buffer." + join(path, name)] = spread(ctx, tensor, target.shape)


def elements(shape: Shape) -> int:
    total = 1
    for extent in shape:
        total *= extent if isinstance(extent, int) else 1
    return total


def join(path: str, name: str) -> str:
    """A name inside a path of parameters."""
    return f"{path}.{name}" if path else name
