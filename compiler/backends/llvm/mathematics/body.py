"""Formulas on whole vectors as LLVM text: values with operators that write one instruction each.

In: an element type and a number of lanes. Out: the lines of a function's body. Nothing is fused or reordered by the
compiler, so a lane holds the same bits whatever the number of lanes: a multiplication and its addition are one rounding
only where ``fma`` says so. Only instructions that every target has on vectors are written.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ....graph import DType
from ..scalars import type_text


def splat(value: str, element: str, lanes: int) -> str:
    """A vector literal with one value in every lane."""
    if lanes == 1:
        return value
    return "<" + ", ".join(f"{element} {value}" for _ in range(lanes)) + ">"


def hexadecimal(value: float) -> str:
    """A floating-point literal LLVM reads exactly (a float's must be representable as a double, which it is)."""
    return "0x" + struct.pack(">d", value).hex().upper()


@dataclass(frozen=True, slots=True)
class Format:
    """Bits of a number: of the whole, of the fraction; the exponent's bias; an unsigned format's code for integers."""

    bits: int
    fraction: int
    bias: int
    float_code: str
    integer_code: str

    @property
    def shifter(self) -> float:
        """Added to a number below a quarter of it, it leaves the nearest integer in the lowest bits."""
        return 1.5 * 2.0**self.fraction

    @property
    def smallest(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    def pattern(self, value: float) -> int:
        """The bits of a number, as a signed integer."""
        return int(struct.unpack(self.integer_code, struct.pack(self.float_code, value))[0])

    def rounded(self, value: float) -> float:
        return float(struct.unpack(self.float_code, struct.pack(self.float_code, value))[0])


FORMATS = {DType.float32: Format(32, 23, 127, "f", "i"), DType.float64: Format(64, 52, 1023, "d", "q")}


class Body:
    """The body of a function on vectors of one type; its parameters are ``%x`` and ``%y``."""

    def __init__(self, dtype: DType, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        self.format = FORMATS[dtype]
        self.lines: list[str] = []
        self.number_type = type_text(dtype, lanes)
        integer = f"i{self.format.bits}"
        self.integer_type = integer if lanes == 1 else f"<{lanes} x {integer}>"
        self.mask_type = type_text(DType.bool, lanes)
        self.suffix = f"f{self.format.bits}" if lanes == 1 else f"v{lanes}f{self.format.bits}"

    def line(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def parameter(self, name: str) -> Number:
        return Number(self, f"%{name}")

    def number(self, value: Number | float) -> Number:
        """A constant, rounded to the type."""
        if isinstance(value, Number):
            return value
        text = hexadecimal(self.format.rounded(value))
        return Number(self, splat(text, type_text(self.dtype, 1), self.lanes))

    def integer(self, value: Integer | int) -> Integer:
        if isinstance(value, Integer):
            return value
        return Integer(self, splat(str(value), f"i{self.format.bits}", self.lanes))

    def intrinsic(self, name: str, *operands: Number) -> Number:
        arguments = ", ".join(f"{self.number_type} {x.text}" for x in operands)
        return Number(self, self.line(f"call {self.number_type} @llvm.{name}.{self.suffix}({arguments})"))

    def call(self, symbol: str, x: Number) -> Number:
        return Number(self, self.line(f"call {self.number_type} {symbol}({self.number_type} {x.text})"))

    def fma(self, a: Number | float, b: Number | float, c: Number | float) -> Number:
        """a * b + c in one rounding."""
        return self.intrinsic("fma", self.number(a), self.number(b), self.number(c))

    def polynomial(self, x: Number, coefficients: Sequence[float]) -> Number:
        """Horner's rule, in one rounding a term where the CPU has an instruction for that; the constant term comes first."""
        result = self.number(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            result = self.intrinsic("fmuladd", result, x, self.number(c))
        return result

    def nearest(self, x: Number, factor: float) -> tuple[Number, Integer]:
        """The integer nearest to x * factor, and bits whose lowest ones are that integer in two's complement."""
        shifted = self.fma(x, factor, self.format.shifter)
        return shifted - self.format.shifter, shifted.bits()

    def text(self, symbol: str, result: Number, parameters: Sequence[str] = ("x",)) -> str:
        """The whole function."""
        t = self.number_type
        head = f"define internal {t} {symbol}({', '.join(f'{t} %{p}' for p in parameters)}) {{"
        return "\n".join([head, *self.lines, f"  ret {t} {result.text}", "}"])


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """Floating-point numbers."""

    body: Body
    text: str

    def _with(self, instruction: str, other: Number | float, *, swapped: bool = False) -> Number:
        a, b = self, self.body.number(other)
        if swapped:
            a, b = b, a
        return Number(self.body, self.body.line(f"{instruction} {self.body.number_type} {a.text}, {b.text}"))

    def __add__(self, other: Number | float) -> Number:
        return self._with("fadd", other)

    def __sub__(self, other: Number | float) -> Number:
        return self._with("fsub", other)

    def __rsub__(self, other: float) -> Number:
        return self._with("fsub", other, swapped=True)

    def __mul__(self, other: Number | float) -> Number:
        return self._with("fmul", other)

    def __truediv__(self, other: Number | float) -> Number:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: float) -> Number:
        return self._with("fdiv", other, swapped=True)

    def __neg__(self) -> Number:
        return Number(self.body, self.body.line(f"fneg {self.body.number_type} {self.text}"))

    def compare(self, how: str, other: Number | float) -> Mask:
        """how: a condition of ``fcmp``; those that begin with ``o`` are false on NaN, with ``u`` true."""
        text = f"fcmp {how} {self.body.number_type} {self.text}, {self.body.number(other).text}"
        return Mask(self.body, self.body.line(text))

    def __lt__(self, other: Number | float) -> Mask:
        return self.compare("olt", other)

    def __gt__(self, other: Number | float) -> Mask:
        return self.compare("ogt", other)

    def equals(self, other: Number | float) -> Mask:
        return self.compare("oeq", other)

    def between(self, low: float | None, high: float | None) -> Number:
        """Clamped; NaN stays NaN."""
        result = self
        if high is not None:
            result = (result > high).choose(high, result)
        if low is not None:
            result = (result < low).choose(low, result)
        return result

    def size(self) -> Number:
        return self.body.intrinsic("fabs", self)

    def floor(self) -> Number:
        return self.body.intrinsic("floor", self)

    def with_sign_of(self, other: Number) -> Number:
        return self.body.intrinsic("copysign", self, other)

    def bits(self) -> Integer:
        b = self.body
        return Integer(b, b.line(f"bitcast {b.number_type} {self.text} to {b.integer_type}"))


@dataclass(frozen=True, slots=True, eq=False)
class Integer:
    """Integers as wide as the numbers; they wrap around."""

    body: Body
    text: str

    def _with(self, instruction: str, other: Integer | int) -> Integer:
        operand = self.body.integer(other).text
        return Integer(
            self.body, self.body.line(f"{instruction} {self.body.integer_type} {self.text}, {operand}")
        )

    def __add__(self, other: Integer | int) -> Integer:
        return self._with("add", other)

    def __sub__(self, other: Integer | int) -> Integer:
        return self._with("sub", other)

    def __and__(self, other: int) -> Integer:
        return self._with("and", other)

    def __or__(self, other: int) -> Integer:
        return self._with("or", other)

    def __xor__(self, other: Integer) -> Integer:
        return self._with("xor", other)

    def __lshift__(self, other: int) -> Integer:
        return self._with("shl", other)

    def __rshift__(self, other: int) -> Integer:
        """Zeros come in at the top: not every target has the other shift for 64 bits."""
        return self._with("lshr", other)

    def differs(self, other: int) -> Mask:
        operand = self.body.integer(other).text
        return Mask(self.body, self.body.line(f"icmp ne {self.body.integer_type} {self.text}, {operand}"))

    def number(self) -> Number:
        """The number with these bits."""
        b = self.body
        return Number(b, b.line(f"bitcast {b.integer_type} {self.text} to {b.number_type}"))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One bit a lane."""

    body: Body
    text: str

    def _with(self, instruction: str, other: str) -> Mask:
        return Mask(self.body, self.body.line(f"{instruction} {self.body.mask_type} {self.text}, {other}"))

    def __and__(self, other: Mask) -> Mask:
        return self._with("and", other.text)

    def __or__(self, other: Mask) -> Mask:
        return self._with("or", other.text)

    def __xor__(self, other: Mask) -> Mask:
        return self._with("xor", other.text)

    def __invert__(self) -> Mask:
        return self._with("xor", splat("true", "i1", self.body.lanes))

    def choose(self, a: Number | float, b: Number | float) -> Number:
        """a where the bit is set, else b."""
        body = self.body
        t, x, y = body.number_type, body.number(a), body.number(b)
        return Number(body, body.line(f"select {body.mask_type} {self.text}, {t} {x.text}, {t} {y.text}"))

    def any(self) -> str:
        """A single bit: whether one is set in any lane."""
        if self.body.lanes == 1:
            return self.text
        integer = f"i{self.body.lanes}"
        whole = self.body.line(f"bitcast {self.body.mask_type} {self.text} to {integer}")
        return self.body.line(f"icmp ne {integer} {whole}, 0")


__all__ = ["FORMATS", "Body", "Format", "Integer", "Mask", "Number", "hexadecimal", "splat"]
