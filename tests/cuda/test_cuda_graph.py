"""The plan ``graph``: a step as launches of its own, replayed. What it must share with the other plans, and what it alone can
get wrong: steps that are replayed behind the place where the run is left.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from emulator import FORWARD, MIXED, SynchronisationError
from test_cuda_training import emulated, emulator, rows, small

import netc
from netc.grammar.diagnostics import CompileError
from netc.runtime.artifact import LaunchLayout, RoundLayout
from netc.runtime.cuda import plans, units
from netc.runtime.cuda.plans import Plan, choose
from netc.runtime.cuda.recorded import MOST_NODES, MOST_STEPS, Recorded, count, steps_of
from netc.training import Diverged, Trainer

SETTINGS = "loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 4; epochs = 6; shuffle = true"
PROGRAMS = {
    "a recurrence": ("input x: [7, 2]; gru(3); last; linear(1)", SETTINGS),
    "random draws and running averages": (
        "input x: [6]; linear(9); batch_norm(); relu; dropout(0.4); linear(1)",
        SETTINGS,
    ),
    "schedules and averaged weights": (
        "input x: [6]; linear(9); tanh; linear(1)",
        "loss = mse_loss(); optimizer = sgd(lr = reduce_on_plateau(0.5, factor = 0.5, patience = 0)); batch = 4; "
        "steps = 22; ema = 0.9; metrics = [mae]; stop = early_stop(patience = 9)",
    ),
}
IDLE = "    if (!goes_on(control)) return;\n"


def run_of(plan: Plan, settings: str = SETTINGS) -> tuple[netc.Model, Trainer]:
    with emulated(emulator(FORWARD)):
        model = small(settings).cuda()
        return model, Trainer(model, rows(20), rows(9, 1), None, None, None, 2, None, plan)


def left_behind(model: netc.Model, trainer: Trainer) -> list[bytes]:
    return [model.memory.block.tobytes(), trainer.history.tobytes(), trainer.best.tobytes()]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_bits_as_one_block(name: str) -> None:
    network, settings = PROGRAMS[name]
    found = []
    for plan in (Plan.block, Plan.graph):
        device = emulator(MIXED)
        with emulated(device):
            source = f"net a {{ {network} }}\ntrain {{ {settings} }}"
            model = netc.compile(source=source, seed=4, device="cuda")
            rng = np.random.default_rng(3)
            x = rng.normal(size=(23, *model.network.inputs[0].shape)).astype(np.float32)
            y = rng.normal(size=(23, 1)).astype(np.float32)
            history = model.fit(x[:14], y[:14], validation=(x[14:], y[14:]), plan=plan)
        found.append((history.rows, history.best_epoch, history.status, model.memory.block.tobytes()))
    assert found[0] == found[1]
    assert len(device.launches) > 100


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the run after every step."""
    monkeypatch.setattr("netc.runtime.cuda.run.LAUNCH_SECONDS", 0)


def too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays three steps more than are wanted."""
    real = Recorded.replay
    monkeypatch.setattr(Recorded, "replay", lambda self, steps: real(self, steps + 3))


def idle_when_left(monkeypatch: pytest.MonkeyPatch, settings: str = SETTINGS) -> bool:
    """Whether steps replayed behind a pause, the end of an epoch, the end of the run change nothing."""
    model, trainer = run_of(Plan.block, settings)
    trainer.run()
    steps, wanted = trainer.native.get("step"), left_behind(model, trainer)
    too_many(monkeypatch)
    for paused in (False, True):
        if paused:
            one_by_one(monkeypatch)
        model, trainer = run_of(Plan.graph, settings)
        stood: list[int] = []

        def poll(stood: list[int] = stood, trainer: Trainer = trainer) -> None:
            stood.append(trainer.native.get("step"))

        trainer.native.execute(poll)
        if left_behind(model, trainer) != wanted or (paused and stood != list(range(1, steps + 1))):
            return False
    return True


@pytest.mark.parametrize("length", ["epochs = 6", "steps = 13"])
def test_steps_behind_the_place_where_the_run_is_left_do_nothing(
    length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert idle_when_left(monkeypatch, SETTINGS.replace("epochs = 6", length))


@pytest.mark.parametrize("entries", [r"netc_node\d+", "netc_sum"])
def test_an_entry_that_does_not_ask_whether_to_run_is_found(
    entries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault."""
    plant(monkeypatch, entries)
    assert not idle_when_left(monkeypatch)


def test_a_launch_of_a_graph_whose_blocks_wait_for_each_other_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU it might never end: nothing says that all of its blocks are there."""
    plant(monkeypatch, r"netc_node\d+", IDLE + "    grid_sync();\n")
    model = small("loss = mse_loss(); optimizer = sgd(lr = 1e-3); batch = full; epochs = 2")
    with emulated(emulator(FORWARD)), pytest.raises(SynchronisationError) as caught:
        model.cuda().fit(*rows(200), plan=Plan.graph)
    assert "need not be there" in str(
        caught.value.__context__
    )  # what waits behind it finds the barrier half taken


def plant(monkeypatch: pytest.MonkeyPatch, entries: str, instead: str = "") -> None:
    """Puts something in the place of the question that entries of a graph begin with."""
    real = units.whole_text

    def text(code: str, **options: bool) -> str:
        whole = real(code, **options)
        pattern = rf"({entries}\(long long \*control[^{{]*{{\n){re.escape(IDLE)}"
        changed, many = re.subn(pattern, rf"\1{instead}", whole)
        assert many > 0
        return changed

    monkeypatch.setattr(units, "whole_text", text)


def diverged() -> tuple[int, list[bool]]:
    """The step of a run that diverges in the middle of a graph, and which parameters are finite then."""
    model = small("loss = mse_loss(); optimizer = sgd(lr = 1e6); batch = 1; epochs = 50")
    with emulated(emulator(FORWARD)), pytest.raises(Diverged) as caught:
        model.cuda().fit(*rows(40), plan=Plan.graph)
    return caught.value.step, [bool(np.isfinite(v).all()) for v in model.parameters().values()]


def test_an_update_behind_a_loss_that_is_not_finite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault again, with no step more than are wanted."""
    right = diverged()
    plant(monkeypatch, r"netc_node\d+")
    assert diverged() != right


@pytest.mark.parametrize("moment", range(1, 15))
def test_an_interruption_at_any_moment_leaves_a_run_to_go_on_with(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last step of an epoch and the launch that ends it, too."""
    whole = run_of(Plan.block)
    whole[1].run()
    device = emulator(FORWARD)
    with emulated(device):
        model = small(SETTINGS).cuda()
        trainer = Trainer(model, rows(20), rows(9, 1), None, None, None, 2, None, Plan.graph)
    done = 0

    def interrupted(real: Any) -> Any:
        def call(*given: Any) -> None:
            nonlocal done
            real(*given)
            done += 1
            if done == moment:
                raise KeyboardInterrupt

        return call

    monkeypatch.setattr(device, "launch", interrupted(device.launch))
    monkeypatch.setattr(device, "replay", interrupted(device.replay))
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert trainer.native.get("row") < 20, "an epoch is used up, and not ended"
    trainer.run()
    assert left_behind(model, trainer) == left_behind(*whole)


def test_a_line_search_has_no_graph() -> None:
    model = small("loss = mse_loss(); optimizer = lbfgs(); batch = full; epochs = 2")
    device = emulator(FORWARD)
    with emulated(device), pytest.raises(CompileError) as caught:
        model.cuda().fit(*rows(16), plan="graph")
    (found,) = caught.value.diagnostics
    assert found.code == "E0805"
    assert found.primary.span.text == "lbfgs()"
    assert not device.launches
    assert {choose(work, 0) for work in (1, 10**7, 10**13)} == {Plan.block, Plan.grid}


def test_the_plan_grows_with_the_step() -> None:
    chosen = [choose(10**exponent, 20) for exponent in range(3, 13)]
    assert chosen == sorted(chosen, key=list(Plan).index)
    assert set(chosen) == set(Plan)
    assert plans.seconds(Plan.graph, 0, 20) > plans.seconds(Plan.grid, 0, 20) > 0


def test_how_many_steps_a_graph_has() -> None:
    def step(times: int) -> tuple[RoundLayout, ...]:
        launch = LaunchLayout("netc_node0", (1, 0))
        return RoundLayout(1, (launch, launch)), RoundLayout(times, (launch,))

    assert count(step(5)) == 7
    assert steps_of(step(5), 1000) == MOST_STEPS
    assert steps_of(step(5), 3) == 3
    assert steps_of(step(MOST_NODES // 2), 1000) == 1
    assert steps_of(step(10 * MOST_NODES), 1000) == 1


def test_a_graph_without_room_is_a_diagnostic(monkeypatch: pytest.MonkeyPatch) -> None:
    device = emulator(FORWARD)

    def record(launches: Any) -> Any:
        raise MemoryError("status 2")

    monkeypatch.setattr(device, "record", record)
    with emulated(device), pytest.raises(CompileError) as caught:
        small(SETTINGS).cuda().fit(*rows(20), plan="graph")
    (found,) = caught.value.diagnostics
    assert found.code == "E0804"
    assert "launches does not fit into its memory (status 2)" in found.message
