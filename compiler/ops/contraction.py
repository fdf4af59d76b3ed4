"""Contraction: sums of products over paired dimensions; matrix products and convolutions come down to it.

Products of bfloat16 numbers are exact in float32 unless they underflow or overflow; their sums are float32, and so are cotangents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import DType, Graph, TensorType, TypeRuleError, Value
from ..loops.ir import Affine, Apply, Combine, Expr, Scalar
from . import build as b
from .record import Case, Operation, Reader
from .structure import inverse

Pairs = tuple[tuple[int, int], ...]


def free_dims(rank: int, paired: Sequence[int]) -> list[int]:
    """The dimensions of one side that are neither batch nor summed over."""
    return [d for d in range(rank) if d not in paired]


def _sides(n: Value) -> tuple[list[int], list[int]]:
    pairs = (*n.attrs["batch"], *n.attrs["axes"])
    x, y = n.inputs
    return free_dims(len(x.shape), [p for p, _ in pairs]), free_dims(len(y.shape), [q for _, q in pairs])


def _type(x: TensorType, y: TensorType, axes: Pairs, batch: Pairs) -> TensorType:
    if x.dtype is not y.dtype or any(x.shape[p] != y.shape[q] for p, q in (*batch, *axes)):
        raise TypeRuleError(f"{x} and {y} do not agree along {[*batch, *axes]}")
    pairs = (*batch, *axes)
    left = free_dims(x.rank, [p for p, _ in pairs])
    right = free_dims(y.rank, [q for _, q in pairs])
    shape = (*(x.shape[p] for p, _ in batch), *(x.shape[d] for d in left), *(y.shape[d] for d in right))
    return TensorType(x.dtype.wide, shape)


def _reference(xp: Any, x: Any, y: Any, axes: Pairs, batch: Pairs) -> Any:
    left = list(range(x.ndim))
    right = list(range(x.ndim, x.ndim + y.ndim))
    for p, q in (*batch, *axes):
        right[q] = left[p]
    summed = {left[p] for p, _ in axes}
    shared = [left[p] for p, _ in batch]
    free = [i for i in (*left, *right) if i not in summed and i not in shared]
    return xp.einsum(x, left, y, right, [*shared, *free], optimize=True)


def _vjp(g: Graph, n: Value, c: Value) -> tuple[Value | None, ...]:
    x, y = n.inputs
    batch, axes = n.attrs["batch"], n.attrs["axes"]
    left, right = _sides(n)
    shared = len(batch)
    c = b.cast(g, c, x.dtype)
    # c has dimensions [batch, left, right]; against y's free dims it gives [batch, left, summed of y].
    to_x = b.contract(
        g,
        c,
        y,
        [(shared + len(left) + i, d) for i, d in enumerate(right)],
        [(i, q) for i, (_, q) in enumerate(batch)],
    )
    rest = sorted(range(len(axes)), key=lambda i: axes[i][1])
    order_x = [*(p for p, _ in batch), *left, *(axes[i][0] for i in rest)]
    to_y = b.contract(
        g, c, x, [(shared + i, d) for i, d in enumerate(left)], [(i, p) for i, (p, _) in enumerate(batch)]
    )
    rest = sorted(range(len(axes)), key=lambda i: axes[i][0])
    order_y = [*(q for _, q in batch), *right, *(axes[i][1] for i in rest)]
    return b.permute(g, to_x, inverse(order_x)), b.permute(g, to_y, inverse(order_y))


def _element(reader: Reader, n: Value, index: Sequence[Affine]) -> Expr:
    x, y = n.inputs
    batch, axes = n.attrs["batch"], n.attrs["axes"]
    left, right = _sides(n)

    def body(summed: Sequence[Affine]) -> Expr:
        at_x, at_y = [Affine()] * len(x.shape), [Affine()] * len(y.shape)
        for i, (p, q) in zip(index, batch, strict=False):
            at_x[p] = at_y[q] = i
        for i, d in zip(index[len(batch) :], left, strict=False):
            at_x[d] = i
        for i, d in zip(index[len(batch) + len(left) :], right, strict=True):
            at_y[d] = i
        for axis, (p, q) in zip(summed, axes, strict=True):
            at_x[p] = at_y[q] = axis
        return Apply(Scalar.mul, (reader.read(x, at_x), reader.read(y, at_y)), n.dtype)

    return reader.reduce(Combine.sum, [x.shape[p] for p, _ in axes], body)


def _case(x: tuple[int, ...], y: tuple[int, ...], axes: Pairs, batch: Pairs = ()) -> Case:
    f64 = DType.float64
    return Case(
        (TensorType(f64, x), TensorType(f64, y)), (("axes", axes), ("batch", batch)), ((-2.0, 2.0),) * 2
    )


CONTRACT = Operation(
    "contract", "sums of products", _type, _reference, _vjp, _element,
    (
        _case((2, 3), (4, 3), ((1, 1),)),
        _case((2, 3, 4), (4, 2, 5), ((2, 0),), ((0, 1),)),
        _case((2, 3, 4), (3, 5, 4), ((2, 2), (1, 0))),
        _case((3,), (3,), ((0, 0),)),
        _case((2,), (3,), ()),
    ),
)  # fmt: skip
