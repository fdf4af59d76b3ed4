"""The formatter: one way to write a program down.

In: text, or nodes of the syntax tree. Out: text that parses to an equal tree, every comment kept. Indentation is four
spaces; line breaks stay where the author put them, at most one blank line in a row; lines of more than 100 characters
are broken inside brackets; the ``=`` of a ``data`` or ``train`` block stand below each other. Formatting twice
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import syntax as s
from .diagnostics import CompileError
from .layout import OPERATORS, WORDS, Block, Reader, Statement, Token
from .parser import parse
from .source import Source
from .unparse import expression, item

WIDTH = 100
INDENT = 4
_SETTINGS = ("data", "train")


def format_source(text: str, name: str = "<string>") -> str:
    """The text as it should be written; raises CompileError when it cannot be parsed."""
    file, diagnostics = parse(Source(name, text))
    if diagnostics:
        raise CompileError(diagnostics)
    lines: list[str] = []
    _rows(Reader(text).block(), 0, lines, align=False)
    result = "\n".join(lines) + "\n" if lines else ""
    again, problems = parse(Source(name, result))
    if problems or again != file:
        raise AssertionError("bug in netc: the formatter changed the meaning of the program")
    return result


def format_expression(e: s.Expr) -> str:
    """An expression on one line, with as few parentheses as it needs."""
    return expression(e)


def format_item(node: s.Item) -> str:
    """An item of a file, without comments, without a final line break."""
    return format_source(item(node)).rstrip("\n")


# blocks


def _rows(block: Block, indent: int, lines: list[str], *, align: bool) -> None:
    widths = _columns(block) if align else {}
    for row in block.rows:
        if row is None:
            lines.append("")
        elif isinstance(row, str):
            lines.append(" " * indent + row)
        else:
            _statement(row, indent, lines, widths.get(id(row), 0))


def _columns(block: Block) -> dict[int, int]:
    """For each entry of a settings block, how wide its name is to be: the widest between two blank lines."""
    found: dict[int, int] = {}
    run: list[Statement] = []
    for row in [*block.rows, None]:
        if isinstance(row, Statement):
            run.append(row)
        elif row is None:
            widest = max((len(x.parts[0][0].text) for x in run), default=0)
            found |= {id(x): widest for x in run}
            run = []
    return found


def _statement(row: Statement, indent: int, lines: list[str], name_width: int) -> None:
    start = len(lines)
    lines.append("")
    align = row.parts[0][0].text in _SETTINGS and len(row.parts[0]) == 2 and bool(row.blocks)
    for i, part in enumerate(row.parts):
        texts = _Run(part, indent, name_width if i == 0 else 0, lines[-1]).lines()
        lines[-1:] = texts
        if i == len(row.blocks):
            break
        block = row.blocks[i]
        flat = _flat(block) if block.flat else None
        if not block.rows and not block.comment:
            lines[-1] += "}"
            row.parts[i + 1][0] = Token("", "closed")
        elif flat is not None and len(lines[-1]) + len(flat) + 3 <= WIDTH:
            lines[-1] += f" {flat} }}"
            row.parts[i + 1][0] = Token("", "closed")
        else:
            lines[-1] += f"  {block.comment}" if block.comment else ""
            _rows(block, indent + INDENT, lines, align=align)
            lines.append(" " * indent)
    if row.comment:
        lines[-1] += f"  {row.comment}"
    assert len(lines) > start


def _flat(block: Block) -> str | None:
    """The contents of a block on one line; None when they hold what needs lines."""
    parts = []
    for row in block.rows:
        if not isinstance(row, Statement) or row.comment:
            return None
        text = ""
        for i, part in enumerate(row.parts):
            text += (" " if i else "") + _joined(part)
            if i < len(row.blocks):
                inner = _flat(row.blocks[i])
                if inner is None:
                    return None
                text += f" {inner}" if inner else ""
        parts.append(text.replace("{ }", "{}"))
    return "; ".join(parts)


def _joined(part: list[Token]) -> str:
    return _Run(part, 0, 0, "").flat()


# lines of one run of tokens


@dataclass(slots=True)
class _Piece:
    """A token with what stands before it: a space or nothing, or a line break with comments."""

    token: Token
    space: bool
    breaks: bool


class _Run:
    """The tokens of a statement between blocks, arranged in lines."""

    def __init__(self, part: list[Token], indent: int, name_width: int, begun: str) -> None:
        self.indent = indent
        self.begun = begun or " " * indent
        self.name_width = name_width
        self.pieces: list[_Piece] = []
        inside: list[str] = []
        for i, token in enumerate(part):
            before = part[i - 1] if i else None
            self.pieces.append(_Piece(token, _space(part, i, inside), bool(before and token.lines)))
            if token.kind == "sign" and token.text in "([":
                inside.append(token.text)
            elif token.kind == "sign" and token.text in ")]" and inside:
                inside.pop()

    def flat(self) -> str:
        return "".join((" " if p.space else "") + p.token.text for p in self.pieces)

    def lines(self) -> list[str]:
        """Breaks lines inside brackets until all fit or nothing can be broken."""
        while True:
            ranges = self._ranges()
            indents = self._indents(ranges)
            texts = [self._text(a, b) for a, b in ranges]
            for (a, b), indent, text in zip(ranges, indents, texts, strict=True):
                if indent + len(text) > WIDTH and self._break(a, b, indent):
                    break
            else:
                return self._written(ranges, indents, texts)

    def _ranges(self) -> list[tuple[int, int]]:
        starts = [0, *(i for i, p in enumerate(self.pieces) if p.breaks)]
        return list(zip(starts, [*starts[1:], len(self.pieces)], strict=True))

    def _indents(self, ranges: list[tuple[int, int]]) -> list[int]:
        """Lines inside a bracket stand four further in than the line that opens it, others than the statement."""
        opened: list[int] = []
        found: list[int] = []
        for number, (a, b) in enumerate(ranges):
            tokens = [p.token for p in self.pieces[a:b]]
            if number == 0:
                indent = len(self.begun)
            elif opened and tokens[0].kind == "sign" and tokens[0].text in ")]":
                indent = opened[-1]
            else:
                indent = (opened[-1] if opened else self.indent) + INDENT
            found.append(indent)
            for token in tokens:
                if token.kind == "sign" and token.text in "([":
                    opened.append(self.indent if number == 0 else indent)
                elif token.kind == "sign" and token.text in ")]" and opened:
                    opened.pop()
        return found

    def _text(self, a: int, b: int) -> str:
        first = self.pieces[a]
        text = (" " if first.space and self.begun.strip() and a == 0 else "") + first.token.text
        if a == 0 and self.name_width:
            text = text.ljust(self.name_width)
        return text + "".join((" " if p.space else "") + p.token.text for p in self.pieces[a + 1 : b])

    def _break(self, a: int, b: int, indent: int) -> bool:
        """Breaks a line that is too long: behind a comma, behind ``=``, before an operator, or inside brackets."""
        commas, equals, elses, sums, pairs = self._places(a, b)
        if equals and not commas:
            rest = self.indent + INDENT + len(self._text(equals[0], b)) - self.pieces[equals[0]].space
            equals = equals[:1] if rest <= WIDTH else []
        for places in (commas, equals, elses, sums):
            if places:
                fitting = [i for i in places if indent + len(self._text(a, i)) <= WIDTH]
                self.pieces[fitting[-1] if fitting else places[0]].breaks = True
                return True
        if not pairs:
            return False
        i, j = max(pairs, key=lambda pair: len(self._text(*pair)))
        self.pieces[i + 1].breaks = self.pieces[j].breaks = True
        return True

    def _places(
        self, a: int, b: int
    ) -> tuple[list[int], list[int], list[int], list[int], list[tuple[int, int]]]:
        """Where a line may be broken outside of its brackets, and the outermost pairs of brackets."""
        commas, equals, elses, sums = [], [], [], []
        pairs: list[tuple[int, int]] = []
        opened: list[int] = []
        tokens = [p.token for p in self.pieces]
        for i in range(a, b):
            text, sign = tokens[i].text, tokens[i].kind == "sign"
            if sign and text in "([":
                opened.append(i)
            elif sign and text in ")]":
                if len(opened) == 1 and i > opened[0] + 1:
                    pairs.append((opened[0], i))
                opened = opened[:-1]
            elif opened or i == a or tokens[i].kind not in ("sign", "word"):
                continue
            elif text in (",", ";") and i + 1 < b:
                commas.append(i + 1)
            elif text == "=" and i + 1 < b:
                equals.append(i + 1)
            elif text == "else":
                elses.append(i)
            elif text in ("and", "or", "+") or (text == "-" and not _is_unary(tokens, i)):
                sums.append(i)
        return commas, equals, elses, sums, pairs

    def _written(self, ranges: list[tuple[int, int]], indents: list[int], texts: list[str]) -> list[str]:
        """The lines, with the comments that stand between tokens."""
        written = [self.begun + texts[0]]
        for (a, _), indent, text in zip(ranges[1:], indents[1:], texts[1:], strict=True):
            token = self.pieces[a].token
            comments = [c for c in token.comments if c]
            if comments and token.beside:
                written[-1] += f"  {comments.pop(0)}"
            written += [" " * indent + c for c in comments]
            written.append(" " * indent + text)
        return written


def _space(part: list[Token], i: int, inside: list[str]) -> bool:
    """Whether a space stands before a token on its line."""
    token = part[i]
    if i == 0:
        return False
    before = part[i - 1]
    if before.kind == "closed":
        return True
    a, b = before.text, token.text
    sign_a, sign_b = before.kind == "sign", token.kind == "sign"
    if sign_b and b in (")", "]", ",", ";", "?", "."):
        return False
    if sign_a and a in ("(", "[", "."):
        return False
    if sign_b and b in ("(", "["):
        return not (
            before.kind in ("attribute", "string", "number")
            or (before.kind == "word" and a not in WORDS)
            or (sign_a and (a in (")", "]") or (a == "-" and _is_unary(part, i - 1)) or _slices(a, inside)))
        )
    if sign_b and b == ":":
        return sign_a and a == ","
    if sign_a and a == ":":
        return not _slices(a, inside)
    return not (sign_a and a == "-" and _is_unary(part, i - 1))


def _slices(text: str, inside: list[str]) -> bool:
    return text == ":" and bool(inside) and inside[-1] == "["


def _is_unary(part: list[Token], i: int) -> bool:
    """Whether a minus has no left operand."""
    if i == 0:
        return True
    before = part[i - 1]
    if before.kind == "word":
        return before.text in WORDS
    return before.kind == "sign" and (before.text in OPERATORS or before.text in ("(", "[", ",", ";", ":"))
