"""Products with one-hot arrays: sums in which all terms but one vanish, so that nobody need loop over zeros.

In: values of a graph, reductions and kernels of the Loop IR. Out: which axis an index decides. A reduction *picks*: of
``sum(k) (index == k) * x[k]`` only the term at ``k = index`` is there. A kernel *scatters*: ``y[k] <- sum(i) (index[i] == k)
* x[i]`` adds each ``x[i]`` to the one ``y`` that its index names. Both are plain reductions to all passes; backends and
costs ask here. An index outside of the axis picks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import DType, Value
from .ir import Affine, Apply, Axis, Combine, Constant, Expr, Kernel, Position, Reduction, Scalar
from .rewrite import walk

FEW = 32
"""Axes up to this length are looped over: vectors are as fast."""


@dataclass(frozen=True, slots=True)
class Pick:
    """The axis, and the one of its places that counts."""

    axis: Axis
    index: Expr


@dataclass(frozen=True, slots=True)
class Scatter:
    """Where, and what is added there."""

    axis: Axis
    index: Expr
    value: Expr
    over: tuple[Axis, ...]


def is_one_hot(value: Value) -> bool:
    """Whether a value of a graph is 1 where its last dimension is at an index, and 0 elsewhere; a long one."""
    return value.op.name == "cast" and compares_places(value.inputs[0])


def compares_places(value: Value) -> bool:
    """Whether a value of a graph compares the places of its last dimension, a long one, with an index."""
    if value.op.name != "eq" or not value.shape:
        return False
    length, dim, sides = value.shape[-1], len(value.shape) - 1, value.inputs
    counted = [v for v in sides if v.op.name == "iota" and v.attrs["dim"] == dim and v.dtype is DType.int64]
    spread = [v for v in sides if v.op.name == "broadcast" and dim not in v.attrs["dims"]]
    return bool(counted and spread) and isinstance(length, int) and length > FEW


def picks(product: Value) -> bool:
    """Whether a contraction of a graph sums over the last dimension of a one-hot factor, and only that."""
    return _with_one_hot(product) and len(product.attrs["axes"]) == 1 and _sums_over_places(product)


def scatters(product: Value) -> bool:
    """Whether a contraction of a graph keeps the last dimension of a one-hot factor and sums over the others."""
    return _with_one_hot(product) and not product.attrs["batch"] and not _sums_over_places(product)


def _with_one_hot(product: Value) -> bool:
    return product.op.name == "contract" and any(map(is_one_hot, product.inputs))


def _sums_over_places(product: Value) -> bool:
    side = 0 if is_one_hot(product.inputs[0]) else 1
    return any(pair[side] == len(product.inputs[side].shape) - 1 for pair in product.attrs["axes"])


def picked(e: Reduction) -> Pick | None:
    """What a reduction picks, if it does."""
    if e.combine is not Combine.sum:
        return None
    for condition, _ in _choices(e.body):
        for place, index in _compared(condition):
            for axis in e.axes:
                if place == Affine.of(axis) and axis not in index.free and _is_long(axis):
                    return Pick(axis, index)
    return None


def scattered(kernel: Kernel) -> Scatter | None:
    """How a kernel scatters, if it does nothing else."""
    if len(kernel.stores) != 1 or kernel.resident:
        return None
    store, e = kernel.stores[0], kernel.stores[0].value
    if not isinstance(e, Reduction) or e.combine is not Combine.sum:
        return None
    for condition, value in _choices(e.body):
        for place, index in _compared(condition):
            for axis in kernel.axes:
                own = place == Affine.of(axis) and Affine.of(axis) in store.index and _is_long(axis)
                plain = not any(isinstance(x, Reduction) for x in walk(value, index))
                if own and plain and axis not in value.free and index.free <= set(e.axes):
                    return Scatter(axis, index, value, e.axes)
    return None


def _is_long(axis: Axis) -> bool:
    return isinstance(axis.extent, int) and axis.extent > FEW


def _choices(e: Expr) -> list[tuple[Expr, Expr]]:
    """Conditions without which an expression is zero, each with what it is otherwise."""
    if not isinstance(e, Apply):
        return []
    if e.op is Scalar.select:
        zero = isinstance(e.arguments[2], Constant) and e.arguments[2].value == 0
        return [(e.arguments[0], e.arguments[1])] if zero else []
    if e.op is not Scalar.mul:
        return []
    return [
        (x.arguments[0], e.arguments[1 - i])
        for i, x in enumerate(e.arguments)
        if isinstance(x, Apply) and x.op is Scalar.cast and x.arguments[0].dtype is DType.bool
    ]


def _compared(condition: Expr) -> list[tuple[Affine, Expr]]:
    """The places and indices that a condition compares."""
    if not isinstance(condition, Apply) or condition.op is not Scalar.eq:
        return []
    both = condition.arguments, condition.arguments[::-1]
    return [
        (place.index, index)
        for place, index in both
        if isinstance(place, Position) and place.dtype is DType.int64 and index.dtype is DType.int64
    ]
