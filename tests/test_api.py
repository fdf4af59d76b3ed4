"""``import netc``: every promise of the interface tried."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

EXAMPLE = Path(__file__).parent.parent / "examples" / "regression.net"
NETWORK = "net small { input x: [3]; linear(8); tanh; sequential { head: linear(2) } }\n"
LOSS = NETWORK + 'train { loss = mse_loss(reduction = "none") }\n'
TRAIN = NETWORK + "train { loss = mse_loss(); optimizer = adam(); epochs = 3; metrics = [mae] }\n"
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))


# compiling and looking


def test_a_network_alone() -> None:
    model = netc.compile(source=NETWORK, dtype="float64", seed=1)
    assert model.training
    assert list(model.parameters()) == ["0.weight", "0.bias", "2.head.weight", "2.head.bias"]
    assert model(X).dtype == "float64"
    assert repr(model) == model.summary()
    assert "2.head" in repr(model)
    assert "50 parameters" in repr(model)
    with pytest.raises(ValueError, match="no train block"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match="no train block"):
        model.loss(model(X), Y)


def test_constants_and_seed_from_outside() -> None:
    one, two = (netc.compile(EXAMPLE, seed=1, d_hidden=64) for _ in range(2))
    assert one[0].weight.shape == (64, 3)
    np.testing.assert_array_equal(one[0].weight, two[0].weight)
    assert (netc.compile(EXAMPLE, seed=2, d_hidden=64)[0].weight != one[0].weight).any()
    for wrong in (-1, 2**63, 1.5, "a", True):
        with pytest.raises(ValueError, match="seed is a whole number"):
            netc.compile(EXAMPLE, seed=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of them"):
        netc.compile()


def test_parts_by_position_and_name() -> None:
    model = netc.compile(source=NETWORK)
    assert model[2].head.weight.shape == (2, 8)
    assert model["2.head"].bias is model[2]["head"].bias is model.parameters()["2.head.bias"]
    assert list(model[2].parameters()) == ["head.weight", "head.bias"]
    with pytest.raises(IndexError, match="no part `7`"):
        model[7]
    with pytest.raises(KeyError):
        model["tail"]
    with pytest.raises(AttributeError, match=r"0\.wait"):
        _ = model[0].wait


def test_parameters_are_the_models_memory() -> None:
    model = netc.compile(source=NETWORK)
    before = model.predict(X)
    for parameter in model.parameters().values():
        parameter *= 2
    model[0].weight[0] = 0
    assert (model.predict(X) != before).any()
    assert (model.state_dict()["0.weight"][0] == 0).all()
    state = model.state_dict()
    state["0.weight"][...] = 7
    assert (model[0].weight != 7).all()


def test_check_takes_text_and_paths(tmp_path: Path) -> None:
    assert netc.check(EXAMPLE) == netc.check(NETWORK) == []
    (wrong,) = netc.check("net a { input x: [3]; lnear(4) }")
    assert (wrong.code[:3], wrong.primary.span.text) == ("E02", "lnear")
    assert netc.check(tmp_path / "nosuch.net")[0].code == "E0001"
    with pytest.raises(netc.CompileError) as caught:
        netc.compile(source="net a { input x: [3]; lnear(4) }")
    assert caught.value.diagnostics[0].code == wrong.code


# arrays in


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, array: Any, columns: list[str]) -> None:
        self.array, self.columns = array, columns

    def to_numpy(self) -> Any:
        return self.array


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.astype(np.float16).astype(np.float64),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f8"),
        lambda x: Frame(x, ["a", "b", "c"]),
        lambda x: x.astype(object),
        lambda x: np.ma.masked_array(x),
    ],
)
def test_arrays_of_any_make(form: Callable[[Any], Any]) -> None:
    model = netc.compile(source=NETWORK, dtype="float64")
    x = np.round(X * 8) / 8  # the same in every precision
    np.testing.assert_array_equal(model.predict(form(x)), model.predict(x))


def test_frames_are_used_without_importing_their_libraries() -> None:
    code = f"""
import sys
import numpy as np
import netc
class Frame:
    columns = ["a", "b", "c"]
    def to_numpy(self): return np.ones((4, 3))
model = netc.compile(source={TRAIN!r})
model.fit(Frame(), np.zeros((4, 2)))
assert not {{"pandas", "polars", "torch", "cupy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_whole_numbers_as_inputs() -> None:
    model = netc.compile(source="net words { input x: [12]: int64; float; linear(4) }")
    x = np.arange(24).reshape(2, 12)
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype(float)))
    np.testing.assert_allclose(model.predict(x), x @ model[1].weight.T + model[1].bias, rtol=1e-5)
    model(x).backward(np.ones((2, 4)))
    np.testing.assert_allclose(model[1].weight.grad, np.tile(x.sum(0), (4, 1)), rtol=1e-6)
    assert model.input.grad is None
    with pytest.raises(ValueError, match="not whole; it is declared int64"):
        model.predict(x + 0.5)
    with pytest.raises(ValueError, match="not whole"):
        model.predict(x * np.nan)


# losses


def test_a_loss_for_each_element_goes_backward_from_any_gradient() -> None:
    model = netc.compile(source=LOSS, dtype="float64")
    out = model(X)
    loss = model.loss(out, Y)
    np.testing.assert_allclose(loss, (np.asarray(out) - Y) ** 2)
    with pytest.raises(ValueError, match="needs a gradient of shape"):
        loss.backward()
    weights = rng.normal(size=loss.shape)
    loss.backward(weights)
    whole = 2 * (np.asarray(out) - Y) * weights
    np.testing.assert_allclose(model[2].head.bias.grad, whole.sum(0))
    with pytest.raises(netc.CompileError, match=r"E0404\]: the loss is not a single number"):
        model.fit(X, Y)


def test_classes_at_every_position() -> None:
    source = """net labels { input x: [3, 5]; return x * 2 }
train { loss = cross_entropy_loss(reduction = "none") }"""
    model = netc.compile(source=source, dtype="float64")
    x, classes = rng.normal(size=(4, 3, 5)), rng.integers(0, 3, (4, 5))
    found = model.loss(model(x), classes)
    logits = 2 * x - np.log(np.exp(2 * x).sum(1, keepdims=True))
    np.testing.assert_allclose(found, -np.take_along_axis(logits, classes[:, None], 1)[:, 0])
    source = """net labels { input x: [3, 5]; flatten; linear(15); unflatten(1, [3, 5]) }
train { loss = cross_entropy_loss(); optimizer = adam(lr = 1e-2); epochs = 60; metrics = [accuracy] }"""
    trained = netc.compile(source=source)
    history = trained.fit(x, classes, batch=4)
    assert history.loss[-1] < history.loss[0] / 2


def test_classes_need_no_data_block_to_be_known() -> None:
    source = (
        NETWORK
        + "train { loss = cross_entropy_loss(); optimizer = adam(); epochs = 2; metrics = [accuracy] }"
    )
    model = netc.compile(source=source)
    history = model.fit(X, rng.integers(0, 2, 20), validation=(X, rng.integers(0, 2, 20)))
    assert 0 <= history.rows[-1].metrics["accuracy"] <= 1


def test_a_loss_of_numpy_arrays_has_no_way_back() -> None:
    model = netc.compile(source=TRAIN)
    with pytest.raises(ValueError, match="computed from an array"):
        model.loss(model.predict(X), Y).backward()
    out = model(X)
    assert type(out * 2) is np.ndarray
    part: Any = out[:3]
    with pytest.raises(ValueError, match="no history"):
        part.backward()


# training, saving


def test_training_evaluating_and_modes() -> None:
    model = netc.compile(source=TRAIN.replace("tanh", "dropout(0.5)"), seed=1)
    history = model.fit(X, Y, epochs=4, batch=6, validation=(X[:5], Y[:5]))
    assert [r.epoch for r in history.rows] == [1, 2, 3, 4]
    assert all(set(r.metrics) == {"mae"} for r in history.rows)
    assert (model(X) != model.predict(X)).any()
    assert model.eval() is model
    assert not model.training
    np.testing.assert_array_equal(model(X), model.predict(X))
    found = model.evaluate(X, Y)
    assert found["mae"] == pytest.approx(np.abs(model.predict(X) - Y).mean(), rel=1e-5)
    assert found["loss"] == pytest.approx(((model.predict(X) - Y) ** 2).mean(), rel=1e-5)
    assert model.train().training


def test_callbacks_may_stop_a_run() -> None:
    model = netc.compile(source=TRAIN)

    def stop(row: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y, epochs=1000, on_epoch=stop)
    assert model.predict(X).shape == (20, 2)


def test_saving_and_loading_gives_the_same_model(tmp_path: Path) -> None:
    model = netc.compile(source=TRAIN, dtype="float64", seed=3)
    model.fit(X, Y)
    model.save(tmp_path / "w.safetensors")
    again = netc.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.program.dtype == model.program.dtype
    other = netc.compile(source=TRAIN, dtype="float64")
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    twin[0].weight[...] = 0
    assert (twin.predict(X) != model.predict(X)).any()


def test_tensors_of_the_state_are_laid_out_as_files_want_them() -> None:
    assert all(a.flags.c_contiguous for a in netc.compile(source=TRAIN).state_dict().values())


# several threads at once


def together(count: int, work: Callable[[int], None]) -> None:
    """Runs ``work`` for 0 ... count - 1 on threads that begin together; raises what any of them raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(index: int) -> None:
        try:
            barrier.wait()
            work(index)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_many_threads_predict_and_each_gets_its_own_rows() -> None:
    model = netc.compile(source=NETWORK)
    inputs = [rng.normal(size=(1 + 37 * i % 200, 3)) for i in range(6)]
    expected = [copy.deepcopy(model).predict(x) for x in inputs]

    def work(index: int) -> None:
        for _ in range(40):
            np.testing.assert_array_equal(model.predict(inputs[index]), expected[index])

    together(6, work)


def test_gradients_of_many_threads_add_up() -> None:
    model = netc.compile(source=TRAIN, dtype="float64")
    inputs, goals = ([rng.normal(size=(10 + i, k)) for i in range(4)] for k in (3, 2))
    alone = copy.deepcopy(model)
    for x, y in zip(inputs, goals, strict=True):
        for _ in range(25):
            alone.loss(alone(x), y).backward()

    def work(index: int) -> None:
        for repeat in range(25):
            out = model(inputs[index])
            if repeat % 2:
                model.loss(out, goals[index]).backward()
            else:  # the last call of this thread, whatever the others do
                model.backward(2 * (np.asarray(out) - goals[index]) / out.size)

    together(4, work)
    for name, parameter in model.parameters().items():
        other = alone.parameters()[name].grad
        assert parameter.grad is not None
        assert other is not None
        np.testing.assert_allclose(parameter.grad, other, rtol=1e-9)


def test_predictions_go_on_while_another_model_trains() -> None:
    trained, used = netc.compile(source=TRAIN), netc.compile(source=NETWORK)
    expected = copy.deepcopy(used).predict(X)

    def work(index: int) -> None:
        if index == 0:
            trained.fit(X, Y, epochs=3000)
        else:
            for _ in range(100):
                np.testing.assert_array_equal(used.predict(X), expected)

    together(3, work)
    assert trained.evaluate(X, Y)["loss"] < 1


def test_work_memory_is_given_back_when_a_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from netc.runtime.cpu import Frame, Unit

    model = netc.compile(source=NETWORK)
    model.predict(X)
    (unit,) = (u for u in model._units.values() if isinstance(u, Unit))
    assert len(unit._pool) == 1

    def fail(*arguments: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Frame, "output", fail)
        with pytest.raises(MemoryError):
            model.predict(X)
    assert len(unit._pool) == 1


def test_a_list_of_thousands_of_numbers_is_a_tensor() -> None:
    weights = [1 + i / 7 for i in range(1500)]
    source = (
        f"net a {{ input x: [1]; linear(1500) }}\ntrain {{ loss = cross_entropy_loss(weight = {weights}) }}"
    )
    model = netc.compile(source=source, dtype="float64")
    scores = np.random.default_rng(0).normal(size=(4, 1500))
    target = np.array([0, 700, 1499, 5])
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    share = np.array(weights)[target]
    expected = -(share * logs[np.arange(4), target]).sum() / share.sum()
    assert model.loss(scores, target) == pytest.approx(expected, rel=1e-12)
