"""NVIDIA's compiler for CUDA C++ at run time, through ctypes: it needs neither a driver nor a GPU.

In: the text of a module and an architecture such as ``sm_90``. Out: machine code (a cubin), and what the assembler tells of
registers and memory. The library comes with ``pip install nvidia-cuda-nvrtc`` or with a CUDA toolkit.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

OPTIONS = ("--std=c++17", "--ptxas-options=-v", "--diag-suppress=177")
SONAMES = ("libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12")
PACKAGES = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12")
LIBRARY = re.compile(r"(libnvrtc\.so(\.\d+)*|nvrtc64_\w+\.dll)$")


class MissingCompiler(RuntimeError):
    """There is no NVRTC on this machine."""


class RefusedText(RuntimeError):
    """NVRTC does not compile a text, which is a bug in netc."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an entry takes of a processor: registers of a thread, bytes spilled to memory, bytes of its stack."""

    registers: int
    spilled: int
    stack: int


@cache
def library() -> Any:
    """The loaded library; raises MissingCompiler."""
    for name in (*_from_packages(), *SONAMES):
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.nvrtcGetErrorString.restype = ctypes.c_char_p
        return found
    raise MissingCompiler("NVRTC, NVIDIA's run-time compiler, is not installed")


def _from_packages() -> Iterator[str]:
    """The libraries of installed wheels."""
    for package in PACKAGES:
        try:
            listed = files(package) or []
        except PackageNotFoundError:
            continue
        for file in listed:
            path = Path(str(file.locate()))
            if LIBRARY.search(path.name) and path.exists():
                yield str(path)


def version() -> tuple[int, int]:
    """The release of NVRTC; raises MissingCompiler."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "")
    return major.value, minor.value


def architectures() -> list[int]:
    """What it makes code for, 90 standing for ``sm_90``, in order; raises MissingCompiler."""
    count = ctypes.c_int()
    _check(library().nvrtcGetNumSupportedArchs(ctypes.byref(count)), "")
    found = (ctypes.c_int * count.value)()
    _check(library().nvrtcGetSupportedArchs(found), "")
    return sorted(found)


def compile_text(text: str, architecture: str, options: Sequence[str] = OPTIONS) -> tuple[bytes, str]:
    """Machine code for an architecture, and the log. Raises MissingCompiler, RefusedText."""
    nvrtc, program = library(), ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"netc.cu", 0, None, None), "")
    try:
        given = [f"--gpu-architecture={architecture}".encode(), *(o.encode() for o in options)]
        status = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        log = _bytes(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode(errors="replace")
        _check(status, log)
        return _bytes(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log.rstrip("\0")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(size_of: Any, read: Any, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)), "")
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer), "")
    return buffer.raw


def _check(status: int, log: str) -> None:
    if status:
        message = library().nvrtcGetErrorString(status).decode()
        raise RefusedText(f"bug in netc: NVRTC says {message}\n{log}")


_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


def usage(log: str) -> dict[str, Usage]:
    """What the log tells of each entry."""
    found: dict[str, Usage] = {}
    for part in re.split(r"(?=Compiling entry function)", log):
        name, spill, registers = (p.search(part) for p in (_ENTRY, _SPILL, _REGISTERS))
        if name and spill and registers:
            stack, stored, loaded = (int(g) for g in spill.groups())
            found[name.group(1)] = Usage(int(registers.group(1)), stored + loaded, stack)
    return found


__all__ = [
    "MissingCompiler", "RefusedText", "Usage", "architectures", "compile_text", "library", "usage", "version",
]  # fmt: skip
