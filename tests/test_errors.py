"""What goes wrong is said in one message that names the thing: no traceback, and an exit code that tells the kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import netc
from netc.cli import check
from netc.cli.main import run

PROGRAM = """
const width = 4
net small { input x: [3]; linear(width); relu; linear(1) }
data { x = randn(20, 3); target = randn(20, 1) }
train { loss = mse_loss(); optimizer = sgd(lr = 1e-2); epochs = 2 }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(PROGRAM)
    return path


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and what was printed on standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert isinstance(stop.value.code, int)
    return stop.value.code, text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("division by zero"), "error: a bug in netc: ZeroDivisionError: division by zero"),
        (KeyError("x"), "a bug in netc: KeyError: 'x'"),
        (RecursionError(), "a bug in netc: RecursionError ("),
        (MemoryError("Unable to allocate 3 TiB"), "error: there is not enough memory: Unable to allocate"),
        (PermissionError(13, "Permission denied", "a.csv"), "error: a.csv: Permission denied"),
        (OSError(28, "No space left on device", "b.csv"), "error[E0705]: b.csv cannot be written: No space"),
        (OSError("odd"), "a bug in netc: OSError: odd"),
    ],
)
def test_any_exception_is_one_message(
    error: Exception,
    said: str,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(file: str) -> Any:
        raise error

    monkeypatch.delenv("NETC_TRACEBACK", raising=False)
    monkeypatch.setattr(check, "_check", fail)
    code, text = failure(["check", str(program)], capsys)
    assert code == 1
    assert said in text
    assert ("please report it" in text) == ("a bug in netc" in text)
    with pytest.raises(SystemExit):
        run(["--traceback", "check", str(program)])
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("NETC_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        run(["check", str(program)])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupted_command_ends_with_130(
    error: BaseException, program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(file: str) -> Any:
        raise error

    monkeypatch.setattr(check, "_check", fail)
    code, text = failure(["check", str(program)], capsys)
    assert (code, text.strip()) == (130, "")


def test_a_full_disk_behind_standard_output_is_told(program: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code = "import sys; from netc.cli.main import run; run(sys.argv[1:])"
    command = [sys.executable, "-c", code, "show", str(program), "--stage", "llvm"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert done.returncode == 1
    assert "E0705" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    code = "import sys; from netc.cli.main import run; run(sys.argv[1:])"
    command = [sys.executable, "-c", code, "explain"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode in (0, 1)
    assert done.stderr == ""


# weights


@pytest.fixture
def weights(program: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    netc.compile(program).save(path)
    return path


def changed(weights: Path, metadata: dict[str, str] | None = None, **tensors: Any) -> Path:
    """The file again with other tensors (None: without it), and with the metadata or none."""
    content = {n: a for n, a in load_file(weights).items() if tensors.get(n, a) is not None}
    content |= {n: a for n, a in tensors.items() if a is not None}
    save_file(content, weights, metadata)
    return weights


def about(weights: Path) -> dict[str, str]:
    from netc.runtime.checkpoint import load

    return load(weights)[1]


def test_weights_of_other_names_and_shapes_are_both_told(weights: Path) -> None:
    other: dict[str, Any] = {"2.weight": np.zeros((1, 5), np.float32), "0.bias": None, "0.bais": np.zeros(4)}
    path = changed(weights, about(weights), **other)
    with pytest.raises(netc.CompileError) as caught:
        netc.load(path)
    names, shapes = caught.value.diagnostics
    assert (names.code, names.notes) == ("E0701", ("missing: 0.bias [4]", "unexpected: 0.bais [4]"))
    assert names.help == "did you mean `0.bais`?"
    assert (shapes.code, shapes.notes) == ("E0702", ("2.weight has shape [1, 5], the network has [1, 4]",))


@pytest.mark.parametrize("command", ["predict", "eval"])
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-20]), "E0703"),
        (lambda p: p.write_bytes(p.read_bytes()[:5]), "E0703"),
        (lambda p: p.write_bytes(b""), "E0703"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(200)), "E0703"),
        (lambda p: p.unlink(), "E0703"),
        (lambda p: changed(p, None), "E0703"),
        (lambda p: changed(p, {**about(p), "scalers": "["}), "E0703"),
        (lambda p: changed(p, {**about(p), "dtype": "float8"}), "E0703"),
        (lambda p: changed(p, about(p), **{"0.bias": None}), "E0701"),
        (lambda p: changed(p, about(p), **{"0.bias": np.zeros(7, np.float32)}), "E0702"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    command: str, damage: Any, code: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(weights)
    data = weights.with_suffix(".csv")
    data.write_text("1,2,3\n")
    exit_code, text = failure([command, str(weights), *([str(data)] if command == "predict" else [])], capsys)
    assert exit_code == 1
    assert f"error[{code}]" in text
    assert str(weights) in text


def test_a_folder_without_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = failure(["eval", str(tmp_path)], capsys)
    assert (code, "E0703" in text) == (1, True)


# Python


def test_a_dictionary_that_does_not_fit_names_everything() -> None:
    model = netc.compile(source=PROGRAM)
    before = model.state_dict()
    wrong: dict[str, Any] = {**before, "0.weight": np.zeros((3, 4)), "extra": np.zeros(2)}
    del wrong["2.bias"]
    with pytest.raises(ValueError, match="do not fit") as caught:
        model.load_state_dict(wrong)
    for part in (
        "missing: 2.bias [1]",
        "unexpected: extra [2]",
        "0.weight has shape [3, 4], the network has [4, 3]",
    ):
        assert part in str(caught.value)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match=r"0\.weight"):
        model.load_state_dict({**before, "0.weight": [["a"]]})


X, Y = np.zeros((5, 3)), np.zeros((5, 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.predict(np.zeros((5, 4))), r"input `x` has shape \[5, 4\], expected \[n, 3\]"),
        (lambda m: m.predict(np.zeros(3)), r"input `x` has shape \[3\], expected \[n, 3\]"),
        (lambda m: m.predict(7), r"input `x` has shape \[\], expected"),
        (lambda m: m.predict([["a", "b", "c"]]), "input `x` holds .* values; real numbers"),
        (lambda m: m.predict([[1, 2, 3], [4, 5]]), "input `x` cannot be read as an array of numbers"),
        (lambda m: m.predict(X + 1j), "input `x` holds complex128 values"),
        (lambda m: m.predict(X, X), "small takes 1 input, not 2"),
        (lambda m: m.predict(X, y=X), "input `y` does not exist; there is x"),
        (lambda m: m.predict(X, x=X), "input `x` is given twice"),
        (lambda m: m.predict(), "input `x` is missing"),
        (lambda m: m.fit(X), r"2 arrays expected \(x, target\), not 1"),
        (lambda m: m.fit(X, Y, Y), r"2 arrays expected \(x, target\), not 3"),
        (lambda m: m.fit(X, Y[:3]), "inputs have 5 rows, the target 3"),
        (lambda m: m.fit(X[:0], Y[:0]), "no rows to train on"),
        (lambda m: m.fit(X, Y, validation=(X,)), r"2 arrays expected"),
        (lambda m: m.fit(X, Y, epochs=0), "epochs is a whole number from 1, not 0"),
        (lambda m: m.fit(X, Y, batch=-1), "batch is a whole number from 1, not -1"),
        (lambda m: m.fit(X, Y, batch="all"), "batch is a whole number from 1, not 'all'"),
        (lambda m: m.fit(X, Y, threads=0), "threads is a whole number from 1"),
        (lambda m: m.evaluate(X, Y[:3]), "inputs have 5 rows, the target 3"),
        (lambda m: m.evaluate(X), "2 arrays expected"),
        (lambda m: m.loss(m(X), Y[:3]), r"output has shape \[5, 1\], the target \[3, 1\]"),
        (lambda m: m.loss(m(X), 3.0), "the target is a single number"),
        (lambda m: m.load_state_dict({}), r"missing: 0\.weight \[4, 3\]"),
        (
            lambda m: netc.compile(source=PROGRAM, dtype="float16"),
            "dtype is float32 or float64, not 'float16'",
        ),
    ],
)
def test_python_names_what_does_not_fit(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(netc.compile(source=PROGRAM))


def test_a_target_that_does_not_fit_the_loss_is_a_diagnostic() -> None:
    model = netc.compile(source=PROGRAM)
    for call in (lambda: model.fit(X, np.zeros((5, 2))), lambda: model.evaluate(X, np.zeros((5, 2)))):
        with pytest.raises(netc.CompileError, match="E0404"):
            call()


def test_an_unknown_constant_is_a_diagnostic() -> None:
    with pytest.raises(netc.CompileError, match="no constant `widht`"):
        netc.compile(source=PROGRAM, widht=3)
    assert netc.compile(source=PROGRAM, width=np.int64(7))[0].weight.shape == (7, 3)
    assert json.loads(
        json.dumps(netc.compile(source=PROGRAM, width=np.int64(7)).program.definitions.constants)
    )


# memory


def test_a_network_that_does_not_fit_in_memory_is_a_diagnostic(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("netc.model.free_bytes", lambda: 100 * 2**20)
    assert netc.compile(program, width=1000)[0].weight.shape == (1000, 3)
    code, text = failure(["train", str(program), "--set", "width=1000000"], capsys)
    assert (code, "error[E0505]: the network takes 0.4 GiB of memory to make, 0.1 GiB are free" in text) == (
        1,
        True,
    )
    assert f"{program}:3:5" in text


def test_rows_that_do_not_fit_in_memory_are_told(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from netc.runtime import memory

    monkeypatch.setattr(memory, "free_bytes", lambda: 2**10)
    monkeypatch.setattr("netc.runtime.cpu.LARGE_BYTES", 2**10)
    program.write_text(PROGRAM.replace("20", "20000"))
    code, text = failure(["train", str(program), "--out", str(program.parent)], capsys)
    assert (code, "error: there is not enough memory: " in text) == (1, True)
    assert "0.0 GiB are free" in text


def test_free_memory_is_known_where_the_system_tells() -> None:
    from netc.runtime.memory import free_bytes, gib

    free = free_bytes()
    if Path("/proc/meminfo").exists():
        assert free is not None
        assert 2**20 < free < 2**50
    assert gib(3 * 2**29) == "1.5 GiB"


# programs that have moved


def test_a_run_whose_program_has_moved(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(program.parent)
    run(["train", "small.net", "--quiet"])
    program.rename("moved.net")
    code, text = failure(["eval", "runs/small-001"], capsys)
    assert (code, "netc eval runs/small-001 PROGRAM.net" in text) == (1, True)
    run(["eval", "runs/small-001", "moved.net"])
    run(["train", "moved.net", "--resume", "runs/small-001", "--epochs", "3", "--quiet"])
    assert json.loads(Path("runs/small-001/run.json").read_text())["epoch"] == 3


def test_compile_reports_the_errors_of_all_blocks(tmp_path: Path) -> None:
    program = tmp_path / "wrong.net"
    program.write_text(
        "net wrong {\n    input x: [3]\n    linera(2)\n}\n\ntrain {\n    loss = mse_los()\n    epoch = 3\n}\n"
    )
    with pytest.raises(netc.CompileError) as caught:
        netc.compile(program)
    assert [d.code for d in caught.value.diagnostics] == [d.code for d in netc.check(program)]
    assert len(caught.value.diagnostics) == 3
    assert "wrong.net:3:5" in str(caught.value)
    assert "did you mean `mse_loss`" in str(caught.value)
