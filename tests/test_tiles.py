"""How products are cut into tiles, blocks and chunks: whatever the extents, the results are the interpreter's, and a row's
bits do not depend on the rows beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import ops, units
from netc.compiler.backends.llvm.target import named, native
from netc.compiler.graph import ROWS, DType, Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.ir import Space
from netc.compiler.loops.lower import lower
from netc.compiler.loops.schedule import even_border
from netc.compiler.pipeline import build, model_layout
from netc.runtime.cpu import Library, Model, Unit


def product(width: int, terms: int) -> Graph:
    """relu(x @ w.T + b)."""
    graph = Graph("product")
    x = ops.input(graph, "input.x", DType.float32, (ROWS, terms))
    w = ops.input(graph, "param.w", DType.float32, (width, terms))
    b = ops.input(graph, "param.b", DType.float32, (width,))
    y = ops.contract(graph, x, w, [(1, 1)])
    y = ops.add(graph, y, ops.broadcast(graph, b, y.shape, [1]))
    zero = ops.broadcast(graph, ops.constant(graph, 0.0, DType.float32), y.shape, [])
    graph.outputs["y"] = ops.where(graph, ops.lt(graph, y, zero), zero, y)
    return graph


def ready(graph: Graph, cpu: str = "native") -> tuple[Unit, Model]:
    layouts, size = model_layout(graph)
    memory = Model(layouts, size)
    rng = np.random.default_rng(0)
    for view in memory.views.values():
        view[...] = rng.normal(size=view.shape)
    orders = {x.name: x.order for x in layouts}
    artifact = build({graph.name: graph}, orders, target=named(cpu))
    return Unit(Library(artifact), artifact.units[graph.name], memory), memory


def scheduled(graph: Graph, vector_bytes: int = 32) -> list[Any]:
    orders = {x.name: x.order for x in model_layout(graph)[0]}
    return [k.schedule for k in lower(graph, orders, vector_bytes=vector_bytes).kernels]


@pytest.mark.parametrize("cpu", ["native", "x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("width", [8, 10, 24, 50])
@pytest.mark.parametrize("rows", [1, 5, 6, 7, 11, 26])
def test_any_number_of_rows(rows: int, width: int, cpu: str) -> None:
    if named(cpu).missing:
        pytest.skip(f"this machine lacks {', '.join(named(cpu).missing)}")
    graph = product(width, 40)
    unit, memory = ready(graph, cpu)
    x = np.random.default_rng(1).normal(size=(rows, 40)).astype("f4")
    got = unit.call({"input.x": x}, rows)["y"]
    wanted = evaluate(graph, {"input.x": x, **memory.views}, rows=rows)["y"]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    for i in range(rows):
        alone = unit.call({"input.x": x[i : i + 1]}, 1)["y"]
        np.testing.assert_array_equal(alone[0], got[i])


@pytest.mark.parametrize("rows", [8, 20, 35, 64])
@pytest.mark.parametrize("terms", [2048, 2049, 5000])
def test_a_long_sum_is_added_up_in_chunks(terms: int, rows: int) -> None:
    graph = product(40, terms)
    assert any(s.chunk and terms > s.chunk for s in scheduled(graph))
    unit, memory = ready(graph)
    x = np.random.default_rng(1).normal(size=(rows, terms)).astype("f4")
    got = unit.call({"input.x": x}, rows)["y"]
    exact = {"input.x": x.astype("f8"), **{n: v.astype("f8") for n, v in memory.views.items()}}
    wanted = np.maximum(exact["input.x"] @ exact["param.w"].T + exact["param.b"], 0)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(unit.call({"input.x": x[7:8]}, 1)["y"][0], got[7])


def test_chunks_do_not_change_the_order_of_additions() -> None:
    """One unit of float32 lost on the way would be seen: the sum of the chunks is that of a plain loop."""
    terms = 4096
    graph = product(16, terms)
    unit, memory = ready(graph)
    for view in memory.views.values():
        view[...] = 0
    memory.views["param.w"][:] = 1
    x = np.full((6, terms), np.float32(0.1))
    wanted = np.float32(0)
    for value in x[0]:
        wanted = np.float32(wanted + value)
    np.testing.assert_array_equal(unit.call({"input.x": x}, 6)["y"], np.full((6, 16), wanted))


PLACES = """
net words {{
    input x: [{places}, 24]
    linear(40)
    relu
    linear(16)
}}
train {{ loss = mse_loss; optimizer = adam(lr = 0.01); batch = full; epochs = 1 }}
"""


@pytest.mark.parametrize("rows", [1, 30, 77])
def test_gradients_over_observations_and_places(rows: int) -> None:
    """A sum that waits in a buffer of its own, since the kernel changes what it stores."""
    source = PLACES.format(places=32)
    model, twin = netc.compile(source=source, seed=1), netc.compile(source=source, seed=1)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(rows, 32, k)).astype("f4") for k in (24, 16))
    goal, data, _ = model._observations((x, y))
    assert model.plan is not None
    graph = units.step(model.network, model.plan, goal)
    unit = lower(graph, model.orders, vector_bytes=native().vector_bytes)
    waiting = [s for k in unit.kernels for s in k.kernel.stores if s.room]
    assert waiting
    assert all(s.buffer.space is Space.work for s in waiting)
    leaves = {**data, **twin.memory.views, "scalar.step": np.asarray(1), "scalar.epoch": np.asarray(0)}
    leaves |= {f"scalar.{n}": np.asarray(1) for n in ("steps", "epochs", "steps_per_epoch")}
    leaves["scalar.epoch_loss"] = np.asarray(np.inf)
    wanted = evaluate(graph, leaves, rows=rows, seed=1, step=1)
    model.fit(x, y, epochs=1)
    for name, view in model.memory.views.items():
        np.testing.assert_allclose(view, wanted[name], rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("extent", "points"), [(512, 6), (784, 6), (10, 5), (7, 4), (6, 6), (13, 7), (40, 8)]
)
def test_tiles_of_even_size_fill_an_axis(extent: int, points: int) -> None:
    border = even_border(extent, points)
    assert border % points == 0
    assert 0 <= border <= extent
    assert (extent - border) % max(points - 1, 1) == 0


def test_no_tile_is_much_smaller_than_the_others() -> None:
    """A product of many columns has tiles of six rows where the registers are few, also where six divides nothing."""
    for schedule in scheduled(product(64, 512)):
        if schedule.unroll:
            assert dict(schedule.unroll) == {"i0": 6}
            assert schedule.vectors == 2


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (24, 9), (40, 24), (7, 16), (64, 33)])
@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
def test_what_is_read_across_memory_is_turned_in_registers(shape: tuple[int, int], dtype: DType) -> None:
    graph = Graph("turned")
    x = ops.input(graph, "param.x", dtype, shape)
    graph.outputs["y"] = ops.permute(graph, x, [1, 0])
    unit, memory = ready(graph)
    np.testing.assert_array_equal(unit.call({}, 1)["y"], memory.views["param.x"].T)
