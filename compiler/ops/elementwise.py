"""Elementwise operations: one scalar operation applied at every element of operands of one shape.

Derivatives are written with the builder functions of ``build.py``; subgradients at kinks are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..graph import DType, Graph, TensorType, TypeRuleError, Value
from ..loops.ir import Affine, Apply, Expr, Scalar
from . import build as b
from .infer import float_type, same_type
from .record import NOT_DIFFERENTIABLE, Case, NotDifferentiable, Operation, Reader, Vjp

F64 = TensorType(DType.float64, (2, 3))
BITS = TensorType(DType.bool, (2, 3))
ANY = (-3.0, 3.0)
POSITIVE = (0.2, 4.0)


def _element(op: Scalar) -> Callable[[Reader, Value, Sequence[Affine]], Expr]:
    def element(reader: Reader, node: Value, index: Sequence[Affine]) -> Expr:
        return Apply(op, tuple(reader.read(v, index) for v in node.inputs), node.dtype)

    return element


def _unary(
    op: Scalar,
    summary: str,
    reference: Callable[[Any, Any], Any],
    vjp: Vjp | NotDifferentiable,
    domain: tuple[float, float] = ANY,
) -> Operation:
    return Operation(
        op.value, summary, float_type, reference, vjp, _element(op), (Case((F64,), (), (domain,)),)
    )


def _rule(derivative: Callable[[Graph, Value, Value], Value]) -> Vjp:
    """A unary vjp from (graph, operand, result) -> local derivative."""

    def vjp(g: Graph, node: Value, cotangent: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, cotangent, derivative(g, node.inputs[0], node)),)

    return vjp


def _erf(xp: Any, x: Any) -> Any:
    return xp.vectorize(math.erf, otypes=[float])(x).astype(x.dtype)


def _sigmoid(xp: Any, x: Any) -> Any:
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _num(g: Graph, like: Value, value: float) -> Value:
    return b.full_like(g, like, value)


NEG = _unary(Scalar.neg, "-x", lambda xp, x: -x, lambda g, n, c: (b.neg(g, c),))
ABS = _unary(
    Scalar.abs, "|x|, derivative sign(x)", lambda xp, x: xp.abs(x), _rule(lambda g, x, y: b.sign(g, x))
)
SIGN = _unary(Scalar.sign, "-1, 0 or 1", lambda xp, x: xp.sign(x), NOT_DIFFERENTIABLE)
FLOOR = _unary(Scalar.floor, "largest whole number below", lambda xp, x: xp.floor(x), NOT_DIFFERENTIABLE)
SQRT = _unary(
    Scalar.sqrt,
    "square root",
    lambda xp, x: xp.sqrt(x),
    _rule(lambda g, x, y: b.div(g, _num(g, y, 0.5), y)),
    POSITIVE,
)
EXP = _unary(Scalar.exp, "e^x", lambda xp, x: xp.exp(x), _rule(lambda g, x, y: y))
EXPM1 = _unary(
    Scalar.expm1, "e^x - 1", lambda xp, x: xp.expm1(x), _rule(lambda g, x, y: b.add(g, y, _num(g, y, 1.0)))
)
LOG = _unary(
    Scalar.log,
    "natural logarithm",
    lambda xp, x: xp.log(x),
    lambda g, n, c: (b.div(g, c, n.inputs[0]),),
    POSITIVE,
)
LOG1P = _unary(
    Scalar.log1p, "log(1 + x)", lambda xp, x: xp.log1p(x),
    lambda g, n, c: (b.div(g, c, b.add(g, n.inputs[0], _num(g, n, 1.0))),), POSITIVE,
)  # fmt: skip
SIN = _unary(Scalar.sin, "sine", lambda xp, x: xp.sin(x), _rule(lambda g, x, y: b.cos(g, x)))
COS = _unary(Scalar.cos, "cosine", lambda xp, x: xp.cos(x), _rule(lambda g, x, y: b.neg(g, b.sin(g, x))))
TANH = _unary(
    Scalar.tanh, "hyperbolic tangent", lambda xp, x: xp.tanh(x),
    _rule(lambda g, x, y: b.sub(g, _num(g, y, 1.0), b.mul(g, y, y))),
)  # fmt: skip
SIGMOID = _unary(
    Scalar.sigmoid,
    "1 / (1 + e^-x)",
    _sigmoid,
    _rule(lambda g, x, y: b.mul(g, y, b.sub(g, _num(g, y, 1.0), y))),
)
ERF = _unary(
    Scalar.erf, "error function", _erf,
    _rule(lambda g, x, y: b.mul(g, _num(g, x, 2 / math.sqrt(math.pi)), b.exp(g, b.neg(g, b.mul(g, x, x))))),
)  # fmt: skip


def _bool_of(x: TensorType) -> TensorType:
    return TensorType(DType.bool, float_type(x).shape)


IS_FINITE = Operation(
    "is_finite", "neither NaN nor infinite", _bool_of, lambda xp, x: xp.isfinite(x), NOT_DIFFERENTIABLE,
    _element(Scalar.is_finite), (Case((F64,), (), (ANY,)),),
)  # fmt: skip
LOGICAL_NOT = Operation(
    "logical_not", "not x", same_type, lambda xp, x: xp.logical_not(x), NOT_DIFFERENTIABLE,
    _element(Scalar.logical_not), (Case((TensorType(DType.bool, (4,)),)),),
)  # fmt: skip


def _cast(xp: Any, x: Any, dtype: DType) -> Any:
    found = xp.asarray(x).astype(dtype.wide.value)
    return to_bfloat16(xp, found) if dtype is DType.bfloat16 else found


def to_bfloat16(xp: Any, x: Any) -> Any:
    """float32 numbers of 8 significant bits, to nearest, ties to even. NaN stays NaN, quiet; subnormal numbers become
    zero; what rounds beyond the largest becomes infinite. Intel's VCVTNEPS2BF16 has the same bits (its reference)."""
    bits = xp.ascontiguousarray(x).view("uint32").reshape(xp.shape(x))
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) & 0xFFFF0000
    rounded = xp.where(bits & 0x7F800000 == 0, bits & 0x80000000, rounded)
    rounded = xp.where(xp.isnan(x), (bits | 0x00400000) & 0xFFFF0000, rounded)
    return rounded.astype("uint32").view("float32")


def _cast_vjp(g: Graph, node: Value, c: Value) -> tuple[Value | None, ...]:
    source = node.inputs[0].dtype
    return (b.cast(g, c, source.wide) if source.is_float and node.dtype.is_float else None,)


CAST = Operation(
    "cast", "to another element type", lambda x, dtype: TensorType(dtype, x.shape),
    _cast, _cast_vjp, _element(Scalar.cast),
    (Case((F64,), (("dtype", DType.float64),), (ANY,)),),
)  # fmt: skip

STOP_GRADIENT = Operation(
    "stop_gradient", "x, taken as a constant by the derivative", same_type, lambda xp, x: x, NOT_DIFFERENTIABLE,
    lambda reader, node, index: reader.read(node.inputs[0], index), (Case((F64,), (), (ANY,)),),
)  # fmt: skip


def _binary(
    op: Scalar, summary: str, reference: Callable[[Any, Any, Any], Any], vjp: Vjp | NotDifferentiable,
    domains: tuple[tuple[float, float], ...] = (ANY, ANY),
) -> Operation:  # fmt: skip
    return Operation(
        op.value, summary, same_type, reference, vjp, _element(op), (Case((F64, F64), (), domains),)
    )


def _mul_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, y = n.inputs
    return b.mul(g, c, y), b.mul(g, c, x)


def _div_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    y = n.inputs[1]
    return b.div(g, c, y), b.neg(g, b.div(g, b.mul(g, c, n), y))


def _pow_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, y = n.inputs
    zero, one = _num(g, x, 0.0), _num(g, x, 1.0)
    dx = b.where(g, b.eq(g, y, zero), zero, b.mul(g, c, b.mul(g, y, b.pow(g, x, b.sub(g, y, one)))))
    # At x = 0 the logarithm is infinite while the power is 0: torch defines the product as 0 there.
    known = b.lt(g, zero, x)
    dy = b.where(g, known, b.mul(g, c, b.mul(g, n, b.log(g, b.where(g, known, x, one)))), zero)
    return dx, dy


def _extremum_vjp(picks_left: Callable[[Graph, Value, Value], Value]) -> Vjp:
    def vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
        x, y = n.inputs
        tie, zero = b.eq(g, x, y), _num(g, c, 0.0)
        half = b.mul(g, c, _num(g, c, 0.5))
        left = b.where(g, picks_left(g, x, y), c, b.where(g, tie, half, zero))
        right = b.where(g, picks_left(g, y, x), c, b.where(g, tie, half, zero))
        return left, right

    return vjp


ADD = _binary(Scalar.add, "x + y", lambda xp, x, y: x + y, lambda g, n, c: (c, c))
SUB = _binary(Scalar.sub, "x - y", lambda xp, x, y: x - y, lambda g, n, c: (c, b.neg(g, c)))
MUL = _binary(Scalar.mul, "x * y", lambda xp, x, y: x * y, _mul_vjp)
DIV = _binary(Scalar.div, "x / y", lambda xp, x, y: x / y, _div_vjp, (ANY, POSITIVE))
POW = _binary(Scalar.pow, "x ^ y", lambda xp, x, y: xp.power(x, y), _pow_vjp, (POSITIVE, ANY))
MOD = _binary(
    Scalar.mod, "remainder with the sign of y", lambda xp, x, y: xp.mod(x, y),
    lambda g, n, c: (c, b.neg(g, b.mul(g, c, b.floor(g, b.div(g, n.inputs[0], n.inputs[1]))))), (ANY, (5.0, 9.0)),
)  # fmt: skip
MAXIMUM = _binary(
    Scalar.maximum,
    "the larger",
    lambda xp, x, y: xp.maximum(x, y),
    _extremum_vjp(lambda g, x, y: b.lt(g, y, x)),
)
MINIMUM = _binary(
    Scalar.minimum,
    "the smaller",
    lambda xp, x, y: xp.minimum(x, y),
    _extremum_vjp(lambda g, x, y: b.lt(g, x, y)),
)


def _compare(
    op: Scalar, summary: str, reference: Callable[[Any, Any, Any], Any], of: TensorType = F64
) -> Operation:
    return Operation(
        op.value, summary, lambda x, y: TensorType(DType.bool, same_type(x, y).shape), reference, NOT_DIFFERENTIABLE,
        _element(op), (Case((of, of), (), (ANY, ANY)),),
    )  # fmt: skip


LT = _compare(Scalar.lt, "x < y", lambda xp, x, y: x < y)
LE = _compare(Scalar.le, "x <= y", lambda xp, x, y: x <= y)
EQ = _compare(Scalar.eq, "x == y", lambda xp, x, y: x == y)
NE = _compare(Scalar.ne, "x != y", lambda xp, x, y: x != y)
LOGICAL_AND = _compare(Scalar.logical_and, "x and y", lambda xp, x, y: xp.logical_and(x, y), BITS)
LOGICAL_OR = _compare(Scalar.logical_or, "x or y", lambda xp, x, y: xp.logical_or(x, y), BITS)


def _where_type(c: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if c.dtype is not DType.bool or c.shape != x.shape:
        raise TypeRuleError(f"the condition is {c}, the values are {x}")
    return same_type(x, y)


def _where_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    zero = _num(g, c, 0.0)
    return None, b.where(g, n.inputs[0], c, zero), b.where(g, n.inputs[0], zero, c)


WHERE = Operation(
    "where", "x where the condition holds, else y", _where_type, lambda xp, c, x, y: xp.where(c, x, y), _where_vjp,
    _element(Scalar.select), (Case((TensorType(DType.bool, (2, 3)), F64, F64), (), (ANY, ANY, ANY)),),
)  # fmt: skip

ELEMENTWISE = (
    NEG, ABS, SIGN, FLOOR, SQRT, EXP, EXPM1, LOG, LOG1P, SIN, COS, TANH, SIGMOID, ERF, IS_FINITE, LOGICAL_NOT, CAST,
    STOP_GRADIENT, ADD, SUB, MUL, DIV, POW, MOD, MAXIMUM, MINIMUM, LT, LE, EQ, NE, LOGICAL_AND, LOGICAL_OR, WHERE,
)  # fmt: skip
