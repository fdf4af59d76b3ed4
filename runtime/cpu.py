"""Runs an artifact on the CPU: loads its code, keeps its memory, calls its entries.

The model's tensors lie in one block that outlives every call; each call of a unit takes work memory from a pool, so
that several threads may call at once. A training run is one native call on a thread of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from .artifact import (
    MOST_THREADS,
    POOL,
    POOL_SLOTS,
    SCALARS,
    SLOT,
    Artifact,
    TensorLayout,
    UnitLayout,
)
from .control import Control
from .memory import need

Array = NDArray[Any]
LARGE_BYTES = 2**26


def aligned(count: int) -> Array:
    """Zeroed bytes at an address divisible by 64. Raises MemoryError for more than are free."""
    if count > LARGE_BYTES:
        need(count)
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count]


def view(block: Array, layout: TensorLayout, offset: int, rows: int | None = None) -> Array:
    """A NumPy view, in logical dimensions, of a tensor that lies in a block of bytes."""
    padded = physical(layout, rows)
    flat = block[offset : offset + byte_count(layout, rows)].view(np.dtype(layout.dtype))
    inverse = [layout.order.index(d) for d in range(len(padded))]
    whole = flat.reshape(padded)
    if len(padded) > 1:  # without the gap behind each run
        whole = whole[..., : layout.shape[layout.order[-1] - layout.per_row]]
    return whole.transpose(inverse)


def physical(layout: TensorLayout, rows: int | None = None) -> tuple[int, ...]:
    """Extents in memory from the outermost to the innermost, the gap behind each run included."""
    shape = (rows or 0, *layout.shape) if layout.per_row else layout.shape
    extents = tuple(shape[d] for d in layout.order)
    return (*extents[:-1], layout.pitch) if len(extents) > 1 and layout.pitch else extents


def byte_count(layout: TensorLayout, rows: int | None = None) -> int:
    """The bytes of a tensor from its first element to its last."""
    return int(np.prod(physical(layout, rows), dtype=np.int64)) * np.dtype(layout.dtype).itemsize


class Model:
    """The block of parameters, buffers and optimizer states, with a view for each by leaf name."""

    def __init__(self, layouts: tuple[TensorLayout, ...], size: int) -> None:
        self.layouts = layouts
        self.block = aligned(max(size, 64))
        self.views = {x.name: view(self.block, x, x.fixed) for x in layouts}

    def take(self, places: Mapping[str, str]) -> None:
        """Copies tensors over others: the one to be written, then the one it is copied from."""
        for target, source in places.items():
            self.views[target][...] = self.views[source]


class Library:
    """Loaded object code."""

    def __init__(self, artifact: Artifact) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(artifact.code))
        self._engine.finalize_object()

    def address(self, symbol: str) -> int:
        return int(self._engine.get_function_address(symbol))


_ENTRY = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)
_WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_TRAIN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Unit:
    """One entry with work memory for calls."""

    def __init__(self, library: Library, layout: UnitLayout, model: Model) -> None:
        self.layout, self.model = layout, model
        self._library = library
        self.address = library.address(layout.symbol)
        self._entry = _ENTRY(self.address)
        self._pool: list[Frame] = []
        self._lock = threading.Lock()

    def frame(self, rows: int) -> Frame:
        """Work memory for that many rows, from the pool."""
        with self._lock:
            for i, frame in enumerate(self._pool):
                if frame.capacity >= rows:
                    return self._pool.pop(i)
        return Frame(self.layout, self.model, rows)

    def release(self, frame: Frame) -> None:
        with self._lock:
            if len(self._pool) < 4:
                self._pool.append(frame)

    def call(
        self, inputs: Mapping[str, Array], rows: int, *, step: int = 0, seed: int = 0
    ) -> dict[str, Array]:
        """Runs the unit. inputs: contiguous arrays of the right dtype and shape. Returns copies of the outputs."""
        frame = self.frame(rows)
        try:
            for name, array in inputs.items():
                slot = self.layout.inputs.get(name)
                if slot is not None:
                    frame.table[slot] = array.ctypes.data
            frame.scalars[:] = 0
            frame.scalars[0], frame.scalars[-1] = step, seed
            self._entry(frame.table.ctypes.data, rows, step, seed, None)
            names = [n for n in self.layout.outputs if self._is_work(n)]
            return {n: np.array(frame.output(n, rows), order="C") for n in names}
        finally:
            self.release(frame)

    def _is_work(self, name: str) -> bool:
        return self.layout.table[self.layout.outputs[name]].space == "work"


class Frame:
    """The table of addresses of a call and the work memory it points into."""

    def __init__(self, layout: UnitLayout, model: Model, rows: int) -> None:
        self.layout = layout
        self.capacity = -(-max(rows, 1) // 16) * 16
        self.work = aligned(layout.work_bytes(self.capacity))
        self.scalars = np.zeros(len(SCALARS), np.int64)
        self.table = np.zeros(max(len(layout.table), 1), np.uint64)
        self.model = model
        offsets = {x.name: x.fixed for x in model.layouts}
        for slot, tensor in enumerate(layout.table):
            if tensor.space == "model":
                self.table[slot] = model.block.ctypes.data + offsets[tensor.name]
            elif tensor.space == "work":
                self.table[slot] = self.work.ctypes.data + layout.place(tensor, self.capacity)
            elif tensor.space == "scalar":
                self.table[slot] = self.scalars.ctypes.data + 8 * SCALARS.index(
                    tensor.name.removeprefix("scalar.")
                )

    def output(self, name: str, rows: int) -> Array:
        tensor = self.layout.table[self.layout.outputs[name]]
        return view(self.work, tensor, self.layout.place(tensor, self.capacity), rows)


class Run(Control):
    """A training run: the control block, its arrays, and the native call."""

    def __init__(
        self, library: Library, symbol: str, frames: list[Frame], keep: list[Array], threads: int = 1
    ) -> None:
        self._entry = _TRAIN(library.address(symbol))
        self.threads = threads = min(threads, MOST_THREADS)
        self._pool = aligned(8 * POOL_SLOTS).view(np.int64)
        self._worker = _WORKER(library.address("worker"))
        self._library = library
        self._keep = (frames, keep)
        super().__init__(SLOT, 3 * 8)
        self._pool[POOL["threads"]], self._pool[POOL["taken"]] = threads, -1
        if threads > 1:
            self.set("pool", self._pool.ctypes.data)

    def execute(self, poll: Callable[[], None] | None = None, interval: float = 0.05) -> None:
        """Runs until the end, the stop flag, or divergence. ``poll`` is called now and then on this thread; what it
        raises (KeyboardInterrupt too) stops the run after its current step and is raised again."""
        worker = threading.Thread(target=self._train, daemon=True)
        try:
            worker.start()  # an interruption may come while this waits for the thread to begin
            while worker.is_alive():
                worker.join(interval)
                if poll is not None:
                    poll()
        except BaseException:
            self.set("stop", 1)
            _wait_for(worker)
            raise

    def _train(self) -> None:
        """The run on this thread, with the others ready to take their shares."""
        pool = self._pool
        pool[POOL["quit"]] = 0
        helpers = [
            threading.Thread(target=self._worker, args=(pool.ctypes.data, i), daemon=True)
            for i in range(1, self.threads)
        ]
        for helper in helpers:
            helper.start()
        try:
            self._entry(self.control.ctypes.data)
        finally:
            pool[POOL["quit"]] = 1
            for helper in helpers:
                helper.join()


def _wait_for(worker: threading.Thread) -> None:
    """Until the thread has ended: its memory is in use for so long, however often a user interrupts."""
    while worker.is_alive():
        with contextlib.suppress(KeyboardInterrupt):
            worker.join()
