"""Long sums at few points in two stages: partial sums in memory, then their sum.

In: a unit. Out: the same unit, in which such a kernel became two: the first stores shares of its sums (``shares.py``), the second
adds these up, in their order, and does all else. How many shares there are depends on extents alone, neither on the number of
blocks nor on the number of observations, and so do the bits of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...graph import ROWS
from ...loops.ir import (
    Affine,
    Apply,
    Axis,
    Buffer,
    Combine,
    Expr,
    Guarded,
    Kernel,
    Load,
    Reduction,
    Schedule,
    Scheduled,
    Space,
    Store,
)
from ...loops.memory import ALIGNMENT, row_bytes
from ...loops.patterns import Call
from ...loops.rewrite import walk
from ...loops.unit import MemoryPlan, Unit
from .contraction import contraction, in_turn, unguarded
from .mapping import FEW_POINTS, size
from .shares import Share, taken
from .tiles import tile

LONG = 1 << 16
"""So many terms are worth a barrier of the grid more."""
MOST_PARTS = 32
CHUNK = 4096
"""Terms of a run, where no tile has stages of its own."""


def divided(unit: Unit, threads: int) -> Unit:
    """The unit with its long sums in two stages. Their partial sums lie behind all else in the work memory, those of every
    second such kernel at the same place. threads: of a block."""
    calls: list[Call] = []
    partials: list[list[Buffer]] = []
    layers = dict(unit.layers)
    known: dict[int, tuple[int, int]] = {}  # calls of one pattern are divided alike
    for call in unit.calls:
        pattern = id(call.scheduled)
        if pattern not in known:
            known[pattern] = _parts(call.scheduled.kernel, threads)
        parts, chunk = known[pattern]
        if parts == 1:
            calls.append(call)
            continue
        stages, buffers = _stages(call.made().kernel, f"partial.{len(partials)}", parts, chunk)
        calls += [Call.of(Scheduled(k, Schedule())) for k in stages]
        partials.append(buffers)
        layers |= {b.name: call.layer for b in buffers}
    if not partials:
        return unit
    return replace(unit, calls=tuple(calls), memory=_with_partials(unit.memory, partials), layers=layers)


def _parts(kernel: Kernel, threads: int) -> tuple[int, int]:
    """Into how many shares a kernel's sums are divided, in runs of how many terms; (1, 0) for not at all."""
    found = contraction(kernel)
    chosen = None if found is None else tile(found, threads)
    if chosen is not None:
        return chosen.parts, chosen.depth
    sums = _sums(kernel)
    points = size(kernel.axes)
    if not sums or any(a.extent is ROWS for a in kernel.axes) or kernel.resident or 2 * points > FEW_POINTS:
        return 1, 0
    if any(e.combine is not Combine.sum or e.axes != sums[0].axes or not _is_plain(e) for e in sums):
        return 1, 0
    if size(sums[0].axes) < LONG:
        return 1, 0
    return min(MOST_PARTS, 1 << ((FEW_POINTS // points).bit_length() - 1)), CHUNK


def _sums(kernel: Kernel) -> list[Reduction]:
    """What is summed anew at each point."""
    return [e for e in unguarded(kernel) if e.free or not kernel.axes]


def _is_plain(e: Reduction) -> bool:
    """Whether a sum's terms are numbers that hold no sums."""
    return e.dtype.is_float and not any(isinstance(x, Reduction) for x in walk(e.body))


def _stages(kernel: Kernel, name: str, parts: int, chunk: int) -> tuple[tuple[Kernel, Kernel], list[Buffer]]:
    """The two kernels, and the buffers between them, whose names begin with ``name``."""
    axis = Axis(f"part{parts}", parts)
    index = tuple(Affine.of(a) for a in (axis, *kernel.axes))
    shape = (parts, *(a.extent for a in kernel.axes))
    stores, found = [], dict[Expr, Expr]()
    for number, whole in enumerate(_sums(kernel)):
        ordered = replace(whole, axes=in_turn(whole.axes))
        buffer = Buffer(f"{name}.{number}", whole.dtype, shape, tuple(range(len(shape))), Space.work)
        stores.append(Store(buffer, index, taken(Share(ordered, axis, chunk))))
        found[whole] = Reduction(Combine.sum, (axis,), Load(buffer, index))
    first = replace(kernel, name=name, axes=(axis, *kernel.axes), stores=tuple(stores))
    second = replace(kernel, stores=tuple(replace(s, value=_replaced(s.value, found)) for s in kernel.stores))
    return (first, second), [s.buffer for s in stores]


def _replaced(e: Expr, found: dict[Expr, Expr]) -> Expr:
    """An expression with others in place of some of its parts; found: what was replaced so far."""
    if e not in found:
        new: Expr = e
        match e:
            case Apply():
                new = replace(e, arguments=tuple(_replaced(a, found) for a in e.arguments))
            case Guarded():
                new = replace(e, body=_replaced(e.body, found), otherwise=_replaced(e.otherwise, found))
            case Reduction():
                new = replace(e, body=_replaced(e.body, found))
        found[e] = new
    return found[e]


def _with_partials(memory: MemoryPlan, partials: Sequence[Sequence[Buffer]]) -> MemoryPlan:
    """The plan with two places more, each large enough for the partial sums of any of the kernels that use it."""
    offsets: dict[str, tuple[int, int]] = dict(memory.offsets)
    start = -(-memory.fixed_bytes // ALIGNMENT) * ALIGNMENT
    for turn in range(2):
        largest = 0
        for group in partials[turn::2]:
            at = 0
            for buffer in group:
                offsets[buffer.name] = (start + at, 0)
                at += -(-row_bytes(buffer)[0] // ALIGNMENT) * ALIGNMENT
            largest = max(largest, at)
        start += largest
    return replace(memory, offsets=offsets, fixed_bytes=start)


__all__ = ["divided"]
