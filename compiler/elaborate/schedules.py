"""What schedules remember from epoch to epoch: their ``state`` and ``<-`` statements.

In: the statements of a schedule that is called among an optimizer's arguments. Out: states that belong to the run, each a
single number, and their new contents. They change where an epoch begins, but for the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...grammar import syntax as s
from .. import ops
from ..graph import DType, Value, show_shape
from .expressions import CLOCK, evaluate
from .states import StateSpec
from .values import Context, as_tensor, describe, fail, is_number


@dataclass(slots=True)
class Memory:
    """The states of all schedules of a run, as they are met."""

    specs: list[StateSpec] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    calls: int = 0

    def remember(self) -> Remembered:
        """For the statements of one call."""
        return Remembered(self)


@dataclass(slots=True)
class Remembered:
    """The states of one call of a schedule."""

    memory: Memory
    leaves: dict[str, Value] = field(default_factory=dict)
    number: int = -1

    def declare(self, ctx: Context, statement: s.State) -> None:
        if self.number < 0:
            self.number, self.memory.calls = self.memory.calls, self.memory.calls + 1
        value = evaluate(ctx, statement.init)
        if not is_number(value):
            message = f"a state begins with a known number, not {describe(value)}"
            fail("E0405", message, statement.init.span)
        spec = StateSpec(f"state.schedule.{self.number}.{statement.name.id}", (), ctx.dtype, value)
        self.memory.specs.append(spec)
        leaf = ops.input(ctx.graph, spec.leaf, spec.dtype, spec.shape)
        self.leaves[statement.name.id] = ctx.names[statement.name.id] = leaf

    def update(self, ctx: Context, statement: s.Update) -> None:
        name = statement.name.id
        if name not in self.leaves:
            fail("E0503", f"`{name}` is no state of this schedule", statement.name.span, "cannot be updated",
                 help=f"declare it: `state {name} = 0`")  # fmt: skip
        old = ctx.names[name]
        new = as_tensor(ctx, evaluate(ctx, statement.value), statement.value.span, ctx.dtype)
        if new.shape:
            fail(
                "E0402",
                f"a schedule's state is a single number, not {show_shape(new.shape)}",
                statement.value.span,
            )
        with ctx.at(statement.span):
            changed = ops.where(ctx.graph, _epoch_begins(ctx), ops.cast(ctx.graph, new, ctx.dtype), old)
        ctx.names[name] = self.memory.outputs[self.leaves[name].attrs["name"]] = changed


def clock(ctx: Context) -> dict[str, Value]:
    """The numbers that tell where a run stands, by their names in the language."""
    leaves = {name: _leaf(ctx, name) for name in CLOCK}
    return {name: ops.cast(ctx.graph, leaf, ctx.dtype) for name, leaf in leaves.items()}


def _leaf(ctx: Context, name: str) -> Value:
    return ops.input(ctx.graph, f"scalar.{name}", DType.float64 if name == "epoch_loss" else DType.int64, ())


def _epoch_begins(ctx: Context) -> Value:
    """Whether this is an epoch's first step, and the epoch not the first."""
    zero, one = (ops.constant(ctx.graph, v, DType.int64) for v in (0, 1))
    before = ops.binary(ctx.graph, "sub", _leaf(ctx, "step"), one)
    first = ops.binary(
        ctx.graph, "eq", ops.binary(ctx.graph, "mod", before, _leaf(ctx, "steps_per_epoch")), zero
    )
    later = ops.binary(ctx.graph, "lt", zero, _leaf(ctx, "epoch"))
    return ops.binary(ctx.graph, "logical_and", first, later)
