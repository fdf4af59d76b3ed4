"""Emitted CUDA text against the interpreter: every operation and its derivative, by threads, warps and blocks.

All cases of a type are one module, compiled once by g++; the emulator runs it with different numbers and orders of threads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from cases import DEVICES, EMULATED, Arrays, assert_same, grid_always, run, team_always
from test_backend import CASES, arrays, scaled

from netc.compiler import ops
from netc.compiler.backends.cuda.mapping import Team
from netc.compiler.backends.cuda.module import Module
from netc.compiler.backends.cuda.scalars import ROWS as CUDA_ROWS
from netc.compiler.gradient import vjp
from netc.compiler.graph import ROWS, DType, Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.ir import Scalar
from netc.compiler.loops.lower import lower
from netc.compiler.ops.record import NotDifferentiable
from netc.compiler.pipeline import build_cuda
from netc.runtime.artifact import Artifact
from netc.runtime.cuda.units import Library

TOLERANCE = {DType.float32: 2e-6, DType.float64: 1e-12}


def test_every_scalar_operation_has_a_row() -> None:
    assert set(CUDA_ROWS) == set(Scalar)


@cache
def graphs(dtype: DType) -> dict[str, tuple[Graph, Arrays]]:
    """For each case a graph of its value and its derivatives, and inputs."""
    found: dict[str, tuple[Graph, Arrays]] = {}
    for number, (operation, plain) in enumerate(CASES):
        case, rng = scaled(plain, dtype), np.random.default_rng(0)
        graph = Graph(f"{operation.name}_{number}")
        leaves = tuple(ops.input(graph, f"x{i}", t.dtype, t.shape) for i, t in enumerate(case.inputs))
        value = graph.add(operation, leaves, **dict(case.attrs))
        graph.outputs["y"] = value
        inputs = arrays(case, rng)
        if not isinstance(operation.vjp, NotDifferentiable):
            shape: Any = value.shape
            c = ops.input(graph, "c", value.dtype, value.shape)
            inputs["c"] = np.asarray(rng.normal(size=shape), dtype=value.dtype.value)
            wrt = [leaf for leaf in leaves if leaf.dtype.is_float]
            for i, gradient in enumerate(vjp(graph, [(value, c)], wrt)):
                graph.outputs[f"d{i}"] = gradient
        found[graph.name] = graph, inputs
    return found


def module(dtype: DType) -> Artifact:
    return build_cuda({n: g for n, (g, _) in graphs(dtype).items()}, {}, EMULATED)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("team", Team)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_operations(
    dtype: DType, team: Team, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    grid_always(monkeypatch)
    team_always(monkeypatch, team)
    monkeypatch.setattr("netc.runtime.cache.cached", lambda name, make: make())
    library = Library(module(dtype), DEVICES[device]())
    for name, (graph, inputs) in graphs(dtype).items():
        wanted = evaluate(graph, inputs, rows=1, step=3, seed=7)
        assert_same(run(library, name, graph, inputs), wanted, TOLERANCE[dtype])


def test_the_texts_of_teams_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    for team in Team:
        team_always(monkeypatch, team)
        made = Module(EMULATED)
        made.add(lower(reductions(), {}, vector_bytes=0), "unit")
        texts.add(made.text())
    assert len(texts) == len(Team)


def reductions() -> Graph:
    """Sums, largest elements and their places, of rows and over them, with NaN among them."""
    graph = Graph("reductions")
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 5, 70))
    for name, dims in (("row", [1, 2]), ("last", [2]), ("all", [0, 1, 2]), ("column", [0])):
        graph.outputs[f"sum.{name}"] = ops.sum(graph, x, dims)
        graph.outputs[f"max.{name}"] = ops.max(graph, x, dims)
        graph.outputs[f"argmax.{name}"] = ops.argmax(graph, x, dims)
    return graph


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("team", Team)
@pytest.mark.parametrize("rows", [1, 37])
def test_reductions(rows: int, team: Team, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    team_always(monkeypatch, team)
    monkeypatch.setattr("netc.runtime.cache.cached", lambda name, make: make())
    graph = reductions()
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(rows, 5, 70)), 1).astype("f4")  # many equal elements
    x[rows // 2, 3, [11, 40]] = np.nan
    library = Library(build_cuda({"unit": graph}, {}, EMULATED), DEVICES[device]())
    wanted = evaluate(graph, {"input.x": x})
    assert np.isnan(wanted["max.all"])
    assert_same(run(library, "unit", graph, {"input.x": x}, rows), wanted, 2e-6)


def test_random_draws_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    graph = Graph("draws")
    graph.outputs["a"] = ops.random(graph, (5, 37), 11, DType.float32)
    graph.outputs["b"] = ops.random(graph, (5, 3), 12, DType.float64)
    library = Library(build_cuda({"unit": graph}, {}, EMULATED), DEVICES["mixed"]())
    seed = 7 + (5 << 32)
    wanted = evaluate(graph, {}, rows=1, seed=seed, step=3)
    got = run(library, "unit", graph, {}, seed=seed)
    for name in ("a", "b"):
        np.testing.assert_array_equal(got[name], wanted[name])


def test_a_row_gives_the_same_bits_in_any_batch_and_on_any_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    graph = Graph("softmax")
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 700))
    w = ops.input(graph, "w", DType.float32, (9, 700))
    h = ops.contract(graph, x, w, [(1, 1)])
    e = ops.exp(graph, ops.sub(graph, h, ops.broadcast(graph, ops.max(graph, h, [1]), h.shape, [0])))
    graph.outputs["y"] = ops.div(graph, e, ops.broadcast(graph, ops.sum(graph, e, [1]), h.shape, [0]))
    made, rng = build_cuda({"unit": graph}, {}, EMULATED), np.random.default_rng(0)
    inputs = {"input.x": rng.normal(size=(20, 700)).astype("f4"), "w": rng.normal(size=(9, 700)).astype("f4")}
    bits = set()
    for device in ("one block", "three blocks"):
        library = Library(made, DEVICES[device]())
        for rows in (1, 7, 20):
            part = {**inputs, "input.x": inputs["input.x"][-rows:]}
            bits.add(run(library, "unit", graph, part, rows)["y"][-1].tobytes())
    assert len(bits) == 1


def test_wide_indices_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    graph, x = reductions(), np.random.default_rng(0).normal(size=(9, 5, 70)).astype("f4")
    made = build_cuda({"unit": graph}, {}, EMULATED)
    assert made.most_rows == 2**30 // 350
    results = []
    for most in (made.most_rows, 8):
        library = Library(replace(made, most_rows=most), DEVICES["mixed"]())
        results.append(run(library, "unit", graph, {"input.x": x}, 9))
    for name, array in results[0].items():
        assert array.tobytes() == results[1][name].tobytes()
