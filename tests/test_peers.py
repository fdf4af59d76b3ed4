"""``netc bench --against``: what it refuses, and that PyTorch and JAX compute what netc computes, where installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.cli.main import run
from netc.peers import AGREEMENT, STEPS, case_of, difference
from netc.peers.translation import NoCounterpart

ROOT = Path(__file__).parent.parent
REGRESSION = str(ROOT / "examples" / "regression.net")
OPTIMIZERS = (
    "sgd(lr = 0.01, momentum = 0.9)", "adam(lr = 0.01)", "adamw(lr = 0.01)", "rmsprop(lr = 0.001)",
    "adagrad(lr = 0.01)", "lion(lr = 0.001)", "adam(lr = cosine_annealing(0.01))",
)  # fmt: skip
DENSE = "input x: [6]; linear(8); tanh; linear(3)"
IMAGE = "input x: [1, 8, 8]; conv2d(4, 3, padding = 1); batch_norm2d; relu; max_pool2d(2); flatten; linear(3)"
CLASSIFIERS = {
    "image": (IMAGE, (1, 8, 8)),
    "lstm": ("input x: [5, 4]; lstm(6); flatten; linear(3)", (5, 4)),
    "gru": ("input x: [5, 4]; gru(6); flatten; linear(3)", (5, 4)),
    "encoder": (
        "input x: [5, 8]; transformer_encoder_layer(nhead = 2, dim_feedforward = 16, dropout = 0); flatten; linear(3)",
        (5, 8),
    ),
    "dropout": ("input x: [6]; linear(8); relu; dropout(0.5); linear(3)", (6,)),
}  # fmt: skip


def source(body: str, loss: str, optimizer: str) -> str:
    return f"net some {{ {body} }}\ntrain {{ loss = {loss}; optimizer = {optimizer} }}\n"


def agree(peer: str, text: str, x: np.ndarray, y: np.ndarray) -> None:
    pytest.importorskip(peer)
    model = netc.compile(source=text, seed=3)
    case = case_of(model, (x, y), 16)
    module = importlib.import_module(f"netc.peers.{peer}_peer")
    ours, theirs = case.losses(), module.make(case, 1).losses(STEPS)
    assert len(ours) == STEPS
    assert ours[-1] != ours[0]
    assert difference(ours, theirs) <= AGREEMENT


@pytest.mark.parametrize("peer", ["torch", "jax"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_agree(peer: str, optimizer: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((16, 6), np.float32), rng.standard_normal((16, 3), np.float32)
    agree(peer, source(DENSE, "mse_loss()", optimizer), x, y)


@pytest.mark.parametrize("peer", ["torch", "jax"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_layers_agree(peer: str, name: str) -> None:
    body, shape = CLASSIFIERS[name]
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((16, *shape), np.float32), rng.integers(0, 3, 16)
    agree(peer, source(body, "cross_entropy_loss()", "sgd(lr = 0.01)"), x, y)


def test_losses_that_are_not_numbers_never_agree() -> None:
    assert difference([1.0], [1.0, 2.0]) == float("inf")
    assert difference([1.0], [float("nan")]) == float("inf")
    assert difference([1.1], [1.0]) == pytest.approx(0.1)


def test_several_evaluations_a_step_have_no_counterpart() -> None:
    model = netc.compile(source=source(DENSE, "mse_loss()", "lbfgs()"), seed=3)
    x, y = np.ones((16, 6), np.float32), np.ones((16, 3), np.float32)
    with pytest.raises(NoCounterpart, match="several times"):
        case_of(model, (x, y), 16)


def test_unknown_and_missing_peers_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, said in (("tensorflow", "there is no tensorflow"), ("torch", 'pip install "netc[bench]"')):
        with pytest.raises(SystemExit) as ended:
            run(["bench", REGRESSION, "--against", name])
        assert ended.value.code == 2
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_a_peer_is_timed_in_the_same_run(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(peer)
    run(["bench", REGRESSION, "--threads", "1", "--seconds", "0.05", "--against", peer, "--json"])
    found = json.loads(capsys.readouterr().out)["against"][peer]
    assert found["difference"] <= AGREEMENT
    assert all(seconds > 0 for seconds in found["samples"]["seconds"])
