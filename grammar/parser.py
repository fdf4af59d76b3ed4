"""Text to syntax tree.

In: a ``Source``. Out: a ``File`` with the items that could be read, and a diagnostic for each that could not. The
grammar is ``net.lark`` (LALR); its tables are built once and kept in the user's cache directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from . import syntax as s
from .cachedir import cache_directory
from .diagnostics import CompileError, Diagnostic, Label
from .source import Source, Span

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 100
MAX_ERRORS = 20
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
        depth = total = 0
        previous = ""
        for token in stream:
            total += (token.type in _OPEN or token.type == "LBRACE") - (
                token.type in _CLOSE or token.type == "RBRACE"
            )
            if total > MAX_DEPTH:
                raise UnexpectedToken(token, set())  # type: ignore[no-untyped-call]
            if token.type in _OPEN:
                depth += 1
            elif token.type in _CLOSE:
                depth = max(depth - 1, 0)
            if token.type != "_SEP" or (depth == 0 and previous not in _GOES_ON):
                previous = token.type
                yield token
            elif depth and ";" in "".join(line.split("#")[0] for line in token.split("\n")):
                yield Token.new_borrow_pos("_SEMI", ";", token)


@cache
def _lark(start: str) -> Lark:
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

    def on_start(self, c: list[Any], span: Span) -> s.File:
        return s.File(tuple(x for x in c if x is not None), span=span)

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

    def on_entry(self, c: list[Any], span: Span) -> s.Let:
        return s.Let(c[0], c[1], span=span)

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
        return s.Param(c[1], c[2] is not None, c[3], c[4], span=span)

    def on_buffer(self, c: list[Any], span: Span) -> s.Buffer:
        return s.Buffer(c[1], c[2] is not None, c[3], c[5], c[4], span=span)

    def on_state(self, c: list[Any], span: Span) -> s.State:
        return s.State(c[1], c[2], span=span)

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
        return s.Number(int(text[:400]) if is_int else float(text), span=span)

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
        where = Span(source, 0, 1)
        return s.File(()), (Diagnostic("E0005", "the file has more than a million characters", Label(where)),)
    found: list[Diagnostic] = []
    text = source.text
    while True:
        try:
            tree = _lark("start").parse(text, start="start")
            return _Build(source).transform(tree), tuple(found)
        except UnexpectedInput as error:
            offset = _offset(error, len(source.text))
            found.append(_diagnose(source, error, offset))
            if len(found) >= MAX_ERRORS:
                return s.File(()), tuple(found)
            text = _without_item(text, offset)
        except RecursionError:
            found.append(Diagnostic("E0103", "the text is nested too deeply", Label(Span(source, 0, 1))))
            return s.File(()), tuple(found)


def parse_expression(text: str, name: str = "<string>") -> s.Expr:
    """A single expression; raises CompileError."""
    source = Source(name, text)
    try:
        return _Build(source).transform(_lark("start").parse(text, start="expr"))  # type: ignore[no-any-return]
    except UnexpectedInput as error:
        raise CompileError((_diagnose(source, error, _offset(error, len(text))),)) from None


_ITEM_WORDS = (
    "import",
    "const",
    "fn",
    "init",
    "schedule",
    "layer",
    "optimizer",
    "metric",
    "net",
    "data",
    "train",
)


def _offset(error: UnexpectedInput, end: int) -> int:
    position = error.pos_in_stream
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return end
    return min(position if position is not None and position >= 0 else end, end)


def _item_starts(text: str) -> list[int]:
    starts, offset = [], 0
    for line in text.split("\n"):
        word = line.split(" ", 1)[0].split("(", 1)[0].rstrip("{")
        if word in _ITEM_WORDS:
            starts.append(offset)
        offset += len(line) + 1
    return starts


def _without_item(text: str, offset: int) -> str:
    """The text with the item around an offset blanked out, line breaks kept."""
    starts = _item_starts(text)
    begin = max((i for i in starts if i <= offset), default=0)
    after = min((i for i in starts if i > offset), default=len(text))
    if not any(c.strip() for c in text[begin:after]):
        begin, after = 0, len(text)
    return text[:begin] + "".join("\n" if c == "\n" else " " for c in text[begin:after]) + text[after:]


_WORDS = {
    "_SEP": "a new line", "RPAR": "`)`", "LPAR": "`(`", "RBRACE": "`}`", "LBRACE": "`{`", "RSQB": "`]`", "LSQB": "`[`",
    "EQUAL": "`=`", "COMMA": "`,`", "COLON": "`:`", "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes",
    "THEN": "`then`", "ELSE": "`else`", "QUESTION": "`?`", "SEMICOLON": "`;`",
}  # fmt: skip


def _diagnose(source: Source, error: UnexpectedInput, offset: int) -> Diagnostic:
    expected = sorted({_WORDS[t] for t in _expected(error) if t in _WORDS})
    help_text = f"here {' or '.join(expected[:5])} can stand" if expected else ""
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        span = Span(source, max(len(source.text.rstrip()) - 1, 0), len(source.text.rstrip()))
        return Diagnostic(
            "E0102",
            "the file ends in the middle of an item",
            Label(span, "nothing closes this"),
            help=help_text,
        )
    if isinstance(error, UnexpectedToken):
        word = str(error.token)
        span = Span(source, offset, offset + max(len(word.rstrip()), 1))
        shown = "the end of the line" if error.token.type == "_SEP" else f"`{word}`"
        return Diagnostic("E0101", f"{shown} cannot stand here", Label(span, "unexpected"), help=help_text)
    span = Span(source, offset, min(offset + 1, max(len(source.text), 1)))
    return Diagnostic(
        "E0101",
        f"`{source.text[offset : offset + 1]}` cannot stand here",
        Label(span, "unexpected"),
        help=help_text,
    )


def _expected(error: UnexpectedInput) -> set[str]:
    return set(getattr(error, "expected", None) or getattr(error, "allowed", None) or ())
