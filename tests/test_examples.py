"""The examples do on their data what they are for.

In: ``examples/``. Out: each learns what it should; the seed's tutorial runs from its first line to its last.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

EXAMPLES = Path(__file__).parent.parent / "examples"


def trained(name: str, seed: int = 0) -> tuple[Any, Any]:
    """The model after its file's own run, and the run's history."""
    model = netc.compile(EXAMPLES / f"{name}.net", seed=seed)
    return model, model.fit()


def test_digits_reach_97_percent() -> None:
    model, history = trained("digits")
    assert history.rows[-1].metrics["accuracy"] >= 0.97
    held = model.data.validation
    right = np.argmax(model.predict(held["x"]), axis=1) == held["target"]
    assert np.mean(right) == pytest.approx(history.rows[-1].metrics["accuracy"], abs=1e-9)


def test_diabetes_is_no_worse_than_a_linear_model() -> None:
    model, history = trained("diabetes")
    x, y = model.data.training["x"], model.data.training["target"]
    weights = np.linalg.lstsq(with_ones(x), y, rcond=None)[0]
    held = model.data.validation
    linear = r2(with_ones(held["x"]) @ weights, held["target"])
    assert 0.2 < linear < 0.8
    assert history.rows[-1].metrics["r2"] >= linear - 0.02


def with_ones(x: Any) -> Any:
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def r2(output: Any, target: Any) -> float:
    return 1 - float(np.sum((target - output) ** 2) / np.sum((target - target.mean()) ** 2))


def test_wine_is_told_apart() -> None:
    _, history = trained("wine")
    assert history.rows[-1].metrics["accuracy"] >= 0.93


def test_definitions_of_ones_own_learn_a_surface() -> None:
    _, history = trained("custom")
    assert history.rows[-1].metrics["r2"] >= 0.99


def test_a_deep_residual_network_reaches_98_percent() -> None:
    model, history = trained("resnet")
    assert history.rows[-1].metrics["accuracy"] >= 0.98
    held = model.data.validation
    right = np.argmax(model.predict(held["x"]), axis=1) == held["target"]
    assert np.mean(right) == pytest.approx(history.rows[-1].metrics["accuracy"], abs=1e-9)


def test_an_autoencoder_keeps_more_than_as_many_principal_components() -> None:
    model, history = trained("autoencoder")
    x, held = (part["x"].astype(np.float64) for part in (model.data.training, model.data.validation))
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:8]
    kept = (held - x.mean(0)) @ axes.T @ axes + x.mean(0)
    assert history.rows[-1].validation_loss < 0.75 * np.mean((kept - held) ** 2)


def test_next_years_sunspots_are_told_better_than_by_this_years_or_a_line() -> None:
    model, history = trained("sunspots")
    x, y = model.data.training["x"][:, :, 0], model.data.training["target"]
    held, goal = model.data.validation["x"][:, :, 0], model.data.validation["target"]
    line = np.linalg.lstsq(with_ones(x), y, rcond=None)[0]
    error = history.rows[-1].metrics["mae"]
    assert error < 0.65 * np.abs(held[:, -1:] - goal).mean()
    assert error < np.abs(with_ones(held) @ line - goal).mean()
    np.testing.assert_array_equal(held[1:, :-1], held[:-1, 1:], "the last years in their order")


def test_words_are_turned_round() -> None:
    model, history = trained("reversal")
    assert history.rows[-1].metrics["accuracy"] >= 0.999
    word = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    np.testing.assert_array_equal(np.argmax(model.predict(word), axis=1), word[:, ::-1])


def test_quantiles_hold_the_share_of_observations_that_they_say() -> None:
    model, _ = trained("quantiles")
    for part in (model.data.training, model.data.validation):
        below = (part["target"] <= model.predict(part["x"])).mean(axis=0)
        np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.08)


def test_regression_comes_near_the_noise() -> None:
    model, history = trained("regression")
    assert history.loss[0] > 2 * history.loss[-1]
    rows = len(model.data.training["x"])
    assert 0.5 * rows < history.loss[-1] < 1.5 * rows  # the noise has variance 1


def test_the_tutorial_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "seed.py"), run_name="__main__")
    printed = capsys.readouterr().out
    losses = [float(line.split()[-1]) for line in printed.split("\n") if line.startswith("Epoch:")]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]
    assert "weight.grad" in printed
    assert "bias.grad [100.]" in printed  # ten rows, each with a gradient of ten
