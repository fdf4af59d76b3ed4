"""Rewrites that hold for every value, NaN and infinities included; dead values are left behind.

In: a graph. Out: a new graph with the same leaves and outputs. A rule sees a value whose operands are already
rewritten and answers with what stands for it, or None.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from .. import ops
from ..graph import DType, Graph, Value
from . import windows

Rule = Callable[[Graph, Value], Value | None]


def constant_of(value: Value) -> float | int | bool | None:
    """The number that fills a value, if it is one."""
    while value.op.name == "broadcast":
        value = value.inputs[0]
    return value.attrs["value"] if value.op.name == "constant" else None


def multiply_by_one(g: Graph, v: Value) -> Value | None:
    if v.op.name == "mul":
        for i in (0, 1):
            if constant_of(v.inputs[i]) == 1:
                return v.inputs[1 - i]
    return v.inputs[0] if v.op.name == "div" and constant_of(v.inputs[1]) == 1 else None


def power(g: Graph, v: Value) -> Value | None:
    """x^2 is x * x, x^1 is x, x^0.5 is sqrt x."""
    if v.op.name != "pow":
        return None
    x, exponent = v.inputs[0], constant_of(v.inputs[1])
    if exponent == 2:
        return ops.mul(g, x, x)
    return x if exponent == 1 else None


def double(g: Graph, v: Value) -> Value | None:
    """Two negations, permutations, reshapes or broadcasts behind each other."""
    if not v.inputs or v.op.name != v.inputs[0].op.name:
        return None
    x = v.inputs[0].inputs[0] if v.inputs[0].inputs else None
    if x is None:
        return None
    if v.op.name == "neg":
        return x
    if v.op.name == "permute":
        inner = v.inputs[0].attrs["dims"]
        return ops.permute(g, x, [inner[d] for d in v.attrs["dims"]])
    if v.op.name == "reshape":
        return ops.reshape(g, x, v.shape)
    if v.op.name == "broadcast":
        return ops.broadcast(g, x, v.shape, [v.attrs["dims"][d] for d in v.inputs[0].attrs["dims"]])
    return None


def known_condition(g: Graph, v: Value) -> Value | None:
    """``where`` with a constant condition; a comparison of two constants."""
    if v.op.name == "where" and isinstance(known := constant_of(v.inputs[0]), bool):
        return v.inputs[1] if known else v.inputs[2]
    if v.op.name in ("lt", "eq"):
        a, b = (constant_of(x) for x in v.inputs)
        if a is not None and b is not None:
            return ops.full_like(g, v, a < b if v.op.name == "lt" else a == b)
    return None


Number = float | int | bool
FOLDED: Mapping[str, Callable[[Number, Number], Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


def fold_constants(g: Graph, v: Value) -> Value | None:
    """Sums, differences and products of constants, rounded as the graph's own type would; only finite results."""
    if v.op.name not in FOLDED or v.dtype is DType.bool:
        return None
    a, b = (constant_of(x) for x in v.inputs)
    if a is None or b is None:
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


RULES: tuple[Rule, ...] = (multiply_by_one, power, double, known_condition, fold_constants, *windows.RULES)


def simplify(graph: Graph) -> Graph:
    """The rules, applied from the leaves to the outputs until none fits a value."""
    result = Graph(graph.name)
    new: dict[int, Value] = {}
    for name, leaf in graph.inputs.items():
        new[leaf.id] = ops.input(result, name, leaf.dtype, leaf.shape)
    for value in graph.live():
        if value.id not in new:
            result.origin = value.origin
            built = result.add(value.op, tuple(new[v.id] for v in value.inputs), **value.attrs)
            new[value.id] = _rewrite(result, built)
    result.outputs = {name: new[value.id] for name, value in graph.outputs.items()}
    used = {v.id for v in result.live()}
    result.inputs = {n: v for n, v in result.inputs.items() if v.id in used}
    return result


def _rewrite(graph: Graph, value: Value) -> Value:
    for _ in range(10):
        found = next((r for r in (rule(graph, value) for rule in RULES) if r is not None), None)
        if found is None or found is value:
            return value
        value = found
    return value
