"""Sliding windows and their adjoint: what convolutions and pooling are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import ROWS, Dim, DType, TensorType, TypeRuleError, Value, show_shape
from ..loops.ir import Affine, Combine, Condition, Constant, Expr, Guarded
from . import build as b
from .record import Case, Operation, Reader
from .structure import divide


def positions(extent: int, size: int, stride: int, dilation: int) -> int:
    """How many windows fit."""
    return (extent - (size - 1) * dilation - 1) // stride + 1


def _window_type(
    x: TensorType,
    dims: tuple[int, ...],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> TensorType:
    shape: list[Dim] = list(x.shape)
    for dim, extent, stride, dilation in zip(dims, sizes, strides, dilations, strict=True):
        whole = x.shape[dim]
        if whole is ROWS or min(extent, stride, dilation) < 1:
            raise TypeRuleError(
                "a window needs positive sizes, strides and dilations, and not the observations"
            )
        count = positions(int(whole), extent, stride, dilation)
        if count < 1:
            raise TypeRuleError(
                f"a window of {(extent - 1) * dilation + 1} is larger than dimension {dim} of {show_shape(x.shape)}"
            )
        shape[dim] = count
    return TensorType(x.dtype, (*shape, *sizes))


def _window(xp: Any, x: Any, dims: Any, sizes: Any, strides: Any, dilations: Any) -> Any:
    for dim, size, stride, dilation in zip(dims, sizes, strides, dilations, strict=True):
        count = positions(x.shape[dim], size, stride, dilation)
        at = xp.arange(count)[:, None] * stride + xp.arange(size)[None, :] * dilation
        x = xp.moveaxis(xp.take(x, at, axis=dim), dim + 1, -1)
    return x


def _window_vjp(g: Any, n: Value, c: Value) -> tuple[Value | None, ...]:
    a = n.attrs
    extents = tuple(n.inputs[0].shape[d] for d in a["dims"])
    return (b.fold(g, c, a["dims"], extents, a["sizes"], a["strides"], a["dilations"]),)


def _window_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    a, x = n.attrs, n.inputs[0]
    rank = len(x.shape)
    moved = list(index[:rank])
    for k, (dim, stride, dilation) in enumerate(zip(a["dims"], a["strides"], a["dilations"], strict=True)):
        moved[dim] = index[dim] * stride + index[rank + k] * dilation
    return reader.read(x, moved)


_X = TensorType(DType.float64, (2, 6, 5))
_ATTRS = (("dims", (1, 2)), ("sizes", (3, 2)), ("strides", (2, 1)), ("dilations", (1, 2)))

WINDOW = Operation(
    "window", "the elements under a sliding window, in new last dimensions", _window_type, _window, _window_vjp,
    _window_element, (Case((_X,), _ATTRS, ((-3.0, 3.0),)),),
)  # fmt: skip


def _fold_type(
    y: TensorType, dims: tuple[int, ...], extents: tuple[int, ...], sizes: Any, strides: Any, dilations: Any
) -> TensorType:
    shape = list(y.shape[: y.rank - len(dims)])
    for dim, extent in zip(dims, extents, strict=True):
        shape[dim] = extent
    result = TensorType(y.dtype, tuple(shape))
    if _window_type(result, dims, sizes, strides, dilations) != y:
        raise TypeRuleError(f"{y} are not the windows of {result}")
    return result


def _fold(xp: Any, y: Any, dims: Any, extents: Any, sizes: Any, strides: Any, dilations: Any) -> Any:
    for k in reversed(range(len(dims))):
        dim, stride, dilation = dims[k], strides[k], dilations[k]
        shape = list(y.shape[:-1])
        shape[dim] = extents[k]
        result = xp.zeros(shape, dtype=y.dtype)
        for tap in range(sizes[k]):
            at = [slice(None)] * result.ndim
            at[dim] = slice(tap * dilation, tap * dilation + (y.shape[dim] - 1) * stride + 1, stride)
            result[tuple(at)] += y[..., tap]
        y = result
    return y


def _fold_vjp(g: Any, n: Value, c: Value) -> tuple[Value | None, ...]:
    a = n.attrs
    return (b.window(g, c, a["dims"], a["sizes"], a["strides"], a["dilations"]),)


def _fold_element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    a, y = n.attrs, n.inputs[0]

    def body(taps: Sequence[Affine]) -> Expr:
        moved, conditions = list(index), []
        for k, (dim, tap) in enumerate(zip(a["dims"], taps, strict=True)):
            position = index[dim] - tap * a["dilations"][k]
            quotient, rest = divide(position, a["strides"][k])
            if a["strides"][k] > 1:
                conditions.append(Condition(rest, 0, 1))
            conditions.append(Condition(quotient, 0, y.shape[dim]))
            moved[dim] = quotient
        value = reader.read(y, [*moved, *taps])
        return Guarded(tuple(conditions), value, Constant(0.0, n.dtype))

    return reader.reduce(Combine.sum, a["sizes"], body)


FOLD = Operation(
    "fold", "the adjoint of window: every element summed over the windows that hold it", _fold_type, _fold, _fold_vjp,
    _fold_element,
    (Case((_window_type(_X, **dict(_ATTRS)),), (*_ATTRS, ("extents", (6, 5))), ((-3.0, 3.0),)),),
)  # fmt: skip

WINDOWS = (WINDOW, FOLD)
