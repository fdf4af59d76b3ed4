"""How much a kernel computes: what decides whether other threads are worth waking.

In: a kernel. Out: scalar operations, as a fixed number and a number for each observation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import ROWS
from .ir import Apply, Axis, Expr, Kernel, Load, Random, Reduction, Scalar
from .rewrite import children

COSTS = {
    Scalar.exp: 12, Scalar.log: 12, Scalar.tanh: 16, Scalar.sigmoid: 14, Scalar.erf: 20, Scalar.pow: 40, Scalar.sin: 20,
    Scalar.cos: 20, Scalar.expm1: 20, Scalar.log1p: 20, Scalar.div: 4, Scalar.sqrt: 4,
}  # fmt: skip

Amount = tuple[int, int]
"""Operations: a fixed number, and a number for each row."""


def work(kernel: Kernel) -> Amount:
    """Operations of a kernel. Every expression counts once for each combination of the axes it depends on."""
    total = (0, 0)
    seen: set[Expr] = set()
    pending: list[tuple[Expr, tuple[Axis, ...]]] = [(s.value, ()) for s in kernel.stores]
    for store in kernel.stores:
        axes = {a for i in store.index for a in i.axes()}
        total = _plus(total, _times(axes, 1))
    while pending:
        e, bound = pending.pop()
        if e in seen:
            continue
        seen.add(e)
        total = _plus(total, _times(e.free, _cost(e)))
        if isinstance(e, Reduction):
            total = _plus(total, _times((*e.free, *e.axes), 1))
        pending += [(c, bound) for c in children(e)]
    return total


def _cost(e: Expr) -> int:
    match e:
        case Apply():
            return COSTS.get(e.op, 1)
        case Load():
            return 1
        case Random():
            return 40
        case _:
            return 0


def _times(axes: Sequence[Axis] | frozenset[Axis] | set[Axis], cost: int) -> Amount:
    rows = False
    for axis in axes:
        if axis.extent is ROWS:
            rows = True
        else:
            cost *= int(axis.extent)
    return (0, cost) if rows else (cost, 0)


def _plus(a: Amount, b: Amount) -> Amount:
    return a[0] + b[0], a[1] + b[1]
