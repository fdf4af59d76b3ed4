"""A module's text: the prelude, each distinct kernel once, a function for each unit or part of one, entries.

In: units. Out: CUDA C++ with an entry ``netc_<name>(table, rows, step, seed)`` for each, where the table holds the addresses of
the unit's buffers in the order of ``Entry.buffers``. One launch runs all kernels of a unit, with barriers of the grid
between those that depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ....runtime.artifact import PARTS_BYTES, SHARED_BYTES
from ...graph import ROWS
from ...loops.ir import Axis, Buffer, Kernel
from ...loops.rewrite import walk
from ...loops.unit import Unit
from ...loops.work import Amount, work
from .barriers import barriers
from .contraction import contraction, unguarded
from .kernel import NAME, KernelWriter
from .scalars import STORED
from .shares import share_of
from .tiled import TileWriter
from .tiles import tile

LARGEST_INDEX = 2**30
HEADERS = ("prelude.cuh", "cores.cuh", "tiles.cuh")
Table = Mapping[Buffer, int]


@dataclass(frozen=True, slots=True)
class Called:
    """A kernel of a unit. text: its call. threads: how many it keeps busy, and how many for each row. waits: whether what runs
    before it must have ended everywhere."""

    kernel: Kernel
    text: str
    threads: tuple[int, int]
    waits: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """``buffers``: whose addresses the caller puts into the table, in order. ``work``: of all its kernels, ``calls``."""

    name: str
    buffers: tuple[Buffer, ...]
    work: Amount
    calls: tuple[Called, ...] = ()


class Module:
    """Gathers kernels, units and entries."""

    def __init__(self, threads: int) -> None:
        """threads: of a block."""
        self.threads = threads
        self.kernels: dict[str, str] = {}
        self.functions: list[str] = []
        self.entries: list[str] = []
        self.per_row = 1
        """The most elements that one observation has in a buffer or a loop."""

    @property
    def most_rows(self) -> int:
        """The largest number of observations that indices of 32 bits can tell apart."""
        return LARGEST_INDEX // self.per_row

    def add(self, unit: Unit, name: str, split: int | None = None) -> Entry:
        """The unit's kernels under a name, the functions that run them in turn, and the unit's own entry.

        split: makes functions ``<name>_forward`` of so many kernels and ``<name>_update`` of the others as well.
        """
        table: dict[Buffer, int] = {}
        made = [self._call(k.kernel, table) for k in unit.kernels]
        for buffer in (*unit.inputs.values(), *unit.outputs.values()):
            table.setdefault(buffer, len(table))
        waits = barriers(unit.kernels, unit.memory)
        calls = [
            Called(k.kernel, *call, wait) for k, call, wait in zip(unit.kernels, made, waits, strict=True)
        ]
        parts = {f"{name}_all": slice(None)}
        if split is not None:
            parts |= {f"{name}_forward": slice(split), f"{name}_update": slice(split, None)}
        for function, part in parts.items():
            self.functions.append(_function(function, calls[part]))
        self.entries.append(_entry(name, len(table), self.threads))
        amounts = [_work(k.kernel) for k in unit.kernels]
        total = (sum(a for a, _ in amounts), sum(b for _, b in amounts))
        return Entry(f"netc_{name}", tuple(table), total, tuple(calls))

    def _call(self, kernel: Kernel, table: dict[Buffer, int]) -> tuple[str, tuple[int, int]]:
        """The call of a kernel, which is written if it is a new one, and the threads that it keeps busy."""
        writer = self._writer(kernel)
        text, buffers = writer.write()
        self.per_row = max(self.per_row, _largest(kernel, buffers))
        name = self.kernels.setdefault(text, f"k{len(self.kernels)}")
        pointers = [f"({STORED[b.dtype]} *)table[{table.setdefault(b, len(table))}]" for b in buffers]
        given = [] if kernel.repeat is None else [kernel.repeat.axis.name]
        call = f"{name}({', '.join([*pointers, 'rows', 'step', 'seed', *given])});"
        return call, writer.busy(self.threads)

    def _writer(self, kernel: Kernel) -> KernelWriter:
        """Tiles where a kernel is a contraction that is large enough, else the one rule for every loop nest."""
        found = contraction(kernel)
        chosen = None if found is None else tile(found, self.threads)
        return KernelWriter(kernel) if found is None or chosen is None else TileWriter(kernel, found, chosen)

    def text(self) -> str:
        """The whole module but for the type of its indices: ``int`` for up to ``most_rows`` observations."""
        folder = Path(__file__).parent
        headers = [(folder / name).read_text(encoding="utf-8").strip() for name in HEADERS]
        headers.insert(0, f"#define PARTS_BYTES {PARTS_BYTES}")
        kernels = [text.replace(NAME, name, 1) for text, name in self.kernels.items()]
        return "\n\n".join([*headers, *kernels, *self.functions, *self.entries]) + "\n"


def _work(kernel: Kernel) -> Amount:
    """Operations of a kernel; a partial sum takes its share of the terms only."""
    fixed, each = work(kernel)
    shares = [s for s in map(share_of, unguarded(kernel)) if s is not None]
    parts = shares[0].parts if shares else 1
    return fixed // parts, each // parts


def _largest(kernel: Kernel, buffers: Sequence[Buffer]) -> int:
    """Elements for one observation of the largest loop or buffer."""
    extents = [_product(kernel.axes)]
    for e in walk(*(s.value for s in kernel.stores)):
        extents += [_product(getattr(e, "axes", ()))]
    return max(*extents, *(b.elements * b.block for b in buffers), 1)


def _product(axes: Sequence[Axis]) -> int:
    size = 1
    for axis in axes:
        size *= 1 if axis.extent is ROWS else int(axis.extent)
    return size


def _function(name: str, calls: Sequence[Called]) -> str:
    """Kernels one behind the other, those of a recurrence in a loop; it ends when all have ended."""
    lines: list[str] = []
    for repeat, group in groupby(calls, lambda call: call.kernel.repeat):
        pad = "    " if repeat is None else "        "
        if repeat is not None:
            axis = repeat.axis
            lines.append(f"    for (index_t {axis.name} = 0; {axis.name} < {axis.extent}; ++{axis.name}) {{")
        for call in group:
            lines += [f"{pad}grid_sync();"] * (call.waits and bool(lines))
            lines.append(f"{pad}{call.text}")
        lines += ["    }"] * (repeat is not None)
    head = f"static __device__ void {name}(unsigned char *const *table, index_t rows, word32 step, word64 seed) {{"
    return "\n".join([head, *lines, "    grid_sync();", "}"])


def _entry(name: str, size: int, threads: int) -> str:
    """A launch of a unit alone."""
    return "\n".join([
        f'extern "C" __global__ void __launch_bounds__({threads}, 1) netc_{name}(',
        "    unsigned char *const *given, long long rows, long long step, long long seed) {",
        f"    unsigned char **table = (unsigned char **)(netc_shared + {SHARED_BYTES});",
        f"    for (int i = threadIdx.x; i < {size}; i += blockDim.x) table[i] = given[i];",
        "    __syncthreads();",
        f"    {name}_all(table, (index_t)rows, (word32)step, (word64)seed);",
        "}",
    ])  # fmt: skip


__all__ = ["Called", "Entry", "Module"]
