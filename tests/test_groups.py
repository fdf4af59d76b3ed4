"""Several optimizers in one program: each updates the parameters whose paths it names, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import netc
from netc.cli.main import main

NET = """
net small { input x: [3]; body: linear(4); tanh; head: linear(1) }
train { loss = mse_loss(); epochs = 1
SETTINGS
}
"""
X = np.random.default_rng(0).normal(size=(16, 3))
Y = np.random.default_rng(1).normal(size=(16, 1))


def stepped(settings: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Parameters before and after one step on all rows, and their gradients before it."""
    model = netc.compile(source=NET.replace("SETTINGS", settings), seed=3, dtype="float64")
    before = model.state_dict()
    model.loss(model(X), Y).backward()
    gradients = {path: np.array(p.grad) for path, p in model.parameters().items()}
    model.fit(X, Y)
    return before, model.state_dict(), gradients


def moved(before: dict[str, Any], after: dict[str, Any], gradients: dict[str, Any]) -> dict[str, float]:
    """How far each parameter went along its gradient."""
    found = {}
    for path, gradient in gradients.items():
        rate = float(np.mean((before[path] - after[path]) / gradient))
        np.testing.assert_allclose(before[path] - after[path], rate * gradient, rtol=1e-9, atol=1e-12)
        found[path] = round(rate, 9)
    return found


def test_each_parameter_has_the_rate_of_its_group() -> None:
    settings = """optimizer = sgd(lr = 0.5) for "head.weight"
        optimizer = sgd(lr = 0.1)
        optimizer = sgd(lr = 0.01) for ["*.bias", "head.*"]"""
    assert moved(*stepped(settings)) == {
        "body.weight": 0.1, "body.bias": 0.01, "head.weight": 0.5, "head.bias": 0.01,
    }  # fmt: skip


def test_frozen_parameters_stay_and_do_not_count_for_the_norm() -> None:
    settings = 'optimizer = sgd(lr = 1.0); optimizer = frozen() for "body.*"; clip = clip_norm(1e-3)'
    before, after, gradients = stepped(settings)
    norm = np.sqrt(sum(np.sum(g**2) for path, g in gradients.items() if path.startswith("head.")))
    rate = round(1e-3 / (norm + 1e-6), 9)
    assert moved(before, after, gradients) == {
        "body.weight": 0, "body.bias": 0, "head.weight": rate, "head.bias": rate,
    }  # fmt: skip


def test_groups_have_states_of_their_own() -> None:
    model = netc.compile(
        source=NET.replace("SETTINGS", 'optimizer = adam(); optimizer = sgd(momentum = 0.9) for "*.bias"')
    )
    found = sorted(name for name in model.memory.views if name.startswith("state."))
    assert found == [
        "state.body.bias.velocity", "state.body.weight.exp_avg", "state.body.weight.exp_avg_sq",
        "state.head.bias.velocity", "state.head.weight.exp_avg", "state.head.weight.exp_avg_sq",
    ]  # fmt: skip


def test_the_learning_rate_of_the_command_line_is_that_of_the_rest(tmp_path: Path) -> None:
    program = tmp_path / "small.net"
    data = "data { x = randn(8, 3); target = randn(8, 1) }\n"
    settings = 'optimizer = sgd(lr = 1); optimizer = sgd(lr = 0.25) for "*.bias"'
    program.write_text(data + NET.replace("SETTINGS", settings))
    plan = netc.compile(program).plan
    assert plan is not None
    rates = [
        g.call.span.text if g.patterns else g.call for g in plan.with_learning_rate(0.5).optimizers.groups
    ]
    assert rates[1] == "sgd(lr = 0.25)"
    assert rates[0].arguments[0].value.value == 0.5  # type: ignore[union-attr]
    result = CliRunner().invoke(main, ["train", str(program), "--lr", "0.5", "--out", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ('optimizer = sgd(lr = 1) for "*.bias"', "E0507", "no optimizer is for the parameter `body.weight`"),
        (
            'optimizer = sgd(); optimizer = adam() for "tail.*"',
            "E0506",
            'no parameter has a path like "tail.*"',
        ),
        ("optimizer = sgd(); optimizer = adam()", "E0203", "`optimizer` is set twice"),
        ("optimizer = sgd(); optimizer = adam() for 3", "E0303", "a path of parameters in quotes"),
        ("optimizer = sgd(); optimizer = adam() for []", "E0303", "this names no parameters"),
        ('optimizer = sgd(); batch = 4 for "x"', "E0503", "`for` stands behind an optimizer alone"),
        ('optimizer = sgd(); optimizer = adma() for "*.bias"', "E0202", "there is no optimizer `adma`"),
    ],
)
def test_what_is_wrong_is_said(settings: str, code: str, said: str) -> None:
    (found,) = netc.check(NET.replace("SETTINGS", settings))
    assert found.code == code
    assert said in found.message


def test_a_data_block_knows_no_groups() -> None:
    text = 'net a { input x: [1]; linear(1) }\ndata { x = randn(4, 1) for "x"; target = randn(4, 1) }\n'
    (found,) = netc.check(text)
    assert found.code == "E0503"
