"""The training run as one native function: epochs, batches, steps, validation, history, best weights.

In: the entries of the ``step`` and ``evaluate`` units and the bytes of one row of each data tensor. Out: LLVM text of
``void @train(ptr control)``. The control block (``runtime/artifact.py``) holds the cursor, so that the function can
return after any step and be called again to go on with the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....runtime.artifact import DIVERGED, EXHAUSTED, FINISHED, SCALARS, SLOT, STOPPED
from ...graph import DType
from ...loops.ir import Buffer
from .module import Module
from .scalars import type_text


@dataclass(frozen=True, slots=True)
class DataTensor:
    """A tensor of observations: its slot in the unit's table, and the bytes of a row. The control block is followed
    by three addresses for each: training rows, validation rows, gathered batch."""

    slot: int
    row_bytes: int


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


def train_function(
    module: Module,
    tensors: Sequence[DataTensor],
    loss: Buffer,
    step_slots: Mapping[str, int],
    evaluate: tuple[Sequence[DataTensor], Mapping[str, int], Sequence[tuple[int, DType]]] | None,
) -> str:
    """The function's text. ``evaluate``: its data tensors, its table's slots by name, its totals (slot, dtype)."""
    t = _Text()
    totals = evaluate[2] if evaluate else ()
    width = 2 + len(totals)
    _begin(t)
    _epoch_start(t, module)
    _batch(t, tensors, step_slots, loss.dtype)
    _epoch_end(t, evaluate, width, loss.dtype)
    for name, status in (
        ("finished", FINISHED),
        ("diverged", DIVERGED),
        ("stopped", STOPPED),
        ("exhausted", EXHAUSTED),
    ):
        t.label(name)
        t.set("status", str(status))
        t.do("ret void")
    return "\n".join(["define void @train(ptr %control) {", "entry:", *t.lines, "}"])


def _begin(t: _Text) -> None:
    t.do("br label %epoch")
    t.label("epoch")
    epoch, end = t.get("epoch"), t.get("end_epoch")
    more = t.emit(f"icmp slt i64 {epoch}, {end}")
    t.do(f"br i1 {more}, label %begin, label %finished")


def _epoch_start(t: _Text, module: Module) -> None:
    """Draws the epoch's order (Fisher and Yates); drawn again after a resume, since it depends on seed and epoch."""
    t.label("begin")
    shuffle = t.get("shuffle")
    wanted = t.emit(f"icmp ne i64 {shuffle}, 0")
    t.do(f"br i1 {wanted}, label %fill.pre, label %batch")
    t.label("fill.pre")
    rows, order, seed, epoch = t.get("rows"), t.get("permutation", "ptr"), t.get("seed"), t.get("epoch")
    low = t.emit(f"and i64 {seed}, 4294967295")
    high = t.emit(f"lshr i64 {seed}, 32")
    t.do("br label %fill")
    t.label("fill")
    t.do("%f = phi i64 [ 0, %fill.pre ], [ %f.next, %fill ]")
    place = t.emit(f"getelementptr i64, ptr {order}, i64 %f")
    t.do(f"store i64 %f, ptr {place}, align 8")
    t.do("%f.next = add i64 %f, 1")
    again = t.emit(f"icmp ult i64 %f.next, {rows}")
    t.do(f"br i1 {again}, label %fill, label %mix.pre")
    t.label("mix.pre")
    t.do("br label %mix")
    t.label("mix")
    t.do(f"%m = phi i64 [ {rows}, %mix.pre ], [ %m.next, %mix ]")
    t.do("%m.next = sub i64 %m, 1")
    symbol = module.philox(DType.float64, 1)
    drawn = t.emit(f"call double {symbol}(i64 %m, i64 4294967295, i64 {epoch}, i64 {low}, i64 {high})")
    count = t.emit("uitofp i64 %m to double")
    scaled = t.emit(f"fmul double {drawn}, {count}")
    other = t.emit(f"fptoui double {scaled} to i64")
    a = t.emit(f"getelementptr i64, ptr {order}, i64 %m.next")
    b = t.emit(f"getelementptr i64, ptr {order}, i64 {other}")
    x, y = t.emit(f"load i64, ptr {a}, align 8"), t.emit(f"load i64, ptr {b}, align 8")
    t.do(f"store i64 {y}, ptr {a}, align 8")
    t.do(f"store i64 {x}, ptr {b}, align 8")
    more = t.emit("icmp ugt i64 %m.next, 1")
    t.do(f"br i1 {more}, label %mix, label %batch")


def _batch(t: _Text, tensors: Sequence[DataTensor], slots: Mapping[str, int], dtype: DType) -> None:
    t.label("batch")
    row, rows, batch = t.get("row"), t.get("rows"), t.get("batch")
    left = t.emit(f"sub i64 {rows}, {row}")
    count = t.emit(f"call i64 @llvm.smin.i64(i64 {left}, i64 {batch})")
    step = t.emit(f"add i64 {t.get('step')}, 1")
    table, seed = t.get("step_table", "ptr"), t.get("seed")
    scalars = t.get("scalars", "ptr")
    values = {
        "step": step, "epoch": t.get("epoch"), "steps": t.get("total_steps"), "epochs": t.get("epochs"),
        "steps_per_epoch": t.get("steps_per_epoch"), "seed": seed,
    }  # fmt: skip
    for i, name in enumerate(SCALARS):
        place = t.emit(f"getelementptr i64, ptr {scalars}, i64 {i}")
        t.do(f"store i64 {values[name]}, ptr {place}, align 8")
    shuffled = t.emit(f"icmp ne i64 {t.get('shuffle')}, 0")
    t.do(f"br i1 {shuffled}, label %gather, label %inplace")
    t.label("inplace")
    for i, tensor in enumerate(tensors):
        source = t.pointer(len(SLOT) + 3 * i)
        offset = t.emit(f"mul i64 {row}, {tensor.row_bytes}")
        start = t.emit(f"getelementptr i8, ptr {source}, i64 {offset}")
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {tensor.slot}")
        t.do(f"store ptr {start}, ptr {place}, align 8")
    t.do("br label %run")
    t.label("gather")
    order = t.get("permutation", "ptr")
    sources = [(t.pointer(len(SLOT) + 3 * i), t.pointer(len(SLOT) + 3 * i + 2)) for i in range(len(tensors))]
    for tensor, (_, target) in zip(tensors, sources, strict=True):
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {tensor.slot}")
        t.do(f"store ptr {target}, ptr {place}, align 8")
    t.do("br label %copy")
    t.label("copy")
    t.do("%g = phi i64 [ 0, %gather ], [ %g.next, %copy ]")
    at = t.emit(f"add i64 {row}, %g")
    place = t.emit(f"getelementptr i64, ptr {order}, i64 {at}")
    chosen = t.emit(f"load i64, ptr {place}, align 8")
    for tensor, (source, target) in zip(tensors, sources, strict=True):
        start = t.emit(
            f"getelementptr i8, ptr {source}, i64 {t.emit(f'mul i64 {chosen}, {tensor.row_bytes}')}"
        )
        goal = t.emit(f"getelementptr i8, ptr {target}, i64 {t.emit(f'mul i64 %g, {tensor.row_bytes}')}")
        t.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {goal}, ptr {start}, i64 {tensor.row_bytes}, i1 false)")
    t.do("%g.next = add i64 %g, 1")
    more = t.emit(f"icmp slt i64 %g.next, {count}")
    t.do(f"br i1 {more}, label %copy, label %run")
    t.label("run")
    pool = t.get("pool", "ptr")
    t.do(f"call void @step_forward(ptr {table}, i64 {count}, i64 {step}, i64 {seed}, ptr {pool})")
    value = _number(t, table, slots["loss"], dtype)
    t.set("last_loss", value, "double")
    size = t.emit(f"call double @llvm.fabs.f64(double {value})")
    finite = t.emit(f"fcmp one double {size}, 0x7FF0000000000000")
    t.do(f"br i1 {finite}, label %update, label %diverged")
    t.label("update")
    t.do(f"call void @step_update(ptr {table}, i64 {count}, i64 {step}, i64 {seed}, ptr {pool})")
    weight = t.emit(f"sitofp i64 {count} to double")
    part = t.emit(f"fmul double {value}, {weight}")
    t.set("loss_sum", t.emit(f"fadd double {t.get('loss_sum', 'double')}, {part}"), "double")
    t.set("step", step)
    after = t.emit(f"add i64 {row}, {count}")
    t.set("row", after)
    done = t.emit(f"icmp sge i64 {after}, {rows}")
    t.do(f"br i1 {done}, label %epoch.end, label %next")
    t.label("next")
    stop = t.emit(f"load volatile i64, ptr {t.address(SLOT['stop'])}, align 8")
    asked = t.emit(f"icmp ne i64 {stop}, 0")
    last = t.emit(f"icmp sge i64 {step}, {t.get('end_step')}")
    leave = t.emit(f"or i1 {asked}, {last}")
    t.do(f"br i1 {leave}, label %stopped, label %batch")


def _number(t: _Text, table: str, slot: int, dtype: DType) -> str:
    """A scalar buffer's value as a double."""
    place = t.emit(f"getelementptr ptr, ptr {table}, i64 {slot}")
    address = t.emit(f"load ptr, ptr {place}, align 8")
    value = t.emit(f"load {type_text(dtype, 1)}, ptr {address}, align {dtype.itemsize}")
    return t.emit(f"fpext float {value} to double") if dtype is DType.float32 else value


def _epoch_end(
    t: _Text,
    evaluate: tuple[Sequence[DataTensor], Mapping[str, int], Sequence[tuple[int, DType]]] | None,
    width: int,
    dtype: DType,
) -> None:
    t.label("epoch.end")
    epoch = t.get("epoch")
    rows = t.emit(f"sitofp i64 {t.get('rows')} to double")
    loss = t.emit(f"fdiv double {t.get('loss_sum', 'double')}, {rows}")
    t.set("loss_sum", "0.0", "double")
    t.set("row", "0")
    history = t.emit(
        f"getelementptr double, ptr {t.get('history', 'ptr')}, i64 {t.emit(f'mul i64 {epoch}, {width}')}"
    )
    t.do(f"store double {loss}, ptr {history}, align 8")
    t.do(f"%watched.slot = getelementptr double, ptr {history}, i64 1")
    t.do(f"store double {loss}, ptr %watched.slot, align 8")
    if evaluate is not None:
        _validation(t, evaluate, history, width, dtype)
    t.do("br label %judge")
    t.label("judge")
    watched = t.emit("load double, ptr %watched.slot, align 8")
    better = t.emit(f"fcmp olt double {watched}, {t.get('best', 'double')}")
    t.do(f"br i1 {better}, label %keep, label %worse")
    t.label("keep")
    t.set("best", watched, "double")
    t.set("best_epoch", epoch)
    source, target, size = t.get("model", "ptr"), t.get("best_model", "ptr"), t.get("model_bytes")
    t.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)")
    t.do("br label %advance")
    t.label("worse")
    patience = t.get("patience")
    since = t.emit(f"sub i64 {epoch}, {t.get('best_epoch')}")
    long = t.emit(f"icmp sge i64 {since}, {patience}")
    limited = t.emit(f"icmp sgt i64 {patience}, 0")
    give_up = t.emit(f"and i1 {long}, {limited}")
    t.set("epoch", t.emit(f"add i64 {epoch}, {t.emit(f'zext i1 {give_up} to i64')}"))
    t.do(f"br i1 {give_up}, label %exhausted, label %advance")
    t.label("advance")
    t.set("epoch", t.emit(f"add i64 {epoch}, 1"))
    stop = t.emit(f"load volatile i64, ptr {t.address(SLOT['stop'])}, align 8")
    asked = t.emit(f"icmp ne i64 {stop}, 0")
    last = t.emit(f"icmp sge i64 {t.get('step')}, {t.get('end_step')}")
    leave = t.emit(f"or i1 {asked}, {last}")
    t.do(f"br i1 {leave}, label %stopped, label %epoch")


def _validation(
    t: _Text,
    evaluate: tuple[Sequence[DataTensor], Mapping[str, int], Sequence[tuple[int, DType]]],
    history: str,
    width: int,
    dtype: DType,
) -> None:
    """The validation rows in chunks, in evaluation mode; without any the training rows' loss stands."""
    tensors, slots, totals = evaluate
    rows, chunk, table = t.get("validation_rows"), t.get("chunk"), t.get("evaluate_table", "ptr")
    some = t.emit(f"icmp sgt i64 {rows}, 0")
    t.do(f"br i1 {some}, label %validate.pre, label %judge")
    t.label("validate.pre")
    for i in range(1, width):
        place = t.emit(f"getelementptr double, ptr {history}, i64 {i}")
        t.do(f"store double 0.0, ptr {place}, align 8")
    t.do("br label %validate")
    t.label("validate")
    t.do("%v = phi i64 [ 0, %validate.pre ], [ %v.next, %validate ]")
    left = t.emit(f"sub i64 {rows}, %v")
    count = t.emit(f"call i64 @llvm.smin.i64(i64 {left}, i64 {chunk})")
    for i, tensor in enumerate(tensors):
        start = t.emit(
            f"getelementptr i8, ptr {t.pointer(len(SLOT) + 3 * i + 1)}, i64 {t.emit(f'mul i64 %v, {tensor.row_bytes}')}"
        )
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {tensor.slot}")
        t.do(f"store ptr {start}, ptr {place}, align 8")
    pool = t.get("pool", "ptr")
    t.do(f"call void @evaluate(ptr {table}, i64 {count}, i64 0, i64 0, ptr {pool})")
    weight = t.emit(f"sitofp i64 {count} to double")
    whole = t.emit(f"sitofp i64 {rows} to double")
    value = _number(t, table, slots["loss"], dtype)
    part = t.emit(f"fdiv double {t.emit(f'fmul double {value}, {weight}')}, {whole}")
    added = [part, *(_number(t, table, slot, kind) for slot, kind in totals)]
    for i, value in enumerate(added, 1):
        place = t.emit(f"getelementptr double, ptr {history}, i64 {i}")
        total = t.emit(f"fadd double {t.emit(f'load double, ptr {place}, align 8')}, {value}")
        t.do(f"store double {total}, ptr {place}, align 8")
    t.do(f"%v.next = add i64 %v, {count}")
    more = t.emit(f"icmp slt i64 %v.next, {rows}")
    t.do(f"br i1 {more}, label %validate, label %judge")
