"""What is compared: a model with its data, the step's parts as graphs, and the losses that netc itself gets.

In: a model, its arrays, a batch. Out: ``Case``. Nothing of the model that is given is changed: it is copied first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..compiler import ops
from ..compiler.elaborate import leaves_of
from ..compiler.elaborate.network import Forward
from ..compiler.elaborate.updates import AGAIN
from ..compiler.graph import Graph, Value
from ..compiler.interpreter import evaluate
from ..model import Model
from ..runtime import philox
from ..training import Diverged
from .translation import NoCounterpart

Array = NDArray[Any]
STEPS = 20
"""Whose losses are compared, all on the first batch."""
CLOCK = ("step", "epoch", "steps", "epochs", "steps_per_epoch", "epoch_loss")


class Runner(Protocol):
    """A peer's model with its optimizer, ready to train."""

    def losses(self, steps: int) -> list[float]:
        """Losses of that many steps on the first batch, again and again, from the initial weights."""

    def train(self, steps: int) -> float:
        """Seconds for that many steps over shuffled batches."""


@dataclass(frozen=True, slots=True)
class Case:
    """data: contents of all rows by leaf. forward: the network in training, with its new buffers; loss and update: the
    rest of a step. start: initial contents of parameters, buffers and states by leaf."""

    model: Model
    data: dict[str, Array]
    rows: int
    batch: int
    network: Graph
    forward: Forward
    loss: Graph
    update: Graph
    start: dict[str, Array]

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.batch)

    @property
    def parameters(self) -> list[str]:
        """The leaves of parameters."""
        return [f"param.{p.path}" for p in self.model.network.parameters]

    def clock(self, step: int, previous: float) -> dict[str, Any]:
        """The scalars of a step, counted from 0, of the run whose losses are compared: an epoch is one step."""
        values = (step + 1, step, STEPS, STEPS, 1, previous)
        return {f"scalar.{name}": np.asarray(value) for name, value in zip(CLOCK, values, strict=True)}

    def draws(self, step: int) -> dict[str, Array]:
        """The random numbers that netc draws in a step of that run, by leaf."""
        found = {}
        for value in self.network.values:
            if value.op.name == "random":
                shape = tuple(d if isinstance(d, int) else self.batch for d in value.attrs["shape"])
                stream, kind = value.attrs["stream"], np.dtype(value.dtype.value)
                count = int(np.prod(shape, dtype=np.int64))
                drawn = philox.uniform(self.model.seed, stream, step + 1, count, kind)
                found[f"random.{stream}"] = drawn.reshape(shape)
        return found

    def losses(self) -> list[float]:
        """What netc gets in that run; fewer when it diverges."""
        names = [f"input.{spec.name}" for spec in self.model.network.inputs]
        arrays = [self.data[n][: self.batch] for n in (*names, *self.model._need_plan().goals)]
        twin, found = copy.deepcopy(self.model), []
        try:
            twin.fit(*arrays, epochs=STEPS, batch="full", on_epoch=lambda row: found.append(row.loss))
        except Diverged:
            pass
        return found


def case_of(model: Model, arrays: tuple[Any, ...], batch: int) -> Case:
    """arrays: inputs, target, and what else the loss reads. Raises NoCounterpart for a step of several evaluations."""
    model = copy.deepcopy(model)
    plan, network = model._need_plan(), model.network
    types, data, rows = model._observations(arrays)
    network.forward(Graph("drawn"), training=True)
    graph, forward = network.drawn[True]
    loss = Graph("loss")
    kind = forward.output.type
    output = ops.input(loss, "output", kind.dtype, kind.shape)
    loss.outputs["loss"] = plan.loss(loss, output, leaves_of(loss, types))
    update = Graph("update")
    gradients = {
        p.path: ops.input(update, f"gradient.{p.path}", p.dtype, p.shape) for p in network.parameters
    }
    number = ops.input(update, "loss", network.dtype, ())
    update.outputs.update(plan.update(update, network, gradients, number))
    if AGAIN in update.outputs:
        raise NoCounterpart("the optimizer evaluates the network several times a step")
    wanted = [n for n in model.memory.views if n.startswith(("param.", "buffer.", "state."))]
    start = {name: np.array(model.memory.views[name], order="C") for name in wanted}
    return Case(model, data, rows, min(batch, rows), graph, forward, loss, update, start)


def scalar(graph: Graph, value: Value, clock: dict[str, Any]) -> float:
    """A number that depends on the clock alone."""
    only = Graph("scalar")
    only.inputs, only.outputs = graph.inputs, {"value": value}
    return float(evaluate(only, clock)["value"])


Make = Callable[[Case, int], Runner]
