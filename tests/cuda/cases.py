"""What the CUDA tests share: ways to run a module on the emulator, and units of the test networks.

In: graphs. Out: their values, computed by emitted CUDA text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from emulator import BACKWARD, FORWARD, MIXED, Emulator

from netc.compiler.backends.cuda import kernel
from netc.compiler.backends.cuda.mapping import Team
from netc.compiler.graph import Graph
from netc.compiler.pipeline import build_cuda, model_layout
from netc.runtime.artifact import Artifact
from netc.runtime.cpu import Model
from netc.runtime.cuda import units

EMULATED = 64
"""Threads of blocks that are quickly emulated."""
DEVICES: Mapping[str, Callable[[], Emulator]] = {
    "one block": lambda: Emulator(threads=EMULATED, blocks=1, order=FORWARD),
    "three blocks": lambda: Emulator(threads=EMULATED, blocks=3, order=BACKWARD),
    "mixed": lambda: Emulator(threads=EMULATED, blocks=2, order=MIXED),
}
Arrays = dict[str, Any]


def grid_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes all blocks of the device, however little there is to do."""
    monkeypatch.setattr(units, "BLOCK_WORK", -1)


def team_always(monkeypatch: pytest.MonkeyPatch, team: Team) -> None:
    """Has every point computed by such a team, whatever the extents."""
    monkeypatch.setattr(kernel, "team", lambda _: team)


def artifact(graphs: Mapping[str, Graph], orders: Mapping[str, tuple[int, ...]]) -> Artifact:
    return build_cuda(graphs, orders, EMULATED)


def run(
    library: units.Library,
    name: str,
    graph: Graph,
    given: Arrays,
    rows: int = 1,
    step: int = 3,
    seed: int = 7,
) -> Arrays:
    """All outputs of a unit. given: contents of the model's tensors too, by leaf."""
    model = Model(*model_layout(graph))
    for leaf, view in model.views.items():
        view[...] = given[leaf]
    unit = units.Unit(library, library.artifact.units[name], model)
    inputs = {n: np.ascontiguousarray(a) for n, a in given.items() if n not in model.views}
    found = unit.call(inputs, rows, step=step, seed=seed)
    return found | {n: np.array(v) for n, v in model.views.items() if n in graph.outputs}


def assert_same(got: Arrays, wanted: Arrays, tolerance: float) -> None:
    """Every array within ``tolerance`` of its largest element, infinities and NaN at the same places."""
    assert set(got) >= set(wanted)
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype, name
        scale = 1.0
        if array.dtype.kind == "f":
            scale = max(float(np.max(np.abs(array), initial=0, where=np.isfinite(array))), 1.0)
        np.testing.assert_allclose(got[name], array, rtol=0, atol=tolerance * scale, err_msg=name)
