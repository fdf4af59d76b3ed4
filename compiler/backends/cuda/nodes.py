"""The training run as launches: a step as nodes of a CUDA graph, and what happens between two epochs.

In: a ``Program`` and the calls of its step. Out: CUDA C++ of an entry for each node, and the order in which they are launched.
Where the one entry of ``program.py`` waits at a barrier, one launch ends here and the next one begins; so each has as many
blocks as it has work for, and registers for its own kernels alone. The cursor stays in the control block: every node reads
there whether its step is to be run at all, and from which row on; the last one of a step moves it on. Between two epochs one
launch whose blocks wait for each other does what ``program.py`` does there, with the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ....runtime.artifact import NODES, SHARED_BYTES, LaunchLayout, RoundLayout
from ...program import Again, Batches, Clock, Finite, Forward, Program, Rows, Statement, Sum, Update
from .module import Called
from .program import ARGUMENTS, BATCH, batch_statement, statement_lines

NODE_ARGUMENTS = ARGUMENTS.replace("long long apart", "long long repetition")
IDLE = "if (!goes_on(control)) return;"
COPIED_BYTES = 16
"""What a thread copies of a row at once."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """text: of all entries. rounds: a step. between: the entry that ends an epoch and begins the next one."""

    text: str = ""
    rounds: tuple[RoundLayout, ...] = ()
    between: str | None = None


def either(train: str, nodes: str) -> str:
    """A text with the entries of one way to run, or of the other."""
    return "\n".join([f"#ifndef {NODES}", train, "#else", nodes, "#endif"]) if nodes else train


def nodes(program: Program, calls: Sequence[Called], split: int, evaluate: int, threads: int) -> Nodes:
    """Nothing for a step with a line search, which decides while it runs how many launches it has.

    calls: of the step's kernels, of which ``split`` come before its loss is known. evaluate: the size of the other table.
    threads: of a block.
    """
    body = next(s.body for s in program.body if isinstance(s, Batches))
    if any(isinstance(s, Again) for s in body):
        return Nodes()
    writer = _Writer(2 + len(program.totals), threads)
    for statement in body:
        match statement:
            case Forward():
                writer.kernels(calls[:split])
            case Update():
                writer.kernels(calls[split:])
            case _:
                writer.statement(statement)
    between = "netc_between"
    texts = [*writer.texts, _between(between, program, evaluate, threads)]
    return Nodes("\n\n".join(texts), tuple(writer.rounds), between)


class _Writer:
    """Entries in the order of their launches."""

    def __init__(self, width: int, threads: int) -> None:
        self.width, self.threads = width, threads
        self.texts: list[str] = []
        self.rounds: list[RoundLayout] = []
        self.waiting: list[str] = []
        """Lines of statements that the next one's launch does along with its own."""

    def statement(self, statement: Statement) -> None:
        """Clock and rows make one launch: neither needs what the other does. What moves the cursor is done by one block."""
        lines = batch_statement(statement)
        match statement:
            case Clock():
                self.waiting = lines
            case Rows(tensors):
                threads = sum(-(-t.row_bytes // COPIED_BYTES) for t in tensors)
                self._add("netc_begin", (1, threads), _statements([*self.waiting, *lines], self.width))
            case Finite() | Sum():
                name = f"netc_{type(statement).__name__.lower()}"
                self._add(name, (1, 0), _moving(lines, self.width))
            case _:
                raise AssertionError(f"bug in netc: {statement} is no launch of its own")

    def kernels(self, calls: Sequence[Called]) -> None:
        """Launches of kernels that need not wait for each other; the kernels of a recurrence again and again."""
        for repeat, group in groupby(_phases(calls), lambda phase: phase[0].kernel.repeat):
            launches = []
            for phase in group:
                name = f"netc_node{len(self.texts)}"
                self.texts.append(_node(name, phase, self.threads))
                launches.append(LaunchLayout(name, _most(phase)))
            times = 1 if repeat is None else int(repeat.axis.extent)
            self.rounds.append(RoundLayout(times, tuple(launches)))

    def _add(self, name: str, threads: tuple[int, int], lines: Sequence[str]) -> None:
        self.texts.append(_entry(name, lines, self.threads))
        self.rounds.append(RoundLayout(1, (LaunchLayout(name, threads),)))


def _phases(calls: Sequence[Called]) -> Iterator[list[Called]]:
    """Calls up to the next that must wait; in a recurrence every one for itself."""
    phase: list[Called] = []
    for call in calls:
        alone = call.kernel.repeat is not None
        if phase and (call.waits or alone or phase[-1].kernel.repeat is not None):
            yield phase
            phase = []
        phase.append(call)
    if phase:
        yield phase


def _most(calls: Sequence[Called]) -> tuple[int, int]:
    """Threads for the largest of some kernels."""
    return max(c.threads[0] for c in calls), max(c.threads[1] for c in calls)


def _entry(name: str, lines: Sequence[str], threads: int) -> str:
    head = f'extern "C" __global__ void __launch_bounds__({threads}, 1) {name}({NODE_ARGUMENTS}) {{'
    return "\n".join([head, *(f"    {line}" for line in lines), "}"])


def _node(name: str, phase: Sequence[Called], threads: int) -> str:
    repeat = phase[0].kernel.repeat
    which = [] if repeat is None else [f"const index_t {repeat.axis.name} = (index_t)repetition;"]
    return _entry(name, [
        IDLE,
        "unsigned char *const *table = (unsigned char *const *)control[slot_step_table];",
        "const index_t rows = smaller(control[slot_rows] - control[slot_row], control[slot_batch]);",
        "const word32 step = (word32)(control[slot_step] + 1);",
        "const word64 seed = (word64)control[slot_seed];",
        *which,
        *(call.text for call in phase),
    ], threads)  # fmt: skip


def _statements(lines: Sequence[str], width: int) -> list[str]:
    """Statements that read the cursor."""
    return [
        IDLE,
        "unsigned char **table = (unsigned char **)control[slot_step_table];",
        "long long *scalars = (long long *)control[slot_scalars];",
        f"Cursor at = cursor_of(control, {width});",
        *BATCH,
        *lines,
    ]


def _moving(lines: Sequence[str], width: int) -> list[str]:
    """A statement that moves the cursor, for one block. It may return before its end."""
    return [
        IDLE,
        "unsigned char *const *table = (unsigned char *const *)control[slot_step_table];",
        f"Cursor at = cursor_of(control, {width});",
        "const auto move = [&]() {",
        *(f"    {line}" for line in (*BATCH, *lines)),
        "};",
        "move();",
        "__syncthreads();  // nobody reads the cursor any more when the leader writes it",
        "write_down(control, at);",
    ]


def _between(name: str, program: Program, evaluate: int, threads: int) -> str:
    """Ends the epoch whose rows are used up, and draws the order of the one that the cursor stands in."""
    width = 2 + len(program.totals)
    at = next(i for i, s in enumerate(program.body) if isinstance(s, Batches))
    first = [line for s in program.body[:at] for line in statement_lines(s, width)]
    last = [line for s in program.body[at + 1 :] for line in statement_lines(s, width)]
    out_of_steps = "if (at.step >= control[slot_end_step]) { at.status = stopped; return; }"
    return "\n".join([
        "static __device__ void pass_on(const long long *control, Cursor &at, unsigned char **held) {",
        "    if (at.row >= control[slot_rows]) {",
        *(f"        {line}" for line in (*last, out_of_steps)),
        "    }",
        "    if (at.epoch >= control[slot_end_epoch]) { at.status = finished; return; }",
        *(f"    {line}" for line in (*first, out_of_steps)),
        "}",
        "",
        _entry(name, [
            f"unsigned char **held = (unsigned char **)(netc_shared + {SHARED_BYTES});",
            f"fetch_table(held, control[slot_evaluate_table], {evaluate});",
            "__syncthreads();",
            f"Cursor at = cursor_of(control, {width});",
            "grid_sync();  // nobody reads the cursor any more when the leader writes it",
            "if (at.status != running) return;",
            "pass_on(control, at, held);",
            "write_down(control, at);",
        ], threads),
    ])  # fmt: skip


__all__ = ["Nodes", "either", "nodes"]
