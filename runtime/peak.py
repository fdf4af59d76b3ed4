"""The CPU's peak of fused multiply-adds, measured: a loop of independent vector multiply-adds, compiled for this machine.

In: a number of threads. Out: operations a second.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

import llvmlite.binding as llvm

ACCUMULATORS = 12
"""Enough to hide the latency of two units (4 cycles each), few enough for CPUs with 16 vector registers: an accumulator
that is spilled costs more than the multiply-add."""
ROUNDS = 2_000_000


def peak_flops(threads: int) -> float:
    """Float32 operations a second of fused multiply-adds on that many threads; the best of several runs."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    width = vector_width()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(peak_loop(width)), machine)
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(engine.get_function_address("peak"))
    return max(
        threads * ROUNDS * ACCUMULATORS * width * 2 / together(function, ROUNDS, threads) for _ in range(5)
    )


def vector_width() -> int:
    """Float32 lanes of this machine's vectors."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


def together(function: Callable[[int], float], rounds: int, threads: int) -> float:
    """Seconds until that many threads have each called the function."""
    workers = [threading.Thread(target=function, args=(rounds,)) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def peak_loop(width: int) -> str:
    """LLVM text of ``float peak(int64 rounds)``: independent accumulators, kept in registers."""
    vector = f"<{width} x float>"
    phis, sums = [], []
    for i in range(ACCUMULATORS):
        phis.append(f"  %a{i} = phi {vector} [zeroinitializer, %entry], [%b{i}, %loop]")
        sums.append(
            f"  %b{i} = call {vector} @llvm.fma.v{width}f32({vector} %x, {vector} %a{i}, {vector} %x)"
        )
    total = [f"  %s0 = fadd {vector} %b0, %b1"]
    total += [f"  %s{i} = fadd {vector} %s{i - 1}, %b{i + 1}" for i in range(1, ACCUMULATORS - 1)]
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.v{width}f32({vector}, {vector}, {vector})",
            "define float @peak(i64 %rounds) {",
            "entry:",
            "  %number = sitofp i64 %rounds to float",
            "  %scaled = fdiv float 1.0, %number",
            f"  %x = insertelement {vector} zeroinitializer, float %scaled, i32 0",
            "  br label %loop",
            "loop:",
            "  %i = phi i64 [0, %entry], [%next, %loop]",
            *phis,
            *sums,
            "  %next = add i64 %i, 1",
            "  %more = icmp slt i64 %next, %rounds",
            "  br i1 %more, label %loop, label %done",
            "done:",
            *total,
            f"  %result = extractelement {vector} %s{ACCUMULATORS - 2}, i32 0",
            "  ret float %result",
            "}",
            "",
        ]
    )
