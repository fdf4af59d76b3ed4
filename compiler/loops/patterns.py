"""Kernels as patterns: what kernels have in common that differ in their buffers alone is worked out once.

A pattern is a kernel over stand-ins; a ``Placed`` is a pattern on buffers of its own. Fusion, updates in place and
schedules look at patterns, and remember what they found, so that the thousandth layer costs a few look-ups.

In: kernels. Out: placed patterns, of which equal kernels share one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...grammar.source import NOWHERE, Span
from .chunks import with_room
from .ir import Buffer, Kernel, Load, Loop, Schedule, Scheduled, Store
from .rewrite import reads, replace_loads
from .rewrite import with_stores as kernel_with_stores
from .signature import structure


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """reads: places of the buffers that are read, and whether only at the element that is stored at the same point.
    writes: those of the stores' buffers."""

    kernel: Kernel
    buffers: tuple[Buffer, ...]
    reads: tuple[tuple[int, bool], ...]
    writes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A pattern whose stand-ins are these buffers."""

    pattern: Pattern
    buffers: tuple[Buffer, ...]
    name: str
    span: Span = NOWHERE
    layer: str = ""

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """The buffers of the stores, in their order."""
        return tuple([self.buffers[i] for i in self.pattern.writes])

    def kernel(self) -> Kernel:
        """The kernel itself."""
        moved = on_buffers(self.pattern.kernel, dict(zip(self.pattern.buffers, self.buffers, strict=True)))
        return replace(moved, name=self.name, span=self.span, layer=self.layer)


Item = Placed | Loop
"""What is put in order."""


def reads_of(item: Item) -> Mapping[Buffer, bool]:
    """The buffers an item reads, and whether only at the very element that it stores at the same point."""
    if isinstance(item, Loop):
        return reads(item)
    return {item.buffers[i]: same for i, same in item.pattern.reads}


def writes_of(item: Item) -> tuple[Buffer, ...]:
    """The buffers of an item's stores, in their order."""
    return item.writes if isinstance(item, Placed) else tuple(s.buffer for s in item.stores)


@dataclass(frozen=True, slots=True)
class Call:
    """A scheduled pattern on buffers; many calls share the ``scheduled`` of one pattern."""

    scheduled: Scheduled
    stand_ins: tuple[Buffer, ...]
    buffers: tuple[Buffer, ...]
    name: str
    span: Span = NOWHERE
    layer: str = ""

    @staticmethod
    def of(scheduled: Scheduled) -> Call:
        """The call of a kernel on its own buffers."""
        kernel = scheduled.kernel
        _, buffers, _ = structure(kernel)
        return Call(scheduled, buffers, buffers, kernel.name, kernel.span, kernel.layer)

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """The buffers of the stores, in their order."""
        real = dict(zip(self.stand_ins, self.buffers, strict=True))
        return tuple(real[s.buffer] for s in self.scheduled.kernel.stores)

    def made(self) -> Scheduled:
        """The kernel and its schedule on the buffers themselves."""
        if self.stand_ins == self.buffers:
            return self.scheduled
        real = dict(zip(self.stand_ins, self.buffers, strict=True))
        kernel = on_buffers(self.scheduled.kernel, real)
        names = {a.name: b.name for a, b in real.items()}
        ahead = frozenset(names[n] for n in self.scheduled.schedule.ahead)
        return Scheduled(
            replace(kernel, name=self.name, span=self.span, layer=self.layer),
            replace(self.scheduled.schedule, ahead=ahead),
        )


def on_buffers(kernel: Kernel, real: Mapping[Buffer, Buffer]) -> Kernel:
    """The kernel with other buffers in place of its own, where such are given."""
    memo: dict[int, object] = {}

    def moved(e: Load) -> Load:
        return Load(real.get(e.buffer, e.buffer), e.index)

    stores = tuple(
        Store(real.get(s.buffer, s.buffer), s.index, replace_loads(s.value, moved, memo), s.room)  # type: ignore[arg-type]
        for s in kernel.stores
    )
    repeat = kernel.repeat
    if repeat is not None:
        repeat = replace(repeat, counter=real.get(repeat.counter, repeat.counter))
    return replace(kernel, stores=stores, repeat=repeat)


def kind_of(buffer: Buffer) -> Hashable:
    """All of a buffer but its name."""
    return buffer.dtype, buffer.shape, buffer.order, buffer.space, buffer.block, buffer.panel


class Patterns:
    """The patterns of one unit, and what was made of them."""

    def __init__(self) -> None:
        self.known: dict[Hashable, Pattern] = {}
        self.derived: dict[Hashable, tuple[Pattern, tuple[int, ...]]] = {}
        self.scheduled: dict[Pattern, Scheduled] = {}

    def of(self, kernel: Kernel) -> Placed:
        """A kernel as a pattern on its buffers."""
        key, buffers, axes = structure(kernel)
        pattern = self.known.get((key, axes))
        if pattern is None:
            stand_ins = tuple(replace(b, name=f"b{i}") for i, b in enumerate(buffers))
            plain = on_buffers(kernel, dict(zip(buffers, stand_ins, strict=True)))
            pattern = self.known[key, axes] = _pattern(
                replace(plain, name="", span=NOWHERE, layer=""), stand_ins
            )
        return Placed(pattern, buffers, kernel.name, kernel.span, kernel.layer)

    def derive(
        self, key: Hashable, make: Callable[[], tuple[Kernel, Sequence[Buffer]]]
    ) -> tuple[Pattern, tuple[int, ...]]:
        """The pattern that ``make`` gives, made once for a key: a kernel over some buffers. Also the places among these of
        the pattern's own."""
        found = self.derived.get(key)
        if found is None:
            kernel, among = make()
            placed = self.of(kernel)
            place = {b: i for i, b in enumerate(among)}
            found = self.derived[key] = placed.pattern, tuple(place[b] for b in placed.buffers)
        return found

    def with_buffers(self, placed: Placed, buffers: tuple[Buffer, ...]) -> Placed:
        """The kernel on other buffers, of which some may be the same, and some of other kinds than before."""
        place = {b: i for i, b in reversed(list(enumerate(buffers)))}
        equal = tuple([place[b] for b in buffers])

        def make() -> tuple[Kernel, Sequence[Buffer]]:
            return on_buffers(
                placed.pattern.kernel, dict(zip(placed.pattern.buffers, buffers, strict=True))
            ), buffers

        pattern, places = self.derive((placed.pattern, equal, tuple([kind_of(b) for b in buffers])), make)
        return Placed(pattern, tuple([buffers[i] for i in places]), placed.name, placed.span, placed.layer)

    def with_stores(self, placed: Placed, kept: tuple[bool, ...]) -> Placed:
        """The kernel without some of its stores, named after the first that is left."""
        own = placed.pattern

        def make() -> tuple[Kernel, Sequence[Buffer]]:
            stores = tuple(s for s, keep in zip(own.kernel.stores, kept, strict=True) if keep)
            return kernel_with_stores(own.kernel, stores), own.buffers

        pattern, places = (own, range(len(own.buffers))) if all(kept) else self.derive((own, kept), make)
        buffers = tuple([placed.buffers[i] for i in places])
        return Placed(pattern, buffers, buffers[pattern.writes[0]].name, placed.span, placed.layer)

    def with_room(self, placed: Placed) -> Placed:
        """The kernel, with a buffer for its sum where that has nowhere to wait."""
        own = placed.pattern

        def make() -> tuple[Kernel, Sequence[Buffer]]:
            kernel = with_room(own.kernel)
            return kernel, (*own.buffers, *(s.buffer for s in kernel.stores[len(own.writes) :]))

        pattern, places = self.derive((own, "room"), make)
        if pattern is own:
            return placed
        rooms = (replace(b, name=f"sum.{placed.name}") for b in pattern.buffers)
        buffers = [
            placed.buffers[i] if i < len(own.buffers) else b for i, b in zip(places, rooms, strict=True)
        ]
        return Placed(pattern, tuple(buffers), placed.name, placed.span, placed.layer)

    def flat(self, item: Item) -> list[Placed]:
        """A kernel, or those of a recurrence, marked as repeated."""
        if isinstance(item, Placed):
            return [item]
        repeated = (replace(k, repeat=item.repeat) for k in item.kernels)
        return [self.of(k) for k in (*item.before, *repeated)]

    def call(self, placed: Placed, plan: Callable[[Kernel], tuple[Kernel, Schedule]]) -> Call:
        """The kernel with its schedule, which ``plan`` makes once for each pattern."""
        pattern = placed.pattern
        scheduled = self.scheduled.get(pattern)
        if scheduled is None:
            scheduled = self.scheduled[pattern] = Scheduled(*plan(pattern.kernel))
        return Call(scheduled, pattern.buffers, placed.buffers, placed.name, placed.span, placed.layer)


def _pattern(kernel: Kernel, buffers: tuple[Buffer, ...]) -> Pattern:
    place = {b: i for i, b in enumerate(buffers)}
    read = tuple((place[b], same) for b, same in reads(kernel).items())
    return Pattern(kernel, buffers, read, tuple(place[s.buffer] for s in kernel.stores))
