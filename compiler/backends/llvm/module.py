"""A module's text: kernels (each distinct one once), helper functions, entry points.

In: units. Out: LLVM text with an entry ``void @<unit>(ptr table, i64 rows, i64 step, i64 seed)`` for each, where the
table holds the addresses of the unit's buffers in the order of ``Entry.buffers``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ...graph import ROWS, DType
from ...loops.ir import Axis, Buffer, Kernel, Scheduled
from ...loops.signature import signature
from ...loops.unit import Unit
from ...loops.work import Amount, work
from . import mathematics, threads
from .kernel import KernelWriter
from .scalars import type_text
from .target import Target


@dataclass(frozen=True, slots=True)
class Entry:
    """``buffers``: whose addresses the caller puts into the table, in order. ``work``: of its largest kernel."""

    name: str
    buffers: tuple[Buffer, ...]
    work: Amount


class Module:
    """Gathers functions; asks for LLVM intrinsics are declared when the text is put together."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.kernels: dict[str, str] = {}
        self.known: dict[Hashable, tuple[str, list[int], int]] = {}
        self.entries: list[str] = []

    def literal(self, value: float | int | bool, dtype: DType, lanes: int) -> str:
        if dtype is DType.bool:
            text = "true" if value else "false"
        elif dtype.is_float:
            number = float(value)
            if dtype is DType.float32:
                try:
                    number = struct.unpack("f", struct.pack("f", number))[0]
                except OverflowError:
                    number = float("inf") if number > 0 else float("-inf")
            text = mathematics.hexadecimal(number)
        else:
            text = str(int(value))
        return mathematics.splat(text, type_text(dtype, 1), lanes)

    def helper(self, name: str, dtype: DType, lanes: int) -> str:
        symbol, text, needs = mathematics.helper(name, dtype, lanes)
        if symbol not in self.functions:
            self.functions[symbol] = text
            for other in needs:
                self.helper(other, dtype, lanes)
        return symbol

    def philox(self, dtype: DType, lanes: int) -> str:
        symbol, text = mathematics.philox(dtype, lanes)
        self.functions.setdefault(symbol, text)
        return symbol

    def add(self, unit: Unit, symbol: str, split: Buffer | None = None) -> Entry:
        """Writes the unit's kernels and the entry that calls them one behind the other.

        split: makes entries ``<symbol>_forward`` up to the kernel that writes this buffer and ``<symbol>_update`` for
        the rest as well, so that a run can look at the loss before anything is changed.
        """
        table: dict[Buffer, int] = {}
        calls: list[tuple[Kernel, str]] = []
        largest = (0, 0)
        for i, scheduled in enumerate(unit.kernels):
            name, buffers, share = self._written(scheduled)
            slots = [table.setdefault(b, len(table)) for b in buffers]
            if not share:
                arguments = [f"ptr %p{i}.{slot}" for slot in slots] + ["i64 %rows", "i64 %step", "i64 %seed"]
                call = f"  call void {name}({', '.join(arguments)})"
                calls.append((scheduled.kernel, "\n".join([*_pointers(f"{i}.", slots), call])))
                continue
            amount = work(scheduled.kernel)
            largest = (max(largest[0], amount[0]), max(largest[1], amount[1]))
            self._trampoline(f"@{symbol}.{i}", name, slots)
            axis = scheduled.kernel.axes[0]
            calls.append((scheduled.kernel, self._launch(f"@{symbol}.{i}", i, axis, share, amount)))
        for buffer in (*unit.inputs.values(), *unit.outputs.values()):
            table.setdefault(buffer, len(table))
        parts = {symbol: calls}
        if split is not None:
            written = [[s.buffer for s in k.kernel.stores] for k in unit.kernels]
            cut = next((i + 1 for i, buffers in enumerate(written) if split in buffers), 0)
            parts = {f"{symbol}_forward": calls[:cut], f"{symbol}_update": calls[cut:]}
        for name, part in parts.items():
            head = f"define void @{name}(ptr %table, i64 %rows, i64 %step, i64 %seed, ptr %pool) {{"
            self.entries.append("\n".join([head, "entry:", *_in_turn(part, table), "  ret void", "}"]))
        return Entry(symbol, tuple(table), largest)

    def _written(self, scheduled: Scheduled) -> tuple[str, list[Buffer], int]:
        """The name of a kernel's function, the buffers it takes, and the share of a thread. Kernels of one signature are
        written once."""
        key, buffers = signature(scheduled)
        if key not in self.known:
            writer = KernelWriter(self, scheduled)
            text, taken = writer.write("@KERNEL")
            name = self.kernels.setdefault(text, f"@k{len(self.kernels)}")
            self.known[key] = name, [buffers.index(b) for b in taken], writer.share
        name, places, share = self.known[key]
        return name, [buffers[i] for i in places], share

    def _trampoline(self, name: str, kernel: str, slots: Sequence[int]) -> None:
        """A kernel under the signature that all jobs have."""
        lines = [
            f"define internal void {name}(ptr %table, i64 %rows, i64 %step, i64 %seed, i64 %begin, i64 %end) {{"
        ]
        lines += _pointers("", slots)
        arguments = [f"ptr %p{slot}" for slot in slots]
        arguments += [f"i64 %{x}" for x in ("rows", "step", "seed", "begin", "end")]
        lines += [f"  call void {kernel}({', '.join(arguments)})", "  ret void", "}"]
        self.entries.append("\n".join(lines))

    def _launch(self, name: str, i: int, axis: Axis, share: int, amount: Amount) -> str:
        extent = "%rows" if axis.extent is ROWS else str(axis.extent)
        numbers = f"i64 %rows, i64 %step, i64 %seed, i64 {share}, i64 {extent}, i64 %w{i}"
        return "\n".join(
            [
                f"  %m{i} = mul i64 %rows, {amount[1]}",
                f"  %w{i} = add i64 %m{i}, {amount[0]}",
                f"  call void @launch(ptr %pool, ptr {name}, ptr %table, {numbers})",
            ]
        )

    def text(self, target: Target) -> str:
        kernels = [text.replace("@KERNEL", name) for text, name in self.kernels.items()]
        body = "\n\n".join(
            [*threads.functions(target.pause), *self.functions.values(), *kernels, *self.entries]
        )
        return _declarations(body) + "\n\n" + body + "\n"


def _pointers(prefix: str, slots: Sequence[int]) -> list[str]:
    """Loads the addresses of buffers from the table, where they are needed: held over other calls they would be spilled."""
    lines = []
    for slot in slots:
        lines.append(f"  %s{prefix}{slot} = getelementptr ptr, ptr %table, i64 {slot}")
        lines.append(f"  %p{prefix}{slot} = load ptr, ptr %s{prefix}{slot}, align 8")
    return lines


def _in_turn(calls: Sequence[tuple[Kernel, str]], table: Mapping[Buffer, int]) -> list[str]:
    """Calls one behind the other; neighbours of one repetition in a loop that counts in the repetition's buffer."""
    lines: list[str] = []
    around = "entry"
    for n, (repeat, group) in enumerate(groupby(calls, lambda call: call[0].repeat)):
        body = [text for _, text in group]
        if repeat is None:
            lines += body
            continue
        counter = table[repeat.counter]
        lines += [
            *_pointers(f"t{n}.", [counter]), f"  br label %time{n}", f"time{n}:",
            f"  %time{n}.at = phi i64 [ 0, %{around} ], [ %time{n}.next, %time{n} ]",
            f"  store i64 %time{n}.at, ptr %pt{n}.{counter}, align 8",
            *body,
            f"  %time{n}.next = add nuw nsw i64 %time{n}.at, 1",
            f"  %time{n}.again = icmp ult i64 %time{n}.next, {repeat.axis.extent}",
            f"  br i1 %time{n}.again, label %time{n}, label %after{n}", f"after{n}:",
        ]  # fmt: skip
        around = f"after{n}"
    return lines


_CALL = re.compile(r"call ((?:<[^>]*>|\w+)) (@[\w.]+)\(([^\n]*)\)\n")


def _declarations(body: str) -> str:
    """Declares every function that is called but not defined, with the types of its first call."""
    defined = set(re.findall(r"^define [^@\n]*(@[\w.]+)\(", body, re.MULTILINE))
    found: dict[str, str] = {}
    for result, symbol, arguments in _CALL.findall(body):
        if symbol not in defined and symbol not in found and f"declare i32 {symbol}(" not in body:
            found[symbol] = f"declare {result} {symbol}({', '.join(_types(arguments))})"
    return "\n".join(found.values())


def _types(arguments: str) -> list[str]:
    types, depth, part = [], 0, ""
    for character in arguments + ",":
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            text = part.strip()
            types.append(text[: text.index(">") + 1] if text.startswith("<") else text.split(" ")[0])
            part = ""
        else:
            part += character
    return types
