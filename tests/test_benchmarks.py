"""The benchmark harness runs as documented and reports what was measured; speed itself is no test's affair."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
