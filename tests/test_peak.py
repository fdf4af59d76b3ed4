"""The loop that the CPU's peak is measured with keeps its accumulators in registers, on every CPU it is made for."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest

from netc.compiler.backends.llvm.target import CPUS, NATIVE, named
from netc.runtime.peak import ACCUMULATORS, peak_loop

FUSED = [name for name in CPUS if name not in (NATIVE, "x86-64-v2")]  # v2 has no fused multiply-add


def loop_of(name: str) -> list[str]:
    """The instructions of the loop for a CPU, from its label to the jump back."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = named(name)
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2
    )
    module = llvm.parse_assembly(peak_loop(target.vector_bytes // 4))
    lines = machine.emit_assembly(module).split("\n")
    start = next(i for i, line in enumerate(lines) if re.match(r"\.LBB0_1:", line))
    end = next(i for i in range(start, len(lines)) if ".LBB0_1" in lines[i] and i > start)
    return [line.strip() for line in lines[start + 1 : end + 1]]


@pytest.mark.parametrize("name", FUSED)
def test_the_loop_holds_its_multiply_adds_and_no_memory(name: str) -> None:
    found = loop_of(name)
    fused = [x for x in found if x.startswith(("vfmadd", "fmla"))]
    assert len(fused) == ACCUMULATORS, found
    memory = r"\(%r|\[sp|\[x"
    assert not [x for x in found if re.search(memory, x)], found
