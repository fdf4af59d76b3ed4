"""Artifacts on disk: found again by a hash of what they were made from and of the machine they are for.

Safe to delete at any time; a damaged or unwritable cache is the same as none. Writes are atomic.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..grammar.cachedir import cache_directory

LIMIT_BYTES = 256 * 2**20
VERSION = "2"


def key(*parts: str) -> str:
    """A name for what was made from these texts."""
    digest = hashlib.sha256()
    for part in (VERSION, *parts):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:40]


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """The bytes kept under a name, or made and kept now."""
    path = cache_directory() / "objects" / f"{name}.bin"
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        digest, _, body = content.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() == digest:
            os.utime(path)
            return body
    body = make()
    with contextlib.suppress(OSError):
        _write(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        _shrink(path.parent)
    return body


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _shrink(folder: Path) -> None:
    """Removes what was not used for longest when the folder outgrows its limit."""
    found = [(f.stat(), f) for f in folder.iterdir()]
    total = sum(s.st_size for s, _ in found)
    for status, file in sorted(found, key=lambda p: p[0].st_mtime):
        if total <= LIMIT_BYTES:
            break
        file.unlink(missing_ok=True)
        total -= status.st_size
