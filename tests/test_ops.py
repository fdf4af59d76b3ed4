"""Every operation: shape rule against reference, derivative against finite differences with random cotangents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler import ops
from netc.compiler.gradient import vjp
from netc.compiler.graph import DType, Graph, Value
from netc.compiler.interpreter import evaluate
from netc.compiler.ops.record import Case, NotDifferentiable, Operation

CASES = [(o, c) for o in ops.OPERATIONS for c in o.cases]
IDS = [f"{o.name}-{i}" for i, (o, _) in enumerate(CASES)]


def build(operation: Operation, case: Case) -> tuple[Graph, Value]:
    graph = Graph()
    leaves = tuple(ops.input(graph, f"x{i}", t.dtype, t.shape) for i, t in enumerate(case.inputs))
    return graph, graph.add(operation, leaves, **dict(case.attrs))


def arrays(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for i, kind in enumerate(case.inputs):
        if kind.dtype is DType.bool:
            drawn[f"x{i}"] = rng.random(kind.shape) < 0.5  # type: ignore[arg-type]
        else:
            drawn[f"x{i}"] = rng.uniform(*case.domains[min(i, len(case.domains) - 1)], kind.shape)  # type: ignore[arg-type]
    return drawn


@pytest.mark.parametrize(("operation", "case"), CASES, ids=IDS)
def test_shape_rule_agrees_with_reference(operation: Operation, case: Case) -> None:
    graph, value = build(operation, case)
    graph.outputs["y"] = value
    result = evaluate(graph, arrays(case, np.random.default_rng(0)))["y"]
    assert result.shape == value.shape
    assert result.dtype == value.dtype.value


DIFFERENTIABLE = [(o, c) for o, c in CASES if not isinstance(o.vjp, NotDifferentiable)]


def check_derivative(graph: Graph, value: Value, given: dict[str, Any], rng: np.random.Generator) -> None:
    wrt = [leaf for leaf in graph.inputs.values() if leaf.dtype.is_float]
    cotangent = ops.input(graph, "c", value.dtype, value.shape)
    given["c"] = rng.normal(size=value.shape)  # type: ignore[arg-type]
    gradients = vjp(graph, [(value, cotangent)], wrt)
    graph.outputs.clear()
    graph.outputs["y"] = value
    graph.outputs.update({leaf.attrs["name"] + "'": g for leaf, g in zip(wrt, gradients, strict=True)})
    got = evaluate(graph, given)
    for leaf in wrt:
        name = leaf.attrs["name"]
        tangent = rng.normal(size=leaf.shape)  # type: ignore[arg-type]
        high = evaluate(graph, given | {name: given[name] + 1e-6 * tangent})["y"]
        low = evaluate(graph, given | {name: given[name] - 1e-6 * tangent})["y"]
        expected = np.sum((high - low) / 2e-6 * given["c"])
        assert np.isclose(np.sum(got[name + "'"] * tangent), expected, rtol=1e-6, atol=1e-7), name


@pytest.mark.parametrize(
    ("operation", "case"), DIFFERENTIABLE, ids=[f"{o.name}-{i}" for i, (o, _) in enumerate(DIFFERENTIABLE)]
)
def test_derivative(operation: Operation, case: Case) -> None:
    rng = np.random.default_rng(1)
    graph, value = build(operation, case)
    check_derivative(graph, value, arrays(case, rng), rng)


@pytest.mark.parametrize(
    ("operation", "case"), DIFFERENTIABLE, ids=[f"{o.name}-{i}" for i, (o, _) in enumerate(DIFFERENTIABLE)]
)
def test_second_derivative(operation: Operation, case: Case) -> None:
    rng = np.random.default_rng(2)
    graph, value = build(operation, case)
    given = arrays(case, rng)
    wrt = [leaf for leaf in graph.inputs.values() if leaf.dtype.is_float]
    seed = ops.full_like(graph, value, 0.7)
    for gradient in vjp(graph, [(value, seed)], wrt):
        inner = dict(graph.inputs)
        graph.inputs = {n: v for n, v in inner.items() if n != "c"}
        check_derivative(graph, gradient, dict(given), rng)
