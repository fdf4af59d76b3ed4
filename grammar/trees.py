"""Syntax trees that are kept on disk: a text that was parsed before is not parsed again, nor is the parser imported.

In: a ``Source``. Out: what ``parser.parse`` gives. An entry holds the text itself, so that no other text can ever be
taken for it, and the tree as nested tuples of plain values. Entries are for one version of the grammar's files and of
Python. The folder is safe to delete at any time; a damaged entry is the same as none.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterator, Mapping
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
    record = _load(source)
    if record is not None:
        return _decode(record, source), ()
    from .parser import parse as parse_text

    tree, diagnostics = parse_text(source)
    if not diagnostics:
        with suppress(OSError, ValueError, RecursionError):  # ValueError: nested deeper than marshal writes
            _store(source, tree)
    return tree, diagnostics


def definitions(source: Source) -> tuple[Mapping[str, syntax.Definition], tuple[Diagnostic, ...]]:
    """The definitions of a file by name, each made into a tree when it is asked for, and what could not be read."""
    record = _load(source)
    if record is not None:
        return _Definitions(record, source), ()
    file, diagnostics = parse(source)
    return {i.name.id: i for i in file.items if isinstance(i, syntax.Definition)}, diagnostics


class _Definitions(Mapping[str, syntax.Definition]):
    """Definitions of a file that was parsed before."""

    def __init__(self, record: tuple[Any, ...], source: Source) -> None:
        fields, kind = _FIELDS[record[0]], _NUMBERS[syntax.Definition]
        items = record[1 + fields.index("items")]
        at = 1 + _FIELDS[kind].index("name")
        self.source, self.trees = source, dict[str, syntax.Definition]()
        self.records = {_decode(r[at], source).id: r for r in items if r[0] == kind}

    def __getitem__(self, name: str) -> syntax.Definition:
        found = self.trees.get(name)
        if found is None:
            found = self.trees[name] = _decode(self.records[name], self.source)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


def _load(source: Source) -> tuple[Any, ...] | None:
    """The tree as it is kept."""
    try:
        content = _path(source.text).read_bytes()
    except OSError:
        return None
    if crc32(content[4:]).to_bytes(4, "little") != content[:4]:
        return None
    stamp, text, tree = marshal.loads(content[4:])
    if stamp != _stamp() or text != source.text:
        return None
    record: tuple[Any, ...] = tree
    return record


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
