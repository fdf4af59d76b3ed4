"""A layer that returns another layer's result: names of parameters, values, and what is refused."""

from __future__ import annotations

import numpy as np

import netc

LAYERS = """
layer doubled(features?) {
    input x: [n, features]
    return linear(2 * x, 3, bias = false)
}

layer sized(sizes = [2, 3]) {
    input x: [n, 2, 3]
    param weight: [4, sizes] = ones()
    return einsum("nij,kij->nk", x, weight)
}
"""


def test_parameters_keep_their_names() -> None:
    model = netc.compile(source=LAYERS + "net a { input x: [4]; doubled; first: doubled }", dtype="float64")
    assert {n: a.shape for n, a in model.state_dict().items()} == {"0.weight": (3, 4), "first.weight": (3, 3)}
    x = np.random.default_rng(0).normal(size=(5, 4))
    first, second = model.state_dict().values()
    np.testing.assert_allclose(model.predict(x), 4 * x @ first.T @ second.T)


def test_a_list_in_a_shape_stands_for_its_sizes() -> None:
    model = netc.compile(source=LAYERS + "net a { input x: [2, 3]; sized }")
    assert model.state_dict()["0.weight"].shape == (4, 2, 3)
    np.testing.assert_allclose(model.predict(np.ones((2, 2, 3))), np.full((2, 4), 6))


def codes(body: str) -> list[str]:
    source = f"layer own() {{ input x: [...]; {body} }}\nnet a {{ input x: [4, 4]; own }}\n"
    return [d.code for d in netc.check(source)]


def test_what_does_not_fit_is_told() -> None:
    assert codes("return linear(x, 3)") == []
    assert codes("return linear()") == ["E0301"]
    assert codes("return linear(3, 3)") == ["E0303"]
    assert codes("return conv2d(x, 3, 3)") == ["E0401"]
    assert codes("return linear(x, 3, 5)") == ["E0403"]
    assert codes("return 1 + linear(x, 3)") == ["E0503"]
    assert codes("return own(x)") == ["E0204"]


def test_epsilon_is_the_precision_of_the_compilation() -> None:
    source = "net a { input x: [1]; return x + epsilon(x) }"
    for dtype in ("float32", "float64"):
        value = netc.compile(source=source, dtype=dtype).predict(np.zeros((1, 1)))
        assert value[0, 0] == np.finfo(dtype).eps
    assert [d.code for d in netc.check("net a { input k: [1]: int64; return float(k) + epsilon(k) }\n")] == [
        "E0406"
    ]
