"""A model on a CUDA device as a user sees it: calls, gradients, training, saved states; the emulator stands for the GPU."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator import Emulator

import netc
from netc.cli.main import run
from netc.grammar.diagnostics import CompileError
from netc.runtime.cuda import device, driver
from netc.runtime.cuda import run as cuda_run
from netc.runtime.cuda.executor import DeviceFailed
from netc.runtime.cuda.plans import Plan

REGRESSION = Path(__file__).parent.parent.parent / "examples" / "regression.net"
TEXT = """net small { input x: [3]; linear(4); tanh; linear(1) }
data { x = randn(12, 3); target = randn(12, 1) }
train { loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 5; epochs = 4; device = "cuda" }
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    found = Emulator(threads=64, blocks=3)
    monkeypatch.setattr(device, "find", lambda: found)
    return found


def test_calls_and_gradients_agree_and_move(gpu: Emulator) -> None:
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    cpu, model = netc.compile(REGRESSION, seed=1), netc.compile(REGRESSION, seed=1)
    for m in (cpu, model.cuda()):
        m(x).backward(np.full((10, 1), 10.0))
        m.loss(m(x), np.ones((10, 1))).backward()
    assert {entry for entry, _ in gpu.launches} >= {"netc_forward", "netc_backward", "netc_loss"}
    for name, parameter in model.cpu().parameters().items():
        got, expected = parameter.grad, cpu.parameters()[name].grad
        assert got is not None
        assert expected is not None
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    before = len(gpu.launches)
    wanted = model.predict(x)
    assert len(gpu.launches) == before
    for _ in range(2):
        np.testing.assert_allclose(model.cuda().predict(x[:1]), wanted[:1], rtol=1e-5, atol=1e-5)
    assert len(gpu.launches) == before + 2  # the short way of the CPU is not taken
    assert copy.deepcopy(model).device == "cuda"
    model[0].bias[...] = 7.0  # seen by the next call
    assert not np.allclose(model.predict(x), wanted)


def test_the_file_the_call_and_other_words(gpu: Emulator) -> None:
    assert netc.compile(source=TEXT).device == "cuda"
    assert netc.compile(source=TEXT, device="cpu").device == "cpu"
    with pytest.raises(ValueError, match="device is cpu or cuda, not 'gpu'"):
        netc.compile(source=TEXT, device="gpu")
    with pytest.raises(ValueError, match="plan is block, grid or graph, not 'wide'"):
        netc.compile(source=TEXT).fit(plan="wide")
    with pytest.raises(
        ValueError, match=r"plan = grid is for a CUDA device, .* the CPU: model.cuda\(\) moves it"
    ):
        netc.compile(source=TEXT, device="cpu").fit(plan="grid")


@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_resumes_on_the_other_device(
    first: str, second: str, gpu: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    run(["train", "small.net", "--device", "cpu", "--quiet", "--out", "whole"])
    run(["train", "small.net", "--device", first, "--epochs", "2", "--quiet"])
    run(["train", "--resume", "runs/small-001", "--device", second, "--epochs", "4", "--quiet"])
    assert {entry for entry, _ in gpu.launches} == {"netc_train"}
    whole, found = (netc.load(f"{p}/small-001/last.safetensors").state_dict() for p in ("whole", "runs"))
    for name, array in whole.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)


def test_commands_use_the_device(gpu: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    Path("x.csv").write_text("1,2,3\n")
    run(["train", "small.net", "--quiet"])
    for command in (["eval", "runs/small-001"], ["predict", "runs/small-001", "x.csv"]):
        for name, launches in (("cpu", False), ("cuda", True)):
            gpu.launches.clear()
            run([*command, "--device", name])
            assert bool(gpu.launches) == launches
    gpu.launches.clear()
    run(["show", "small.net"])
    assert not gpu.launches


def test_a_plan_can_be_asked_for(gpu: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, whatever the run is worth; a resumed run keeps it, and forgets it on the CPU."""
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    plans = recorded_plans(monkeypatch)
    for number, plan in enumerate(Plan, 1):
        run(["train", "small.net", "--plan", plan, "--epochs", "1", "--quiet"])
        run(["train", "--resume", f"runs/small-00{number}", "--epochs", "2", "--quiet"])
        assert plans == [plan, plan]
        plans.clear()
    run(["train", "--resume", "runs/small-001", "--epochs", "3", "--plan", "grid", "--quiet"])
    assert plans == [Plan.grid]
    run(["train", "--resume", "runs/small-001", "--epochs", "4", "--device", "cpu", "--quiet"])
    assert json.loads(Path("runs/small-001/run.json").read_text())["options"]["plan"] is None


def recorded_plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of all runs that begin from now on."""
    found: list[Plan] = []
    begin = cuda_run.Run.__init__

    def recorded(self: Any, library: Any, job: Any, plan: Plan) -> None:
        found.append(plan)
        begin(self, library, job, plan)

    monkeypatch.setattr(cuda_run.Run, "__init__", recorded)
    return found


@pytest.mark.parametrize("command", ["train", "bench"])
def test_a_plan_without_a_device_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    with pytest.raises(SystemExit) as stop:
        run([command, "small.net", "--plan", "grid", "--device", "cpu"])
    assert stop.value.code == 2
    assert "--plan is for a CUDA device" in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def test_steps_are_timed_on_the_device(
    gpu: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    for plan in Plan:
        gpu.launches.clear()
        run(["bench", "small.net", "--device", "cuda", "--plan", plan, "--seconds", "0.05", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert (found["device"], found["plan"], found["threads"]) == ("cuda", plan, None)
        assert found["peak"] is found["predicted"] is found["share_of_peak"] is None
        assert 0 < found["step"] <= found["step_median"]
        assert "netc_predict" in {e for e, _ in gpu.launches}
    run(["bench", "small.net", "--device", "cuda", "--seconds", "0.05"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "small: 5 rows a step, on the CUDA device, plan block"
    assert [line.split("  ")[1] for line in lines] == ["training step", "predict a batch", "predict one row"]
    with pytest.raises(SystemExit) as stop:
        run(["bench", "small.net", "--device", "cuda", "--against", "torch,jax"])
    assert stop.value.code == 2
    gpu.launches.clear()
    run(["bench", "small.net", "--seconds", "0.05"])
    assert not gpu.launches


def test_commands_without_a_gpu_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "library", lambda: None)
    device.find.cache_clear()
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    Path("x.csv").write_text("1,2,3\n")
    run(["train", "small.net", "--device", "cpu", "--quiet"])
    capsys.readouterr()
    for command in (
        ["train", "small.net"],
        ["bench", "small.net", "--device", "cuda"],
        ["train", "--resume", "runs/small-001", "--epochs", "8", "--device", "cuda"],
        ["eval", "runs/small-001", "--device", "cuda"],
        ["predict", "runs/small-001", "x.csv", "--device", "cuda"],
    ):
        with pytest.raises(SystemExit) as stop:
            run(command)
        said = capsys.readouterr().err
        assert stop.value.code == 1, command
        assert said.startswith("error[E0803]: there is no CUDA device to compute on: no NVIDIA driver"), (
            command
        )
        assert "help: install the driver" in said
    assert [p.name for p in Path("runs").iterdir()] == ["small-001"]  # a refused run leaves no folder
    model = netc.compile(source=TEXT, device="cpu")
    for action in (model.cuda, lambda: netc.load("runs/small-001/last.safetensors", device="cuda")):
        with pytest.raises(CompileError, match="E0803"):
            action()
    assert model.device == "cpu"


def test_an_interruption_between_launches_leaves_a_run_to_resume(
    gpu: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(TEXT)
    real, done = gpu.launch, 0

    def launch(*given: Any) -> None:
        nonlocal done
        real(*given)
        done += 1
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "launch", launch)
    with pytest.raises(SystemExit) as stop:
        run(["train", "small.net", "--quiet"])
    assert stop.value.code == 130
    run(["train", "--resume", "runs/small-001", "--quiet"])
    run(["train", "small.net", "--quiet"])
    states = [netc.load(f"runs/small-00{i}/last.safetensors").state_dict() for i in (1, 2)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*(s.values() for s in states), strict=True))


def test_what_the_device_reports_becomes_a_diagnostic(gpu: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = netc.compile(source=TEXT)
    gpu.memory = 100
    with pytest.raises(CompileError) as caught:
        model.predict(np.zeros((40, 3)))
    assert [d.code for d in caught.value.diagnostics] == ["E0505"]
    gpu.memory = 2**40

    def launch(*_: Any) -> None:
        raise DeviceFailed("CUDA_ERROR_ILLEGAL_ADDRESS")

    monkeypatch.setattr(gpu, "launch", launch)
    for action in (lambda: model.predict(np.zeros((4, 3))), model.fit):
        with pytest.raises(CompileError) as caught:
            action()
        (found,) = caught.value.diagnostics
        assert (found.code, "ILLEGAL_ADDRESS" in found.message) == ("E0804", True)
