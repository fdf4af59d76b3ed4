"""log, log1p and pow.

In: a body and its arguments. Out: the result. All take x apart into 2^k m with m from sqrt(1/2) to sqrt(2) and f = m - 1,
which is exact. float32: log(1 + f) = f - f^2/2 + f^3 q(f). float64: with s = f / (2 + f) it is 2 atanh(s) =
2 s + s^3 l(s^2). The logarithm of pow is the same series in pairs of numbers, 2 s + s^3 (2/3 + s^2 p(s^2)).
q, l, p are weighted minimax fits by Remez' algorithm; relative to log(1 + f) they leave 2^-28, 2^-59, and 2^-37
(float32) or 2^-66 (float64).
"""

from __future__ import annotations

import math

from ....graph import DType
from .body import Body, Integer, Number
from .exponential import EXTENT, LN2, exp_within

CUBIC = (
    0.3333331346511841, -0.24999986588954926, 0.2000199258327484, -0.16669148206710815, 0.142226442694664,
    -0.12387904524803162, 0.11849942803382874, -0.11762922257184982, 0.06932052969932556,
)  # fmt: skip
ODD = (
    0.6666666666666734, 0.3999999999941653, 0.28571428742069443, 0.22222198599502835, 0.18183563197074493,
    0.15314074713945425, 0.14795746204850335,
)  # fmt: skip
FIFTH = {
    DType.float32: (0.40000152587890625, 0.2854709029197693, 0.23419633507728577),
    DType.float64: (
        0.40000000000002256, 0.28571428570099566, 0.22222222519927876, 0.1818178436651665, 0.1538675736396667,
        0.13256816908638794, 0.1319633701164332,
    ),
}  # fmt: skip
TWO_THIRDS = {
    DType.float32: (0.6666666865348816, -1.9868215517249155e-08),
    DType.float64: (0.6666666666666666, 3.700743415417188e-17),
}
# ln 2 in two parts, the first so short that its product with any exponent is exact.
LN2_SHORT = {
    DType.float32: (0.693145751953125, 1.428606765330187e-06),
    DType.float64: (0.6931471805598903, 5.497923018708371e-14),
}

Pair = tuple[Number, Number]


def taken_apart(b: Body, x: Number) -> tuple[Number, Integer]:
    """(f, k + bias) of a positive normal number."""
    form = b.format
    root = form.pattern(math.sqrt(0.5))
    moved = x.bits() + (form.pattern(1.0) - root)
    m = ((moved & ((1 << form.fraction) - 1)) + root).number()
    return m - 1.0, moved >> form.fraction


def as_number(b: Body, exponent: Integer) -> Number:
    """A biased exponent as a number: not every target converts integers of 64 bits."""
    top = 2.0**b.format.fraction
    return (exponent | b.format.pattern(top)).number() - top


def normal(b: Body, x: Number) -> tuple[Number, Number]:
    """A normal number, and what its exponent is too large by, with the bias."""
    small = x < b.format.smallest
    raised = x * 2.0 ** (b.format.fraction + 1)
    bias = b.format.bias
    return small.choose(raised, x), small.choose(float(bias + b.format.fraction + 1), float(bias))


def log_of(b: Body, f: Number, k: Number, lacks: Number | None = None) -> Number:
    """k ln 2 + log(1 + f); f may lack something below its last place."""
    high, low = LN2[b.dtype]
    tail = k * low if lacks is None else b.fma(k, low, lacks)
    if b.dtype is DType.float32:
        q = b.fma(b.polynomial(f, CUBIC), f, -0.5)
        rest = b.fma(f * f, q, tail)
    else:
        s = f / (f + 2.0)
        square = s * s
        half = (f * f) * 0.5
        # 2 s + s^3 l = f - f^2/2 + s (f^2/2 + s^2 l), whose terms after f are small.
        rest = b.fma(s, b.fma(square, b.polynomial(square, ODD), half), tail) - half
    return b.fma(k, high, f + rest)


def log(b: Body, x: Number) -> Number:
    raised, bias = normal(b, x)
    f, exponent = taken_apart(b, raised)
    return ended(b, x, 0.0, log_of(b, f, as_number(b, exponent) - bias))


def ended(b: Body, x: Number, pole: float, inside: Number) -> Number:
    """The logarithm's ends: minus infinity at the pole, NaN below it, infinity stays."""
    infinite = float("inf")
    outside = x.equals(pole).choose(-infinite, (x > pole).choose(x, float("nan")))
    return ((x > pole) & (x < infinite)).choose(inside, outside)


def log1p(b: Body, x: Number) -> Number:
    """log(u) with u = 1 + x rounded, what was lost added to f; half of it times 2^(1 - k), which is finite for all k."""
    u = x + 1.0
    of_x = u - 1.0
    half = ((1.0 - (u - of_x)) + (x - of_x)) * 0.5
    near, exponent = taken_apart(b, u)
    shrink = ((b.integer(2 * b.format.bias + 1) - exponent) << b.format.fraction).number()
    f = b.fma(half, shrink, near)
    k = as_number(b, exponent) - float(b.format.bias)
    y = log_of(b, f, k, b.fma(half, shrink, near - f))
    return ended(b, x, -1.0, y.with_sign_of(x))


def pow_(b: Body, x: Number, y: Number) -> Number:
    """e^(y log|x|), the logarithm as a pair, then what IEEE 754 says of signs, zeros, infinities and NaN."""
    size = x.size()
    high, low = log_pair(b, size)
    extent, _ = EXTENT[b.dtype]
    exponent = y * high
    rest = b.fma(y, low, b.fma(y, high, -exponent))
    inside = exponent.size() < extent
    power = exp_within(b, exponent.between(-extent, extent), inside.choose(rest, 0.0))
    infinite = float("inf")
    at_zero = size.equals(0.0)
    edge = (at_zero ^ (y < 0.0)).choose(0.0, infinite)
    power = (at_zero | size.equals(infinite)).choose(edge, power)
    power = size.equals(1.0).choose(1.0, power)
    whole = y.floor().equals(y)
    half = y * 0.5
    odd = whole & half.compare("one", half.floor())
    power = odd.choose(power.with_sign_of(x), power)
    outside = (x < 0.0) & (size < infinite) & ~whole
    power = outside.choose(float("nan"), power)
    power = x.compare("uno", y).choose(x + y, power)
    return (x.equals(1.0) | y.equals(0.0)).choose(1.0, power)


def log_pair(b: Body, x: Number) -> Pair:
    """log x in two parts, for positive finite x."""
    raised, bias = normal(b, x)
    f, exponent = taken_apart(b, raised)
    k = as_number(b, exponent) - bias
    s, s_low = quotient(b, f)
    z, z_low = product(b, s, s)
    z_low = b.fma(s * 2.0, s_low, z_low)
    cube, cube_low = product(b, s, z)
    cube_low = b.fma(s, z_low, b.fma(s_low, z, cube_low))
    factor, factor_low = TWO_THIRDS[b.dtype]
    higher = z * b.polynomial(z, FIFTH[b.dtype])
    c = higher + factor
    c_low = b.fma(1.0, higher, factor - c) + factor_low
    term, term_low = product(b, cube, c)
    term_low = b.fma(cube, c_low, b.fma(cube_low, c, term_low))
    atanh, atanh_low = total(s * 2.0, term)
    atanh_low = b.fma(s_low, 2.0, term_low) + atanh_low
    first, second = LN2_SHORT[b.dtype]
    high, low = total(k * first, atanh)
    return total(high, b.fma(k, second, atanh_low) + low)


def quotient(b: Body, f: Number) -> Pair:
    """f / (2 + f)."""
    below = f + 2.0
    below_low = f - (below - 2.0)
    inverse = 1.0 / below
    s = f * inverse
    rest = b.fma(-s, below_low, b.fma(-s, below, f))
    return s, rest * inverse


def product(b: Body, x: Number, y: Number) -> Pair:
    high = x * y
    return high, b.fma(x, y, -high)


def total(x: Number, y: Number) -> Pair:
    """The sum of a number and a smaller one, or of zero and any."""
    high = x + y
    return high, (x - high) + y
