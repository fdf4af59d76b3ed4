"""Text to the pieces that the formatter arranges: tokens with the comments before them, statements, blocks.

In: text that parses without a diagnostic. Out: a ``Block``: statements, comments on lines of their own, blank lines.
The lines that go on, and the words and signs, are told apart exactly as the parser tells them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

_LEXEME = re.compile(
    r'(?P<comment>\#[^\n]*)|(?P<break>\n)|(?P<blank>[ \t\r]+)|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\.\.\.|<-|==|!=|<=|>=|[-+*/%@^<>=?:,;.(){}\[\]])"
)
OPERATORS = {
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "^",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "=",
    "<-",
    "and",
    "or",
    "not",
}
WORDS = {"if", "then", "else", "and", "or", "not", "return", "require", "repeat", "import", "const"}
_GOES_ON = (OPERATORS | {",", "if", "then", "else"}) - {"<-"}
_LEADS = (OPERATORS | {"then", "else"}) - {"=", "not"}


@dataclass(frozen=True, slots=True)
class Token:
    """kind: word, attribute, number, string, sign. ``comments`` stand between this token and the one before.

    lines: line breaks before it. beside: the first comment ends the line of the token before.
    """

    text: str
    kind: str
    lines: int = 0
    comments: tuple[str, ...] = ()
    beside: bool = False


@dataclass(slots=True)
class Statement:
    """``parts`` are runs of tokens, the last but one ending in ``{``; ``blocks`` stand between them."""

    parts: list[list[Token]]
    blocks: list[Block] = field(default_factory=list)
    comment: str = ""


@dataclass(slots=True)
class Block:
    """``rows``: statements, comments (texts) and blank lines (None). flat: written on one line."""

    rows: list[Statement | str | None] = field(default_factory=list)
    comment: str = ""
    flat: bool = False


def tokens(text: str) -> list[Token]:
    """All tokens; the last one is empty and carries the comments at the end of the file."""
    found: list[Token] = []
    lines, comments, beside, at = 0, [], False, 0
    while at < len(text):
        match = _LEXEME.match(text, at)
        if match is None:
            raise ValueError(f"bug in netc: the formatter cannot read {text[at]!r}")
        at, kind, lexeme = match.end(), str(match.lastgroup), match.group()
        if kind == "break":
            lines += 1
            comments.append("")
        elif kind == "comment":
            beside = beside or (not lines and bool(found))
            comments.append(_comment(lexeme))
        elif kind != "blank":
            if kind == "word" and found and found[-1].text == ".":
                kind = "attribute"
            found.append(Token(lexeme, kind, lines, tuple(comments), beside))
            lines, comments, beside = 0, [], False
    return _arrows([*found, Token("", "end", lines, tuple(comments), beside)])


def _comment(text: str) -> str:
    body = text[1:].rstrip()
    return "#" + (body if not body or body[0] in " #!\t" else f" {body}")


def _arrows(found: list[Token]) -> list[Token]:
    """``<-`` is an arrow behind the first name of a statement, elsewhere a comparison with a negative number."""
    result: list[Token] = []
    for token in found:
        if token.text == "<-" and not _first(result):
            result += [replace(token, text="<"), Token("-", "sign")]
        else:
            result.append(token)
    return result


def _first(before: list[Token]) -> bool:
    if not before or before[-1].kind != "word":
        return False
    return before[-1].lines > 0 or len(before) < 2 or before[-2].text in ("{", ";", "}")


class Reader:
    """Tokens to blocks."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0

    def block(self, closing: str = "") -> Block:
        """Statements up to ``closing``, which is left to be read."""
        block = Block()
        first = True
        while True:
            token = self.tokens[self.at]
            self._gap(block, token, first)
            if token.text == closing:
                while block.rows and block.rows[-1] is None:
                    block.rows.pop()
                return block
            if token.text == ";" and token.kind == "sign":
                self.at += 1
                continue
            block.rows.append(self._statement())
            first = False

    def _gap(self, block: Block, token: Token, first: bool) -> None:
        """Comments and blank lines before a statement; one beside the statement before belongs to that."""
        comments = list(token.comments)
        if token.beside:
            text = next(c for c in comments if c)
            del comments[: comments.index(text) + 1]
            last = block.rows[-1] if block.rows else None
            if isinstance(last, Statement):
                last.comment = text
            else:
                block.comment = text
        breaks = 0
        for comment in comments:
            if not comment:
                breaks += 1
                continue
            self._blank(block, breaks)
            block.rows.append(comment)
            breaks = 0
        self._blank(block, breaks)

    def _blank(self, block: Block, breaks: int) -> None:
        if breaks > 1 and block.rows and block.rows[-1] is not None:
            block.rows.append(None)

    def _statement(self) -> Statement:
        statement = Statement([[]])
        depth = 0
        while True:
            token = self.tokens[self.at]
            part = statement.parts[-1]
            if token.kind == "end" or (depth == 0 and token.text in ("}", ";") and token.kind == "sign"):
                return statement
            if part and depth == 0 and token.lines and not _continues(part[-1], token):
                return statement
            part.append(token)
            self.at += 1
            if token.kind != "sign":
                continue
            depth += (token.text in "([") - (token.text in ")]")
            if token.text == "{":
                statement.blocks.append(self._inner())
                statement.parts.append([self.tokens[self.at]])
                self.at += 1

    def _inner(self) -> Block:
        begin = self.at
        block = self.block("}")
        within = self.tokens[begin : self.at + 1]
        block.flat = not any(t.lines or t.comments for t in within)
        return block


def _continues(before: Token, token: Token) -> bool:
    goes_on = before.text in _GOES_ON and before.kind in ("sign", "word")
    return goes_on or (token.text in _LEADS and token.kind in ("sign", "word"))
