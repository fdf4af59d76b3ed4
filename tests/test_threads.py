"""Threads: the same bits for any number of them, and for a row in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

ROOT = Path(__file__).parent.parent
WIDE = """
net wide {
    input x: [40]
    linear(300)
    relu
    dropout(0.1)
    linear(200)
    tanh
    linear(5)
}

train {
    loss = cross_entropy_loss()
    optimizer = adam(lr = 1e-3)
    batch = 100
    epochs = 2
}
"""


def data(shape: tuple[int, ...], classes: int, rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, *shape)).astype(np.float32), rng.integers(0, classes, rows)


def trained(threads: int, **program: Any) -> tuple[Any, int]:
    model = netc.compile(**program, seed=3)
    x, y = data(tuple(model.network.inputs[0].shape), 10 if "path" in program else 5, 330)
    held = (x[:50], y[:50])
    model.fit(x, y, epochs=2, batch=100, threads=threads, validation=held)
    return model.state_dict(), threads


@pytest.mark.parametrize(
    "program", [{"source": WIDE}, {"path": ROOT / "examples" / "digits.net"}], ids=["dense", "images"]
)
def test_the_number_of_threads_changes_no_bit(program: dict[str, Any]) -> None:
    one, _ = trained(1, **program)
    for threads in (2, 4):
        other, _ = trained(threads, **program)
        assert list(one) == list(other)
        for name in one:
            assert one[name].tobytes() == other[name].tobytes(), name


def test_large_steps_are_divided_and_small_ones_are_not() -> None:
    from netc.training import Trainer

    x, y = data((40,), 5, 330)
    model = netc.compile(source=WIDE)
    assert Trainer(model, (x, y), None, 1, 100, None, None, threads=4).threads == 4
    small = netc.compile(ROOT / "examples" / "regression.net")
    assert Trainer(small, (), None, None, None, None, None, threads=4).threads == 1


@pytest.mark.parametrize(
    "program", [{"source": WIDE}, {"path": ROOT / "examples" / "digits.net"}], ids=["dense", "images"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_gives_the_same_bits_in_any_batch(program: dict[str, Any], dtype: str) -> None:
    model = netc.compile(**program, dtype=dtype, seed=1)
    x, _ = data(tuple(model.network.inputs[0].shape), 5, 45)
    together = model.predict(x)
    for rows in (1, 7, 16, 33):
        assert model.predict(x[-rows:]).tobytes() == together[-rows:].tobytes()
