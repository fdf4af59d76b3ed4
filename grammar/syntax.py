"""The syntax tree of a ``.net`` file: frozen records, each with the span it was read from.

In: nothing. Out: the node types that the parser builds, the formatter prints and the compiler elaborates.
Equality ignores spans, so that ``parse(format(tree)) == tree`` can be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass

from .source import NOWHERE, Span


def _span() -> Span:
    return field(default=NOWHERE, compare=False, repr=False, kw_only=True)


# --- expressions -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """``3``, ``1e-4``: an int when written without point and exponent."""

    value: int | float
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Name:
    """A name, ``true``, ``false``, ``none``, ``auto`` and ``full`` included (they are bound, not keywords)."""

    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b, c]``; ``Ellipsis_`` may stand among the items of a shape pattern."""

    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Ellipsis_:
    """``...`` in a shape pattern or an index."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x``, ``not x``."""

    op: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Binary:
    """``+ - * / % @ ^ == != < <= > >= and or``; the span of the operator is ``op_span``."""

    op: str
    left: Expr
    right: Expr
    op_span: Span = _span()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class If:
    """``if condition then a else b``: the condition is known when compiling, one side is elaborated."""

    condition: Expr
    then: Expr
    otherwise: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; ``name`` is None when given by position."""

    name: str | None
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    function: Name
    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Slice:
    """``start:stop:step`` inside an index, each part optional."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """``x[:, 0:1]``, ``table["age":"s6"]``."""

    base: Expr
    items: tuple[Expr | Slice, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Attribute:
    """``x.T``, ``x.shape``."""

    base: Expr
    name: str
    span: Span = _span()


Expr = Number | String | Name | ListOf | Ellipsis_ | Unary | Binary | If | Call | Slice | Index | Attribute


# --- stages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Apply:
    """A layer or function as a stage: ``relu``, ``linear(10)``. ``call`` has no arguments for a bare name."""

    call: Call
    parentheses: bool
    label: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Sequential:
    """``sequential { ... }``."""

    stages: tuple[Stage, ...]
    label: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Residual:
    """``residual { ... }``, with ``shortcut { ... }`` behind it to project the input: x + block(x)."""

    stages: tuple[Stage, ...]
    shortcut: tuple[Stage, ...] | None
    label: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Repeat:
    """``repeat 3 { ... }``: that many copies, each with parameters of its own."""

    count: Expr
    stages: tuple[Stage, ...]
    label: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Branch:
    stages: tuple[Stage, ...]
    label: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Concat:
    """``concat(dim) { branch { ... } branch { ... } }``: outputs joined along a dimension."""

    dim: Expr
    branches: tuple[Branch, ...]
    label: Name | None = None
    span: Span = _span()


Stage = Apply | Sequential | Residual | Repeat | Concat


# --- statements inside definitions -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Input:
    """``input x: [3]`` or ``input x: [12]: int64``. In a layer the shape is a pattern: names are bound."""

    name: Name
    shape: ListOf
    dtype: Name | None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Param:
    """``param weight: [out, in] = kaiming_uniform(...)``; ``param bias?: ...`` is left out by ``bias = false``;
    ``param weight as "weight_l" + layer: ...`` has another name in the state dict."""

    name: Name
    optional: bool
    alias: Expr | None
    shape: ListOf
    init: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Buffer:
    """``buffer running_mean?: [c] = zeros()``: saved with the weights, not trained. Optional as ``param`` is."""

    name: Name
    optional: bool
    shape: ListOf
    init: Expr
    dtype: Name | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class State:
    """``state velocity = 0`` in an optimizer: one tensor of the parameter's shape, or of the one behind a colon."""

    name: Name
    shape: ListOf | None
    init: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Total:
    """``total residual = sum(...)`` in a metric: summed over all batches before ``return`` is computed."""

    name: Name
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Let:
    """``name = expression``."""

    name: Name
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Update:
    """``running_mean <- expression`` (a buffer, a state or ``param``)."""

    name: Name
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Require:
    """``require groups > 0, "groups must be positive"``: checked when compiling."""

    condition: Expr
    message: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Return:
    value: Expr
    span: Span = _span()


Statement = Input | Param | Buffer | State | Total | Let | Update | Require | Return | Stage


# --- items of a file ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a definition. ``inferred`` for ``name?``, ``keyword_only`` for those behind ``;``."""

    name: Name
    default: Expr | None
    inferred: bool
    keyword_only: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Import:
    path: String
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Const:
    name: Name
    value: Expr
    doc: str = field(default="", compare=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Definition:
    """``fn``, ``init``, ``schedule``, ``layer``, ``optimizer`` or ``metric``, told apart by ``kind``.

    ``fn f(x) = e`` has the single statement ``Return(e)`` and ``is_expression`` set. ``doc`` holds the comment
    lines that stand directly above the item, without ``#``.
    """

    kind: str
    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    is_expression: bool
    doc: str = field(default="", compare=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Net:
    """``net name { input x: [3]; stages }``: like a layer without parameters, statements allowed as well."""

    name: Name
    body: tuple[Statement, ...]
    doc: str = field(default="", compare=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Entry:
    """``name = expression`` of a settings block; ``for expression`` says which parameters an optimizer takes."""

    name: Name
    value: Expr
    members: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Settings:
    """A ``data`` or ``train`` block: its entries in order."""

    kind: str
    entries: tuple[Entry, ...]
    span: Span = _span()


Item = Import | Const | Definition | Net | Settings


@dataclass(frozen=True, slots=True)
class File:
    items: tuple[Item, ...]
    span: Span = _span()


def names(node: object, *, called: bool = True) -> Iterator[str]:
    """Every name in a part of the tree; with ``called`` those of functions too."""
    if isinstance(node, Name):
        yield node.id
    elif isinstance(node, tuple):
        for part in node:
            yield from names(part, called=called)
    elif is_dataclass(node) and not isinstance(node, Span):
        for x in fields(node):
            if called or not (isinstance(node, Call) and x.name == "function"):
                yield from names(getattr(node, x.name), called=called)
