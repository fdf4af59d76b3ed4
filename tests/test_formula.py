"""Formulas: the seed's gradient as a person would write it, and every example's without failing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netc.cli.main import run

EXAMPLES = Path(__file__).parent.parent / "examples"

SEED = """\
t1 = x @ weight_0.T + bias_0    # 0
t2 = t1 <= 0    # 1
t3 = where(t2, 0, t1)    # 1
t4 = t3 @ weight_2.T + bias_2 - target    # loss
loss = sum(t4 * t4)    # loss
t5 = 2 * t4    # loss
d_bias_2 = sum(t5, dim = 0)    # 2
d_weight_2 = t5.T @ t3    # 2
t6 = where(t2, 0, t5 @ weight_2)    # 1
d_bias_0 = sum(t6, dim = 0)    # 0
d_weight_0 = t6.T @ x    # 0
"""


def test_the_seeds_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    run(["show", str(EXAMPLES / "regression.net"), "--stage", "gradient"])
    assert capsys.readouterr().out.split("\n\n")[1] == SEED


@pytest.mark.parametrize("name", ["digits", "diabetes", "wine", "custom"])
def test_every_parameter_has_a_formula(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import netc

    run(["show", str(EXAMPLES / f"{name}.net"), "--stage", "gradient"])
    text = capsys.readouterr().out
    for path in netc.compile(EXAMPLES / f"{name}.net").parameters():
        *layers, last = path.split(".")
        assert f"d_{'_'.join([last, *layers])} = " in text
