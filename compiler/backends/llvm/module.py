"""A module's text: kernels (each distinct one once), helper functions, entry points.

In: units. Out: LLVM text with an entry ``void @<unit>(ptr table, i64 rows, i64 step, i64 seed)`` for each, where the
table holds the addresses of the unit's buffers in the order of ``Entry.buffers``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Hashable
from dataclasses import dataclass

from ...graph import DType
from ...loops.ir import Buffer, Scheduled
from ...loops.patterns import Call as PatternCall
from ...loops.signature import signature
from ...loops.unit import Unit
from ...loops.work import Amount, work
from . import mathematics, threads
from .calls import Call, Calls, Kind
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
        self.known: dict[Hashable, tuple[Kind, list[int]]] = {}
        self.met: dict[int, tuple[Scheduled, Kind, list[int]]] = {}
        """By identity: the calls of one pattern share what is scheduled, which is kept so that no other takes its place."""
        self.calls = Calls()
        self.entries: list[str] = []

    def literal(self, value: float | int | bool, dtype: DType, lanes: int) -> str:
        if dtype is DType.bool:
            text = "true" if value else "false"
        elif dtype.is_float:
            number = float(value)
            if dtype is not DType.float64:
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
        calls: list[Call] = []
        largest = (0, 0)
        for call in unit.calls:
            kind, places = self._kind(call)
            slots = tuple([table.setdefault(call.buffers[i], len(table)) for i in places])
            calls.append(
                Call(kind, slots, call.made().kernel.repeat if call.scheduled.kernel.repeat else None)
            )
            if kind.share:
                largest = (max(largest[0], kind.work[0]), max(largest[1], kind.work[1]))
        for buffer in (*unit.inputs.values(), *unit.outputs.values()):
            table.setdefault(buffer, len(table))
        parts = [(symbol, 0, len(calls))]
        if split is not None:
            cut = next((i + 1 for i, call in enumerate(unit.calls) if split in call.writes), 0)
            parts = [(f"{symbol}_forward", 0, cut), (f"{symbol}_update", cut, len(calls))]
        for name, begin, end in parts:
            self.entries.append(self.calls.entry(name, symbol, begin, calls[begin:end], table))
        return Entry(symbol, tuple(table), largest)

    def _kind(self, call: PatternCall) -> tuple[Kind, list[int]]:
        """How a kernel is called, and which of its buffers it takes. Kernels of one signature are written once."""
        scheduled = call.scheduled
        found = self.met.get(id(scheduled))
        if found is not None:
            return found[1], found[2]
        key, buffers = signature(scheduled)
        if key not in self.known:
            writer = KernelWriter(self, scheduled)
            text, taken = writer.write("@KERNEL")
            name = self.kernels.setdefault(text, f"@k{len(self.kernels)}")
            kernel, share = scheduled.kernel, writer.share
            extent, amount = (kernel.axes[0].extent, work(kernel)) if share else (0, (0, 0))
            self.known[key] = Kind(name, len(taken), share, extent, amount), [buffers.index(b) for b in taken]
        kind, places = self.known[key]
        own = [call.stand_ins.index(buffers[i]) for i in places]
        self.met[id(scheduled)] = scheduled, kind, own
        return kind, own

    def text(self, target: Target) -> str:
        kernels = [text.replace("@KERNEL", name) for text, name in self.kernels.items()]
        body = "\n\n".join(
            [
                *threads.functions(target.pause),
                *self.functions.values(),
                *kernels,
                *self.calls.functions,
                *self.calls.text(),
                *self.entries,
            ]
        )
        return _declarations(body) + "\n\n" + body + "\n"


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
