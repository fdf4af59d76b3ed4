"""Kernels on several threads, as LLVM text.

One thread runs the program. Where a kernel has work enough it divides the outermost loop into shares, one for each
thread, and opens them; the threads that wait in ``@worker`` take each its own, and whoever is done takes what is still
open. So a thread that the system does not let run holds nobody up: the others do its part. Shares are whole tiles, and
every element is computed by the same instructions whoever computes it: results depend neither on the number of threads
nor on who took what.

The pool's word ``taken`` has a bit for each share; shares that a job does not have count as taken, so that all ones
means that nothing is open. A bit that an atomic `or` turned from zero to one is a share that is yours, and the job
cannot end, nor its description change, before you have counted it in ``done``.

In: the CPU. Out: the functions ``@launch`` and ``@worker``. A thread that waits spins for a moment, then yields.
"""

from __future__ import annotations

import sys

from ....runtime.artifact import GRAIN, POOL

SPINS = 200

SIGNATURE = "ptr, i64, i64, i64, i64, i64"
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

_FIELDS = ("function", "table", "rows", "step", "seed", "unit", "extent", "count")


def _slot(name: str) -> str:
    return f"getelementptr i64, ptr %pool, i64 {POOL[name]}"


def _wait(check: str, done: str) -> str:
    """Blocks from ``wait`` on that spin, then yield, until ``check`` makes %go true."""
    return f"""wait:
  br label %spin
spin:
  %spins = phi i64 [ 0, %wait ], [ %spins.next, %again ]
{check}
  br i1 %go, label %{done}, label %hold
hold:
  %spins.next = add i64 %spins, 1
  %long = icmp ugt i64 %spins, {SPINS}
  br i1 %long, label %yield, label %pause
yield:
  %yielded = call i32 @{_YIELD}()
  br label %again
pause:
  call void @pause()
  br label %again
again:
  br label %spin"""


def _run() -> str:
    """Share ``%id`` of the open job: units of rows from ``units * id / count`` to where the next share begins."""
    loads = "\n".join(
        f"  %p.{name} = {_slot(name)}\n"
        f"  %{name} = load {'ptr' if name in ('function', 'table') else 'i64'}, ptr %p.{name}, align 8"
        for name in _FIELDS
    )
    return f"""define internal void @share(ptr %pool, i64 %id) {{
{loads}
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
  br i1 %some, label %run, label %ran
run:
  call void ({SIGNATURE}) %function(ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %begin, i64 %end)
  br label %ran
ran:
  %p.done = {_slot("done")}
  %before = atomicrmw add ptr %p.done, i64 1 acq_rel
  ret void
}}"""


_HELP = f"""define internal void @help(ptr %pool, i64 %id) {{
entry:
  %word = {_slot("taken")}
  %own = shl i64 1, %id
  br label %look
look:
  %taken = load atomic i64, ptr %word acquire, align 8
  %nothing = icmp eq i64 %taken, -1
  br i1 %nothing, label %leave, label %choose
choose:
  %mine = and i64 %taken, %own
  %mine.open = icmp eq i64 %mine, 0
  %open = xor i64 %taken, -1
  %first = call i64 @llvm.cttz.i64(i64 %open, i1 true)
  %share = select i1 %mine.open, i64 %id, i64 %first
  %bit = shl i64 1, %share
  %before = atomicrmw or ptr %word, i64 %bit acq_rel
  %held = and i64 %before, %bit
  %lost = icmp ne i64 %held, 0
  br i1 %lost, label %look, label %run
run:
  call void @share(ptr %pool, i64 %share)
  br label %look
leave:
  ret void
}}"""


def _launch() -> str:
    values = ("%fn", "%table", "%rows", "%step", "%seed", "%unit", "%extent", "%count")
    stores = []
    for name, value in zip(_FIELDS, values, strict=True):
        kind = "ptr" if name in ("function", "table") else "i64"
        stores.append(f"  %s.{name} = {_slot(name)}\n  store {kind} {value}, ptr %s.{name}, align 8")
    check = """  %sum = load atomic i64, ptr %done acquire, align 8
  %go = icmp eq i64 %sum, %count"""
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
  %done = {_slot("done")}
  store atomic i64 0, ptr %done monotonic, align 8
  %absent = shl i64 -1, %count
  %taken = {_slot("taken")}
  store atomic i64 %absent, ptr %taken release, align 8
  call void @help(ptr %pool, i64 0)
  br label %wait
{_wait(check, "all")}
all:
  ret void
}}"""


def _worker() -> str:
    check = """  %taken = load atomic i64, ptr %word acquire, align 8
  %job = icmp ne i64 %taken, -1
  %quitting = load atomic i64, ptr %quit monotonic, align 8
  %over = icmp ne i64 %quitting, 0
  %go = or i1 %job, %over"""
    return f"""define void @worker(ptr %pool, i64 %id) {{
  %word = {_slot("taken")}
  %quit = {_slot("quit")}
  br label %wait
{_wait(check, "act")}
act:
  br i1 %over, label %end, label %take
take:
  call void @help(ptr %pool, i64 %id)
  br label %wait
end:
  ret void
}}"""


def functions(pause: str) -> list[str]:
    """The text of the helper functions of a module with parallel kernels. pause: the CPU's hint that a thread waits."""
    hint = f"define internal void @pause() {{\n  {pause}\n  ret void\n}}"
    return [f"declare i32 @{_YIELD}()", hint, _run(), _HELP, _launch(), _worker()]
