"""Products with one-hot arrays: the same numbers as a loop over all places gives, without the loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import units
from netc.compiler.backends.llvm.target import named
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.ir import Kernel, Reduction
from netc.compiler.loops.lower import lower
from netc.compiler.loops.picks import picked, scattered
from netc.compiler.loops.rewrite import walk
from netc.compiler.loops.work import work
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Unit

ROWS = 37
NETWORKS = {
    "words": "input x: [5]: int64; embedding(70, 24); mean(dim = 1); linear(3)",
    "padded": "input x: [5]: int64; embedding(70, 19, padding_idx = 2); flatten; linear(3)",
    "narrow": "input x: [5]: int64; embedding(70, 1); flatten; linear(3)",
    "single": "input x: []: int64; embedding(70, 8); linear(3)",
    "twice": (
        "input x: [5]: int64; input y: [5]: int64; param a: [70, 8] = normal(0, 1); param b: [70, 8] = normal(0, 1); "
        "return sum((one_hot(x, 70) @ a) * (one_hot(y, 70) @ b), dim = 1)"
    ),
    "tied": (
        "input x: [5]: int64; param weight: [70, 8] = normal(0, 1); y = one_hot(x, 70) @ weight; "
        "return sum(y, dim = 1) @ weight.T"
    ),
    "mixture": "input x: [5]: int64; param weight: [70, 8] = normal(0, 1); return (0.9 * one_hot(x, 70) + 0.1) @ weight",
    "sequence": "input x: [5]: int64; embedding(70, 8); lstm(6); last",
}


def backward(name: str, dtype: str) -> tuple[Any, Any, dict[str, Any]]:
    """The model, the graph of all gradients, and random leaves, some of whose indices are none."""
    model = netc.compile(source=f"net {name} {{ {NETWORKS[name]} }}", dtype=dtype, seed=3)
    graph = units.backward(model.network, training=True)
    rng = np.random.default_rng(4)
    leaves: dict[str, Any] = {}
    for leaf, value in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else ROWS for d in value.shape)
        if leaf.startswith("input."):
            leaves[leaf] = rng.integers(-3, 74, shape)
        elif leaf == "cotangent":
            leaves[leaf] = rng.normal(size=shape).astype(dtype)
    return model, graph, leaves


@pytest.mark.parametrize("cpu", ["native", "x86-64-v2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_the_whole_product(name: str, dtype: str, cpu: str) -> None:
    target = named(cpu)
    if target.missing:
        pytest.skip("another architecture")
    model, graph, leaves = backward(name, dtype)
    artifact = build({graph.name: graph}, model.orders, target=target)
    got = Unit(Library(artifact), artifact.units[graph.name], model.memory).call(leaves, ROWS)
    wanted = evaluate(graph, leaves | dict(model.memory.views), rows=ROWS)
    bound = 2e-5 if dtype == "float32" else 1e-12
    for path, array in wanted.items():
        scale = max(float(np.max(np.abs(array))), 1e-3)
        assert np.max(np.abs(np.asarray(got[path]) - array)) <= bound * scale, path


def kernels(source: str, *, gradients: bool = True) -> list[Kernel]:
    model = netc.compile(source=source)
    graph = units.backward(model.network, training=True) if gradients else units.predict(model.network)
    return [x.kernel for x in lower(graph, model.orders, vector_bytes=64).kernels]


def sums(kernel: Kernel) -> list[Reduction]:
    return [e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduction)]


@pytest.mark.parametrize("name", ["words", "padded", "narrow", "single", "sequence"])
def test_an_embedding_and_its_gradient_loop_over_no_vocabulary(name: str) -> None:
    found = kernels(f"net {name} {{ {NETWORKS[name]} }}")
    assert any(picked(e) for k in found for e in sums(k))
    assert any(scattered(k) for k in found)
    for kernel in found:
        assert all(picked(e) for e in sums(kernel) if any(a.extent == 70 for a in e.axes))


def test_its_work_does_not_grow_with_the_vocabulary() -> None:
    def forward(count: int) -> tuple[int, int]:
        source = f"net e {{ input x: [5]: int64; embedding({count}, 8); mean(dim = 1) }}"
        first = kernels(source, gradients=False)[0]
        assert any(map(picked, sums(first)))
        return work(first)

    assert forward(70) == forward(70_000)


def test_few_places_are_looped_over() -> None:
    assert not any(
        picked(e) for k in kernels("net e { input x: [5]: int64; embedding(8, 4) }") for e in sums(k)
    )


def test_training_gives_the_same_bits_on_any_number_of_threads() -> None:
    source = (
        "net words { input x: [32]: int64; embedding(3000, 64); mean(dim = 1); linear(5) }\n"
        "train { loss = cross_entropy_loss(); optimizer = adam(lr = 0.01); batch = 64 }"
    )
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3000, (256, 32)), rng.integers(0, 5, 256)
    weights = []
    for threads in (1, 2, 3):
        model = netc.compile(source=source, seed=1)
        model.fit(x, y, epochs=2, threads=threads)
        weights.append(model.state_dict()["0.weight"])
    assert np.array_equal(weights[0], weights[1])
    assert np.array_equal(weights[0], weights[2])


def test_the_class_of_a_target_is_picked_among_many() -> None:
    source = "net c { input x: [500]; identity }\ntrain { loss = cross_entropy_loss() }"
    model = netc.compile(source=source)
    x = np.sin(np.arange(4 * 500, dtype=np.float32)).reshape(4, 500)
    target = np.array([3, 499, 0, 250])
    logs = x - np.log(np.exp(x.astype(np.float64)).sum(1, keepdims=True))
    assert model.evaluate(x, target)["loss"] == pytest.approx(-logs[range(4), target].mean(), rel=1e-6)
