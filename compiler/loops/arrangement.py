"""Tensors in another arrangement: copies that are made first, so that all that follows reads side by side.

In: contractions, and the buffers of what they multiply. Out: kernels that copy, and from where each contraction reads each
factor. Two reasons to copy a factor:

Turned. A parameter that is summed along its innermost dimension is better the other way round: sums in the lanes must be
added up at their end, and what follows them is computed number by number.

In panels. A tile of a large product reads one cache line of every row of a matrix, each on a page of its own. In panels
(``Buffer.panel``) these lines follow each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..graph import ROWS, Shape, Value
from .ir import Affine, Axis, Buffer, Kernel, Load, Space, Store

LARGE = 512 * 512
"""Elements from which on a matrix is worth panels: a weight, or a sum over observations, for its factors."""
MANY_ROWS = 192
"""Observations from which on a product brings more than a copy of its large weight costs."""
LINE = 64
"""Bytes of a cache line: a row of a panel."""


def many(rows: Mapping[str, int]) -> frozenset[str]:
    """Of units, by the observations they will see at a time, those that see many."""
    return frozenset(name for name, count in rows.items() if count >= MANY_ROWS)


class Arrangement:
    """The copies of one unit. many_rows: whether it will see ``MANY_ROWS`` observations at a time."""

    def __init__(self, buffers: Mapping[int, Buffer], vector_bytes: int, many_rows: bool) -> None:
        self.buffers, self.vector_bytes, self.many_rows = buffers, vector_bytes, many_rows
        self.kernels: list[Kernel] = []
        self.factors: dict[tuple[int, int], Buffer] = {}
        """What is read in place of a value, by the ids of a contraction and of the value."""

    def arrange(self, product: Value) -> None:
        """Decides what a contraction reads."""
        if not self.vector_bytes:
            return
        self._observations(product)
        if ROWS in product.shape:
            for side in (0, 1):
                self._weight(product, side)

    def _weight(self, product: Value, side: int) -> None:
        value, summed = _in_memory(product, side)
        source = self.buffers.get(value.id)
        if source is None or source.space is not Space.model or len(value.shape) != 2 or len(summed) != 1:
            return
        turned = summed == [source.order[-1]]
        order = source.order[::-1] if turned else source.order
        large = _elements(value.shape) >= LARGE and _fits(source, order[-1])
        if turned:
            self._read(
                product, value, f"turned.{source.name}", order, LINE // source.dtype.itemsize if large else 1
            )
        elif large and self.many_rows:
            self._read(product, value, f"panels.{source.name}", order, LINE // source.dtype.itemsize)

    def _observations(self, product: Value) -> None:
        """Both factors of a large sum over observations."""
        found = [_in_memory(product, side) for side in (0, 1)]
        if ROWS in product.shape or _elements(product.shape) < LARGE or len(found[0][1]) != 1:
            return
        if all(self._is_matrix(value, summed[0]) for value, summed in found):
            for value, _ in found:
                source = self.buffers[value.id]
                self._read(
                    product, value, f"panels.{source.name}", source.order, LINE // source.dtype.itemsize
                )

    def _is_matrix(self, value: Value, summed: int) -> bool:
        """Whether a factor lies in memory as rows of whole cache lines, one for each observation that is summed up."""
        source = self.buffers.get(value.id)
        if source is None or len(value.shape) != 2 or value.shape[summed] is not ROWS or source.block > 1:
            return False
        return source.dtype.is_float and _fits(source, 1 - summed)

    def _read(self, product: Value, value: Value, name: str, order: tuple[int, ...], panel: int) -> None:
        known = next((b for b in self.factors.values() if b.name == name), None)
        if known is None:
            known = self.copy(self.buffers[value.id], name, order, product, panel=panel)
        self.factors[product.id, value.id] = known

    def copy(
        self,
        source: Buffer,
        name: str,
        order: tuple[int, ...],
        reader: Value,
        *,
        block: int = 1,
        panel: int = 1,
    ) -> Buffer:
        """A buffer that a kernel fills from another one. reader: for whom, which tells where it comes from."""
        buffer = Buffer(name, source.dtype, source.shape, order, Space.work, block, panel)
        axes = {d: Axis(f"i{i}", source.shape[d]) for i, d in enumerate(order) if source.shape[d] != 1}
        index = tuple(Affine.of(axes[d]) if d in axes else Affine() for d in range(len(source.shape)))
        store = Store(buffer, index, Load(source, index))
        origin = reader.origin
        self.kernels.append(Kernel(name, tuple(axes.values()), (store,), origin.span, origin.layer))
        return buffer


def _in_memory(product: Value, side: int) -> tuple[Value, list[int]]:
    """A factor without what permutes it, and the dimensions of it that are summed."""
    value = product.inputs[side]
    summed = [pair[side] for pair in product.attrs["axes"]]
    if value.op.name == "permute":
        return value.inputs[0], [value.attrs["dims"][d] for d in summed]
    return value, summed


def _elements(shape: Shape) -> int:
    return math.prod(d for d in shape if isinstance(d, int))


def _fits(source: Buffer, dim: int) -> bool:
    """Whether a dimension is made of whole cache lines."""
    extent = source.shape[dim]
    return isinstance(extent, int) and extent * source.dtype.itemsize % LINE == 0


__all__ = ["MANY_ROWS", "Arrangement", "many"]
