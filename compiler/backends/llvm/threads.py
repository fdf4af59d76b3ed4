"""Kernels on several threads, as LLVM text.

One thread runs the program. Where a kernel has work enough it publishes a job, and every other thread, which waits in
``@worker``, runs its share of the outermost loop. Shares are whole tiles, so that every element is computed by the same
instructions whoever computes it: results do not depend on the number of threads.

In: nothing. Out: the functions ``@launch`` and ``@worker``. A thread that waits spins for a moment, then yields.
"""

from __future__ import annotations

import sys

from ....runtime.artifact import GRAIN, POOL

SPINS = 200

SIGNATURE = "ptr, i64, i64, i64, i64, i64"
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


def _slot(name: str) -> str:
    return f"getelementptr i64, ptr %pool, i64 {POOL[name]}"


def _wait(prefix: str, again: str, done: str) -> str:
    """Blocks that spin, then yield, until the comparison in ``again`` lets go."""
    return f"""{prefix}.spin:
  %{prefix}.n = phi i64 [ 0, %{prefix}.pre ], [ %{prefix}.next, %{prefix}.pause ]
{again}
  br i1 %{prefix}.go, label %{done}, label %{prefix}.more
{prefix}.more:
  %{prefix}.next = add i64 %{prefix}.n, 1
  %{prefix}.long = icmp ugt i64 %{prefix}.n, {SPINS}
  br i1 %{prefix}.long, label %{prefix}.yield, label %{prefix}.pause
{prefix}.yield:
  %{prefix}.y = call i32 @{_YIELD}()
  br label %{prefix}.pause
{prefix}.pause:
  fence syncscope("singlethread") seq_cst
  br label %{prefix}.spin"""


_SHARE = f"""define internal void @share(ptr %fn, ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %unit, i64 %extent, i64 %id, i64 %count) {{
  %more = sub i64 %unit, 1
  %up = add i64 %extent, %more
  %units = udiv i64 %up, %unit
  %a = mul i64 %units, %id
  %b = udiv i64 %a, %count
  %begin = mul i64 %b, %unit
  %id1 = add i64 %id, 1
  %c = mul i64 %units, %id1
  %d = udiv i64 %c, %count
  %e = mul i64 %d, %unit
  %end = call i64 @llvm.smin.i64(i64 %e, i64 %extent)
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  call void ({SIGNATURE}) %fn(ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}}"""

_FIELDS = ("function", "table", "rows", "step", "seed", "unit", "extent", "count")


def _launch() -> str:
    values = ("%fn", "%table", "%rows", "%step", "%seed", "%unit", "%extent", "%count")
    stores = []
    for name, value in zip(_FIELDS, values, strict=True):
        kind = "ptr" if name in ("function", "table") else "i64"
        stores.append(f"  %s.{name} = {_slot(name)}\n  store {kind} {value}, ptr %s.{name}, align 8")
    again = """  %left = load atomic i64, ptr %pending acquire, align 8
  %wait.go = icmp eq i64 %left, 0"""
    return f"""define internal void @launch(ptr %pool, ptr %fn, ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %unit, i64 %extent, i64 %work) {{
  %none = icmp eq ptr %pool, null
  br i1 %none, label %alone, label %weigh
weigh:
  %threads.slot = {_slot("threads")}
  %threads = load i64, ptr %threads.slot, align 8
  %worth = udiv i64 %work, {GRAIN}
  %count = call i64 @llvm.smin.i64(i64 %worth, i64 %threads)
  %few = icmp slt i64 %count, 2
  br i1 %few, label %alone, label %publish
alone:
  call void ({SIGNATURE}) %fn(ptr %table, i64 %rows, i64 %step, i64 %seed, i64 0, i64 %extent)
  ret void
publish:
{chr(10).join(stores)}
  %others = sub i64 %threads, 1
  %pending = {_slot("pending")}
  store atomic i64 %others, ptr %pending release, align 8
  %generation = {_slot("generation")}
  %was = load i64, ptr %generation, align 8
  %now = add i64 %was, 1
  store atomic i64 %now, ptr %generation release, align 8
  call void @share(ptr %fn, ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %unit, i64 %extent, i64 0, i64 %count)
  br label %wait.pre
wait.pre:
  br label %wait.spin
{_wait("wait", again, "done")}
done:
  ret void
}}"""


def _worker() -> str:
    loads = []
    for name in _FIELDS:
        kind = "ptr" if name in ("function", "table") else "i64"
        loads.append(f"  %p.{name} = {_slot(name)}\n  %{name} = load {kind}, ptr %p.{name}, align 8")
    again = """  %now = load atomic i64, ptr %generation acquire, align 8
  %wait.go = icmp ne i64 %now, %last"""
    return f"""define void @worker(ptr %pool, i64 %id, i64 %first) {{
entry:
  %generation = {_slot("generation")}
  %pending = {_slot("pending")}
  %quit.slot = {_slot("quit")}
  br label %wait.pre
wait.pre:
  %last = phi i64 [ %first, %entry ], [ %now, %finished ]
  br label %wait.spin
{_wait("wait", again, "job")}
job:
  %quit = load i64, ptr %quit.slot, align 8
  %leave = icmp ne i64 %quit, 0
  br i1 %leave, label %end, label %take
take:
{chr(10).join(loads)}
  %mine = icmp slt i64 %id, %count
  br i1 %mine, label %run, label %finished
run:
  call void @share(ptr %function, ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %unit, i64 %extent, i64 %id, i64 %count)
  br label %finished
finished:
  %before = atomicrmw sub ptr %pending, i64 1 acq_rel
  br label %wait.pre
end:
  ret void
}}"""


def functions() -> list[str]:
    """The text of the helper functions of a module with parallel kernels."""
    return [f"declare i32 @{_YIELD}()", _SHARE, _launch(), _worker()]
