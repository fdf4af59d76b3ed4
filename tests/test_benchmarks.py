"""The benchmark harness runs as documented and reports what was measured; speed itself is no test's affair."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.compare import TOLERANCE, changes
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_a_workload_is_measured_and_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = benchmarks("--quick", "--rows", "seed", "--peers", "", "--no-startup", "--json", str(path))
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    (row,) = figures["rows"]
    assert row["failure"] == ""
    # 100 rows of 3-32-1: forward and both gradients, without the gradient of the first layer's input
    assert row["flops"] == 100 * (6 * (3 * 32 + 32) - 2 * 3 * 32)
    assert all(0 < seconds < 1 for seconds in row["ours"]["seconds"])
    assert figures["peak_flops"] > 0
    assert "seed" in done.stdout


def test_an_unknown_workload_is_refused_by_name() -> None:
    done = benchmarks("--rows", "sead")
    assert done.returncode == 2
    assert "sead" in done.stderr
    assert "mnist-mlp-32" in done.stderr


def test_rounded_products_are_timed_beside_full_precision(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    arguments = ("--precision", "bf16", "--rows", "tabular", "--quick", "--no-startup", "--json", str(path))
    done = benchmarks(*arguments)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert set(row["peers"]) == {"full"}
    assert 0 < row["peers"]["full"]["difference"] < 0.02
    assert row["peers"]["full"]["samples"] is not None


def run_of(seconds: float, peer: float, peak: float = 1e11) -> dict[str, Any]:
    """A run as JSON holds it, of one workload."""
    samples = {"seconds": [seconds, seconds * 1.1]}
    of_peer = {"difference": 0.0, "samples": {"seconds": [peer]}}
    row = {"name": "seed", "flops": 1.0, "ours": samples, "peers": {"torch": of_peer}, "failure": ""}
    return {"rows": [row], "peak_flops": peak, "threads": 1, "machine": {"processor": "some CPU"}}


def slower(before: dict[str, Any], now: dict[str, Any]) -> bool:
    (change,) = changes(before, now)
    return change.slower(TOLERANCE)


def test_a_row_that_lost_against_peak_and_peer_is_slower() -> None:
    assert slower(run_of(1.0, 2.0), run_of(1.3, 2.0))
    assert not slower(run_of(1.0, 2.0), run_of(1.05, 2.0))
    assert not slower(run_of(1.0, 2.0), run_of(0.5, 2.0))


def test_a_slower_machine_or_a_faster_peer_is_no_fault_of_ours() -> None:
    assert not slower(run_of(1.0, 2.0), run_of(2.0, 4.0, peak=0.5e11))
    assert not slower(run_of(1.0, 2.0), run_of(1.0, 1.0))
    assert slower(run_of(1.0, 2.0), run_of(2.0, 2.0, peak=1e11))


def test_a_row_that_fails_now_is_slower() -> None:
    now = run_of(1.0, 2.0)
    now["rows"][0] |= {"ours": None, "failure": "RuntimeError: it broke"}
    (change,) = changes(run_of(1.0, 2.0), now)
    assert change.slower(TOLERANCE)
    assert "it broke" in change.line()


def test_comparison_decides_the_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    for seconds, code in ((1.0, 0), (1e-9, 1)):
        path.write_text(json.dumps(run_of(seconds, 1.0)), encoding="utf-8")
        done = benchmarks("--quick", "--rows", "seed", "--peers", "", "--no-startup", "--compare", str(path))
        assert done.returncode == code, done.stderr
        assert ("slower than before: seed" in done.stderr) == bool(code)
    path.write_text("[]", encoding="utf-8")
    done = benchmarks("--rows", "seed", "--compare", str(path))
    assert done.returncode == 2
    assert "is no run of the benchmarks" in done.stderr


def test_every_layer_is_counted_as_often_as_it_multiplies() -> None:
    lstm, encoder = WORKLOADS["lstm"], WORKLOADS["encoder"]
    recurrent, of_input = 28 * 4 * 128 * 128, 28 * 4 * 128 * 28
    assert lstm.flops == 64 * (6 * (recurrent + 128 * 10) + 4 * of_input)
    block = 64 * (4 * 128**2 + 2 * 128 * 512) + 2 * 64 * 64 * 128
    assert encoder.flops == 32 * (6 * (2 * block + 128 * 10) - 2 * 64 * 3 * 128**2)
