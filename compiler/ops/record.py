"""What the compiler knows about a primitive operation: one record, every field required.

In: nothing. Out: ``Operation`` and what its fields are made of. The families in this folder define the records;
``table.py`` lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..graph import Graph, TensorType, Value
from ..loops.ir import Affine, Combine, Expr, Extent


class NotDifferentiable:
    """The type of ``NOT_DIFFERENTIABLE``: no derivative exists or it is zero almost everywhere by definition."""

    def __repr__(self) -> str:
        return "NOT_DIFFERENTIABLE"


NOT_DIFFERENTIABLE: Final = NotDifferentiable()

Vjp = Callable[[Graph, Value, Value], tuple[Value | None, ...]]
"""(graph, node, cotangent of node) -> a cotangent per input; None for an input that has none (an index)."""


class Reader(Protocol):
    """What an operation's ``element`` rule may ask while lowering."""

    def read(self, value: Value, index: Sequence[Affine]) -> Expr:
        """The element of an operand: a load, or the operand's own expression when it is fused."""

    def reduce(
        self, combine: Combine, extents: Sequence[Extent], body: Callable[[Sequence[Affine]], Expr]
    ) -> Expr:
        """A reduction over fresh axes of the given extents; an axis of extent 1 is the index 0."""


Element = Callable[[Reader, Value, Sequence[Affine]], Expr]
"""(reader, node, one index per dimension of node) -> the scalar expression of that element."""


@dataclass(frozen=True, slots=True)
class Case:
    """A test case: operand types, attributes, and for each float operand the open interval of legal values."""

    inputs: tuple[TensorType, ...]
    attrs: tuple[tuple[str, Any], ...] = ()
    domains: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A primitive.

    infer: (*operand types, **attrs) -> type; raises TypeRuleError.
    reference: (xp, *arrays, **attrs) -> array, with ``xp`` the array namespace (NumPy); float64 in tests. ROWS in
        an attribute arrives as the actual number.
    vjp: the derivative, in graph values, or NOT_DIFFERENTIABLE.
    element: its lowering, one scalar expression per element of the result.
    """

    name: str
    summary: str
    infer: Callable[..., TensorType]
    reference: Callable[..., Any]
    vjp: Vjp | NotDifferentiable
    element: Element
    cases: tuple[Case, ...]
