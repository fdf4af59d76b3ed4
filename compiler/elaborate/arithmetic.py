"""Arithmetic of two values: known ones are folded, tensors become graph values, with broadcasts made explicit.

In: the operator's place in the program, its operands' values. Out: the result, known or a graph Value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

from ...grammar import syntax as s
from ...grammar.diagnostics import Label
from ...grammar.source import Span
from .. import ops
from ..graph import ROWS, Value, show_shape
from .values import BROADCASTING, Context, as_tensor, describe, fail, is_number, joint_shape, unify

MAX_LIST = 10_000

_KNOWN: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
    "^": operator.pow, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_GRAPH = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "^": "pow", "==": "eq", "!=": "ne", "<": "lt",
    "<=": "le", "and": "logical_and", "or": "logical_or",
}  # fmt: skip


def combine(ctx: Context, e: s.Binary, left: Any, right: Any) -> Any:
    """The value of ``left op right``."""
    if not isinstance(left, Value) and not isinstance(right, Value):
        return _known(ctx, e, left, right)
    if e.op in ("==", "!=") and (left is None or right is None):
        return e.op == "!="
    with ctx.at(e.span):
        if e.op == "@":
            return matmul(ctx, as_tensor(ctx, left, e.left.span), as_tensor(ctx, right, e.right.span), e.span)
        op, operands = e.op, [left, right]
        if op in (">", ">="):
            op, operands = "<" + op[1:], [right, left]
        _broadcast(e, left, right)
        if op in ("/", "^"):
            operands = [_floating(ctx, v) for v in operands]
        a, b = unify(ctx, operands, e.span)
        return ops.binary(ctx.graph, _GRAPH[op], a, b)


def _broadcast(e: s.Binary, left: Any, right: Any) -> None:
    """Refuses operands whose shapes do not broadcast, with both of them marked."""
    if not isinstance(left, Value) or not isinstance(right, Value):
        return
    if joint_shape(left.shape, right.shape) is None:
        a, b = show_shape(left.shape), show_shape(right.shape)
        fail(
            "E0402", f"shapes {a} and {b} do not broadcast", e.op_span, f"{a} {e.op} {b}",
            secondary=(Label(e.left.span, f"this is {a}"), Label(e.right.span, f"this is {b}")), help=BROADCASTING,
        )  # fmt: skip


def _floating(ctx: Context, value: Any) -> Any:
    if isinstance(value, Value) and not value.dtype.is_float:
        return ops.cast(ctx.graph, value, ctx.dtype)
    return value


def _known(ctx: Context, e: s.Binary, left: Any, right: Any) -> Any:
    if e.op in ("==", "!="):
        return (left == right) == (e.op == "==")
    if e.op == "+" and isinstance(left, str) and (isinstance(right, str) or type(right) is int):
        return _text(left + str(right), e.span)
    if e.op == "+" and isinstance(left, list) and isinstance(right, list):
        if len(left) + len(right) > MAX_LIST:
            fail(
                "E0505",
                f"a list of {len(left) + len(right):,}",
                e.span,
                f"lists have at most {MAX_LIST:,} items",
            )
        return [*left, *right]
    if ROWS in (left, right) and all(is_number(v) or v is ROWS for v in (left, right)) and e.op in _GRAPH:
        with ctx.at(e.span):
            return ops.binary(ctx.graph, _GRAPH[e.op], *unify(ctx, [left, right], e.span))
    if not is_number(left) or not is_number(right) or e.op not in _KNOWN:
        _not_numbers(e, left, right)
    if e.op == "^" and (abs(right) > 1000 or abs(left) > 1e100):
        fail("E0304", f"{left} ^ {right} is out of range", e.span)
    if e.op == "/" and isinstance(left, int) and isinstance(right, int) and right and left % right == 0:
        return left // right
    try:
        result = _KNOWN[e.op](left, right)
    except ZeroDivisionError:
        fail("E0304", "division by zero", e.span)
    except OverflowError:
        fail("E0304", "the result is too large", e.span)
    if isinstance(result, complex) or (isinstance(result, int) and abs(result) > 2**62):
        fail("E0304", f"the result of `{e.op}` is out of range", e.span)
    return result


def _text(text: str, span: Span) -> str:
    if len(text) > MAX_LIST:
        fail("E0505", f"a text of {len(text):,} characters", span, f"texts have at most {MAX_LIST:,}")
    return text


def _not_numbers(e: s.Binary, left: Any, right: Any) -> NoReturn:
    """Says which operand is none, by its name where it has one."""
    if e.op in _KNOWN:
        for side, value in ((e.left, left), (e.right, right)):
            if not is_number(value):
                subject = f"`{side.id}` is" if isinstance(side, s.Name) else "this is"
                fail(
                    "E0303",
                    f"`{e.op}` needs numbers, but {subject} {describe(value)}",
                    side.span,
                    "not a number",
                )
    fail("E0303", f"`{e.op}` does not take {describe(left)} and {describe(right)}", e.span)


def matmul(ctx: Context, x: Value, y: Value, span: Span) -> Value:
    """torch.matmul: the last dimension of x against the last but one of y, leading dimensions of both as batch."""
    p, q = len(x.shape), len(y.shape)
    both = f"{show_shape(x.shape)} @ {show_shape(y.shape)}"
    if x.dtype is not y.dtype:
        fail("E0406", f"a matrix product of {x.dtype.value} and {y.dtype.value}", span, f"{x.type} @ {y.type}",
             help="`float(...)` makes floating-point numbers of whole ones")  # fmt: skip
    if p == 0 or q == 0:
        fail("E0402", "`@` needs tensors, not single numbers", span, both)
    inner = q - 2 if q > 1 else 0
    batch = [(i, i) for i in range(q - 2)] if p > 2 and q > 2 else []
    agrees = x.shape[-1] == y.shape[inner] and all(x.shape[i] == y.shape[j] for i, j in batch)
    if not agrees or (p > 2 and q > 2 and p != q):
        what = "the inner" if x.shape[-1] != y.shape[inner] else "the leading"
        fail("E0402", f"{what} dimensions of the matrix product {both} differ", span, both)
    return ops.contract(ctx.graph, x, y, [(p - 1, inner)], batch)
