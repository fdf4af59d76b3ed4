"""Commands as a person gives them: exit codes, files, and what they import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from netc.cli.main import run

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("kind", ["tabular-regression", "tabular-classification", "images"])
def test_a_starter_trains_and_evaluates(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["new", kind, "first"])
    run(["check", "first.net"])
    run(["train", "first.net", "--quiet"])
    capsys.readouterr()
    run(["eval", "runs/first-001", "--json"])
    found = json.loads(capsys.readouterr().out)["validation"]
    assert found.get("accuracy", found.get("r2")) > 0.9
    with pytest.raises(SystemExit) as stop:
        run(["new", kind, "first"])
    assert stop.value.code == 1


def test_digits_reach_97_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", str(EXAMPLES / "digits.net"), "--out", str(tmp_path), "--json"])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["accuracy"] >= 0.97


def test_diabetes_is_as_good_as_a_linear_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    import netc

    data = netc.compile(EXAMPLES / "diabetes.net").data
    x, y = (np.c_[data.training["x"], np.ones(len(data.training["x"]))], data.training["target"])
    held = np.c_[data.validation["x"], np.ones(len(data.validation["x"]))]
    error = data.validation["target"] - held @ np.linalg.lstsq(x, y, rcond=None)[0]
    linear = (
        1 - (error**2).sum() / ((data.validation["target"] - data.validation["target"].mean()) ** 2).sum()
    )
    run(["train", str(EXAMPLES / "diabetes.net"), "--out", str(tmp_path), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["r2"] >= linear - 0.02


@pytest.mark.parametrize("arguments", [["check", str(EXAMPLES / "regression.net")], ["--help"]])
def test_checking_needs_neither_numpy_nor_llvm(arguments: list[str]) -> None:
    code = f"""
import sys
from netc.cli.main import run
try:
    run({arguments!r})
except SystemExit as stop:
    assert not stop.code
assert not {{"numpy", "llvmlite", "rich"}} & set(sys.modules), sorted(set(sys.modules) & {{"numpy", "llvmlite", "rich"}})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train"], 2),
        (["train", "nosuch.net"], 1),
        (["nosuch"], 2),
        (["predict", "nosuch", "x.csv"], 1),
        (["train", "--resume", "nosuch"], 1),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    assert stop.value.code == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["ast", "graph", "gradient", "llvm", "asm", "plan"])
def test_every_stage_can_be_shown(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["show", str(EXAMPLES / "regression.net"), "--stage", stage])
    assert len(capsys.readouterr().out) > 100
