"""Entry points: the kernels of a unit, called one behind the other.

A few calls are written out, with the addresses that each takes. Many are numbers in a table that one function reads, the
same for all units: a kind of kernel and the slots of its buffers for each call. So the code of a deep network is that of its
kinds of layers, and LLVM sees no function whose length is the network's.

In: calls in order. Out: the text of entries ``void @<unit>(ptr table, i64 rows, i64 step, i64 seed, ptr pool)``, and of the
tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ...graph import ROWS
from ...loops.ir import Buffer, Extent, Repeat
from ...loops.work import Amount

WRITTEN = 64
"""As many calls in a row are written out."""
KIND = "{ ptr, i64, i64, i64, i64, i64 }"
"""Of calls in tables: the function, how many buffers it takes, the share of a thread, the extent that is shared (-1: the
rows), the work as a fixed number and a number for each row."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kernel's function, the number of its buffers, and how it can be divided. share: of a thread, 0 where it cannot."""

    function: str
    buffers: int
    share: int
    extent: Extent
    work: Amount


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel on buffers, by their slots in the unit's table; ``repeat`` as in ``Kernel``."""

    kind: Kind
    slots: tuple[int, ...]
    repeat: Repeat | None = None


@dataclass(slots=True)
class Calls:
    """Writes entries. functions: what they need besides; kinds: those in tables, with their numbers."""

    functions: list[str] = field(default_factory=list)
    kinds: dict[Kind, int] = field(default_factory=dict)

    def entry(
        self, name: str, unit: str, first: int, calls: Sequence[Call], slot: Mapping[Buffer, int]
    ) -> str:
        """The entry that makes some of a unit's calls, of which ``first`` is the number of the first."""
        lines: list[str] = []
        around, number = "entry", first
        for n, (repeat, group) in enumerate(groupby(calls, lambda call: call.repeat)):
            members = list(group)
            body = self._in_a_row(f"{name}.{n}", unit, number, members)
            number += len(members)
            if repeat is None:
                lines += body
            else:
                lines += _repeated(n, around, body, repeat, slot[repeat.counter])
                around = f"after{n}"
        head = f"define void @{name}(ptr %table, i64 %rows, i64 %step, i64 %seed, ptr %pool) {{"
        return "\n".join([head, "entry:", *lines, "  ret void", "}"])

    def _in_a_row(self, name: str, unit: str, first: int, calls: Sequence[Call]) -> list[str]:
        if len(calls) > WRITTEN:
            return self._from_table(name, calls)
        return [line for i, call in enumerate(calls, first) for line in self._written(unit, i, call)]

    def _written(self, unit: str, i: int, call: Call) -> list[str]:
        kind = call.kind
        if not kind.share:
            arguments = [f"ptr %p{i}.{slot}" for slot in call.slots] + ["i64 %rows", "i64 %step", "i64 %seed"]
            return [*_pointers(f"{i}.", call.slots), f"  call void {kind.function}({', '.join(arguments)})"]
        self.functions.append(_trampoline(f"@{unit}.{i}", kind, call.slots))
        extent = "%rows" if kind.extent is ROWS else str(kind.extent)
        numbers = f"i64 %rows, i64 %step, i64 %seed, i64 {kind.share}, i64 {extent}, i64 %w{i}"
        return [
            f"  %m{i} = mul i64 %rows, {kind.work[1]}",
            f"  %w{i} = add i64 %m{i}, {kind.work[0]}",
            f"  call void @launch(ptr %pool, ptr @{unit}.{i}, ptr %table, {numbers})",
        ]

    def _from_table(self, name: str, calls: Sequence[Call]) -> list[str]:
        numbers: list[int] = []
        for call in calls:
            numbers += [self.kinds.setdefault(call.kind, len(self.kinds)), *call.slots]
        body = ", ".join(f"i32 {x}" for x in numbers)
        kind = f"[{len(numbers)} x i32]"
        self.functions.append(f"@{name}.calls = internal constant {kind} [{body}], align 4")
        end = f"getelementptr inbounds ({kind}, ptr @{name}.calls, i64 1)"
        arguments = f"ptr @{name}.calls, ptr {end}, ptr %table, i64 %rows, i64 %step, i64 %seed, ptr %pool"
        return [f"  call void @calls({arguments})"]

    def text(self) -> list[str]:
        """The function that reads the tables, where there are any."""
        if not self.kinds:
            return []
        jobs = [_trampoline(f"{k.function}.job", k, range(k.buffers)) for k in _by_function(self.kinds)]
        rows = ",\n".join(f"  {_kind(k)}" for k in self.kinds)
        table = f"@kinds = internal constant [{len(self.kinds)} x {KIND}] [\n{rows}\n], align 8"
        return [*jobs, table, _reader(max(k.buffers for k in self.kinds))]


def _by_function(kinds: Mapping[Kind, int]) -> list[Kind]:
    return list({k.function: k for k in kinds}.values())


def _kind(kind: Kind) -> str:
    extent = -1 if kind.extent is ROWS else kind.extent
    numbers = (kind.buffers, kind.share, extent, *kind.work)
    return f"{KIND} {{ ptr {kind.function}.job, {', '.join(f'i64 {x}' for x in numbers)} }}"


def _trampoline(name: str, kind: Kind, slots: Sequence[int]) -> str:
    """A kernel under the signature that all jobs have."""
    head = (
        f"define internal void {name}(ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %begin, i64 %end) {{"
    )
    arguments = [f"ptr %p{slot}" for slot in slots] + ["i64 %rows", "i64 %step", "i64 %seed"]
    arguments += ["i64 %begin", "i64 %end"] if kind.share else []
    call = f"  call void {kind.function}({', '.join(arguments)})"
    return "\n".join([head, *_pointers("", slots), call, "  ret void", "}"])


def _pointers(prefix: str, slots: Sequence[int]) -> list[str]:
    """Loads the addresses of buffers from the table, where they are needed: held over other calls they would be spilled."""
    lines = []
    for slot in slots:
        lines.append(f"  %s{prefix}{slot} = getelementptr ptr, ptr %table, i64 {slot}")
        lines.append(f"  %p{prefix}{slot} = load ptr, ptr %s{prefix}{slot}, align 8")
    return lines


def _repeated(n: int, around: str, body: Sequence[str], repeat: Repeat, counter: int) -> list[str]:
    """Calls in a loop that counts in the repetition's buffer."""
    return [
        *_pointers(f"t{n}.", [counter]), f"  br label %time{n}", f"time{n}:",
        f"  %time{n}.at = phi i64 [ 0, %{around} ], [ %time{n}.next, %time{n} ]",
        f"  store i64 %time{n}.at, ptr %pt{n}.{counter}, align 8",
        *body,
        f"  %time{n}.next = add nuw nsw i64 %time{n}.at, 1",
        f"  %time{n}.again = icmp ult i64 %time{n}.next, {repeat.axis.extent}",
        f"  br i1 %time{n}.again, label %time{n}, label %after{n}", f"after{n}:",
    ]  # fmt: skip


def _field(name: str, kind: str, place: int) -> str:
    return (
        f"  %{name}.at = getelementptr inbounds {KIND}, ptr %kind, i64 0, i32 {place}\n"
        f"  %{name} = load {kind}, ptr %{name}.at, align 8"
    )


def _reader(most: int) -> str:
    """Gathers the addresses that a call takes and makes it, call by call. most: buffers of a call."""
    return f"""define internal void @calls(ptr %first, ptr %last, ptr %table, i64 %rows, i64 %step, i64 %seed, ptr %pool) {{
entry:
  %taken = alloca [{most} x ptr], align 8
  br label %call
call:
  %at = phi ptr [ %first, %entry ], [ %next, %called ]
  %number = load i32, ptr %at, align 4
  %wide = zext i32 %number to i64
  %kind = getelementptr inbounds {KIND}, ptr @kinds, i64 %wide
{_field("function", "ptr", 0)}
{_field("count", "i64", 1)}
{_field("share", "i64", 2)}
  %slots = getelementptr inbounds i32, ptr %at, i64 1
  %next = getelementptr inbounds i32, ptr %slots, i64 %count
  br label %gather
gather:
  %i = phi i64 [ 0, %call ], [ %i.next, %gather ]
  %slot.at = getelementptr inbounds i32, ptr %slots, i64 %i
  %slot = load i32, ptr %slot.at, align 4
  %place = zext i32 %slot to i64
  %source = getelementptr inbounds ptr, ptr %table, i64 %place
  %address = load ptr, ptr %source, align 8
  %target = getelementptr inbounds ptr, ptr %taken, i64 %i
  store ptr %address, ptr %target, align 8
  %i.next = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %i.next, %count
  br i1 %more, label %gather, label %ready
ready:
  %whole = icmp eq i64 %share, 0
  br i1 %whole, label %alone, label %divided
alone:
  call void %function(ptr %taken, i64 %rows, i64 %step, i64 %seed, i64 0, i64 0)
  br label %called
divided:
{_field("extent", "i64", 3)}
{_field("fixed", "i64", 4)}
{_field("for_row", "i64", 5)}
  %all = icmp slt i64 %extent, 0
  %length = select i1 %all, i64 %rows, i64 %extent
  %grown = mul i64 %rows, %for_row
  %work = add i64 %grown, %fixed
  call void @launch(ptr %pool, ptr %function, ptr %taken, i64 %rows, i64 %step, i64 %seed, i64 %share, i64 %length, i64 %work)
  br label %called
called:
  %again = icmp ult ptr %next, %last
  br i1 %again, label %call, label %done
done:
  ret void
}}"""
