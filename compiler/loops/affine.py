"""Indices of the Loop IR: sums of integer multiples of axes, of their quotients and remainders.

In: nothing. Out: ``Axis``, ``Affine`` and the atoms that an ``Affine`` is made of; ``ir.py`` hands them on.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Rows

Extent = int | Rows


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop axis. ``name`` is unique within a kernel. given: a kernel's loops do not run over it, its value comes from
    the repetition that the kernel is part of."""

    name: str
    extent: Extent
    given: bool = False

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def key(self) -> str:
        """What indices are sorted by."""
        return self.name


@dataclass(frozen=True, slots=True)
class FloorDiv:
    value: Affine
    divisor: int

    @property
    def key(self) -> str:
        return f"~F{self.divisor}{_inner(self.value)}"


@dataclass(frozen=True, slots=True)
class Remainder:
    value: Affine
    divisor: int

    @property
    def key(self) -> str:
        return f"~R{self.divisor}{_inner(self.value)}"


@dataclass(frozen=True, slots=True)
class ByRows:
    """A value times the number of observations; only in offsets."""

    value: Affine

    @property
    def key(self) -> str:
        return f"~N{_inner(self.value)}"


def _inner(value: Affine) -> str:
    """What an atom's key tells of the value inside."""
    return f".{value.constant}.{value.rows}" + "".join([f"+{c}{a.key}" for c, a in value.terms])


Atom = Axis | FloorDiv | Remainder | ByRows


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + sum(coefficient * atom)``; terms are sorted by text, coefficients are never zero.

    ``rows`` counts multiples of the number of observations to add (a flipped batch dimension needs ``n - 1 - i``).
    """

    terms: tuple[tuple[int, Atom], ...] = ()
    constant: int = 0
    rows: int = 0

    @staticmethod
    def of(value: Affine | Axis | int) -> Affine:
        if isinstance(value, Affine):
            return value
        if isinstance(value, int):
            return Affine((), value)
        return Affine(((1, value),))

    def __add__(self, other: Affine | Axis | int) -> Affine:
        other = Affine.of(other)
        if not other.terms or not self.terms:
            terms = self.terms or other.terms
            return Affine(terms, self.constant + other.constant, self.rows + other.rows)
        coefficients: dict[Atom, int] = {}
        for coefficient, atom in (*self.terms, *other.terms):
            coefficients[atom] = coefficients.get(atom, 0) + coefficient
        whole = _undivided(coefficients)
        terms = tuple(sorted(((c, a) for a, c in coefficients.items() if c), key=lambda t: t[1].key))
        total = Affine(terms, self.constant + other.constant, self.rows + other.rows)
        return total if whole is None else total + whole

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        terms = tuple((c * factor, a) for c, a in self.terms)
        return Affine(terms, self.constant * factor, self.rows * factor)

    def __sub__(self, other: Affine | Axis | int) -> Affine:
        return self + Affine.of(other) * -1

    def axes(self) -> frozenset[Axis]:
        """The axes this index depends on, without given ones."""
        found: set[Axis] = set()
        for _, atom in self.terms:
            if isinstance(atom, Axis):
                if not atom.given:
                    found.add(atom)
            else:
                found |= atom.value.axes()
        return frozenset(found)


def _undivided(coefficients: dict[Atom, int]) -> Affine | None:
    """Takes a quotient and its remainder out where together they are the value itself."""
    for atom, coefficient in coefficients.items():
        if isinstance(atom, Remainder) and coefficient:
            quotient = FloorDiv(atom.value, atom.divisor)
            if coefficients.get(quotient) == coefficient * atom.divisor:
                coefficients[atom] = coefficients[quotient] = 0
                return atom.value * coefficient
    return None


__all__ = ["Affine", "Atom", "Axis", "ByRows", "Extent", "FloorDiv", "Remainder"]
