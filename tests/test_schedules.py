"""Every schedule against torch's, in the native run: each step moves a weight by the rate, and the loss is the weight."""

from __future__ import annotations

import numpy as np
import pytest
from library.schedules import SCHEDULES, STEPS, rates

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


def test_every_schedule_is_compared() -> None:
    known = {n for n, kind in library_kinds().items() if kind == "schedule"}
    assert {call.split("(")[0] for call in SCHEDULES} == known
    assert set(rates()) == set(SCHEDULES)
