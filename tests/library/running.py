"""Runs cases: one graph a case, interpreted, or compiled with others of its family into one artifact.

In: a case and its reference. Out: outputs by the names of the reference file. The graph of a case holds the forward pass,
the gradient, the evaluation and the new buffers at once, so that one native call computes them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from netc.compiler import ops
from netc.compiler.elaborate import Network, program
from netc.compiler.gradient import vjp
from netc.compiler.graph import DType, Graph
from netc.compiler.interpreter import evaluate
from netc.compiler.loops.lower import choose_orders
from netc.compiler.passes import optimise
from netc.compiler.pipeline import build, model_layout
from netc.grammar.source import Source
from netc.runtime.cpu import Library, Model, Unit

from .cases import REFERENCES, Case, families

Array = NDArray[Any]
Arrays = dict[str, Array]
TOGETHER = 16
STATES = ("param.", "buffer.")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A case's network and the graph of everything that is compared."""

    network: Network
    graph: Graph


@cache
def references(family: str) -> Mapping[str, Arrays]:
    """For each case its arrays by key."""
    found: dict[str, Arrays] = {}
    with safe_open(str(REFERENCES / f"{family}.safetensors"), "np") as file:
        for name in file.keys():
            case, key = name.rsplit("/", 1)
            found.setdefault(case, {})[key] = file.get_tensor(name)
    for arrays in found.values():
        arrays.setdefault("evaluated", arrays["output"])
    return found


@cache
def state_names(family: str) -> Mapping[str, list[str]]:
    """For each case the names of torch's state dict, in order."""
    with safe_open(str(REFERENCES / f"{family}.safetensors"), "np") as file:
        return dict(json.loads(file.metadata()["states"]))


@cache
def compiled(case: Case, dtype: str) -> Compiled:
    """The network and its graph. Raises CompileError for a case that does not compile."""
    network = program.load(Source(case.name, case.source), dtype=DType(dtype)).network()
    graph = Graph("case")
    result = network.forward(graph, training=not case.draws)
    graph.outputs["output"] = result.output
    if not case.forward_only:
        cotangent = ops.input(graph, "cotangent", result.output.dtype, result.output.shape)
        leaves = {n: v for n, v in graph.inputs.items() if n.startswith(("param.", "input."))}
        leaves = {n: v for n, v in leaves.items() if v.dtype.is_float}
        found = vjp(graph, [(result.output, cotangent)], list(leaves.values()))
        for name, gradient in zip(leaves, found, strict=True):
            graph.outputs["gradient." + name.removeprefix("param.")] = gradient
    graph.outputs["evaluated"] = network.forward(graph, training=False).output
    graph.outputs.update(result.updates)
    return Compiled(network, optimise(graph))


def states(made: Compiled, reference: Mapping[str, Array]) -> Arrays:
    """The reference's parameters and buffers by leaf."""
    return {leaf: reference[f"state.{name}"] for name, leaf in made.network.places().items()}


def given(
    made: Compiled, reference: Mapping[str, Array], kind: str = "input", dtype: str = "float64"
) -> Arrays:
    """Inputs and cotangent; kind: ``input``, or ``second`` for the second step."""
    found = {f"input.{i.name}": reference[f"{kind}.{i.name}"] for i in made.network.inputs}
    if "cotangent" in reference:
        found["cotangent"] = reference["cotangent"]
    return {n: np.ascontiguousarray(a.astype(dtype)) if a.dtype.kind == "f" else a for n, a in found.items()}


def interpreted(case: Case, reference: Mapping[str, Array]) -> Arrays:
    """What the interpreter computes in float64."""
    made = compiled(case, "float64")
    leaves = states(made, reference)
    first = evaluate(made.graph, {**leaves, **given(made, reference)})
    found = {n: a for n, a in first.items() if not n.startswith(STATES)}
    if any(k.startswith("second.") for k in reference):
        updated = leaves | {n: a for n, a in first.items() if n in leaves}
        last = evaluate(made.graph, {**updated, **given(made, reference, "second")}, step=2)
        updated |= {n: a for n, a in last.items() if n in leaves}
        found |= _after(updated)
    return found


def _after(leaves: Mapping[str, Array]) -> Arrays:
    return {f"after.{n.removeprefix('buffer.')}": a for n, a in leaves.items() if n.startswith("buffer.")}


Orders = dict[str, tuple[int, ...]]


@cache
def parts(family: str, dtype: str) -> tuple[tuple[dict[str, Case], Orders], ...]:
    """The cases of a family by unit, in groups in which leaves of one name are laid out alike."""
    found: list[tuple[dict[str, Case], Orders]] = []
    for number, case in enumerate(families()[family]):
        orders = choose_orders(compiled(case, dtype).graph)
        part = next((p for p in found if len(p[0]) < TOGETHER and _agree(p[1], orders)), None)
        if part is None:
            found.append(part := ({}, {}))
        part[0][f"case_{number}"] = case
        part[1].update(orders)
    return tuple(found)


def _agree(a: Orders, b: Orders) -> bool:
    return all(a[n] == b[n] for n in a if n in b)


@cache
def _artifact(family: str, part: int, dtype: str) -> Mapping[Case, Unit]:
    """The units of some cases of a family, compiled together."""
    cases, orders = parts(family, dtype)[part]
    graphs = {n: compiled(c, dtype).graph for n, c in cases.items()}
    artifact = build(graphs, orders)
    library = Library(artifact)
    models = {n: Model(*model_layout(g)) for n, g in graphs.items()}
    return {c: Unit(library, artifact.units[n], models[n]) for n, c in cases.items()}


def native(family: str, case: Case, dtype: str, reference: Mapping[str, Array]) -> Arrays:
    """What compiled code computes in ``float32`` or ``float64``."""
    made = compiled(case, dtype)
    part = next(i for i, (cases, _) in enumerate(parts(family, dtype)) if case in cases.values())
    unit = _artifact(family, part, dtype)[case]
    views = unit.model.views
    for name, array in states(made, reference).items():
        if name in views:
            views[name][...] = array
    rows = len(reference[f"input.{made.network.inputs[0].name}"])
    found = unit.call(given(made, reference, "input", dtype), rows, step=1)
    if any(k.startswith("second.") for k in reference):
        unit.call(given(made, reference, "second", dtype), rows, step=2)
        found |= _after({**states(made, reference), **views})  # a buffer that nothing changes has no view
    return found


def compare(case: Case, got: Arrays, wanted: Mapping[str, Array], bound: float) -> None:
    """Every array of the reference against what was computed; AssertionError names the first that differs."""
    for key, array in wanted.items():
        if key.startswith(("input.", "second.", "state.")) or key == "cotangent":
            continue
        found = got[key]
        assert found.shape == array.shape, f"{case.name}: {key} is {found.shape}, torch's {array.shape}"
        finite = np.abs(array[np.isfinite(array)].astype(np.float64))
        scale = np.maximum(np.abs(array), 1) if case.elementwise else max(float(finite.max(initial=0)), 1e-3)
        with np.errstate(invalid="ignore"):  # inf - inf
            close = np.abs(found - array) <= bound * scale
        same = close | (found == array) | (np.isnan(found) & np.isnan(array))
        assert same.all(), f"{case.name}: {key}\n{found[~same][:8]}\ntorch\n{array[~same][:8]}"
