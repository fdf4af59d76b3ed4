"""Weights on disk: safetensors with PyTorch's names, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span

Array = NDArray[Any]


def failure(code: str, message: str, path: Path, help: str = "") -> CompileError:
    """The exception with one diagnostic about a file."""
    return CompileError((Diagnostic(code, message, Label(Span(Source(str(path), ""), 0, 0)), help=help),))


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file by new content; on any failure the old one stays. Raises CompileError (E0705)."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        help_text = "files that were there before are as they were"
        raise failure("E0705", f"{path} cannot be written: {error.strerror}", path, help_text) from None


def save(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    write_atomically(path, to_bytes({n: a.copy(order="C") for n, a in tensors.items()}, dict(metadata)))


def load(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors and metadata; raises CompileError (E0703) for files that are missing, truncated or of another kind."""
    try:
        with safe_open(str(path), "np") as file:
            return {n: file.get_tensor(n) for n in file.keys()}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise failure("E0703", f"there is no file {path}", path) from None
    except IsADirectoryError:
        raise failure("E0703", f"{path} is a folder without weights", path) from None
    except TypeError as error:
        message = f"{path} holds numbers of a type that netc does not read ({error})"
        raise failure("E0703", message, path, "save the weights as float32 or float64") from None
    except (SafetensorError, OSError, ValueError) as error:
        help_text = (
            "torch's own format must be converted: safetensors.torch.save_file(model.state_dict(), path)"
        )
        raise failure("E0703", f"{path} is no complete safetensors file ({error})", path, help_text) from None
