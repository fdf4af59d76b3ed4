"""How much a kernel computes: what decides whether other threads are worth waking.

In: a kernel. Out: scalar operations, as a fixed number and a number for each observation.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import ROWS
from .ir import Apply, Axis, Expr, Kernel, Load, Random, Reduction, Scalar
from .picks import picked, scattered
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
    for store in kernel.stores:
        total = _plus(total, _times({a for i in store.index for a in i.axes()}, 1))
    for e, axes in points_of(kernel).items():
        total = _plus(total, _times(axes, _cost(e)))
        if isinstance(e, Reduction):
            total = _plus(total, _times(axes | summed(e), 1))
    return total


def points_of(kernel: Kernel) -> dict[Expr, frozenset[Axis]]:
    """Every expression of a kernel, and the axes for each combination of which it is evaluated.

    What is evaluated at one place of an axis alone, since an index names it, does not count for that axis.
    """
    scatter = scattered(kernel)
    found: dict[Expr, frozenset[Axis]] = {}
    start: frozenset[Axis] = frozenset() if scatter is None else frozenset({scatter.axis})
    pending: list[tuple[Expr, frozenset[Axis]]] = [(s.value, start) for s in kernel.stores]
    while pending:
        e, named = pending.pop()
        axes = e.free - named
        if e in found and axes <= found[e]:
            continue
        found[e] = found.get(e, frozenset()) | axes
        if isinstance(e, Reduction):
            named |= frozenset(e.axes) - summed(e)
        pending += [(c, named) for c in children(e)]
    return found


def summed(e: Reduction) -> frozenset[Axis]:
    """The axes that a reduction loops over."""
    pick = picked(e)
    return frozenset(e.axes) if pick is None else frozenset(e.axes) - {pick.axis}


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


def _times(axes: Iterable[Axis], cost: int) -> Amount:
    rows = False
    for axis in axes:
        if axis.extent is ROWS:
            rows = True
        else:
            cost *= int(axis.extent)
    return (0, cost) if rows else (cost, 0)


def _plus(a: Amount, b: Amount) -> Amount:
    return a[0] + b[0], a[1] + b[1]
