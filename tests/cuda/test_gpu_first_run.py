"""The script of a first run on a GPU: where it ends without one, and that a step that fails keeps no other from running.

A Python of a few lines of shell pretends to be all that the script calls.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from emulator import Emulator

import netc
from netc.cli.main import run
from netc.runtime.cuda import device

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu_first_run.sh"
PRETENDED = """#!/usr/bin/env bash
case "$*" in
*"$FAILS"*) echo "it failed"; exit 9 ;;
"-c import sys;"*) ;;
"-B -c "*) echo "$CUDA Example 9000" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/netc" ;;
"-c "*Plan*) echo "block grid" ;;
"doctor") echo "gpu         Example 9000, NVRTC 13.0" ;;
*) echo "$@" ;;
esac
"""
STEPS = (
    "device", "install", "install-jax", "doctor", "tests", "benchmarks",
    *(f"{tool}-{plan}" for plan in ("block", "grid") for tool in ("memcheck", "racecheck", "synccheck")), "in all",
)  # fmt: skip


def pretended(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(PRETENDED)
    path.chmod(0o755)
    return path


def first_run(
    folder: Path, fails: str = "nothing", cuda: int = 13, sanitizer: bool = True
) -> tuple[int, dict[str, str]]:
    """The script's code, and its summary: an outcome for each step."""
    tools = folder / "tools"
    tools.mkdir()
    python = pretended(tools, "pretended-python")
    pretended(tools, "compute-sanitizer")
    absent = {} if sanitizer else {"SANITIZER": ""}
    environment = {
        **os.environ, "PATH": f"{tools}:/usr/bin:/bin", "PYTHON": str(python), "FAILS": fails, "CUDA": str(cuda), **absent
    }  # fmt: skip
    done = subprocess.run(
        ["bash", str(SCRIPT), str(folder / "results")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    lines = (folder / "results" / "summary.txt").read_text().splitlines()
    assert all(line in done.stdout for line in lines)
    return done.returncode, {line[:28].strip(): line[29:] for line in lines}


def test_every_step_runs_and_leaves_a_log(tmp_path: Path) -> None:
    code, outcomes = first_run(tmp_path)
    assert code == 0, outcomes
    assert tuple(outcomes) == STEPS
    assert "all steps passed" in outcomes["in all"]
    results = tmp_path / "results"
    assert "-m pytest -m gpu" in (results / "tests.log").read_text()
    assert f"--json {results}/benchmarks.json --quick" in (results / "benchmarks.log").read_text()
    assert "--plan grid" in (results / "racecheck-grid.log").read_text()
    assert ".[cuda,test,bench]" in (results / "install.log").read_text()


@pytest.mark.parametrize(
    ("fails", "step"),
    [("pytest -m gpu", "tests"), ("-m benchmarks", "benchmarks"), ("racecheck", "racecheck-grid")],
)
def test_a_step_that_fails_keeps_no_other_from_running(fails: str, step: str, tmp_path: Path) -> None:
    code, outcomes = first_run(tmp_path, fails)
    assert code == 1
    assert tuple(outcomes) == STEPS
    assert outcomes[step].startswith("FAILED with code 9")
    assert "some steps FAILED" in outcomes["in all"]


def test_without_an_environment_nothing_can_follow(tmp_path: Path) -> None:
    code, outcomes = first_run(tmp_path, "pip install -q -e")
    assert code == 1
    assert list(outcomes) == ["device", "install", "in all"]


def test_an_earlier_driver_gets_earlier_packages(tmp_path: Path) -> None:
    code, _ = first_run(tmp_path, cuda=12)
    assert code == 0
    said = (tmp_path / "results" / "install.log").read_text()
    assert "cupy-cuda12x nvidia-cuda-nvrtc-cu12" in said
    assert "whl/cu126" in said
    assert "jax[cuda12]" in (tmp_path / "results" / "install-jax.log").read_text()


def test_the_program_under_the_sanitizer_trains_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Emulator(threads=64, blocks=3)
    monkeypatch.setattr(device, "find", lambda: found)
    program = tmp_path / "sanitized.net"
    program.write_text(SCRIPT.read_text().split("<<'NET'\n")[1].split("\nNET\n")[0])
    assert netc.check(program) == []
    run(["train", str(program), "--device", "cuda", "--plan", "grid", "--quiet", "--out", str(tmp_path)])
    assert found.launches


def test_a_sanitizer_that_is_not_there_is_told_and_no_failure(tmp_path: Path) -> None:
    code, outcomes = first_run(tmp_path, sanitizer=False)
    assert code == 0
    assert outcomes["sanitizer"].startswith("not run: compute-sanitizer is not installed")


def test_without_a_device_it_ends_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "results")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("device                       FAILED: no device: ")
    assert not (tmp_path / "results" / "venv").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True, timeout=60)
