"""sin and cos.

In: a body and its argument. Out: the result. x = n pi/2 + r, |r| <= pi/4, with pi/2 in three parts and r in two: good
for every number below ``FAR``. Lanes beyond it take the C library's result, asked for only when there is one.
sin r = r + r^3 s(r^2), cos r = 1 - r^2/2 + r^4 c(r^2); s and c are minimax fits by Remez' algorithm, which leave
2^-28 and 2^-32 of the result (float32), 2^-58 and 2^-63 (float64).
"""

from __future__ import annotations

from ....graph import DType
from .body import Body, Integer, Number

SIN = {
    DType.float32: (-0.16666655242443085, 0.008332185447216034, -0.00019517414330039173),
    DType.float64: (
        -0.1666666666666663, 0.008333333333321796, -0.0001984126982929213, 2.7557313506503093e-06,
        -2.505072815987699e-08, 1.5895010438513127e-10,
    ),
}  # fmt: skip
COS = {
    DType.float32: (0.04166664555668831, -0.00138873013202101, 2.4430670237052254e-05),
    DType.float64: (
        0.041666666666666595, -0.0013888888888873303, 2.48015872889471e-05, -2.755731419188401e-07,
        2.0875700734063796e-09, -1.1358446090638777e-11,
    ),
}  # fmt: skip
TWO_OVER_PI = 0.6366197723675814
# pi / 2 in three parts, each rounded to the type.
HALF_PI = {
    DType.float32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    DType.float64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
FAR = {DType.float32: 2.0**17, DType.float64: 2.0**40}


def reduced(b: Body, x: Number) -> tuple[Integer, Number, Number]:
    """(bits of n, r, what r lacks). x - n HALF_PI[0] is exact, a multiple of its operands' last places that fits; so are
    the product with the second part as a pair, and both differences."""
    n, bits = b.nearest(x, TWO_OVER_PI)
    first, second, third = HALF_PI[b.dtype]
    near = b.fma(n, -first, x)
    high = n * second
    low = b.fma(n, second, -high)
    r = near - high
    return bits, r, b.fma(n, -third, ((near - r) - high) - low)


def wave(b: Body, x: Number, quarter: int) -> Number:
    """sin(x + quarter pi/2) below ``FAR``: n + quarter says whether it is a sine or a cosine of r, and its sign."""
    bits, r, lacks = reduced(b, x)
    z = r * r
    sine = r + b.fma(z * r, b.polynomial(z, SIN[b.dtype]), lacks)
    half = z * 0.5
    rest = b.fma(z * z, b.polynomial(z, COS[b.dtype]), -(r * lacks))
    whole = 1.0 - half
    cosine = whole + (((1.0 - whole) - half) + rest)
    turned = bits + quarter if quarter else bits
    value = (turned & 1).differs(0).choose(cosine, sine)
    sign = (turned & 2) << (b.format.bits - 2)
    return (value.bits() ^ sign).number()


def sin(b: Body, x: Number) -> Number:
    # -0 in, -0 out.
    return beyond(b, x, x.equals(0.0).choose(x, wave(b, x, 0)), "sin")


def cos(b: Body, x: Number) -> Number:
    return beyond(b, x, wave(b, x, 1), "cos")


def beyond(b: Body, x: Number, near: Number, name: str) -> Number:
    """The C library's result in the lanes that are far."""
    far = x.size() > FAR[b.dtype]
    t = b.number_type
    b.lines += [f"  br i1 {far.any()}, label %far, label %end", "far:"]
    mixed = far.choose(b.call(f"@m.libm.{name}.{b.dtype.value}.{b.lanes}", x), near)
    start = f"  br label %end\nend:\n  %result = phi {t} [ {near.text}, %0 ], [ {mixed.text}, %far ]"
    b.lines.append(start)
    return Number(b, "%result")
