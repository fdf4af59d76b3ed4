"""Helper functions of a module: mathematics on numbers and vectors, and the Philox generator, as LLVM text.

In: a name, element type and lane count. Out: the text of an internal function. Every function is a formula on whole
vectors, the same in every lane whatever their number; docs/performance.md has the errors and the cost of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ....graph import DType
from .body import Body, Number, hexadecimal, splat
from .error_function import erf
from .exponential import exp, expm1, sigmoid, tanh
from .libm import by_lane
from .logarithm import log, log1p, pow_
from .philox import philox
from .trigonometry import cos, sin

FUNCTIONS: dict[str, Callable[[Body, Number], Number]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "tanh": tanh, "sigmoid": sigmoid,
    "erf": erf,
}  # fmt: skip
LIBM = "libm."
"""What begins with it is the C library's function, lane by lane."""


@cache
def helper(name: str, dtype: DType, lanes: int) -> tuple[str, str, tuple[str, ...]]:
    """Symbol, definition, and the names of the other helpers of this type that it calls."""
    symbol = f"@m.{name}.{dtype.value}.{lanes}"
    if name.startswith(LIBM):
        return symbol, by_lane(symbol, name.removeprefix(LIBM), dtype, lanes), ()
    body = Body(dtype, lanes)
    x = body.parameter("x")
    if name == "pow":
        return symbol, body.text(symbol, pow_(body, x, body.parameter("y")), ("x", "y")), ()
    needs = (LIBM + name,) if name in ("sin", "cos") else ()
    return symbol, body.text(symbol, FUNCTIONS[name](body, x)), needs


__all__ = ["helper", "hexadecimal", "philox", "splat"]
