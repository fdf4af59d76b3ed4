"""The built-in functions of expressions: one table, each with its parameters, each mapped to primitives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...grammar.source import Span
from .. import ops
from ..graph import ROWS, DType, Shape, Value, show_shape
from .values import (
    MAX_ELEMENTS,
    Context,
    as_bool,
    as_int,
    as_tensor,
    describe,
    fail,
    is_number,
    shape_of,
    spread,
    unify,
    within_limit,
)

REQUIRED = object()
FEW_PARTS = 64


@dataclass(frozen=True, slots=True)
class Builtin:
    """parameters: (name, default) pairs, REQUIRED for none; ``variadic`` gathers positional arguments in one list.
    functions: parameters whose argument is the name of a ``fn``."""

    parameters: tuple[tuple[str, Any], ...]
    run: Callable[..., Any]
    variadic: bool = False
    functions: tuple[str, ...] = ()


_KNOWN: dict[str, Callable[[float], Any]] = {
    "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "abs": abs, "floor": math.floor, "log1p": math.log1p, "expm1": math.expm1, "erf": math.erf,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "sign": lambda x: (x > 0) - (x < 0),
}  # fmt: skip


def _unary(name: str) -> Builtin:
    def run(ctx: Context, span: Span, x: Any) -> Any:
        if is_number(x):
            try:
                return _KNOWN[name](x)
            except (ValueError, OverflowError, KeyError):
                fail("E0304", f"{name}({x}) is not a number", span)
        tensor = as_tensor(ctx, x, span)
        if not tensor.dtype.is_float and name not in ("logical_not",):
            tensor = ops.cast(ctx.graph, tensor, ctx.dtype)
        return ops.unary(ctx.graph, name, tensor)

    return Builtin((("x", REQUIRED),), run)


def _binary(name: str, known: Callable[[Any, Any], Any]) -> Builtin:
    def run(ctx: Context, span: Span, x: Any, y: Any) -> Any:
        if is_number(x) and is_number(y):
            return known(x, y)
        return ops.binary(ctx.graph, name, *unify(ctx, [x, y], span))

    return Builtin((("x", REQUIRED), ("y", REQUIRED)), run)


def _where(ctx: Context, span: Span, condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, bool):
        return x if condition else y
    test = as_tensor(ctx, condition, span)
    if test.dtype is not DType.bool:
        fail("E0406", f"the condition is {describe(test)}, not true or false", span)
    a, b = unify(ctx, [x, y], span)
    shape = unify(ctx, [test, ops.cast(ctx.graph, a, DType.bool)], span)[0].shape
    return ops.where(ctx.graph, spread(ctx, test, shape), spread(ctx, a, shape), spread(ctx, b, shape))


def dims_of(value: Any, rank: int, span: Span) -> list[int]:
    """Dimensions named by an int, a list, or "all"; negative ones count from the end."""
    if value == "all" or value is None:
        return list(range(rank))
    result = []
    for item in value if isinstance(value, list) else [value]:
        dim = as_int(item, span, "a dimension")
        if not -rank <= dim < rank:
            fail("E0407", f"there is no dimension {dim} in a tensor of {rank}", span)
        result.append(dim % rank)
    return result


def _keep(ctx: Context, x: Value, reduced: Value, dims: list[int], keepdim: Any, span: Span) -> Value:
    if not as_bool(keepdim, span):
        return reduced
    return ops.reshape(ctx.graph, reduced, tuple(1 if d in dims else e for d, e in enumerate(x.shape)))


_LIST: dict[str, Callable[[Any], Any]] = {"sum": sum, "max": max, "min": min}


def _reduction(name: str) -> Builtin:
    def run(ctx: Context, span: Span, x: Any, dim: Any, keepdim: Any) -> Any:
        if isinstance(x, list) and name in ("sum", "max", "min"):
            if not x and name != "sum":
                fail("E0304", f"an empty list has no {name}", span)
            return _LIST[name](_numbers(x, span))
        tensor = as_tensor(ctx, x, span)
        dims = dims_of(dim, len(tensor.shape), span)
        if name == "argmax":
            return _keep(ctx, tensor, ops.argmax(ctx.graph, tensor, dims), dims, keepdim, span)
        if tensor.dtype is DType.bool or (name == "mean" and not tensor.dtype.is_float):
            tensor = ops.cast(ctx.graph, tensor, ctx.dtype)
        if name == "min":
            g = ctx.graph
            return _keep(ctx, tensor, ops.neg(g, ops.max(g, ops.neg(g, tensor), dims)), dims, keepdim, span)
        reduced = (ops.max if name == "max" else ops.sum)(ctx.graph, tensor, dims)
        if name == "mean":
            reduced = ops.div(ctx.graph, reduced, spread(ctx, count(ctx, tensor, dims), reduced.shape))
        return _keep(ctx, tensor, reduced, dims, keepdim, span)

    return Builtin((("x", REQUIRED), ("dim", "all"), ("keepdim", False)), run)


def count(ctx: Context, x: Value, dims: list[int]) -> Value:
    """How many elements the dimensions hold, as a number of x's dtype."""
    extents = [x.shape[d] for d in dims]
    factor = math.prod(e for e in extents if isinstance(e, int))
    known = ops.constant(ctx.graph, factor, x.dtype)
    if ROWS not in extents:
        return known
    n = ops.cast(ctx.graph, ops.rows(ctx.graph), x.dtype)
    return n if factor == 1 else ops.mul(ctx.graph, n, known)


def _count(ctx: Context, span: Span, x: Any, dim: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    dims = dims_of(dim, len(tensor.shape), span)
    if all(isinstance(tensor.shape[d], int) for d in dims):
        return math.prod(int(tensor.shape[d]) for d in dims)  # type: ignore[misc,arg-type,unused-ignore]
    floating = tensor if tensor.dtype.is_float else ops.cast(ctx.graph, tensor, ctx.dtype)
    return count(ctx, floating, dims)


def _reshape(ctx: Context, span: Span, x: Any, shape: Any) -> Any:
    return ops.reshape(ctx.graph, as_tensor(ctx, x, span), shape_of(shape, span))


def _permute(ctx: Context, span: Span, x: Any, dims: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    return ops.permute(ctx.graph, tensor, dims_of(dims, len(tensor.shape), span))


def transpose(ctx: Context, span: Span, x: Any, dim0: Any, dim1: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    a, b = dims_of([dim0, dim1], len(tensor.shape), span)
    order = list(range(len(tensor.shape)))
    order[a], order[b] = order[b], order[a]
    return ops.permute(ctx.graph, tensor, order)


def _concat(ctx: Context, span: Span, tensors: Any, dim: Any) -> Any:
    if not isinstance(tensors, list) or not tensors:
        fail("E0303", f"a list of tensors is needed here, not {describe(tensors)}", span)
    parts = [as_tensor(ctx, t, span) for t in tensors]
    return ops.concat(ctx.graph, parts, dims_of(dim, len(parts[0].shape), span)[0])


def _pad(ctx: Context, span: Span, x: Any, low: Any, high: Any, value: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    if (
        not isinstance(low, list)
        or not isinstance(high, list)
        or len(low) != len(tensor.shape)
        or len(high) != len(low)
    ):
        fail("E0303", f"pad needs one amount per dimension of {show_shape(tensor.shape)}", span)
    amounts = [[as_int(v, span, "an amount of padding") for v in side] for side in (low, high)]
    if max(abs(v) for side in (*amounts, [0]) for v in side) > MAX_ELEMENTS:
        fail("E0304", "an amount of padding is out of range", span)
    if not is_number(value):
        fail("E0303", f"padding is filled with a number, not {describe(value)}", span)
    padded = ops.pad(ctx.graph, tensor, amounts[0], amounts[1], [0] * len(low), float(value))
    if any(isinstance(d, int) and d < 1 for d in padded.shape):
        fail("E0402", f"padding {low}, {high} leaves nothing of {show_shape(tensor.shape)}", span)
    return padded


def _window(ctx: Context, span: Span, x: Any, dims: Any, sizes: Any, strides: Any, dilations: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    found = dims_of(dims, len(tensor.shape), span)
    lists = [v if isinstance(v, list) else [v] * len(found) for v in (sizes, strides, dilations)]
    if any(len(v) != len(found) for v in lists):
        fail("E0303", "sizes, strides and dilations need one number per dimension", span)
    return ops.window(ctx.graph, tensor, found, *([as_int(i, span) for i in v] for v in lists))


def _fold_windows(
    ctx: Context, span: Span, x: Any, dims: Any, extents: Any, strides: Any, dilations: Any
) -> Any:
    """The adjoint of ``window``: the last dimensions of x are windows, one for each of ``dims``."""
    tensor = as_tensor(ctx, x, span)
    count = len(dims) if isinstance(dims, list) else 1
    rank = len(tensor.shape) - count
    if rank < count:
        fail("E0407", f"{show_shape(tensor.shape)} has no {count} dimensions of windows", span)
    found = dims_of(dims, rank, span)
    lists = [v if isinstance(v, list) else [v] * count for v in (extents, strides, dilations)]
    if any(len(v) != count for v in lists):
        fail("E0303", "extents, strides and dilations need one number per dimension", span)
    whole, steps, apart = ([as_int(i, span) for i in v] for v in lists)
    sizes = [as_int(d, span) for d in tensor.shape[rank:]]
    within_limit([*tensor.shape[:rank], *whole], tensor.dtype, span)
    return ops.fold(ctx.graph, tensor, found, tuple(whole), sizes, steps, apart)


def _flip(ctx: Context, span: Span, x: Any, dims: Any) -> Any:
    tensor = as_tensor(ctx, x, span)
    found = dims_of(dims, len(tensor.shape), span)
    if any(tensor.shape[d] is ROWS for d in found):
        fail("E0407", "the observations cannot be turned round", span)
    return ops.flip(ctx.graph, tensor, sorted(set(found)))


def _one_hot(ctx: Context, span: Span, index: Any, classes: Any) -> Any:
    g, tensor = ctx.graph, as_tensor(ctx, index, span)
    shape: Shape = (*tensor.shape, as_int(classes, span))
    repeated = ops.broadcast(g, ops.cast(g, tensor, DType.int64), shape, range(len(tensor.shape)))
    return ops.cast(g, ops.eq(g, repeated, ops.iota(g, shape, len(shape) - 1)), ctx.dtype)


def _rand(ctx: Context, span: Span, shape: Any) -> Any:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], list) else shape
    return ops.random(ctx.graph, shape_of(sizes, span), ctx.stream(), ctx.dtype)


def _broadcast_to(ctx: Context, span: Span, x: Any, shape: Any) -> Any:
    return spread(ctx, as_tensor(ctx, x, span), shape_of(shape, span))


def _cast(dtype: DType | None) -> Builtin:
    def run(ctx: Context, span: Span, x: Any) -> Any:
        return ops.cast(ctx.graph, as_tensor(ctx, x, span), dtype or ctx.dtype)

    return Builtin((("x", REQUIRED),), run)


def _stop(ctx: Context, span: Span, x: Any) -> Any:
    return ops.stop_gradient(ctx.graph, x) if isinstance(x, Value) else x


def _iota(ctx: Context, span: Span, shape: Any, dim: Any) -> Any:
    sizes = shape_of(shape, span)
    return ops.iota(ctx.graph, sizes, dims_of(dim, len(sizes), span)[0])


def _tensor(ctx: Context, span: Span, x: Any) -> Value:
    """Known numbers in lists, as deep as there are dimensions."""
    if not isinstance(x, list):
        return as_tensor(ctx, x, span)
    if not x:
        fail("E0303", "a tensor has at least one element", span)
    parts = [_tensor(ctx, span, item) for item in x]
    if len({p.type for p in parts}) > 1:
        fail("E0402", "the lists of a tensor must have one length", span)
    return _joined(ctx, [ops.reshape(ctx.graph, p, (1, *p.shape)) for p in parts])


def _joined(ctx: Context, parts: list[Value]) -> Value:
    """Rows one below the other; of many first some, then these: an element looks through the parts one by one."""
    size = math.isqrt(len(parts))
    if len(parts) > FEW_PARTS:
        parts = [ops.concat(ctx.graph, parts[i : i + size], 0) for i in range(0, len(parts), size)]
    return ops.concat(ctx.graph, parts, 0)


def _epsilon(ctx: Context, span: Span, x: Any) -> float:
    dtype = as_tensor(ctx, x, span).dtype
    if not dtype.is_float:
        fail("E0406", f"floating-point numbers have a precision, {dtype.value} has none", span)
    return 2.0**-23 if dtype is DType.float32 else 2.0**-52


def _len(ctx: Context, span: Span, x: Any) -> Any:
    if not isinstance(x, list):
        fail("E0303", f"a list is needed here, not {describe(x)}", span)
    return len(x)


def _numbers(x: Any, span: Span) -> list[Any]:
    """A list of known numbers."""
    if isinstance(x, list) and ROWS in x:
        fail("E0405", "the number of observations is not known when compiling", span)
    if not isinstance(x, list) or any(not is_number(v) for v in x):
        fail("E0303", f"a list of known numbers is needed here, not {describe(x)}", span)
    return x


def _product(ctx: Context, span: Span, x: Any) -> Any:
    return math.prod(_numbers(x, span))


def _repeated(ctx: Context, span: Span, x: Any, times: Any) -> Any:
    amount = as_int(times, span)
    if not 0 <= amount <= 10_000:
        fail("E0304", f"a list of {amount} is out of range", span)
    return [x] * amount


def einsum(ctx: Context, span: Span, equation: Any, a: Any, b: Any) -> Any:
    """``einsum("ij,kj->ik", a, b)``: letters name dimensions, those not in the result are summed over."""
    if not isinstance(equation, str) or equation.count(",") != 1 or equation.count("->") != 1:
        fail("E0303", 'einsum needs a text such as "ij,kj->ik"', span)
    inputs, result = equation.replace(" ", "").split("->")
    left, right = inputs.split(",")
    x, y = as_tensor(ctx, a, span), as_tensor(ctx, b, span)
    if len(left) != len(x.shape) or len(right) != len(y.shape):
        fail("E0402", f'"{equation}" does not fit {show_shape(x.shape)} and {show_shape(y.shape)}', span)
    g = ctx.graph
    for letters, other in ((left, right), (right, left)):
        alone = [i for i, c in enumerate(letters) if c not in other and c not in result]
        if alone and letters == left:
            x, left = ops.sum(g, x, alone), "".join(c for c in left if c in other or c in result)
        elif alone:
            y, right = ops.sum(g, y, alone), "".join(c for c in right if c in other or c in result)
    shared = [c for c in left if c in right]
    batch = [(left.index(c), right.index(c)) for c in shared if c in result]
    axes = [(left.index(c), right.index(c)) for c in shared if c not in result]
    produced = "".join(left[p] for p, _ in batch)
    produced += "".join(c for c in left if c not in shared) + "".join(c for c in right if c not in shared)
    if sorted(produced) != sorted(result):
        fail("E0402", f'the result "{result}" of "{equation}" has other letters than "{produced}"', span)
    return ops.permute(g, ops.contract(g, x, y, axes, batch), [produced.index(c) for c in result])


BUILTINS: dict[str, Builtin] = {
    **{n: _unary(n) for n in (*_KNOWN, "is_finite")},
    "maximum": _binary("maximum", max),
    "minimum": _binary("minimum", min),
    "where": Builtin((("condition", REQUIRED), ("x", REQUIRED), ("y", REQUIRED)), _where),
    **{n: _reduction(n) for n in ("sum", "mean", "max", "min", "argmax")},
    "count": Builtin((("x", REQUIRED), ("dim", "all")), _count),
    "reshape": Builtin((("x", REQUIRED), ("shape", REQUIRED)), _reshape),
    "permute": Builtin((("x", REQUIRED), ("dims", REQUIRED)), _permute),
    "transpose": Builtin((("x", REQUIRED), ("dim0", REQUIRED), ("dim1", REQUIRED)), transpose),
    "concat": Builtin((("tensors", REQUIRED), ("dim", 0)), _concat),
    "pad": Builtin((("x", REQUIRED), ("low", REQUIRED), ("high", REQUIRED), ("value", 0.0)), _pad),
    "window": Builtin(
        (("x", REQUIRED), ("dims", REQUIRED), ("sizes", REQUIRED), ("strides", 1), ("dilations", 1)), _window
    ),
    "fold_windows": Builtin(
        (("x", REQUIRED), ("dims", REQUIRED), ("extents", REQUIRED), ("strides", 1), ("dilations", 1)),
        _fold_windows,
    ),
    "flip": Builtin((("x", REQUIRED), ("dims", REQUIRED)), _flip),
    "einsum": Builtin((("equation", REQUIRED), ("a", REQUIRED), ("b", REQUIRED)), einsum),
    "one_hot": Builtin((("index", REQUIRED), ("classes", REQUIRED)), _one_hot),
    "rand": Builtin((("shape", REQUIRED),), _rand, variadic=True),
    "broadcast_to": Builtin((("x", REQUIRED), ("shape", REQUIRED)), _broadcast_to),
    "iota": Builtin((("shape", REQUIRED), ("dim", 0)), _iota),
    "stop_gradient": Builtin((("x", REQUIRED),), _stop),
    "float32": _cast(DType.float32),
    "float64": _cast(DType.float64),
    "int64": _cast(DType.int64),
    "float": _cast(None),
    "tensor": Builtin((("x", REQUIRED),), _tensor),
    "epsilon": Builtin((("x", REQUIRED),), _epsilon),
    "len": Builtin((("x", REQUIRED),), _len),
    "product": Builtin((("x", REQUIRED),), _product),
    "repeated": Builtin((("x", REQUIRED), ("times", REQUIRED)), _repeated),
    "is_list": Builtin((("x", REQUIRED),), lambda ctx, span, x: isinstance(x, list)),
    "is_integer": Builtin(
        (("x", REQUIRED),),
        lambda ctx, span, x: isinstance(x, int) or (isinstance(x, Value) and x.dtype is DType.int64),
    ),
}
