"""``scan``: a recurrence over time, from a function of the language to one operation of the graph.

In: the definition of a step, sequences ``[n, time, ...]`` or ``[time, ...]``, first states, constants. Out: the states after each step,
``[n, time, ...]``. The step is evaluated once, into a graph of its own.
"""

from __future__ import annotations

from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Label
from ...grammar.source import Span
from .. import ops
from ..graph import Graph, Shape, Value, show_shape
from ..ops.recurrence import Body, part, products, time_dim
from .builtins import BUILTINS, REQUIRED, Builtin
from .expressions import bind, run_body
from .values import Context, as_bool, as_tensor, describe, fail, spread


def _scan(
    ctx: Context, span: Span, step: s.Definition, x: Any, init: Any, constants: Any, reverse: Any
) -> list[Value]:
    sequences = [_sequence(v, span) for v in (x if isinstance(x, list) else [x])]
    states = _tensors(ctx, init, span, "`init` is a list of the first states")
    fixed = _tensors(ctx, constants, span, "`constants` is a list of tensors")
    backward = as_bool(reverse, span)
    lengths = {v.shape[time_dim(v.shape)] for v in sequences}
    length = next(iter(lengths), 0)
    if len(lengths) != 1 or not isinstance(length, int):
        shapes = ", ".join(show_shape(v.shape) for v in sequences) or "none"
        fail(
            "E0402",
            f"sequences have one length, in the dimension behind the observations, not {shapes}",
            span,
        )
    body = Graph("step")
    leaves = [ops.input(body, f"carry.{i}", v.dtype, v.shape) for i, v in enumerate(states)]
    each = [ops.input(body, f"each.{i}", v.dtype, _at_one_time(v)) for i, v in enumerate(sequences)]
    const = [ops.input(body, f"const.{i}", v.dtype, v.shape) for i, v in enumerate(fixed)]
    for i, value in enumerate(_stepped(ctx, body, step, span, [*each, *leaves, *const], states)):
        body.outputs[f"next.{i}"] = value
    for i, value in enumerate(products(body)):
        body.outputs[f"out.{i}"] = value
    operands, made = (*states, *sequences, *fixed), Body(body)
    found = [ops.scan(ctx.graph, operands, made, i, length, backward) for i in range(len(states))]
    low = 0 if backward else 1
    return [
        part(ctx.graph, v, time_dim(f.shape), low, low + length) for v, f in zip(found, states, strict=True)
    ]


def _sequence(value: Any, span: Span) -> Value:
    if not isinstance(value, Value) or len(value.shape) <= time_dim(value.shape):
        fail("E0303", f"a sequence [n, time, ...] is needed here, or one [time, ...] that does not depend on the observation, "
             f"not {describe(value)}", span)  # fmt: skip
    return value


def _at_one_time(sequence: Value) -> Shape:
    dim = time_dim(sequence.shape)
    return (*sequence.shape[:dim], *sequence.shape[dim + 1 :])


def _tensors(ctx: Context, values: Any, span: Span, what: str) -> list[Value]:
    if not isinstance(values, list):
        fail("E0303", f"{what}, not {describe(values)}", span)
    return [as_tensor(ctx, v, span) for v in values]


def _stepped(
    ctx: Context, body: Graph, step: s.Definition, span: Span, given: list[Value], states: list[Value]
) -> list[Value]:
    """The states after one step, of the types that they had before."""
    inside = ctx.inside({}, span, body=step)
    inside.graph = body
    names = bind(inside, step, (), span, given)
    inside.names = names
    found = run_body(inside, step)
    results = found if isinstance(found, list) else [found]
    if len(results) != len(states):
        fail("E0303", f"`{step.name.id}` gives {len(results)} states of {len(states)}", span,
             secondary=(Label(step.name.span, "defined here"),))  # fmt: skip
    ready = []
    for before, after in zip(states, results, strict=True):
        value = as_tensor(inside, after, span, before.dtype)
        if value.shape == () != before.shape:
            value = spread(inside, value, before.shape)
        if value.type != before.type:
            fail("E0402", f"`{step.name.id}` makes {value.type} of the state {before.type}", span,
                 f"{value.type}, needed {before.type}", secondary=(Label(step.name.span, "defined here"),))  # fmt: skip
        ready.append(value)
    drawn = next((v for v in body if v.op.name == "random"), None)
    if drawn is not None:
        fail("E0503", "a recurrence cannot draw random numbers", span, "drawn in its step",
             help="draw them before, as a sequence")  # fmt: skip
    return ready


BUILTINS["scan"] = Builtin(
    (("step", REQUIRED), ("x", REQUIRED), ("init", REQUIRED), ("constants", []), ("reverse", False)),
    _scan,
    functions=("step",),
)
