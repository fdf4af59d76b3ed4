"""The CPUs that code is made for: this one, or one chosen by name.

In: a name of ``CPUS``. Out: a ``Target``, which decides the width of vectors and what LLVM may use. The levels of x86-64
are those of its System V ABI: code for one runs on every CPU of that level or above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

NATIVE = "native"
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Target:
    """triple: LLVM's, empty for this machine's own. needs: features that a CPU must have to run the code."""

    name: str
    cpu: str
    vector_bytes: int
    triple: str = ""
    features: str = ""
    needs: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What object code depends on besides its text."""
        return f"{self.triple} {self.cpu} {self.features} {self.vector_bytes} {llvm.llvm_version_info}"

    @property
    def pause(self) -> str:
        """The hint that a thread waits for another, as LLVM text."""
        triple = self.triple or llvm.get_process_triple()
        x86 = _ARCHITECTURES.get(triple.split("-")[0]) == "x86_64"
        return "call void @llvm.x86.sse2.pause()" if x86 else 'fence syncscope("singlethread") seq_cst'

    @property
    def missing(self) -> tuple[str, ...]:
        """What this machine lacks to run the code; nothing when it can."""
        if not self.triple:
            return ()
        wanted = self.triple.split("-")[0]
        if _ARCHITECTURES.get(llvm.get_process_triple().split("-")[0]) != wanted:
            return (f"a CPU of {wanted}",)
        here = llvm.get_host_cpu_features()
        return tuple(x for x in self.needs if not here.get(x))


_V2 = ("sse4.2", "popcnt", "ssse3")
_V3 = (*_V2, "avx2", "fma", "f16c", "bmi2", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_X86, _ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
_LEVELS = (
    Target("x86-64-v2", "x86-64-v2", 16, _X86, needs=_V2),
    Target("x86-64-v3", "x86-64-v3", 32, _X86, needs=_V3),
    Target("x86-64-v4", "x86-64-v4", 64, _X86, needs=_V4),
    Target("aarch64", "generic", 16, _ARM, "+neon", ("neon",)),
)
CPUS = (NATIVE, *(x.name for x in _LEVELS))


@cache
def native() -> Target:
    """This machine's CPU with all it has."""
    features = llvm.get_host_cpu_features()
    width = 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
    return Target(NATIVE, llvm.get_host_cpu_name(), width, features=features.flatten())


def named(name: str) -> Target:
    """The CPU of that name; raises ValueError for one that is not in ``CPUS``."""
    if name == NATIVE:
        return native()
    for target in _LEVELS:
        if target.name == name:
            return target
    raise ValueError(f"cpu is one of {', '.join(CPUS)}, not {name!r}")
