"""Small tools on expressions of the Loop IR: their parts, what they read, and copies with other loads.

In and out: expressions and kernels. Shared subexpressions are visited once and stay shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import overload

from .ir import Apply, Buffer, Expr, Guarded, Kernel, Load, Loop, Reduction, Store


def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions an expression is made of."""
    match e:
        case Reduction():
            return (e.body,)
        case Apply():
            return e.arguments
        case Guarded():
            return (e.body, e.otherwise)
        case _:
            return ()


def walk(*roots: Expr) -> Iterator[Expr]:
    """All subexpressions, each object once."""
    seen: set[int] = set()
    pending = list(roots)
    while pending:
        e = pending.pop()
        if id(e) not in seen:
            seen.add(id(e))
            yield e
            pending.extend(children(e))


def loads(kernel: Kernel | Loop) -> list[Load]:
    """Every load of a kernel."""
    return [e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Load)]


def reads(kernel: Kernel | Loop) -> Mapping[Buffer, bool]:
    """The buffers a kernel reads, and whether only at the very element that it stores at the same point."""
    points = {s.index for s in kernel.stores}
    found: dict[Buffer, bool] = {}
    for e in loads(kernel):
        same = isinstance(kernel, Kernel) and e.index in points
        found[e.buffer] = found.get(e.buffer, True) and same
    return found


def replace_loads(e: Expr, replacement: Callable[[Load], Expr], memo: dict[int, Expr]) -> Expr:
    """The expression with every load replaced; what does not change is the same object."""
    found = memo.get(id(e))
    if found is not None:
        return found
    new: Expr = e
    match e:
        case Load():
            new = replacement(e)
        case Apply():
            arguments = tuple(replace_loads(a, replacement, memo) for a in e.arguments)
            if any(a is not b for a, b in zip(arguments, e.arguments, strict=True)):
                new = Apply(e.op, arguments, e.dtype)
        case Reduction():
            body = replace_loads(e.body, replacement, memo)
            new = e if body is e.body else Reduction(e.combine, e.axes, body)
        case Guarded():
            body = replace_loads(e.body, replacement, memo)
            other = replace_loads(e.otherwise, replacement, memo)
            if body is not e.body or other is not e.otherwise:
                new = Guarded(e.conditions, body, other)
    memo[id(e)] = new
    return new


@overload
def with_stores(kernel: Kernel, stores: tuple[Store, ...]) -> Kernel: ...
@overload
def with_stores(kernel: Kernel | Loop, stores: tuple[Store, ...]) -> Kernel | Loop: ...
def with_stores(kernel: Kernel | Loop, stores: tuple[Store, ...]) -> Kernel | Loop:
    """The kernel with other stores, named after its first. A recurrence keeps what it stores."""
    if isinstance(kernel, Loop):
        return kernel
    return Kernel(
        stores[0].buffer.name, kernel.axes, stores, kernel.span, kernel.layer, resident=kernel.resident
    )


def with_loads(kernel: Kernel, replacement: Callable[[Load], Expr]) -> Kernel:
    """The kernel with every load replaced."""
    memo: dict[int, Expr] = {}
    stores = tuple(
        Store(s.buffer, s.index, replace_loads(s.value, replacement, memo), s.room) for s in kernel.stores
    )
    return replace(kernel, stores=stores)
