"""Constant folding: what can be computed while compiling is.

In: a graph. Out: a graph in which sums, differences, products, comparisons and choices between constants are constants,
rounded as the graph's own type would round them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from .. import ops
from ..graph import DType, Graph, Value
from .rewrite import by_operation, rewrite

Number = float | int | bool
FOLDED: Mapping[str, Callable[[Number, Number], Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


def constant_of(value: Value) -> Number | None:
    """The number that fills a value, if it is one."""
    while value.op.name == "broadcast":
        value = value.inputs[0]
    return value.attrs["value"] if value.op.name == "constant" else None


def known_comparison(g: Graph, v: Value) -> Value | None:
    """A comparison of two constants."""
    a, b = (constant_of(x) for x in v.inputs)
    if a is None or b is None:
        return None
    return ops.full_like(g, v, a < b if v.op.name == "lt" else a == b)


def known_condition(g: Graph, v: Value) -> Value | None:
    """``where`` with a constant condition."""
    known = constant_of(v.inputs[0])
    return None if known is None else v.inputs[1] if known else v.inputs[2]


def arithmetic(g: Graph, v: Value) -> Value | None:
    """Sums, differences and products of constants; only finite results."""
    a, b = (constant_of(x) for x in v.inputs)
    if a is None or b is None or v.dtype is DType.bool:
        return None
    if not v.dtype.is_float:
        result = FOLDED[v.op.name](int(a), int(b))
        return ops.full_like(g, v, result) if -(2**63) <= result < 2**63 else None
    try:
        exact = FOLDED[v.op.name](rounded(float(a), v.dtype), rounded(float(b), v.dtype))
        result = rounded(float(exact), v.dtype)
    except OverflowError:
        return None
    return ops.full_like(g, v, result) if abs(result) < float("inf") else None


def rounded(value: float, dtype: DType) -> float:
    """The value in the precision of a type; raises OverflowError beyond float32's range."""
    return float(struct.unpack("f", struct.pack("f", value))[0]) if dtype is DType.float32 else value


RULES = by_operation((arithmetic, FOLDED), (known_comparison, ("lt", "eq")), (known_condition, ("where",)))


def fold(graph: Graph) -> Graph:
    """The graph with its constant parts computed."""
    return rewrite(graph, RULES)
