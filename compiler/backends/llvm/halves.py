"""bfloat16 as LLVM text. In registers it is a float whose lower half is zero, in memory an i16.

In: floats, numbers or vectors. Out: floats of 8 significant bits; see ``to_bfloat16`` of the elementwise operations for
what rounding does with NaN, infinities and subnormal numbers. All of it is integer arithmetic that every CPU has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scalars import Writer


EXPONENT, SIGN, UPPER, QUIET = 0x7F800000, 0x80000000, 0xFFFF0000, 0x00400000


def rounded(w: Writer, text: str, lanes: int) -> str:
    """A float rounded to bfloat16."""
    bits, flags, t = vector("i32", lanes), vector("i1", lanes), vector("float", lanes)

    def number(value: int) -> str:
        return splat(value, lanes)

    whole = w.emit(f"bitcast {t} {text} to {bits}")
    shifted = w.emit(f"lshr {bits} {whole}, {number(16)}")
    odd = w.emit(f"and {bits} {shifted}, {number(1)}")
    half = w.emit(f"add {bits} {odd}, {number(0x7FFF)}")
    up = w.emit(f"add {bits} {whole}, {half}")
    exponent = w.emit(f"and {bits} {whole}, {number(EXPONENT)}")
    small = w.emit(f"icmp eq {bits} {exponent}, {number(0)}")
    zero = w.emit(f"and {bits} {whole}, {number(SIGN)}")
    up = w.emit(f"select {flags} {small}, {bits} {zero}, {bits} {up}")
    nan = w.emit(f"fcmp uno {t} {text}, {text}")
    quiet = w.emit(f"or {bits} {whole}, {number(QUIET)}")
    up = w.emit(f"select {flags} {nan}, {bits} {quiet}, {bits} {up}")
    kept = w.emit(f"and {bits} {up}, {number(UPPER)}")
    return w.emit(f"bitcast {bits} {kept} to {t}")


def vector(name: str, lanes: int) -> str:
    """LLVM's type of so many lanes of a type."""
    return name if lanes == 1 else f"<{lanes} x {name}>"


def splat(value: int, lanes: int) -> str:
    """An i32 in every lane."""
    return str(value) if lanes == 1 else f"<{', '.join([f'i32 {value}'] * lanes)}>"


__all__ = ["rounded", "splat", "vector"]
