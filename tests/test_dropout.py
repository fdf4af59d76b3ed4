"""Layers that draw: how often, how they scale, whole channels, and the same draws in forward and backward passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

import netc

Array = NDArray[np.float64]
SHAPES = {
    "dropout": (400, 30), "dropout1d": (300, 20, 3), "dropout2d": (300, 20, 2, 3), "dropout3d": (300, 20, 2, 1, 2),
    "alpha_dropout": (400, 30), "feature_alpha_dropout": (300, 20, 2, 3),
}  # fmt: skip
ELEMENTWISE = ("dropout", "alpha_dropout")
LOWEST = -1.7580993408473766


def passed(stages: str, x: Array, seed: int = 5, calls: int = 1) -> tuple[Array, Array]:
    """The output of the last of some calls in training, and the gradient of its sum."""
    source = f"net a {{ input x: {list(x.shape[1:])}; {stages} }}"
    model = netc.compile(source=source, dtype="float64", seed=seed)
    for _ in range(calls):
        model.zero_grad()
        output = model(x)
    output.backward(np.ones_like(output))
    gradient = model.input.grad
    assert gradient is not None
    assert (model.predict(x) == x).all() or "rrelu" in stages
    return np.asarray(output), gradient


def numbers(name: str) -> Array:
    return np.random.default_rng(1).standard_normal(SHAPES[name]) + 3


def first_of_channel(x: Array, name: str) -> Array:
    """One element for each draw; where channels fall whole, all of a channel agree."""
    if name in ELEMENTWISE:
        return x
    flat = x.reshape(*x.shape[:2], -1)
    assert (flat == flat[..., :1]).all()
    return np.asarray(flat[..., 0])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_how_many_fall(name: str, p: float) -> None:
    _, gradient = passed(f"{name}({p})", numbers(name))
    fallen = first_of_channel(gradient == 0, name)
    assert abs(fallen.mean() - p) < 4 * math.sqrt(p * (1 - p) / fallen.size)
    columns = fallen.mean(0)
    assert np.abs(columns - p).max() < 5 * math.sqrt(p * (1 - p) / len(fallen))


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_left_is_scaled(name: str) -> None:
    p, x = 0.3, numbers(name)
    y, gradient = passed(f"{name}({p})", x)
    a = 1 / math.sqrt((1 - p) * (1 + p * LOWEST**2)) if "alpha" in name else 1 / (1 - p)
    shift = -a * p * LOWEST if "alpha" in name else 0
    kept = gradient != 0
    np.testing.assert_allclose(gradient[kept], a)
    np.testing.assert_allclose(y[kept], a * x[kept] + shift)
    np.testing.assert_allclose(y[~kept], a * LOWEST + shift if "alpha" in name else 0)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = np.random.default_rng(2).standard_normal((2000, 50))
    y, _ = passed("alpha_dropout(0.4)", x)
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.03


@pytest.mark.parametrize("name", SHAPES)
def test_draws_depend_on_seed_step_and_layer(name: str) -> None:
    x = numbers(name)
    once = passed(f"{name}(0.5)", x)[0]
    assert (once == passed(f"{name}(0.5)", x)[0]).all()
    assert (once != passed(f"{name}(0.5)", x, seed=6)[0]).any()
    assert (once != passed(f"{name}(0.5)", x, calls=2)[0]).any()
    assert (once != passed(f"identity; {name}(0.5)", x)[0]).any()


@pytest.mark.parametrize("name", ["dropout", "dropout2d"])
def test_two_layers_fall_independently(name: str) -> None:
    _, gradient = passed(f"{name}(0.5); {name}(0.5)", numbers(name))
    kept = first_of_channel(gradient != 0, name)
    assert abs(kept.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / kept.size)


def test_rrelu_draws_its_slopes() -> None:
    x = -np.abs(np.random.default_rng(3).standard_normal((400, 30))) - 0.1
    y, slopes = passed("rrelu(0.1, 0.5)", x)
    np.testing.assert_allclose(y, slopes * x)
    assert slopes.min() >= 0.1
    assert slopes.max() < 0.5
    expected = 0.1 + 0.4 * (np.arange(slopes.size) + 0.5) / slopes.size
    assert np.abs(np.sort(slopes.ravel()) - expected).max() < 0.4 * 1.95 / math.sqrt(slopes.size)
    positive, ones = passed("rrelu", -x)
    np.testing.assert_array_equal(positive, -x)
    assert (ones == 1).all()


def test_training_draws_the_same_for_any_number_of_threads() -> None:
    source = (
        "net a { input x: [64]; linear(256); dropout; relu; alpha_dropout(0.1); linear(1) }\n"
        "train { loss = mse_loss(); optimizer = sgd(lr = 1e-3); batch = 256 }"
    )
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((512, 64)), rng.standard_normal((512, 1))
    models = [netc.compile(source=source, seed=1) for _ in range(2)]
    losses = [m.fit(x, y, epochs=3, threads=t).loss for m, t in zip(models, (1, 2), strict=True)]
    assert losses[0] == losses[1]
    for first, second in zip(*(m.state_dict().values() for m in models), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", SHAPES)
def test_a_probability_is_from_0_to_1(name: str) -> None:
    for p in ("-0.1", "1.5"):
        found = netc.check(f"net a {{ input x: {list(SHAPES[name][1:])}\n {name}({p}) }}\n")
        assert [d.code for d in found] == ["E0305"]
