"""Compiled programs against PyTorch: ten steps of five networks, by hand and in the native loop.

In: ``tests/reference``. Out: every loss, gradient, parameter and buffer agrees, to 1e-7 of a tensor's largest
element in float64 and to 1e-4 in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training_reference import DTYPES, NAMES, STEPS, TOLERANCE, Reference, assert_close, load

import netc

CASES = pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in NAMES for d in DTYPES])


def fresh(reference: Reference) -> Any:
    """The compiled network with the reference's initial parameters and buffers."""
    model = netc.compile(reference.path, dtype=reference.dtype)
    assert set(model.state_dict()) == set(reference.initial)
    model.load_state_dict(reference.initial)
    return model


def compare_state(model: Any, reference: Reference, step: int, tolerance: float) -> None:
    state = model.state_dict()
    for path, wanted in reference.after.items():
        assert_close(state[path], wanted[step], tolerance, f"after step {step + 1}: {path}")


@CASES
def test_losses_and_gradients_of_ten_steps_by_hand(name: str, dtype: str) -> None:
    reference = load(name, dtype)
    tolerance = TOLERANCE[dtype]
    model = fresh(reference)
    for i in range(STEPS):
        output = model(reference.input[i])
        loss = model.loss(output, reference.target[i])
        assert_close(loss.item(), reference.loss[i], tolerance, f"loss of step {i + 1}")
        model.zero_grad()
        loss.backward()
        parameters = model.parameters()
        assert set(parameters) == set(reference.gradient)
        for path, wanted in reference.gradient.items():
            assert_close(parameters[path].grad, wanted[i], tolerance, f"step {i + 1}: gradient of {path}")
        buffers = model.state_dict()
        for path in set(reference.after) - set(reference.gradient):
            assert_close(buffers[path], reference.after[path][i], tolerance, f"after step {i + 1}: {path}")
        for path, parameter in parameters.items():  # the optimizer is the next test's affair
            parameter[...] = reference.after[path][i]


@CASES
def test_the_native_loop_takes_the_same_ten_steps(name: str, dtype: str) -> None:
    reference = load(name, dtype)
    rows = reference.input.shape[1]
    for steps in range(1, STEPS + 1):
        model = fresh(reference)
        x = np.concatenate(list(reference.input[:steps]))
        target = np.concatenate(list(reference.target[:steps]))
        history = model.fit(x, target, epochs=1, batch=rows, shuffle=False)
        mean = reference.loss[:steps].astype(np.float64).mean()
        assert_close(history.loss[-1], mean, TOLERANCE[dtype], f"mean loss of {steps} steps")
        compare_state(model, reference, steps - 1, TOLERANCE[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_the_input(name: str) -> None:
    """The loss moves along its input's gradient as central differences say."""
    reference = load(name, "float64")
    model = fresh(reference)
    x, target = reference.input[0], reference.target[0]
    model.loss(model(x), target).backward()
    direction = np.random.default_rng(5).standard_normal(x.shape)
    slope = float(np.sum(model.input.grad * direction))
    small = 1e-6
    ahead, behind = (model.loss(model(x + s * direction), target).item() for s in (small, -small))
    assert slope == pytest.approx((ahead - behind) / (2 * small), rel=1e-5, abs=1e-8)
