"""Syntax tree to text: expressions with as few parentheses as the grammar allows, statements, stages, items.

In: nodes of ``syntax.py``. Out: text that parses to an equal node. Items come out one statement a line;
``format.py`` indents them and breaks what is too long.
"""

from __future__ import annotations

from math import isinf

from . import syntax as s

_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _MINUS, _POWER, _POSTFIX = range(10)
_LEVELS = {
    "or": _OR, "and": _AND, "==": _COMPARE, "!=": _COMPARE, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE,
    ">=": _COMPARE, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT, "@": _PRODUCT, "^": _POWER,
}  # fmt: skip
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})


def expression(e: s.Expr | s.Slice, level: int = _IF) -> str:
    """The text of an expression; in parentheses where it binds less tightly than ``level`` asks."""
    text = _text(e)
    return f"({text})" if _level(e) < level else text


def _level(e: s.Expr | s.Slice) -> int:
    match e:
        case s.If():
            return _IF
        case s.Binary():
            return _LEVELS[e.op]
        case s.Unary():
            return _NOT if e.op == "not" else _MINUS
        case s.Number() if e.value < 0:
            return _MINUS
    return _POSTFIX


def _text(e: s.Expr | s.Slice) -> str:
    match e:
        case s.Number():
            return _number(e.value)
        case s.String():
            return f'"{e.value.translate(_ESCAPES)}"'
        case s.Name():
            return e.id
        case s.ListOf():
            return f"[{', '.join(expression(x) for x in e.items)}]"
        case s.Ellipsis_():
            return "..."
        case s.Unary():
            return (
                f"not {expression(e.operand, _NOT)}" if e.op == "not" else f"-{expression(e.operand, _MINUS)}"
            )
        case s.Binary():
            left, right = _operands(_LEVELS[e.op])
            return f"{expression(e.left, left)} {e.op} {expression(e.right, right)}"
        case s.If():
            return f"if {expression(e.condition)} then {expression(e.then)} else {expression(e.otherwise)}"
        case s.Call():
            return f"{e.function.id}({', '.join(_argument(a) for a in e.arguments)})"
        case s.Index():
            return f"{expression(e.base, _POSTFIX)}[{', '.join(expression(x) for x in e.items)}]"
        case s.Attribute():
            return f"{expression(e.base, _POSTFIX)}.{e.name}"
        case s.Slice():
            text = f"{_part(e.start)}:{_part(e.stop)}"
            return text if e.step is None else f"{text}:{_part(e.step)}"


def _number(value: int | float) -> str:
    return ("-inf" if value < 0 else "inf") if isinf(value) else repr(value)


def _operands(level: int) -> tuple[int, int]:
    """What the operands of a binary operator must bind at least as tightly as: left, right."""
    if level == _POWER:
        return _POSTFIX, _MINUS
    return (level + 1, level + 1) if level == _COMPARE else (level, level + 1)


def _part(e: s.Expr | None) -> str:
    return "" if e is None else expression(e)


def _argument(a: s.Argument) -> str:
    return expression(a.value) if a.name is None else f"{a.name} = {expression(a.value)}"


def stage(node: s.Stage | s.Branch) -> str:
    """A stage with its label and its blocks."""
    label = "" if node.label is None else f"{node.label.id}: "
    match node:
        case s.Apply():
            arguments = ", ".join(_argument(a) for a in node.call.arguments)
            return f"{label}{node.call.function.id}" + (f"({arguments})" if node.parentheses else "")
        case s.Sequential():
            return f"{label}sequential {_block(node.stages)}"
        case s.Residual():
            behind = "" if node.shortcut is None else f" shortcut {_block(node.shortcut)}"
            return f"{label}residual {_block(node.stages)}{behind}"
        case s.Repeat():
            return f"{label}repeat {expression(node.count, _SUM)} {_block(node.stages)}"
        case s.Branch():
            return f"{label}branch {_block(node.stages)}"
        case s.Concat():
            inner = "\n".join(stage(b) for b in node.branches)
            return f"{label}concat({expression(node.dim)}) {{\n{inner}\n}}"


def _block(statements: tuple[s.Statement, ...]) -> str:
    return _lines([statement(x) for x in statements])


def _lines(rows: list[str]) -> str:
    return "{\n" + "\n".join(rows) + "\n}"


def statement(node: s.Statement) -> str:
    """A statement of a definition or a net."""
    match node:
        case s.Input():
            return f"input {node.name.id}: {expression(node.shape)}{_dtype(node.dtype)}"
        case s.Param() | s.Buffer():
            word = "param" if isinstance(node, s.Param) else "buffer"
            kind = _dtype(node.dtype) if isinstance(node, s.Buffer) else ""
            mark = "?" if node.optional else ""
            if isinstance(node, s.Param) and node.alias is not None:
                mark += f" as {expression(node.alias)}"
            return f"{word} {node.name.id}{mark}: {expression(node.shape)}{kind} = {expression(node.init)}"
        case s.State():
            shape = "" if node.shape is None else f": {expression(node.shape)}"
            return f"state {node.name.id}{shape} = {expression(node.init)}"
        case s.Total():
            return f"total {node.name.id} = {expression(node.value)}"
        case s.Let():
            return f"{node.name.id} = {expression(node.value)}"
        case s.Update():
            return f"{node.name.id} <- {expression(node.value)}"
        case s.Require():
            return f"require {expression(node.condition)}, {expression(node.message)}"
        case s.Return():
            return f"return {expression(node.value)}"
        case _:
            return stage(node)


def _entry(node: s.Entry) -> str:
    members = "" if node.members is None else f" for {expression(node.members)}"
    return f"{node.name.id} = {expression(node.value)}{members}"


def _dtype(name: s.Name | None) -> str:
    return "" if name is None else f": {name.id}"


def item(node: s.Item) -> str:
    """An item of a file, without its comments."""
    match node:
        case s.Import():
            return f"import {expression(node.path)}"
        case s.Const():
            return f"const {node.name.id} = {expression(node.value)}"
        case s.Net():
            return f"net {node.name.id} {_block(node.body)}"
        case s.Settings():
            return f"{node.kind} {_lines([_entry(x) for x in node.entries])}"
        case s.Definition():
            head = f"{node.kind} {node.name.id}({_parameters(node.parameters)})"
            only = node.body[0] if node.is_expression else None
            return (
                f"{head} = {expression(only.value)}"
                if isinstance(only, s.Return)
                else f"{head} {_block(node.body)}"
            )


def _parameters(parameters: tuple[s.Parameter, ...]) -> str:
    positional = ", ".join(_parameter(p) for p in parameters if not p.keyword_only)
    keyword = ", ".join(_parameter(p) for p in parameters if p.keyword_only)
    return f"{positional}; {keyword}" if keyword else positional


def _parameter(p: s.Parameter) -> str:
    mark = "?" if p.inferred else ""
    return f"{p.name.id}{mark}" + ("" if p.default is None else f" = {expression(p.default)}")
