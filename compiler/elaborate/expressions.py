"""Expressions: evaluate what is known, emit graph values for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...grammar import syntax as s
from ...grammar.diagnostics import Label
from ...grammar.source import Span
from ...grammar.suggest import did_you_mean
from .. import ops
from ..graph import ROWS, Call, DType, TypeRuleError, Value, show_shape
from .arithmetic import combine
from .builtins import BUILTINS, REQUIRED, Builtin, transpose
from .values import (
    UNKNOWN,
    Context,
    Failed,
    as_bool,
    as_int,
    as_tensor,
    describe,
    fail,
    in_library,
    is_number,
    poisoned,
    seen_from,
)

CONSTANTS: dict[str, Any] = {
    "true": True, "false": False, "none": None, "pi": math.pi, "inf": math.inf, "all": "all", "n": ROWS,
}  # fmt: skip


def evaluate(ctx: Context, e: s.Expr) -> Any:
    """The value of an expression: known, or a graph Value."""
    ctx.spend(e.span)
    match e:
        case s.Number() | s.String():
            return e.value
        case s.Name():
            return _name(ctx, e)
        case s.ListOf():
            return [evaluate(ctx, item) for item in e.items]
        case s.Unary():
            return _unary(ctx, e)
        case s.Binary():
            return _binary(ctx, e)
        case s.If():
            condition = evaluate(ctx, e.condition)
            if isinstance(condition, Value):
                fail("E0405", "the condition of `if` is not known when compiling", e.condition.span,
                     describe(condition), help="`where(condition, a, b)` chooses element by element")  # fmt: skip
            taken = as_bool(condition, e.condition.span)
            return evaluate(ctx, e.then if taken else e.otherwise)
        case s.Call():
            return call(ctx, e)
        case s.Index():
            return _index(ctx, e)
        case s.Attribute():
            return _attribute(ctx, e)
        case s.Ellipsis_():
            fail("E0503", "`...` stands only in shape patterns", e.span)


def _name(ctx: Context, e: s.Name) -> Any:
    for table in (ctx.names, ctx.constants, CONSTANTS):
        if e.id in table:
            value = table[e.id]
            if value is UNKNOWN:
                poisoned(e.span)
            return value
    if e.id in ("auto", "full"):
        where = "as a size of a net's input" if e.id == "auto" else "as `batch = full`"
        fail("E0503", f"`{e.id}` stands only {where}", e.span, "not here")
    if e.id in BUILTINS or ctx.find(e.id) is not None:
        fail("E0201", f"`{e.id}` is a definition, not a value", e.span, "without its arguments",
             help=f"write `{e.id}(...)`")  # fmt: skip
    bound = dict(ctx.constants) | ctx.names
    known = [*(n for n, v in bound.items() if n != "select" and v is not UNKNOWN), *CONSTANTS]
    fail("E0201", f"there is no name `{e.id}` here", e.span, "unknown", help=did_you_mean(e.id, known))


def _unary(ctx: Context, e: s.Unary) -> Any:
    value = evaluate(ctx, e.operand)
    if e.op == "not":
        if isinstance(value, Value) and value.dtype is DType.bool:
            return ops.logical_not(ctx.graph, value)
        return not as_bool(value, e.operand.span)
    if is_number(value):
        return -value
    with ctx.at(e.span):
        return ops.neg(ctx.graph, as_tensor(ctx, value, e.span))


def _binary(ctx: Context, e: s.Binary) -> Any:
    left = evaluate(ctx, e.left)
    if e.op in ("and", "or") and isinstance(left, bool):
        decided = left if e.op == "or" else not left
        return left if decided else evaluate(ctx, e.right)
    return combine(ctx, e, left, evaluate(ctx, e.right))


def _attribute(ctx: Context, e: s.Attribute) -> Any:
    value = evaluate(ctx, e.base)
    if e.name == "T" and isinstance(value, Value) and len(value.shape) >= 2:
        with ctx.at(e.span):
            return transpose(ctx, e.span, value, -2, -1)
    if e.name == "shape" and isinstance(value, Value):
        return list(value.shape)
    if e.name == "rank" and isinstance(value, Value):
        return len(value.shape)
    fail("E0201", f"{describe(value)} has no `.{e.name}`", e.span, help="`.T`, `.shape` and `.rank` exist")


def _index(ctx: Context, e: s.Index) -> Any:
    base = evaluate(ctx, e.base)
    select = ctx.names.get("select")
    if callable(select) and not isinstance(base, (Value, list)):
        return select(ctx, base, list(e.items), e.span)
    if isinstance(base, list):
        if len(e.items) != 1 or isinstance(e.items[0], s.Slice):
            if len(e.items) == 1 and isinstance(e.items[0], s.Slice):
                parts = [
                    None if p is None else as_int(evaluate(ctx, p), p.span)
                    for p in (e.items[0].start, e.items[0].stop, e.items[0].step)
                ]
                return base[slice(*parts)]
            fail("E0303", "a list takes one index", e.span)
        at = as_int(evaluate(ctx, e.items[0]), e.items[0].span)
        if not -len(base) <= at < len(base):
            fail("E0407", f"index {at} leaves a list of {len(base)}", e.span)
        return base[at]
    with ctx.at(e.span):
        return _index_tensor(ctx, e, as_tensor(ctx, base, e.base.span))


def _index_tensor(ctx: Context, e: s.Index, x: Value) -> Value:
    items = list(e.items)
    dots = [i for i, item in enumerate(items) if isinstance(item, s.Ellipsis_)]
    if dots:
        whole: list[s.Expr | s.Slice] = [s.Slice(None, None, None)] * (len(x.shape) - len(items) + 1)
        items[dots[0] : dots[0] + 1] = whole
    if len(items) > len(x.shape):
        fail("E0407", f"{len(items)} indices for {show_shape(x.shape)}", e.span)
    starts, stops, steps, dropped = [0] * len(x.shape), list(x.shape), [1] * len(x.shape), set()
    for dim, item in enumerate(items):
        extent = x.shape[dim]
        if isinstance(item, s.Slice):
            if item.start is None and item.stop is None and item.step is None:
                continue
            if not isinstance(extent, int):
                fail("E0407", "the observations cannot be sliced", e.span)
            parts = [
                None if p is None else as_int(evaluate(ctx, p), p.span)
                for p in (item.start, item.stop, item.step)
            ]
            if parts[2] is not None and parts[2] < 1:
                fail("E0304", "a step must be positive", e.span)
            start, stop, step = slice(*parts).indices(extent)
            if stop <= start:
                fail("E0407", f"this takes nothing of dimension {dim} of {show_shape(x.shape)}", item.span,
                     f"from {start} to {stop}")  # fmt: skip
            starts[dim], stops[dim], steps[dim] = start, stop, step
        else:
            at = as_int(evaluate(ctx, item), item.span)
            if not isinstance(extent, int) or not -extent <= at < extent:
                fail("E0407", f"index {at} leaves dimension {dim} of {show_shape(x.shape)}", item.span)
            starts[dim], stops[dim] = at % extent, at % extent + 1
            dropped.add(dim)
    part = x
    if (starts, stops, steps) != ([0] * len(x.shape), list(x.shape), [1] * len(x.shape)):
        part = ops.slice(ctx.graph, x, starts, tuple(stops), steps)
    return ops.reshape(ctx.graph, part, tuple(d for i, d in enumerate(part.shape) if i not in dropped))


# calls


def call(ctx: Context, e: s.Call, first: Sequence[Any] = ()) -> Any:
    """A call of a built-in or a ``fn``; ``first`` are values put before the written arguments (a stage's input)."""
    name = e.function.id
    host = ctx.names.get(name)
    if isinstance(host, Builtin):
        return _call_builtin(ctx, e, host, first)
    definition = ctx.find(name)
    if definition is None and name in BUILTINS:
        return _call_builtin(ctx, e, BUILTINS[name], first)
    if definition is None:
        known = [*BUILTINS, *(n for n, v in ctx.names.items() if isinstance(v, Builtin))]
        advice = did_you_mean(name, [*known, *ctx.definitions.names("fn", "init", "schedule")])
        fail("E0202", f"there is no function `{name}`", e.function.span, "unknown", help=advice)
    if definition.kind not in ("fn", "init", "schedule"):
        fail("E0503", f"the {definition.kind} `{name}` cannot be called in an expression", e.function.span,
             "not a function", secondary=(Label(definition.name.span, "defined here"),))  # fmt: skip
    names = bind(ctx, definition, e.arguments, e.span, first)
    if definition.kind in ("init", "schedule"):
        names = {k: v for k, v in ctx.names.items() if k in IMPLICIT} | names
    try:
        result = run_body(ctx.inside(dict(names), e.span, body=definition), definition)
    except Failed as failure:
        failure.diagnostic = seen_from(failure.diagnostic, e.span)
        raise
    if isinstance(result, Value) and in_library(definition.name.span):
        ctx.graph.calls.append(Call(name, names, result, ctx.path))
    return result


CLOCK = ("step", "epoch", "steps", "epochs", "steps_per_epoch", "epoch_loss")
IMPLICIT = ("shape", *CLOCK)


def run_body(ctx: Context, definition: s.Definition) -> Any:
    """The statements of a ``fn``, up to its return; those of a schedule may have states."""
    kept = ctx.memory.remember() if ctx.memory is not None and definition.kind == "schedule" else None
    for statement in definition.body:
        match statement:
            case s.Let():
                ctx.names[statement.name.id] = evaluate(ctx, statement.value)
            case s.Require():
                check_requirement(ctx, statement)
            case s.State() if kept is not None:
                kept.declare(ctx, statement)
            case s.Update() if kept is not None:
                kept.update(ctx, statement)
            case s.Return():
                return evaluate(ctx, statement.value)
            case _:
                fail("E0503", f"this statement cannot stand in a {definition.kind}", statement.span)
    fail("E0504", f"`{definition.name.id}` returns nothing", definition.name.span)


def check_requirement(ctx: Context, statement: s.Require) -> None:
    holds = evaluate(ctx, statement.condition)
    if isinstance(holds, Value):
        names = [n for n in _names(statement.condition) if isinstance(ctx.names.get(n), Value)]
        what = " and ".join(f"`{n}`" for n in names) or "this condition"
        fail("E0405", f"{what} must be known when compiling", statement.condition.span,
             f"{names[0]} is {describe(ctx.names[names[0]])}" if names else describe(holds))  # fmt: skip
    if as_bool(holds, statement.condition.span):
        return
    facts = ", ".join(f"{name} = {value}" for name, value in _mentioned(ctx, statement.condition).items())
    fail("E0305", str(evaluate(ctx, statement.message)), statement.condition.span, "does not hold",
         notes=(f"with {facts}",) if facts else ())  # fmt: skip


def _mentioned(ctx: Context, e: Any) -> dict[str, str]:
    """The names of a condition, or their shapes where it asks for those, as texts."""
    if isinstance(e, s.Name):
        value = ctx.names.get(e.id)
        return {e.id: f'"{value}"' if isinstance(value, str) else str(value)} if is_plain(value) else {}
    if isinstance(e, s.Attribute) and isinstance(e.base, s.Name) and e.name == "shape":
        tensor = ctx.names.get(e.base.id)
        return {f"{e.base.id}.shape": show_shape(tensor.shape)} if isinstance(tensor, Value) else {}
    found: dict[str, str] = {}
    for part in ("operand", "left", "right", "base"):
        if (inner := getattr(e, part, None)) is not None:
            found |= _mentioned(ctx, inner)
    return found


def _names(e: Any) -> list[str]:
    """The names that an expression mentions, each once."""
    found = [e.id] if isinstance(e, s.Name) else []
    for part in ("operand", "left", "right", "base"):
        if (inner := getattr(e, part, None)) is not None:
            found += [n for n in _names(inner) if n not in found]
    return found


def is_plain(value: Any) -> bool:
    """Known and short: a number, a text, a list of numbers."""
    return isinstance(value, (int, float, str)) or (
        isinstance(value, list) and all(is_number(v) for v in value)
    )


def bind(
    ctx: Context,
    definition: s.Definition,
    arguments: Sequence[s.Argument],
    span: Span,
    first: Sequence[Any] = (),
) -> dict[str, Any]:
    """Arguments to parameters; defaults are evaluated in the definition's own scope. Inferred ones may be absent."""
    positional = [p for p in definition.parameters if not p.keyword_only]
    given: list[tuple[Any, Span]] = [(v, span) for v in first]
    given += [(evaluate(ctx, a.value), a.span) for a in arguments if a.name is None]
    required = [p for p in positional if p.default is None]
    if len(given) < len(required):
        positional = [p for p in positional if not p.inferred]
    name = definition.name.id
    if len(given) > len(positional):
        most = len(positional) - len(first)
        extra = given[len(positional)][1]
        others = [p.name.id for p in definition.parameters if p.keyword_only]
        fail(
            "E0301", f"`{name}` takes {_at_most(most)} by position, not {len(given) - len(first)}", extra,
            "one too many", secondary=(Label(definition.name.span, "defined here"),),
            help="by name it takes " + ", ".join(others) if others else "",
        )  # fmt: skip
    names = {p.name.id: v for p, (v, _) in zip(positional, given, strict=False)}
    known = {p.name.id: p for p in definition.parameters}
    for argument in arguments:
        if argument.name is None:
            continue
        if argument.name not in known:
            takes = "it takes " + ", ".join(known) if known else "it takes no arguments"
            fail("E0302", f"`{name}` has no argument `{argument.name}`", argument.span, "unknown",
                 secondary=(Label(definition.name.span, "defined here"),),
                 help=did_you_mean(argument.name, known, takes))  # fmt: skip
        if argument.name in names:
            fail("E0301", f"`{argument.name}` is given twice", argument.span, "again here")
        names[argument.name] = evaluate(ctx, argument.value)
    return _defaults(ctx, definition, names, span)


def _at_most(count: int) -> str:
    return (
        "no argument" if count <= 0 else "at most 1 argument" if count == 1 else f"at most {count} arguments"
    )


def _defaults(ctx: Context, definition: s.Definition, names: dict[str, Any], span: Span) -> dict[str, Any]:
    for parameter in definition.parameters:
        key = parameter.name.id
        if key in names:
            continue
        if parameter.default is not None:
            names[key] = evaluate(ctx.inside(dict(names), span, body=definition), parameter.default)
        elif not parameter.inferred:
            fail(
                "E0301", f"`{definition.name.id}` needs `{key}`", span, f"`{key}` is missing",
                secondary=(Label(parameter.span, "declared here"),),
            )  # fmt: skip
    return names


def _given(ctx: Context, builtin: Builtin, parameter: str, e: s.Expr) -> Any:
    """An argument of a built-in function: a value, or the definition of a function that is named."""
    if parameter not in builtin.functions:
        return evaluate(ctx, e)
    definition = ctx.find(e.id) if isinstance(e, s.Name) else None
    if definition is None or definition.kind != "fn":
        known = ctx.definitions.names("fn")
        fail("E0303", f"the name of a function is needed as `{parameter}`", e.span, "not a `fn`",
             help=did_you_mean(e.id, known) if isinstance(e, s.Name) else "")  # fmt: skip
    return definition


def _call_builtin(ctx: Context, e: s.Call, builtin: Builtin, first: Sequence[Any]) -> Any:
    names = [p for p, _ in builtin.parameters]
    written = [a.value for a in e.arguments if a.name is None]
    places = [*names[len(first) :], *names[:1] * len(written)]
    positional = [*first, *(_given(ctx, builtin, p, x) for p, x in zip(places, written, strict=False))]
    if builtin.variadic:
        positional = [positional]
    name = e.function.id
    takes = "it takes " + ", ".join(names)
    if len(positional) > len(names):
        most = _at_most(len(names) - len(first))
        fail(
            "E0301",
            f"`{name}` takes {most}, not {len(positional) - len(first)}",
            e.span,
            "too many",
            help=takes,
        )
    values: dict[str, Any] = dict(zip(names, positional, strict=False))
    for argument in e.arguments:
        if argument.name is None:
            continue
        if argument.name not in names:
            fail("E0302", f"`{name}` has no argument `{argument.name}`", argument.span, "unknown",
                 help=did_you_mean(argument.name, names, takes))  # fmt: skip
        if argument.name in values:
            fail("E0301", f"`{argument.name}` is given twice", argument.span, "again here", help=takes)
        values[argument.name] = _given(ctx, builtin, argument.name, argument.value)
    for key, default in builtin.parameters:
        if key not in values and default is REQUIRED:
            fail("E0301", f"`{name}` needs `{key}`", e.span, f"`{key}` is missing", help=takes)
        values.setdefault(key, default)
    if any(v is UNKNOWN for v in (*values.values(), *first)):
        poisoned(e.span)
    with ctx.at(e.span):
        try:
            return builtin.run(ctx, e.span, **values)
        except TypeRuleError as error:
            fail("E0402", str(error), e.span, "shapes do not agree")
