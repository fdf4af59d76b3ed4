"""Predictions of few rows: calls of a unit with next to nothing around the native code.

In: a ``Unit`` and the type of its only input. Out: ``FewRows``, which takes an array and returns a copy of the output,
or None for what the general path (``Unit.call``) has to look at. A call works in a place of its own, which it takes off a
list and puts back: no thread waits for another, and no result is a view of memory that a later call uses. The input is
copied into that place, which for few rows costs less than to ask NumPy for its address.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .cpu import Frame, Unit, aligned

Array = NDArray[Any]
MOST_ROWS = 16
MOST_BYTES = 2**20
"""Of a place's memory. Where it takes more, the native code takes much longer than what lies around it."""
MOST_PLACES = 4
_ENTRY = ctypes.CFUNCTYPE(None)
"""Without declared arguments: those of a place are C values already and are passed as they are."""


class FewRows:
    """A unit of one input and one output, called on few rows."""

    def __init__(self, unit: Unit, name: str, dtype: str, shape: Sequence[int]) -> None:
        """name, dtype, shape: of the input; the shape is that of a row."""
        self._unit, self._name = unit, name
        self._dtype, self._row = np.dtype(dtype), tuple(shape)
        self._entry = _ENTRY(unit.address)
        self._idle: list[_Place] = []

    @classmethod
    def of(cls, unit: Unit, name: str, dtype: str, shape: Sequence[int]) -> Self | None:
        """None where the unit does not read the input, its output is not made row by row, or it needs much memory."""
        layout = unit.layout
        output = layout.table[layout.outputs["output"]]
        row_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        fits = layout.work_bytes(MOST_ROWS) + row_bytes * MOST_ROWS <= MOST_BYTES
        usual = name in layout.inputs and output.space == "work" and output.per_row
        return cls(unit, name, dtype, shape) if fits and usual else None

    def __call__(self, array: Any, step: int, seed: int) -> Array | None:
        """The output for a plain array of exactly the input's type; None, with nothing done, for anything else."""
        if type(array) is not np.ndarray or array.dtype is not self._dtype:
            return None
        try:
            place = self._idle.pop()  # a single step of the interpreter: two threads never get the same place
        except IndexError:
            place = _Place(self._unit, self._name, self._dtype, self._row)
        views = place.views.get(array.shape) or place.prepare(array.shape)
        if views is None:
            result = None
        else:
            given, output, arguments = views
            given[...] = array
            place.step.value, place.seed.value = step, seed
            if place.scalars is not None:
                place.scalars[0], place.scalars[-1] = step, seed
            self._entry(*arguments)
            result = output.copy()
        if len(self._idle) < MOST_PLACES:
            self._idle.append(place)
        return result


class _Place:
    """The memory of a call, and for each shape that came the views of input and output and the entry's arguments.

    What an interrupted call leaves behind is not used again: its place is not put back.
    """

    __slots__ = ("frame", "memory", "scalars", "seed", "step", "views")

    def __init__(self, unit: Unit, name: str, dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        self.frame = Frame(unit.layout, unit.model, MOST_ROWS)
        size = int(np.prod(row, dtype=np.int64)) * MOST_ROWS * dtype.itemsize
        self.memory = aligned(size)[:size].view(dtype).reshape(MOST_ROWS, *row)
        self.frame.table[unit.layout.inputs[name]] = self.memory.ctypes.data
        reads_scalars = any(x.space == "scalar" for x in unit.layout.table)
        self.scalars = self.frame.scalars if reads_scalars else None
        self.step, self.seed = ctypes.c_int64(0), ctypes.c_int64(0)
        self.views: dict[tuple[int, ...], tuple[Array, Array, tuple[Any, ...]]] = {}

    def prepare(self, shape: tuple[int, ...]) -> tuple[Array, Array, tuple[Any, ...]] | None:
        """What a call with an array of this shape needs; None when its rows are not the input's, or none, or many."""
        if shape[1:] != self.memory.shape[1:] or not shape or not 0 < shape[0] <= MOST_ROWS:
            return None
        rows = shape[0]
        table, none = ctypes.c_void_p(self.frame.table.ctypes.data), ctypes.c_void_p(None)
        arguments = (table, ctypes.c_int64(rows), self.step, self.seed, none)
        found = (self.memory[:rows], self.frame.output("output", rows), arguments)
        self.views[shape] = found
        return found
