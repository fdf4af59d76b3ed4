"""Comparisons of (value, position) pairs: the first largest element, a NaN counting as largest.

In: the texts of two pairs. Out: the text of the pair that wins. A position of -1 means that nothing was seen yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graph import DType
from .scalars import type_text

if TYPE_CHECKING:
    from .kernel import KernelWriter

Pair = tuple[str, ...]


def larger(w: KernelWriter, dtype: DType, lanes: int, old: Pair, new: Pair) -> Pair:
    """The pair of the larger value; the old one among equals."""
    t, it, bits = (type_text(x, lanes) for x in (dtype, DType.int64, DType.bool))
    if dtype.is_float:
        above = w.emit(f"fcmp ogt {t} {new[0]}, {old[0]}")
        new_nan = w.emit(f"fcmp uno {t} {new[0]}, {new[0]}")
        old_number = w.emit(f"fcmp ord {t} {old[0]}, {old[0]}")
        nan = w.emit(f"and {bits} {new_nan}, {old_number}")
        above = w.emit(f"or {bits} {above}, {nan}")
    else:
        above = w.emit(f"icmp sgt {t} {new[0]}, {old[0]}")
    first = w.emit(f"icmp slt {it} {old[1]}, {w.literal(0, DType.int64, lanes)}")
    take = w.emit(f"or {bits} {above}, {first}")
    return (
        w.emit(f"select {bits} {take}, {t} {new[0]}, {t} {old[0]}"),
        w.emit(f"select {bits} {take}, {it} {new[1]}, {it} {old[1]}"),
    )


def earlier(w: KernelWriter, dtype: DType, a: Pair, b: Pair) -> Pair:
    """Of two lanes' pairs the larger, of equals the earlier; a lane that saw nothing has position -1."""
    t, it = type_text(dtype, 1), "i64"
    c = larger(w, dtype, 1, a, b)
    equal = w.emit(f"{'fcmp ueq' if dtype.is_float else 'icmp eq'} {t} {a[0]}, {b[0]}")
    seen = w.emit(f"icmp sge i64 {b[1]}, 0")
    before = w.emit(f"icmp slt i64 {b[1]}, {a[1]}")
    both = w.emit(f"and i1 {equal}, {before}")
    use_b = w.emit(f"and i1 {both}, {seen}")
    empty = w.emit(f"icmp slt i64 {b[1]}, 0")
    value = w.emit(f"select i1 {use_b}, {t} {b[0]}, {t} {c[0]}")
    at = w.emit(f"select i1 {use_b}, {it} {b[1]}, {it} {c[1]}")
    return (
        w.emit(f"select i1 {empty}, {t} {a[0]}, {t} {value}"),
        w.emit(f"select i1 {empty}, {it} {a[1]}, {it} {at}"),
    )
