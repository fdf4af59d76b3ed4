"""What compilation hands to a runtime: object code, entry points, and the layout of memory.

Nothing here owns a pointer; ``cpu.py`` allocates and keeps what an entry point is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """A tensor: ``shape`` without the rows where ``per_row``; ``order`` lists dimensions from outermost to innermost.

    space is ``model``, ``work``, ``data`` or ``scalar``; in ``model`` and ``work`` it lies at
    ``fixed + per_row_offset * capacity`` bytes. pitch: elements from one run of the innermost dimension to the next,
    0 for as many as the run has.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    per_row: bool
    space: str
    fixed: int = 0
    per_row_offset: int = 0
    pitch: int = 0


@dataclass(frozen=True, slots=True)
class UnitLayout:
    """An entry point: its table of buffers in order, which of them are its inputs and outputs, its work memory.

    work: scalar operations of its largest kernel that can be divided, as a fixed number and one for each row.
    """

    symbol: str
    table: tuple[TensorLayout, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    fixed_bytes: int
    row_bytes: int
    work: tuple[int, int] = (0, 0)

    def place(self, tensor: TensorLayout, capacity: int) -> int:
        """Where a tensor of the work memory lies, in bytes from its start, when there is room for so many rows."""
        if not tensor.per_row:
            return tensor.fixed
        return -(-(self.fixed_bytes + tensor.per_row_offset * capacity) // 64) * 64

    def work_bytes(self, capacity: int) -> int:
        """The size of the work memory for so many rows."""
        return self.fixed_bytes + self.row_bytes * capacity + 256


@dataclass(frozen=True, slots=True)
class LaunchLayout:
    """A launch of a training step on a CUDA device: its entry, and how many threads have something to do in it, as a fixed
    number and one for each row."""

    entry: str
    threads: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RoundLayout:
    """Launches one behind the other, all of them ``times`` over; each is told which time it is, from 0 (a recurrence)."""

    times: int
    launches: tuple[LaunchLayout, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """The code of some units; ``train`` names the entry that runs whole epochs, if there is one.

    code: object code, or the text of a CUDA module. most_rows: for how many rows that text's indices may be ``int``.
    threads: of the blocks that it is written for.
    step: a training step as launches, empty where their number is not known beforehand (a line search). between: the entry
    that ends an epoch and begins the next one between such steps.
    """

    code: bytes
    units: Mapping[str, UnitLayout]
    train: str | None = None
    totals: tuple[str, ...] = ()
    most_rows: int = 0
    threads: int = 0
    step: tuple[RoundLayout, ...] = ()
    between: str | None = None


def pack(artifact: Artifact) -> bytes:
    """The artifact as bytes: a line of JSON, then the code."""
    units = {
        name: _fields(unit) | {"table": [_fields(t) for t in unit.table]}
        for name, unit in artifact.units.items()
    }
    head: dict[str, Any] = {"units": units, "train": artifact.train, "totals": artifact.totals}
    head |= {"most_rows": artifact.most_rows, "threads": artifact.threads, "between": artifact.between}
    head["step"] = [asdict(part) for part in artifact.step]
    return json.dumps(head).encode() + b"\n" + artifact.code


def _fields(record: TensorLayout | UnitLayout) -> dict[str, Any]:
    """Its fields as they are; ``asdict`` copies all that is in them."""
    return {name: getattr(record, name) for name in record.__slots__}


def unpack(content: bytes) -> Artifact:
    """The artifact that was packed."""
    line, _, code = content.partition(b"\n")
    head = json.loads(line)
    units = {name: _unit(fields) for name, fields in head["units"].items()}
    return Artifact(
        code, units, head["train"], tuple(head["totals"]), head["most_rows"], head["threads"],
        tuple(_round(fields) for fields in head["step"]), head["between"],
    )  # fmt: skip


def _round(fields: dict[str, Any]) -> RoundLayout:
    launches = tuple(LaunchLayout(x["entry"], tuple(x["threads"])) for x in fields["launches"])
    return RoundLayout(fields["times"], launches)


def _unit(fields: dict[str, Any]) -> UnitLayout:
    table = tuple(
        TensorLayout(**{**t, "shape": tuple(t["shape"]), "order": tuple(t["order"])}) for t in fields["table"]
    )
    return UnitLayout(**{**fields, "table": table, "work": tuple(fields["work"])})


CONTROL = (
    "rows", "batch", "epoch", "end_epoch", "row", "step", "end_step", "stop", "status", "seed", "loss_sum", "shuffle",
    "validation_rows", "chunk", "best", "best_epoch", "patience", "history", "permutation", "model", "best_model",
    "model_bytes", "epochs", "steps_per_epoch", "scalars", "step_table", "evaluate_table", "last_loss", "total_steps",
    "pool", "evaluations",
)  # fmt: skip
"""Slots of the control block, eight bytes each. ``loss_sum``, ``best`` and ``last_loss`` are doubles, the rest integers
and addresses. ``evaluations``: of the running step, where it has several. ``epoch``, ``row``, ``step`` and ``loss_sum`` are the cursor: a run goes on from wherever they stand.
"""

SLOT: Mapping[str, int] = {name: i for i, name in enumerate(CONTROL)}
DEVICE_CONTROL = (*CONTROL, "pause", "drawn", "partners", "holders", "waiting")
"""Slots of a run on a device. ``pause``: the step before which a launch is left, ``drawn``: the epoch whose order of rows is
in memory, or -1; then the memory that orders are drawn with. The addresses of the observations stand
behind."""
DEVICE_SLOT: Mapping[str, int] = {name: i for i, name in enumerate(DEVICE_CONTROL)}
POOL: Mapping[str, int] = {
    "taken": 0, "done": 8, "function": 16, "table": 17, "rows": 18, "step": 19, "seed": 20, "unit": 21,
    "extent": 22, "count": 23, "threads": 24, "quit": 25,
}  # fmt: skip
"""Slots of eight bytes in the block that threads share: the bits of the taken shares, how many are done (each in a cache
line of its own), then the job."""
MOST_THREADS = 63
"""Bits of ``taken`` for shares; that all are ones means that nothing is open."""
POOL_SLOTS = 32
GRAIN = 65536
"""Scalar operations of one kernel that are worth a thread."""
BLOCK_THREADS = 512
"""Threads of a block on a GPU. Text is written for so many: tiles and the order in which a sum's terms are added depend on it."""
PARTS_BYTES = 1024
"""A block's memory for its warps' parts of a sum."""
TILE_BYTES = 32768
"""Behind it, a block's memory for stages of operands."""
SHARED_BYTES = PARTS_BYTES + TILE_BYTES
"""What every block has; tables of addresses lie behind it. With them it stays below the 48 KiB that no device has to be asked
for."""
NODES, ALONE = "NETC_NODES", "NETC_ALONE"
"""What is defined in front of a CUDA module's text for the entries of a graph in place of the one of ``train``."""
SCALARS = ("step", "epoch", "steps", "epochs", "steps_per_epoch", "epoch_loss", "seed")
RUNNING, FINISHED, DIVERGED, STOPPED, EXHAUSTED = range(5)
"""Values of ``status``: EXHAUSTED means that patience ran out."""
