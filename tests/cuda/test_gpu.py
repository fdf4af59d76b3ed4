"""The CUDA tests on a real GPU: ``pytest -m gpu``. Without one all are skipped, for one reason.

The bodies are those of the emulator's tests, with the device in the emulator's place, and those of tests that train on the
CPU, with models that compute on the device. What is added here are more networks, more plans and more precisions than
an emulator has time for.
"""

from __future__ import annotations

import signal
from functools import cache
from pathlib import Path

import cases
import on_device
import pytest
import test_cuda_agreement as agreement
import test_cuda_graph as graph
import test_cuda_models as models
import test_cuda_networks as networks
import test_cuda_operations as operations
import test_cuda_replicas as replicas
import test_cuda_tiles as tiles
import test_cuda_training as training
import test_dropout as dropout
import test_optimizers as optimizers
import test_runs as runs
import test_schedules as schedules
import test_training_reference as reference
from library.optimizers import CASES
from on_device import OnCuda, OnDevice, bodies_of
from training_reference import NAMES

from netc.compiler.backends.cuda.mapping import Team
from netc.compiler.graph import DType
from netc.runtime.cuda.driver import MissingDevice
from netc.runtime.cuda.plans import Plan

pytestmark = pytest.mark.gpu
EMULATED = (cases, agreement, models, networks, operations, replicas, tiles, training)
"""Modules that make emulators, and code for blocks of their size."""
ON_THE_CPU = (dropout, optimizers, schedules, reference)
"""Modules that compile models."""
gpu, mixed, program = models.gpu, agreement.mixed, runs.program  # fixtures


@cache
def missing() -> str | None:
    """Why there is no device to test, or None."""
    try:
        on_device.find()
    except MissingDevice as error:
        return f"no CUDA device: {error}"
    return None


@pytest.fixture(autouse=True)
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device for the emulator, and models on it."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    for module in EMULATED:
        monkeypatch.setattr(module, "Emulator", OnDevice, raising=False)
        if hasattr(module, "EMULATED"):
            monkeypatch.setattr(module, "EMULATED", on_device.find().threads)
    for module in ON_THE_CPU:
        monkeypatch.setattr(module, "netc", OnCuda())
    monkeypatch.setattr(agreement, "TRIES", 12)


globals().update(
    bodies_of(training, "nvrtc", "ten_steps_of_a_reference", "by_tiles")
    | bodies_of(tiles, "nvrtc", "missing_barrier", "are_refused", "that_a_device_has")
    | bodies_of(replicas, "nvrtc")
    | bodies_of(graph, "is_found", "grows", "how_many_steps")
    | bodies_of(models, "without_a_gpu", "without_a_device")
    | bodies_of(networks, "nvrtc", "text_that_is_wrong", "test_library")
    | bodies_of(operations, "has_a_row", "test_operations", "test_reductions", "texts_of_teams")
    | bodies_of(agreement, "of_an_example")
    | bodies_of(reference)
    | bodies_of(schedules, "said", "every_schedule")
    | bodies_of(dropout, "probability")
)


@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_of_every_reference_by_every_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = training.assert_agreement
    monkeypatch.setattr(training, "assert_agreement", lambda make, fit, _: compared(make, fit, training.WAYS))
    training.test_ten_steps_of_a_reference(name)


@pytest.mark.parametrize(("precision", "tolerance"), [("full", training.TOLERANCE), ("bf16", 4e-3)])
def test_products_by_tiles(precision: str, tolerance: float) -> None:
    training.test_products_by_tiles(on_device.find().threads, precision, tolerance)


@pytest.mark.parametrize("name", agreement.EXAMPLES)
def test_ten_steps_of_every_example(name: str) -> None:
    agreement.ten_steps_of_an_example(name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_library_entries(family: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases.grid_always(monkeypatch)
    networks.agree_with_torch(family, dtype)


@pytest.mark.parametrize("team", Team)
@pytest.mark.parametrize("dtype", operations.TOLERANCE)
def test_operations(dtype: DType, team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On all blocks of the device."""
    operations.test_operations(dtype, team, "mixed", monkeypatch, tmp_path)


@pytest.mark.parametrize("team", Team)
@pytest.mark.parametrize("rows", [1, 37])
def test_reductions(rows: int, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    operations.test_reductions(rows, team, "mixed", monkeypatch)


@pytest.mark.parametrize("optimizer", CASES)
def test_optimizers(optimizer: str) -> None:
    optimizers.test_steps_are_torchs(optimizer, "float64")


@pytest.mark.parametrize("plan", Plan)
def test_a_run_that_a_user_interrupts(plan: Plan, program: Path, tmp_path: Path) -> None:
    """By Ctrl-C, in a process of its own; it resumes to the same bits."""
    runs.kill_and_resume(program, tmp_path, signal.SIGINT, "--device", "cuda", "--plan", plan)
