"""Syntax trees that are kept on disk: a text that was parsed before is not parsed again, nor is the parser imported.

In: a ``Source``. Out: what ``parser.parse`` gives. An entry holds the text itself, so that no other text can ever be
taken for it, and the tree as nested tuples of plain values. Entries are for one version of the grammar's files and of
Python. The folder is safe to delete at any time; a damaged entry is the same as none.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from zlib import adler32, crc32

from . import syntax
from .cachedir import cache_directory, keep
from .diagnostics import Diagnostic
from .source import NOWHERE, Source, Span

LIMIT_FILES = 256
_SPAN = -1
_CLASSES: tuple[Any, ...] = tuple(
    c for c in vars(syntax).values() if hasattr(c, "__dataclass_fields__") and c is not Span
)
_NUMBERS = {c: i for i, c in enumerate(_CLASSES)}
_FIELDS = tuple(tuple(c.__dataclass_fields__) for c in _CLASSES)


def parse(source: Source) -> tuple[syntax.File, tuple[Diagnostic, ...]]:
    """The file's items and what could not be read; never raises. Texts without a mistake are kept."""
    found = _load(source)
    if found is not None:
        return found, ()
    from .parser import parse as parse_text

    tree, diagnostics = parse_text(source)
    if not diagnostics:
        with suppress(OSError, ValueError, RecursionError):  # ValueError: nested deeper than marshal writes
            _store(source, tree)
    return tree, diagnostics


def _load(source: Source) -> syntax.File | None:
    try:
        content = _path(source.text).read_bytes()
    except OSError:
        return None
    if crc32(content[4:]).to_bytes(4, "little") != content[:4]:
        return None
    stamp, text, tree = marshal.loads(content[4:])
    if stamp != _stamp() or text != source.text:
        return None
    file: syntax.File = _decode(tree, source)
    return file


def _store(source: Source, tree: syntax.File) -> None:
    content = marshal.dumps((_stamp(), source.text, _encode(tree)))
    keep(_path(source.text), crc32(content).to_bytes(4, "little") + content, LIMIT_FILES)


def _path(text: str) -> Path:
    raw = text.encode("utf-8", "surrogatepass")
    return cache_directory() / "trees" / f"{crc32(raw):08x}{adler32(raw):08x}.tree"


@cache
def _stamp() -> str:
    """What a tree depends on besides the text: Python, and the size and time of every file of the grammar."""
    with os.scandir(Path(__file__).parent) as entries:
        files = sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries if e.is_file())
    return repr((sys.version, files))


def _encode(node: Any) -> Any:
    """A record as a tuple of its class's number and its fields, a tuple as a list, a span by its two ends."""
    if isinstance(node, tuple):
        return [_encode(part) for part in node]
    if isinstance(node, Span):
        return (_SPAN,) if node is NOWHERE else (_SPAN, node.start, node.end)
    number = _NUMBERS.get(type(node))
    if number is None:
        return node
    return (number, *(_encode(getattr(node, name)) for name in _FIELDS[number]))


def _decode(record: tuple[Any, ...], source: Source) -> Any:
    number = record[0]
    if number == _SPAN:
        return Span(source, record[1], record[2]) if len(record) > 1 else NOWHERE
    cls = _CLASSES[number]
    node = cls.__new__(cls)
    for name, value in zip(_FIELDS[number], record[1:], strict=True):
        if type(value) is tuple:
            value = _decode(value, source)
        elif type(value) is list:
            value = tuple([_decode(v, source) if type(v) is tuple else v for v in value])
        object.__setattr__(node, name, value)
    return node
