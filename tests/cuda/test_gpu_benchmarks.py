"""``python -m benchmarks --device cuda`` without a GPU: what it says, and its rows and costs with the emulator as the device."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from emulator import Emulator

from benchmarks import costs, gpu, peers, report, rows
from benchmarks.__main__ import main
from benchmarks.ours import Ours
from benchmarks.place import BF16, CUDA, FULL, Place
from benchmarks.workloads import RELU, WORKLOADS, Workload, chain
from netc.peers.measure import Samples
from netc.runtime.cuda import device
from netc.runtime.cuda.driver import Machine
from netc.runtime.cuda.plans import Plan

ROOT = Path(__file__).parent.parent.parent
SMALL = Workload("small", (3,), chain(3, 4, 1, between=RELU), "mse", "adam", 1e-3, 8, 4)
MACHINE = Machine((13, 0), 1, "Example 9000", (9, 0), 132, 2**34, True)


class Stream:
    """Launches of the emulator end before they return; while a graph is recorded none begins."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.recorded: list[Any] = []

    def synchronize(self) -> None: ...

    def begin_capture(self) -> None:
        self.launch, self.recorded = self.device.launch, []
        self.device.launch = lambda *given: self.recorded.append(given)

    def end_capture(self) -> Any:
        self.device.launch, launch, given = self.launch, self.launch, self.recorded

        def replay(stream: Any) -> None:
            for one in given:
                launch(*one)

        return SimpleNamespace(launch=replay)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Any:
    found: Any = Emulator(threads=64, blocks=3)
    found.stream, found.machine, found.compiler = Stream(found), MACHINE, (13, 0)
    monkeypatch.setattr(device, "find", lambda: found)
    return found


def test_without_a_device_one_line_says_what_is_missing() -> None:
    command = [sys.executable, "-m", "benchmarks", "--device", "cuda", "--quick"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: no CUDA device: ")


@pytest.mark.parametrize(
    "option", [["--threads", "2"], ["--precision", "bf16"], ["--compare"], ["--no-startup"]]
)
def test_options_of_the_cpu_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--device", "cuda", *option])
    assert ended.value.code == 2
    assert "is for --device cpu" in capsys.readouterr().err


def test_the_rows_are_those_that_are_promised() -> None:
    assert list(gpu.ROWS) == [
        "seed", "mexp", "mlp-128", "mlp-1024", "mlp-8192", "lenet", "cnn", "wide",
        "mlp-128-bf16", "mlp-1024-bf16", "mlp-8192-bf16", "wide-bf16",
    ]  # fmt: skip
    for name, (workload, precision) in gpu.ROWS.items():
        assert workload.name == name
        assert workload.rows % workload.batch_rows == 0  # a graph of PyTorch takes whole batches
        assert (precision == BF16) == name.endswith("-bf16")
    assert gpu.ROWS["mlp-8192"][0].flops == 64 * WORKLOADS["mlp"].flops


def test_costs_are_counted_in_launches_and_barriers(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "TIMES", 20)
    monkeypatch.setattr(costs, "SAMPLES", 2)
    found = costs.measure(emulated)
    assert found.blocks == 3
    assert min(found.launch, found.answer, found.node, found.barrier, found.copy) > 0
    runs = 3  # one to warm up
    assert emulated.launches.count(("waits", 3)) == runs
    assert emulated.launches.count(("nothing", 1)) == runs * (20 + 2 + 20)
    text = list(costs.lines(replace(found, node=1.5e-6)))
    assert "a node of a graph" in text[2]
    assert text[2].endswith("1.50 us")
    assert "3 blocks" in text[3]


@pytest.mark.parametrize("precision", [FULL, BF16])
def test_a_row_has_every_plan_and_says_which_peer_failed(
    precision: str, emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_peer(*_: Any) -> Any:
        raise RuntimeError("no kernel image\nmore")

    monkeypatch.setattr(peers, "make", no_peer)
    columns = ["torch", *Plan, FULL]
    found = rows.measured(SMALL, columns, 0.01, Place(device=CUDA, precision=precision))
    assert found.failure == ""
    assert found.compilation is not None
    assert found.compilation.cold > 0
    assert found.peers["torch"] == report.PeerResult(None, None, "RuntimeError: no kernel image")
    for name in (*Plan, FULL):
        assert found.peers[name].samples is not None, name
    line = report.line(found, columns, None)
    assert "torch: RuntimeError: no kernel image" in line
    assert line.count("x") >= len(Plan)
    assert "TFLOP/s" in report.heading(["a"], report.DEVICE_RATE)


def test_losses_that_differ_have_no_time(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(losses=lambda steps: [1.0] * steps, train=lambda steps: 1.0)
    monkeypatch.setattr(peers, "make", lambda *_: wrong)
    found = rows.measured(SMALL, ["torch"], 0.01, Place(device=CUDA))
    result = found.peers["torch"]
    assert result.samples is None
    assert result.difference is not None
    assert result.difference > 1e-4
    assert "losses differ by" in report.line(found, ["torch"], None)


def test_the_whole_run_writes_json(
    emulated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(costs, "TIMES", 10)
    monkeypatch.setitem(gpu.ROWS, "small", (SMALL, FULL))
    path = tmp_path / "figures.json"
    given = ["--device", "cuda", "--rows", "small", "--peers", "", "--quick", "--json", str(path)]
    main(given, standalone_mode=False)
    said = capsys.readouterr().out
    assert said.startswith("Example 9000, sm_90, 132 processors, driver for CUDA 13.0, NVRTC 13.0")
    found = json.loads(path.read_text(encoding="utf-8"))
    (row,) = found["rows"]
    assert set(row["peers"]) == set(Plan)
    assert row["compilation"]["cold"] > 0
    assert found["costs"]["blocks"] == 3
    assert found["device"]["name"] == "Example 9000"


def test_what_takes_long_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def run(steps: int) -> float:
        taken.append(steps)
        return 0.5 * steps

    monkeypatch.setattr(rows, "SLOW", -1.0)
    assert rows.patient_sample(run, 1.0) == Samples((0.5,))
    assert taken == [1]
    monkeypatch.setattr(rows, "SLOW", 1.0)
    assert len(rows.patient_sample(run, 1.0).seconds) > 1


# peers, on the CPU: nothing of a device is in what they compute


def pretended_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of PyTorch on the CPU: a replay takes the captured step again."""
    import torch

    peer: Any = importlib.import_module("benchmarks.peers.torch_graphs_peer")

    class Graph:
        replay: Callable[[], None]

    stream = SimpleNamespace(wait_stream=lambda other: None)
    fakes = {
        "CUDAGraph": Graph, "graph": lambda graph: nullcontext(), "Stream": lambda: stream,
        "current_stream": lambda: stream, "stream": lambda stream: nullcontext(),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    capture = peer.Graphed.capture

    def captured(self: Any) -> None:
        capture(self)
        self.graph.replay = lambda: self.loss_of_step.copy_(self.taken())

    monkeypatch.setattr(peer.Graphed, "capture", captured)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch", [None, 4])
def test_a_captured_step_is_the_eager_one(
    batch: int | None, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pretended_graphs(monkeypatch)
    workload = replace(SMALL, batch=batch, optimizer=optimizer)
    data = workload.data()
    ours = Ours(workload, data, Place())
    eager, graphed = (peers.make(n, workload, ours.state, data, Place()) for n in ("torch", "torch-graphs"))
    for _ in range(2):  # each time from the initial weights
        assert graphed.losses(6) == pytest.approx(eager.losses(6), rel=1e-5)
        assert graphed.losses(6) == pytest.approx(ours.losses(6), rel=1e-4)
        assert graphed.train(5) > 0
    if batch is not None:
        assert sorted(graphed.order.tolist()) == list(range(workload.rows))  # type: ignore[attr-defined]


@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_rounded_factors_are_rounded(peer: str) -> None:
    pytest.importorskip(peer)
    data = SMALL.data()
    ours = Ours(SMALL, data, Place(precision=BF16))
    exact, rounded = (
        peers.make(peer, SMALL, ours.state, data, Place(precision=p)).losses(5) for p in (FULL, BF16)
    )
    assert 1e-6 < abs(rounded[0] - exact[0]) / exact[0] < rows.ROUNDED_AGREEMENT
    assert rounded == pytest.approx(ours.losses(5), rel=rows.ROUNDED_AGREEMENT)
