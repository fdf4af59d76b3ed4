"""Code for other CPUs: the same gradients from code for 128, 256 and 512 bits, the same text for another architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import netc
from netc.cli.main import main
from netc.compiler import units
from netc.compiler.backends.llvm.target import CPUS, named
from netc.compiler.graph import ROWS, DType, TensorType
from netc.compiler.interpreter import evaluate
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Unit

NETWORKS = Path(__file__).parent / "reference"
EXAMPLES = Path(__file__).parent.parent / "examples"
ROWS_GIVEN = 21


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["dense", "convolution", "pooling", "softmax"])
def test_gradients_of_a_network(name: str, dtype: str, cpu: str) -> None:
    if named(cpu).missing:
        pytest.skip(f"this machine lacks {', '.join(named(cpu).missing)}")
    model = netc.compile(NETWORKS / f"{name}.net", dtype=dtype, seed=2, cpu=cpu)
    rng = np.random.default_rng(1)
    kind = model.network.inputs[0]
    leaves: dict[str, Any] = {f"input.{kind.name}": rng.normal(size=(ROWS_GIVEN, *kind.shape)).astype(dtype)}
    output = units.output_type(model.network)
    rest = [d for d in output.shape if isinstance(d, int)]
    leaves["cotangent"] = rng.normal(size=(ROWS_GIVEN, *rest)).astype(dtype)
    assert output == TensorType(DType(dtype), (ROWS, *rest))
    graph = units.backward(model.network, training=True)
    artifact = build({graph.name: graph}, model.orders, target=model.target)
    unit = Unit(Library(artifact), artifact.units[graph.name], model.memory)
    got = unit.call(leaves, ROWS_GIVEN, step=1, seed=2)
    wanted = evaluate(graph, leaves | dict(model.memory.views), rows=ROWS_GIVEN, seed=2, step=1)
    bound = 2e-5 if dtype == "float32" else 1e-12
    for path, array in wanted.items():
        scale = max(float(np.max(np.abs(array))), 1e-3)
        assert np.max(np.abs(np.asarray(got[path]) - array)) <= bound * scale, path


@pytest.mark.parametrize(
    ("cpu", "written"),
    [("x86-64-v2", "mulps"), ("x86-64-v3", "vfmadd"), ("x86-64-v4", "%zmm"), ("aarch64", "fmla")],
)
def test_assembly_for_any_cpu_is_made_on_any_machine(cpu: str, written: str) -> None:
    shown = CliRunner().invoke(
        main, ["show", str(EXAMPLES / "digits.net"), "--unit", "train", "--stage", "asm", "--cpu", cpu]
    )
    assert shown.exit_code == 0
    assert written in shown.output


def test_training_for_a_smaller_cpu_ends_near_that_for_this_one(tmp_path: Path) -> None:
    if named("x86-64-v2").missing:
        pytest.skip("another architecture")
    losses = [
        netc.compile(EXAMPLES / "regression.net", cpu=cpu).fit(epochs=3).loss[-1]
        for cpu in ("native", "x86-64-v2")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_cpu_that_does_not_exist_or_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="cpu is one of native, x86-64-v2"):
        netc.compile(EXAMPLES / "regression.net", cpu="pentium")
    other = "x86-64-v2" if named("aarch64").missing == () else "aarch64"
    with pytest.raises(ValueError, match=f"code for {other} does not run here: this machine lacks a CPU"):
        netc.compile(EXAMPLES / "regression.net", cpu=other)
    refused = CliRunner().invoke(main, ["train", str(EXAMPLES / "regression.net"), "--cpu", other])
    assert refused.exit_code == 2
    assert "this machine lacks a CPU of" in refused.output
