"""``netc train`` as a person meets it: its options, what it prints, full disks, divergence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import netc
from netc.cli.main import run
from netc.cli.reporters import duration, progress, sparkline
from netc.runtime import rundir
from netc.runtime.checkpoint import load

PROGRAM = """const width = 4
net small {
    input x: [3]
    linear(width)
    relu
    linear(1)
}
data { x = randn(40, 3); target = x[:, 0:1]; validation = 0.25 }
train { loss = mse_loss(); optimizer = sgd(lr = 1e-2); epochs = 3; metrics = [mae] }
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(PROGRAM)
    return "small.net"


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    return int(stop.value.code or 0), capsys.readouterr().err


def test_table_then_epochs_then_what_was_written(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", program])
    table, epochs, end = capsys.readouterr().out.split("\n\n")
    assert [text.split()[:2] for text in table.splitlines()[2:5]] == [
        ["0", "linear(width)"],
        ["1", "relu"],
        ["2", "linear(1)"],
    ]
    assert table.endswith("21 parameters")
    assert [text.split()[::2] for text in epochs.splitlines()] == [["epoch", "loss", "validation", "mae"]] * 3
    folder = Path("runs/small-001")
    assert {str(folder / f.name) for f in folder.iterdir()} == set(end.replace("wrote", "").split()) & {
        str(folder / f.name) for f in folder.iterdir()
    }
    assert "next: netc predict runs/small-001" in end
    assert (folder / "history.csv").read_text().startswith("epoch,loss,validation_loss,mae\n1,")


def test_every_option_reaches_the_run(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--epochs",
        "2",
        "--batch",
        "7",
        "--lr",
        "0.1",
        "--seed",
        "5",
        "--threads",
        "2",
        "--dtype",
        "float64",
    ]
    run(["train", program, *options, "--set", "width=6", "--out", "elsewhere", "--json"])
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [set(row) for row in rows] == [{"epoch", "loss", "validation_loss", "mae"}] * 2
    record = json.loads(Path("elsewhere/small-001/run.json").read_text())
    assert (record["status"], record["epoch"], record["step"]) == ("finished", 2, 2 * 5)
    known = record["options"]
    assert (known["batch"], known["threads"], known["lr"], known["seed"]) == (7, 2, 0.1, 5)
    tensors, about = load(Path("elsewhere/small-001/last.safetensors"))
    assert tensors["0.weight"].shape == (6, 3)
    assert tensors["0.weight"].dtype == "float64"
    assert about["source"] == PROGRAM
    assert len(about["source_sha256"]) == 64
    run(["train", program, "--batch", "full", "--epochs", "1", "--quiet"])
    assert capsys.readouterr().out == ""
    assert json.loads(Path("runs/small-001/run.json").read_text())["step"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "0"],
        ["--batch", "0"],
        ["--batch", "some"],
        ["--epochs", "0"],
        ["--seed", "-1"],
        ["--set", "width"],
    ],
)
def test_options_out_of_range_are_usage_errors(
    arguments: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = failure(["train", program, *arguments], capsys)
    assert (code, "Error" in text) == (2, True)
    assert not Path("runs").exists()


def test_a_learning_rate_needs_an_optimizer_that_has_one(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(program).write_text(
        PROGRAM.replace("sgd(lr = 1e-2)", "still()") + "optimizer still() { param <- param }\n"
    )
    code, text = failure(["train", program, "--lr", "1"], capsys)
    assert (code, "no learning rate" in text) == (2, True)


def test_resume_finds_the_latest_run(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(["train", program, "--resume"], capsys)[0] == 1
    for _ in range(2):
        run(["train", program, "--quiet"])
    for arguments in ([program, "--resume"], ["--resume", program]):
        run(["train", *arguments, "--epochs", "5", "--quiet"])
    epochs = [json.loads(Path(f"runs/small-00{i}/run.json").read_text())["epoch"] for i in (1, 2)]
    assert epochs == [3, 5]
    assert failure(["train", "--resume", "runs/small-001", "--lr", "1"], capsys)[0] == 2
    Path("runs/small-001/run.json").write_text('{"options": 3}')
    code, text = failure(["train", "--resume", "runs/small-001"], capsys)
    assert (code, "E0704" in text) == (1, True)


def test_run_folders_are_numbered_behind_the_last(tmp_path: Path) -> None:
    (tmp_path / "a-007").mkdir()
    (tmp_path / "a-b-009").mkdir()
    assert rundir.create(tmp_path, "a").name == "a-008"
    assert rundir.create(tmp_path, "a-b").name == "a-b-010"
    assert rundir.latest(tmp_path, "a") == tmp_path / "a-008"
    assert rundir.latest(tmp_path, "c") is None


def test_the_program_can_name_where_weights_go(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(program).write_text(PROGRAM.replace("epochs = 3", 'epochs = 3; save = "kept/small.safetensors"'))
    run(["train", program])
    assert "kept/small.safetensors" in capsys.readouterr().out
    best, kept = (load(Path(p))[0] for p in ("runs/small-001/best.safetensors", "kept/small.safetensors"))
    assert best.keys() == kept.keys()
    assert all((best[n] == kept[n]).all() for n in best)
    assert netc.load("kept/small.safetensors").predict([[1, 2, 3]]).shape == (1, 1)


@pytest.mark.parametrize(
    ("place", "code"), [('"../x.safetensors"', "E0304"), ('"x.pt"', "E0304"), ("3", "E0303")]
)
def test_weights_go_nowhere_else(place: str, code: str) -> None:
    source = PROGRAM.replace("epochs = 3", f"epochs = 3; save = {place}")
    assert [d.code for d in netc.check(source)] == [code]


# what it looks like


def test_a_terminal_shows_a_live_line(program: str) -> None:
    pty = pytest.importorskip("pty")
    reading, writing = pty.openpty()
    command = [
        sys.executable,
        "-c",
        "from netc.cli.main import run; run()",
        "train",
        program,
        "--epochs",
        "300",
    ]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=writing, stderr=writing, env=environment)
    os.close(writing)
    said = b""
    try:
        while part := os.read(reading, 65536):
            said += part
    except OSError:  # the other side is closed
        pass
    os.close(reading)
    assert process.wait(60) == 0
    text = said.decode()
    assert "epoch 300" in text
    assert " rows/s  " in text
    assert " left  " in text
    assert set("▁▂▃▄▅▆▇█") & set(text)
    assert text.index("21 parameters") < text.index("rows/s") < text.index("wrote runs/small-001")


def test_numbers_as_people_read_them() -> None:
    assert [duration(s) for s in (0.123, 37.4, 125, 12_000)] == ["0.12 s", "37 s", "2 min 5 s", "3 h 20 min"]
    assert progress(2, 6, 1000, 4.0) == "500 rows/s  12 s left"
    assert progress(10, 0, 1000, 0.01) == "1.0M rows/s  0.00 s left"
    assert sparkline([3, 2, 1]) == "█▅▁"
    assert sparkline([1, 1]) == "▁▁"
    assert sparkline([float("nan")]) == ""
    long = sparkline([1000 - i for i in range(1000)])
    assert len(long) <= 24
    assert (long[0], long[-1]) == ("█", "▁")


# when it does not go well


def test_divergence_names_step_layer_and_line(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = failure(["train", program, "--lr", "1e25"], capsys)
    assert code == 3
    assert "error[E0801]: the loss is not finite at step" in text
    assert "--> small.net:" in text
    assert "layer" in text or "after step" in text
    record = json.loads(Path("runs/small-001/run.json").read_text())
    assert record["status"] == "diverged"
    tensors, _ = load(Path("runs/small-001/last.safetensors"))
    assert "0.weight" in tensors


def test_not_a_number_in_the_data_is_a_diagnostic(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(program).write_text(PROGRAM.replace("x = randn(40, 3)", "x = log(randn(40, 3))"))
    code, text = failure(["train", program], capsys)
    assert (code, "error[E0605]" in text) == (1, True)
    assert "small.net:8:" in text


FULL_AFTER = """
import resource, sys
from netc.cli.main import run
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
run()
"""


def files(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.mark.parametrize("limit", [10, 700])
def test_a_full_disk_leaves_the_files_that_were_there(program: str, limit: int) -> None:
    pytest.importorskip("resource")
    run(["train", program, "--quiet"])
    folder = Path("runs/small-001")
    before = files(folder)
    command = [
        sys.executable,
        "-c",
        FULL_AFTER,
        str(limit),
        "train",
        "--resume",
        str(folder),
        "--epochs",
        "90",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error[E0705]" in done.stderr
    assert f"go on with: netc train --resume {folder}" in done.stderr
    assert files(folder) == before
    run(["train", "--resume", str(folder), "--epochs", "4", "--quiet"])
    assert json.loads((folder / "run.json").read_text())["epoch"] == 4


def test_a_disk_that_fills_up_while_training(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["train", program, "--quiet"])
    before = files(Path("runs/small-001"))

    def replace(*names: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    code, text = failure(["train", "--resume", "runs/small-001", "--epochs", "9"], capsys)
    assert (code, "No space left on device" in text) == (1, True)
    assert files(Path("runs/small-001")) == before


def test_history_holds_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = rundir.HistoryFile(tmp_path / "history.csv", ["epoch", "loss"])
    history.add(1, 0.5)
    history.flush()
    history.add(2, None)
    history.flush()
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n1,0.5\n2,\n"
    real = Path.open

    class Short:
        """A file on a disk with room for three bytes more."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.file = real(*arguments, **options)

        def __enter__(self) -> Short:
            return self

        def __exit__(self, *failure: object) -> None:
            self.file.close()

        def tell(self) -> int:
            return int(self.file.tell())

        def write(self, content: bytes) -> int:
            self.file.write(content[:3])
            raise OSError(28, "No space left on device")

    history.add(3, 0.25)
    monkeypatch.setattr(Path, "open", lambda *arguments, **options: Short(*arguments, **options))
    with pytest.raises(netc.CompileError, match="E0705"):
        history.flush()
    monkeypatch.undo()
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n1,0.5\n2,\n"
