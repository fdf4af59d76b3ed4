"""Initial values: distribution, bounds and structure of every initialiser, with fixed seeds."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.elaborate.program import library_kinds

Array = NDArray[np.float64]
SHAPE = (80, 50)
KERNELS = (24, 16, 3, 5)
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def drawn(call: str, shape: tuple[int, ...] = SHAPE, seed: int = 3) -> Array:
    """A parameter made by an initialiser."""
    text = f"layer own() {{ input x: [n, 1]; param weight: {list(shape)} = {call}; return x }}"
    model = netc.compile(source=f"{text}\nnet a {{ input x: [1]; own }}", seed=seed, dtype="float64")
    return np.asarray(model.state_dict()["0.weight"])


def normal_cdf(x: Array) -> Array:
    return np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel()])


def assert_distributed(cdf: Array) -> None:
    """Kolmogorov and Smirnov's test at 0.1 %: where each draw lies in its distribution is uniform."""
    found = np.sort(cdf.ravel())
    expected = (np.arange(found.size) + 0.5) / found.size
    assert np.abs(found - expected).max() < 1.95 / math.sqrt(found.size)


def assert_uniform(x: Array, low: float, high: float) -> None:
    assert low <= x.min()
    assert x.max() < high
    assert_distributed((x - low) / (high - low))


def assert_normal(x: Array, mean: float, std: float) -> None:
    assert_distributed(normal_cdf((x - mean) / std))


def test_constants() -> None:
    assert (drawn("zeros()") == 0).all()
    assert (drawn("ones()") == 1).all()
    assert (drawn("constant(-2.5)") == -2.5).all()
    np.testing.assert_array_equal(drawn("eye()"), np.eye(*SHAPE))


def test_uniform_and_normal() -> None:
    assert_uniform(drawn("uniform()"), 0, 1)
    assert_uniform(drawn("uniform(-3, 0.5)"), -3, 0.5)
    assert_normal(drawn("normal()"), 0, 1)
    assert_normal(drawn("normal(2, std = 0.1)"), 2, 0.1)
    assert (drawn("normal()") == drawn("normal()")).all()
    assert (drawn("normal()") != drawn("normal()", seed=4)).all()


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0, 1, -2, 2), (0.5, 2, 0, 1), (0, 0.02, -2, 2), (3, 1, -1, 1)]
)
def test_trunc_normal(mean: float, std: float, a: float, b: float) -> None:
    x = drawn(f"trunc_normal({mean}, {std}, {a}, {b})")
    assert a <= x.min()
    assert x.max() <= b
    low, high = normal_cdf(np.array([(a - mean) / std, (b - mean) / std]))
    assert_distributed((normal_cdf((x - mean) / std) - low) / (high - low))


@pytest.mark.parametrize("nonlinearity", [*GAINS, "leaky_relu"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming(mode: str, nonlinearity: str) -> None:
    gain = GAINS.get(nonlinearity, math.sqrt(2 / (1 + 0.3**2)))
    std = gain / math.sqrt((16 if mode == "fan_in" else 24) * 3 * 5)
    arguments = f'(0.3, "{mode}", nonlinearity = "{nonlinearity}")'
    assert_uniform(drawn("kaiming_uniform" + arguments, KERNELS), -std * math.sqrt(3), std * math.sqrt(3))
    assert_normal(drawn("kaiming_normal" + arguments, KERNELS), 0, std)


def test_kaiming_with_a_fan_of_ones_own() -> None:
    assert_normal(drawn("kaiming_normal(fan = 100)"), 0, math.sqrt(2) / 10)
    assert_uniform(drawn("kaiming_uniform(fan = 100)"), -math.sqrt(6) / 10, math.sqrt(6) / 10)


@pytest.mark.parametrize("gain", [1, 2.5])
def test_xavier(gain: float) -> None:
    std = gain * math.sqrt(2 / (24 * 15 + 16 * 15))
    assert_uniform(drawn(f"xavier_uniform({gain})", KERNELS), -std * math.sqrt(3), std * math.sqrt(3))
    assert_normal(drawn(f"xavier_normal({gain})", KERNELS), 0, std)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (30, 30), (12, 4, 3, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    x = drawn("orthogonal(1.5)", shape).reshape(shape[0], -1)
    product = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    np.testing.assert_allclose(product, 2.25 * np.eye(min(x.shape)), atol=1e-9)
    assert abs(x.mean()) < 4 * x.std() / math.sqrt(x.size)


def test_sparse() -> None:
    x = drawn("sparse(0.33, std = 0.2)")
    assert ((x == 0).sum(0) == math.ceil(0.33 * 80)).all()
    assert len({tuple(column) for column in (x == 0).T}) == 50
    assert_normal(x[x != 0], 0, 0.2)


@pytest.mark.parametrize(
    ("groups", "shape"), [(1, (5, 3, 3)), (1, (3, 5, 3, 4)), (2, (6, 3, 3, 3)), (3, (6, 4, 2, 3, 5))]
)
def test_dirac(groups: int, shape: tuple[int, ...]) -> None:
    wanted = np.zeros(shape)
    out = shape[0] // groups
    for g in range(groups):
        for d in range(min(out, shape[1])):
            wanted[(g * out + d, d, *(k // 2 for k in shape[2:]))] = 1
    np.testing.assert_array_equal(drawn(f"dirac({groups})", shape), wanted)


@pytest.mark.parametrize(
    "call", ["eye()", "dirac()", 'kaiming_normal(mode = "in")', 'kaiming_normal(nonlinearity = "x")']
)
def test_what_cannot_be_drawn_is_told(call: str) -> None:
    shape: Any = [2, 3, 4] if call == "eye()" else [4, 4]
    text = f"layer own() {{ input x: [n, 1]; param weight: {shape} = {call}; return x }}"
    assert [d.code for d in netc.check(f"{text}\nnet a {{ input x: [1]; own }}\n")] == ["E0305"]


def test_every_initialiser_is_tested() -> None:
    called = set(re.findall(r'drawn\(f?"(\w+)', Path(__file__).read_text(encoding="utf-8")))
    assert {n for n, kind in library_kinds().items() if kind == "init"} == called
