"""``precision = bf16``: what is rounded and what is not, alike in both interpreters, in compiled code and in CUDA text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from networks import programs

import netc
from netc.cli.main import main
from netc.compiler import ops, units
from netc.compiler.elaborate import check_fit
from netc.compiler.formula import formulas
from netc.compiler.gradient import vjp
from netc.compiler.graph import ROWS, DType, Graph, TypeRuleError, Value
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.interpreter import run
from netc.compiler.loops.lower import lower
from netc.compiler.ops.elementwise import to_bfloat16
from netc.compiler.pipeline import build, build_cuda
from netc.compiler.verify import verify, verify_unit
from netc.runtime.cpu import Library, Model, Unit

sys.path.insert(0, str(Path(__file__).parent / "cuda"))

EXAMPLES = Path(__file__).parent.parent / "examples"
GIVEN = 21
NETWORKS = {
    "dense": "input x: [20]; linear(64); relu; linear(33); tanh; linear(3)",
    "seed": "input x: [3]; linear(32); relu; linear(1)",
    "convolution": "input x: [3, 9, 9]; conv2d(8, 3, padding = 1); relu; conv2d(6, 3, stride = 2); flatten; linear(5)",
    "recurrent": "input x: [6, 5]; gru(17); last; linear(4)",
    "attention": "input x: [5, 8]; transformer_encoder_layer(8, 2, dim_feedforward = 12, dropout = 0); last",
    "embedding": "input x: [9]: int64; embedding(60, 8); mean(dim = 1); linear(4)",
}


def source(body: str, extra: str = "precision = bf16") -> str:
    return f"net a {{ {body} }}\ntrain {{ loss = mse_loss(); optimizer = adam(lr = 1e-2); {extra} }}\n"


def backward(model: netc.Model) -> tuple[Graph, dict[str, Any]]:
    """The gradient of a network, and its leaves with those of the model."""
    rng = np.random.default_rng(0)
    spec = model.network.inputs[0]
    shape = (GIVEN, *spec.shape)
    whole = spec.dtype is DType.int64
    x = rng.integers(0, 60, shape) if whole else rng.normal(size=shape).astype("float32")
    rest = [d for d in units.output_type(model.network).shape if isinstance(d, int)]
    c = rng.normal(size=(GIVEN, *rest)).astype("float32")
    return units.backward(model.network, training=True), {
        "input.x": x,
        "cotangent": c,
        **model.memory.views,
    }


def worst(got: Any, wanted: dict[str, Any]) -> float:
    """The largest difference in any array, in parts of its largest element."""
    return max(
        float(np.max(np.abs(np.asarray(got[n], float) - a)) / max(float(np.max(np.abs(a))), 1e-3))
        for n, a in wanted.items()
    )


# rounding


def expected(x: Any) -> Any:
    """Rounding to 8 bits by other means: a power of two taken out, the rest to a whole number, ties to even."""
    with np.errstate(all="ignore"):
        x = np.asarray(x, "float64")
        fraction, exponent = np.frexp(x)
        near = np.ldexp(np.rint(fraction * 256), exponent - 8)
    near = np.where(np.abs(x) < 2.0**-126, np.copysign(0.0, x), near)
    return np.where(np.isfinite(x), np.where(np.abs(near) > 3.3961e38, np.copysign(np.inf, x), near), x)


def numbers() -> Any:
    """Numbers of all sizes, ties and the edges of the type."""
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        -1e-40,
        1.1754944e-38,
        3.3895314e38,
        3.3961776e38,
        3.4028235e38,
    ]
    ties = [1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 1 + 2.0**-8 + 2.0**-23, 1 + 2.0**-8 - 2.0**-23]
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32)
    return np.concatenate([np.array(special + ties, "float32"), bits.view("float32")])


def test_rounding_is_to_nearest_even() -> None:
    x = numbers()
    got = to_bfloat16(np, x)
    np.testing.assert_array_equal(got, expected(x).astype("float32"))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(x))
    assert not np.any(got.view("uint32") & 0xFFFF)


def cast_graph(rank: int) -> Graph:
    graph = Graph("cast")
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 5)[:rank])
    half = ops.cast(graph, x, DType.bfloat16)
    graph.outputs["y"] = ops.cast(graph, half, DType.float32)
    return graph


@pytest.mark.parametrize("rank", [1, 2])
def test_rounding_in_every_backend(rank: int) -> None:
    x = numbers()
    x = x[: len(x) // 5 * 5].reshape((-1, 5)[:rank] if rank == 2 else -1)
    graph, wanted = cast_graph(rank), expected(x).astype("float32")
    leaves = {"input.x": x}
    artifact = build({"cast": graph}, {})
    got = {
        "graph": evaluate(graph, leaves)["y"],
        "loops": run(lower(graph, {}, vector_bytes=0), leaves, rows=len(x))["y"],
        "code": Unit(Library(artifact), artifact.units["cast"], Model((), 0)).call(leaves, len(x))["y"],
    }
    for name, array in got.items():
        np.testing.assert_array_equal(array, wanted, err_msg=name)
        np.testing.assert_array_equal(np.signbit(array), np.signbit(wanted), err_msg=name)


def test_products_of_halves_are_float32_and_nothing_else_is_done_with_halves() -> None:
    graph = Graph("types")
    x = ops.input(graph, "x", DType.float32, (ROWS, 4))
    w = ops.input(graph, "w", DType.float32, (4, 3))
    halves = [ops.cast(graph, v, DType.bfloat16) for v in (x, w)]
    product = ops.contract(graph, halves[0], halves[1], [(1, 0)])
    assert product.dtype is DType.float32
    with pytest.raises(TypeRuleError):
        ops.contract(graph, halves[0], w, [(1, 0)])
    for build_one in (ops.exp, lambda g, v: ops.add(g, v, v), lambda g, v: ops.sum(g, v, (0,))):
        with pytest.raises(TypeRuleError):
            build_one(graph, halves[0])
    one = ops.full_like(graph, product, 1.0)
    to_x, to_w = vjp(graph, [(product, one)], [x, w])
    assert to_x.type == x.type
    assert to_w.type == w.type
    graph.outputs.update(product=product, to_x=to_x, to_w=to_w)
    verify(graph)


# what is rounded


def narrow(value: Value) -> bool:
    return all(x.dtype is DType.bfloat16 for x in value.inputs)


def contractions(graph: Graph) -> list[Value]:
    found = [v for v in graph.live() if v.op.name == "contract"]
    scans = {v.attrs["body"] for v in graph.live() if v.op.name == "scan"}
    return found + [c for body in scans for c in contractions(body.graph)]


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "embedding"])
def test_operands_of_all_products_are_rounded(name: str) -> None:
    model = netc.compile(source=source(NETWORKS[name]))
    graph, _ = backward(model)
    verify(graph)
    assert contractions(graph)
    assert all(map(narrow, contractions(graph)))
    full, _ = backward(netc.compile(source=source(NETWORKS[name]), precision="full"))
    assert len(contractions(full)) == len(contractions(graph))
    assert not any(map(narrow, contractions(full)))


def test_a_weight_is_rounded_once_for_all_its_products_and_outside_of_a_recurrence() -> None:
    graph, _ = backward(netc.compile(source=source(NETWORKS["recurrent"])))
    casts = [v for v in graph.live() if v.op.name == "cast" and v.dtype is DType.bfloat16]
    assert len([v for v in casts if v.inputs[0] is graph.inputs["param.0.weight_hh_l0"]]) == 1
    for body in {v.attrs["body"] for v in graph.live() if v.op.name == "scan"}:
        weights = [x for n, x in body.graph.inputs.items() if n.startswith("const.") and len(x.shape) == 2]
        assert weights
        assert all(x.dtype is DType.bfloat16 for x in weights)


def test_choices_losses_and_optimizers_stay_exact() -> None:
    chosen, _ = backward(netc.compile(source=source(NETWORKS["embedding"])))
    exact = [c for c in contractions(chosen) if not narrow(c)]
    assert {c.origin.layer for c in exact} == {"0"}
    assert all(x.dtype is DType.float32 for c in exact for x in c.inputs)
    text = "net a { input x: [4]; linear(6) }\ntrain { loss = mean((output @ output.T) ^ 2); optimizer = muon(); precision = bf16 }"
    text = text.replace("output.T", "reshape(output, [n, 6, 1])").replace(
        "(output @", "(reshape(output, [n, 1, 6]) @"
    )
    model = netc.compile(source=text)
    assert model.plan is not None
    step = units.step(model.network, model.plan, check_fit(model.network, model.plan, None))
    layers = {c.origin.layer.split(".")[0]: narrow(c) for c in contractions(step)}
    assert layers.pop("0")
    assert layers
    assert not any(layers.values())


def test_the_formulas_of_the_gradient_show_what_is_rounded() -> None:
    graph, _ = backward(netc.compile(source=source("input x: [3]; linear(2)")))
    text = formulas(graph)
    assert "d_weight_0 = bfloat16(cotangent).T @ bfloat16(x)" in text
    assert "d_bias_0 = sum(cotangent, dim = 0)" in text


# alike everywhere


@pytest.mark.parametrize("name", NETWORKS)
def test_both_interpreters_and_compiled_code_agree(name: str) -> None:
    """Where sums are added up in another order, a number at a tie rounds the other way: that is 2^-8 of one factor."""
    model = netc.compile(source=source(NETWORKS[name]), seed=1)
    graph, leaves = backward(model)
    wanted = evaluate(graph, leaves, rows=GIVEN, seed=2, step=1)
    for vector_bytes in (0, 32, 64):
        unit = lower(graph, model.orders, vector_bytes=vector_bytes)
        verify_unit(unit)
        assert worst(run(unit, leaves, rows=GIVEN, seed=2, step=1), wanted) < 2e-3
    artifact = build({graph.name: graph}, model.orders)
    given = {n: a for n, a in leaves.items() if n not in model.memory.views}
    got = Unit(Library(artifact), artifact.units[graph.name], model.memory).call(given, GIVEN, step=1, seed=2)
    assert worst(got, wanted) < 2e-3


@pytest.mark.parametrize("name", ["seed", "convolution", "recurrent"])
def test_cuda_text_agrees(name: str) -> None:
    from cases import DEVICES, EMULATED

    from netc.runtime.cuda import units as cuda

    model = netc.compile(source=source(NETWORKS[name]), seed=1)
    graph, leaves = backward(model)
    artifact = build_cuda({graph.name: graph}, model.orders, EMULATED)
    assert "unsigned short *" in artifact.code.decode()
    unit = cuda.Unit(cuda.Library(artifact, DEVICES["mixed"]()), artifact.units[graph.name], model.memory)
    given = {n: a for n, a in leaves.items() if n not in model.memory.views}
    wanted = evaluate(graph, leaves, rows=GIVEN, seed=2, step=1)
    assert worst(unit.call(given, GIVEN, step=1, seed=2), wanted) < 2e-3


def test_one_product_is_that_of_rounded_factors_to_the_last_bits() -> None:
    model = netc.compile(source=source("input x: [70]; linear(40)"), seed=1)
    x = np.random.default_rng(1).normal(size=(19, 70)).astype("float32")
    weight, bias = (model.memory.views[f"param.0.{n}"] for n in ("weight", "bias"))
    exact = expected(x) @ expected(weight).T + bias
    unrounded = x.astype(float) @ weight.astype(float).T + bias
    got = model.predict(x)
    assert np.max(np.abs(got - exact)) < 2e-6
    assert np.max(np.abs(unrounded - exact)) > 1e-3


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=programs())
def test_random_networks(text: str) -> None:
    model = netc.compile(source=text, seed=1, precision="bf16")
    graph, leaves = backward(model)
    artifact = build({graph.name: graph}, model.orders)
    given = {n: a for n, a in leaves.items() if n not in model.memory.views}
    got = Unit(Library(artifact), artifact.units[graph.name], model.memory).call(given, GIVEN, step=1, seed=2)
    wanted = evaluate(graph, leaves, rows=GIVEN, seed=2, step=1)
    for path, array in wanted.items():
        scale = max(float(np.max(np.abs(array), initial=0.0)), 1.0)
        assert np.max(np.abs(np.asarray(got[path]) - array), initial=0.0) <= 5e-2 * scale, path


# training


def test_weights_and_states_are_float32_and_move_by_less_than_a_half_can_tell() -> None:
    text = source("input x: [8]; linear(16); relu; linear(1)").replace("1e-2", "1e-6")
    model = netc.compile(source=text, seed=1)
    before = {n: a.copy() for n, a in model.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    model.fit(x, x[:, :1], epochs=3)
    for name, array in model.state_dict().items():
        assert array.dtype == np.float32
        assert np.any(array != before[name]), name
        assert np.any(array.view("uint32") & 0xFFFF), name


def test_training_on_digits_is_as_accurate() -> None:
    found = {}
    for precision in ("full", "bf16"):
        model = netc.compile(EXAMPLES / "digits.net", precision=precision)
        model.fit()
        found[precision] = model.evaluate(*_validation(model))["accuracy"]
    assert found["bf16"] >= found["full"] - 0.005


def _validation(model: netc.Model) -> tuple[Any, ...]:
    from netc.training import file_data

    validation = file_data(model)[1]
    assert validation is not None
    return validation


# asking for it


def test_it_can_be_asked_for_from_outside_and_is_kept_with_the_weights(tmp_path: Path) -> None:
    text = source("input x: [6]; linear(5)", "")
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    full = netc.compile(source=text, seed=1).predict(x)
    model = netc.compile(source=text, seed=1, precision="bf16")
    half = model.predict(x)
    assert np.any(half != full)
    model.save(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(netc.load(tmp_path / "weights.safetensors").predict(x), half)
    written = netc.compile(source=source("input x: [6]; linear(5)"), seed=1)
    np.testing.assert_array_equal(written.predict(x), half)
    overruled = netc.compile(source=source("input x: [6]; linear(5)"), seed=1, precision="full")
    np.testing.assert_array_equal(overruled.predict(x), full)


def test_it_does_not_go_with_float64() -> None:
    text = source("input x: [6]; linear(5)")
    with pytest.raises(netc.CompileError) as caught:
        netc.compile(source=text, dtype="float64")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0406"
    assert "keeps parameters in float32, here they are float64" in diagnostic.message
    assert diagnostic.primary.span.text == "precision = bf16"
    assert (
        netc.compile(source=text, dtype="float64", precision="full").predict(np.zeros((1, 6))).dtype
        == "float64"
    )
    with pytest.raises(ValueError, match="precision bf16 keeps parameters in float32, dtype is float64"):
        netc.compile(source=text, dtype="float64", precision="bf16")
    with pytest.raises(ValueError, match="precision is full or bf16, not 'half'"):
        netc.compile(source=text, precision="half")


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        main, ["show", str(EXAMPLES / "regression.net"), "--stage", "graph", "--precision", "bf16"]
    )
    assert "bfloat16[n, 3]" in shown.output
    refused = CliRunner().invoke(
        main, ["train", str(EXAMPLES / "regression.net"), "--precision", "bf16", "--dtype", "float64"]
    )
    assert refused.exit_code == 2
    assert "keeps parameters in float32" in refused.output
    trained = CliRunner().invoke(
        main,
        ["train", str(EXAMPLES / "regression.net"), "--precision", "bf16", "--out", str(tmp_path), "--quiet"],
    )
    assert trained.exit_code == 0, trained.output
    (folder,) = tmp_path.iterdir()
    resumed = CliRunner().invoke(main, ["train", "--resume", str(folder), "--epochs", "201", "--quiet"])
    assert resumed.exit_code == 0, resumed.output
    assert netc.load(folder / "last.safetensors").program.precision == "bf16"
