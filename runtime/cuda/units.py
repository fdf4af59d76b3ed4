"""Units on a device: their work memory, their tables of addresses, their calls.

In: a module's text, the layout of its units, an executor. The model's tensors are the host's: what a call needs of them goes
to the device with it, so that a change made in Python is seen by the next call.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import ALONE, NODES, SCALARS, SHARED_BYTES, Artifact, TensorLayout, UnitLayout
from ..cpu import Model, byte_count, view
from .arena import allocate
from .executor import Executor, Region

Array = NDArray[Any]
BLOCK_WORK = 2_000_000
"""Scalar operations of a launch up to which one block, without barriers of the grid, is the faster way."""


class Library:
    """A loaded module. One launch at a time: blocks of two launches would wait for each other."""

    def __init__(self, artifact: Artifact, executor: Executor) -> None:
        """Raises ValueError when the device starts blocks of another size than the text is written for: parts of tiles and
        of sums would be left out."""
        if artifact.threads != executor.threads:
            made, starts = artifact.threads, executor.threads
            raise ValueError(
                f"a text for blocks of {made} threads, on a device that starts blocks of {starts}"
            )
        self.artifact, self.executor = artifact, executor
        self.lock = threading.Lock()
        self._modules: dict[tuple[bool, bool, bool], Any] = {}

    def module(self, rows: int, *, nodes: bool = False, alone: bool = False) -> Any:
        """The module for so many rows: with indices of 64 bits where 32 are too few. nodes: a training run's entries are
        those of a graph. alone: each block has a task of its own."""
        kind = rows > self.artifact.most_rows, nodes, alone
        if kind not in self._modules:
            text = whole_text(self.artifact.code.decode(), wide=kind[0], nodes=nodes, alone=alone)
            self._modules[kind] = self.executor.load(text)
        return self._modules[kind]

    def run(self, entry: str, rows: int, work: int, shared: int, *arguments: int) -> None:
        """Launches an entry on as many blocks as its work is worth."""
        module = self.module(rows)
        blocks = 1 if work <= BLOCK_WORK else self.executor.most_blocks(module, entry, shared)
        self.executor.launch(module, entry, blocks, shared, arguments)


def whole_text(text: str, *, wide: bool = False, nodes: bool = False, alone: bool = False) -> str:
    """A module with the type of its indices, the entries of a graph in place of ``netc_train`` where these are wanted, and
    with whether its blocks work together or each alone."""
    defined = [name for name, wanted in ((NODES, nodes), (ALONE, alone)) if wanted]
    head = "".join(f"#define {name}\n" for name in defined)
    return f"{head}typedef {'long long' if wide else 'int'} index_t;\n\n{text}"


def addresses(
    layout: UnitLayout, offsets: Mapping[str, int], capacity: int, model: int, work: int, scalars: int
) -> Array:
    """The table of a unit: where its buffers lie, 0 for observations. offsets: of tensors within the model's block;
    model, work, scalars: the addresses of these."""
    table = np.zeros(max(len(layout.table), 1), np.uint64)
    for slot, tensor in enumerate(layout.table):
        if tensor.space == "model":
            table[slot] = model + offsets[tensor.name]
        elif tensor.space == "work":
            table[slot] = work + layout.place(tensor, capacity)
        elif tensor.space == "scalar":
            table[slot] = scalars + 8 * SCALARS.index(tensor.name.removeprefix("scalar."))
    return table


class Frame:
    """Work memory for some rows, and the table of addresses of a unit's buffers."""

    def __init__(
        self, layout: UnitLayout, model: Region, offsets: Mapping[str, int], executor: Executor, rows: int
    ) -> None:
        self.layout, self.executor = layout, executor
        self.capacity = -(-max(rows, 1) // 16) * 16
        self.work = allocate(executor, "work", layout.work_bytes(self.capacity))
        self.scalars = allocate(executor, "tables", 8 * len(SCALARS))
        places = (model.address, self.work.address, self.scalars.address)
        self.addresses = addresses(layout, offsets, self.capacity, *places)
        self.table = allocate(executor, "tables", self.addresses.nbytes)

    def send(self) -> None:
        """Brings the table to the device."""
        self.executor.upload(self.table.address, self.addresses)

    def output(self, tensor: TensorLayout, rows: int) -> Array:
        """A copy of a tensor of the work memory."""
        block = np.zeros(byte_count(tensor, rows), np.uint8)
        self.executor.download(block, self.work.address + self.layout.place(tensor, self.capacity))
        return np.array(view(block, tensor, 0, rows), order="C")


class Unit:
    """One entry; calls of several threads wait for each other."""

    def __init__(self, library: Library, layout: UnitLayout, model: Model) -> None:
        self.library, self.layout, self.model = library, layout, model
        executor = library.executor
        self.block = allocate(executor, "model", len(model.block))
        self.offsets = {x.name: x.fixed for x in model.layouts}
        self.frame: Frame | None = None

    def call(
        self, inputs: Mapping[str, Array], rows: int, *, step: int = 0, seed: int = 0
    ) -> dict[str, Array]:
        """Runs the unit. inputs: contiguous arrays of the right dtype and shape. Returns copies of the outputs."""
        executor, layout = self.library.executor, self.layout
        with self.library.lock:
            if self.frame is None or self.frame.capacity < rows:
                self.frame = Frame(layout, self.block, self.offsets, executor, rows)
            frame = self.frame
            executor.upload(self.block.address, self.model.block)
            kept = self._send(frame, inputs, step, seed)
            work = layout.work[0] + layout.work[1] * rows
            shared = SHARED_BYTES + frame.addresses.nbytes
            self.library.run(layout.symbol, rows, work, shared, frame.table.address, rows, step, seed)
            found = {}
            for name, slot in layout.outputs.items():
                if layout.table[slot].space == "work":
                    found[name] = frame.output(layout.table[slot], rows)
            if any(layout.table[slot].space == "model" for slot in layout.outputs.values()):
                executor.download(self.model.block, self.block.address)
            del kept
        return found

    def _send(self, frame: Frame, inputs: Mapping[str, Array], step: int, seed: int) -> list[Region]:
        """Inputs, scalars and the table; what is returned must live until the launch has ended."""
        executor, kept = frame.executor, []
        for name, array in inputs.items():
            slot = self.layout.inputs.get(name)
            if slot is not None:
                place = allocate(executor, "inputs", max(array.nbytes, 1))
                executor.upload(place.address, array)
                frame.addresses[slot] = place.address
                kept.append(place)
        scalars = np.zeros(len(SCALARS), np.int64)
        scalars[0], scalars[-1] = step, seed
        executor.upload(frame.scalars.address, scalars)
        frame.send()
        return kept


__all__ = ["BLOCK_WORK", "Frame", "Library", "Unit", "addresses", "whole_text"]
