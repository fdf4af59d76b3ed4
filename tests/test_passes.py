"""Graph passes: a verified graph with the same values after each of them, and that the rewrite took place.

In: random graphs from the whole table of operations, and the graphs of the networks in ``tests/reference``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import MAKERS, inputs_for, random_graphs
from hypothesis import HealthCheck, given, settings
from test_graph_reference import counters, graphs, initial
from training_reference import NAMES, load

from netc.compiler import ops, units
from netc.compiler.graph import DType, Graph, TensorType, Value
from netc.compiler.interpreter import evaluate
from netc.compiler.passes import BEFORE_LOWERING, PASSES, Pass, optimise
from netc.compiler.passes.chosen import ask_the_chosen
from netc.compiler.passes.fold import fold
from netc.compiler.passes.parts import join_parts
from netc.compiler.passes.share import share
from netc.compiler.passes.simplify import simplify
from netc.compiler.passes.windows import rearrange_windows
from netc.compiler.verify import InternalError, verify

ROWS = 5
EVERY = (*PASSES, BEFORE_LOWERING)
slow_enough = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def names(graph: Graph) -> list[str]:
    return [v.op.name for v in graph.live()]


def values(graph: Graph, inputs: dict[str, Any]) -> dict[str, Any]:
    return evaluate(graph, inputs, rows=ROWS, seed=1, step=2)


def assert_same(got: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    assert set(got) == set(wanted)
    for name, expected in wanted.items():
        bound = 1e-12 * np.max(np.abs(expected), initial=1, where=np.isfinite(expected))
        np.testing.assert_allclose(got[name], expected, rtol=1e-12, atol=bound, err_msg=f"{what}: {name}")


# every pass on random graphs


def test_random_graphs_know_every_operation() -> None:
    assert {name for brought in MAKERS.values() for name in brought} | {"input"} == set(ops.TABLE)


@pytest.mark.parametrize("one", EVERY, ids=[p.name for p in EVERY])
@slow_enough
@given(graph=random_graphs())
def test_a_pass_keeps_every_value(one: Pass, graph: Graph) -> None:
    before = [repr(v) for v in graph]
    inputs = inputs_for(graph, finite=not one.exact)
    wanted = values(graph, inputs)
    result = one.run(graph)
    verify(result, one.name)
    assert_same(values(result, inputs), wanted, one.name)
    assert [repr(v) for v in graph] == before, "a pass changes its input"


@slow_enough
@given(graph=random_graphs())
def test_all_passes_keep_finite_inputs_values(graph: Graph) -> None:
    inputs = inputs_for(graph, finite=True)
    result = optimise(graph, after=lambda one, g: verify(g, one.name))
    assert_same(values(result, inputs), values(graph, inputs), "optimise")
    assert [repr(v) for v in optimise(result)] == [repr(v) for v in optimise(optimise(result))]


# every pass on the graphs of networks


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_verified_after_every_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = load(name, "float64")
    built: list[Graph] = []

    def kept(graph: Graph) -> Graph:
        built.append(graph)
        return graph

    monkeypatch.setattr(units, "optimise", kept)
    *_, state = graphs(reference)
    data = {"input.x": reference.input[0][:ROWS], "target": reference.target[0][:ROWS]}
    leaves: dict[str, Any] = {**data, **initial(reference), **state, **counters(1)}
    seen: list[tuple[str, str]] = []
    for graph in built:
        verify(graph, "built")
        wanted = values(graph, leaves)
        for one, result in _after_each(graph):
            verify(result, one.name)
            assert_same(values(result, leaves), wanted, f"{graph.name} after {one.name}")
            seen.append((graph.name, one.name))
    assert seen == [(g, p.name) for g in ("step", "gradient") for p in PASSES]


def _after_each(graph: Graph) -> list[tuple[Pass, Graph]]:
    found: list[tuple[Pass, Graph]] = []
    optimise(graph, lambda one, result: found.append((one, result)))
    return found


# what each pass is for


def leaf(shape: tuple[int, ...] = (3,), dtype: DType = DType.float64) -> tuple[Graph, Value]:
    graph = Graph()
    return graph, ops.input(graph, "x", dtype, shape)


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
def test_constants_are_folded_in_the_graphs_precision(dtype: DType) -> None:
    graph, x = leaf(dtype=dtype)
    exponent = ops.sub(graph, ops.full_like(graph, x, 2.0), ops.full_like(graph, x, 1.0))
    third = ops.add(graph, ops.full_like(graph, x, 1.0), ops.full_like(graph, x, 1e-9))
    graph.outputs["y"] = ops.mul(graph, ops.pow(graph, x, exponent), third)
    result = optimise(graph)
    assert "pow" not in names(result)
    # 1 + 1e-9 is 1 in float32, so that nothing is left to do there.
    assert ("mul" in names(result)) == (dtype is DType.float64)


def test_constants_that_overflow_stay() -> None:
    graph = Graph()
    big = ops.constant(graph, 3e38, DType.float32)
    graph.outputs["y"] = ops.mul(graph, big, big)
    assert "mul" in names(optimise(graph))


def test_known_conditions_are_decided() -> None:
    graph, x = leaf()
    known = ops.lt(graph, ops.full_like(graph, x, 1.0), ops.full_like(graph, x, 2.0))
    graph.outputs["y"] = ops.where(graph, known, x, ops.exp(graph, x))
    assert names(fold(graph)) == ["input"]


def test_squares_are_products() -> None:
    graph, x = leaf()
    graph.outputs["y"] = ops.pow(graph, x, ops.full_like(graph, x, 2.0))
    assert names(simplify(graph)) == ["input", "mul"]


def test_zero_times_x_stays() -> None:
    graph, x = leaf()
    graph.outputs["y"] = ops.mul(graph, x, ops.full_like(graph, x, 0.0))
    result = optimise(graph)
    assert np.isnan(evaluate(result, {"x": np.array([np.nan, np.inf, 1.0])})["y"][:2]).all()


def test_swapped_operands_are_one_value() -> None:
    graph, x = leaf()
    y = ops.exp(graph, x)
    graph.outputs["y"] = ops.sub(graph, ops.mul(graph, x, y), ops.mul(graph, y, x))
    assert names(graph).count("mul") == 2
    assert names(share(graph)).count("mul") == 1


def test_what_no_output_needs_is_gone() -> None:
    graph, x = leaf()
    ops.exp(graph, ops.input(graph, "unused", DType.float64, (3,)))
    graph.outputs["y"] = ops.sin(graph, x)
    result = optimise(graph)
    assert [v.op.name for v in result] == ["input", "sin"]
    assert list(result.inputs) == ["x"]


def test_a_convolutions_derivative_needs_no_fold() -> None:
    graph = Graph()
    c = ops.input(graph, "c", DType.float64, (2, 3, 5, 5))
    w = ops.input(graph, "w", DType.float64, (3, 4, 3, 3))
    products = ops.permute(graph, ops.contract(graph, c, w, [(1, 0)]), [0, 3, 1, 2, 4, 5])
    graph.outputs["y"] = ops.fold(graph, products, (2, 3), (7, 7), (3, 3), (1, 1), (1, 1))
    rng = np.random.default_rng(0)
    inputs = {"c": rng.normal(size=(2, 3, 5, 5)), "w": rng.normal(size=(3, 4, 3, 3))}
    result = rearrange_windows(graph)
    assert "fold" not in names(result)
    assert_same(values(result, inputs), values(graph, inputs), "fold_product")


def at_most(g: Graph, x: Value, y: Value) -> Value:
    return g.add(ops.TABLE["le"], (x, y))


CHOICES: dict[str, tuple[Callable[[Graph, Value, Value], tuple[Value, Value, Value]], bool]] = {
    "relu": (lambda g, x, k: (at_most(g, x, k), k, x), True),
    "positive": (lambda g, x, k: (ops.lt(g, k, x), x, k), True),
    "leaky": (lambda g, x, k: (ops.lt(g, k, x), x, ops.mul(g, x, ops.full_like(g, x, 0.01))), True),
    "strict": (lambda g, x, k: (ops.lt(g, x, k), k, x), False),
    "turned": (lambda g, x, k: (at_most(g, x, k), x, k), False),
    "negative_part": (
        lambda g, x, k: (ops.lt(g, k, x), x, ops.mul(g, x, ops.full_like(g, x, -0.5))),
        False,
    ),
    "another_bound": (lambda g, x, k: (at_most(g, x, k), ops.full_like(g, x, 1.0), x), False),
}


@pytest.mark.parametrize("form", CHOICES)
def test_conditions_are_asked_of_what_they_chose(form: str) -> None:
    make, is_rewritten = CHOICES[form]
    graph, x = leaf()
    condition, first, second = make(graph, x, ops.full_like(graph, x, 0.0))
    graph.outputs["y"] = ops.where(graph, condition, first, second)
    graph.outputs["dx"] = ops.where(
        graph, condition, ops.full_like(graph, x, 2.0), ops.full_like(graph, x, 3.0)
    )
    result = ask_the_chosen(graph)
    derivative = result.outputs["dx"].inputs[0]
    assert (result.outputs["y"] in derivative.inputs) == is_rewritten
    for number in (np.nan, -np.inf, -1.0, -0.0, 0.0, 1e-300, 1.0, np.inf):
        inputs = {"x": np.full(3, number)}
        assert_same(values(result, inputs), values(graph, inputs), f"{form} {inputs}")


def test_padded_parts_are_joined() -> None:
    graph, x = leaf((2, 3))
    y = ops.input(graph, "y", DType.float64, (2, 2))
    none = [0, 0]
    first, second = ops.pad(graph, y, [0, 3], none, none), ops.pad(graph, x, none, [0, 2], none)
    graph.outputs["whole"] = ops.add(graph, first, second)
    graph.outputs["apart"] = ops.add(
        graph, ops.pad(graph, y, [0, 6], none, none), ops.pad(graph, x, [0, 1], [0, 4], none)
    )
    graph.outputs["over"] = ops.add(graph, ops.pad(graph, y, [0, 1], none, none), x)
    graph.outputs["both"] = ops.add(graph, second, ops.pad(graph, y, [0, 2], [0, 1], none))
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(2, 3)), "y": rng.normal(size=(2, 2))}
    result = join_parts(graph)
    assert [result.outputs[n].op.name for n in ("whole", "apart", "over", "both")] == [
        "concat",
        "pad",
        "add",
        "add",
    ]
    assert_same(values(result, inputs), values(graph, inputs), "parts")


# the verifier itself


def forged(graph: Graph, value: Value, inputs: tuple[Value, ...], kind: TensorType) -> Value:
    made = Value(len(graph.values), value.op, inputs, value.attrs, kind)
    graph.values.append(made)
    return made


def broken(what: str) -> Graph:
    graph, x = leaf()
    y = ops.exp(graph, x)
    graph.outputs["y"] = y
    if what == "type":
        graph.outputs["y"] = forged(graph, y, (x,), TensorType(DType.float64, (4,)))
    elif what == "refused":
        graph.outputs["y"] = forged(graph, y, (ops.iota(graph, (3,), 0),), y.type)
    elif what == "order":
        later = Value(9, x.op, (), x.attrs, x.type)
        graph.outputs["y"] = forged(graph, y, (later,), y.type)
    elif what == "leaf":
        graph.inputs = {}
    elif what == "foreign":
        graph.outputs["y"] = broken("").outputs["y"]
    elif what == "contents":
        graph.outputs["x"] = ops.sum(graph, y, [0])
    return graph


def test_a_right_graph_is_verified() -> None:
    verify(broken(""))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("type", "should be"),
        ("refused", "is refused"),
        ("order", "not before it"),
        ("leaf", "is no leaf"),
        ("foreign", "is no value of the graph"),
        ("contents", "the new contents of x"),
    ],
)
def test_a_wrong_graph_is_refused(what: str, message: str) -> None:
    with pytest.raises(InternalError, match=message) as error:
        verify(broken(what), "a pass")
    assert str(error.value).startswith("bug in netc: a pass: ")
    assert "%0 = input" in str(error.value), "the dump is missing"
