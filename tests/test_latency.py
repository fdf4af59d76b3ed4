"""Predictions of few rows: the short way gives, bit by bit, what the general one gives, and leaves the rest to it."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import netc
from netc.runtime.few import MOST_PLACES, MOST_ROWS, FewRows

DENSE = "net dense { input x: [7]; linear(13); tanh; linear(5) }"
SOURCES = {
    "dense": DENSE,
    "one number": "net one { input x: [3]; linear(32); relu; linear(1) }",
    "no dimension": "net flat { input x: []; return x * 2 + 1 }",
    "image": "net image { input x: [2, 6, 6]; conv2d(4, kernel_size = 3); relu; flatten; linear(3) }",
    "image out": "net planes { input x: [2, 6, 6]; conv2d(5, kernel_size = 3, padding = 1); tanh }",
    "padded": "net padded { input x: [4, 5]; return exp(x) }",
    "turned": "net turned { input x: [4, 5]; return transpose(x, 1, 2) }",
    "normalised": "net normal { input x: [6]; linear(8); batch_norm; relu; linear(2) }",
    "the input itself": "net same { input x: [4]; return x }",
}
COUNTS = (1, 2, 3, 5, 8, 15, MOST_ROWS, MOST_ROWS + 1, 40)


def drawn(model: netc.Model, rows: int, seed: int = 0) -> Any:
    shape = (rows, *model.network.inputs[0].shape)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def general(model: netc.Model, x: Any) -> Any:
    """What the unit gives without the short way."""
    unit = model._units["forward", False]
    return unit.call({f"input.{model.network.inputs[0].name}": np.ascontiguousarray(x)}, len(x), seed=model.seed)[
        "output"
    ]  # fmt: skip


def short(model: netc.Model, training: bool = False) -> FewRows:
    few = model._few[training]
    assert few is not None
    return few


@pytest.mark.parametrize("name", SOURCES)
def test_every_number_of_rows_gives_the_bits_of_the_general_way(name: str) -> None:
    model = netc.compile(source=SOURCES[name], seed=3)
    model.predict(drawn(model, 1))
    for seed in range(2):
        for rows in COUNTS:
            x = drawn(model, rows, seed)
            kept, wanted = x.copy(), general(model, x)
            for found in (model.predict(x), np.asarray(model.eval()(x))):
                assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
                assert found.flags.c_contiguous
                assert found.tobytes() == wanted.tobytes()
            assert x.tobytes() == kept.tobytes()


def test_the_short_way_is_taken_for_few_rows_alone() -> None:
    model = netc.compile(source=DENSE)
    model.predict(drawn(model, 1))
    few = short(model)
    for rows in COUNTS:
        assert (few(drawn(model, rows), 0, 0) is not None) == (rows <= MOST_ROWS)
    assert few(drawn(model, 0), 0, 0) is None
    assert len(few._idle) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        lambda x: np.ma.masked_array(x),
        lambda x: x[:, :6],
        lambda x: x[0],
        lambda x: x[:, :, None],
        lambda x: np.float32(1),
        lambda x: np.array(1, np.float32),
    ],
)
def test_other_arrays_are_left_alone(change: Any) -> None:
    model = netc.compile(source=DENSE)
    x = drawn(model, 3)
    model.predict(x)
    assert short(model)(change(x), 0, 0) is None


def test_other_forms_of_an_input_give_the_same() -> None:
    model = netc.compile(source=DENSE, seed=1)
    x = drawn(model, 4)
    wide = np.zeros((8, 14), np.float32)
    wide[::2, ::2] = x
    wanted = general_after(model, x)
    forms = (
        x.astype(np.float64),
        x.astype(">f4"),
        x.tolist(),
        np.asfortranarray(x),
        wide[::2, ::2],
        x[::-1][::-1],
    )
    for form in forms:
        assert model.predict(form).tobytes() == wanted
        assert np.asarray(model.eval()(form)).tobytes() == wanted
    assert model.predict(x=x).tobytes() == wanted


def general_after(model: netc.Model, x: Any) -> bytes:
    model.predict(x)
    return bytes(general(model, x).tobytes())


def test_messages_are_those_of_a_first_call() -> None:
    wrong: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((np.zeros((1, 6), np.float32),), {}),
        ((np.zeros(7, np.float32),), {}),
        ((np.float32(1),), {}),
        ((["a"],), {}),
        ((), {}),
        ((np.zeros((1, 7), np.float32),) * 2, {}),
        ((np.zeros((1, 7), np.float32),), {"x": np.zeros((1, 7), np.float32)}),
        ((np.zeros((1, 7), np.float32),), {"y": np.zeros((1, 7), np.float32)}),
    )
    used, fresh = netc.compile(source=DENSE), netc.compile(source=DENSE)
    used.predict(drawn(used, 1))
    for given, named in wrong:
        with pytest.raises(ValueError, match=r"the input|takes 1 input") as first:
            fresh.predict(*given, **named)
        with pytest.raises(ValueError, match=r"the input|takes 1 input") as later:
            used.predict(*given, **named)
        assert str(first.value) == str(later.value)
    assert used.predict(np.zeros((0, 7), np.float32)).shape == (0, 5)


def test_results_are_arrays_of_their_own() -> None:
    model = netc.compile(source=DENSE)
    first = model.predict(drawn(model, 2, 0))
    results = [model.predict(drawn(model, 2, seed)) for seed in range(20)]
    kept = [r.copy() for r in results]
    results[3][...] = -1
    assert all(r.base is None and r.flags.writeable and r.flags.owndata for r in results)
    assert first.tobytes() == kept[0].tobytes()
    for i, (result, value) in enumerate(zip(results, kept, strict=True)):
        assert i == 3 or result.tobytes() == value.tobytes()
    assert model.predict(drawn(model, 2, 3)).tobytes() == kept[3].tobytes()


def test_a_changed_parameter_counts_at_once() -> None:
    model = netc.compile(source=DENSE)
    x = drawn(model, 1)
    model.predict(x)
    model.parameters()["2.bias"][...] += 1
    twin = copy.deepcopy(model)
    assert model.predict(x).tobytes() == general(model, x).tobytes() == twin.predict(x).tobytes()
    twin.parameters()["2.bias"][...] += 1
    assert np.allclose(twin.predict(x), model.predict(x) + 1)


def test_whole_numbers_and_double_precision() -> None:
    words = netc.compile(
        source="net words { input x: [4]: int64; embedding(9, 3); flatten; linear(2) }", seed=2
    )
    ids = np.array([[0, 8, 3, 3]])
    words.predict(ids)
    assert short(words)(ids, 0, 0) is not None
    assert words.predict(ids).tobytes() == general(words, ids).tobytes()
    assert short(words)(ids.astype(np.float32), 0, 0) is None
    with pytest.raises(ValueError, match="not whole"):
        words.predict(ids + 0.5)
    exact = netc.compile(source=DENSE, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 7))
    exact.predict(x)
    assert short(exact)(x, 0, 0) is not None
    assert exact.predict(x).dtype == np.float64
    assert exact.predict(x).tobytes() == general(exact, x).tobytes()
    assert short(exact)(x.astype(np.float32), 0, 0) is None


def test_dropout_draws_by_the_number_of_the_call() -> None:
    source = "net noisy { input x: [7]; linear(50); dropout(0.5); linear(5) }"
    few, many = (netc.compile(source=source, seed=4) for _ in range(2))
    x = drawn(few, 2)
    outputs = [few(x) for _ in range(4)]
    assert len({o.tobytes() for o in outputs}) == 4
    for output in outputs:
        many(x)
        unit = many._units["forward", True]
        wanted = unit.call({"input.x": x}, 2, step=many.calls, seed=many.seed)["output"]
        assert output.tobytes() == wanted.tobytes()


def test_going_back_after_a_short_call() -> None:
    model = netc.compile(source=DENSE, seed=5)
    x = drawn(model, 3)
    model(x)
    model(x).backward(np.ones((3, 5), np.float32))
    once = {n: np.array(p.grad) for n, p in model.parameters().items()}
    np.testing.assert_allclose(once["2.bias"], 3)
    assert model.input.grad is not None
    assert model.input.grad.shape == x.shape


def test_several_inputs_take_the_general_way() -> None:
    model = netc.compile(source="net two { input a: [2]; input b: [2]; return a - b }")
    a, b = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    for _ in range(3):
        assert model.predict(a, b).tolist() == [[1, 1]]
        assert model.predict(b=a, a=b).tolist() == [[-1, -1]]
    assert model._few == {False: None}


def test_a_large_network_takes_the_general_way() -> None:
    model = netc.compile(source="net large { input x: [300, 300]; relu; flatten; linear(1) }")
    x = drawn(model, 1)
    assert model.predict(x).tobytes() == general(model, x).tobytes()
    assert model._few == {False: None}


def test_threads_that_call_at_once_get_their_own_results() -> None:
    model = netc.compile(source=DENSE, seed=6)
    given = [drawn(model, 1 + i % 4, i) for i in range(8)]
    model.predict(given[0])
    wanted = [general(model, x).tobytes() for x in given]
    together = threading.Barrier(len(given))

    def ask(i: int) -> int:
        together.wait()
        return sum(model.predict(given[i]).tobytes() != wanted[i] for _ in range(1500))

    with ThreadPoolExecutor(len(given)) as pool:
        assert list(pool.map(ask, range(len(given)))) == [0] * len(given)
    assert 1 <= len(short(model)._idle) <= MOST_PLACES + len(given)
