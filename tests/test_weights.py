"""Losses that are expressions of output, target and other entries of the data: weights of observations, for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

NET = """
net line { input x: [2]; linear(1) }
train { loss = LOSS; optimizer = sgd(lr = 0.1); epochs = 1 }
"""
WEIGHTED = 'weighted_mean(mse_loss(output, target, reduction = "none"), weight)'
RANDOM = np.random.default_rng(7)
X, Y, W = RANDOM.normal(size=(12, 2)), RANDOM.normal(size=(12, 1)), RANDOM.uniform(0, 2, size=12)


def compiled(loss: str) -> Any:
    return netc.compile(source=NET.replace("LOSS", loss), dtype="float64")


def test_a_weighted_loss_is_the_weighted_mean() -> None:
    model = compiled(WEIGHTED)
    output = model.predict(X)
    expected = np.average((output - Y)[:, 0] ** 2, weights=W)
    assert model.loss(output, Y, W) == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X, Y, W)["loss"] == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X, Y, W[:, None])["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_step_follows_the_weighted_gradient() -> None:
    model = compiled(WEIGHTED)
    before = model.state_dict()
    error = 2 * (model.predict(X) - Y) * W[:, None] / W.sum()
    model.fit(X, Y, W)
    after = model.state_dict()
    np.testing.assert_allclose(after["0.weight"], before["0.weight"] - 0.1 * error.T @ X, rtol=1e-10)
    np.testing.assert_allclose(after["0.bias"], before["0.bias"] - 0.1 * error.sum(), rtol=1e-10)


def test_rows_without_weight_might_as_well_be_absent() -> None:
    whole, part = compiled(WEIGHTED), compiled(WEIGHTED)
    weight = W * (np.arange(12) < 8)
    whole.fit(X, Y, weight, validation=(X, Y, W))
    part.fit(X[:8], Y[:8], W[:8])
    np.testing.assert_allclose(whole.predict(X), part.predict(X), rtol=1e-10)
    assert compiled(WEIGHTED).loss(Y, Y + 1, np.zeros(12)) == 0


def test_weights_are_shuffled_and_split_with_their_rows(tmp_path: Path) -> None:
    """Where the weight is a function of x, to read it from the data or to compute it from the target is the same."""
    rows = ["a,b,y,w", *(f"{a},{b},{a - b},{(a - b) ** 2}" for a, b in RANDOM.normal(size=(40, 2)))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    losses = []
    for weight in ("w", "target[:, 0] ^ 2"):
        text = f"""
            net line {{ input x: [2]; linear(1) }}
            data {{ table = csv("t.csv"); x = table["a":"b"]; target = table["y"]; w = table["w"]; validation = 0.25 }}
            train {{ loss = weighted_mean(mse_loss(output, target, reduction = "none"), {weight})
                     optimizer = adam(lr = 0.1); batch = 8; epochs = 3 }}"""
        path = tmp_path / "line.net"
        path.write_text(text)
        history = netc.compile(path, seed=1).fit()
        losses.append([(r.loss, r.validation_loss) for r in history.rows])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_losses_may_be_added() -> None:
    both = compiled("0.25 * mse_loss(output, target) + 0.75 * l1_loss(output, target)")
    output = both.predict(X)
    expected = 0.25 * np.mean((output - Y) ** 2) + 0.75 * np.mean(np.abs(output - Y))
    assert both.loss(output, Y) == pytest.approx(expected, rel=1e-12)
    both.fit(X, Y)


def test_arrays_that_are_missing_are_named() -> None:
    model = compiled(WEIGHTED)
    with pytest.raises(ValueError, match=r"3 arrays expected \(x, target, weight\), not 2"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match=r"`target` 12, `weight` 5"):
        model.fit(X, Y, W[:5])
    with pytest.raises(ValueError, match=r"3 arrays expected \(output, target, weight\), not 2"):
        model.loss(Y, Y)


@pytest.mark.parametrize(
    ("data", "loss", "code", "said"),
    [
        ("wieght = randn(8, 1)", WEIGHTED, "E0608", "the data block gives no `weight`"),
        ("weight = randn(7, 1)", WEIGHTED, "E0607", "`weight` has 7 rows"),
        ("weight = randn(8, 3)", WEIGHTED, "E0404", "does not fit"),
        (
            "weight = randn(8, 1)",
            "weight * l1_loss(output, target)",
            "E0404",
            "the loss is not a single number",
        ),
        ("weight = randn(8, 1)", "mse_los(output, target)", "E0202", "there is no function `mse_los`"),
        ("weight = randn(8, 1)", "output + target, 3", "E0101", ""),
    ],
)
def test_what_is_wrong_is_said(data: str, loss: str, code: str, said: str) -> None:
    text = NET.replace("LOSS", loss) + f"data {{ x = randn(8, 2); target = randn(8, 1); {data} }}\n"
    found = netc.check(text)
    assert [d.code for d in found] == [code]
    assert said in found[0].message


@pytest.mark.parametrize(("split", "held"), [("last", [6, 7]), ("random", None)])
def test_the_rows_for_validation_are_the_last_or_any(
    split: str, held: list[int] | None, tmp_path: Path
) -> None:
    text = f"""
        net line {{ input x: [1]; linear(1) }}
        data {{ x = float(iota([8, 1], 0)); target = x; validation = 0.25; split = "{split}" }}"""
    (tmp_path / "line.net").write_text(text)
    data = netc.compile(tmp_path / "line.net").data
    found, rest = (part["x"][:, 0].astype(int).tolist() for part in (data.validation, data.training))
    assert (found == held) == (held is not None)
    assert sorted(found + rest) == list(range(8))


def test_another_split_is_refused() -> None:
    text = 'net line { input x: [1]; linear(1) }\ndata { x = randn(8, 1); target = x; split = "first" }'
    (found,) = netc.check(text)
    assert found.code == "E0304"
