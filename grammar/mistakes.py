"""Syntax errors told well: what the parser stumbled over, turned into a diagnostic about what was probably meant.

In: a source, the exception of the parser, the offset. Out: a ``Diagnostic``, and the text without the item that could
not be read, so that the other items are read all the same.
"""

from __future__ import annotations

import re
from typing import Any

from lark.exceptions import UnexpectedInput, UnexpectedToken

from .diagnostics import Diagnostic, Label
from .source import Source, Span
from .suggest import closest

ITEM_WORDS = (
    "import", "const", "fn", "init", "schedule", "layer", "optimizer", "metric", "net", "data", "train",
)  # fmt: skip
_STATEMENT_WORDS = (
    "input", "param", "buffer", "state", "total", "require", "return", "sequential", "residual", "repeat", "concat",
    "branch", "shortcut",
)  # fmt: skip
RESERVED = (
    "import", "const", "require", "return", "sequential", "residual", "shortcut", "repeat", "branch", "if", "then",
    "else", "and", "or", "not",
)  # fmt: skip
_WORDS = {
    "RPAR": "`)`", "LPAR": "`(`", "RBRACE": "`}`", "LBRACE": "`{`", "RSQB": "`]`", "LSQB": "`[`", "EQUAL": "`=`",
    "COLON": "`:`", "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "THEN": "`then`",
    "ELSE": "`else`", "ATTRIBUTE": "a name", "COMMA": "`,`",
}  # fmt: skip
_FOREIGN = {
    "&": "logic is written `and`", "|": "logic is written `or`", "!": "logic is written `not`",
    "'": 'texts stand between double quotes: "like this"', "\u2019": 'quotes are straight: "like this"',
    "\u201c": 'quotes are straight: "like this"', "\u201d": 'quotes are straight: "like this"',
    "`": 'texts stand between double quotes: "like this"', "~": "logic is written `not`",
    "\u2212": "a minus is written `-`", "\u00d7": "a product is written `*`", "\u00a0": "this is a no-break space",
    ".": "numbers begin with a digit: 0.5",
}  # fmt: skip
_PAIRS = {")": "(", "]": "[", "}": "{"}
_LEXEMES = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*|[()\[\]{}]')


class TooDeep(UnexpectedToken):
    """The bracket that passes the bound of nesting."""


def diagnose(source: Source, error: UnexpectedInput, offset: int) -> Diagnostic:
    """The diagnostic of an error at an offset of the source's text."""
    if isinstance(error, TooDeep):
        return _at(source, "E0103", "the text is nested too deeply", offset, 1, "level 101")
    if not isinstance(error, UnexpectedToken):
        return _character(source, offset)
    opened = _open_brackets(source.text[:offset])
    if error.token.type == "$END":
        return _end(source, opened, _expected(error))
    if (line := _item_line(source.text, offset)) is not None and (left := _open_brackets(source.text[:line])):
        return _unclosed(source, left[-1], "another item begins before it is closed")
    if _head_of_item(source.text, offset):
        return _unfinished(source, offset)
    word = str(error.token).rstrip()
    if word in _PAIRS and (not opened or source.text[opened[-1]] != _PAIRS[word]):
        return _wrong_close(source, word, offset, opened)
    expected = _expected(error)
    if error.token.type == "COMPARE" and {"AND", "OR", "PLUS"} <= expected:
        return _at(source, "E0104", "comparisons do not chain", offset, len(word), "a second comparison",
                   "write `a < b and b < c`")  # fmt: skip
    shown = "the end of the line" if error.token.type == "_SEP" else f"`{word}`"
    if error.token.type == "_SEP":
        word = "\n"
    elif opened and source.text[opened[-1]] in "([" and "\n" in source.text[opened[-1] : offset]:
        return _still_open(source, shown, offset, len(word), opened[-1])
    return _at(source, "E0101", f"{shown} cannot stand here", offset, len(word), "unexpected",
               _advice(source, word, offset, expected))  # fmt: skip


def _at(
    source: Source, code: str, message: str, offset: int, length: int, text: str, advice: str = ""
) -> Diagnostic:
    end = min(offset + max(length, 1), max(len(source.text), 1))
    return Diagnostic(code, message, Label(Span(source, min(offset, end), end), text), help=advice)


def _advice(source: Source, word: str, offset: int, expected: set[str]) -> str:
    """What was probably meant: a misspelt keyword, a reserved word as a name, a sign of other languages."""
    before = source.text[:offset].rsplit("\n", 1)[-1]
    if "IMPORT" in expected:
        guess = _guess(word, ITEM_WORDS)
        return f"did you mean `{guess}`?" if guess else f"a file holds {', '.join(ITEM_WORDS)}"
    if word == "*" and before.endswith("*"):
        return "powers are written `^`"
    if word == "=" and before.endswith(("=", "<", ">")):
        return "there is no space inside `==`, `<=` and `>=`"
    last = re.search(r"(?:^|[;{])\s*(\w+)\s+$", before)
    if last and (guess := _guess(last.group(1), _STATEMENT_WORDS)):
        return f"did you mean `{guess}`?"
    if (first := before.split(maxsplit=1)[:1]) and first[0] in ITEM_WORDS and before[0] == " ":
        return f"`{first[0]}` stands outside of blocks, at the beginning of a line"
    if word in _FOREIGN:
        return _FOREIGN[word]
    names = sorted({_WORDS[t] for t in expected if t in _WORDS})
    if not names or len(names) > 4:
        return ""
    return f"expected {' or '.join(names)}"


def _guess(word: str, words: tuple[str, ...]) -> str | None:
    return None if word in words else closest(word, words)


def _expected(error: UnexpectedInput) -> set[str]:
    """The tokens that the parser would have taken: those that lead on, not only those of its table."""
    interactive: Any = getattr(error, "interactive_parser", None)
    if interactive is not None:
        return set(interactive.accepts())
    return set(getattr(error, "expected", None) or ())


def _character(source: Source, offset: int) -> Diagnostic:
    sign = source.text[offset : offset + 1]
    if sign == '"':
        length = len(source.text[offset:].split("\n", 1)[0])
        return _at(source, "E0105", "this text has no closing quote", offset, length, "begins here",
                   "close it on the same line; a line break inside is written `\\n`")  # fmt: skip
    shown = f"`{sign}`" if sign.isprintable() else f"the character U+{ord(sign or chr(0)):04X}"
    return _at(source, "E0106", f"{shown} is no sign of the language", offset, 1, "", _FOREIGN.get(sign, ""))


def _end(source: Source, opened: list[int], expected: set[str]) -> Diagnostic:
    if opened:
        return _unclosed(source, _astray(source.text, opened), "the file ends before it is closed")
    names = sorted({_WORDS[t] for t in expected if t in _WORDS})
    advice = f"expected {' or '.join(names)}" if 0 < len(names) <= 4 else ""
    last = max(len(source.text.rstrip()) - 1, 0)
    return _at(
        source, "E0102", "the file ends in the middle of an item", last, 1, "something must follow", advice
    )


def _head_of_item(text: str, offset: int) -> bool:
    """Whether an error stands on the first words of an item because the item before is not finished."""
    line = text.rfind("\n", 0, offset) + 1
    return (
        line in item_starts(text)
        and line > 0
        and len(text[line:offset].split()) <= 1
        and bool(text[:line].strip())
    )


def _unfinished(source: Source, offset: int) -> Diagnostic:
    line = source.text.rfind("\n", 0, offset) + 1
    before = "\n".join(row.split("#")[0] for row in source.text[:line].split("\n"))
    last = re.search(r"\S+\s*$", before)
    if last is None or last.group().strip() in ("}", ")", "]"):
        return _at(source, "E0101", "this item cannot be read", offset, 1, "unexpected")
    at = source.text.rfind(last.group().strip(), 0, line)
    return _at(source, "E0101", "this line is not finished", at, len(last.group().strip()),
               "something must follow before the next item")  # fmt: skip


def _still_open(source: Source, shown: str, offset: int, length: int, opened: int) -> Diagnostic:
    """A word that does not go on with what stands in a bracket of an earlier line."""
    sign = source.text[opened]
    closing = next(c for c, o in _PAIRS.items() if o == sign)
    end = min(offset + max(length, 1), len(source.text))
    return Diagnostic(
        "E0101", f"{shown} cannot stand here", Label(Span(source, offset, end), "unexpected"),
        (Label(Span(source, opened, opened + 1), "this is still open"),),
        help=f"close it with `{closing}`, or write `,` between the parts",
    )  # fmt: skip


def _unclosed(source: Source, offset: int, why: str) -> Diagnostic:
    sign = source.text[offset]
    return _at(source, "E0102", f"this `{sign}` is not closed", offset, 1, why)


def _astray(text: str, opened: list[int]) -> int:
    """The bracket that lacks its partner, told by indentation: what closes it stands further out than its line."""
    stack: list[int] = []
    for match in _LEXEMES.finditer(text):
        sign, at = match.group(), match.start()
        if sign in "([{":
            stack.append(at)
        elif sign in _PAIRS and stack:
            line = text.rfind("\n", 0, at) + 1
            begin = text.rfind("\n", 0, stack[-1]) + 1
            alone = not text[line:at].strip()
            if alone and at - line < len(text[begin:]) - len(text[begin:].lstrip(" ")):
                return stack[-1]
            stack.pop()
    return opened[-1]


def _wrong_close(source: Source, word: str, offset: int, opened: list[int]) -> Diagnostic:
    where = Label(Span(source, offset, offset + 1), "closes here")
    if not opened:
        return Diagnostic("E0102", f"nothing opens this `{word}`", Label(where.span, "one too many"))
    sign = source.text[opened[-1]]
    cause = Label(Span(source, opened[-1], opened[-1] + 1), "opened here")
    return Diagnostic("E0102", f"`{word}` does not close `{sign}`", where, (cause,))


def _open_brackets(text: str) -> list[int]:
    """Offsets of the brackets that are open at the end of a text."""
    opened: list[int] = []
    for match in _LEXEMES.finditer(text):
        sign = match.group()
        if sign in "([{":
            opened.append(match.start())
        elif sign in _PAIRS and opened:
            opened.pop()
    return opened


def item_starts(text: str) -> list[int]:
    """Offsets of the lines that begin with the word of an item."""
    return [m.start() for m in re.finditer(rf"^(?:{'|'.join(ITEM_WORDS)})\b(?!\s*[=:)\],])", text, re.M)]


def _item_line(text: str, offset: int) -> int | None:
    """Where the line of an offset begins, if an item begins there."""
    line = text.rfind("\n", 0, offset) + 1
    return line if line in item_starts(text) else None


def without_item(text: str, offset: int) -> str:
    """The text with the item around an offset blanked out, line breaks kept."""
    starts = item_starts(text)
    begin = max((i for i in starts if i <= offset), default=0)
    if (line := _item_line(text, offset)) is not None and (opened := _open_brackets(text[:line])):
        begin = max((i for i in starts if i <= opened[-1]), default=0)
        return text[:begin] + _blank(text[begin:line]) + text[line:]
    if line is not None and _head_of_item(text, offset) and any(i < line for i in starts):
        begin = max(i for i in starts if i < line)
        if text[begin:line].strip():
            return text[:begin] + _blank(text[begin:line]) + text[line:]
    after = min((i for i in starts if i > offset), default=len(text))
    if not text[begin:after].strip():
        return _blank(text)
    return text[:begin] + _blank(text[begin:after]) + text[after:]


def _blank(text: str) -> str:
    return "".join("\n" if c == "\n" else " " for c in text)
