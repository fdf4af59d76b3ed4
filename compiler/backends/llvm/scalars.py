"""Scalar operations as LLVM text: one row per ``Scalar``, on numbers and on vectors alike.

Functions of ``math.h`` are called once a lane; exp, tanh and sigmoid in float32, which training needs most, are
polynomials on whole vectors (see the folder ``mathematics``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...graph import DType
from ...loops.ir import Scalar
from .halves import rounded, vector

TYPES = {
    DType.float32: "float", DType.float64: "double", DType.bfloat16: "float", DType.int64: "i64", DType.bool: "i1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operand:
    """An SSA value or literal. lanes is 1 for a number."""

    text: str
    dtype: DType
    lanes: int = 1

    @property
    def type(self) -> str:
        return type_text(self.dtype, self.lanes)


def type_text(dtype: DType, lanes: int) -> str:
    return vector(TYPES[dtype], lanes)


class Writer(Protocol):
    """Where instructions go."""

    def emit(self, text: str) -> str:
        """Appends ``%new = text`` and gives the new name."""

    def literal(self, value: float | int | bool, dtype: DType, lanes: int) -> str:
        """A constant, repeated over the lanes."""

    def function(self, name: str, dtype: DType, lanes: int) -> str:
        """The symbol of a helper function (``exp``, ...) on that type, defined once a module."""


Row = Callable[[Writer, Sequence[Operand], DType], str]


def _simple(float_op: str, int_op: str | None = None) -> Row:
    def row(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
        op = float_op if dtype.is_float else (int_op or float_op)
        return w.emit(f"{op} {a[0].type} {a[0].text}, {a[1].text}")

    return row


def _intrinsic(name: str) -> Row:
    def row(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
        return w.emit(
            f"call {a[0].type} @llvm.{name}.{mangled(a[0])}({', '.join(f'{x.type} {x.text}' for x in a)})"
        )

    return row


def mangled(a: Operand) -> str:
    """The type suffix of an intrinsic's name."""
    base = {DType.float32: "f32", DType.float64: "f64", DType.int64: "i64", DType.bool: "i1"}[a.dtype.wide]
    return base if a.lanes == 1 else f"v{a.lanes}{base}"


def _compare(float_op: str, int_op: str) -> Row:
    def row(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
        instruction = f"fcmp {float_op}" if a[0].dtype.is_float else f"icmp {int_op}"
        return w.emit(f"{instruction} {a[0].type} {a[0].text}, {a[1].text}")

    return row


def _helper(name: str) -> Row:
    def row(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
        symbol = w.function(name, a[0].dtype, a[0].lanes)
        return w.emit(f"call {a[0].type} {symbol}({', '.join(f'{x.type} {x.text}' for x in a)})")

    return row


def _neg(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    if dtype.is_float:
        return w.emit(f"fneg {a[0].type} {a[0].text}")
    return w.emit(f"sub {a[0].type} {w.literal(0, dtype, a[0].lanes)}, {a[0].text}")


def _abs(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    if dtype.is_float:
        return _intrinsic("fabs")(w, a, dtype)
    return w.emit(f"call {a[0].type} @llvm.abs.{mangled(a[0])}({a[0].type} {a[0].text}, i1 false)")


def _sign(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    x, zero = a[0], w.literal(0.0, dtype, a[0].lanes)
    unit = w.emit(
        f"call {x.type} @llvm.copysign.{mangled(x)}({x.type} {w.literal(1.0, dtype, x.lanes)}, {x.type} {x.text})"
    )
    nonzero = w.emit(f"fcmp one {x.type} {x.text}, {zero}")
    return w.emit(f"select {type_text(DType.bool, x.lanes)} {nonzero}, {x.type} {unit}, {x.type} {x.text}")


def _not(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    return w.emit(f"xor {a[0].type} {a[0].text}, {w.literal(True, DType.bool, a[0].lanes)}")


def _finite(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    x = a[0]
    size = w.emit(f"call {x.type} @llvm.fabs.{mangled(x)}({x.type} {x.text})")
    return w.emit(f"fcmp one {x.type} {size}, {w.literal(float('inf'), x.dtype, x.lanes)}")


def _cast(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    x, to = a[0], type_text(dtype, a[0].lanes)
    if dtype is DType.bfloat16:
        return x.text if x.dtype is dtype else rounded(w, _cast(w, a, DType.float32), x.lanes)
    if x.dtype.wide is dtype:
        return x.text
    if dtype is DType.bool:
        zero = w.literal(0.0 if x.dtype.is_float else 0, x.dtype, x.lanes)
        return w.emit(f"{'fcmp une' if x.dtype.is_float else 'icmp ne'} {x.type} {x.text}, {zero}")
    if x.dtype.is_float and dtype.is_float:
        return w.emit(f"{'fpext' if dtype is DType.float64 else 'fptrunc'} {x.type} {x.text} to {to}")
    if x.dtype.is_float:
        return w.emit(
            f"call {to} @llvm.fptosi.sat.{mangled(Operand('', dtype, x.lanes))}.{mangled(x)}({x.type} {x.text})"
        )
    if dtype.is_float:
        return w.emit(f"{'uitofp' if x.dtype is DType.bool else 'sitofp'} {x.type} {x.text} to {to}")
    return w.emit(f"zext {x.type} {x.text} to {to}")


def _select(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    return w.emit(f"select {a[0].type} {a[0].text}, {a[1].type} {a[1].text}, {a[2].type} {a[2].text}")


def _mod(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
    x, y = a
    op, add = ("frem", "fadd") if dtype.is_float else ("srem", "add")
    zero = w.literal(0.0 if dtype.is_float else 0, dtype, x.lanes)
    rest = w.emit(f"{op} {x.type} {x.text}, {y.text}")
    compare = "fcmp olt" if dtype.is_float else "icmp slt"
    bits = type_text(DType.bool, x.lanes)
    below = w.emit(f"{compare} {x.type} {rest}, {zero}")
    below_y = w.emit(f"{compare} {x.type} {y.text}, {zero}")
    differs = w.emit(f"xor {bits} {below}, {below_y}")
    nonzero = w.emit(f"{'fcmp une' if dtype.is_float else 'icmp ne'} {x.type} {rest}, {zero}")
    both = w.emit(f"and {bits} {differs}, {nonzero}")
    moved = w.emit(f"{add} {x.type} {rest}, {y.text}")
    return w.emit(f"select {bits} {both}, {x.type} {moved}, {x.type} {rest}")


def _extremum(name: str) -> Row:
    def row(w: Writer, a: Sequence[Operand], dtype: DType) -> str:
        intrinsic = {"maximum": "smax", "minimum": "smin"}[name] if not dtype.is_float else name
        return _intrinsic(intrinsic)(w, a, dtype)

    return row


ROWS: dict[Scalar, Row] = {
    Scalar.neg: _neg,
    Scalar.abs: _abs,
    Scalar.sign: _sign,
    Scalar.floor: _intrinsic("floor"),
    Scalar.sqrt: _intrinsic("sqrt"),
    Scalar.exp: _helper("exp"),
    Scalar.expm1: _helper("expm1"),
    Scalar.log: _helper("log"),
    Scalar.log1p: _helper("log1p"),
    Scalar.sin: _helper("sin"),
    Scalar.cos: _helper("cos"),
    Scalar.tanh: _helper("tanh"),
    Scalar.sigmoid: _helper("sigmoid"),
    Scalar.erf: _helper("erf"),
    Scalar.logical_not: _not,
    Scalar.is_finite: _finite,
    Scalar.cast: _cast,
    Scalar.add: _simple("fadd", "add"),
    Scalar.sub: _simple("fsub", "sub"),
    Scalar.mul: _simple("fmul", "mul"),
    Scalar.div: _simple("fdiv", "sdiv"),
    Scalar.pow: _helper("pow"),
    Scalar.mod: _mod,
    Scalar.maximum: _extremum("maximum"),
    Scalar.minimum: _extremum("minimum"),
    Scalar.lt: _compare("olt", "slt"),
    Scalar.le: _compare("ole", "sle"),
    Scalar.eq: _compare("oeq", "eq"),
    Scalar.ne: _compare("une", "ne"),
    Scalar.logical_and: _simple("and"),
    Scalar.logical_or: _simple("or"),
    Scalar.select: _select,
    Scalar.fma: _intrinsic("fma"),
}
