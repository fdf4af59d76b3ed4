"""A model on a CUDA device against the same model on the CPU: forward and backward passes, ten steps of training.

Random networks, the examples, and a run that no device could hold; the emulator stands for the GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator import MIXED, Emulator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from networks import programs

import netc
from netc.compiler import units
from netc.grammar.diagnostics import CompileError
from netc.runtime.cuda import device
from netc.training import file_data

FOLDER = Path(__file__).parent.parent.parent / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.net"))
TRIES = 4
STEPS = 10
BOUNDS = {"float64": 1e-9, "float32": 2e-3}
"""Of random networks: normalising a constant magnifies rounding; errors of code are large."""
LIGHT = ("diabetes", "quantiles", "sunspots")
"""Examples whose steps the emulator takes in a few seconds."""
TOLERANCE = 1e-4
LARGE = """net large { input x: [3]; linear(65536); tanh; linear(1) }
train { loss = mse_loss(); optimizer = sgd(lr = 1e-3); batch = full; epochs = 1 }
"""


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    found = Emulator(threads=64, blocks=2, order=MIXED)
    monkeypatch.setattr(device, "find", lambda: found)
    return found


def passes(model: netc.Model, rows: int) -> dict[str, Any]:
    """The output of a call in training, and the gradients of everything for a random one of the output."""
    rng = np.random.default_rng(rows)
    dtype = model.program.dtype.value
    x = rng.normal(size=(rows, *model.network.inputs[0].shape)).astype(dtype)
    rest = [d for d in units.output_type(model.network).shape if isinstance(d, int)]
    output = model(x)
    output.backward(rng.normal(size=(rows, *rest)).astype(dtype))
    gradients = {n: np.array(p.grad) for n, p in model.parameters().items()}
    return {"output": np.array(output), "input": np.array(model.input.grad), **gradients}


def assert_close(got: dict[str, Any], wanted: dict[str, Any], bound: float) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        scale = max(float(np.max(np.abs(array), initial=0.0)), 1.0)
        assert np.max(np.abs(got[name] - array), initial=0.0) <= bound * scale, name


def agree_on_a_random_network(dtype: str, data: st.DataObject) -> None:
    source, rows = data.draw(programs()), data.draw(st.sampled_from((1, 2, 7, 33)))
    cpu, cuda = (netc.compile(source=source, dtype=dtype, seed=1, device=d) for d in ("cpu", "cuda"))
    assert_close(passes(cuda, rows), passes(cpu, rows), BOUNDS[dtype])


@pytest.mark.parametrize("dtype", BOUNDS)
def test_passes_of_random_networks(dtype: str, mixed: Emulator) -> None:
    quick = settings(
        max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    quick(given(data=st.data())(lambda data: agree_on_a_random_network(dtype, data)))()


@pytest.mark.parametrize("name", LIGHT)
def test_ten_steps_of_an_example(name: str, mixed: Emulator) -> None:
    ten_steps_of_an_example(name)


def ten_steps_of_an_example(name: str) -> None:
    """Of its own data and train block, in float64: these steps agree to ``TOLERANCE`` in the end only where no rounding is
    magnified on the way."""
    results = []
    for where in ("cpu", "cuda"):
        model = netc.compile(FOLDER / f"{name}.net", seed=1, dtype="float64", device=where)
        arrays, _ = file_data(model)
        batch = model._need_plan().batch or len(arrays[0])
        rows = [a[: STEPS * batch] for a in arrays]
        history = model.fit(*rows, epochs=STEPS if batch >= len(arrays[0]) else 1)
        results.append({"loss": np.array(history.loss), **model.state_dict()})
    assert_close(results[1], results[0], TOLERANCE)


def test_a_run_that_no_device_holds_is_refused_with_the_numbers(mixed: Emulator) -> None:
    """Before any memory is taken: a smaller run follows at once."""
    rows = 2**20
    model = netc.compile(source=LARGE, device="cuda")
    mixed.memory = min(mixed.memory, 2**37)
    x, y = np.zeros((rows, 3), np.float32), np.zeros((rows, 1), np.float32)
    with pytest.raises(CompileError) as caught:
        model.fit(x, y)
    (found,) = caught.value.diagnostics
    assert found.code == "E0505"
    needed, free = (
        float(part.split(" GiB")[0].split()[-1].replace(",", "")) for part in found.message.split(", ")
    )
    assert needed >= 4 * rows * 65536 / 2**30 > free
    assert any("for intermediate values" in note for note in found.notes)
    assert not mixed.launches
    assert np.isfinite(model.fit(x[:4], y[:4]).loss).all()
