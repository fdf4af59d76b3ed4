"""The training run as one CUDA kernel, the twin of ``backends/llvm/program.py``.

In: a ``Program`` (``compiler/program.py``). Out: CUDA C++ of an entry ``netc_train(control)``, for one block or for a grid
whose blocks are all resident. The control block (``runtime/artifact.py``) lies on the device; a launch goes on from its
cursor and is left before the step ``pause`` or when the run is over. All threads hold the same cursor and run through the
same statements; what each statement needs is in ``program.cuh``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....runtime.artifact import (
    DEVICE_CONTROL,
    DIVERGED,
    EXHAUSTED,
    FINISHED,
    RUNNING,
    SCALARS,
    SHARED_BYTES,
    STOPPED,
)
from ...loops.ir import Buffer, Space
from ...program import (
    Again,
    Batches,
    Best,
    Clock,
    Finite,
    Forward,
    Mean,
    Number,
    Patience,
    Program,
    Rows,
    Shuffle,
    Statement,
    Sum,
    Tensor,
    Update,
    Validate,
)
from .scalars import TYPES

UNITS = ((16, "Sixteen"), (8, "word64"), (4, "word32"), (1, "unsigned char"))
"""What rows are copied in, by its size."""
ARGUMENTS = "long long *control, long long apart, long long, long long"
"""apart: numbers between the control blocks of one run and the next, where each block of the grid has its own run; else 0."""


def prelude_text() -> str:
    """The slots of the control block, and what statements call."""
    prelude = (Path(__file__).parent / "program.cuh").read_text(encoding="utf-8").strip()
    return "\n".join([
        f"enum Slot {{ {', '.join(f'slot_{n}' for n in DEVICE_CONTROL)}, slot_data }};",
        f"enum Status {{ running = {RUNNING}, finished = {FINISHED}, diverged = {DIVERGED}, stopped = {STOPPED}, "
        f"exhausted = {EXHAUSTED} }};",
        "", prelude,
    ])  # fmt: skip


def _run_function(program: Program) -> str:
    """The function that runs from the cursor on."""
    width = 2 + len(program.totals)
    lines = [line for s in program.body for line in statement_lines(s, width)]
    return "\n".join([
        "static __device__ void run_on(const long long *control, Cursor &at, unsigned char **table, "
        "unsigned char **held, long long *scalars) {",
        "    const word64 seed = (word64)control[slot_seed];",
        "    for (;;) {",
        "        if (at.epoch >= control[slot_end_epoch]) { at.status = finished; return; }",
        *_indented(lines, 2),
        "        if (at.step >= control[slot_end_step]) { at.status = stopped; return; }",
        "    }",
        "}",
    ])  # fmt: skip


def train_entry(program: Program, step: Sequence[Buffer], evaluate: Sequence[Buffer], threads: int) -> str:
    """The entry for blocks of so many threads, and its function. step, evaluate: the tables of the two units; the scalars of a step lie in each block's own memory."""
    width = 2 + len(program.totals)
    scalars = [(i, SCALARS.index(b.name.removeprefix("scalar."))) for i, b in _of(step, Space.scalar)]
    return "\n".join([
        _run_function(program), "",
        f'extern "C" __global__ void __launch_bounds__({threads}, 1) netc_train({ARGUMENTS}) {{',
        "    control += blockIdx.x * apart;",
        f"    unsigned char **table = (unsigned char **)(netc_shared + {SHARED_BYTES});",
        f"    unsigned char **held = table + {len(step)};",
        f"    long long *scalars = (long long *)(held + {len(evaluate)});",
        f"    fetch_table(table, control[slot_step_table], {len(step)});",
        f"    fetch_table(held, control[slot_evaluate_table], {len(evaluate)});",
        "    __syncthreads();",
        "    if (threadIdx.x == 0) {",
        *(f"        table[{slot}] = (unsigned char *)(scalars + {place});" for slot, place in scalars),
        "    }",
        f"    Cursor at = cursor_of(control, {width});",
        "    grid_sync();  // nobody reads the cursor any more when the leader writes it",
        "    if (at.status != running) return;",
        "    run_on(control, at, table, held, scalars);",
        "    write_down(control, at);",
        "}",
    ])  # fmt: skip


def shared_bytes(step: int, evaluate: int) -> int:
    """A block's memory for the entry, with tables of so many addresses."""
    return SHARED_BYTES + 8 * (step + evaluate + len(SCALARS))


def _of(table: Sequence[Buffer], space: Space) -> list[tuple[int, Buffer]]:
    return [(i, b) for i, b in enumerate(table) if b.space is space]


def statement_lines(statement: Statement, width: int) -> list[str]:
    """A statement that runs once an epoch, or the loop over its batches."""
    match statement:
        case Shuffle():
            return [
                "if (control[slot_shuffle] && at.drawn != at.epoch) {",
                "    draw_order(control, at.epoch);",
                "    at.drawn = at.epoch;",
                "}",
            ]
        case Batches(body):
            return _batches(body)
        case Mean():
            return [
                "at.watched = at.loss_sum / (double)control[slot_rows];",
                "at.loss_sum = 0.0;",
                "at.row = 0;",
                f"double *line = history_line(control, at.epoch, {width});",
                "if (leader()) line[0] = line[1] = at.watched;",
            ]
        case Validate():
            return _validate(statement, width)
        case Best():
            return [
                "if (at.watched < at.best) {",
                "    at.best = at.watched;",
                "    at.best_epoch = at.epoch;",
                "    copy_block((unsigned char *)control[slot_best_model], (const unsigned char *)control[slot_model], "
                "control[slot_model_bytes]);",
                "}",
            ]
        case Patience():
            return [
                "const long long since = at.epoch - at.best_epoch;",
                "at.epoch += 1;",
                "if (control[slot_patience] > 0 && since >= control[slot_patience]) { at.status = exhausted; return; }",
            ]
        case _:
            raise AssertionError(f"bug in netc: {statement} stands alone")


def _batches(body: Sequence[Statement]) -> list[str]:
    """All that is left of the epoch; with a line search the steps from ``Forward`` to ``Again`` are a loop of their own."""
    searches = any(isinstance(s, Again) for s in body)
    lines: list[str] = []
    for statement in body:
        if isinstance(statement, Forward) and searches:
            lines.append("for (long long evaluation = 0;; ++evaluation) {")
        inner = batch_statement(statement, searches)
        within = searches and isinstance(statement, Forward | Finite | Update | Again)
        lines += _indented(inner, 1 if within else 0)
        if isinstance(statement, Rows):
            lines.append("grid_sync();")
        if isinstance(statement, Again):
            lines.append("}")
    return [
        "while (at.row < control[slot_rows]) {",
        "    if (at.step >= control[slot_end_step]) { at.status = stopped; return; }",
        "    if (at.step >= control[slot_pause]) return;",
        *_indented(BATCH),
        *_indented(lines),
        "}",
    ]


BATCH = (
    "const index_t count = smaller(control[slot_rows] - at.row, control[slot_batch]);",
    "const word32 step = (word32)(at.step + 1);",
)
"""What statements of a batch read."""


def batch_statement(statement: Statement, searches: bool = False) -> list[str]:
    """The lines of a statement that runs for each batch, behind those of ``BATCH``; behind ``Rows`` all blocks must wait."""
    match statement:
        case Clock():
            return ["set_clock(scalars, control, at);"]
        case Rows(tensors):
            return [_place(i, t) for i, t in enumerate(tensors)]
        case Forward(unit):
            return [f"{unit}_forward(table, count, step, seed);"]
        case Finite(loss):
            first = "if (evaluation == 0) " if searches else ""
            return [
                f"{first}at.last_loss = {_number('table', loss)};",
                "if (!(fabs(at.last_loss) < NETC_INFINITY_D)) { at.status = diverged; return; }",
            ]
        case Update(unit):
            return [f"{unit}_update(table, count, step, seed);"]
        case Again(wanted):
            return [f"if ({_number('table', wanted)} == 0.0) break;"]
        case Sum():
            return [
                "at.loss_sum += at.last_loss * (double)count;",
                "at.step += 1;",
                "at.row += count;",
            ]
        case _:
            raise AssertionError(f"bug in netc: {statement} is no part of a step")


def _place(number: int, tensor: Tensor) -> str:
    size, unit = next((s, n) for s, n in UNITS if tensor.row_bytes % s == 0)
    many = tensor.row_bytes // size
    return f"place_rows<{unit}, {many}>(table, {tensor.slot}, control, {number}, at.row, count);"


def _number(table: str, number: Number) -> str:
    return f"number<{TYPES[number.dtype]}>({table}, {number.slot})"


def _validate(statement: Validate, width: int) -> list[str]:
    """The held-out rows in chunks, in evaluation mode; without any the training rows' loss stands."""
    rows, totals = statement.rows.tensors, statement.totals.totals
    sums = [f"        line[{i}] += {_number('held', n)};" for i, n in enumerate(totals, 2)]
    unit = statement.forward.unit
    return [
        "if (control[slot_validation_rows] > 0) {",
        "    at.watched = 0.0;",
        "    if (leader())",
        f"        for (int i = 1; i < {width}; ++i) line[i] = 0.0;",
        "    for (long long first = 0; first < control[slot_validation_rows]; first += control[slot_chunk]) {",
        "        const index_t count = smaller(control[slot_validation_rows] - first, control[slot_chunk]);",
        "        if (threadIdx.x == 0) {",
        *(_indented([_held(i, t) for i, t in enumerate(rows)], 3)),
        "        }",
        "        grid_sync();",
        f"        {unit}_all(held, count, 0u, 0);",
        f"        const double part = {_number('held', statement.totals.loss)} * (double)count;",
        "        at.watched += part / (double)control[slot_validation_rows];",
        "        if (leader()) {",
        "            line[1] = at.watched;",
        *_indented(sums),
        "        }",
        "    }",
        "}",
    ]


def _held(number: int, tensor: Tensor) -> str:
    address = f"(unsigned char *)control[slot_data + {3 * number + 1}]"
    return f"held[{tensor.slot}] = {address} + first * {tensor.row_bytes};"


def _indented(lines: Sequence[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


__all__ = [
    "ARGUMENTS",
    "BATCH",
    "batch_statement",
    "prelude_text",
    "shared_bytes",
    "statement_lines",
    "train_entry",
]
