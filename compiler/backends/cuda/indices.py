"""Affine indices as CUDA C++, in ``index_t``.

In: indices of the Loop IR. Out: texts, and the range an index may take, from which it is known where C's division,
which rounds towards zero, is the Loop IR's, which rounds down.
"""

from __future__ import annotations

from ...graph import ROWS
from ...loops.ir import Affine, Atom, Axis, ByRows, Condition, Extent, FloorDiv

UNLIMITED = 2**31
"""Stands for the number of observations where only the sign of a bound matters."""


def extent_text(extent: Extent) -> str:
    return "rows" if extent is ROWS else str(extent)


def index_text(index: Affine) -> str:
    """The value of an index; axes stand under their own names."""
    parts: list[str] = []
    for coefficient, atom in index.terms:
        text = _atom(atom)
        size = abs(coefficient)
        parts.append(("- " if coefficient < 0 else "+ ") + (text if size == 1 else f"{size} * {text}"))
    if index.rows:
        size = abs(index.rows)
        parts.append(("- " if index.rows < 0 else "+ ") + ("rows" if size == 1 else f"{size} * rows"))
    if index.constant or not parts:
        parts.append(f"{'-' if index.constant < 0 else '+'} {abs(index.constant)}")
    text = " ".join(parts)
    return text.removeprefix("+ ") if text.startswith("+") else text.replace("- ", "-", 1)


def _atom(atom: Atom) -> str:
    if isinstance(atom, Axis):
        return atom.name
    inner = index_text(atom.value)
    if isinstance(atom, ByRows):
        return f"({inner}) * {extent_text(ROWS)}"
    divides = isinstance(atom, FloorDiv)
    if bounds(atom.value)[0] < 0:
        return f"{'floor_div' if divides else 'floor_mod'}({inner}, {atom.divisor})"
    value = inner if inner.isidentifier() else f"({inner})"
    return f"({value} {'/' if divides else '%'} {atom.divisor})"


def bounds(index: Affine) -> tuple[int, int]:
    """The least and the largest value an index may take, for any number of observations."""
    low = high = index.constant
    least = 1 if index.rows > 0 else UNLIMITED
    low += index.rows * least
    high += index.rows * (UNLIMITED + 1 - least)
    for coefficient, atom in index.terms:
        ends = [coefficient * end for end in _ends(atom)]
        low, high = low + min(ends), high + max(ends)
    return low, high


def _ends(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Axis):
        return 0, (atom.extent if isinstance(atom.extent, int) else UNLIMITED) - 1
    low, high = bounds(atom.value)
    if isinstance(atom, ByRows):
        return min(low, low * UNLIMITED), max(high, high * UNLIMITED)
    if isinstance(atom, FloorDiv):
        return low // atom.divisor, high // atom.divisor
    return (low, high) if 0 <= low and high < atom.divisor else (0, atom.divisor - 1)


def condition_text(condition: Condition) -> str:
    """``lower <= index < upper``, without what always holds."""
    text, (low, high) = index_text(condition.index), bounds(condition.index)
    parts = []
    if condition.lower is not None and low < condition.lower:
        parts.append(f"{text} >= {condition.lower}")
    upper = condition.upper
    if upper is not None and not (isinstance(upper, int) and high < upper):
        parts.append(f"{text} < {extent_text(upper)}")
    return " && ".join(parts) or "true"


__all__ = ["bounds", "condition_text", "extent_text", "index_text"]
