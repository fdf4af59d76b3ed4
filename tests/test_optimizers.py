"""Optimizers: fifty native steps against torch's, whose results are stored."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from library.optimizers import CASES, REFERENCE, steps_of
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
    return 2e-3 if steps > 10 or optimizer.startswith("lbfgs") else 2e-4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", CASES)
def test_steps_are_torchs(optimizer: str, dtype: str) -> None:
    signs = optimizer.startswith(("lion", "rprop"))
    counts = steps_of(optimizer)
    for steps in counts if dtype == "float64" else (1, 10) if signs else (1, counts[-1]):
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


LINE = """
net line { input x: [4]; linear(1) }
train { loss = mse_loss(); optimizer = OPTIMIZER; epochs = 12; batch = full }
"""


def test_lbfgs_solves_least_squares_in_a_few_steps() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=(50, 4)), random.normal(size=(50, 1))
    text = LINE.replace("OPTIMIZER", 'lbfgs(line_search_fn = "strong_wolfe", history_size = 5)')
    model = netc.compile(source=text, dtype="float64")
    before = model.evaluate(x, y)["loss"]
    history = model.fit(x, y)
    wide = np.concatenate([x, np.ones((50, 1))], axis=1)
    best = np.linalg.lstsq(wide, y, rcond=None)[0]
    np.testing.assert_allclose(model.parameters()["0.weight"][0], best[:4, 0], atol=1e-5)
    assert history.loss[0] == pytest.approx(before, rel=1e-12), (
        "the loss is that of a step's first evaluation"
    )
    assert history.loss[-1] == pytest.approx(np.mean((wide @ best - y) ** 2), rel=1e-9)


@pytest.mark.parametrize("weight", [3.0, -3.0])
def test_a_line_search_comes_back_from_where_the_loss_is_infinite(weight: float) -> None:
    """exp(x w) overflows for the first trial steps, where torch's search ends in NaN."""
    text = """
fn steep(input, target) = mean(exp(input) - input)
net line { input x: [1]; linear(1, bias = false) }
train { loss = steep(); optimizer = lbfgs(1e4, line_search_fn = "strong_wolfe"); epochs = 3; batch = full }"""
    model = netc.compile(source=text)
    model.load_state_dict({"0.weight": np.full((1, 1), weight)})
    x = np.ones((5, 1))
    history = model.fit(x, x)
    assert history.loss[-1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (
            'train { loss = mse_loss(); optimizer = lbfgs(); optimizer = sgd() for "0.bias" }',
            "E0503",
            "several times",
        ),
        ("train { loss = mse_loss(); optimizer = lbfgs(); ema = 0.9 }", "E0503", "several times a step"),
        (
            'train { loss = mse_loss(); optimizer = lbfgs(line_search_fn = "wolf") }',
            "E0305",
            "none or strong_wolfe",
        ),
        (
            "optimizer o() { input param: [size]\n again <- param > 0 }\ntrain { loss = mse_loss(); optimizer = o() }",
            "E0303",
            "one condition",
        ),
        (
            "optimizer o() { veloicty <- grad }\ntrain { loss = mse_loss(); optimizer = o() }",
            "E0503",
            "no state",
        ),
        (
            "optimizer o() { state v: [3] = 0\n v <- grad }\ntrain { loss = mse_loss(); optimizer = o() }",
            "E0402",
            "`v` is [3]",
        ),
        (
            "optimizer o() { state v: [0] = 0\n v <- grad }\ntrain { loss = mse_loss(); optimizer = o() }",
            "E0304",
            "[0]",
        ),
        (
            "optimizer o() { input x: [n]\n param <- x }\ntrain { loss = mse_loss(); optimizer = o() }",
            "E0503",
            "input param: [size]",
        ),
    ],
)
def test_what_is_wrong_with_an_optimizer_is_said(program: str, code: str, said: str) -> None:
    found = netc.check("net line { input x: [4]; linear(1) }\n" + program)
    assert [d.code for d in found] == [code], [d.message for d in found]
    assert said in found[0].message


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
