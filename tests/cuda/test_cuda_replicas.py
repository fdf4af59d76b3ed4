"""Networks side by side on a device: one block each in one launch, with the bits of as many runs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulator import BACKWARD, FORWARD, MIXED, Emulator
from test_cuda_training import emulated, emulator, result, rows

import netc
from netc.grammar.diagnostics import CompileError
from netc.runtime.cuda import nvrtc
from netc.runtime.cuda.plans import Plan
from netc.runtime.cuda.run import Run
from netc.runtime.cuda.units import whole_text
from netc.side_by_side import Team

SOURCE = """const lr = 0.01
net small {{
    input x: [3]
    linear(8)
    tanh
    dropout(0.2)
    linear(1)
}}
train {{ loss = mse_loss(); optimizer = {optimizer}; batch = 5; epochs = 3; metrics = [mae]; {extra} }}
"""


def text(extra: str = "", optimizer: str = "adam(lr = lr)") -> str:
    return SOURCE.format(extra=extra, optimizer=optimizer)


def assert_alone(device: Emulator, source: str, count: int, fit: Any) -> list[Any]:
    with emulated(device):
        replicas = netc.compile(source=source, seed=3, replicas=count, device="cuda")
        histories = fit(replicas)
        launched = list(device.launches)
        for i in range(count):
            model = netc.compile(source=source, seed=3 + i, device="cuda")
            alone = fit(model)
            assert (histories[i].status, histories[i].best_epoch) == (alone.status, alone.best_epoch)
            for a, b in zip(result(replicas[i], histories[i]), result(model, alone), strict=True):
                assert a.tobytes() == b.tobytes(), i
    assert launched
    return launched


@pytest.mark.parametrize("order", [FORWARD, BACKWARD, MIXED])
def test_one_launch_trains_all_with_the_bits_of_single_runs(order: int) -> None:
    """More of them than the device holds blocks at once; uneven batches, in an order of its own for each."""
    data, held = rows(23), rows(9, 1)
    launched = assert_alone(emulator(order), text(), 5, lambda m: m.fit(*data, validation=held))
    assert set(launched) == {("netc_train", 5)}


def test_they_agree_with_the_cpu() -> None:
    data = rows(23)
    wanted = netc.compile(source=text(), replicas=3)
    expected = wanted.fit(*data)
    with emulated(emulator(FORWARD)):
        replicas = netc.compile(source=text(), replicas=3).cuda()
        found = replicas.fit(*data)
    for i in range(3):
        np.testing.assert_allclose(found[i].loss, expected[i].loss, rtol=1e-4)


def test_each_ends_for_itself() -> None:
    """Early stop after different numbers of epochs, in launches of a step each."""
    data, held = rows(12), rows(9, 1)
    source = text("stop = early_stop(patience = 1)", "sgd(lr = 0.3)").replace("epochs = 3", "epochs = 12")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netc.runtime.cuda.run.LAUNCH_SECONDS", 0)
        ended: list[int] = []

        def fit(m: Any) -> Any:
            histories = m.fit(*data, validation=held)
            if isinstance(histories, list):
                ended.extend(len(h.rows) for h in histories)
            return histories

        assert_alone(emulator(MIXED), source, 3, fit)
    assert len(set(ended)) > 1


def test_one_that_diverges_leaves_the_others_alone() -> None:
    data = rows(12)
    settings = [{"lr": 1e-3}, {"lr": 1e12}, {"lr": 1e-3, "seed": 5}]
    with emulated(emulator(FORWARD)) as _:
        replicas = netc.compile(source=text("", "sgd(lr = lr)"), replicas=settings, device="cuda")
        found = replicas.fit(*data, epochs=8)
    assert [h.status for h in found] == ["finished", "diverged", "finished"]
    assert found[1].problem


def test_wide_ones_take_turns() -> None:
    data = rows(9)
    launched = assert_alone(emulator(FORWARD), text(), 2, lambda m: m.fit(*data, plan="grid"))
    assert set(launched) == {("netc_train", 3)}


def test_an_interruption_and_rests_between_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.runtime.cuda.run.LAUNCH_SECONDS", 0)
    data = rows(20)
    with emulated(emulator(FORWARD)):
        replicas = netc.compile(source=text(), replicas=2, device="cuda")
        team = Team(replicas.models, data)

        def interrupt(number: int, row: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            team.run(interrupt)
        assert 0 < team.trainers[1].native.get("step") < 12
        rested: list[int] = []
        histories = team.run(on_save=rested.append, save_seconds=0.0)
        assert set(rested) == {0, 1}
        for i in range(2):
            model = netc.compile(source=text(), seed=i, device="cuda")
            assert histories[i].rows == model.fit(*data).rows
            assert replicas[i].memory.block.tobytes() == model.memory.block.tobytes()


def test_the_rows_lie_on_the_device_once_and_too_much_is_told() -> None:
    data = rows(9000)
    settings: dict[str, Any] = {"epochs": 1, "batch": 5}
    device = Emulator()
    with emulated(device):
        replicas = netc.compile(source=text(), replicas=20, device="cuda")
        team = Team(replicas.models, data, **settings)
        single = Team(replicas.models[:1], data, **settings)
    engines = [t.native for t in (*team.trainers, *single.trainers)]
    places = {e.arena.address("data.input.x") for e in engines[:20] if isinstance(e, Run)}
    assert len(places) == 1
    assert len({e.arena.address("model") for e in engines[:20] if isinstance(e, Run)}) == 20
    device = Emulator(memory=1000)
    with emulated(device), pytest.raises(CompileError) as caught:
        replicas.fit(*data, **settings)
    (found,) = caught.value.diagnostics
    assert found.code == "E0505"
    assert found.message.startswith("the run of 20 replicas takes 0.0 GiB of the device's memory")
    assert any("for the training rows" in note for note in found.notes)
    assert not device.launches


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_blocks_that_work_alone(architecture: str) -> None:
    with emulated(Emulator()):
        replicas = netc.compile(source=text(), replicas=2, device="cuda")
        team = Team(replicas.models, rows(23), spread=Plan.block)
    code = whole_text(team.trainers[0].artifact.code.decode(), alone=True)
    assert nvrtc.usage(nvrtc.compile_text(code, architecture)[1])["netc_train"].spilled == 0
