"""Deep networks of equal layers: what is made for their kinds of layers does not grow with their number."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import netc
from netc.compiler import units
from netc.compiler.backends.llvm import calls
from netc.compiler.backends.llvm.module import Module
from netc.compiler.backends.llvm.target import native
from netc.compiler.graph import Graph
from netc.compiler.loops.lower import lower
from netc.model import Model

DEEP = """
net deep {{ input x: [16]; repeat {copies} {{ linear(16); tanh }}; linear(1) }}
train {{ loss = mse_loss(); optimizer = adam(lr = 1e-2); batch = 8; epochs = 3 }}
"""


def model_of(copies: int) -> Model:
    return netc.compile(source=DEEP.format(copies=copies), seed=1)


def step_of(model: Model) -> Graph:
    assert model.plan is not None
    return units.step(model.network, model.plan, model.plan.goal(units.output_type(model.network)))


def text_of(model: Model) -> str:
    module = Module()
    module.add(lower(step_of(model), model.orders), "step")
    return module.text(native())


def test_the_code_of_a_deep_network_is_that_of_its_kinds_of_layers() -> None:
    def functions(text: str) -> list[str]:
        return [line for line in text.split("\n") if line.startswith("define")]

    short, long = (text_of(model_of(copies)) for copies in (40, 80))
    assert functions(short) == functions(long)
    assert short.count("\n") == long.count("\n")  # the tables alone are longer


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_from_a_table_do_what_calls_written_out_do(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(1024, 16)), rng.normal(size=(1024, 1))
    found = []
    for written in (10_000, 0):
        monkeypatch.setattr(calls, "WRITTEN", written)
        monkeypatch.setenv("NETC_CACHE_DIR", f"/nowhere/{written}")  # code of its own for each
        model = model_of(4)
        history = model.fit(x, y, batch=1024, threads=threads)
        found.append((history.loss, [a.tobytes() for a in model.state_dict().values()]))
    assert found[0] == found[1]


def test_the_collector_works_again_after_compiling_and_after_an_error() -> None:
    model_of(2)
    assert gc.isenabled()
    with pytest.raises(netc.CompileError):
        netc.compile(source=DEEP.format(copies=2).replace("linear(16)", "linear(0)"))
    assert gc.isenabled()
