"""Recurrences: against a loop written out, differences, the loop interpreter and compiled code; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import units
from netc.compiler.gradient import vjp
from netc.compiler.graph import Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops import interpreter as loops
from netc.compiler.loops.lower import choose_orders, lower
from netc.compiler.passes import optimise
from netc.compiler.pipeline import build
from netc.compiler.verify import verify, verify_unit
from netc.runtime.cpu import Library, Unit

STEPS = """
# One state, a contraction with it.
fn plain(g, h, w) = tanh(g + h @ w.T)

# Two sequences, two states, constants that are not contracted, a state that goes through unchanged.
fn mixed(g, m, h, c, w, s) {
    next = where(m > 0, c * sigmoid(s * g), c - g * h)
    return [tanh(next @ w) + s, h * 0.5 + next]
}

# A sum that does not depend on the state before.
fn total(g, h) = h + g ^ 2
"""
CASES = {
    "plain": "states = scan(plain, x, [broadcast_to(0.1, [n, 3])], [w], reverse = REVERSE)\n    return states[0]",
    "mixed": "states = scan(mixed, [x, stop_gradient(x)], [x[:, 0], x[:, 1] * 2], [w, v], reverse = REVERSE)\n"
    "    return concat([states[0], states[1] * states[0]], dim = 2)",
    "last": "states = scan(plain, x * v, [x[:, 2]], [w], reverse = REVERSE)\n    return states[0][:, -1] + states[0][:, 0]",
    "total": "states = scan(total, x, [broadcast_to(0, [n, 3])], reverse = REVERSE)\n    return states[0] * v",
}


def model(case: str, reverse: bool, dtype: str = "float64") -> Any:
    body = CASES[case].replace("REVERSE", "true" if reverse else "false")
    source = f"""{STEPS}
net a {{
    input x: [5, 3]
    param w: [3, 3] = uniform(-1, 1)
    param v: [3] = uniform(0.5, 1.5)
    {body}
}}
"""
    return netc.compile(source=source, dtype=dtype, seed=4)


def leaves(made: Any, rows: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    shape = [d for d in units.output_type(made.network).shape if isinstance(d, int)]
    drawn = {"input.x": rng.normal(size=(rows, 5, 3)), "cotangent": rng.normal(size=(rows, *shape))}
    return drawn | dict(made.memory.views)


everywhere = pytest.mark.parametrize("case", CASES)
both_ways = pytest.mark.parametrize("reverse", [False, True])


def test_the_states_of_a_written_out_loop() -> None:
    for reverse in (False, True):
        made = model("plain", reverse)
        x = np.random.default_rng(0).normal(size=(2, 5, 3))
        w = np.array(made.parameters()["w"])
        h, wanted = np.full((2, 3), 0.1), np.empty((2, 5, 3))
        for t in reversed(range(5)) if reverse else range(5):
            h = wanted[:, t] = np.tanh(x[:, t] + h @ w.T)
        np.testing.assert_allclose(made.predict(x), wanted, rtol=1e-12)


@everywhere
@both_ways
def test_the_derivative_along_a_random_direction(case: str, reverse: bool) -> None:
    made = model(case, reverse)
    graph = units.backward(made.network, training=True)
    given = leaves(made)
    found = evaluate(graph, given)
    rng = np.random.default_rng(9)
    directions = {n: rng.normal(size=a.shape) for n, a in given.items() if n != "cotangent"}
    ends = []
    for sign in (1, -1):
        moved = {n: a + sign * 1e-6 * directions[n] if n in directions else a for n, a in given.items()}
        ends.append(float(np.sum(output(made, moved) * given["cotangent"])))
    slope = sum(np.sum(found["gradient." + n.removeprefix("param.")] * d) for n, d in directions.items())
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(slope), rel=1e-6)


def output(made: Any, given: dict[str, Any]) -> Any:
    graph = Graph("output")
    graph.outputs["output"] = made.network.forward(graph, training=True).output
    return evaluate(graph, {n: given[n] for n in graph.inputs})["output"]


@everywhere
@both_ways
def test_loops_and_compiled_code_agree_with_the_graph(case: str, reverse: bool) -> None:
    made = model(case, reverse)
    for rows in (1, 4, 19):
        given = leaves(made, rows)
        graph = units.backward(made.network, training=True)
        verify(graph)
        wanted = evaluate(graph, given)
        for fused in (False, True):
            unit = lower(graph, choose_orders(graph), fused=fused)
            verify_unit(unit)
            close(loops.run(unit, {n: given[n] for n in unit.inputs}, rows=rows), wanted)
        artifact = build({graph.name: graph}, made.orders)
        native = Unit(Library(artifact), artifact.units[graph.name], made.memory)
        data = {n: a for n, a in given.items() if not n.startswith("param.")}
        close(native.call(data, rows), wanted)


def close(got: Any, wanted: Any) -> None:
    for name, array in wanted.items():
        np.testing.assert_allclose(np.asarray(got[name]), array, rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_derivative_of_the_derivative() -> None:
    made = model("plain", False)
    graph = units.backward(made.network, training=True)
    first = graph.outputs["gradient.input.x"]
    (second,) = vjp(graph, [(first, first)], [graph.inputs["param.w"]])
    graph.outputs = {"second": second}
    given = leaves(made)
    found = evaluate(optimise(graph), given)["second"]
    direction = np.random.default_rng(3).normal(size=(3, 3))
    ends = []
    for sign in (1, -1):
        graph.outputs = {"first": first}
        moved = given | {"param.w": given["param.w"] + sign * 1e-6 * direction}
        ends.append(0.5 * float(np.sum(evaluate(graph, moved)["first"] ** 2)))
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(np.sum(found * direction)), rel=1e-5)


def test_a_longer_sequence_makes_no_more_code() -> None:
    sizes = []
    for length in (4, 400):
        made = netc.compile(source=f"net a {{ input x: [{length}, 3]; lstm(8); last; linear(1) }}")
        graph = units.backward(made.network, training=True)
        sizes.append(len(lower(graph, choose_orders(graph)).kernels))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit(threads: int) -> None:
    source = """
net a { input x: [9, 16]; lstm(64); last; linear(3) }
train { loss = cross_entropy_loss(); optimizer = adam(lr = 1e-2); batch = 48; epochs = 2 }
"""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 9, 16)).astype(np.float32), rng.integers(0, 3, 100)
    found = []
    for count in (1, threads):
        made = netc.compile(source=source, seed=1)
        made.fit(x, y, threads=count)
        found.append({n: a.tobytes() for n, a in made.state_dict().items()})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [
        ("y = scan(nothing, x, [x[:, 0]])\n return y[0]", "E0303", "the name of a function is needed"),
        ("y = scan(total, x, [x[:, 0, 0:2]])\n return y[0]", "E0402", "do not broadcast|of the state"),
        ("y = scan(total, x[:, 0, 0:1], [x[:, 0]])\n return y[0]", "E0402", "."),
        ("y = scan(total, x, x)\n return y[0]", "E0303", "`init` is a list"),
        ("y = scan(noisy, x, [x[:, 0]])\n return y[0]", "E0503", "cannot draw random numbers"),
        ("y = scan(two, x, [x[:, 0]])\n return y[0]", "E0303", "gives 2 states of 1"),
    ],
)
def test_what_is_refused(program: str, code: str, message: str) -> None:
    own = "fn noisy(g, h) = h + rand([n, 3]) * g\nfn two(g, h) = [h, g]\n"
    with pytest.raises(netc.CompileError, match=message) as caught:
        netc.compile(source=f"{STEPS}{own}net a {{ input x: [5, 3]; {program} }}")
    assert caught.value.diagnostics[0].code == code
