"""Graph to kernels: which values become buffers, what is fused into whom, in which order kernels run.

In: a graph whose leaves are named as the architecture says. Out: a ``Unit``. Everything that is not made a buffer
is written into the expressions of its readers by its operation's ``element`` rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..collector import uncollected
from ..graph import ROWS, DType, Graph, Value, users
from ..passes import BEFORE_LOWERING
from .arrangement import Arrangement
from .collapse import collapse
from .faces import Face, Faces
from .fusion import fuse
from .ir import (
    Affine,
    Apply,
    Axis,
    Buffer,
    Combine,
    Expr,
    Extent,
    Kernel,
    Load,
    Loop,
    Reduction,
    Scalar,
    Schedule,
    Space,
    Store,
)
from .memory import plan_memory
from .order import in_place, ordered
from .patterns import Item, Patterns, Placed
from .picks import is_one_hot, picks, scatters
from .region import Region, resident_region
from .schedule import schedule
from .storing import COSTS, FREE, HEAVY, meets_many, only_reader, same_points
from .unit import Unit


def space_of(leaf: str) -> Space:
    """The space a leaf lives in, by its name."""
    prefix = leaf.split(".", 1)[0]
    if prefix in ("param", "buffer", "state"):
        return Space.model
    return Space.scalar if prefix == "scalar" else Space.data


def choose_orders(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The physical order of each leaf: a weight [out, in] of a matrix product keeps ``out`` innermost."""
    readers = users(graph.live())
    orders: dict[str, tuple[int, ...]] = {}
    for name, leaf in graph.inputs.items():
        rank = len(leaf.shape)
        orders[name] = tuple(range(rank))
        kept = space_of(name) is Space.model
        if kept and rank == 2 and _sees(leaf, readers):
            orders[name] = (1, 0)
    for name, leaf in graph.inputs.items():
        if name.startswith("state."):
            parameter = "param." + name.removeprefix("state.").rsplit(".", 1)[0]
            orders[name] = orders.get(parameter, tuple(range(len(leaf.shape))))
    return orders


def _sees(leaf: Value, readers: Mapping[int, list[Value]]) -> bool:
    """Whether any reader sums over a leaf's last dimension; the step of a recurrence is looked into."""
    for reader in readers.get(leaf.id, []):
        if reader.op.name == "scan":
            body = reader.attrs["body"]
            first = body.count("carry") + body.count("each")
            inner = users(body.graph.live())
            for place, operand in enumerate(reader.inputs):
                known = body.graph.inputs.get(f"const.{place - first}")
                if operand is leaf and known is not None and _sees(known, inner):
                    return True
        elif _transposed(leaf, reader, readers):
            return True
    return False


def _transposed(leaf: Value, reader: Value, readers: Mapping[int, list[Value]]) -> bool:
    """Whether a reader sums over the leaf's last dimension, seen through a permutation."""
    if reader.op.name == "permute":
        dims = reader.attrs["dims"]
        return any(_sums(reader, dims.index(1), r) for r in readers.get(reader.id, []))
    return _sums(leaf, 1, reader)


def _sums(operand: Value, dim: int, reader: Value) -> bool:
    if reader.op.name != "contract":
        return False
    side = 0 if reader.inputs[0] is operand else 1
    return any(pair[side] == dim for pair in reader.attrs["axes"])


@uncollected
def lower(
    graph: Graph, orders: Mapping[str, tuple[int, ...]], *, vector_bytes: int = 64, fused: bool = True,
    many_rows: bool = False,
) -> Unit:  # fmt: skip
    """Kernels, buffers and memory of a graph. ``fused=False`` leaves every kernel by itself.

    vector_bytes: of the machine's vectors; 0 for one whose threads compute numbers, where nothing is laid out for lanes.
    many_rows: whether there will be ``MANY_ROWS`` observations at a time (``arrangement.py``).
    """
    return Lowering(graph, orders, vector_bytes, fused, many_rows).unit()


class Lowering:
    def __init__(
        self, graph: Graph, orders: Mapping[str, tuple[int, ...]], vector_bytes: int, fused: bool,
        many_rows: bool = False,
    ) -> None:  # fmt: skip
        self.orders, self.vector_bytes, self.fused = orders, vector_bytes, fused
        self._take(graph)
        self.buffers: dict[int, Buffer] = {}
        self.inputs: dict[str, Buffer] = {}
        self.outputs: dict[str, Buffer] = {}
        self.root: Value | None = None
        self.memo: dict[tuple[int, tuple[Affine, ...]], Expr] = {}
        self.reader = -1
        """The contraction whose operands are read."""
        self.nesting = 0
        self.arrangement = Arrangement(self.buffers, vector_bytes, many_rows)
        self.renewed: dict[Buffer, Buffer] = {}
        self.region = Region()
        self.resident: Axis | None = None
        self.patterns = Patterns()
        self.faces = Faces()
        self.prefix = ""
        """Of the names of its buffers."""

    def _take(self, graph: Graph) -> None:
        """What is known of a graph before anything is decided."""
        self.graph = graph
        self.live = graph.live()
        self.readers = users(self.live)
        self.has_windows = any(v.op.name in ("window", "fold") for v in self.live)
        kinds = [v.dtype.wide for v in self.live if v.dtype.is_float and ROWS in v.shape]
        self.smallest = min(kinds, key=lambda k: k.itemsize, default=None)
        """Of the types that observations have."""
        self.leaf_of_shape = {v.shape: n for n, v in reversed(graph.inputs.items())}

    # Reader protocol

    def read(self, value: Value, index: Sequence[Affine]) -> Expr:
        """A load where the value has a buffer, else its own expression."""
        buffer = self.buffer_of(value, self.reader)
        if buffer is not None and value is not self.root:
            return Load(buffer, self._place(buffer, index))
        key = (value.id, tuple(index))
        found = self.memo.get(key)
        if found is None:
            around = self.reader
            if value.op.name == "contract":
                self.reader = value.id
            found = self.memo[key] = value.op.element(self, value, index)
            self.reader = around
        return found

    def buffer_of(self, value: Value, reader: int) -> Buffer | None:
        """From where a contraction, by its id, reads a value; None for what is computed where it is read."""
        return self.arrangement.factors.get((reader, value.id)) or self.buffers.get(value.id)

    def _place(self, buffer: Buffer, index: Sequence[Affine]) -> tuple[Affine, ...]:
        """Where an element lies in its buffer."""
        return tuple(index)

    def reduce(
        self, combine: Combine, extents: Sequence[Extent], body: Callable[[Sequence[Affine]], Expr]
    ) -> Expr:
        self.nesting += 1
        axes = [
            None if e == 1 and combine is not Combine.argmax else self._axis(e, i)
            for i, e in enumerate(extents)
        ]
        value = body([Affine.of(a) if a is not None else Affine() for a in axes])
        self.nesting -= 1
        left = tuple(a for a in axes if a is not None)
        return Reduction(combine, left, value) if left else value

    def _axis(self, extent: Extent, position: int) -> Axis:
        """The axis of a reduction, named by its depth and place: reductions side by side share theirs."""
        if self.resident is not None and self.nesting > 1 and extent == self.resident.extent:
            return self.resident
        return Axis(f"r{self.nesting}{'abcdefgh'[position % 8]}x{extent}", extent)

    # what becomes a buffer

    def unit(self) -> Unit:
        if self.fused:
            self.region = resident_region(self.live, self._like_parameters, self.vector_bytes)
        if not self.region.stored:  # in registers a condition costs less than to ask again
            self._take(BEFORE_LOWERING.run(self.graph))
        self._leaves()
        self._outputs()
        self._materialise()
        self._rearrange()
        first = self.outputs.get("loss") if self.renewed else None
        kernels = ordered(self._kernels(), self.renewed, first)
        if self.fused:
            kept = [*self.outputs.values(), *self.renewed]
            kernels = fuse(kernels, self.renewed, kept, first, self.patterns)
        kernels = in_place(kernels, self.renewed, self.patterns)
        if self.fused and self.vector_bytes:
            kernels = [k if isinstance(k, Loop) else self.patterns.with_room(k) for k in kernels]
        memory = plan_memory(kernels, self.outputs)
        calls = tuple([self.patterns.call(p, self._planned) for k in kernels for p in self.patterns.flat(k)])
        made = [(v, self.buffers.get(v.id)) for v in self.live if v.op.name != "input"]
        layers = {b.name: self._layer(v) for v, b in made if b is not None}
        return Unit(self.graph.name, calls, self.inputs, self.outputs, memory, layers)

    def _layer(self, value: Value) -> str:
        """Whose work a value's kernel does: of the product inside, where there is one, since an activation costs little."""
        pending, seen = [value], {value.id}
        while pending:
            inner = pending.pop()
            if inner.op.name == "contract":
                return inner.origin.layer
            fresh = [v for v in inner.inputs if v.id not in self.buffers and v.id not in seen]
            seen.update(v.id for v in fresh)
            pending += fresh
        return value.origin.layer

    def _planned(self, kernel: Kernel) -> tuple[Kernel, Schedule]:
        whole = replace(collapse(kernel), repeat=kernel.repeat) if self.fused else kernel
        return whole, schedule(whole, self.vector_bytes)

    def _leaves(self) -> None:
        for name, leaf in self.graph.inputs.items():
            order = self.orders.get(name, tuple(range(len(leaf.shape))))
            buffer = Buffer(name, leaf.dtype, leaf.shape, order, space_of(name))
            self.inputs[name] = self.buffers[leaf.id] = buffer

    def _outputs(self) -> None:
        self.copies: list[tuple[Buffer, Value]] = []
        for name, value in self.graph.outputs.items():
            target = self.inputs.get(name)
            if target is not None and self.buffers.get(value.id) is target:
                self.outputs[name] = target
                continue
            order = target.order if target is not None else self._order_of(name, value)
            prefix = "out" if target is None else "next"
            buffer = Buffer(f"{prefix}.{name}", value.dtype, value.shape, order, Space.work)
            if target is not None:
                self.renewed[buffer] = target
            self.outputs[name] = target or buffer
            if value.id in self.buffers:
                self.copies.append((buffer, value))
            else:
                self.buffers[value.id] = buffer

    def _order_of(self, name: str, value: Value) -> tuple[int, ...]:
        parameter = "param." + name.removeprefix("gradient.")
        return self.orders.get(parameter, tuple(range(len(value.shape))))

    def _materialise(self) -> None:
        cost: dict[int, int] = {}
        heavy: dict[int, bool] = {}
        for value in self.live:
            if value.id in self.buffers:
                cost[value.id], heavy[value.id] = 0, False
                continue
            name = value.op.name
            cost[value.id] = (0 if name in FREE else COSTS.get(name, 1)) + sum(
                cost[v.id] for v in value.inputs
            )
            heavy[value.id] = name in HEAVY or any(heavy[v.id] for v in value.inputs)
            if value.id in self.region.inside:
                continue
            if value.id in self.region.stored or self._needs_buffer(value, cost[value.id], heavy[value.id]):
                order, block = self._like_parameters(value), self._block(value)
                kind = self._kept(value)
                self.buffers[value.id] = Buffer(
                    f"{self.prefix}v{value.id}", kind, value.shape, order, Space.work, block
                )
                cost[value.id], heavy[value.id] = 0, False

    def _kept(self, value: Value) -> DType:
        """The type of a value in memory. CPUs keep bfloat16 numbers as floats, which they need not widen."""
        return value.dtype.wide if self.vector_bytes else value.dtype

    def _block(self, value: Value) -> int:
        """Images lie with as many observations side by side as a vector holds: all their loops have full lanes."""
        images = len(value.shape) >= 3 and value.shape[0] is ROWS and value.op.name != "scan"
        if not images or not self.has_windows:
            return 1
        kind = value.dtype.wide if value.dtype.is_float else self.smallest
        return 1 if kind is None else max(self.vector_bytes // kind.itemsize, 1)

    def _like_parameters(self, value: Value) -> tuple[int, ...]:
        """The order of the parameters of that shape: gradients lie as what they update. Observations are outermost, what
        windows run over is innermost."""
        windows = (r for r in self.readers.get(value.id, ()) if r.op.name == "window")
        inner = next((r.attrs["dims"] for r in windows), ())
        plain = tuple(sorted(range(len(value.shape)), key=lambda d: (value.shape[d] is not ROWS, d in inner)))
        name = self.leaf_of_shape.get(value.shape)
        return plain if name is None or ROWS in value.shape else self.orders.get(name, plain)

    def _needs_buffer(self, value: Value, cost: int, heavy: bool) -> bool:
        readers = self.readers.get(value.id, [])
        name = value.op.name
        if name in ("constant", "iota", "rows"):
            return False
        if name == "scan" or self._is_scattered(value):
            return True
        if is_one_hot(value):
            return False
        if value.dtype is DType.bfloat16 and name == "cast":
            return any(r.op.name != "pad" for r in readers)
        readers = [r for r in readers if not picks(r)]
        if heavy:
            reader = only_reader(readers, value, self.readers)
            return reader is None or not same_points(reader, value)
        if name == "pad" or name == "concat":
            return True
        if any(r.op.name in ("contract", "fold", "window", "scan") for r in readers) and cost > 2:
            return True
        if cost and any(meets_many(r, value) for r in readers):
            return True
        return (len(readers) > 1 and cost > 3) or cost > 200

    def _is_scattered(self, value: Value) -> bool:
        """Whether a value is scattered into its place: a product with a one-hot factor, turned round where it is read so."""
        if value.op.name == "permute":
            return scatters(value.inputs[0]) and len(self.readers[value.inputs[0].id]) == 1
        turned = [r.op.name for r in self.readers.get(value.id, [])] == ["permute"]
        return scatters(value) and not turned

    # copies in another arrangement

    def _rearrange(self) -> None:
        """Copies that make all that follows read side by side: images in blocks of rows, factors of products."""
        for value in self.live:
            if value.op.name == "input" and self._block(value) > 1:
                if any(r.op.name == "window" for r in self.readers.get(value.id, [])):
                    source = self.buffers[value.id]
                    name, block = f"in.{source.name}", self._block(value)
                    self.buffers[value.id] = self.arrangement.copy(
                        source, name, source.order, value, block=block
                    )
            elif value.op.name == "contract" and value.id not in self.region.inside:
                self.arrangement.arrange(value)

    # kernels

    def _kernels(self) -> list[Item]:
        kernels: list[Item] = [self.patterns.of(k) for k in self.arrangement.kernels]
        scans = [v for v in self.live if v.op.name == "scan"]
        if scans:
            from .recurrence import lower_scan, recurrences  # lowers a step with this class

            kernels += [lower_scan(self, nodes, i) for i, nodes in enumerate(recurrences(scans))]
        for value in self.live:
            buffer = self.buffers.get(value.id)
            made = value.op.name in ("scan", "input") or value.id in self.region.stored
            if buffer is not None and not made:
                kernels.append(self._call(buffer, value))
        for buffer, value in self.copies:
            kernels.append(self._call(buffer, value, copy=True))
        if self.region.stored:
            kernels.append(self.patterns.of(self._resident()))
        return kernels

    def _call(self, buffer: Buffer, value: Value, *, copy: bool = False) -> Placed:
        """The kernel that fills a buffer; written out only where none like it was before."""
        face = Face(self, None if copy else value)
        pattern, buffers = face.pattern(
            buffer, value, (copy, buffer in self.renewed), lambda: self._kernel(buffer, value, copy=copy)
        )
        return Placed(pattern, buffers, buffer.name, value.origin.span, value.origin.layer)

    def _kernel(self, buffer: Buffer, value: Value, *, copy: bool = False) -> Kernel:
        whole = copy or buffer in self.renewed or not _has_equal_parts(value)
        shape = value.shape if whole else value.inputs[0].shape
        axes = {d: Axis(f"i{i}", shape[d]) for i, d in enumerate(self._dims(buffer, value)) if shape[d] != 1}
        stores = (self._store(buffer, value, axes, copy=copy),) if whole else self._parts(buffer, value, axes)
        return Kernel(buffer.name, tuple(axes.values()), stores, value.origin.span, value.origin.layer)

    def _parts(self, buffer: Buffer, value: Value, axes: Mapping[int, Axis]) -> tuple[Store, ...]:
        """A store for each part of what is joined: at a point of all parts, each to its own place."""
        dim, stores = value.attrs["dim"], []
        for number, part in enumerate(value.inputs):
            store = self._store(buffer, part, axes, copy=True)
            start = number * int(part.shape[dim])
            index = tuple(i + start if d == dim else i for d, i in enumerate(self._plain(part, axes)))
            stores.append(Store(buffer, self._place(buffer, index), store.value))
        return tuple(stores)

    def _dims(self, buffer: Buffer, value: Value) -> Sequence[int]:
        """The dimensions of a value from the outermost to the innermost in its buffer."""
        return buffer.order

    def outside(self, value: Value, index: Sequence[Affine]) -> Expr:
        """An element for a kernel that is not this value's own."""
        self.root = None
        return self.read(value, index)

    def _store(self, buffer: Buffer, value: Value, axes: Mapping[int, Axis], *, copy: bool = False) -> Store:
        self.root = None if copy else value
        self.memo.clear()
        index = self._plain(value, axes)
        e = self.read(value, index)
        if e.dtype is DType.bfloat16 and buffer.dtype is not e.dtype:
            e = Apply(Scalar.cast, (e,), buffer.dtype)
        return Store(buffer, self._place(buffer, index), e)

    def _plain(self, value: Value, axes: Mapping[int, Axis]) -> tuple[Affine, ...]:
        return tuple(Affine.of(axes[d]) if d in axes else Affine() for d in range(len(value.shape)))

    def _resident(self) -> Kernel:
        """The kernel of a region that fits the registers: all its sums over the rows in one loop."""
        lanes = self.region.lanes
        self.resident = lanes
        stores: list[Store] = []
        axes: dict[Axis, None] = {}
        for value in self.region.stored.values():
            buffer = self.buffers[value.id]
            mine = {
                d: lanes if value.shape[d] == lanes.extent else Axis(f"i{i}x{value.shape[d]}", value.shape[d])
                for i, d in enumerate(buffer.order)
                if value.shape[d] != 1
            }
            axes.update(dict.fromkeys(a for a in mine.values() if a != lanes))
            stores.append(self._store(buffer, value, mine))
        self.resident = None
        first = next(iter(self.region.stored.values()))
        return Kernel(
            stores[0].buffer.name, (*axes, lanes), tuple(stores), first.origin.span, first.origin.layer,
            resident=True,
        )  # fmt: skip


def _has_equal_parts(value: Value) -> bool:
    """Whether a value joins tensors of one shape."""
    return value.op.name == "concat" and all(x.shape == value.inputs[0].shape for x in value.inputs)


__all__ = ["choose_orders", "lower"]
