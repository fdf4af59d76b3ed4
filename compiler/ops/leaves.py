"""Leaves: named inputs, constants, positions, the number of rows, random draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import DType, Shape, TensorType, Value
from ..loops.ir import Affine, Constant, Expr, Position, Random
from .record import NOT_DIFFERENTIABLE, Case, Operation, Reader


def _typed(**attrs: Any) -> TensorType:
    return TensorType(attrs["dtype"], attrs["shape"])


def _unbound(xp: Any, **attrs: Any) -> Any:
    raise LookupError(f"no array was given for {attrs['name']}")


def _leaf(reader: Reader, node: Value, index: Sequence[Affine]) -> Expr:
    return reader.read(node, index)


INPUT = Operation(
    "input", "a tensor given by name", _typed, _unbound, NOT_DIFFERENTIABLE, _leaf,
    cases=(),
)  # fmt: skip

CONSTANT = Operation(
    "constant",
    "a number known when compiling",
    lambda value, dtype: TensorType(dtype, ()),
    lambda xp, value, dtype: xp.asarray(value, dtype=dtype.wide.value),
    NOT_DIFFERENTIABLE,
    lambda reader, node, index: Constant(node.attrs["value"], node.dtype),
    cases=(Case((), (("value", 2.5), ("dtype", DType.float64))),),
)


def _iota(xp: Any, shape: tuple[int, ...], dim: int) -> Any:
    column = xp.arange(shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])
    return xp.broadcast_to(column, shape).astype("int64")


IOTA = Operation(
    "iota",
    "the position along a dimension",
    lambda shape, dim: TensorType(DType.int64, shape),
    _iota,
    NOT_DIFFERENTIABLE,
    lambda reader, node, index: Position(index[node.attrs["dim"]], DType.int64),
    cases=(Case((), (("shape", (2, 3)), ("dim", 1))),),
)

ROWS_COUNT = Operation(
    "rows",
    "the number of observations",
    lambda: TensorType(DType.int64, ()),
    lambda xp, rows: xp.asarray(rows, dtype="int64"),
    NOT_DIFFERENTIABLE,
    lambda reader, node, index: Position(Affine((), 0, 1), DType.int64),
    cases=(),
)


def linear_index(index: Sequence[Affine], shape: Shape) -> Affine:
    """The row-major position; only the outermost extent may be symbolic, since it never multiplies."""
    position, stride = Affine(), 1
    for i, extent in zip(reversed(index), reversed(shape), strict=True):
        position = position + i * stride
        stride *= extent if isinstance(extent, int) else 1
    return position


def _random(xp: Any, shape: Shape, stream: int, dtype: DType, draw: Any) -> Any:
    return draw(shape, stream, dtype)


RANDOM = Operation(
    "random",
    "uniform draws from [0, 1)",
    lambda shape, stream, dtype: TensorType(dtype, shape),
    _random,
    NOT_DIFFERENTIABLE,
    lambda reader, node, index: Random(node.attrs["stream"], linear_index(index, node.shape), node.dtype),
    cases=(),
)
