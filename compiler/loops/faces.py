"""What values look like to lowering: two of one face become the same kernel on other buffers.

In: a value of a graph and the buffers it has been decided to read. Out: numbers that are equal for values whose kernels
differ in buffers alone, found without writing the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from ..graph import Value
from .ir import Buffer, Kernel
from .patterns import Pattern, Patterns, kind_of


class Reading(Protocol):
    """What tells from where a value is read."""

    faces: Faces
    patterns: Patterns

    def buffer_of(self, value: Value, reader: int) -> Buffer | None:
        """The buffer that holds a value for a contraction, by its id, or None."""
        ...


class Faces:
    """Numbers for what single values and buffers are, without their names and operands."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.of_value: dict[int, int] = {}
        self.of_buffer: dict[Buffer, int] = {}

    def value(self, value: Value) -> int:
        """The same for values of one operation, attributes and type."""
        found = self.of_value.get(value.id)
        if found is None:
            face = (value.op.name, value.signature, value.dtype.value, value.shape)
            found = self.of_value[value.id] = self.numbers.setdefault(face, len(self.numbers))
        return found

    def kind(self, buffer: Buffer) -> int:
        """The same for buffers that differ in their names alone."""
        found = self.of_buffer.get(buffer)
        if found is None:
            found = self.of_buffer[buffer] = self.numbers.setdefault(kind_of(buffer), len(self.numbers))
        return found


class Face:
    """One value, down to the buffers that its kernel reads, which are numbered in the order in which they are met.

    root: the value that is computed although it has a buffer.
    """

    def __init__(self, reading: Reading, root: Value | None) -> None:
        self.reading, self.root = reading, root
        self.buffers: dict[Buffer, int] = {}
        self.numbers: dict[tuple[int, int], int] = {}
        self.parts: list[int] = []

    def look(self, value: Value, reader: int = -1) -> int:
        """The number of a value as it is read by a contraction; below zero for a buffer."""
        if value is not self.root:
            buffer = self.reading.buffer_of(value, reader)
            if buffer is not None:
                return -1 - self.buffers.setdefault(buffer, len(self.buffers))
        known = self.numbers.get((value.id, reader))
        if known is None:
            inner = value.id if value.op.name == "contract" else reader
            operands = [self.look(v, inner) for v in value.inputs]
            known = self.numbers[value.id, reader] = len(self.numbers)
            self.parts += (self.reading.faces.value(value), len(operands), *operands)
        return known

    def pattern(
        self, buffer: Buffer, value: Value, kind: Hashable, write: Callable[[], Kernel]
    ) -> tuple[Pattern, tuple[Buffer, ...]]:
        """The pattern of the kernel that fills a buffer with a value, and its buffers. kind: what else tells kernels apart;
        write: writes the kernel, asked only where none like it was before."""
        faces = self.reading.faces
        self.look(value)
        among = (*self.buffers, buffer)
        key = (tuple(self.parts), tuple([faces.kind(b) for b in among]), kind)

        def make() -> tuple[Kernel, Sequence[Buffer]]:
            return write(), among

        pattern, places = self.reading.patterns.derive(key, make)
        return pattern, tuple([among[i] for i in places])
