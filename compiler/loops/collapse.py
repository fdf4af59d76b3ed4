"""Elementwise kernels as one long loop: axes that lie behind each other in every buffer become one.

In and out: a kernel. A weight of 16 x 3 x 3 is then nine full vectors instead of 48 of three elements each. Indices become
quotients and remainders of the one axis, which add up to the axis itself where they become an address.
"""

from __future__ import annotations

from .ir import Affine, Axis, Buffer, Expr, FloorDiv, Kernel, Load, Remainder, Store
from .rewrite import replace_loads, walk

FOREIGN = ("Reduction", "Position", "Random", "Guarded")


def collapse(kernel: Kernel) -> Kernel:
    """The kernel with its axes of fixed extent in one, where everything it touches allows that."""
    fixed = [a for a in kernel.axes if isinstance(a.extent, int)]
    if len(fixed) < 2 or kernel.resident:
        return kernel
    first = kernel.stores[0]
    if first.buffer.pitch != first.buffer.shape[first.buffer.order[-1]]:
        return kernel
    if not all(_alike(s.buffer, first.buffer) and s.index == first.index for s in kernel.stores):
        return kernel
    for e in walk(*(s.value for s in kernel.stores)):
        if type(e).__name__ in FOREIGN:
            return kernel
        if isinstance(e, Load) and not e.free.isdisjoint(fixed):
            if e.index != first.index or not _alike(e.buffer, first.buffer):
                return kernel
    return _collapsed(kernel, fixed)


def _alike(a: Buffer, b: Buffer) -> bool:
    return (a.shape, a.order, a.block, a.panel) == (b.shape, b.order, b.block, b.panel)


def _collapsed(kernel: Kernel, fixed: list[Axis]) -> Kernel:
    total = 1
    for axis in fixed:
        total *= int(axis.extent)  # type: ignore[arg-type]
    flat = Axis("flat", total)
    rest, places = Affine.of(flat), {}
    for axis in reversed(fixed[1:]):
        extent = int(axis.extent)  # type: ignore[arg-type]
        places[axis] = Affine(((1, Remainder(rest, extent)),))
        rest = Affine(((1, FloorDiv(rest, extent)),))
    places[fixed[0]] = rest
    old = kernel.stores[0].index
    new = tuple(_moved(i, places) for i in old)
    memo: dict[int, Expr] = {}

    def other(e: Load) -> Expr:
        return Load(e.buffer, new) if e.index == old else e

    stores = tuple(Store(s.buffer, new, replace_loads(s.value, other, memo)) for s in kernel.stores)
    axes = (*(a for a in kernel.axes if a not in fixed), flat)
    return Kernel(kernel.name, axes, stores, kernel.span, kernel.layer)


def _moved(index: Affine, places: dict[Axis, Affine]) -> Affine:
    """The index of one dimension: an axis alone, or a number."""
    total = Affine((), index.constant, index.rows)
    for coefficient, atom in index.terms:
        where = places.get(atom) if isinstance(atom, Axis) else None
        total = total + (where if where is not None else Affine(((1, atom),))) * coefficient
    return total
