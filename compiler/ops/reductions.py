"""Reductions over dimensions: sum, max, argmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import DType, Graph, TensorType, Value
from ..loops.ir import Affine, Combine, Expr
from . import build as b
from .infer import computable, without
from .record import NOT_DIFFERENTIABLE, Case, Operation, Reader

_CASES = tuple(
    Case((TensorType(DType.float64, (2, 3, 4)),), (("dims", dims),), ((-3.0, 3.0),))
    for dims in ((1,), (0, 2), (0, 1, 2))
)


def _kept(n: Value) -> list[int]:
    return [d for d in range(len(n.inputs[0].shape)) if d not in n.attrs["dims"]]


def _element(combine: Combine) -> Any:
    def element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
        x, dims = n.inputs[0], n.attrs["dims"]

        def body(axes: Sequence[Affine]) -> Expr:
            full = [Affine()] * len(x.shape)
            for dim, i in zip(_kept(n), index, strict=True):
                full[dim] = i
            for dim, axis in zip(dims, axes, strict=True):
                full[dim] = axis
            return reader.read(x, full)

        return reader.reduce(combine, [x.shape[d] for d in dims], body)

    return element


def spread(g: Graph, n: Value, value: Value) -> Value:
    """A value of the reduction's shape, repeated along the reduced dimensions."""
    return b.broadcast(g, value, n.inputs[0].shape, _kept(n))


SUM = Operation(
    "sum", "the sum over dimensions", lambda x, dims: TensorType(x.dtype, without(computable(x).shape, dims)),
    lambda xp, x, dims: xp.sum(x, axis=dims, dtype=x.dtype), lambda g, n, c: (spread(g, n, c),),
    _element(Combine.sum), _CASES,
)  # fmt: skip


def _max_vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, dims = n.inputs[0], n.attrs["dims"]
    first = spread(g, n, b.argmax(g, x, dims))
    position, stride = None, 1
    for dim in reversed(dims):
        part = b.iota(g, x.shape, dim)
        if stride > 1:
            part = b.mul(g, part, b.full_like(g, part, stride))
        position = part if position is None else b.add(g, position, part)
        extent = x.shape[dim]
        stride *= extent if isinstance(extent, int) else 1
    assert position is not None
    return (b.where(g, b.eq(g, position, first), spread(g, n, c), b.full_like(g, x, 0.0)),)


MAX = Operation(
    "max", "the largest over dimensions; the derivative goes to the first of equals",
    lambda x, dims: TensorType(x.dtype, without(computable(x).shape, dims)), lambda xp, x, dims: xp.max(x, axis=dims), _max_vjp,
    _element(Combine.max), _CASES,
)  # fmt: skip


def _argmax(xp: Any, x: Any, dims: tuple[int, ...]) -> Any:
    moved = xp.moveaxis(x, dims, range(x.ndim - len(dims), x.ndim))
    return xp.argmax(moved.reshape(*moved.shape[: x.ndim - len(dims)], -1), axis=-1)


ARGMAX = Operation(
    "argmax", "row-major position of the first largest over dimensions",
    lambda x, dims: TensorType(DType.int64, without(computable(x).shape, dims)), _argmax, NOT_DIFFERENTIABLE,
    _element(Combine.argmax), _CASES,
)  # fmt: skip

REDUCTIONS = (SUM, MAX, ARGMAX)
