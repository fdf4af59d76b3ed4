"""Runs on disk: interruption, kill and resume give the bits of a run that was left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.cli.main import run
from netc.runtime.checkpoint import load

PROGRAM = """
net small {
    input x: [4]
    linear(16); relu; dropout(0.2)
    linear(1)
}
data {
    x = randn(300, 4)
    target = x[:, 0:1] * x[:, 1:2]
    validation = 0.2
}
train {
    loss = mse_loss()
    optimizer = adam(lr = cosine_annealing(1e-2))
    optimizer = sgd(lr = reduce_on_plateau(1e-2, factor = 0.5, patience = 1), momentum = 0.9) for "*.bias"
    ema = 0.98
    batch = 16
    epochs = 40
    metrics = [r2]
    log_every = 1000
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(PROGRAM)
    return path


def same(a: Path, b: Path) -> None:
    for name in ("last", "best"):
        first, second = load(a / f"{name}.safetensors")[0], load(b / f"{name}.safetensors")[0]
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    assert (a / "history.csv").read_text() == (b / "history.csv").read_text()


def test_a_run_stopped_after_some_steps_resumes_to_the_same_bits(program: Path, tmp_path: Path) -> None:
    from netc.cli.train import Options, open_model
    from netc.runs import restore, save_run
    from netc.training import Trainer

    run(["train", str(program), "--out", str(tmp_path / "whole"), "--quiet"])
    options = Options(str(program), None, None, None, None, "float32", ())
    model = open_model(options)
    trainer = Trainer(model, (), None, None, None, None, None)
    for stop in (7, 15, 16, 100, 331):
        trainer.native.set("end_step", stop)
        trainer.run()
        assert trainer.native.get("step") == stop
        save_run(tmp_path, model, trainer)
        model = open_model(options)
        trainer = Trainer(model, (), None, None, None, None, None)
        restore(tmp_path, model, trainer)
    trainer.run()
    save_run(tmp_path, model, trainer)
    (tmp_path / "history.csv").write_text((tmp_path / "whole" / "small-001" / "history.csv").read_text())
    same(tmp_path, tmp_path / "whole" / "small-001")


def start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """``netc train`` as a process of its own that saves every 50 ms and rests behind each save, so that a signal meets it."""
    code = (
        "import time, netc.cli.train as t, netc.cli.main as m; t.SAVE_SECONDS = 0.05; save = t.save_run\n"
        "def save_and_rest(*a): save(*a); time.sleep(0.5)\n"
        "t.save_run = save_and_rest; m.run()"
    )
    command = [sys.executable, "-c", code, "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for_a_save(process: subprocess.Popen[str], folder: Path) -> None:
    """Until the run has saved a step, or has ended."""
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None:
        record = folder / "run.json"
        if record.exists() and json.loads(record.read_text())["step"]:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_valid_files_and_resumes_to_the_same_bits(
    program: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    kill_and_resume(program, tmp_path, sign)


def kill_and_resume(program: Path, tmp_path: Path, sign: signal.Signals, *where: str) -> None:
    """where: options of all runs."""
    epochs = "6000"
    process = start([str(program), "--epochs", epochs, "--out", str(tmp_path / "cut"), *where])
    folder = tmp_path / "cut" / "small-001"
    wait_for_a_save(process, folder)
    process.send_signal(sign)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if sign is signal.SIGINT else -signal.SIGKILL)
    assert (f"go on with: netc train --resume {folder}" in said) == (sign is signal.SIGINT)
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == ("interrupted" if sign is signal.SIGINT else "running")
    assert 0 < record["step"] < int(epochs) * 15
    tensors, _ = load(folder / "last.safetensors")
    reached = int(tensors["run.cursor"][0])
    assert reached > 0
    assert not list(folder.glob("*.part")) or sign is signal.SIGKILL
    run(["train", "--resume", str(folder), "--quiet"])
    run(["train", str(program), "--epochs", epochs, "--out", str(tmp_path / "whole"), "--quiet", *where])
    same(folder, tmp_path / "whole" / "small-001")


def test_resume_goes_on_in_the_same_folder(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["train", str(program), "--out", str(tmp_path / "a"), "--epochs", "10", "--quiet"])
    folder = tmp_path / "a" / "small-001"
    run(["train", "--resume", str(folder), "--epochs", "12", "--json"])
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [r["epoch"] for r in rows] == list(range(1, 13))
    assert len((folder / "history.csv").read_text().splitlines()) == 13
    program.write_text(PROGRAM.replace("linear(16)", "linear(17)"))
    with pytest.raises(SystemExit):
        run(["train", "--resume", str(folder)])
    assert "E0704" in capsys.readouterr().err


def test_the_learning_rate_can_be_set(program: Path, tmp_path: Path) -> None:
    run(["train", str(program), "--out", str(tmp_path / "a"), "--epochs", "1", "--lr", "0", "--quiet"])
    run(["train", str(program), "--out", str(tmp_path / "b"), "--epochs", "2", "--lr", "0", "--quiet"])
    first, _ = load(tmp_path / "a" / "small-001" / "last.safetensors")
    second, _ = load(tmp_path / "b" / "small-001" / "last.safetensors")
    np.testing.assert_array_equal(first["0.weight"], second["0.weight"])
