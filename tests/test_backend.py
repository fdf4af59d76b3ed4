"""Compiled code against the graph interpreter: every operation and its derivative, several vector widths of input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler import ops
from netc.compiler.gradient import vjp
from netc.compiler.graph import DType, Graph, TensorType
from netc.compiler.interpreter import evaluate
from netc.compiler.ops.record import Case, NotDifferentiable, Operation
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Model, Unit

CASES = [(o, c) for o in ops.OPERATIONS for c in o.cases]


def run(graph: Graph, inputs: dict[str, Any], rows: int = 1) -> dict[str, Any]:
    artifact = build({"unit": graph}, {})
    unit = Unit(Library(artifact), artifact.units["unit"], Model((), 0))
    ready = {n: np.ascontiguousarray(a) for n, a in inputs.items()}
    return unit.call(ready, rows, step=3, seed=7)


def scaled(case: Case, dtype: DType) -> Case:
    kinds = tuple(TensorType(dtype if t.dtype.is_float else t.dtype, t.shape) for t in case.inputs)
    attrs = tuple((k, dtype if isinstance(v, DType) and v.is_float else v) for k, v in case.attrs)
    return Case(kinds, attrs, case.domains)


def arrays(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for i, kind in enumerate(case.inputs):
        shape: Any = kind.shape
        if kind.dtype is DType.bool:
            drawn[f"x{i}"] = rng.random(shape) < 0.5
        else:
            low, high = case.domains[min(i, len(case.domains) - 1)]
            drawn[f"x{i}"] = rng.uniform(low, high, shape).astype(kind.dtype.value)
    return drawn


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
@pytest.mark.parametrize(
    ("operation", "case"), CASES, ids=[f"{o.name}-{i}" for i, (o, _) in enumerate(CASES)]
)
def test_operation(operation: Operation, case: Case, dtype: DType) -> None:
    case = scaled(case, dtype)
    rng = np.random.default_rng(0)
    graph = Graph()
    leaves = tuple(ops.input(graph, f"x{i}", t.dtype, t.shape) for i, t in enumerate(case.inputs))
    value = graph.add(operation, leaves, **dict(case.attrs))
    graph.outputs["y"] = value
    inputs = arrays(case, rng)
    if not isinstance(operation.vjp, NotDifferentiable):
        wrt = [leaf for leaf in leaves if leaf.dtype.is_float]
        c = ops.input(graph, "c", value.dtype, value.shape)
        shape: Any = value.shape
        inputs["c"] = np.asarray(rng.normal(size=shape), dtype=value.dtype.value)
        for i, gradient in enumerate(vjp(graph, [(value, c)], wrt)):
            graph.outputs[f"d{i}"] = gradient
    expected, got = evaluate(graph, inputs, rows=1), run(graph, inputs)
    tolerance = 2e-6 if dtype is DType.float32 else 1e-12
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("rows", [1, 2, 3, 17, 100])
@pytest.mark.parametrize("width", [1, 5, 16, 33, 70])
def test_dense_layer_and_softmax(rows: int, width: int) -> None:
    from netc.compiler.graph import ROWS

    graph = Graph()
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 7))
    w = ops.input(graph, "w", DType.float32, (width, 7))
    h = ops.contract(graph, x, w, [(1, 1)])
    top = ops.broadcast(graph, ops.max(graph, h, [1]), h.shape, [0])
    e = ops.exp(graph, ops.sub(graph, h, top))
    graph.outputs["y"] = ops.div(graph, e, ops.broadcast(graph, ops.sum(graph, e, [1]), h.shape, [0]))
    graph.outputs["best"] = ops.argmax(graph, h, [1])
    rng = np.random.default_rng(0)
    inputs = {
        "input.x": rng.normal(size=(rows, 7)).astype("f4"),
        "w": rng.normal(size=(width, 7)).astype("f4"),
    }
    expected, got = evaluate(graph, inputs), run(graph, inputs, rows)
    np.testing.assert_allclose(got["y"], expected["y"], rtol=3e-6, atol=1e-7)
    np.testing.assert_array_equal(got["best"], expected["best"])
    alone = run(graph, {**inputs, "input.x": inputs["input.x"][-1:]}, 1)
    np.testing.assert_array_equal(alone["y"][0], got["y"][-1])


def test_random_draws_are_the_interpreters() -> None:
    graph = Graph()
    graph.outputs["a"] = ops.random(graph, (5, 37), 11, DType.float32)
    graph.outputs["b"] = ops.random(graph, (5, 3), 12, DType.float64)
    expected, got = evaluate(graph, {}, rows=1, seed=7, step=3), run(graph, {})
    for name in ("a", "b"):
        np.testing.assert_array_equal(got[name], expected[name])
