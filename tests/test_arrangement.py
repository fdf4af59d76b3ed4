"""Factors of products copied in another arrangement: turned, in panels. The results are those without copies, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import units
from netc.compiler.backends.llvm.target import named
from netc.compiler.graph import Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops import arrangement
from netc.compiler.loops.interpreter import run
from netc.compiler.loops.lower import lower
from netc.compiler.loops.unit import Unit
from netc.compiler.verify import verify_unit
from netc.model import Model

PROGRAM = """
net layers {{
    input x: [{first}]
    linear({second})
    tanh
    linear({third})
    layer_norm
    linear(5)
}}
train {{ loss = cross_entropy_loss; optimizer = adam(lr = 0.01); batch = 200; epochs = 2 }}
"""
SIZES = [(32, 48, 64), (64, 80, 24), (16, 112, 32)]


def data(rows: int, first: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(rows, first)), rng.integers(0, 5, size=rows)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All matrices are large."""
    monkeypatch.setattr(arrangement, "LARGE", 1)
    return monkeypatch


def made(sizes: tuple[int, int, int], cpu: str = "native", **settings: Any) -> Model:
    first, second, third = sizes
    source = PROGRAM.format(first=first, second=second, third=third)
    model: Model = netc.compile(source=source, seed=4, cpu=cpu, **settings)
    return model


def step(model: Model, rows: int, *, many_rows: bool, vector_bytes: int = 32) -> tuple[Graph, Unit]:
    goal, _, _ = model._observations(data(rows, int(model.network.inputs[0].shape[-1])))
    assert model.plan is not None
    graph = units.step(model.network, model.plan, goal)
    return graph, lower(graph, model.orders, vector_bytes=vector_bytes, many_rows=many_rows)


def in_panels(unit: Unit) -> set[str]:
    return {b.name for k in unit.kernels for b in (s.buffer for s in k.kernel.stores) if b.panel > 1}


def test_small_matrices_stay_as_they_are() -> None:
    assert in_panels(step(made(SIZES[0]), 4, many_rows=True)[1]) == set()


def test_what_is_copied() -> None:
    model = made((512, 512, 512))
    few = in_panels(step(model, 4, many_rows=False)[1])
    many = in_panels(step(model, 4, many_rows=True)[1])
    weights = {"panels.param.0.weight", "panels.param.2.weight"}
    assert many - few == weights
    assert {"turned.param.2.weight", "panels.input.x"} <= few
    assert not any(n.endswith(("bias", "4.weight")) for n in many)  # 5 numbers are no cache line


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("rows", [1, 7, 16, 33])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_step_has_the_values_of_the_graph(
    sizes: tuple[int, int, int], rows: int, vector_bytes: int, small: pytest.MonkeyPatch
) -> None:
    model = made(sizes, dtype="float64")
    graph, unit = step(model, rows, many_rows=True, vector_bytes=vector_bytes)
    assert "panels.param.0.weight" in in_panels(unit)
    verify_unit(unit)
    x, y = data(rows, sizes[0])
    leaves = {"input.x": x, "target": y, **model.memory.views, "scalar.step": np.asarray(1)}
    wanted = evaluate(graph, leaves, step=1, seed=2)
    got = run(unit, leaves, rows=rows, step=1, seed=2)
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "full"), ("float32", "bf16"), ("float64", "full")]
)
@pytest.mark.parametrize("cpu", ["native", "x86-64-v2"])
@pytest.mark.parametrize("sizes", SIZES[1:], ids=str)
def test_a_run_has_the_bits_of_one_without_copies(
    sizes: tuple[int, int, int],
    cpu: str,
    dtype: str,
    precision: str,
    small: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if named(cpu).missing:
        pytest.skip(f"this machine lacks {', '.join(named(cpu).missing)}")
    x, y = data(457, sizes[0])

    def trained(threads: int) -> bytes:
        model = made(sizes, cpu, dtype=dtype, precision=precision)
        model.fit(x.astype(dtype), y, threads=threads)
        return model.memory.block.tobytes()

    small.setenv("NETC_CACHE_DIR", str(tmp_path / "copied"))
    copied = trained(1)
    assert trained(2) == copied
    small.setenv("NETC_CACHE_DIR", str(tmp_path / "plain"))
    small.setattr(arrangement, "LARGE", 1 << 60)
    assert trained(1) == copied
