"""The seed: its network through every stage, against NumPy, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.cli.main import run

EXAMPLE = Path(__file__).parent.parent / "examples" / "regression.net"


def by_hand(p: dict[str, Any], x: Any, y: Any, steps: int, lr: float) -> list[float]:
    losses = []
    for _ in range(steps):
        h = x @ p["0.weight"].T + p["0.bias"]
        r = np.maximum(h, 0)
        error = r @ p["2.weight"].T + p["2.bias"] - y
        losses.append(float((error**2).sum()))
        g = 2 * error
        gh = (g @ p["2.weight"]) * (h > 0)
        grads = {"2.weight": g.T @ r, "2.bias": g.sum(0), "0.weight": gh.T @ x, "0.bias": gh.sum(0)}
        for name, grad in grads.items():
            p[name] = p[name] - lr * grad
    return losses


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_every_loss_of_200_steps_is_numpys(dtype: str, tolerance: float) -> None:
    model = netc.compile(EXAMPLE, seed=3, dtype=dtype)
    start = {n: a.astype(np.float64) for n, a in model.state_dict().items()}
    x, y = (model.data.training[n].astype(np.float64) for n in ("x", "target"))
    history = model.fit()
    np.testing.assert_allclose(history.loss, by_hand(start, x, y, 200, 1e-4), rtol=tolerance)
    assert history.loss[-1] < history.loss[0] / 3


def test_training_loop_by_hand_agrees_with_the_native_loop() -> None:
    native, manual = netc.compile(EXAMPLE, seed=5), netc.compile(EXAMPLE, seed=5)
    losses = native.fit(epochs=20).loss
    x, y = manual.data.training["x"], manual.data.training["target"]
    for expected in losses:
        loss = manual.loss(manual(x), y)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        manual.zero_grad()
        loss.backward()
        for parameter in manual.parameters().values():
            assert parameter.grad is not None
            parameter -= 1e-4 * parameter.grad
    for name, array in native.state_dict().items():
        np.testing.assert_allclose(manual.state_dict()[name], array, rtol=1e-4, atol=1e-6)


def test_backward_from_a_column_with_a_given_gradient() -> None:
    model = netc.compile(source="net one { input x: [3]; linear(3, 1) }", dtype="float64")
    x = np.random.default_rng(0).normal(size=(10, 3))
    out = model(x)
    np.testing.assert_allclose(out, x @ model[0].weight.T + model[0].bias)
    assert model[0].weight.grad is None
    with pytest.raises(ValueError, match="needs a gradient"):
        out.backward()
    out.backward(np.full((10, 1), 10.0))
    np.testing.assert_allclose(model[0].weight.grad, 10 * x.sum(0, keepdims=True))  # type: ignore[call-overload,arg-type,unused-ignore]
    np.testing.assert_allclose(model[0].bias.grad, [100.0])
    np.testing.assert_allclose(model.input.grad, 10 * np.repeat(model[0].weight, 10, 0))  # type: ignore[call-overload,arg-type,unused-ignore]
    model.backward(np.full((10, 1), 10.0))
    np.testing.assert_allclose(model[0].bias.grad, [200.0])
    model.zero_grad()
    np.testing.assert_array_equal(model[0].bias.grad, [0.0])


def test_initial_values_and_names_are_torchs() -> None:
    model = netc.compile(source="net m { input x: [3]; linear(1000); sequential { relu; head: linear(4) } }")
    shapes = {n: a.shape for n, a in model.state_dict().items()}
    assert shapes == {
        "0.weight": (1000, 3),
        "0.bias": (1000,),
        "1.head.weight": (4, 1000),
        "1.head.bias": (4,),
    }
    weight, bound = model[0].weight, 1 / np.sqrt(3)
    assert np.abs(weight).max() <= bound
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_batches_and_shuffling_see_every_row_once() -> None:
    model = netc.compile(
        source='net m { input x: [1]; linear(1) }\ntrain { loss = mse_loss(reduction = "sum"); optimizer = sgd(lr = 0); batch = 7; epochs = 2 }',
        dtype="float64",
    )
    x = np.arange(50.0)[:, None]
    weight, bias = model[0].weight.item(), model[0].bias.item()
    history = model.fit(x, np.zeros((50, 1)))
    each = (x * weight + bias)[:, 0] ** 2
    assert history.loss[0] != history.loss[1]
    in_order = model.fit(x, np.zeros((50, 1)), shuffle=False, epochs=1).loss[0]
    sums = [each[i : i + 7].sum() * len(each[i : i + 7]) for i in range(0, 50, 7)]
    assert in_order == pytest.approx(sum(sums) / 50)


def test_command_line_trains_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        run(["train", str(EXAMPLE), "--out", str(tmp_path), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 400
    assert rows[199]["loss"] < rows[0]["loss"] / 3
    folder = tmp_path / "regression-002"
    assert {f.name for f in folder.iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "history.csv",
        "run.json",
    }
    assert len((folder / "history.csv").read_text().splitlines()) == 201
    (tmp_path / "in.csv").write_text("1,2,3\n4,5,6\n")
    run(["predict", str(folder), str(tmp_path / "in.csv")])
    values = capsys.readouterr().out.split()[1:]
    model = netc.load(folder / "last.safetensors")
    np.testing.assert_allclose(
        [float(v) for v in values], model.predict([[1, 2, 3], [4, 5, 6]])[:, 0], rtol=1e-3
    )


def test_wrong_program_ends_with_1_and_shows_both_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.net").write_text("net bad {\n    input x: [3]\n    linear(4, 5)\n}\n")
    with pytest.raises(SystemExit) as stop:
        run(["check", str(tmp_path / "bad.net")])
    assert stop.value.code == 1
    text = capsys.readouterr().err
    assert "E0403" in text
    assert "[n, 3]" in text
    assert "linear(4, 5)" in text


def test_nan_in_the_data_stops_before_the_update() -> None:
    from netc.training import Diverged

    model = netc.compile(EXAMPLE, seed=1)
    before = model.state_dict()
    x, y = np.ones((10, 3)), np.ones((10, 1))
    x[4, 1] = np.nan
    with pytest.raises(Diverged, match=r"step 1 .*input x|step 1 .*x holds"):
        model.fit(x, y)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
