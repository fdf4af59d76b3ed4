"""The graphs a program is made of: from a network and its training plan to one Graph per entry point.

In: ``Network`` and ``TrainPlan`` of the elaborator. Out: graphs, each optimised by the passes, whose leaves and
outputs are named as ``docs/architecture.md`` lists them. Every entry point (predict, forward, backward, loss,
step, evaluate, epoch_end) is built here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from ..grammar.diagnostics import CompileError
from . import ops
from .collector import uncollected
from .elaborate import Goal, Network, TrainPlan, average_of, leaves_of
from .elaborate.values import Failed
from .gradient import vjp
from .graph import ROWS, DType, Graph, TensorType, Value
from .passes import optimise

INPUT = "input."
PARAMETER = "param."
BUFFER = "buffer."
GRADIENT = "gradient."


def _parameters(graph: Graph) -> dict[str, Value]:
    return {name: leaf for name, leaf in graph.inputs.items() if name.startswith(PARAMETER)}


def predict(network: Network) -> Graph:
    """Inputs to ``output``, in evaluation mode."""
    graph = Graph("predict")
    graph.outputs["output"] = network.forward(graph, training=False).output
    return optimise(network.rounded(graph))


def forward(network: Network) -> Graph:
    """Inputs to ``output`` in training mode, with the new contents of the buffers."""
    graph = Graph("forward")
    result = network.forward(graph, training=True)
    graph.outputs["output"] = result.output
    graph.outputs.update(result.updates)
    return optimise(network.rounded(graph))


def backward(network: Network, *, training: bool) -> Graph:
    """Inputs and ``cotangent`` (of the output's type) to the gradient of every parameter and float input.

    The forward values are computed again; with the same ``scalar.step`` random draws are the same.
    """
    graph = Graph("backward")
    output = network.forward(graph, training=training).output
    cotangent = ops.input(graph, "cotangent", output.dtype, output.shape)
    leaves = _parameters(graph)
    leaves |= {n: v for n, v in graph.inputs.items() if n.startswith(INPUT) and v.dtype.is_float}
    gradients = vjp(graph, [(output, cotangent)], list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        graph.outputs[GRADIENT + name.removeprefix(PARAMETER)] = gradient
    return optimise(network.rounded(graph))


def output_type(network: Network) -> TensorType:
    return network.forward(Graph("type"), training=False).output.type


def loss(plan: TrainPlan, output: TensorType, goal: Goal) -> Graph:
    """``output`` and ``target`` (and what else the loss reads) to ``loss``: a scalar, or an array when the reduction is none."""
    graph = Graph("loss")
    graph.outputs["loss"] = _loss(graph, plan, output, goal)[1]
    return optimise(graph)


def loss_backward(plan: TrainPlan, output: TensorType, goal: Goal) -> Graph:
    """``output``, ``target`` and ``cotangent`` (of the loss's type) to ``gradient.output``."""
    graph = Graph("loss_backward")
    value, result = _loss(graph, plan, output, goal)
    cotangent = ops.input(graph, "cotangent", result.dtype, result.shape)
    (graph.outputs["gradient.output"],) = vjp(graph, [(result, cotangent)], [value])
    return optimise(graph)


def _loss(graph: Graph, plan: TrainPlan, output: TensorType, goal: Goal) -> tuple[Value, Value]:
    value = ops.input(graph, "output", output.dtype, output.shape)
    return value, plan.loss(graph, value, leaves_of(graph, goal))


@uncollected
def step(network: Network, plan: TrainPlan, goal: Goal) -> Graph:
    """One whole training step: ``loss`` and the new contents of parameters, buffers and optimizer states."""
    graph = Graph("step")
    result = network.forward(graph, training=True)
    value = plan.loss(graph, result.output, leaves_of(graph, goal))
    leaves = _parameters(graph)
    one = ops.constant(graph, 1.0, value.dtype)
    gradients = vjp(graph, [(value, one)], list(leaves.values()))
    by_path = {n.removeprefix(PARAMETER): g for n, g in zip(leaves, gradients, strict=True)}
    graph.outputs["loss"] = value
    graph.outputs.update(plan.update(graph, network, by_path, value))
    graph.outputs.update(result.updates)
    return optimise(network.rounded(graph))


@uncollected
def gradient(network: Network, plan: TrainPlan, goal: Goal) -> Graph:
    """``loss`` and ``gradient.<path>`` of every parameter: what ``show --stage gradient`` prints."""
    graph = Graph("gradient")
    result = network.forward(graph, training=True)
    value = plan.loss(graph, result.output, leaves_of(graph, goal))
    leaves = _parameters(graph)
    gradients = vjp(graph, [(value, ops.constant(graph, 1.0, value.dtype))], list(leaves.values()))
    graph.outputs["loss"] = value
    for name, result_gradient in zip(leaves, gradients, strict=True):
        graph.outputs[GRADIENT + name.removeprefix(PARAMETER)] = result_gradient
    return optimise(network.rounded(graph))


@uncollected
def evaluate(network: Network, plan: TrainPlan, goal: Goal, *, averaged: bool = False) -> Graph:
    """Evaluation mode: ``loss`` and each metric's totals ``total.<metric>.<name>`` over the given rows.

    averaged: with the moving averages in place of the parameters.
    """
    graph = Graph("evaluate")
    if averaged:
        for p in network.parameters:
            graph.inputs[PARAMETER + p.path] = ops.input(graph, average_of(p.path), p.dtype, p.shape)
    output = network.forward(graph, training=False).output
    if averaged:
        for p in network.parameters:
            del graph.inputs[PARAMETER + p.path]
    leaves = leaves_of(graph, goal)
    graph.outputs["loss"] = plan.loss(graph, output, leaves)
    for metric in plan.metrics:
        for name, value in metric.totals(graph, output, leaves["target"]).items():
            graph.outputs[f"total.{metric.name}.{name}"] = value
    return optimise(network.rounded(graph))


def epoch_end(plan: TrainPlan, totals: Graph) -> Graph:
    """From the summed totals (float64 leaves, named as the outputs of ``evaluate``) to ``metric.<name>``."""
    graph = Graph("epoch_end")
    for metric in plan.metrics:
        prefix = f"total.{metric.name}."
        names = [n for n in totals.outputs if n.startswith(prefix)]
        leaves = {n.removeprefix(prefix): ops.input(graph, n, DType.float64, ()) for n in names}
        graph.outputs[f"metric.{metric.name}"] = metric.finish(graph, leaves)
    return optimise(graph)


def initial(network: Network, plan: TrainPlan | None) -> Graph:
    """Initial contents of parameters, buffers and, with a plan, optimizer states; run by the interpreter."""
    graph = Graph("initial")
    graph.outputs.update(network.initial(graph))
    if plan is not None:
        for state in plan.states(network):
            graph.outputs[state.leaf] = state.initial(graph)
    return graph


def leaf(graph: Graph, name: str, dtype: DType, shape: tuple[int, ...]) -> Value:
    """The leaf of that name in a graph."""
    return ops.input(graph, name, dtype, shape)


def checked(make: Callable[[], Graph]) -> Graph:
    """Runs a builder; a program that does not fit its data raises CompileError."""
    try:
        return make()
    except Failed as failure:
        raise CompileError((failure.diagnostic,)) from None


def batch_type(shape: tuple[int, ...], dtype: DType) -> TensorType:
    """The type of rows of that shape each."""
    return TensorType(dtype, (ROWS, *shape))
