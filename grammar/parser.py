"""Text to syntax tree.

In: a ``Source``. Out: a ``File`` with the items that could be read, and a diagnostic for each that could not. The
grammar is ``net.lark`` (LALR); its tables are built once and kept in the user's cache directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import isinf
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from . import syntax as s
from .cachedir import cache_directory
from .diagnostics import CompileError, Diagnostic, Label
from .mistakes import RESERVED, TooDeep, diagnose, without_item
from .source import Source, Span

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 100
MAX_ERRORS = 20
MAX_WORK = 4_000_000  # characters read again after errors
_SHALLOWER = "give parts names, or use `repeat`"
_GOES_ON = {
    "EQUAL",
    "PLUS",
    "MINUS",
    "PRODUCT",
    "POWER",
    "COMMA",
    "THEN",
    "ELSE",
    "IF",
    "OR",
    "AND",
    "NOT",
    "COMPARE",
}
_OPEN, _CLOSE = {"LPAR", "LSQB"}, {"RPAR", "RSQB"}


class _DropNewlines:
    """Post-lexer: separators inside parentheses and brackets are no tokens; nesting is bounded."""

    always_accept = ("_SEP",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = total = place = 0
        previous = ""
        for token in stream:
            total += (token.type in _OPEN or token.type == "LBRACE") - (
                token.type in _CLOSE or token.type == "RBRACE"
            )
            if total > MAX_DEPTH:
                raise TooDeep(token, set())  # type: ignore[no-untyped-call]
            if token.type in _OPEN:
                depth += 1
            elif token.type in _CLOSE:
                depth = max(depth - 1, 0)
            semicolon = token.type == "_SEP" and ";" in "".join(x.split("#")[0] for x in token.split("\n"))
            if token.type != "_SEP" or (depth == 0 and (semicolon or previous not in _GOES_ON)):
                previous = token.type
                place = 0 if token.type in ("_SEP", "LBRACE", "RBRACE") else place + 1
                yield from _comparison(token) if token.type == "ARROW" and place != 2 else (token,)
            elif semicolon:
                yield Token.new_borrow_pos("_SEMI", ";", token)


def _comparison(arrow: Token) -> tuple[Token, Token]:
    """``x <-1`` compares: ``<-`` is an arrow behind the first name of a statement only."""
    less, minus = Token.new_borrow_pos("COMPARE", "<", arrow), Token.new_borrow_pos("MINUS", "-", arrow)
    less.end_pos = minus.start_pos = (arrow.start_pos or 0) + 1
    return less, minus


@cache
def _lark() -> Lark:
    grammar = Path(__file__).with_name("net.lark").read_text(encoding="utf-8")
    options: dict[str, Any] = {
        "parser": "lalr", "start": ["start", "expr"], "propagate_positions": True, "maybe_placeholders": True,
        "postlex": _DropNewlines(),
    }  # fmt: skip
    try:
        folder = cache_directory()
        folder.mkdir(parents=True, exist_ok=True)
        return Lark(grammar, cache=str(folder / "grammar.lark"), **options)
    except OSError:
        return Lark(grammar, **options)


class _Build(Transformer[Token, Any]):
    """Lark's tree to the records of ``syntax.py``."""

    def __init__(self, source: Source) -> None:
        super().__init__(visit_tokens=False)
        self.source = source
        self.problems: list[Diagnostic] = []

    def _call_userfunc(self, tree: Tree[Any], new_children: list[Any] | None = None) -> Any:
        children = tree.children if new_children is None else new_children
        meta = tree.meta
        start = getattr(meta, "start_pos", 0)
        end = getattr(meta, "end_pos", start)
        return getattr(self, "on_" + str(tree.data))(children, Span(self.source, start, end))

    def _token_span(self, token: Token) -> Span:
        start = token.start_pos or 0
        return Span(self.source, start, start + len(token))

    # items

    def on_import_(self, c: list[Any], span: Span) -> s.Import:
        return s.Import(self._string(c[0]), span=span)

    def on_const(self, c: list[Any], span: Span) -> s.Const:
        return s.Const(c[0], c[1], doc=self._doc(span), span=span)

    def on_short_definition(self, c: list[Any], span: Span) -> s.Definition:
        kind, name, parameters, value = c
        body = (s.Return(value, span=value.span),)
        return s.Definition(str(kind), name, parameters, body, True, doc=self._doc(span), span=span)

    def on_long_definition(self, c: list[Any], span: Span) -> s.Definition:
        kind, name, parameters, body = c
        return s.Definition(str(kind), name, parameters, body, False, doc=self._doc(span), span=span)

    def on_net(self, c: list[Any], span: Span) -> s.Net:
        return s.Net(c[1], c[2], doc=self._doc(span), span=span)

    def on_settings(self, c: list[Any], span: Span) -> s.Settings:
        return s.Settings(str(c[0]), tuple(x for x in c[1:] if x is not None), span=span)

    def on_entry(self, c: list[Any], span: Span) -> s.Entry:
        return s.Entry(c[0], c[1], c[2], span=span)

    def _doc(self, span: Span) -> str:
        lines: list[str] = []
        number = span.line - 1
        while number >= 1 and (text := self.source.line(number).strip()).startswith("#"):
            lines.append(text.lstrip("#").strip())
            number -= 1
        return "\n".join(reversed(lines))

    # definitions

    def on_parameters(self, c: list[Any], span: Span) -> tuple[s.Parameter, ...]:
        text = span.source.text
        found: list[s.Parameter] = []
        keyword_only = False
        last = span.start
        for p in (x for x in c if x is not None):
            keyword_only = keyword_only or ";" in text[last : p.span.start]
            last = p.span.end
            found.append(s.Parameter(p.name, p.default, p.inferred, keyword_only, span=p.span))
        return tuple(found)

    def on_parameter(self, c: list[Any], span: Span) -> s.Parameter:
        return s.Parameter(c[0], c[2], c[1] is not None, False, span=span)

    def on_body(self, c: list[Any], span: Span) -> tuple[Any, ...]:
        return tuple(x for x in c if x is not None)

    def on_input_(self, c: list[Any], span: Span) -> s.Input:
        return s.Input(c[1], c[2], c[3], span=span)

    def on_param(self, c: list[Any], span: Span) -> s.Param:
        return s.Param(c[1], c[2] is not None, c[3], c[4], c[5], span=span)

    def on_buffer(self, c: list[Any], span: Span) -> s.Buffer:
        return s.Buffer(c[1], c[2] is not None, c[3], c[5], c[4], span=span)

    def on_state(self, c: list[Any], span: Span) -> s.State:
        return s.State(c[1], c[2], c[3], span=span)

    def on_total(self, c: list[Any], span: Span) -> s.Total:
        return s.Total(c[1], c[2], span=span)

    def on_let(self, c: list[Any], span: Span) -> s.Let:
        return s.Let(c[0], c[1], span=span)

    def on_update(self, c: list[Any], span: Span) -> s.Update:
        return s.Update(c[0], c[2], span=span)

    def on_require(self, c: list[Any], span: Span) -> s.Require:
        return s.Require(c[0], c[1], span=span)

    def on_return_(self, c: list[Any], span: Span) -> s.Return:
        return s.Return(c[0], span=span)

    # stages

    def on_stage(self, c: list[Any], span: Span) -> Any:
        import_fields = {f: getattr(c[1], f) for f in type(c[1]).__dataclass_fields__}
        return type(c[1])(**(import_fields | {"label": c[0], "span": span}))

    def on_label(self, c: list[Any], span: Span) -> s.Name:
        return c[0]  # type: ignore[no-any-return]

    def on_apply(self, c: list[Any], span: Span) -> s.Apply:
        call = s.Call(c[0], c[1] or (), span=span)
        return s.Apply(call, span.text.endswith(")"), span=span)

    def on_sequential(self, c: list[Any], span: Span) -> s.Sequential:
        return s.Sequential(c[0], span=span)

    def on_residual(self, c: list[Any], span: Span) -> s.Residual:
        return s.Residual(c[0], c[1], span=span)

    def on_repeat(self, c: list[Any], span: Span) -> s.Repeat:
        return s.Repeat(c[0], c[1], span=span)

    def on_concat(self, c: list[Any], span: Span) -> s.Concat:
        return s.Concat(c[1], tuple(x for x in c[2:] if x is not None), span=span)

    def on_branch(self, c: list[Any], span: Span) -> s.Branch:
        return s.Branch(c[1], label=c[0], span=span)

    def on_arguments(self, c: list[Any], span: Span) -> tuple[s.Argument, ...]:
        return tuple(c)

    def on_argument(self, c: list[Any], span: Span) -> s.Argument:
        return s.Argument(c[0].id if c[0] is not None else None, c[1], span=span)

    # expressions

    def on_if_(self, c: list[Any], span: Span) -> s.If:
        return s.If(c[0], c[1], c[2], span=span)

    def on_binary(self, c: list[Any], span: Span) -> s.Binary:
        return s.Binary(str(c[1]), c[0], c[2], op_span=self._token_span(c[1]), span=span)

    def on_unary(self, c: list[Any], span: Span) -> s.Unary:
        return s.Unary(str(c[0]), c[1], span=span)

    def on_call(self, c: list[Any], span: Span) -> s.Call:
        return s.Call(c[0], c[1] or (), span=span)

    def on_index(self, c: list[Any], span: Span) -> s.Index:
        return s.Index(c[0], c[1], span=span)

    def on_attribute(self, c: list[Any], span: Span) -> s.Attribute:
        return s.Attribute(c[0], str(c[1]), span=span)

    def on_number(self, c: list[Any], span: Span) -> s.Number:
        text = str(c[0]).replace("_", "")
        is_int = text.isdigit()
        if (is_int and len(text.lstrip("0")) > 18) or isinf(float(text)):
            advice = "whole numbers have at most 18 digits" if is_int else "the largest is 1.79e308"
            self.problems.append(Diagnostic("E0107", "this number is too large", Label(span), help=advice))
            return s.Number(0, span=span)
        return s.Number(int(text) if is_int else float(text), span=span)

    def on_string(self, c: list[Any], span: Span) -> s.String:
        return self._string(c[0])

    def _string(self, token: Token) -> s.String:
        body, result, i = str(token)[1:-1], [], 0
        while i < len(body):
            if body[i] == "\\":
                i += 1
                result.append({"n": "\n", "t": "\t"}.get(body[i], body[i]))
            else:
                result.append(body[i])
            i += 1
        return s.String("".join(result), span=self._token_span(token))

    def on_name_expr(self, c: list[Any], span: Span) -> s.Name:
        return c[0]  # type: ignore[no-any-return]

    def on_name(self, c: list[Any], span: Span) -> s.Name:
        if c[0] in RESERVED:
            message = f"`{c[0]}` is a word of the language and cannot be a name"
            self.problems.append(Diagnostic("E0101", message, Label(self._token_span(c[0]), "unexpected")))
        return s.Name(str(c[0]), span=self._token_span(c[0]))

    def on_ellipsis(self, c: list[Any], span: Span) -> s.Ellipsis_:
        return s.Ellipsis_(span=span)

    def on_list(self, c: list[Any], span: Span) -> s.ListOf:
        return s.ListOf(tuple(x for x in c if x is not None), span=span)

    def on_indices(self, c: list[Any], span: Span) -> tuple[Any, ...]:
        return tuple(c)

    def on_slice(self, c: list[Any], span: Span) -> s.Slice:
        first = next(i for i, x in enumerate(c) if isinstance(x, Token))
        rest = c[first + 1 :]
        start = c[0] if first else None
        return s.Slice(start, rest[0] if rest else None, rest[2] if len(rest) > 2 else None, span=span)


def parse(source: Source) -> tuple[s.File, tuple[Diagnostic, ...]]:
    """The file's items and what could not be read; never raises."""
    if len(source.text) > MAX_CHARACTERS:
        where = Label(Span(source, 0, 1))
        return s.File(()), (Diagnostic("E0005", "the file has more than a million characters", where),)
    found: list[Diagnostic] = []
    text, work = source.text, MAX_WORK
    while True:
        try:
            tree = _lark().parse(text, start="start")
            break
        except UnexpectedInput as error:
            offset = _offset(error, len(text))
            found.append(diagnose(source, error, offset))
            work -= len(text)
            if len(found) >= MAX_ERRORS or work < 0:
                return s.File(()), tuple(found)
            text = without_item(text, offset)
    build = _Build(source)
    items = tuple(x for x in (_item(build, part) for part in tree.children) if x is not None)
    found += build.problems
    return s.File(items, span=Span(source, 0, len(source.text))), tuple(
        sorted(found, key=lambda d: d.primary.span.start)
    )


def _item(build: _Build, tree: Any) -> s.Item | None:
    if not isinstance(tree, Tree):
        return None
    try:
        return build.transform(tree)  # type: ignore[no-any-return]
    except RecursionError:
        start = getattr(tree.meta, "start_pos", 0)
        where = Label(Span(build.source, start, start + 1), "in this item")
        build.problems.append(Diagnostic("E0103", "the text is nested too deeply", where, help=_SHALLOWER))
        return None


def parse_expression(text: str, name: str = "<string>") -> s.Expr:
    """A single expression; raises CompileError."""
    source = Source(name, text)
    build = _Build(source)
    try:
        value: s.Expr = build.transform(_lark().parse(text, start="expr"))
    except UnexpectedInput as error:
        raise CompileError((diagnose(source, error, _offset(error, len(text))),)) from None
    except RecursionError:
        where = Label(Span(source, 0, 1))
        raise CompileError(
            (Diagnostic("E0103", "the text is nested too deeply", where, help=_SHALLOWER),)
        ) from None
    if build.problems:
        raise CompileError(tuple(build.problems))
    return value


def _offset(error: UnexpectedInput, end: int) -> int:
    position = error.pos_in_stream
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return end
    return min(position if position is not None and position >= 0 else end, end)
