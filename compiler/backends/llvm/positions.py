"""Comparisons of (value, position) pairs: the first largest element, a NaN counting as largest.

In: the texts of two pairs. Out: the text of the pair that wins. A position of -1 means that nothing was seen yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graph import DType
from .scalars import type_text

if TYPE_CHECKING:
    from .expressions import ExpressionWriter

Pair = tuple[str, ...]


def larger(w: ExpressionWriter, dtype: DType, lanes: int, old: Pair, new: Pair) -> Pair:
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


def earlier(w: ExpressionWriter, dtype: DType, lanes: int, a: Pair, b: Pair) -> Pair:
    """In each lane the larger of two pairs, of equals the earlier; position -1 means that nothing was seen."""
    t, it, bits = (type_text(x, lanes) for x in (dtype, DType.int64, DType.bool))
    zero = w.literal(0, DType.int64, lanes)
    best = larger(w, dtype, lanes, a, b)
    if dtype.is_float:
        equal = w.emit(f"fcmp oeq {t} {a[0]}, {b[0]}")
        nans = [w.emit(f"fcmp uno {t} {x}, {x}") for x in (a[0], b[0])]
        equal = w.emit(f"or {bits} {equal}, {w.emit(f'and {bits} {nans[0]}, {nans[1]}')}")
    else:
        equal = w.emit(f"icmp eq {t} {a[0]}, {b[0]}")
    before = w.emit(f"icmp slt {it} {b[1]}, {a[1]}")
    seen = w.emit(f"icmp sge {it} {b[1]}, {zero}")
    use_b = w.emit(f"and {bits} {equal}, {w.emit(f'and {bits} {before}, {seen}')}")
    unseen = w.emit(f"icmp slt {it} {b[1]}, {zero}")
    value = w.emit(f"select {bits} {use_b}, {t} {b[0]}, {t} {best[0]}")
    at = w.emit(f"select {bits} {use_b}, {it} {b[1]}, {it} {best[1]}")
    return (
        w.emit(f"select {bits} {unseen}, {t} {a[0]}, {t} {value}"),
        w.emit(f"select {bits} {unseen}, {it} {a[1]}, {it} {at}"),
    )
