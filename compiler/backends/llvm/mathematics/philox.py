"""The Philox generator as LLVM text.

In: an element type and lane count. Out: the text of an internal function that draws uniform numbers; see
runtime/philox.py, whose bits it gives.
"""

from __future__ import annotations

from ....graph import DType
from ..scalars import type_text
from .body import hexadecimal, splat


def philox(dtype: DType, lanes: int) -> tuple[str, str]:
    """Symbol and text of ``uniform(<lanes x i64> index, i64 stream, i64 step, i64 seed)``; see runtime/philox.py."""
    symbol = f"@philox.{dtype.value}.{lanes}"
    wide = "i64" if lanes == 1 else f"<{lanes} x i64>"
    result = type_text(dtype, lanes)

    def c(value: int) -> str:
        return splat(str(value), "i64", lanes)

    lines = [
        f"define internal {result} {symbol}({wide} %index, {wide} %stream, {wide} %step, {wide} %key0, {wide} %key1) {{"
    ]
    lines += [f"  %c0.0 = and {wide} %index, {c(0xFFFFFFFF)}", f"  %c1.0 = lshr {wide} %index, {c(32)}"]
    names = ["%c0.0", "%c1.0", "%stream", "%step"]
    k0, k1 = "%key0", "%key1"
    for r in range(10):
        c0, c1, c2, c3 = names
        lines += [
            f"  %p0.{r} = mul {wide} {c0}, {c(0xD2511F53)}",
            f"  %p1.{r} = mul {wide} {c2}, {c(0xCD9E8D57)}",
            f"  %h0.{r} = lshr {wide} %p0.{r}, {c(32)}",
            f"  %h1.{r} = lshr {wide} %p1.{r}, {c(32)}",
            f"  %l0.{r} = and {wide} %p0.{r}, {c(0xFFFFFFFF)}",
            f"  %l1.{r} = and {wide} %p1.{r}, {c(0xFFFFFFFF)}",
            f"  %x0.{r} = xor {wide} %h1.{r}, {c1}",
            f"  %n0.{r} = xor {wide} %x0.{r}, {k0}",
            f"  %x2.{r} = xor {wide} %h0.{r}, {c3}",
            f"  %n2.{r} = xor {wide} %x2.{r}, {k1}",
            f"  %s0.{r} = add {wide} {k0}, {c(0x9E3779B9)}",
            f"  %k0.{r} = and {wide} %s0.{r}, {c(0xFFFFFFFF)}",
            f"  %s1.{r} = add {wide} {k1}, {c(0xBB67AE85)}",
            f"  %k1.{r} = and {wide} %s1.{r}, {c(0xFFFFFFFF)}",
        ]
        names = [f"%n0.{r}", f"%l1.{r}", f"%n2.{r}", f"%l0.{r}"]
        k0, k1 = f"%k0.{r}", f"%k1.{r}"
    if dtype is DType.float32:
        lines += [
            f"  %w = lshr {wide} {names[0]}, {c(8)}",
            f"  %f = uitofp {wide} %w to {result}",
            f"  %u = fmul {result} %f, {splat(hexadecimal(2.0**-24), 'float', lanes)}",
        ]
    else:
        lines += [
            f"  %wa = lshr {wide} {names[0]}, {c(5)}",
            f"  %wb = lshr {wide} {names[1]}, {c(6)}",
            f"  %wc = shl {wide} %wa, {c(26)}",
            f"  %wd = or {wide} %wc, %wb",
            f"  %f = uitofp {wide} %wd to {result}",
            f"  %u = fmul {result} %f, {splat(hexadecimal(2.0**-53), 'double', lanes)}",
        ]
    return symbol, "\n".join([*lines, f"  ret {result} %u", "}"])
