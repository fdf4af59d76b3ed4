"""LLVM text to machine code, through llvmlite."""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm

from .target import Target


@cache
def _machine(target: Target) -> Any:
    """The code generator for a CPU, at code generation level 2; no optimisation passes are run.

    Code model large: a process with much memory in use may load code and constants further apart than 2 GiB.
    """
    if target.triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        found = llvm.Target.from_triple(target.triple)
    else:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        found = llvm.Target.from_default_triple()
    return found.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="static", codemodel="large"
    )


def compile_text(text: str, target: Target) -> bytes:
    """Object code; raises RuntimeError on text that LLVM refuses, which is a bug in netc."""
    machine = _machine(target)
    module = _parsed(text, target)
    module.verify()
    return machine.emit_object(module)  # type: ignore[no-any-return]


def assembly(text: str, target: Target) -> str:
    """The same code as the CPU's assembly language."""
    return _machine(target).emit_assembly(_parsed(text, target))  # type: ignore[no-any-return]


def _parsed(text: str, target: Target) -> Any:
    module = llvm.parse_assembly(text)
    if target.triple:
        module.triple = target.triple
    return module
