"""Fusion of kernels: what runs as one, what must not, and that results stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import ops, units
from netc.compiler.backends.llvm.module import Module
from netc.compiler.graph import ROWS, DType, Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.interpreter import run
from netc.compiler.loops.ir import Apply, Load, Reduction, Scalar, Scheduled
from netc.compiler.loops.lower import choose_orders, lower
from netc.compiler.loops.rewrite import walk
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Model, Unit


def native(graph: Graph, inputs: dict[str, Any], rows: int = 1) -> dict[str, Any]:
    artifact = build({"unit": graph}, {})
    return Unit(Library(artifact), artifact.units["unit"], Model((), 0)).call(inputs, rows)


def kernels(graph: Graph, *, fused: bool = True) -> list[str]:
    return [k.kernel.name for k in lower(graph, choose_orders(graph), fused=fused).kernels]


def test_readers_at_the_same_point_join() -> None:
    graph = Graph()
    x = ops.input(graph, "x", DType.float64, (40, 40))
    total = ops.contract(graph, x, x, [(1, 1)])
    graph.outputs["y"] = ops.add(graph, ops.exp(graph, total), ops.mul(graph, total, total))
    assert len(kernels(graph)) == 1
    assert len(kernels(graph, fused=False)) == 2
    value = np.random.default_rng(0).normal(size=(40, 40)) / 10
    np.testing.assert_allclose(
        native(graph, {"x": value})["y"], evaluate(graph, {"x": value})["y"], rtol=1e-12
    )


def test_readers_at_other_points_do_not() -> None:
    graph = Graph()
    x = ops.input(graph, "x", DType.float64, (40, 40))
    total = ops.contract(graph, x, x, [(0, 1)])
    graph.outputs["y"] = ops.sub(graph, total, ops.permute(graph, total, (1, 0)))
    assert len(kernels(graph)) == 2
    value = np.random.default_rng(1).normal(size=(40, 40))
    np.testing.assert_allclose(
        native(graph, {"x": value})["y"], evaluate(graph, {"x": value})["y"], rtol=1e-12, atol=1e-12
    )


def test_an_update_in_place_keeps_what_others_still_read() -> None:
    """Two tensors exchange their contents: neither may be overwritten before the other has been read."""
    graph = Graph()
    a = ops.input(graph, "param.a", DType.float64, (6, 6))
    b = ops.input(graph, "param.b", DType.float64, (6, 6))
    graph.outputs["param.a"] = ops.permute(graph, b, (1, 0))
    graph.outputs["param.b"] = ops.permute(graph, a, (1, 0))
    unit = lower(graph, {})
    first, second = np.arange(36.0).reshape(6, 6), -np.arange(36.0).reshape(6, 6)
    found = run(unit, {"param.a": first, "param.b": second}, rows=1)
    np.testing.assert_array_equal(found["param.a"], second.T)
    np.testing.assert_array_equal(found["param.b"], first.T)


def step(source: str) -> list[Scheduled]:
    """The kernels of a training step."""
    model = netc.compile(source=source)
    assert model.plan is not None
    goal = model.plan.goal(units.output_type(model.network))
    return list(lower(units.step(model.network, model.plan, goal), model.orders).kernels)


WIDE = """
net wide { input x: [1024]; linear(1024); relu; linear(1024); relu; linear(10) }
train { loss = cross_entropy_loss(); optimizer = adam() }
"""


def test_a_large_weights_gradient_and_its_update_are_one_kernel() -> None:
    """The gradient of the activations, which reads the old weights, comes before; states are asked for ahead."""
    for name in ("param.0.weight", "param.2.weight"):
        writers = [k for k in step(WIDE) if name in (s.buffer.name for s in k.kernel.stores)]
        assert [len(k.kernel.stores) for k in writers] == [3]
        states = {f"state.{name[6:]}.{x}" for x in ("exp_avg", "exp_avg_sq")}
        assert writers[0].schedule.ahead == states | {name}


def test_an_activation_is_computed_once_for_all_products_that_read_it() -> None:
    """And stored in place of what it was computed from."""
    products = 0
    for scheduled in step(WIDE):
        for e in walk(*(s.value for s in scheduled.kernel.stores)):
            is_large = [a.extent for a in scheduled.kernel.axes] in ([ROWS, 1024], [1024, 1024])
            if (
                isinstance(e, Reduction)
                and isinstance(e.body, Apply)
                and e.body.op is Scalar.mul
                and is_large
            ):
                assert all(isinstance(x, Load) for x in e.body.arguments)
                products += 1
    assert products == 6
    plain = [[s for s in k.kernel.stores if s.buffer.panel == 1] for k in step(WIDE)[:2]]
    assert [len(stores) for stores in plain] == [1, 1]


def test_parts_of_one_shape_are_stored_side_by_side() -> None:
    """One loop over a part, which computes what they share once, and nothing is chosen between."""
    graph = Graph()
    x = ops.input(graph, "x", DType.float64, (ROWS, 40))
    shared = ops.exp(graph, x)
    parts = [ops.mul(graph, shared, x), ops.neg(graph, shared), ops.add(graph, shared, x)]
    graph.outputs["y"] = ops.concat(graph, parts, 1)
    (scheduled,) = lower(graph, choose_orders(graph)).kernels
    assert len({s.index for s in scheduled.kernel.stores}) == 3
    assert scheduled.kernel.axes[-1].extent == 40
    value = np.random.default_rng(2).normal(size=(7, 40))
    wanted = evaluate(graph, {"x": value})["y"]
    np.testing.assert_allclose(native(graph, {"x": value}, 7)["y"], wanted, rtol=1e-12)
    np.testing.assert_allclose(run(lower(graph, {}), {"x": value}, rows=7)["y"], wanted, rtol=1e-12)


def test_the_seeds_step_is_one_loop_over_the_rows() -> None:
    source = """
net seed { input x: [3]; linear(32); relu; linear(1) }
train { loss = mse_loss(reduction = "sum"); optimizer = sgd(lr = 1e-4); epochs = 1 }
"""
    kernels = step(source)
    assert [k.kernel.resident for k in kernels] == [True, False, False, False, False]
    assert not any(ROWS in b.shape for k in kernels for b in (s.buffer for s in k.kernel.stores))


@pytest.mark.parametrize("depth", [2, 6])
def test_equal_layers_share_their_code(depth: int) -> None:
    """Code grows with the kinds of layers, not with their number."""
    source = f"net deep {{ input x: [24]; repeat {depth} {{ linear(24); tanh }} }}"
    model = netc.compile(source=source)
    module = Module()
    module.add(lower(units.predict(model.network), model.orders), "predict")
    assert len(module.kernels) <= 2  # the last layer writes the output, the others work memory
