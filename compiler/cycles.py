"""How many cycles of one core a kernel's instructions take, by what each needs of the units that add and multiply.

In: a scheduled kernel and a number of rows. Out: cycles. The numbers were fitted to kernels of all benchmark workloads on
a CPU with 256-bit vectors; ``python -m benchmarks`` shows how near the sum over a step comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .graph import ROWS
from .loops.ir import Apply, Axis, Combine, Expr, Load, Random, Reduction, Scalar, Scheduled
from .loops.rewrite import walk
from .loops.schedule import stride_along
from .loops.work import points_of, summed

FUNCTIONS = {
    Scalar.exp: 11, Scalar.expm1: 14, Scalar.log: 12, Scalar.log1p: 14, Scalar.tanh: 14, Scalar.sigmoid: 14, Scalar.erf: 18,
    Scalar.pow: 40, Scalar.sin: 20, Scalar.cos: 20, Scalar.div: 3, Scalar.sqrt: 4,
}  # fmt: skip
"""Of one vector; everything else takes ``PLAIN``."""
PLAIN, LOAD, STORE, DRAW = 0.5, 0.5, 1.0, 40.0
TURNED = 1.5
"""A vector that is read across memory, in a tile that is turned in registers; otherwise each lane is a load."""
BEGIN, ACROSS = 2.0, 10.0
"""A reduction's beginning and end; with its lanes added up."""


def cycles(scheduled: Scheduled, rows: int) -> float:
    """Those of loads and stores or of all else, whichever are more: a core does both at once. A sum of products is one
    instruction for both; what lies inside of a reduction is loaded while it computes."""
    kernel, plan = scheduled.kernel, scheduled.schedule
    parts = points_of(kernel)
    reductions = [e for e in parts if isinstance(e, Reduction)]
    fused = {e.body for e in reductions if _is_product(e)}
    inside = {e for r in reductions for e in walk(r.body)}
    lanes = [a for a in {x for e in parts for x in e.free} if a.name in plan.lanes]
    turned = {name for name, _ in plan.unroll}

    def vectors(axes: Iterable[Axis]) -> int:
        extents = ((a, rows if a.extent is ROWS else int(a.extent)) for a in axes)
        width = max(plan.width, 1)
        return math.prod(-(-n // width) if a.name in plan.lanes else n for a, n in extents)

    def loaded(e: Load) -> float:
        if all(stride_along(e, a) in (0, 1) for a in lanes if a in e.free):
            return LOAD
        along = any(a.name in turned and stride_along(e, a) == 1 for a in e.free)
        return TURNED if along else max(plan.width, 1)

    def one(e: Expr, axes: frozenset[Axis]) -> float:
        match e:
            case Apply() if e not in fused:
                return vectors(axes) * FUNCTIONS.get(e.op, PLAIN)
            case Random():
                return vectors(axes) * DRAW
            case Reduction():
                across = any(a.name in plan.lanes for a in summed(e))
                return vectors(axes | summed(e)) * PLAIN + vectors(axes) * (ACROSS if across else BEGIN)
            case _:
                return 0.0

    moving = sum(vectors({a for i in s.index for a in i.axes()}) * STORE for s in kernel.stores)
    moving += sum(
        vectors(axes) * loaded(e) for e, axes in parts.items() if isinstance(e, Load) and e not in inside
    )
    return max(moving, sum(one(e, axes) for e, axes in parts.items()))


def _is_product(e: Reduction) -> bool:
    """Whether a sum adds a product at each of its terms."""
    multiplies = isinstance(e.body, Apply) and e.body.op is Scalar.mul
    return multiplies and e.combine is Combine.sum and e.body.free >= frozenset(e.axes)


__all__ = ["cycles"]
