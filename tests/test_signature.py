"""Kernels of one signature are written once, whatever their axes and buffers are called; others are told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import netc
from netc.compiler import units
from netc.compiler.backends.llvm.module import Module
from netc.compiler.loops.ir import Axis, Buffer, Load, Scheduled, Store
from netc.compiler.loops.lower import lower
from netc.compiler.loops.rewrite import with_loads
from netc.compiler.loops.signature import signature

DEEP = "net a {{ input x: [16]; repeat {copies} {{ linear(16); tanh }}; linear(1) }}\n" + (
    "train {{ loss = mse_loss(); optimizer = adam() }}"
)


def kernels(copies: int) -> list[Scheduled]:
    model = netc.compile(source=DEEP.format(copies=copies))
    assert model.plan is not None
    goal = model.plan.goal(units.output_type(model.network))
    return list(lower(units.step(model.network, model.plan, goal), model.orders).kernels)


def test_copies_of_a_layer_make_no_more_code() -> None:
    found = []
    for copies in (8, 16):
        model = netc.compile(source=DEEP.format(copies=copies))
        assert model.plan is not None
        goal = model.plan.goal(units.output_type(model.network))
        unit = lower(units.step(model.network, model.plan, goal), model.orders)
        module = Module()
        module.add(unit, "step")
        found.append(len(module.kernels))
    assert found[0] == found[1] < 40


def test_names_do_not_matter() -> None:
    for scheduled in kernels(2):
        kernel = scheduled.kernel
        other = with_loads(kernel, lambda e: Load(renamed(e.buffer), e.index))
        other = replace(other, stores=tuple(Store(renamed(s.buffer), s.index, s.value) for s in other.stores))
        key, buffers = signature(Scheduled(other, scheduled.schedule))
        same, own = signature(scheduled)
        assert key == same
        assert [renamed(b) for b in own] == list(buffers)


def renamed(buffer: Buffer) -> Buffer:
    return replace(buffer, name="other." + buffer.name)


def test_shapes_and_schedules_do() -> None:
    for scheduled in kernels(2):
        key, _ = signature(scheduled)
        wider = replace(scheduled.schedule, width=2 * scheduled.schedule.width)
        assert signature(Scheduled(scheduled.kernel, wider))[0] != key
        longer = tuple(Axis(a.name, a.extent, a.given) for a in (*scheduled.kernel.axes, Axis("more", 3)))
        assert signature(Scheduled(replace(scheduled.kernel, axes=longer), scheduled.schedule))[0] != key


def test_copies_have_parameters_of_their_own() -> None:
    """Eight layers through shared code, against NumPy."""
    model = netc.compile(source=DEEP.format(copies=8), dtype="float64")
    x = np.random.default_rng(1).normal(size=(5, 16))
    state, y = model.state_dict(), x
    for i in range(8):
        y = np.tanh(y @ state[f"0.{i}.0.weight"].T + state[f"0.{i}.0.bias"])
    np.testing.assert_allclose(model.predict(x), y @ state["1.weight"].T + state["1.bias"], rtol=1e-12)
