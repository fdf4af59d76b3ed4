"""Builder functions: ``add(graph, x, y)`` makes the value. The only way graph values come to be.

Records are looked up by name in the table when called, so that derivative rules inside the records can use
these functions although they are needed to build the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Dim, DType, Graph, Shape, Value
from .record import Operation

TABLE: dict[str, Operation] = {}
"""Every operation by name; filled once by ``table.py`` while the package is imported, constant afterwards."""


def _make(g: Graph, name: str, /, *inputs: Value, **attrs: object) -> Value:
    return g.add(TABLE[name], inputs, **attrs)


# leaves


def input(g: Graph, name: str, dtype: DType, shape: Shape) -> Value:
    """The leaf of that name, made once."""
    found = g.inputs.get(name)
    if found is None:
        found = g.inputs[name] = _make(g, "input", name=name, dtype=dtype, shape=tuple(shape))
    return found


def constant(g: Graph, value: float | int | bool, dtype: DType) -> Value:
    number = bool(value) if dtype is DType.bool else float(value) if dtype.is_float else int(value)
    return _make(g, "constant", value=number, dtype=dtype)


def full(g: Graph, value: float | int | bool, dtype: DType, shape: Shape) -> Value:
    """A constant of a shape."""
    return broadcast(g, constant(g, value, dtype), shape, ())


def full_like(g: Graph, like: Value, value: float | int | bool) -> Value:
    return full(g, value, like.dtype, like.shape)


def iota(g: Graph, shape: Shape, dim: int) -> Value:
    return _make(g, "iota", shape=tuple(shape), dim=dim)


def rows(g: Graph) -> Value:
    return _make(g, "rows")


def random(g: Graph, shape: Shape, stream: int, dtype: DType) -> Value:
    return _make(g, "random", shape=tuple(shape), stream=stream, dtype=dtype)


# elementwise


def neg(g: Graph, x: Value) -> Value:
    return _make(g, "neg", x)


def sign(g: Graph, x: Value) -> Value:
    return _make(g, "sign", x)


def floor(g: Graph, x: Value) -> Value:
    return _make(g, "floor", x)


def exp(g: Graph, x: Value) -> Value:
    return _make(g, "exp", x)


def log(g: Graph, x: Value) -> Value:
    return _make(g, "log", x)


def sin(g: Graph, x: Value) -> Value:
    return _make(g, "sin", x)


def cos(g: Graph, x: Value) -> Value:
    return _make(g, "cos", x)


def sqrt(g: Graph, x: Value) -> Value:
    return _make(g, "sqrt", x)


def unary(g: Graph, name: str, x: Value) -> Value:
    """An elementwise operation of one operand, by name."""
    return _make(g, name, x)


def binary(g: Graph, name: str, x: Value, y: Value) -> Value:
    """An elementwise operation of two operands of one type, by name."""
    return _make(g, name, x, y)


def logical_not(g: Graph, x: Value) -> Value:
    return _make(g, "logical_not", x)


def cast(g: Graph, x: Value, dtype: DType) -> Value:
    return x if x.dtype is dtype else _make(g, "cast", x, dtype=dtype)


def stop_gradient(g: Graph, x: Value) -> Value:
    return _make(g, "stop_gradient", x)


def add(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "add", x, y)


def sub(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "sub", x, y)


def mul(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "mul", x, y)


def div(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "div", x, y)


def pow(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "pow", x, y)


def lt(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "lt", x, y)


def eq(g: Graph, x: Value, y: Value) -> Value:
    return _make(g, "eq", x, y)


def where(g: Graph, condition: Value, x: Value, y: Value) -> Value:
    return _make(g, "where", condition, x, y)


# structure


def broadcast(g: Graph, x: Value, shape: Shape, dims: Sequence[int]) -> Value:
    """Operand dimension i becomes result dimension ``dims[i]``; the others repeat it."""
    shape, dims = tuple(shape), tuple(dims)
    if shape == x.shape and dims == tuple(range(len(shape))):
        return x
    return _make(g, "broadcast", x, shape=shape, dims=dims)


def reshape(g: Graph, x: Value, shape: Shape) -> Value:
    return x if tuple(shape) == x.shape else _make(g, "reshape", x, shape=tuple(shape))


def permute(g: Graph, x: Value, dims: Sequence[int]) -> Value:
    dims = tuple(dims)
    return x if dims == tuple(range(len(dims))) else _make(g, "permute", x, dims=dims)


def slice(g: Graph, x: Value, starts: Sequence[int], stops: Sequence[Dim], steps: Sequence[int]) -> Value:
    return _make(g, "slice", x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def flip(g: Graph, x: Value, dims: Sequence[int]) -> Value:
    return _make(g, "flip", x, dims=tuple(dims)) if dims else x


def pad(
    g: Graph, x: Value, low: Sequence[int], high: Sequence[int], interior: Sequence[int], value: float = 0.0
) -> Value:
    if not any(low) and not any(high) and not any(interior):
        return x
    return _make(g, "pad", x, low=tuple(low), high=tuple(high), interior=tuple(interior), value=value)


def concat(g: Graph, parts: Sequence[Value], dim: int) -> Value:
    return parts[0] if len(parts) == 1 else _make(g, "concat", *parts, dim=dim)


def window(
    g: Graph,
    x: Value,
    dims: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Value:
    return _make(
        g,
        "window",
        x,
        dims=tuple(dims),
        sizes=tuple(sizes),
        strides=tuple(strides),
        dilations=tuple(dilations),
    )


def fold(
    g: Graph,
    x: Value,
    dims: Sequence[int],
    extents: Shape,
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Value:
    return _make(
        g, "fold", x, dims=tuple(dims), extents=tuple(extents), sizes=tuple(sizes), strides=tuple(strides),
        dilations=tuple(dilations),
    )  # fmt: skip


# reductions and contraction


def sum(g: Graph, x: Value, dims: Sequence[int]) -> Value:
    return _make(g, "sum", x, dims=tuple(sorted(dims))) if dims else x


def max(g: Graph, x: Value, dims: Sequence[int]) -> Value:
    return _make(g, "max", x, dims=tuple(sorted(dims))) if dims else x


def argmax(g: Graph, x: Value, dims: Sequence[int]) -> Value:
    return _make(g, "argmax", x, dims=tuple(sorted(dims)))


Pairs = Sequence[tuple[int, int]]


def contract(g: Graph, x: Value, y: Value, axes: Pairs, batch: Pairs = ()) -> Value:
    """Sum of products over ``axes``; result dimensions: batch, x's free, y's free."""
    return _make(g, "contract", x, y, axes=tuple(axes), batch=tuple(batch))


def scan(g: Graph, operands: Sequence[Value], body: object, result: int, length: int, reverse: bool) -> Value:
    """One result of a recurrence; see ``recurrence.py``."""
    return _make(g, "scan", *operands, body=body, result=result, length=length, reverse=reverse)
