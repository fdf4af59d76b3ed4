"""Kernels that scatter: zeros everywhere, then every term is added to the one element that its index names.

In: a kernel's writer, positioned at its beginning, and what ``loops/picks.py`` found. Terms are added in the order of
their axes whatever the number of threads: a thread takes those whose index lies in its share.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...loops.ir import Apply, Axis, Constant, Expr, Load, Scalar, Store
from ...loops.picks import Scatter

if TYPE_CHECKING:
    from .expressions import ExpressionWriter
    from .kernel import KernelWriter


def write_scatter(w: KernelWriter, found: Scatter) -> None:
    """The loops of the kernel."""
    (store,) = w.kernel.stores
    dtype = store.buffer.dtype
    _restrict(w, store, Constant(0.0 if dtype.is_float else 0, dtype))
    w._loops(list(w.kernel.axes), ())
    _restrict(w, store, Apply(Scalar.add, (Load(store.buffer, store.index), found.value), dtype))
    others = [a for a in w.kernel.axes if a != found.axis]

    def add() -> None:
        first, last = w._bounds(found.axis, 1)
        index, stop = one_place(w, w._value(found.index, ()).text, first, last)
        w._loop(found.axis, index, stop, 1, lambda: w._loops(others, ()), maybe_empty=True)

    _nested(w, found.over, add)


def one_place(w: ExpressionWriter, index: str, first: str, last: str) -> tuple[str, str]:
    """Bounds of a loop over an index alone, or over nothing where it lies outside."""
    above = w.emit(f"icmp sge i64 {index}, {first}")
    below = w.emit(f"icmp slt i64 {index}, {last}")
    inside = w.emit(f"zext i1 {w.emit(f'and i1 {above}, {below}')} to i64")
    return index, w.emit(f"add i64 {index}, {inside}")


def _restrict(w: KernelWriter, store: Store, value: Expr) -> None:
    w.kernel = replace(w.kernel, stores=(replace(store, value=value),))


def _nested(w: KernelWriter, axes: tuple[Axis, ...], body: object) -> None:
    if not axes:
        body()  # type: ignore[operator]
        return
    w._loop(axes[0], "0", w._extent(axes[0]), 1, lambda: _nested(w, axes[1:], body))
