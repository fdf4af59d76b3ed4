"""The mathematical functions of compiled code: their errors over the whole range, in units in the last place.

In: arguments by their bits, one float32 in NETC_STRIDE (1 for all of them), and random ones for float64. Out: the largest
error is at most the documented one (docs/performance.md); NaN, infinities and the sign of zero are the C library's; a
lane holds the same bits whatever the number of lanes. References are computed in a wider type.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler import ops
from netc.compiler.graph import ROWS, DType, Graph
from netc.compiler.pipeline import build
from netc.runtime.cpu import Library, Model, Unit

Array = NDArray[Any]
STRIDE = int(os.environ.get("NETC_STRIDE", "4093"))
CHUNK = 2**22
UNARY = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf")
BOUNDS = {
    "exp": (1.0, 1.0), "expm1": (1.5, 1.6), "log": (1.0, 1.0), "log1p": (1.0, 1.0), "sin": (1.0, 1.0),
    "cos": (1.0, 1.0), "tanh": (2.2, 2.0), "sigmoid": (2.5, 2.1), "erf": (1.0, 1.5), "pow": (1.0, 1.0),
}  # fmt: skip
"""Units in the last place that the result may be off, in float32 and in float64."""
SPECIAL = (0.0, 1.0, 2.0, 3.0, 0.5, 1e-40, 1e30, 2.0**24 + 1, np.inf)
"""Arguments of pow that the standard has rules for, and odd, even and broken exponents."""
LONG = np.finfo(np.longdouble).nmant > 52
"""Whether the machine has a type that is wider than float64."""


def native(name: str, kind: DType) -> Callable[..., Any]:
    """The compiled function of arrays."""
    graph = Graph()
    arguments = [ops.input(graph, x, kind, (ROWS, 1)) for x in ("x", "y")[: 1 + (name == "pow")]]
    graph.outputs["result"] = graph.add(ops.TABLE[name], tuple(arguments))
    artifact = build({"unit": graph}, {})
    unit = Unit(Library(artifact), artifact.units["unit"], Model((), 0))

    def call(*arrays: Array) -> Any:
        given = {n: np.ascontiguousarray(a).reshape(-1, 1) for n, a in zip("xy", arrays, strict=False)}
        return unit.call(given, len(arrays[0]))["result"].reshape(-1)

    return call


def exact(name: str, *arguments: Array) -> Array:
    """The function's value in the arguments' type, which is wider than what is tested."""
    with np.errstate(all="ignore"):
        match name:
            case "sigmoid":
                (x,) = arguments
                e = np.exp(-np.abs(x))
                return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
            case "erf":
                found = np.vectorize(math.erf, otypes=[float])(arguments[0])
                return np.asarray(found, arguments[0].dtype)
            case "pow":
                return np.asarray(np.power(*arguments))
            case _:
                return np.asarray(getattr(np, name)(*arguments))


def widened(x: Array, kind: Any) -> Array:
    with np.errstate(invalid="ignore"):  # said of some NaN
        return x.astype(kind)


def errors(found: Array, wanted: Array) -> Array:
    """How far results are off, in units in the last place of the right ones; what is not finite has to be the same."""
    kind = found.dtype
    with np.errstate(all="ignore"):
        rounded = wanted.astype(kind)
    special = ~np.isfinite(rounded) | ~np.isfinite(found)
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    finfo = np.finfo(kind)
    near_end = np.isinf(found) != np.isinf(rounded)
    near_end &= np.abs(wanted) > float(finfo.max) * (1 - 2 * float(finfo.eps))
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(rounded), finfo.smallest_normal)
        units = np.spacing(size.astype(kind)).astype(wanted.dtype)
        off = np.abs(found.astype(wanted.dtype) - wanted) / units
    return np.where(special, np.where(same | near_end, 0, np.inf), off)


def float32_bits() -> Iterator[Array]:
    """All float32 numbers, or one in ``STRIDE``, and those around the points where something changes."""
    for start in range(0, 2**32, CHUNK * STRIDE):
        stop = min(start + CHUNK * STRIDE, 2**32)
        yield np.arange(start, stop, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    yield around(np.float32)


def around(kind: Any) -> Array:
    """Numbers beside the ends of ranges and beside multiples of pi/2 and ln 2."""
    points = [
        0,
        1,
        0.5,
        2**-12,
        2**-25,
        2**-54,
        17,
        18,
        38,
        88,
        89,
        104,
        709,
        710,
        745.2,
        746,
        3.95,
        5.95,
        2**17,
        2**40,
    ]
    points += [k * math.pi / 2 for k in range(1, 200)] + [k * math.log(2) / 2 for k in range(1, 200)]
    points += [math.sqrt(0.5), math.sqrt(2), float(np.finfo(kind).smallest_normal), float(np.finfo(kind).max)]
    integer = np.uint32 if kind is np.float32 else np.uint64
    bits: Any = np.array(points, kind).view(integer)
    near = (bits[:, None] + np.arange(-40, 41)).astype(integer).view(kind).reshape(-1)
    return np.concatenate([near, -near, np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], kind)])


def check(name: str, off: Array, bound: float, arguments: tuple[Array, ...]) -> float:
    worst = int(np.argmax(off))
    assert off[worst] <= bound, f"{name}{[float(a[worst]) for a in arguments]} is off by {off[worst]} units"
    return float(off[worst])


@pytest.mark.parametrize("name", UNARY)
def test_float32(name: str) -> None:
    call, largest = native(name, DType.float32), 0.0
    for x in float32_bits():
        wanted = exact(name, widened(x, np.float64))
        largest = max(largest, check(name, errors(call(x), wanted), BOUNDS[name][0], (x,)))
    print(f"{name} float32: {largest:.3f} units")


def random_doubles(rng: np.random.Generator, count: int) -> Array:
    """Numbers of all sizes, and as many of everyday ones."""
    bits = rng.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
    return np.concatenate(
        [bits, rng.normal(size=count) * 10 ** rng.uniform(-8, 3, count), around(np.float64)]
    )


@pytest.mark.skipif(not LONG, reason="no type wider than float64 to compare with")
@pytest.mark.parametrize("name", UNARY)
def test_float64(name: str) -> None:
    x = random_doubles(np.random.default_rng(1), 200_000 if name != "erf" else 60_000)
    if name in ("sin", "cos"):
        x = x[~(np.abs(x) > 2.0**60)]  # the wider type's own reduction ends there
    wanted = exact(name, widened(x, np.longdouble))
    largest = check(name, errors(native(name, DType.float64)(x), wanted), BOUNDS[name][1], (x,))
    print(f"{name} float64: {largest:.3f} units")


@pytest.mark.parametrize("kind", [DType.float32, DType.float64])
def test_pow(kind: DType) -> None:
    rng, at = np.random.default_rng(2), 0 if kind is DType.float32 else 1
    if at and not LONG:
        pytest.skip("no type wider than float64 to compare with")
    type_ = np.float32 if at == 0 else np.float64
    base = np.abs(rng.normal(size=300_000)) * 10 ** rng.uniform(-6, 6, 300_000)
    exponent = rng.normal(size=300_000) * 10 ** rng.uniform(-3, 2, 300_000)
    special = [*SPECIAL, *(-x for x in SPECIAL), np.nan]
    pairs = np.array([(a, b) for a in special for b in special])
    both = ((base, pairs[:, 0]), (exponent, pairs[:, 1]))
    x, y = (np.concatenate(x).astype(type_) for x in both)
    wide = np.float64 if at == 0 else np.longdouble
    off = errors(native("pow", kind)(x, y), exact("pow", widened(x, wide), widened(y, wide)))
    print(f"pow {kind.value}: {check('pow', off, BOUNDS['pow'][at], (x, y)):.3f} units")


@pytest.mark.parametrize("kind", [DType.float32, DType.float64])
@pytest.mark.parametrize("name", UNARY)
def test_zero_keeps_its_sign(name: str, kind: DType) -> None:
    zeros = np.array([0.0, -0.0], kind.value)
    found, wanted = native(name, kind)(zeros), exact(name, zeros)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
