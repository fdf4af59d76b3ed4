"""The training run as CUDA text, carried out by the emulator, against the CPU's run: what ``Model.fit`` gives in either case.

One block (``Plan.block``), several with a barrier of the grid (``Plan.grid``) and a launch for every kernel (``Plan.graph``)
run with threads that take turns in different orders; among themselves these agree to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator import BACKWARD, FORWARD, MIXED, Emulator
from training_reference import FOLDER, load

import netc
from netc.grammar.diagnostics import CompileError
from netc.runtime.artifact import BLOCK_THREADS, STOPPED
from netc.runtime.cuda import nvrtc
from netc.runtime.cuda.plans import Plan
from netc.runtime.cuda.units import whole_text
from netc.training import Diverged, History, Trainer

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
WAYS = {
    "block, forward": (FORWARD, Plan.block),
    "block, backward": (BACKWARD, Plan.block),
    "grid, backward": (BACKWARD, Plan.grid),
    "grid, mixed": (MIXED, Plan.grid),
    "graph, forward": (FORWARD, Plan.graph),
    "graph, mixed": (MIXED, Plan.graph),
}
TOLERANCE = 1e-4
SMALL = """net small {{
    input x: [3]
    linear(8)
    tanh
    linear(1)
}}
train {{ {settings} }}
"""


def small(settings: str, dtype: str = "float32") -> netc.Model:
    return netc.compile(source=SMALL.format(settings=settings), seed=4, dtype=dtype)


def rows(count: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    return x, (x[:, :1] - 0.5 * x[:, 1:2] ** 2).astype(np.float32)


@contextmanager
def emulated(device: Emulator) -> Iterator[None]:
    """The emulator in place of a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netc.runtime.cuda.device.find", lambda: device)
        yield


def on(device: str, plan: Plan) -> Plan | None:
    """The CPU has no plan."""
    return plan if device == "cuda" else None


def emulator(order: int) -> Emulator:
    return Emulator(threads=64, blocks=3, order=order)


def result(model: netc.Model, history: History) -> list[Any]:
    """All that a run leaves behind."""
    losses = [[r.loss, r.validation_loss, *r.metrics.values()] for r in history.rows]
    return [np.array(losses, np.float64), *(np.array(v) for v in model.memory.views.values())]


def assert_launched(device: Emulator, plan: Plan, name: str) -> None:
    """What a plan launches, and on how many blocks."""
    entries = {e for e, _ in device.launches}
    if plan is not Plan.graph:
        assert entries == {"netc_train"}, name
        assert {b for _, b in device.launches} == {1 if plan is Plan.block else device.blocks}, name
    else:
        assert {"netc_between", "netc_begin", "netc_finite", "netc_sum"} < entries, name
        assert {b for e, b in device.launches if e in ("netc_finite", "netc_sum")} == {1}, name
        assert {b for e, b in device.launches if e == "netc_between"} == {device.blocks}, name


def assert_agreement(make: Any, fit: Any, ways: Any = WAYS) -> History:
    """Every way of running agrees with the CPU to ``TOLERANCE``, and with every other one to the bit."""
    model = make()
    history: History = fit(model, {})
    wanted, first = result(model, history), None
    for name in ways:
        order, plan = WAYS[name]
        device = emulator(order)
        with emulated(device):
            twin = make().cuda()
            found = fit(twin, {"plan": plan})
        assert_launched(device, plan, name)
        assert (found.status, found.best_epoch) == (history.status, history.best_epoch), name
        got = result(twin, found)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
        first = got if first is None else first
        assert all(a.tobytes() == b.tobytes() for a, b in zip(got, first, strict=True)), name
    return history


def test_the_seed_network() -> None:
    history = assert_agreement(
        lambda: netc.compile(EXAMPLES / "regression.net", seed=1), lambda m, on: m.fit(epochs=10, **on)
    )
    assert history.loss[-1] < 0.8 * history.loss[0]


@pytest.mark.parametrize("name", ["dense", "convolution", "softmax"])
def test_ten_steps_of_a_reference(name: str) -> None:
    reference = load(name, "float32")
    x, target = (a.reshape(-1, *a.shape[2:]) for a in (reference.input, reference.target))
    assert_agreement(
        lambda: netc.compile(FOLDER / f"{name}.net", seed=1),
        lambda m, on: m.fit(x, target, **on),
        ("block, forward", "grid, mixed", "graph, mixed"),
    )


WIDE = """net wide { input x: [64]; linear(256); relu; linear(10) }
train { loss = cross_entropy_loss(); optimizer = adam(lr = 1e-3); batch = 64; epochs = 2; metrics = [accuracy] }
"""


@pytest.mark.parametrize(("precision", "tolerance"), [("full", TOLERANCE), ("bf16", 4e-3)])
@pytest.mark.parametrize("threads", [64, 96, BLOCK_THREADS])
def test_products_by_tiles(threads: int, precision: str, tolerance: float) -> None:
    """All three products of both layers are tiles, for blocks of any size. In bfloat16 a sum of another order may round the
    other way where it is a factor of the next product."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(160, 64)).astype(np.float32), rng.integers(0, 10, 160)

    def trained(device: str) -> tuple[netc.Model, History, str]:
        model = netc.compile(source=WIDE, seed=1, precision=precision, device=device)
        plan = Plan.grid if device == "cuda" else None
        trainer = Trainer(model, (x, target), None, None, None, True, 3, None, plan)
        history = trainer.run()
        return model, history, trainer.native.job.artifact.code.decode() if device == "cuda" else ""  # type: ignore[attr-defined]

    wanted = result(*trained("cpu")[:2])
    with emulated(Emulator(threads=threads, blocks=2, order=BACKWARD)):
        model, history, text = trained("cuda")
    kind = "Exact<float" if precision == "full" else "OnCores<"
    step = text[: text.index("void step_all")]
    assert step.count(f"typedef {kind}") >= 5
    assert f"__launch_bounds__({threads}, 1) netc_train(" in text
    for a, b in zip(result(model, history), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_shuffling_validation_and_metrics() -> None:
    """Batches of uneven size, drawn in the same order as on the CPU."""
    data, held = rows(23), rows(150, 1)
    history = assert_agreement(
        lambda: small(
            "loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 5; epochs = 2; metrics = [mae]"
        ),
        lambda m, on: m.fit(*data, validation=held, shuffle=True, seed=9, **on),
    )
    assert all(r.validation_loss is not None and r.metrics["mae"] > 0 for r in history.rows)


@pytest.mark.parametrize("count", [2, 100, 1000])
@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_rows_is_the_same(count: int, way: str) -> None:
    orders = []
    order, plan = WAYS[way]
    for device in ("cpu", "cuda"):
        model = small("loss = mse_loss(); optimizer = sgd(lr = 1e-3); batch = 1; epochs = 3")
        with emulated(emulator(order)):
            model.to(device)
            trainer = Trainer(
                model, rows(count), None, 3, max(1, count // 4), True, 5, None, on(device, plan)
            )
            trainer.run()
        orders.append(trainer.order.copy())
    assert sorted(orders[0]) == list(range(count))
    assert (orders[0] == orders[1]).all()


def test_early_stop_and_the_best_weights() -> None:
    data, held = rows(12), rows(9, 1)
    history = assert_agreement(
        lambda: small(
            "loss = mse_loss(); optimizer = sgd(lr = 0.6); epochs = 40; stop = early_stop(patience = 3)"
        ),
        lambda m, on: m.fit(*data, validation=held, **on),
    )
    assert history.status == "early stop"
    assert len(history.rows) < 40


@pytest.mark.parametrize("way", WAYS)
def test_divergence_leaves_the_parameters_before_the_step(way: str) -> None:
    data = rows(12)
    errors, blocks = [], []
    order, plan = WAYS[way]
    for device in ("cpu", "cuda"):
        model = small("loss = mse_loss(); optimizer = sgd(lr = 1e6); epochs = 50")
        with emulated(emulator(order)), pytest.raises(Diverged) as caught:
            model.to(device).fit(*data, plan=on(device, plan))
        errors.append((caught.value.step, caught.value.epoch, caught.value.where))
        blocks.append([np.isfinite(v).all() for v in model.parameters().values()])
    assert errors[0] == errors[1]
    assert blocks[0] == blocks[1]


def test_a_line_search() -> None:
    """In float64: the search makes a difference of 1e-7 in a step one of 1e-2 in the next."""
    data = rows(16)
    assert_agreement(
        lambda: small("loss = mse_loss(); optimizer = lbfgs(); batch = full; epochs = 2", "float64"),
        lambda m, on: m.fit(*data, **on),
        ("block, forward", "grid, mixed"),
    )


@pytest.mark.parametrize("plan", Plan)
def test_a_run_is_left_between_two_steps_and_goes_on_with_the_same_bits(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.runtime.cuda.run.LAUNCH_SECONDS", 0)  # one step each, however fast the machine
    data = rows(20)
    settings = "loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 4; epochs = 6; shuffle = true"
    whole = small(settings)
    with emulated(emulator(FORWARD)):
        whole.cuda().fit(*data, seed=2, plan=plan)
        model = small(settings).cuda()
        trainer = Trainer(model, data, None, None, None, None, 2, None, plan)
    stops = 0

    def stop() -> None:
        nonlocal stops
        stops += 1
        trainer.native.set("stop", 1)

    for _ in range(3):
        trainer.native.execute(stop)
        assert trainer.native.get("status") == STOPPED
        trainer.native.set("stop", 0)
        trainer.native.set("status", 0)
    assert stops == 3
    assert trainer.native.get("step") < 30
    trainer.native.execute()
    assert model.memory.block.tobytes() == whole.memory.block.tobytes()


def test_launches_are_as_many_blocks_as_the_plan_says() -> None:
    for plan in Plan:
        device = emulator(FORWARD)
        with emulated(device):
            small("loss = mse_loss(); optimizer = sgd(lr = 1e-3); epochs = 4").cuda().fit(*rows(9), plan=plan)
        assert_launched(device, plan, plan)


def test_too_little_memory_is_said_before_any_is_taken() -> None:
    device = Emulator(memory=1000)
    with emulated(device), pytest.raises(CompileError) as caught:
        small("loss = mse_loss(); optimizer = sgd(lr = 1e-3); epochs = 4").cuda().fit(*rows(9000))
    (found,) = caught.value.diagnostics
    assert found.code == "E0505"
    assert found.message.startswith("the run takes 0.0 GiB of the device's memory, 0.0 GiB are free")
    assert any("for the training rows" in note for note in found.notes)
    assert not device.launches


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_the_run(architecture: str) -> None:
    model = small("loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 5; epochs = 2; metrics = [mae]")
    with emulated(Emulator(threads=BLOCK_THREADS)):
        trainer = Trainer(model.cuda(), rows(23), rows(9), None, None, True, None, None)
    artifact = trainer.native.job.artifact  # type: ignore[attr-defined]
    launched = {x.entry for part in artifact.step for x in part.launches} | {"netc_between"}
    for nodes, entries in ((False, {"netc_train"}), (True, launched)):
        text = whole_text(artifact.code.decode(), nodes=nodes)
        used = nvrtc.usage(nvrtc.compile_text(text, architecture)[1])
        assert set(used) == entries | {"netc_step", "netc_evaluate"}
        assert not [n for n, u in used.items() if u.spilled or u.registers * BLOCK_THREADS > 65536]
