"""Scalar operations as CUDA C++: one row per ``Scalar``.

In: the texts of an operation's arguments with their type, and the result's type. Out: the text of an expression.
Functions that are not C's are in ``prelude.cuh``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from ...graph import DType
from ...loops.ir import Scalar

TYPES = {
    DType.float32: "float", DType.float64: "double", DType.bfloat16: "float", DType.int64: "long long", DType.bool: "bool",
}  # fmt: skip
STORED = {**TYPES, DType.bfloat16: "unsigned short"}
"""The types of elements in memory."""

Row = Callable[[Sequence[str], DType, DType], str]
"""Arguments, their type (of ``select``: the type of its values), the type of the result."""


def _infix(symbol: str) -> Row:
    return lambda a, kind, result: f"{a[0]} {symbol} {a[1]}"


def _prefix(symbol: str) -> Row:
    return lambda a, kind, result: f"{symbol}{a[0]}"


def _function(double: str, single: str | None = None) -> Row:
    """A function of the C library, whose float32 form ends in f, or one of the prelude for all types."""
    name = f"{double}f" if single is None else single

    def row(a: Sequence[str], kind: DType, result: DType) -> str:
        return f"{name if kind is DType.float32 else double}({', '.join(a)})"

    return row


def _abs(a: Sequence[str], kind: DType, result: DType) -> str:
    if kind is DType.int64:
        return f"{a[0]} < 0 ? -{a[0]} : {a[0]}"
    return f"{'fabsf' if kind is DType.float32 else 'fabs'}({a[0]})"


def _finite(a: Sequence[str], kind: DType, result: DType) -> str:
    size = "fabsf" if kind is DType.float32 else "fabs"
    return f"{size}({a[0]}) < {literal(math.inf, kind)}"


def _cast(a: Sequence[str], kind: DType, result: DType) -> str:
    if kind is result or kind.wide is result:
        return a[0]
    if result is DType.bfloat16:
        return f"bfloat16((float){a[0]})"
    if result is DType.bool:
        return f"{a[0]} != {literal(0, kind)}"
    if kind.is_float and result is DType.int64:
        return f"to_integer({a[0]})"
    return f"({TYPES[result]}){a[0]}"


ROWS: dict[Scalar, Row] = {
    Scalar.neg: _prefix("-"),
    Scalar.abs: _abs,
    Scalar.sign: _function("sign", "sign"),
    Scalar.floor: _function("floor"),
    Scalar.sqrt: _function("sqrt"),
    Scalar.exp: _function("exp"),
    Scalar.expm1: _function("expm1"),
    Scalar.log: _function("log"),
    Scalar.log1p: _function("log1p"),
    Scalar.sin: _function("sin"),
    Scalar.cos: _function("cos"),
    Scalar.tanh: _function("tanh"),
    Scalar.sigmoid: _function("sigmoid", "sigmoid"),
    Scalar.erf: _function("erf"),
    Scalar.logical_not: _prefix("!"),
    Scalar.is_finite: _finite,
    Scalar.cast: _cast,
    Scalar.add: _infix("+"),
    Scalar.sub: _infix("-"),
    Scalar.mul: _infix("*"),
    Scalar.div: _infix("/"),
    Scalar.pow: _function("pow"),
    Scalar.mod: _function("modulo", "modulo"),
    Scalar.maximum: _function("maximum", "maximum"),
    Scalar.minimum: _function("minimum", "minimum"),
    Scalar.lt: _infix("<"),
    Scalar.le: _infix("<="),
    Scalar.eq: _infix("=="),
    Scalar.ne: _infix("!="),
    Scalar.logical_and: _infix("&&"),
    Scalar.logical_or: _infix("||"),
    Scalar.select: lambda a, kind, result: f"{a[0]} ? {a[1]} : {a[2]}",
    Scalar.fma: _function("fma"),
}


def literal(value: float | int | bool, dtype: DType) -> str:
    """A constant, exactly; hexadecimal where it is not a whole number."""
    if dtype is DType.bool:
        return "true" if value else "false"
    if dtype is DType.int64:
        whole = int(value)
        return _signed(f"{whole}LL") if whole > -(2**63) else f"({whole + 1}LL - 1)"
    single = dtype.wide is DType.float32
    number = _rounded(float(value)) if single else float(value)
    letter = "F" if single else "D"
    if math.isnan(number):
        return f"NETC_NAN_{letter}"
    if math.isinf(number):
        return _signed(f"{'-' if number < 0 else ''}NETC_INFINITY_{letter}")
    text = repr(number) if number == int(number) and abs(number) < 1e6 else number.hex()
    return _signed(f"{text}f" if single else text)


def _signed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def _rounded(number: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


__all__ = ["ROWS", "STORED", "TYPES", "literal"]
