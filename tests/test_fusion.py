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
from netc.compiler.loops.lower import choose_orders, lower
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


def test_the_seeds_step_is_one_loop_over_the_rows() -> None:
    source = """
net seed { input x: [3]; linear(32); relu; linear(1) }
train { loss = mse_loss(reduction = "sum"); optimizer = sgd(lr = 1e-4); epochs = 1 }
"""
    model = netc.compile(source=source)
    assert model.plan is not None
    goal = model.plan.goal(units.output_type(model.network))
    unit = lower(units.step(model.network, model.plan, goal), model.orders)
    assert [k.kernel.resident for k in unit.kernels] == [True, False, False, False, False]
    assert not any(ROWS in b.shape for k in unit.kernels for b in (s.buffer for s in k.kernel.stores))


@pytest.mark.parametrize("depth", [2, 6])
def test_equal_layers_share_their_code(depth: int) -> None:
    """Code grows with the kinds of layers, not with their number."""
    source = f"net deep {{ input x: [24]; repeat {depth} {{ linear(24); tanh }} }}"
    model = netc.compile(source=source)
    module = Module()
    module.add(lower(units.predict(model.network), model.orders), "predict")
    assert len(module.kernels) <= 2  # the last layer writes the output, the others work memory
