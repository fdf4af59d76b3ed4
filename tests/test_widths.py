"""Vector widths of other processors: the same gradients from code for 128, 256 and 512 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import units
from netc.compiler.backends.llvm import compile as llvm
from netc.compiler.graph import ROWS, DType, TensorType
from netc.compiler.interpreter import evaluate
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Unit

NETWORKS = Path(__file__).parent / "reference"
ROWS_GIVEN = 21


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["dense", "convolution", "pooling", "softmax"])
def test_gradients_of_a_network(name: str, dtype: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if size > llvm.vector_bytes():
        pytest.skip("this processor has no such vectors")
    monkeypatch.setattr(llvm, "vector_bytes", lambda: size)
    model = netc.compile(NETWORKS / f"{name}.net", dtype=dtype, seed=2)
    rng = np.random.default_rng(1)
    kind = model.network.inputs[0]
    leaves: dict[str, Any] = {f"input.{kind.name}": rng.normal(size=(ROWS_GIVEN, *kind.shape)).astype(dtype)}
    output = units.output_type(model.network)
    rest = [d for d in output.shape if isinstance(d, int)]
    leaves["cotangent"] = rng.normal(size=(ROWS_GIVEN, *rest)).astype(dtype)
    assert output == TensorType(DType(dtype), (ROWS, *rest))
    graph = units.backward(model.network, training=True)
    artifact = build({graph.name: graph}, model.orders)
    unit = Unit(Library(artifact), artifact.units[graph.name], model.memory)
    got = unit.call(leaves, ROWS_GIVEN, step=1, seed=2)
    wanted = evaluate(graph, leaves | dict(model.memory.views), rows=ROWS_GIVEN, seed=2, step=1)
    bound = 2e-5 if dtype == "float32" else 1e-12
    for path, array in wanted.items():
        scale = max(float(np.max(np.abs(array))), 1e-3)
        assert np.max(np.abs(np.asarray(got[path]) - array)) <= bound * scale, path
