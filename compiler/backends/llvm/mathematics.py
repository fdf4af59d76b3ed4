"""Helper functions of a module: mathematics on numbers and vectors, and the Philox generator, as LLVM text.

In: a name, element type and lane count. Out: the text of an internal function. exp in float32 is a polynomial on
whole vectors (round to a multiple of ln 2 in two steps, degree 6, exponent by integer addition; error below 1 ulp
over the normal range); tanh and sigmoid in float32 are built on it. The others call the C library lane by lane.
"""

from __future__ import annotations

from ...graph import DType
from .scalars import type_text

LIBM = {"exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "pow"}


def helper(name: str, dtype: DType, lanes: int) -> tuple[str, str, list[tuple[str, DType]]]:
    """Symbol, definition, and the other helpers that it calls."""
    symbol = f"@m.{name}.{dtype.value}.{lanes}"
    t = type_text(dtype, lanes)
    if name == "exp" and dtype is DType.float32:
        return symbol, _exp32(symbol, t, lanes), []
    if name == "sigmoid":
        return symbol, _sigmoid(symbol, t, dtype, lanes), [("exp", dtype)]
    if name == "tanh" and dtype is DType.float32:
        return symbol, _tanh32(symbol, t, lanes), [("exp", dtype)]
    return symbol, _by_lane(symbol, name, dtype, lanes), []


def splat(value: str, element: str, lanes: int) -> str:
    """A vector literal with one value in every lane."""
    if lanes == 1:
        return value
    return "<" + ", ".join(f"{element} {value}" for _ in range(lanes)) + ">"


def hexadecimal(value: float) -> str:
    """A floating-point literal LLVM reads exactly (a float's must be representable as a double, which it is)."""
    import struct

    return "0x" + struct.pack(">d", value).hex().upper()


def _f32(value: float, lanes: int) -> str:
    import struct

    rounded = struct.unpack("f", struct.pack("f", value))[0]
    return splat(hexadecimal(rounded), "float", lanes)


EXP_COEFFICIENTS = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)


def _suffix(lanes: int) -> str:
    return "f32" if lanes == 1 else f"v{lanes}f32"


def _exp32(symbol: str, t: str, lanes: int) -> str:
    s, ints = _suffix(lanes), "i32" if lanes == 1 else f"<{lanes} x i32>"
    bits = "i1" if lanes == 1 else f"<{lanes} x i1>"

    def c(value: float) -> str:
        return _f32(value, lanes)

    def i(value: int) -> str:
        return splat(str(value), "i32", lanes)

    # 2^n by parts: n may reach 128 at the top and -150 at the bottom, so it is applied in two halves.
    polynomial = []
    previous = c(EXP_COEFFICIENTS[0])
    for k, coefficient in enumerate(EXP_COEFFICIENTS[1:]):
        polynomial.append(f"  %p{k} = call {t} @llvm.fma.{s}({t} %r, {t} {previous}, {t} {c(coefficient)})")
        previous = f"%p{k}"
    return "\n".join([
        f"define internal {t} {symbol}({t} %x) {{",
        f"  %high = fcmp ogt {t} %x, {c(88.722831726)}",
        f"  %low = fcmp olt {t} %x, {c(-103.98)}",
        f"  %x1 = select {bits} %high, {t} {c(88.0)}, {t} %x",
        f"  %x2 = select {bits} %low, {t} {c(-104.0)}, {t} %x1",
        f"  %scaled = fmul {t} %x2, {c(1.4426950408889634)}",
        f"  %n = call {t} @llvm.rint.{s}({t} %scaled)",
        f"  %minus = fneg {t} %n",
        f"  %r0 = call {t} @llvm.fma.{s}({t} %minus, {t} {c(0.693145751953125)}, {t} %x2)",
        f"  %r = call {t} @llvm.fma.{s}({t} %minus, {t} {c(1.428606765330187e-06)}, {t} %r0)",
        *polynomial,
        f"  %nan = fcmp uno {t} %x, %x",
        f"  %safe = select {bits} %nan, {t} {c(0.0)}, {t} %n",
        f"  %k = fptosi {t} %safe to {ints}",
        f"  %half = ashr {ints} %k, {i(1)}",
        f"  %rest = sub {ints} %k, %half",
        f"  %e1 = add {ints} %half, {i(127)}",
        f"  %e2 = add {ints} %rest, {i(127)}",
        f"  %b1 = shl {ints} %e1, {i(23)}",
        f"  %b2 = shl {ints} %e2, {i(23)}",
        f"  %f1 = bitcast {ints} %b1 to {t}",
        f"  %f2 = bitcast {ints} %b2 to {t}",
        f"  %y1 = fmul {t} {previous}, %f1",
        f"  %y2 = fmul {t} %y1, %f2",
        f"  %y3 = select {bits} %high, {t} {c(float('inf'))}, {t} %y2",
        f"  %y4 = select {bits} %low, {t} {c(0.0)}, {t} %y3",
        f"  ret {t} %y4",
        "}",
    ])  # fmt: skip


def _sigmoid(symbol: str, t: str, dtype: DType, lanes: int) -> str:
    """1 / (1 + e^-x): e^-x may overflow to infinity, whose reciprocal is the right 0."""
    one = splat(hexadecimal(1.0), "float" if dtype is DType.float32 else "double", lanes)
    return "\n".join([
        f"define internal {t} {symbol}({t} %x) {{",
        f"  %m = fneg {t} %x",
        f"  %e = call {t} @m.exp.{dtype.value}.{lanes}({t} %m)",
        f"  %d = fadd {t} {one}, %e",
        f"  %y = fdiv {t} {one}, %d",
        f"  ret {t} %y",
        "}",
    ])  # fmt: skip


def _tanh32(symbol: str, t: str, lanes: int) -> str:
    """(1 - e) / (1 + e) with e = e^-2|x|; below 0.3 the odd polynomial x - x^3/3 + ... to x^11."""
    s, bits = _suffix(lanes), "i1" if lanes == 1 else f"<{lanes} x i1>"

    def c(value: float) -> str:
        return _f32(value, lanes)

    series, previous = [], c(-1382 / 155925)
    for k, coefficient in enumerate((62 / 2835, -17 / 315, 2 / 15, -1 / 3)):
        series.append(f"  %s{k} = call {t} @llvm.fma.{s}({t} %q, {t} {previous}, {t} {c(coefficient)})")
        previous = f"%s{k}"
    return "\n".join([
        f"define internal {t} {symbol}({t} %x) {{",
        f"  %a = call {t} @llvm.fabs.{s}({t} %x)",
        f"  %m = fmul {t} %a, {c(-2.0)}",
        f"  %e = call {t} @m.exp.float32.{lanes}({t} %m)",
        f"  %u = fsub {t} {c(1.0)}, %e",
        f"  %d = fadd {t} {c(1.0)}, %e",
        f"  %y = fdiv {t} %u, %d",
        f"  %signed = call {t} @llvm.copysign.{s}({t} %y, {t} %x)",
        f"  %q = fmul {t} %x, %x",
        *series,
        f"  %cube = fmul {t} %q, {previous}",
        f"  %near = call {t} @llvm.fma.{s}({t} %cube, {t} %x, {t} %x)",
        f"  %small = fcmp olt {t} %a, {c(0.3)}",
        f"  %z = select {bits} %small, {t} %near, {t} %signed",
        f"  ret {t} %z",
        "}",
    ])  # fmt: skip


def libm_symbol(name: str, dtype: DType) -> str:
    return f"@{name}f" if dtype is DType.float32 else f"@{name}"


def _by_lane(symbol: str, name: str, dtype: DType, lanes: int) -> str:
    t, element = type_text(dtype, lanes), type_text(dtype, 1)
    parameters = ["%x", "%y"] if name == "pow" else ["%x"]
    call = libm_symbol(name, dtype)
    lines = [f"define internal {t} {symbol}({', '.join(f'{t} {p}' for p in parameters)}) {{"]
    if lanes == 1:
        lines += [
            f"  %r = call {element} {call}({', '.join(f'{element} {p}' for p in parameters)})",
            f"  ret {t} %r",
            "}",
        ]
        return "\n".join(lines)
    previous = "undef"
    for lane in range(lanes):
        names = []
        for p in parameters:
            lines.append(f"  {p}.{lane} = extractelement {t} {p}, i32 {lane}")
            names.append(f"{element} {p}.{lane}")
        lines.append(f"  %r.{lane} = call {element} {call}({', '.join(names)})")
        lines.append(f"  %v.{lane} = insertelement {t} {previous}, {element} %r.{lane}, i32 {lane}")
        previous = f"%v.{lane}"
    return "\n".join([*lines, f"  ret {t} {previous}", "}"])


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
