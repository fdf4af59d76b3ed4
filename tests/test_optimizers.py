"""Optimizers: fifty native steps against torch's, whose results are stored."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from library.optimizers import CASES, REFERENCE, STEPS
from safetensors.numpy import load_file

import netc
from netc.compiler.elaborate.program import library_kinds

OTHERWISE = {"muon", "frozen"}
"""Tested by what it promises: torch computes its iteration in bfloat16."""


@cache
def reference() -> dict[str, Any]:
    return dict(load_file(REFERENCE))


def trained(optimizer: str, dtype: str, steps: int) -> dict[str, Any]:
    call = optimizer if "(" in optimizer else f"{optimizer}()"
    source = f"""
net a {{ input x: [3]; linear(5); tanh; linear(2) }}
train {{ loss = mse_loss(); optimizer = {call}; epochs = {steps}; batch = full }}
"""
    model = netc.compile(source=source, dtype=dtype)
    stored = reference()
    model.load_state_dict({n: stored[f"first/{n}"].astype(dtype) for n in model.state_dict()})
    model.fit(stored["x"], stored["y"], epochs=steps, batch="full", shuffle=False)
    return dict(model.state_dict())


def bound_of(optimizer: str, dtype: str, steps: int) -> float:
    """Torch keeps one of nadam's factors in float32; in float32 small differences of gradients grow with the steps."""
    if dtype == "float64":
        return 1e-6 if optimizer.startswith("nadam") else 1e-9
    return 2e-3 if steps > 10 else 2e-4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", CASES)
def test_steps_are_torchs(optimizer: str, dtype: str) -> None:
    signs = optimizer.startswith(("lion", "rprop"))
    for steps in STEPS if dtype == "float64" else (1, 10) if signs else (1, 50):
        got = trained(optimizer, dtype, steps)
        for name, array in got.items():
            bound = bound_of(optimizer, dtype, steps)
            np.testing.assert_allclose(
                array,
                reference()[f"{optimizer}/{steps}/{name}"],
                rtol=bound,
                atol=bound,
                err_msg=f"{name} after {steps}",
            )


def test_every_optimizer_has_a_case() -> None:
    tested = {name.split("(")[0] for name in CASES}
    assert tested | OTHERWISE == {n for n, kind in library_kinds().items() if kind == "optimizer"}


def test_muon_moves_matrices_along_orthogonal_directions() -> None:
    source = """
net a { input x: [6]; linear(16); tanh; linear(2) }
train { loss = mse_loss(); optimizer = muon(lr = 0.1, weight_decay = 0); epochs = 1; batch = full }
"""
    model = netc.compile(source=source, dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    before = {n: np.array(a) for n, a in model.state_dict().items()}
    model.fit(rng.normal(size=(50, 6)), rng.normal(size=(50, 2)), batch="full")
    for name, array in model.state_dict().items():
        moved = before[name] - array
        if moved.ndim == 2:
            rows, columns = moved.shape
            values = np.linalg.svd(moved / 0.1 / np.sqrt(max(1, rows / columns)), compute_uv=False)
            assert np.all((values > 0.3) & (values < 1.3)), name
        else:
            np.testing.assert_allclose(np.abs(moved), 1e-3, rtol=1e-4)  # adamw's first step
