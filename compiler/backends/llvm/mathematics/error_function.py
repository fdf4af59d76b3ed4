"""The error function.

In: a body and its argument. Out: the result. Below 1: x + x p(x^2). Above: 1 - e^q(x), where q is log(1 - erf(x)) up to
where the result is 1. p is a minimax fit by Remez' algorithm, q one weighted by 1 - erf(x); they leave 2^-29 and
2^-30 (float32), 2^-56 and 2^-57 (float64) of the result.
"""

from __future__ import annotations

from ....graph import DType
from .body import Body, Number
from .exponential import expm1_parts, power_of_two

SMALL = {
    DType.float32: (
        0.12837916612625122, -0.3761262893676758, 0.11283618211746216, -0.02685512602329254,
        0.005190733820199966, -0.0008030763128772378, 7.920386269688606e-05,
    ),
    DType.float64: (
        0.1283791670955126, -0.3761263890318375, 0.11283791670954886, -0.026866170645077864,
        0.0052239776248283335, -0.0008548326981420758, 0.00012055331132807185, -1.4925595769145757e-05,
        1.64610084365668e-06, -1.6350395854324983e-07, 1.4660326646023797e-08, -1.1374949067447646e-09,
        5.960676073335479e-11,
    ),
}  # fmt: skip
LARGE = {
    DType.float32: (
        -0.00035374073195271194, -1.127039909362793, -0.6382259726524353, -0.1030370220541954,
        0.02180510386824608, -0.0029395411256700754, 0.00018556573195382953,
    ),
    DType.float64: (
        -5.132765973326755e-07, -1.1283739913887894, -0.636644056470512, -0.10270228620686175,
        0.018988035544904174, 0.00041354515684470755, -0.0019189542437049697, 0.0007730497834377005,
        -0.00013655827818565033, -1.9521843162942018e-05, 2.2532512107309745e-05, -8.578677609047245e-06,
        2.1147763018863725e-06, -3.6956129368619295e-07, 4.593266997123528e-08, -3.889963722715254e-09,
        2.0203148157740742e-10, -4.865027583229624e-12,
    ),
}  # fmt: skip
ONE = {DType.float32: 3.95, DType.float64: 5.95}
"""erf is 1 from here on, and a little below."""


def erf(b: Body, x: Number) -> Number:
    size = x.size()
    small = b.fma(size, b.polynomial(x * x, SMALL[b.dtype]), size)
    bits, p = expm1_parts(b, b.polynomial(size.between(None, ONE[b.dtype]), LARGE[b.dtype]))
    s = power_of_two(b, bits)
    large = b.fma(-s, p, 1.0 - s)
    return (size < 1.0).choose(small, large).with_sign_of(x)
