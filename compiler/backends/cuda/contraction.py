"""Contractions: which kernels are products of two operands, summed, whatever they were written as.

In: a kernel of the Loop IR. Out: a ``Contraction``: its sums of products, and its axes in four groups. ``m`` are the axes of
one operand alone, ``n`` those of the other, ``batch`` those of both, ``k`` those that are summed. A matrix product and its two
derivatives, a convolution and its two, grouped ones among them, differ only in what the axes are and in the operands'
indices: an operand is any expression without a sum in it, guards and all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...graph import ROWS, DType
from ...loops.ir import (
    Affine,
    Apply,
    Atom,
    Axis,
    ByRows,
    Combine,
    Expr,
    FloorDiv,
    Guarded,
    Kernel,
    Load,
    Reduction,
    Scalar,
)
from ...loops.rewrite import children, walk
from .mapping import TYPICAL_ROWS
from .shares import Share, share_of


@dataclass(frozen=True, slots=True)
class Product:
    """A sum of products: ``left`` has no ``n`` axis, ``right`` no ``m`` axis."""

    total: Reduction
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Contraction:
    """The sums of a kernel and its axes, those of a group from the outermost to the innermost."""

    products: tuple[Product, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    batch: tuple[Axis, ...]
    k: tuple[Axis, ...]
    share: Share | None = None
    """Of the terms that a kernel of partial sums takes; its axis is among ``batch``."""

    @property
    def dtype(self) -> DType:
        """Of the operands. Sums of bfloat16 numbers are float32."""
        return self.products[0].left.dtype

    @property
    def lefts(self) -> tuple[Expr, ...]:
        """The different left operands."""
        return tuple(dict.fromkeys(p.left for p in self.products))

    @property
    def rights(self) -> tuple[Expr, ...]:
        return tuple(dict.fromkeys(p.right for p in self.products))


def contraction(kernel: Kernel) -> Contraction | None:
    """What a kernel contracts; None when it is anything else. ``n`` is the group whose points lie side by side in what the
    kernel stores first."""
    sums = [e for e in unguarded(kernel) if e.free]
    if not sums or kernel.resident or any(e.axes != sums[0].axes for e in sums):
        return None
    shares = [share_of(e) for e in sums]
    divided = shares[0] is not None
    if any((s is None) == divided for s in shares):
        return None
    pairs = [_factors(e if s is None else s.whole) for e, s in zip(sums, shares, strict=True)]
    found = [p for p in pairs if p is not None]
    if len(found) < len(sums) or len({x.dtype for pair in found for x in pair}) > 1:
        return None
    return _grouped(kernel, sums, found, shares[0])


def _grouped(
    kernel: Kernel, sums: Sequence[Reduction], pairs: Sequence[tuple[Expr, Expr]], share: Share | None
) -> Contraction | None:
    """The contraction of some sums, each with its factors; None when the axes do not fall into groups."""
    first, second = pairs[0]
    axes, summed = frozenset(kernel.axes), frozenset(sums[0].axes)
    m, n = first.free - second.free - summed, second.free - first.free - summed
    if _has_neighbours(kernel, m) and not _has_neighbours(kernel, n):
        m, n = n, m
    batch = axes - m - n
    both = batch if share is None else batch - {share.axis}
    if not m or not n or not both <= first.free & second.free:
        return None
    products = []
    for total, pair in zip(sums, pairs, strict=True):
        left, right = pair if not pair[0].free & n and not pair[1].free & m else pair[::-1]
        if left.free & n or right.free & m:
            return None
        products.append(Product(total, left, right))
    of_m, of_n, of_both = (_ordered(kernel.axes, group) for group in (m, n, batch))
    return Contraction(tuple(products), of_m, of_n, of_both, in_turn(sums[0].axes), share)


def _factors(e: Reduction) -> tuple[Expr, Expr] | None:
    """The two factors of what is summed, neither of which sums itself."""
    body = e.body
    if e.combine is not Combine.sum or not isinstance(body, Apply) or body.op is not Scalar.mul:
        return None
    left, right = body.arguments
    if not body.dtype.is_float or any(isinstance(x, Reduction) for x in walk(left, right)):
        return None
    return left, right


def _ordered(axes: Iterable[Axis], group: frozenset[Axis]) -> tuple[Axis, ...]:
    return in_turn(a for a in axes if a in group)


def in_turn(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """Axes from the slowest to the fastest when their points are counted through: the observations first."""
    return tuple(sorted(axes, key=lambda a: a.extent is not ROWS))


def _has_neighbours(kernel: Kernel, group: frozenset[Axis]) -> bool:
    store = kernel.stores[0]
    place = store.buffer.offset(store.index)
    return any(abs(step(place, axis)) == 1 for axis in group)


def step(index: Affine, axis: Axis) -> int:
    """How far an index goes from the first place of an axis to the next, all other axes at their first."""
    return _value(index, axis, 1) - _value(index, axis, 0)


def _value(index: Affine, axis: Axis, place: int) -> int:
    return index.constant + sum(c * _atom(a, axis, place) for c, a in index.terms)


def _atom(atom: Atom, axis: Axis, place: int) -> int:
    if isinstance(atom, Axis):
        return place if atom == axis else 0
    inner = _value(atom.value, axis, place)
    if isinstance(atom, ByRows):
        return inner * TYPICAL_ROWS
    return inner // atom.divisor if isinstance(atom, FloorDiv) else inner % atom.divisor


def runs_along(e: Expr, axes: Sequence[Axis]) -> int | None:
    """The distance in memory between neighbours along the innermost of some axes, in what an expression loads first."""
    for part in walk(e):
        if isinstance(part, Load) and axes and axes[-1] in part.free:
            return abs(step(part.buffer.offset(part.index), axes[-1]))
    return None


def unguarded(kernel: Kernel) -> Iterator[Reduction]:
    """The reductions that are computed at every point: in no guard, and in no other's loop."""
    seen: set[Expr] = set()
    pending: list[Expr] = [s.value for s in reversed(kernel.stores)]
    while pending:
        e = pending.pop()
        if e in seen or isinstance(e, Guarded):
            continue
        seen.add(e)
        if isinstance(e, Reduction):
            yield e
        else:
            pending.extend(reversed(children(e)))


__all__ = ["Contraction", "Product", "contraction", "in_turn", "runs_along", "step", "unguarded"]
