"""``netc train --replicas``: a run folder for each network as if it had been trained alone, a line an epoch, a table."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_runs import PROGRAM, same

import netc
from netc.cli.main import run
from netc.runtime.checkpoint import load


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(PROGRAM.replace("log_every = 1000", "log_every = 10; seed = 5"))
    return "small.net"


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    return int(stop.value.code or 0), capsys.readouterr().err


def alone(program: str, seed: int, *options: str) -> Path:
    """The folder of a run with that seed."""
    out = Path("alone") / str(seed)
    run(["train", program, "--seed", str(seed), "--out", str(out), "--quiet", *options])
    return out / "small-001"


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_folder_is_that_of_a_run_alone(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", program, "--replicas", "3", "--epochs", "25"])
    said = capsys.readouterr().out
    folder = Path("runs/small-001")
    epochs = [text for text in said.splitlines() if text.startswith("epoch ")]
    assert [text.split()[1] for text in epochs] == ["10", "20", "25"]
    assert all("median" in text and "best" in text for text in epochs)
    assert "3 replicas, seeds 5 to 7" in said
    for i in range(3):
        same(folder / f"replica-00{i}", alone(program, 5 + i, "--epochs", "25"))
        record = json.loads((folder / f"replica-00{i}" / "run.json").read_text())
        assert (record["status"], record["options"]["seed"], record["options"]["replicas"]) == (
            "finished",
            5 + i,
            1,
        )
    lines = summary(folder)
    assert [(x["replica"], x["seed"], x["epochs"]) for x in lines] == [
        (str(i), str(5 + i), "25") for i in range(3)
    ]
    for line in lines:
        with (folder / f"replica-00{line['replica']}" / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert (line["loss"], line["validation_loss"], line["r2"]) == (
            rows[-1]["loss"],
            rows[-1]["validation_loss"],
            rows[-1]["r2"],
        )
        best = min(rows, key=lambda r: float(r["validation_loss"]))
        assert (line["best_epoch"], line["best_loss"]) == (best["epoch"], best["validation_loss"])
    winner = min(lines, key=lambda line: float(line["best_loss"]))["replica"]
    shown, wanted = (load(f / "best.safetensors")[0] for f in (folder, folder / f"replica-00{winner}"))
    assert all(np.array_equal(shown[n], wanted[n]) for n in wanted)
    run(["eval", str(folder)])


def test_the_file_says_how_many_and_the_option_goes_before_it(program: str) -> None:
    path = Path(program)
    path.write_text(path.read_text().replace("train {", "train {\n    replicas = 2"))
    run(["train", program, "--epochs", "2", "--quiet"])
    assert sorted(p.name for p in Path("runs/small-001").glob("replica-*")) == ["replica-000", "replica-001"]
    run(["train", program, "--epochs", "2", "--quiet", "--replicas", "1"])
    assert not list(Path("runs/small-002").glob("replica-*"))
    run(["train", "--resume", "runs/small-001/replica-001", "--epochs", "4", "--quiet"])
    other = alone(program, 6, "--epochs", "2", "--replicas", "1")
    run(["train", "--resume", str(other), "--epochs", "4", "--quiet"])
    same(Path("runs/small-001/replica-001"), other)


def test_json_has_the_numbers_of_all(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", program, "--replicas", "3", "--epochs", "4", "--json"])
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2, 3, 4]
    last = [float(x["loss"]) for x in summary(Path("runs/small-001"))]
    assert rows[-1]["loss"] == last
    assert len(rows[0]["r2"]) == 3


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_cut_run_resumes_as_a_whole_to_the_same_bits(program: str, sign: signal.Signals) -> None:
    code = (
        "import time, netc.cli.replicas as r, netc.cli.train as t, netc.cli.main as m; r.SAVE_SECONDS = 0.05\n"
        "import netc.side_by_side as s; s.SLICE_SECONDS = s.POLL_SECONDS = 0.01\n"
        "save = t.save_run\n"
        "def save_and_rest(*a): save(*a); time.sleep(0.1)\n"
        "t.save_run = save_and_rest; m.run()"
    )
    command = [sys.executable, "-c", code, "train", program, "--replicas", "3", "--epochs", "10000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = Path("runs/small-001")
    records = [folder / f"replica-00{i}" / "run.json" for i in range(3)]
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None:
        if all(r.exists() and json.loads(r.read_text())["step"] for r in records[:2]):
            break
        time.sleep(0.02)
    process.send_signal(sign)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if sign is signal.SIGINT else -signal.SIGKILL)
    assert (f"go on with: netc train --resume {folder}" in said) == (sign is signal.SIGINT)
    assert any(json.loads(r.read_text())["step"] < 10000 * 15 for r in records)
    if sign is signal.SIGKILL:  # one that was never saved begins anew
        shutil.rmtree(folder / "replica-002")
    run(["train", "--resume", str(folder), "--quiet"])
    for i in range(3):
        same(folder / f"replica-00{i}", alone(program, 5 + i, "--epochs", "10000"))
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"


def test_what_has_ended_for_good_is_not_resumed(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(program)
    path.write_text(path.read_text().replace("ema = 0.98", "stop = early_stop(patience = 1)"))
    run(["train", program, "--replicas", "4", "--epochs", "40", "--quiet"])
    folder = Path("runs/small-001")
    before = {x["replica"]: x for x in summary(folder) if x["status"] == "early stop"}
    assert before
    run(["train", "--resume", str(folder), "--epochs", "60"])
    assert "early stop" in capsys.readouterr().out
    assert {x["replica"]: x for x in summary(folder) if x["replica"] in before} == before


def test_that_all_diverge_is_told(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(program)
    path.write_text(path.read_text().replace("adam(lr = cosine_annealing(1e-2))", "sgd(lr = 1e9)"))
    code, _ = failure(["train", program, "--replicas", "2", "--epochs", "9"], capsys)
    assert code == 3
    assert [x["status"] for x in summary(Path("runs/small-001"))] == ["diverged"] * 2
    found = netc.compile(program, replicas=2).fit()
    assert all(h.problem for h in found)


@pytest.mark.parametrize("number", ["0", "-4", "2.5", "many", "65537"])
def test_numbers_that_are_none(program: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = failure(["train", program, "--replicas", number], capsys)
    assert code == 2
    assert number in said
    assert "--replicas" in said


def test_a_resumed_run_keeps_its_number(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", program, "--replicas", "2", "--epochs", "2", "--quiet"])
    code, said = failure(["train", "--resume", "runs/small-001", "--replicas", "3"], capsys)
    assert code == 2
    assert "a resumed run keeps its --replicas" in said
    path = Path(program)
    path.write_text(path.read_text().replace("linear(16)", "linear(17)"))
    code, said = failure(["train", "--resume", "runs/small-001"], capsys)
    assert code == 1
    assert "E0704" in said
