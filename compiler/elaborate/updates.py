"""The body of an optimizer, applied to one tensor: a parameter, or all parameters of a group as one vector.

In: the definition in its context, the tensor, whose states they are. Out: the tensor's new contents; new states and their
specifications go to ``Found``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...grammar import syntax as s
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import DType, Value, show_shape
from .declarations import sizes
from .expressions import check_requirement, evaluate
from .schedules import Memory
from .states import StateSpec
from .values import Context, as_tensor, describe, fail, is_number, joint_shape, spread

AGAIN = "again"


@dataclass(slots=True)
class Found:
    """What one step writes. again: whether the step goes on with another evaluation, where an optimizer asks for that."""

    outputs: dict[str, Value] = field(default_factory=dict)
    specs: list[StateSpec] = field(default_factory=list)
    schedules: Memory = field(default_factory=Memory)
    again: Value | None = None


def apply(ctx: Context, definition: s.Definition, owner: str, tensor: Value, found: Found) -> Value:
    """The tensor after the step. owner: the path that its states' leaves have."""
    states: dict[str, StateSpec] = {}
    updated: dict[str, Value] = {}
    for statement in definition.body:
        match statement:
            case s.Input():
                pass
            case s.State():
                _declare(ctx, statement, owner, tensor, states)
            case s.Let():
                ctx.names[statement.name.id] = evaluate(ctx, statement.value)
            case s.Require():
                check_requirement(ctx, statement)
            case s.Update() if statement.name.id == AGAIN:
                found.again = _condition(ctx, statement)
            case s.Update():
                _update(ctx, statement, tensor, states, updated)
            case _:
                fail("E0503", "this statement cannot stand in an optimizer", statement.span)
    for name, spec in states.items():
        initial = ctx.graph.inputs.get(spec.leaf)
        if updated.get(name) in (None, initial):
            ctx.graph.inputs.pop(spec.leaf, None)
            continue
        found.specs.append(spec)
        found.outputs[spec.leaf] = updated[name]
    return updated.get("param", tensor)


def _declare(
    ctx: Context, statement: s.State, owner: str, tensor: Value, states: dict[str, StateSpec]
) -> None:
    value, name = evaluate(ctx, statement.init), statement.name.id
    if not is_number(value):
        fail("E0405", f"a state begins with a known number, not {describe(value)}", statement.span)
    if name in states or name == "param":
        fail("E0203", f"`{name}` is declared twice", statement.name.span, "again here")
    shape = tensor.shape if statement.shape is None else sizes(ctx, statement.shape)
    whole = tuple(d for d in shape if isinstance(d, int))
    if any(d < 1 for d in whole):
        fail(
            "E0304", f"`{name}` would have the shape {show_shape(shape)}", statement.span, "sizes begin at 1"
        )
    spec = states[name] = StateSpec(f"state.{owner}.{name}", whole, tensor.dtype, value)
    ctx.names[name] = ops.input(ctx.graph, spec.leaf, spec.dtype, spec.shape)


def _update(
    ctx: Context,
    statement: s.Update,
    tensor: Value,
    states: Mapping[str, StateSpec],
    updated: dict[str, Value],
) -> None:
    name = statement.name.id
    if name != "param" and name not in states:
        fail("E0503", f"`{name}` is no state of this optimizer", statement.name.span, "cannot be updated",
             help=did_you_mean(name, ["param", *states], f"declare it: `state {name} = 0`"))  # fmt: skip
    shape = tensor.shape if name == "param" else states[name].shape
    value = as_tensor(ctx, evaluate(ctx, statement.value), statement.value.span, tensor.dtype)
    if joint_shape(value.shape, shape) != shape:
        fail("E0402", f"`{name}` is {show_shape(shape)}, its new value {show_shape(value.shape)}", statement.value.span,
             show_shape(value.shape))  # fmt: skip
    with ctx.at(statement.span):
        ready = spread(ctx, ops.cast(ctx.graph, value, tensor.dtype), shape)
    ctx.names[name] = updated[name] = ready


def _condition(ctx: Context, statement: s.Update) -> Value:
    value = as_tensor(ctx, evaluate(ctx, statement.value), statement.value.span)
    if value.dtype is not DType.bool or value.shape:
        fail("E0303", f"`{AGAIN}` is one condition, true or false", statement.value.span, describe(value))
    return ops.cast(ctx.graph, value, DType.float64)
