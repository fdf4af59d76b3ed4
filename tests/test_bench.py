"""``netc bench`` measures what it says, saves nothing, and refuses what it cannot time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netc.cli.main import run

ROOT = Path(__file__).parent.parent
QUICK = ("--seconds", "0.05")
REGRESSION = str(ROOT / "examples" / "regression.net")


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    run(["bench", *arguments, *QUICK, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_step_and_predictions_are_timed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = figures(capsys, REGRESSION, "--threads", "1")
    assert (found["batch"], found["threads"]) == (100, 1)
    assert 1e-7 < found["step"] <= found["step_median"] < 1e-2
    assert found["rows_per_second"] == pytest.approx(100 / found["step"])
    assert found["share_of_peak"] == pytest.approx(found["flops"] / found["step"] / found["peak"])
    assert 0 < found["share_of_peak"] < 1.5
    assert found["predict_row"] > 0
    assert found["predict_batch"] > 0
    assert not list(tmp_path.iterdir())


def test_a_larger_batch_takes_longer(capsys: pytest.CaptureFixture[str]) -> None:
    digits = str(ROOT / "examples" / "digits.net")
    small, large = (figures(capsys, digits, "--threads", "1", "--batch", b) for b in ("8", "256"))
    assert large["step"] > 4 * small["step"]
    assert large["flops"] > 10 * small["flops"]


def test_wider_numbers_have_a_lower_peak(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.cli.bench.peak_flops", lambda threads: 1e11 * threads)
    narrow, wide = (
        figures(capsys, REGRESSION, "--threads", "1", "--dtype", x) for x in ("float32", "float64")
    )
    assert (narrow["peak"], wide["peak"]) == (1e11, 5e10)
    assert narrow["predicted"] < wide["predicted"]


def test_the_figures_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run(["bench", REGRESSION, *QUICK])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("regression: 100 rows a step, ")
    said = [line.split("  ")[1] for line in lines[1:]]
    assert said == ["training step", "predicted", "of the peak", "predict a batch", "predict one row"]


def test_without_data_there_is_nothing_to_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "bare.net"
    program.write_text(
        "net bare { input x: [3]; linear(1) }\ntrain { loss = mse_loss(); optimizer = sgd(lr = 0.1) }\n"
    )
    with pytest.raises(SystemExit) as ended:
        run(["bench", str(program)])
    assert ended.value.code == 1
    assert "E0802" in capsys.readouterr().err
