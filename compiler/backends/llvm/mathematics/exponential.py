"""exp, expm1, tanh and sigmoid.

In: a body and its argument. Out: the result. All reduce x to n ln 2 + r with |r| <= ln(2) / 2, where e^r - 1 is
r + r^2 q(r), and put 2^n together from bits. q: weighted minimax fits of (e^r - 1 - r) / r^2 by Remez' algorithm,
the lowest coefficient held at 1/2. What they leave of e^r - 1, relative to it: 2^-26 (float32, degree 4), 2^-30
(float32, degree 5), 2^-60 (float64).
"""

from __future__ import annotations

from ....graph import DType
from .body import Body, Integer, Number

SHORT = (0.5, 0.1666654795408249, 0.04166640713810921, 0.008366098627448082, 0.0013940362259745598)
COEFFICIENTS = {
    DType.float32: (
        0.5, 0.1666666716337204, 0.041666485369205475, 0.008333283476531506, 0.001393310260027647,
        0.00019909242109861225,
    ),
    DType.float64: (
        0.5, 0.16666666666666674, 0.041666666666666685, 0.008333333333323117, 0.0013888888888871577,
        0.00019841269882795893, 2.4801587353476696e-05, 2.7557247246446565e-06, 2.7557247633206773e-07,
        2.5108063241301862e-08, 2.0923180856622525e-09,
    ),
}  # fmt: skip
LOG2_E = 1.4426950408889634
# ln 2 in two parts, each rounded to the type.
LN2 = {
    DType.float32: (0.6931471824645996, -1.9046542121259336e-09),
    DType.float64: (0.6931471805599453, 2.3190468138462996e-17),
}
# e^x is infinity above the first and rounds to 0 below minus the first; 1 + e^-x is 1 above the second.
EXTENT = {DType.float32: (104.0, 18.0), DType.float64: (746.0, 38.0)}


def reduced(b: Body, x: Number) -> tuple[Integer, Number, Number]:
    """(bits of n, r, what r lacks). x - n ln2[0] is exact: a multiple of its operands' last places that fits."""
    n, bits = b.nearest(x, LOG2_E)
    high, low = LN2[b.dtype]
    near = b.fma(n, -high, x)
    r = b.fma(n, -low, near)
    return bits, r, b.fma(n, -low, near - r)


def power_of_two(b: Body, bits: Integer, minus: int = 0) -> Number:
    """2^(n - minus) from the bits of n; it must be a normal number."""
    return ((bits + (b.format.bias - minus)) << b.format.fraction).number()


def scaled(b: Body, y: Number, bits: Integer) -> Number:
    """y 2^n in two steps, for n from twice the smallest to twice the largest exponent: rounded once, if at all."""
    even = 2 * b.format.bias + 2
    whole = bits + (even - b.format.pattern(b.format.shifter))
    half = whole >> 1
    rest = whole - half
    first, second = (((part - 1) << b.format.fraction).number() for part in (half, rest))
    return (y * first) * second


def exp_within(b: Body, x: Number, rest: Number | None = None) -> Number:
    """e^(x + rest) for x between minus and plus ``EXTENT``; the rest is at most some units in the last place of x."""
    bits, r, lacks = reduced(b, x)
    if rest is not None:
        r = r + (lacks + rest)
    q = b.polynomial(r, SHORT if b.dtype is DType.float32 else COEFFICIENTS[b.dtype])
    return scaled(b, b.fma(r, b.fma(r, q, 1.0), 1.0), bits)


def expm1_parts(b: Body, x: Number) -> tuple[Integer, Number]:
    """(bits of n, e^r - 1) with e^x = 2^n e^r, to half a unit and a little."""
    bits, r, lacks = reduced(b, x)
    q = b.polynomial(r, COEFFICIENTS[b.dtype])
    return bits, r + b.fma(r * r, q, lacks)


def exp(b: Body, x: Number) -> Number:
    extent, _ = EXTENT[b.dtype]
    return exp_within(b, x.between(-extent, extent))


def expm1(b: Body, x: Number) -> Number:
    """2 (h (e^r - 1) + h - 1/2) with h = 2^(n - 1), which is finite where the result is."""
    _, one = EXTENT[b.dtype]
    bits, p = expm1_parts(b, x.between(-2 * one, {DType.float32: 89.0, DType.float64: 710.0}[b.dtype]))
    h = power_of_two(b, bits, minus=1)
    y = b.fma(h, p, h - 0.5)
    # Below this e^x - 1 is x; halves of the smallest numbers would lose a bit, and -0 its sign.
    return (x.size() < 2.0 ** -(b.format.fraction + 2)).choose(x, y + y)


def tanh(b: Body, x: Number) -> Number:
    """(1 - e) / (1 + e) with e = e^-2|x| = s (1 + p): both sides take one rounding after p, and none is a difference
    of rounded numbers that are close."""
    _, one = EXTENT[b.dtype]
    bits, p = expm1_parts(b, x.size().between(None, one) * -2.0)
    s = power_of_two(b, bits)
    return (b.fma(-s, p, 1.0 - s) / b.fma(s, p, s + 1.0)).with_sign_of(x)


def sigmoid(b: Body, x: Number) -> Number:
    """1 / (1 + e) with e = e^-x = 2^n (1 + p), both sides times 2^-64: then the largest e is finite, the smallest that
    counts is normal, and the smallest results come right out of the division."""
    extent, one = EXTENT[b.dtype]
    bits, p = expm1_parts(b, -x.between(-extent, one))
    s = power_of_two(b, bits, minus=64)
    return 2.0**-64 / b.fma(s, p, s + 2.0**-64)
