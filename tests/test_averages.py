"""``ema``: the moving average of the weights, where it is seen and where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.cli.main import run
from netc.runtime.checkpoint import load

PROGRAM = """
net small { input x: [3]; linear(4); batch_norm1d; tanh; linear(1) }
train { loss = mse_loss(); optimizer = adam(lr = 0.05); EMA }
"""
RANDOM = np.random.default_rng(5)
X, Y = RANDOM.normal(size=(20, 3)), RANDOM.normal(size=(20, 1))


def weights(epochs: int, ema: str = "") -> dict[str, Any]:
    model = netc.compile(source=PROGRAM.replace("EMA", ema), dtype="float64", seed=2)
    model.fit(X, Y, epochs=epochs)
    return model.state_dict()


def test_weights_are_averaged_from_the_first_step_on() -> None:
    average = weights(1)
    for epochs in range(2, 7):
        plain = weights(epochs)
        for name in plain:
            buffer = "running" in name or "tracked" in name
            average[name] = plain[name] if buffer else 0.8 * average[name] + 0.2 * plain[name]
        found = weights(epochs, "ema = 0.8")
        for name in plain:
            np.testing.assert_allclose(found[name], average[name], rtol=1e-12, atol=1e-15, err_msg=name)


def test_validation_sees_the_average_and_training_does_not() -> None:
    model = netc.compile(source=PROGRAM.replace("EMA", "ema = 0.9"), seed=2)
    plain = netc.compile(source=PROGRAM.replace("EMA", ""), seed=2)
    history, other = (m.fit(X, Y, epochs=8, validation=(X[:9], Y[:9])) for m in (model, plain))
    assert history.loss == other.loss
    assert history.rows[-1].validation_loss != other.rows[-1].validation_loss
    assert history.rows[-1].validation_loss == pytest.approx(model.evaluate(X[:9], Y[:9])["loss"], rel=1e-6)


def test_a_run_keeps_both_and_its_best_weights_are_averages(tmp_path: Path) -> None:
    data = "data { x = randn(40, 3); target = x[:, 0:1]; validation = 0.25 }\n"
    program = tmp_path / "small.net"
    program.write_text(data + PROGRAM.replace("EMA", 'ema = 0.5; epochs = 6; save = "w.safetensors"'))
    run(["train", str(program), "--out", str(tmp_path / "runs"), "--quiet"])
    folder = tmp_path / "runs" / "small-001"
    best, last = load(folder / "best.safetensors")[0], load(folder / "last.safetensors")[0]
    own = load(tmp_path / "w.safetensors")[0]
    rows = [line.split(",") for line in (folder / "history.csv").read_text().split("\n")[1:] if line]
    assert min(rows, key=lambda row: float(row[2])) == rows[-1], "the best epoch is to be the last"
    for name in ("0.weight", "3.bias"):
        np.testing.assert_array_equal(best[name], last[f"optimizer.average.{name}"])
        np.testing.assert_array_equal(own[name], best[name])
        assert not np.array_equal(best[name], last[name])


def test_without_a_step_the_average_is_what_it_began_with(tmp_path: Path) -> None:
    from netc.runs import save_best
    from netc.training import Trainer

    model = netc.compile(source=PROGRAM.replace("EMA", "ema = 0.5"))
    model.load_state_dict({n: a + 1 for n, a in model.state_dict().items()})
    save_best(tmp_path / "w.safetensors", model, Trainer(model, (X, Y), None, 1, None, None, None))
    for name, array in load(tmp_path / "w.safetensors")[0].items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


@pytest.mark.parametrize("decay", ["0", "1", "-0.5", '"much"', "2 * 3"])
def test_a_decay_lies_between_0_and_1(decay: str) -> None:
    (found,) = netc.check(PROGRAM.replace("EMA", f"ema = {decay}"))
    assert found.code == "E0304"
    assert "between 0 and 1" in found.message


def test_without_an_optimizer_there_is_nothing_to_average() -> None:
    text = PROGRAM.replace("optimizer = adam(lr = 0.05); EMA", "ema = 0.9")
    assert netc.check(text) == []
    assert netc.compile(source=text).predict(X).shape == (20, 1)
