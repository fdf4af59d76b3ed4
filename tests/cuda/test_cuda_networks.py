"""Emitted CUDA text of whole units against the interpreter and torch: training steps of the test networks, the library.

The same text is compiled by g++ for the emulator and by NVRTC, NVIDIA's own compiler, for two generations of GPUs.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from cases import DEVICES, EMULATED, assert_same, grid_always, run
from library.cases import families
from library.running import compare, compiled, given, parts, references, states
from test_graph_reference import counters, graphs, initial
from training_reference import NAMES, load

from netc.compiler.graph import Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.pipeline import build_cuda, model_layout
from netc.runtime.artifact import BLOCK_THREADS, Artifact
from netc.runtime.cuda import nvrtc
from netc.runtime.cuda.units import Library, whole_text

ARCHITECTURES = ("sm_80", "sm_90")
ONE_OF_THEM = (pytest.param("sm_80", marks=pytest.mark.slow), "sm_90")
FAMILIES = tuple(families())


@cache
def network(name: str, threads: int) -> tuple[Artifact, dict[str, Graph], dict[str, Any]]:
    """The step and the gradient of a network in float64, and its leaves."""
    reference = load(name, "float64")
    step, gradient, state = graphs(reference)
    orders = {x.name: x.order for x in model_layout(step)[0]}
    units = {"step": step, "gradient": gradient}
    return build_cuda(units, orders, threads), units, {**initial(reference), **state, **counters(2)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_training_steps(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_always(monkeypatch)
    made, units, leaves = network(name, EMULATED)
    reference, library = load(name, "float64"), Library(made, DEVICES[device]())
    for rows in (1, 3, 17):
        chosen = np.arange(rows) % len(reference.input[0])
        data = {"input.x": reference.input[0][chosen], "target": reference.target[0][chosen]}
        for unit, graph in units.items():
            wanted = evaluate(graph, {**leaves, **data}, step=3, seed=5)
            got = run(library, unit, graph, {**leaves, **data}, rows, step=3, seed=5)
            assert_same(got, wanted, 1e-12)


@pytest.mark.parametrize("architecture", ONE_OF_THEM)
@pytest.mark.parametrize("name", NAMES)
def test_nvrtc_compiles_training_steps(name: str, architecture: str) -> None:
    text = whole_text(network(name, BLOCK_THREADS)[0].code.decode())
    code, log = nvrtc.compile_text(text, architecture)
    usage = nvrtc.usage(log)
    assert code.startswith(b"\x7fELF")
    assert set(usage) == {"netc_step", "netc_gradient"}
    for entry, used in usage.items():
        assert used.spilled == 0, f"{entry}: {used}"
        assert used.registers * BLOCK_THREADS <= 65536, f"{entry}: {used}"


@pytest.mark.parametrize("architecture", ONE_OF_THEM)
@pytest.mark.parametrize("name", NAMES)
def test_nvrtc_compiles_training_steps_as_launches(name: str, architecture: str) -> None:
    """Each entry of a graph has the registers of its own kernels, and none spills."""
    step, _, _ = graphs(load(name, "float32"))
    made = build_cuda({"step": step}, {x.name: x.order for x in model_layout(step)[0]}, train=True)
    text = whole_text(made.code.decode(), nodes=True)
    usage = nvrtc.usage(nvrtc.compile_text(text, architecture)[1])
    entries = {x.entry for part in made.step for x in part.launches}
    assert len(entries) > 5
    assert set(usage) == entries | {"netc_step", made.between}
    for entry, used in usage.items():
        assert used.spilled == 0, f"{entry}: {used}"
        assert used.registers * BLOCK_THREADS <= 65536, f"{entry}: {used}"


@cache
def library_parts(family: str, dtype: str, threads: int) -> list[tuple[Artifact, dict[str, Any]]]:
    """A family's cases: modules of several, and the case of each unit."""
    found = []
    for cases, orders in parts(family, dtype):
        made = build_cuda({n: compiled(c, dtype).graph for n, c in cases.items()}, orders, threads)
        found.append((made, dict(cases)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_library(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and derivatives of every entry are torch's."""
    grid_always(monkeypatch)
    agree_with_torch(family, "float64")


def agree_with_torch(family: str, dtype: str) -> None:
    device = DEVICES["three blocks"]()
    for made, cases in library_parts(family, dtype, device.threads):
        library = Library(made, device)
        for name, case in cases.items():
            reference, whole = references(family)[case.name], compiled(case, dtype)
            leaves = {**states(whole, reference), **given(whole, reference, "input", dtype)}
            rows = len(reference[f"input.{whole.network.inputs[0].name}"])
            got = run(library, name, whole.graph, leaves, rows, step=1, seed=0)
            wanted = {
                n: a for n, a in reference.items() if n.startswith(("output", "evaluated", "gradient."))
            }
            compare(case, got, wanted, case.exact if dtype == "float64" else case.bound)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_the_library(family: str, architecture: str) -> None:
    """Each kernel as an entry of its own, which takes a tenth of the time; none of them spills."""
    for made, _ in library_parts(family, "float64", BLOCK_THREADS):
        text = whole_text(made.code.decode())
        kernels = text[: text.index("static __device__ void case_")]
        head = f'extern "C" __global__ void __launch_bounds__({BLOCK_THREADS}, 1) '
        alone, count = re.subn(r"static __device__ __noinline__ void (?=k\d+\()", head, kernels)
        _, log = nvrtc.compile_text(alone, architecture)
        usage = nvrtc.usage(log)
        assert len(usage) == count > 0
        spilled = {n: u for n, u in usage.items() if u.spilled or u.registers * BLOCK_THREADS > 65536}
        assert not spilled


def test_a_text_that_is_wrong_is_refused() -> None:
    with pytest.raises(nvrtc.RefusedText, match="identifier"):
        nvrtc.compile_text('extern "C" __global__ void f(float *x) { *x = y; }', "sm_80")
