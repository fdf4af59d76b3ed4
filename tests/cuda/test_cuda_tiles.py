"""Contractions by tiles against the interpreter: products in all three orientations, convolutions of many kinds, fused updates.

Whole numbers small enough are exact in float32 and in bfloat16, so that results must have the interpreter's bits. Bits must not depend on the number of blocks, on the order of threads or on other rows.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from cases import DEVICES, EMULATED, Arrays, assert_same, grid_always, run
from emulator import BACKWARD, FORWARD, MIXED, Emulator, SynchronisationError

from netc.compiler import ops, units
from netc.compiler.backends.cuda.splits import divided
from netc.compiler.elaborate import Precision, program
from netc.compiler.graph import ROWS, DType, Graph, Shape, TensorType
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.interpreter import run as run_loops
from netc.compiler.loops.lower import lower
from netc.compiler.loops.unit import Unit
from netc.compiler.pipeline import build_cuda, model_layout
from netc.compiler.verify import verify_unit
from netc.grammar.source import Source
from netc.runtime.artifact import BLOCK_THREADS, Artifact
from netc.runtime.cuda import nvrtc
from netc.runtime.cuda.units import Library, whole_text

ARCHITECTURES = ("sm_80", "sm_90")
KINDS = (DType.float32, DType.float64, DType.bfloat16)
"""Of factors."""
WIDTHS = ((37, 19), (9, 70), (64, 64), (5, 130))
"""Of what a layer reads and computes."""
CONVOLUTIONS = {
    "padded": "conv2d(6, 3, padding = 1)",
    "strided": "conv2d(9, 3, stride = 2)",
    "dilated": "conv2d(6, 3, dilation = 2, padding = 1)",
    "grouped": "conv2d(12, 3, groups = 2, bias = false)",
    "pointwise": "conv2d(10, 1)",
    "wide": "conv2d(6, [1, 5], stride = [2, 1])",
}


def layer(features: int, width: int, kind: DType = DType.float32) -> Graph:
    """A layer's product, with bias and activation, and its two derivatives. kind: of the factors."""
    graph = Graph(f"layer_{features}_{width}")
    shapes: dict[str, Shape] = {
        "input.x": (ROWS, features),
        "w": (width, features),
        "b": (width,),
        "c": (ROWS, width),
    }
    x, w, b, c = (ops.input(graph, name, kind.wide, shape) for name, shape in shapes.items())
    x, w, c = (ops.cast(graph, v, kind) for v in (x, w, c))
    h = ops.add(graph, ops.contract(graph, x, w, [(1, 1)]), ops.broadcast(graph, b, (ROWS, width), [1]))
    graph.outputs["y"] = ops.binary(graph, "maximum", h, ops.full_like(graph, h, 0.0))
    graph.outputs["dw"] = ops.contract(graph, c, x, [(0, 0)])
    graph.outputs["dx"] = ops.contract(graph, c, w, [(1, 0)])
    return graph


def whole_numbers(graph: Graph, rows: int) -> Arrays:
    """Whole numbers of a few bits for the leaves of a graph: their products and sums are exact."""
    rng = np.random.default_rng(rows)
    return {
        name: rng.integers(-3, 4, [rows if d is ROWS else d for d in leaf.shape]).astype(leaf.dtype.value)
        for name, leaf in graph.inputs.items()
    }


@cache
def layers(kind: DType) -> tuple[Artifact, dict[str, Graph]]:
    graphs = {g.name: g for g in (layer(*w, kind) for w in WIDTHS)}
    return build_cuda(graphs, {}, EMULATED), graphs


def tiled(artifact: Artifact) -> list[str]:
    """The shapes of the tiles in a module's text."""
    return re.findall(r"typedef (.*)> Tile;", artifact.code.decode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", [800, 750])
def test_layers_of_whole_numbers_are_exact_everywhere(
    kind: DType, architecture: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On devices with tensor cores for bfloat16, and on older ones."""
    grid_always(monkeypatch)
    made, graphs = layers(kind)
    assert len(tiled(made)) == 3 * len(WIDTHS)
    assert all(shape.startswith("OnCores") == (kind is DType.bfloat16) for shape in tiled(made))
    older = f"#undef __CUDA_ARCH__\n#define __CUDA_ARCH__ {architecture}\n".encode()
    made = replace(made, code=older + made.code)
    for device in DEVICES.values():
        library = Library(made, device())
        for name, graph in graphs.items():
            for rows in (1, 33):
                inputs = whole_numbers(graph, rows)
                assert_same(run(library, name, graph, inputs, rows), evaluate(graph, inputs), 0)


def test_blocks_of_the_size_that_a_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of registers, one in slices and one in parts, by the very text that a GPU gets."""
    grid_always(monkeypatch)
    graph = layer(260, 70)
    made = build_cuda({"unit": graph}, {})
    inputs = whole_numbers(graph, 70)
    library = Library(made, Emulator(threads=BLOCK_THREADS, blocks=2, order=BACKWARD))
    assert_same(run(library, "unit", graph, inputs, 70), evaluate(graph, inputs), 0)


def test_nothing_that_is_no_number_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points and terms outside of the tensors are zeros, and meet neither infinities nor what is no number."""
    grid_always(monkeypatch)
    for kind in KINDS:
        made, graphs = layers(kind)
        graph = graphs["layer_37_19"]
        inputs = whole_numbers(graph, 5)
        inputs["input.x"][2, 3], inputs["input.x"][4, 7] = np.inf, np.nan
        inputs["w"][:, 3] = 1
        got = run(Library(made, DEVICES["three blocks"]()), "layer_37_19", graph, inputs, 5)
        assert_same(got, evaluate(graph, inputs), 0)


def test_a_row_has_the_same_bits_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    for kind in KINDS:
        made, graphs = layers(kind)
        graph = graphs["layer_37_19"]
        rng = np.random.default_rng(0)
        whole = {n: rng.normal(size=a.shape).astype(a.dtype) for n, a in whole_numbers(graph, 70).items()}
        bits: dict[str, set[bytes]] = {"y": set(), "dx": set(), "dw": set()}
        for device in DEVICES.values():
            library = Library(made, device())
            for rows in (1, 7, 70):
                part = {n: a[-rows:] if n in ("input.x", "c") else a for n, a in whole.items()}
                got = run(library, "layer_37_19", graph, part, rows)
                bits["y"].add(got["y"][-1].tobytes())
                bits["dx"].add(got["dx"][-1].tobytes())
                if rows == 70:
                    bits["dw"].add(got["dw"].tobytes())
        assert {n: len(found) for n, found in bits.items()} == {"y": 1, "dx": 1, "dw": 1}


# convolutions, and whole steps with their updates


def step_of(stage: str, dtype: DType) -> tuple[Graph, Arrays]:
    """A training step of a small network, and the contents of its leaves but for the data."""
    text = f"net t {{\n input x: [4, 9, 8]\n {stage}\n relu\n flatten\n linear(5)\n}}\n"
    text += "train {\n loss = mse_loss()\n optimizer = adam(lr = 1e-2)\n epochs = 1\n}\n"
    half = Precision.bf16 if dtype is DType.bfloat16 else None
    loaded = program.load(Source("t.net", text), dtype=dtype.wide, precision=half)
    network, plan = loaded.network(), loaded.train()
    assert plan is not None
    graph = units.step(network, plan, {"target": TensorType(dtype.wide, (ROWS, 5))})
    rng, given = np.random.default_rng(1), Arrays()
    for name, leaf in graph.inputs.items():
        shape: Any = leaf.shape
        if name.startswith("param."):
            given[name] = (rng.normal(size=shape) / 4).astype(dtype.wide.value)
        elif name.startswith("state."):
            given[name] = (rng.random(size=shape) / 10).astype(dtype.wide.value)
        elif name.startswith("scalar."):
            given[name] = np.asarray(3, leaf.dtype.value)
    return graph, given


@cache
def steps(dtype: DType) -> tuple[Artifact, dict[str, tuple[Graph, Arrays]]]:
    made = {name: step_of(stage, dtype) for name, stage in CONVOLUTIONS.items()}
    orders = {n: {x.name: x.order for x in model_layout(g)[0]} for n, (g, _) in made.items()}
    merged = {name: order for o in orders.values() for name, order in o.items()}
    return build_cuda({n: g for n, (g, _) in made.items()}, merged, EMULATED), made


@pytest.mark.parametrize("dtype", KINDS)
def test_steps_of_convolutions(dtype: DType, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    made, cases = steps(dtype)
    assert len(tiled(made)) >= 3 * len(cases) - 2
    rng, tolerance = np.random.default_rng(0), 1e-12 if dtype is DType.float64 else 1e-4
    for rows in (1, 5):
        data = {"input.x": rng.normal(size=(rows, 4, 9, 8)), "target": rng.normal(size=(rows, 5))}
        given = {n: a.astype(dtype.wide.value) for n, a in data.items()}
        for name, (graph, leaves) in cases.items():
            wanted = evaluate(graph, {**leaves, **given}, step=3)
            seen = []
            for device in DEVICES.values():
                got = run(Library(made, device()), name, graph, {**leaves, **given}, rows)
                assert_same(got, wanted, tolerance)
                seen.append(b"".join(got[n].tobytes() for n in wanted if n.startswith(("param.", "state."))))
            assert seen[0] == seen[1], name


# long sums in two stages


def long_sums() -> Graph:
    """Sums over many positions of many observations: products, their update, a number for each channel, and one number."""
    graph = Graph("long")
    x = ops.input(graph, "input.x", DType.float32, (ROWS, 6, 16, 16))
    c = ops.input(graph, "c", DType.float32, (ROWS, 9, 16, 16))
    w = ops.input(graph, "param.w", DType.float32, (9, 6))
    gradient = ops.contract(graph, c, x, [(0, 0), (2, 2), (3, 3)])
    graph.outputs["param.w"] = ops.sub(graph, w, gradient)
    graph.outputs["channels"] = ops.sum(graph, c, [0, 2, 3])
    graph.outputs["all"] = ops.sum(graph, x, [0, 1, 2, 3])
    return graph


def divided_unit(graph: Graph) -> Unit:
    return divided(lower(graph, {}, vector_bytes=0), EMULATED)


def test_stages_of_long_sums_are_loop_ir() -> None:
    graph = long_sums()
    unit = divided_unit(graph)
    verify_unit(unit)
    assert len(unit.kernels) == 2 * len(graph.outputs)
    assert len([n for n in unit.memory.offsets if n.startswith("partial.")]) == len(graph.outputs)
    inputs = whole_numbers(graph, 3)
    assert_same(run_loops(unit, inputs, rows=3), evaluate(graph, inputs), 0)


def test_long_sums_have_the_same_bits_on_any_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    graph = long_sums()
    made = build_cuda({"long": graph}, {}, EMULATED)
    for rows in (1, 40):
        rng = np.random.default_rng(rows)
        exact = whole_numbers(graph, rows)
        inputs = {n: rng.normal(size=a.shape).astype("f4") for n, a in exact.items()}
        bits = set()
        for blocks, order in ((1, FORWARD), (2, BACKWARD), (5, MIXED)):
            library = Library(made, Emulator(threads=64, blocks=blocks, order=order))
            assert_same(run(library, "long", graph, exact, rows), evaluate(graph, exact), 0)
            got = run(library, "long", graph, inputs, rows)
            assert_same(got, evaluate(graph, inputs), 1e-5)
            bits.add(b"".join(got[n].tobytes() for n in sorted(got)))
        assert len(bits) == 1


def test_calls_of_one_pattern_are_divided_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not divided stay what they were."""
    grid_always(monkeypatch)
    graph = Graph("long")
    for i in range(5):
        x = ops.input(graph, f"input.x{i}", DType.float32, (ROWS, 3, 16, 16))
        graph.outputs[f"channels{i}"] = ops.sum(graph, x, [0, 2, 3])
        graph.outputs[f"rows{i}"] = ops.exp(graph, ops.sum(graph, x, [1, 2, 3]))
    whole, unit = lower(graph, {}, vector_bytes=0), divided_unit(graph)
    assert len({id(call.scheduled) for call in whole.calls}) < len(whole.calls)
    assert len(unit.calls) == len(whole.calls) + 5
    assert len([call for call in whole.calls if call in unit.calls]) == len(whole.calls) - 5
    verify_unit(unit)
    inputs = {n: a / 64 for n, a in whole_numbers(graph, 3).items()}
    assert_same(run_loops(unit, inputs, rows=3), evaluate(graph, inputs), 1e-6)
    library = Library(build_cuda({"long": graph}, {}, EMULATED), DEVICES["mixed"]())
    assert_same(run(library, "long", graph, inputs, 3), evaluate(graph, inputs), 1e-6)


def test_blocks_of_another_size_are_refused() -> None:
    made = build_cuda({"long": long_sums()}, {})
    with pytest.raises(ValueError, match="blocks of 512 threads, on a device that starts blocks of 64"):
        Library(made, Emulator(threads=64))


# what the tests can see


SYNCHRONISED = {"registers": (1040, 32, 20), "slices": (16, 16, 20)}
"""Points of both sides, and terms: an odd number of stages for each kernel, so that the next one begins where it ended."""


def barrier_places() -> list[tuple[str, int]]:
    """The barriers in the kernels of two modules: by module, and number within its text."""
    found = []
    for name in SYNCHRONISED:
        text = synchronised(name)[0].code.decode()
        start = text.index("void k0(")
        found += [(name, i) for i, m in enumerate(re.finditer("__syncthreads", text)) if m.start() > start]
    return [(name, i) for name, i in found if i < barriers_of_kernels(name)]


def barriers_of_kernels(name: str) -> int:
    text = synchronised(name)[0].code.decode()
    return text[: text.index("static __device__ void unit_all")].count("__syncthreads")


@cache
def synchronised(name: str) -> tuple[Artifact, Graph]:
    """Two contractions that do not depend on each other, so that no barrier of the grid stands between them."""
    points, width, terms = SYNCHRONISED[name]
    graph = Graph("unit")
    x = ops.input(graph, "x", DType.float32, (points, terms))
    for i in range(2):
        w = ops.input(graph, f"w{i}", DType.float32, (width, terms))
        graph.outputs[f"y{i}"] = ops.contract(graph, x, w, [(1, 1)])
    return build_cuda({"unit": graph}, {}, EMULATED), graph


@pytest.mark.parametrize(("name", "number"), barrier_places())
def test_a_missing_barrier_is_seen(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    made, graph = synchronised(name)
    text, call = made.code.decode(), "__syncthreads()"
    place = [m.start() for m in re.finditer("__syncthreads", text)][number]
    broken = text[:place] + text[place:].replace(call, "", 1)
    inputs = whole_numbers(graph, 1)
    wanted = evaluate(graph, inputs)
    seen = False
    for order in (FORWARD, BACKWARD, MIXED):
        library = Library(replace(made, code=broken.encode()), Emulator(threads=64, blocks=1, order=order))
        try:
            got = run(library, "unit", graph, inputs)
            seen |= any((got[n] != a).any() for n, a in wanted.items())
        except SynchronisationError:
            seen = True
    assert seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_keeps_tiles_in_registers(architecture: str) -> None:
    """The largest tiles and those in slices, with and without an update behind them, as entries of their own."""
    for kind in KINDS:
        graphs = {f"layer{i}": layer(*w, kind) for i, w in enumerate(((4096, 8192), (784, 128)))}
        graphs["step"] = step_of("conv2d(64, 3, padding = 1)", kind)[0]
        text = whole_text(build_cuda(graphs, {}).code.decode())
        kernels = text[: text.index("static __device__ void layer0_all")]
        head = f'extern "C" __global__ void __launch_bounds__({BLOCK_THREADS}, 1) '
        alone, count = re.subn(r"static __device__ __noinline__ void (?=k\d+\()", head, kernels)
        usage = nvrtc.usage(nvrtc.compile_text(alone, architecture)[1])
        assert len(usage) == count > 6
        for name, used in usage.items():
            assert (used.spilled, used.stack) == (0, 0), f"{name}: {used}"
            assert used.registers * BLOCK_THREADS <= 65536, f"{name}: {used}"
