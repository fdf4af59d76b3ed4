"""The training run as one native function.

In: a ``Program`` (``compiler/program.py``). Out: LLVM text of ``void @train(ptr control)``. The control block
(``runtime/artifact.py``) holds the cursor, so that the function can return after any step and be called again to go on
with the same bits. Each statement becomes a few blocks that begin where the one before it ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ....runtime.artifact import DIVERGED, EXHAUSTED, FINISHED, SCALARS, SLOT, STOPPED
from ...graph import DType
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
from .module import Module
from .scalars import type_text

INFINITY = 0x7FF0000000000000
_ENDS = (("finished", FINISHED), ("diverged", DIVERGED), ("stopped", STOPPED), ("exhausted", EXHAUSTED))


class _Text:
    """Instructions with fresh names, and structured control flow over memory slots."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names = itertools.count()

    def emit(self, text: str) -> str:
        name = f"%t{next(self.names)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def address(self, slot: int) -> str:
        return self.emit(f"getelementptr i64, ptr %control, i64 {slot}")

    def get(self, name: str, kind: str = "i64") -> str:
        return self.emit(f"load {kind}, ptr {self.address(SLOT[name])}, align 8")

    def set(self, name: str, value: str, kind: str = "i64") -> None:
        self.do(f"store {kind} {value}, ptr {self.address(SLOT[name])}, align 8")

    def pointer(self, slot: int) -> str:
        return self.emit(f"load ptr, ptr {self.address(slot)}, align 8")


def train_function(module: Module, program: Program) -> str:
    """The function's text."""
    t = _Text()
    t.do("br label %epoch")
    t.label("epoch")
    more = t.emit(f"icmp slt i64 {t.get('epoch')}, {t.get('end_epoch')}")
    t.do(f"br i1 {more}, label %begin, label %finished")
    t.label("begin")
    width = 2 + len(program.totals)
    for statement in program.body:
        _statement(t, statement, module, width)
    _leave(t, "epoch")
    for name, status in _ENDS:
        t.label(name)
        t.set("status", str(status))
        t.do("ret void")
    return "\n".join(["define void @train(ptr %control) {", "entry:", *t.lines, "}"])


def _statement(t: _Text, statement: Statement, module: Module, width: int) -> None:
    match statement:
        case Shuffle():
            _shuffle(t, module)
        case Batches(body):
            _batches(t, body, module, width)
        case Clock():
            _clock(t, width)
        case Rows(tensors):
            _rows(t, tensors)
        case Forward(unit):
            t.do("br label %evaluate")
            t.label("evaluate")
            _run(t, f"{unit}_forward")
        case Finite(loss):
            _finite(t, loss)
        case Update(unit):
            _run(t, f"{unit}_update")
        case Again(wanted):
            _again(t, wanted)
        case Sum():
            _sum(t)
        case Mean():
            _mean(t, width)
        case Validate():
            _validate(t, statement, width)
        case Best():
            _best(t)
        case Patience():
            _patience(t)
        case _:
            raise AssertionError(f"bug in netc: {statement} stands alone")


def _leave(t: _Text, again: str) -> None:
    """Goes on at a label, unless the run was asked to stop or its steps are done."""
    stop = t.emit(f"load volatile i64, ptr {t.address(SLOT['stop'])}, align 8")
    asked = t.emit(f"icmp ne i64 {stop}, 0")
    last = t.emit(f"icmp sge i64 {t.get('step')}, {t.get('end_step')}")
    t.do(f"br i1 {t.emit(f'or i1 {asked}, {last}')}, label %stopped, label %{again}")


def _shuffle(t: _Text, module: Module) -> None:
    """Drawn again after a resume in the middle of an epoch: it depends on the seed and the epoch alone."""
    wanted = t.emit(f"icmp ne i64 {t.get('shuffle')}, 0")
    t.do(f"br i1 {wanted}, label %fill.pre, label %shuffled")
    t.label("fill.pre")
    rows, order, seed, epoch = t.get("rows"), t.get("permutation", "ptr"), t.get("seed"), t.get("epoch")
    low = t.emit(f"and i64 {seed}, 4294967295")
    high = t.emit(f"lshr i64 {seed}, 32")
    t.do("br label %fill")
    t.label("fill")
    t.do("%f = phi i64 [ 0, %fill.pre ], [ %f.next, %fill ]")
    t.do(f"store i64 %f, ptr {t.emit(f'getelementptr i64, ptr {order}, i64 %f')}, align 8")
    t.do("%f.next = add i64 %f, 1")
    t.do(f"br i1 {t.emit(f'icmp ult i64 %f.next, {rows}')}, label %fill, label %mix.pre")
    t.label("mix.pre")
    t.do("br label %mix")
    t.label("mix")
    t.do(f"%m = phi i64 [ {rows}, %mix.pre ], [ %m.next, %mix ]")
    t.do("%m.next = sub i64 %m, 1")
    symbol = module.philox(DType.float64, 1)
    drawn = t.emit(f"call double {symbol}(i64 %m, i64 4294967295, i64 {epoch}, i64 {low}, i64 {high})")
    scaled = t.emit(f"fmul double {drawn}, {t.emit('uitofp i64 %m to double')}")
    other = t.emit(f"fptoui double {scaled} to i64")
    a = t.emit(f"getelementptr i64, ptr {order}, i64 %m.next")
    b = t.emit(f"getelementptr i64, ptr {order}, i64 {other}")
    x, y = t.emit(f"load i64, ptr {a}, align 8"), t.emit(f"load i64, ptr {b}, align 8")
    t.do(f"store i64 {y}, ptr {a}, align 8")
    t.do(f"store i64 {x}, ptr {b}, align 8")
    t.do(f"br i1 {t.emit('icmp ugt i64 %m.next, 1')}, label %mix, label %shuffled")
    t.label("shuffled")


def _batches(t: _Text, body: Sequence[Statement], module: Module, width: int) -> None:
    t.do("br label %batch")
    t.label("batch")
    left = t.emit(f"sub i64 {t.get('rows')}, {t.get('row')}")
    t.do(f"%count = call i64 @llvm.smin.i64(i64 {left}, i64 {t.get('batch')})")
    t.do(f"%step = add i64 {t.get('step')}, 1")
    t.do(f"%seed = add i64 {t.get('seed')}, 0")
    t.do(f"%table = getelementptr i8, ptr {t.get('step_table', 'ptr')}, i64 0")
    t.do(f"%pool = getelementptr i8, ptr {t.get('pool', 'ptr')}, i64 0")
    for statement in body:
        _statement(t, statement, module, width)
    done = t.emit(f"icmp sge i64 {t.get('row')}, {t.get('rows')}")
    t.do(f"br i1 {done}, label %batches.done, label %between")
    t.label("between")
    _leave(t, "batch")
    t.label("batches.done")


def _clock(t: _Text, width: int) -> None:
    scalars, epoch = t.get("scalars", "ptr"), t.get("epoch")
    known = t.emit(f"icmp sgt i64 {epoch}, 0")
    row = t.emit(f"select i1 {known}, i64 {t.emit(f'sub i64 {epoch}, 1')}, i64 0")
    place = t.emit(f"add i64 {t.emit(f'mul i64 {row}, {width}')}, 1")
    watched = t.emit(f"getelementptr double, ptr {t.get('history', 'ptr')}, i64 {place}")
    bits = t.emit(f"load i64, ptr {watched}, align 8")
    values = {
        "step": "%step", "epoch": epoch, "steps": t.get("total_steps"), "epochs": t.get("epochs"),
        "steps_per_epoch": t.get("steps_per_epoch"), "seed": "%seed",
        "epoch_loss": t.emit(f"select i1 {known}, i64 {bits}, i64 {INFINITY}"),
    }  # fmt: skip
    for i, name in enumerate(SCALARS):
        t.do(f"store i64 {values[name]}, ptr {t.emit(f'getelementptr i64, ptr {scalars}, i64 {i}')}, align 8")


def _rows(t: _Text, tensors: Sequence[Tensor]) -> None:
    row = t.get("row")
    shuffled = t.emit(f"icmp ne i64 {t.get('shuffle')}, 0")
    t.do(f"br i1 {shuffled}, label %gather, label %inplace")
    t.label("inplace")
    for i, tensor in enumerate(tensors):
        offset = t.emit(f"mul i64 {row}, {tensor.row_bytes}")
        start = t.emit(f"getelementptr i8, ptr {t.pointer(len(SLOT) + 3 * i)}, i64 {offset}")
        place = t.emit(f"getelementptr ptr, ptr %table, i64 {tensor.slot}")
        t.do(f"store ptr {start}, ptr {place}, align 8")
    t.do("br label %run")
    t.label("gather")
    order = t.get("permutation", "ptr")
    sources = [(t.pointer(len(SLOT) + 3 * i), t.pointer(len(SLOT) + 3 * i + 2)) for i in range(len(tensors))]
    for tensor, (_, target) in zip(tensors, sources, strict=True):
        place = t.emit(f"getelementptr ptr, ptr %table, i64 {tensor.slot}")
        t.do(f"store ptr {target}, ptr {place}, align 8")
    t.do("br label %copy")
    t.label("copy")
    t.do("%g = phi i64 [ 0, %gather ], [ %g.next, %copy ]")
    at = t.emit(f"add i64 {row}, %g")
    chosen = t.emit(f"load i64, ptr {t.emit(f'getelementptr i64, ptr {order}, i64 {at}')}, align 8")
    for tensor, (source, target) in zip(tensors, sources, strict=True):
        size = tensor.row_bytes
        start = t.emit(f"getelementptr i8, ptr {source}, i64 {t.emit(f'mul i64 {chosen}, {size}')}")
        goal = t.emit(f"getelementptr i8, ptr {target}, i64 {t.emit(f'mul i64 %g, {size}')}")
        t.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {goal}, ptr {start}, i64 {size}, i1 false)")
    t.do("%g.next = add i64 %g, 1")
    t.do(f"br i1 {t.emit('icmp slt i64 %g.next, %count')}, label %copy, label %run")
    t.label("run")


def _run(t: _Text, entry: str) -> None:
    t.do(f"call void @{entry}(ptr %table, i64 %count, i64 %step, i64 %seed, ptr %pool)")


def _finite(t: _Text, loss: Number) -> None:
    found = t.emit(f"fadd double {_number(t, '%table', loss)}, -0.0")
    first = t.emit(f"icmp eq i64 {t.get('evaluations')}, 0")
    t.do(f"%loss = select i1 {first}, double {found}, double {t.get('last_loss', 'double')}")
    t.set("last_loss", "%loss", "double")
    size = t.emit("call double @llvm.fabs.f64(double %loss)")
    finite = t.emit(f"fcmp one double {size}, 0x7FF0000000000000")
    t.do(f"br i1 {finite}, label %update, label %diverged")
    t.label("update")


def _again(t: _Text, wanted: Number) -> None:
    t.set("evaluations", t.emit(f"add i64 {t.get('evaluations')}, 1"))
    more = t.emit(f"fcmp une double {_number(t, '%table', wanted)}, 0.0")
    t.do(f"br i1 {more}, label %evaluate, label %accepted")
    t.label("accepted")
    t.set("evaluations", "0")


def _sum(t: _Text) -> None:
    part = t.emit(f"fmul double %loss, {t.emit('sitofp i64 %count to double')}")
    t.set("loss_sum", t.emit(f"fadd double {t.get('loss_sum', 'double')}, {part}"), "double")
    t.set("step", "%step")
    t.set("row", t.emit(f"add i64 {t.get('row')}, %count"))


def _number(t: _Text, table: str, number: Number) -> str:
    """A number that a unit left behind, as a double."""
    place = t.emit(f"getelementptr ptr, ptr {table}, i64 {number.slot}")
    address = t.emit(f"load ptr, ptr {place}, align 8")
    value = t.emit(f"load {type_text(number.dtype, 1)}, ptr {address}, align {number.dtype.itemsize}")
    return t.emit(f"fpext float {value} to double") if number.dtype is DType.float32 else value


def _mean(t: _Text, width: int) -> None:
    epoch = t.get("epoch")
    rows = t.emit(f"sitofp i64 {t.get('rows')} to double")
    loss = t.emit(f"fdiv double {t.get('loss_sum', 'double')}, {rows}")
    t.set("loss_sum", "0.0", "double")
    t.set("row", "0")
    offset = t.emit(f"mul i64 {epoch}, {width}")
    t.do(f"%history = getelementptr double, ptr {t.get('history', 'ptr')}, i64 {offset}")
    t.do(f"store double {loss}, ptr %history, align 8")
    t.do("%watched = getelementptr double, ptr %history, i64 1")
    t.do(f"store double {loss}, ptr %watched, align 8")


def _validate(t: _Text, statement: Validate, width: int) -> None:
    """The held-out rows in chunks, in evaluation mode; without any the training rows' loss stands."""
    rows, chunk, table = t.get("validation_rows"), t.get("chunk"), t.get("evaluate_table", "ptr")
    t.do(f"br i1 {t.emit(f'icmp sgt i64 {rows}, 0')}, label %validate.pre, label %validated")
    t.label("validate.pre")
    for i in range(1, width):
        t.do(f"store double 0.0, ptr {t.emit(f'getelementptr double, ptr %history, i64 {i}')}, align 8")
    t.do("br label %validate")
    t.label("validate")
    t.do("%v = phi i64 [ 0, %validate.pre ], [ %v.next, %validate ]")
    left = t.emit(f"sub i64 {rows}, %v")
    count = t.emit(f"call i64 @llvm.smin.i64(i64 {left}, i64 {chunk})")
    for i, tensor in enumerate(statement.rows.tensors):
        offset = t.emit(f"mul i64 %v, {tensor.row_bytes}")
        start = t.emit(f"getelementptr i8, ptr {t.pointer(len(SLOT) + 3 * i + 1)}, i64 {offset}")
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {tensor.slot}")
        t.do(f"store ptr {start}, ptr {place}, align 8")
    pool = t.get("pool", "ptr")
    t.do(f"call void @{statement.forward.unit}(ptr {table}, i64 {count}, i64 0, i64 0, ptr {pool})")
    weight = t.emit(f"sitofp i64 {count} to double")
    whole = t.emit(f"sitofp i64 {rows} to double")
    loss = _number(t, table, statement.totals.loss)
    part = t.emit(f"fdiv double {t.emit(f'fmul double {loss}, {weight}')}, {whole}")
    added = [part, *(_number(t, table, n) for n in statement.totals.totals)]
    for i, value in enumerate(added, 1):
        place = t.emit(f"getelementptr double, ptr %history, i64 {i}")
        total = t.emit(f"fadd double {t.emit(f'load double, ptr {place}, align 8')}, {value}")
        t.do(f"store double {total}, ptr {place}, align 8")
    t.do(f"%v.next = add i64 %v, {count}")
    t.do(f"br i1 {t.emit(f'icmp slt i64 %v.next, {rows}')}, label %validate, label %validated")
    t.label("validated")


def _best(t: _Text) -> None:
    watched = t.emit("load double, ptr %watched, align 8")
    better = t.emit(f"fcmp olt double {watched}, {t.get('best', 'double')}")
    t.do(f"br i1 {better}, label %keep, label %kept")
    t.label("keep")
    t.set("best", watched, "double")
    t.set("best_epoch", t.get("epoch"))
    source, target, size = t.get("model", "ptr"), t.get("best_model", "ptr"), t.get("model_bytes")
    t.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)")
    t.do("br label %kept")
    t.label("kept")


def _patience(t: _Text) -> None:
    """Moves the cursor behind the epoch; leaves when the best epoch lies too far back."""
    epoch, patience = t.get("epoch"), t.get("patience")
    since = t.emit(f"sub i64 {epoch}, {t.get('best_epoch')}")
    long = t.emit(f"icmp sge i64 {since}, {patience}")
    limited = t.emit(f"icmp sgt i64 {patience}, 0")
    t.set("epoch", t.emit(f"add i64 {epoch}, 1"))
    t.do(f"br i1 {t.emit(f'and i1 {long}, {limited}')}, label %exhausted, label %patient")
    t.label("patient")
