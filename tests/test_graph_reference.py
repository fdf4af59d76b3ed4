"""The graphs of training steps, interpreted, against PyTorch: library text, derivatives and optimizers.

In: ``tests/reference``. Every loss, gradient, parameter and buffer of ten steps of five networks, which
between them use all layers, activations, losses and optimizers of the library's first shelf.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training_reference import NAMES, STEPS, TOLERANCE, Reference, assert_close, load

from netc.compiler import units
from netc.compiler.elaborate import program
from netc.compiler.graph import ROWS, DType, Graph, TensorType
from netc.compiler.interpreter import evaluate
from netc.grammar.files import read_source
from netc.grammar.source import Source


@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_interpreted(name: str) -> None:
    reference = load(name, "float64")
    step, gradient, state = graphs(reference)
    tensors = initial(reference)
    for i in range(STEPS):
        data = {"input.x": reference.input[i], "target": reference.target[i]}
        leaves = {**tensors, **data, **state, **counters(i)}
        compare_gradients(reference, i, evaluate(gradient, leaves, step=i + 1))
        results = evaluate(step, leaves, step=i + 1)
        assert_close(results["loss"], reference.loss[i], TOLERANCE["float64"], f"step {i + 1}: loss")
        for key in tensors:
            tensors[key] = results.get(key, tensors[key])
        for key in state:
            state[key] = results[key]
        for path, wanted in reference.after.items():
            got = tensors.get(f"param.{path}", tensors.get(f"buffer.{path}"))
            assert got is not None
            assert_close(got, wanted[i], TOLERANCE["float64"], f"step {i + 1}: {path}")


def graphs(reference: Reference) -> tuple[Graph, Graph, dict[str, Any]]:
    """The step, the gradient, and the optimizer's states before the first step."""
    source = read_source(reference.path)
    assert isinstance(source, Source)
    loaded = program.load(source, folder=reference.path.parent, dtype=DType.float64)
    network, plan = loaded.network(), loaded.train()
    assert plan is not None
    kind = TensorType(DType(reference.target.dtype.name), (ROWS, *reference.target.shape[2:]))
    state = {s.leaf: np.full(s.shape, s.value, dtype=np.float64) for s in plan.states(network)}
    return units.step(network, plan, {"target": kind}), units.gradient(network, plan, {"target": kind}), state


def initial(reference: Reference) -> dict[str, Any]:
    kind = {path: "param." if path in reference.gradient else "buffer." for path in reference.initial}
    return {kind[path] + path: value for path, value in reference.initial.items()}


def counters(i: int) -> dict[str, Any]:
    return {
        "scalar.step": np.int64(i + 1), "scalar.epoch": np.int64(0), "scalar.steps": np.int64(STEPS),
        "scalar.epochs": np.int64(1), "scalar.steps_per_epoch": np.int64(STEPS), "scalar.epoch_loss": np.float64(np.inf),
    }  # fmt: skip


def compare_gradients(reference: Reference, i: int, results: dict[str, Any]) -> None:
    for path, wanted in reference.gradient.items():
        what = f"step {i + 1}: gradient of {path}"
        assert_close(results[f"gradient.{path}"], wanted[i], TOLERANCE["float64"], what)
