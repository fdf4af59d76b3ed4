"""LLVM text to machine code, through llvmlite."""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm


@cache
def target_machine() -> Any:
    """The code generator for this CPU, at code generation level 2; no optimisation passes are run.

    Code model large: a process with much memory in use may load code and constants further apart than 2 GiB.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        reloc="static",
        codemodel="large",
    )


def cpu_description() -> str:
    """What the object code depends on besides its text."""
    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()} {llvm.llvm_version_info}"


def vector_bytes() -> int:
    """The widest vectors this CPU has."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def compile_text(text: str) -> bytes:
    """Object code; raises RuntimeError on text that LLVM refuses, which is a bug in netc."""
    machine = target_machine()
    module = llvm.parse_assembly(text)
    module.verify()
    return machine.emit_object(module)  # type: ignore[no-any-return]


def assembly(text: str) -> str:
    return target_machine().emit_assembly(llvm.parse_assembly(text))  # type: ignore[no-any-return]
