"""The loop interpreter against the graph interpreter: every operation, every derivative, whole training steps.

In: the operations' cases and ``tests/reference``. Out: what lowering, fusion, ordering, updates in place and the memory
plan make of a graph has the graph's values, in float64 to 1e-12 of a tensor's largest element.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_graph_reference import counters, graphs, initial
from test_ops import CASES, IDS, arrays, build
from training_reference import NAMES, load

from netc.compiler import ops
from netc.compiler.backends.llvm.scalars import ROWS as LLVM_ROWS
from netc.compiler.gradient import vjp
from netc.compiler.graph import ROWS, DType, Graph, Value
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.interpreter import SCALARS, run
from netc.compiler.loops.ir import Affine, Axis, Kernel, Load, Scalar, Schedule, Scheduled, Store
from netc.compiler.loops.lower import lower
from netc.compiler.loops.patterns import Call
from netc.compiler.loops.unit import Unit
from netc.compiler.ops.record import Case, NotDifferentiable, Operation
from netc.compiler.pipeline import model_layout
from netc.compiler.verify import InternalError, verify_unit

TOLERANCE = 1e-12


def assert_same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(got) == set(wanted)
    for name, expected in wanted.items():
        assert got[name].dtype == expected.dtype, name
        scale = max(float(np.max(np.abs(expected), initial=0)), 1.0) if expected.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=TOLERANCE * scale, err_msg=name)


def test_every_scalar_operation_is_defined_everywhere() -> None:
    assert set(SCALARS) == set(Scalar)
    assert set(LLVM_ROWS) == set(Scalar)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("operation", "case"), CASES, ids=IDS)
def test_operation_and_derivative(operation: Operation, case: Case, fused: bool) -> None:
    graph, value = build(operation, case)
    inputs = arrays(case, np.random.default_rng(0))
    graph.outputs["y"] = value
    if not isinstance(operation.vjp, NotDifferentiable):
        inputs["c"] = np.random.default_rng(1).normal(size=value.shape)  # type: ignore[arg-type]
        _add_derivatives(graph, value)
    assert_same(run(lower(graph, {}, fused=fused), inputs), evaluate(graph, inputs, rows=1))


def _add_derivatives(graph: Graph, value: Value) -> None:
    wrt = [leaf for leaf in graph.inputs.values() if leaf.dtype.is_float]
    cotangent = ops.input(graph, "c", value.dtype, value.shape)
    for i, gradient in enumerate(vjp(graph, [(value, cotangent)], wrt)):
        graph.outputs[f"d{i}"] = gradient


@pytest.mark.parametrize("vector_bytes", [16, 64])
@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize("name", NAMES)
def test_training_step(name: str, rows: int, vector_bytes: int) -> None:
    reference = load(name, "float64")
    step, gradient, state = graphs(reference)
    leaves = {**initial(reference), **state, **counters(2)}
    leaves |= {"input.x": _rows(reference.input[0], rows), "target": _rows(reference.target[0], rows)}
    orders = {x.name: x.order for x in model_layout(step)[0]}
    for graph in (step, gradient):
        unit = lower(graph, orders, vector_bytes=vector_bytes)
        verify_unit(unit)
        wanted = evaluate(graph, leaves, step=3, seed=5)
        assert_same(run(unit, leaves, rows=rows, step=3, seed=5), wanted)


def _rows(array: Any, count: int) -> Any:
    return array[np.arange(count) % len(array)]


def test_random_draws() -> None:
    graph = Graph()
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 3))
    graph.outputs["y"] = ops.mul(graph, x, ops.random(graph, (ROWS, 3), 11, DType.float32))
    inputs = {"input.x": np.ones((5, 3), np.float32)}
    wanted = evaluate(graph, inputs, seed=7, step=3)
    assert_same(run(lower(graph, {}), inputs, rows=5, seed=7, step=3), wanted)
    assert not np.array_equal(run(lower(graph, {}), inputs, rows=5, seed=8, step=3)["y"], wanted["y"])


def chain() -> tuple[Unit, dict[str, Any]]:
    """A normalised exp(x @ w) times w again, with buffers between the kernels."""
    graph = Graph()
    x = ops.input(graph, "input.x", DType.float64, (ROWS, 4))
    w = ops.input(graph, "param.w", DType.float64, (4, 6))
    h = ops.exp(graph, ops.contract(graph, x, w, [(1, 0)]))
    total = ops.broadcast(graph, ops.sum(graph, h, [1]), h.shape, [0])
    graph.outputs["y"] = ops.contract(graph, ops.div(graph, h, total), w, [(1, 1)])
    rng = np.random.default_rng(0)
    inputs = {"input.x": rng.normal(size=(3, 4)), "param.w": rng.normal(size=(4, 6))}
    return lower(graph, {}, fused=False), inputs


def test_a_load_out_of_bounds_raises() -> None:
    unit, inputs = chain()
    axis = Axis("i", 5)
    w = unit.inputs["param.w"]
    store = Store(unit.outputs["y"], (Affine.of(axis),), Load(w, (Affine.of(axis), Affine())))
    broken = replace(unit, calls=(Call.of(Scheduled(Kernel("k", (axis,), (store,)), Schedule())),))
    with pytest.raises(IndexError, match=r"kernel k leaves param\.w"):
        run(broken, inputs, rows=3)


def test_what_was_never_written_is_not_a_number() -> None:
    unit, inputs = chain()
    assert len(unit.kernels) > 1
    result = run(replace(unit, calls=unit.calls[1:]), inputs, rows=3)
    assert np.isnan(result["y"]).all()


def test_places_that_overlap_are_seen() -> None:
    unit, inputs = chain()
    right = run(unit, inputs, rows=3)["y"]
    assert len(unit.memory.offsets) > 2
    together = replace(unit.memory, offsets={n: (0, 0) for n in unit.memory.offsets})
    wrong = run(replace(unit, memory=together), inputs, rows=3)["y"]
    assert not np.allclose(wrong, right)


def test_a_right_unit_is_verified() -> None:
    verify_unit(chain()[0])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("order", "before it is written"),
        ("output", "is never written"),
        ("memory", "lie over each other"),
        ("place", "has no place in memory"),
        ("axis", "does not bind"),
        ("neighbour", "at another place than it writes"),
    ],
)
def test_a_wrong_unit_is_refused(what: str, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        verify_unit(broken(what))


def broken(what: str) -> Unit:
    unit, _ = chain()
    plan, last = unit.memory, unit.kernels[-1]
    match what:
        case "order":
            return replace(unit, calls=unit.calls[::-1])
        case "output":
            return replace(unit, calls=unit.calls[:-1])
        case "memory":
            return replace(unit, memory=replace(plan, offsets={n: (0, 0) for n in plan.offsets}))
        case "place":
            return replace(unit, memory=replace(plan, offsets={}))
        case "axis":
            changed = replace(last.kernel, axes=last.kernel.axes[1:])
        case _:
            w, i = unit.inputs["param.w"], Axis("i", 4)
            shifted = Store(w, (Affine.of(i), Affine()), Load(w, (Affine.of(i), Affine((), 1))))
            changed = Kernel("k", (i,), (shifted,))
    return replace(unit, calls=(*unit.calls[:-1], Call.of(Scheduled(changed, last.schedule))))
