"""Random networks: compiled gradients against the graph interpreter's; a row's bits in any batch; any threads.

``NETC_NETWORKS=1000`` tries that many.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import programs

import netc
from netc.compiler import units
from netc.compiler.interpreter import evaluate
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Unit

TRIES = int(os.environ.get("NETC_NETWORKS", "12"))
ROWS = (1, 2, 7, 16, 33)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_gradients_of_random_networks(dtype: str, data: st.DataObject) -> None:
    source = data.draw(programs())
    rows = data.draw(st.sampled_from(ROWS))
    model = netc.compile(source=source, dtype=dtype, seed=1)
    leaves = inputs(model, rows, dtype)
    graph = units.backward(model.network, training=True)
    artifact = build({graph.name: graph}, model.orders)
    unit = Unit(Library(artifact), artifact.units[graph.name], model.memory)
    got = unit.call(leaves, rows, step=1, seed=2)
    wanted = evaluate(graph, leaves | dict(model.memory.views), rows=rows, seed=2, step=1)
    bound = (
        2e-3 if dtype == "float32" else 1e-9
    )  # normalising a constant magnifies rounding; errors of code are large
    for path, array in wanted.items():
        scale = max(float(np.max(np.abs(array), initial=0.0)), 1.0)
        assert np.max(np.abs(np.asarray(got[path]) - array), initial=0.0) <= bound * scale, path


@settings(max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=programs())
def test_a_row_has_the_same_bits_in_any_batch(source: str) -> None:
    model = netc.compile(source=source, seed=1)
    leaves = inputs(model, 33, "float32")["input.x"]
    whole = model.predict(leaves)
    for first, last in ((0, 1), (5, 6), (3, 20), (32, 33)):
        np.testing.assert_array_equal(model.predict(leaves[first:last]), whole[first:last])


def inputs(model: Any, rows: int, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    shape = model.network.inputs[0].shape
    rest = [d for d in units.output_type(model.network).shape if isinstance(d, int)]
    return {
        "input.x": rng.normal(size=(rows, *shape)).astype(dtype),
        "cotangent": rng.normal(size=(rows, *rest)).astype(dtype),
    }
