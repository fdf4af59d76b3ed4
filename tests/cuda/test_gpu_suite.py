"""The GPU suite itself, on any machine: it says why it is skipped, and its bodies run with the emulator as the device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test_cuda_training as training
from on_device import bodies_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite in a process that sees no device."""
    places = os.pathsep.join(str(p) for p in (HERE, ROOT / "tests", ROOT))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": places}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", str(HERE), "-p", "no:xdist", "-rs", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_without_a_device_everything_is_skipped_for_one_reason() -> None:
    done = suite()
    assert done.returncode == 0, done.stdout
    reasons = set(re.findall(r"^SKIPPED .*?: (no .*)$", done.stdout, re.M))
    assert len(reasons) == 1, reasons
    assert reasons.pop().startswith("no CUDA device: ")
    assert re.search(r"^\d+ skipped, \d+ deselected", done.stdout, re.M), done.stdout


def test_bodies_run_with_another_device() -> None:
    wanted = ("test_early_stop_and_the_best_weights", "test_a_plateau_is_seen_once_an_epoch")
    done = suite("-p", "rehearsal", "-k", " or ".join(wanted))
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_body_that_is_left_out_must_exist() -> None:
    assert "test_the_seed_network" in bodies_of(training, "nvrtc")
    assert not [name for name in bodies_of(training, "nvrtc") if "nvrtc" in name]
    with pytest.raises(LookupError, match="nosuch"):
        bodies_of(training, "nosuch")
