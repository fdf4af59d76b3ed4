"""The training run as data: what repeats, what runs inside, where the run may be left.

In: the units of a step and of an evaluation. Out: a ``Program``, which a backend turns into one function. Its grammar:

    Program    = Epochs
    Epochs     = Shuffle, Batches, Mean, [Validate], Best, Patience     for every epoch that is left
    Batches    = Clock, Rows, Forward, Finite, Update, [Again], Sum     for every batch that is left of the epoch
    Validate   = Rows, Forward, Totals                                  for every chunk of the held-out rows

Wherever the run stands is written down in its cursor (epoch, row, step, the epoch's loss so far): it may be left between
any two batches or epochs, and goes on from there with the same bits. A run is left when it is asked to stop, when its
steps are done, when the loss is not finite, or when patience is at its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from .graph import DType
from .loops.ir import Buffer, Scheduled, Space
from .loops.unit import Unit


@dataclass(frozen=True, slots=True)
class Tensor:
    """Observations: their place in a unit's table, and the bytes of one row."""

    name: str
    slot: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a unit leaves behind: its place in the unit's table, and its type."""

    name: str
    slot: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Shuffle:
    """The order of the epoch's rows (Fisher and Yates), from the seed and the number of the epoch alone."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The numbers that schedules read: step (from 1), epoch (from 0), how many there are of both, and the loss of the
    epoch before, of validation where there is one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The next rows of each tensor: side by side as they lie, or gathered in the shuffled order."""

    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """The kernels of a unit up to its loss; of a unit without updates all of them."""

    unit: str


@dataclass(frozen=True, slots=True)
class Finite:
    """Leaves the run when the loss is not finite, before anything is changed; only a step's first evaluation counts."""

    loss: Number


@dataclass(frozen=True, slots=True)
class Update:
    """The kernels of a unit behind its loss: gradients, parameters, states, buffers."""

    unit: str


@dataclass(frozen=True, slots=True)
class Again:
    """Goes back to ``Forward`` on the same rows while the optimizer wants another evaluation (a line search)."""

    wanted: Number


@dataclass(frozen=True, slots=True)
class Sum:
    """Adds the loss of the step's first evaluation, weighted by the rows of the batch, to that of the epoch, and moves the cursor on."""

    loss: Number


@dataclass(frozen=True, slots=True)
class Batches:
    """For every batch that is left of the epoch; the run may be left between two of them."""

    body: tuple[Clock | Rows | Forward | Finite | Update | Again | Sum, ...]


@dataclass(frozen=True, slots=True)
class Mean:
    """Writes the epoch's mean loss down."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Adds a chunk's loss, and what metrics are made from, to the epoch's line of the history."""

    loss: Number
    totals: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Validate:
    """For every chunk of the held-out rows, where there are any."""

    rows: Rows
    forward: Forward
    totals: Totals


@dataclass(frozen=True, slots=True)
class Best:
    """Keeps a copy of parameters, buffers and states after the epoch with the smallest loss."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Leaves the run when the loss has not become smaller for so many epochs."""


Statement = (
    Shuffle
    | Clock
    | Rows
    | Forward
    | Finite
    | Update
    | Again
    | Sum
    | Batches
    | Mean
    | Totals
    | Validate
    | Best
    | Patience
)


@dataclass(frozen=True, slots=True)
class Program:
    """``body`` for every epoch that is left; the run may be left between two of them."""

    body: tuple[Statement, ...]

    @property
    def totals(self) -> tuple[Number, ...]:
        """What metrics are made from, in the order of the history's columns."""
        return next((s.totals.totals for s in self.body if isinstance(s, Validate)), ())


def training(
    units: Mapping[str, Unit], tables: Mapping[str, Sequence[Buffer]], totals: Sequence[str]
) -> Program:
    """The run over the unit ``step`` and, if it is there, ``evaluate``. tables: each unit's buffers in order."""
    loss = _number(units, tables, "step", "loss")
    rows = Rows(_tensors(units, tables, "step"))
    again = (Again(_number(units, tables, "step", "again")),) if "again" in units["step"].outputs else ()
    batches = Batches((Clock(), rows, Forward("step"), Finite(loss), Update("step"), *again, Sum(loss)))
    body: list[Statement] = [Shuffle(), batches, Mean()]
    if "evaluate" in units:
        found = tuple(_number(units, tables, "evaluate", name) for name in totals)
        sums = Totals(_number(units, tables, "evaluate", "loss"), found)
        body.append(Validate(Rows(_tensors(units, tables, "evaluate")), Forward("evaluate"), sums))
    return Program((*body, Best(), Patience()))


def data_buffers(unit: Unit) -> list[Buffer]:
    """The observations a unit reads, by name: the order of their addresses behind the control block."""
    return [unit.inputs[n] for n in sorted(unit.inputs) if unit.inputs[n].space is Space.data]


def _tensors(
    units: Mapping[str, Unit], tables: Mapping[str, Sequence[Buffer]], name: str
) -> tuple[Tensor, ...]:
    slots = {b: i for i, b in enumerate(tables[name])}
    return tuple(Tensor(b.name, slots[b], _row_bytes(b)) for b in data_buffers(units[name]))


def _number(
    units: Mapping[str, Unit], tables: Mapping[str, Sequence[Buffer]], unit: str, output: str
) -> Number:
    buffer = units[unit].outputs[output]
    return Number(output, list(tables[unit]).index(buffer), buffer.dtype)


def _row_bytes(buffer: Buffer) -> int:
    size = buffer.dtype.itemsize
    for extent in buffer.shape[1:]:
        size *= int(extent)  # type: ignore[arg-type]
    return size


def outline(program: Program, units: Mapping[str, Unit]) -> str:
    """The program as indented text, with the kernels of its units in the order they run."""
    lines = ["for every epoch left:"]
    for statement in program.body:
        lines += _lines(statement, units, 1)
    return "\n".join(lines)


def _lines(statement: Statement, units: Mapping[str, Unit], depth: int) -> list[str]:
    pad = "    " * depth
    match statement:
        case Batches(body):
            inner = [line for s in body for line in _lines(s, units, depth + 1)]
            return [f"{pad}for every batch left:", *inner]
        case Validate(rows, forward, totals):
            inner = [line for s in (rows, forward, totals) for line in _lines(s, units, depth + 1)]
            return [f"{pad}for every chunk of the held-out rows:", *inner]
        case Rows(tensors):
            return [f"{pad}rows {', '.join(f'{t.name} ({t.row_bytes} bytes each)' for t in tensors)}"]
        case Forward(unit) | Update(unit):
            head = "up to the loss" if isinstance(statement, Forward) else "behind the loss"
            kernels = part(units[unit], isinstance(statement, Update))
            names = [f"{pad}    {', '.join(s.buffer.name for s in k.kernel.stores)}" for k in kernels]
            return [f"{pad}run {unit}, {head}:", *names]
        case Totals(loss, totals):
            return [f"{pad}totals {', '.join(n.name for n in (loss, *totals))}"]
        case _:
            values = [getattr(statement, f.name).name for f in fields(statement)]
            return [f"{pad}{' '.join([type(statement).__name__.lower(), *values])}"]


def part(unit: Unit, behind: bool) -> Sequence[Scheduled]:
    """A unit's kernels up to its loss, or those behind it."""
    loss = unit.outputs["loss"]
    cut = next(
        (i + 1 for i, k in enumerate(unit.kernels) if any(s.buffer == loss for s in k.kernel.stores)), 0
    )
    if not any(b.space is Space.model for b in unit.outputs.values()):
        cut = len(unit.kernels)
    return unit.kernels[cut:] if behind else unit.kernels[:cut]
