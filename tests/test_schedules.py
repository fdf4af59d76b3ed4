"""Every schedule against torch's, in the native run: each step moves a weight by the rate, and the loss is the weight."""

from __future__ import annotations

import numpy as np
import pytest
from library.schedules import LOSSES, PLATEAUS, SCHEDULES, STEPS, rates

import netc
from netc.compiler.elaborate.program import library_kinds

PROGRAM = """
fn level(input, target) = mean(input)

layer weight_alone() {{
    input x: [n, 1]
    param weight: [1] = zeros()
    return 0 * x + weight
}}

net a {{ input x: [1]; weight_alone }}

train {{ loss = level(); optimizer = sgd(lr = {call}); shuffle = false }}
"""
BOUNDS = {"float64": 1e-12, "float32": 2e-5}


def run(
    call: str, dtype: str, rows: int = 1, epochs: int = STEPS + 1
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far the weight has moved before each epoch of as many steps as there are rows."""
    x = np.zeros((rows, 1))
    return -np.array(
        netc.compile(source=PROGRAM.format(call=call), dtype=dtype).fit(x, x, epochs=epochs, batch=1).loss
    )


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("call", SCHEDULES)
def test_fifty_steps(call: str, dtype: str) -> None:
    wanted = np.array(rates()[call])
    assert np.abs(np.diff(run(call, dtype)) - wanted).max() < BOUNDS[dtype] * np.abs(wanted).max()


@pytest.mark.parametrize("call", ["step_lr(0.4, 7)", "cyclic_lr(0.1, 0.4, step_size_up = 7)"])
def test_warm_up_goes_in_front(call: str) -> None:
    wanted = np.array(rates()[call]) * np.minimum(np.arange(1, STEPS + 1) / 9, 1)
    np.testing.assert_allclose(np.diff(run(call[:-1] + ", warmup = 9)", "float64")), wanted, atol=1e-12)


def test_epochs_and_steps_are_told_apart() -> None:
    """Two steps an epoch; the loss of an epoch is the mean of its two."""
    decay = 0.5 ** np.arange(8.0)
    for by, each in (("epoch", np.repeat(decay[:4], 2)), ("step", decay)):
        before = np.concatenate([[0], np.cumsum(each)[:-1]])
        found = run(f'exponential_lr(1, 0.5, by = "{by}")', "float64", rows=2, epochs=4)
        np.testing.assert_allclose(found, before.reshape(4, 2).mean(1), atol=1e-12)


TOLD = """
const losses = [{losses}]

layer told() {{
    input x: [n, 1]
    param weight: [1] = zeros()
    buffer epochs: [] = zeros()
    epochs <- epochs + 1
    seen = sum(one_hot(int64(epochs), {count}) * tensor([0.0] + losses))
    return 0 * x + (if training then weight else seen)
}}
"""
"""In training the weight is the loss, in evaluation the next of the given losses."""


def told(call: str, dtype: str) -> tuple[netc.Model, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    head = TOLD.format(losses=", ".join(map(str, LOSSES)), count=STEPS + 1)
    text = head + PROGRAM.format(call=call).replace("; weight_alone", "; told")
    return netc.compile(source=text, dtype=dtype), np.zeros((1, 1))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("call", PLATEAUS)
def test_rates_follow_the_loss_of_the_epochs(call: str, dtype: str) -> None:
    model, x = told(call, dtype)
    history = model.fit(x, x, epochs=STEPS, validation=(x, x))
    np.testing.assert_allclose([r.validation_loss for r in history.rows], LOSSES, rtol=1e-6)
    wanted = np.array(rates()[call])
    assert len(set(wanted)) > 2
    found = -np.array([*history.loss, float(model.parameters()["0.weight"][0])])
    assert np.abs(np.diff(found) - wanted).max() < BOUNDS[dtype] * np.abs(found).max()


def test_a_plateau_is_seen_once_an_epoch() -> None:
    """Three steps an epoch, a loss that never falls: the rate falls after each epoch but the first two."""
    text = PROGRAM.format(call="reduce_on_plateau(1, factor = 0.5, patience = 0)").replace(
        "mean(input)", "mean(0 * input) + mean(input - stop_gradient(input))"
    )
    model, x = netc.compile(source=text, dtype="float64"), np.zeros((3, 1))
    model.fit(x, x, epochs=4, batch=1)
    assert float(model.parameters()["0.weight"][0]) == -(3 + 3 + 1.5 + 0.75)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("{ state a = x\n a <- a + 1; return a }", "there is no name `x`"),
        ("{ state a = lr * step\n a <- a + 1; return a }", "a state begins with a known number"),
        ("{ state a = 0\n b <- a + 1; return a }", "`b` is no state of this schedule"),
        ("{ state a = 0\n a <- rand(3); return a }", "a schedule's state is a single number, not [3]"),
    ],
)
def test_what_is_wrong_with_a_state_is_said(schedule: str, said: str) -> None:
    text = f"schedule own(lr) {schedule}\n" + PROGRAM.format(call="own(0.1)")
    assert any(said in d.message for d in netc.check(text))


def test_every_schedule_is_compared() -> None:
    known = {n for n, kind in library_kinds().items() if kind == "schedule"}
    compared = SCHEDULES | PLATEAUS
    assert {call.split("(")[0] for call in compared} == known
    assert set(rates()) == set(compared)
