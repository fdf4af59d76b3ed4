"""Graph to kernels: which values become buffers, what is fused into whom, in which order kernels run.

In: a graph whose leaves are named as the architecture says. Out: a ``Unit``. Everything that is not made a buffer
is written into the expressions of its readers by its operation's ``element`` rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..graph import ROWS, Graph, Value, users
from .ir import (
    Affine,
    Apply,
    Axis,
    Buffer,
    Combine,
    Expr,
    Extent,
    Guarded,
    Kernel,
    Load,
    Reduction,
    Scheduled,
    Space,
    Store,
)
from .memory import plan_memory
from .schedule import schedule
from .unit import Unit

HEAVY = {"sum", "max", "argmax", "contract", "fold"}
INDEXING = {"broadcast", "reshape", "permute", "slice", "flip", "window"}
COSTS = {
    "exp": 8, "log": 8, "tanh": 10, "sigmoid": 10, "erf": 12, "sin": 12, "cos": 12, "pow": 20, "expm1": 10,
    "log1p": 10, "div": 4, "sqrt": 4, "random": 40, "concat": 4, "mod": 6,
}  # fmt: skip
FREE = {"input", "constant", "iota", "rows", "stop_gradient", *INDEXING}


def space_of(leaf: str) -> Space:
    """The space a leaf lives in, by its name."""
    prefix = leaf.split(".", 1)[0]
    if prefix in ("param", "buffer", "state"):
        return Space.model
    return Space.scalar if prefix == "scalar" else Space.data


def choose_orders(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The physical order of each model tensor: a weight [out, in] of a matrix product keeps ``out`` innermost."""
    readers = users(graph.live())
    orders: dict[str, tuple[int, ...]] = {}
    for name, leaf in graph.inputs.items():
        rank = len(leaf.shape)
        orders[name] = tuple(range(rank))
        if rank == 2 and any(_transposed(leaf, reader, readers) for reader in readers.get(leaf.id, [])):
            orders[name] = (1, 0)
    for name, leaf in graph.inputs.items():
        if name.startswith("state."):
            parameter = "param." + name.removeprefix("state.").rsplit(".", 1)[0]
            orders[name] = orders.get(parameter, tuple(range(len(leaf.shape))))
    return orders


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


def lower(graph: Graph, orders: Mapping[str, tuple[int, ...]], *, vector_bytes: int = 64) -> Unit:
    """Kernels, buffers and memory of a graph."""
    return _Lowering(graph, orders, vector_bytes).unit()


class _Lowering:
    def __init__(self, graph: Graph, orders: Mapping[str, tuple[int, ...]], vector_bytes: int) -> None:
        self.graph, self.orders, self.vector_bytes = graph, orders, vector_bytes
        self.live = graph.live()
        self.readers = users(self.live)
        self.buffers: dict[int, Buffer] = {}
        self.inputs: dict[str, Buffer] = {}
        self.outputs: dict[str, Buffer] = {}
        self.root: Value | None = None
        self.memo: dict[tuple[int, tuple[Affine, ...]], Expr] = {}
        self.axis_count = 0
        self.used: set[int] = set()

    # Reader protocol

    def read(self, value: Value, index: Sequence[Affine]) -> Expr:
        """A load where the value has a buffer, else its own expression."""
        buffer = self.buffers.get(value.id)
        if buffer is not None and value is not self.root:
            self.used.add(value.id)
            return Load(buffer, tuple(index))
        key = (value.id, tuple(index))
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = value.op.element(self, value, index)
        return found

    def reduce(
        self, combine: Combine, extents: Sequence[Extent], body: Callable[[Sequence[Affine]], Expr]
    ) -> Expr:
        axes = [self._axis(e) if e != 1 or combine is Combine.argmax else None for e in extents]
        value = body([Affine.of(a) if a is not None else Affine() for a in axes])
        left = tuple(a for a in axes if a is not None)
        return Reduction(combine, left, value) if left else value

    def _axis(self, extent: Extent) -> Axis:
        self.axis_count += 1
        return Axis(f"i{self.axis_count}", extent)

    # what becomes a buffer

    def unit(self) -> Unit:
        self._leaves()
        self._outputs()
        self._materialise()
        kernels = self._order(self._kernels())
        memory = plan_memory(kernels, self.outputs)
        scheduled = tuple(Scheduled(k, schedule(k, self.vector_bytes)) for k in kernels)
        return Unit(self.graph.name, scheduled, self.inputs, self.outputs, memory)

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
            buffer = target or Buffer(f"out.{name}", value.dtype, value.shape, order, Space.work)
            self.outputs[name] = buffer
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
            if self._needs_buffer(value, cost[value.id], heavy[value.id]):
                order = self._like_parameters(value)
                self.buffers[value.id] = Buffer(f"v{value.id}", value.dtype, value.shape, order, Space.work)
                cost[value.id], heavy[value.id] = 0, False

    def _like_parameters(self, value: Value) -> tuple[int, ...]:
        """The order of the parameters of that shape: gradients lie as what they update."""
        plain = tuple(range(len(value.shape)))
        found = [self.orders.get(n, plain) for n, v in self.graph.inputs.items() if v.shape == value.shape]
        return found[0] if found and ROWS not in value.shape else plain

    def _needs_buffer(self, value: Value, cost: int, heavy: bool) -> bool:
        readers = self.readers.get(value.id, [])
        name = value.op.name
        if name in ("constant", "iota", "rows"):
            return False
        if heavy:
            return len(readers) != 1 or not _same_points(readers[0], value)
        if name == "pad" or name == "concat":
            return True
        if any(r.op.name in ("contract", "fold", "window") for r in readers) and cost > 2:
            return True
        return (len(readers) > 1 and cost > 3) or cost > 200

    # kernels

    def _kernels(self) -> list[Kernel]:
        kernels = []
        for value in self.live:
            buffer = self.buffers.get(value.id)
            if buffer is not None and value.op.name != "input":
                kernels.append(self._kernel(buffer, value))
        for buffer, value in self.copies:
            kernels.append(self._kernel(buffer, value, copy=True))
        return kernels

    def _kernel(self, buffer: Buffer, value: Value, *, copy: bool = False) -> Kernel:
        self.root = None if copy else value
        self.memo.clear()
        self.axis_count = 0
        axes = {d: self._axis(e) for d, e in enumerate(value.shape) if e != 1}
        index = tuple(Affine.of(axes[d]) if d in axes else Affine() for d in range(len(value.shape)))
        expr = self.read(value, index)
        ordered = tuple(axes[d] for d in buffer.order if d in axes)
        return Kernel(
            f"{buffer.name}", ordered, (Store(buffer, index, expr),), value.origin.span, value.origin.layer
        )

    def _order(self, kernels: list[Kernel]) -> list[Kernel]:
        """Producers before consumers, readers of a leaf before the kernel that overwrites it."""
        pending = list(kernels)
        done: list[Kernel] = []
        copies: list[Kernel] = []
        updated = {k.stores[0].buffer.name for k in kernels if k.stores[0].buffer.space is Space.model}
        while pending:
            written = {k.stores[0].buffer for k in pending}
            ready = [k for k in pending if self._is_ready(k, pending, written, updated)]
            if not ready:
                stuck = next(i for i, k in enumerate(pending) if k.stores[0].buffer.name in updated)
                pending[stuck], copy = self._through_work(pending[stuck])
                copies.append(copy)
                continue
            # Updates come last, so that a run can stop before them when the loss is not finite.
            ready = [k for k in ready if k.stores[0].buffer.name not in updated] or ready
            done += ready
            chosen = {id(k) for k in ready}
            pending = [k for k in pending if id(k) not in chosen]
        return done + copies

    def _is_ready(
        self, kernel: Kernel, pending: list[Kernel], written: set[Buffer], updated: set[str]
    ) -> bool:
        mine = kernel.stores[0].buffer
        reads = loads(kernel)
        if any(b in written and b != mine and self._produced(b, kernel) for b in reads):
            return False
        if mine.name in updated:
            return not any(
                mine in loads(k) and not self._reads_new(k, mine) for k in pending if k is not kernel
            )
        return True

    def _produced(self, buffer: Buffer, kernel: Kernel) -> bool:
        """Whether the kernel wants the new contents of a buffer that is still to be written."""
        return buffer.space is not Space.model or self._reads_new(kernel, buffer)

    def _reads_new(self, kernel: Kernel, buffer: Buffer) -> bool:
        """Model buffers hold a leaf's old and then its new contents: readers of the new one come after."""
        new = self.graph.outputs.get(buffer.name)
        old = self.graph.inputs.get(buffer.name)
        value = self._value_of(kernel)
        if new is None or value is None or new is old or new is value:
            return False
        return self._reaches(value, new)

    def _value_of(self, kernel: Kernel) -> Value | None:
        target = kernel.stores[0].buffer
        return next((v for v in self.live if self.buffers.get(v.id) == target and v.op.name != "input"), None)

    def _reaches(self, value: Value, wanted: Value) -> bool:
        """Whether a value's kernel reads another value through what is fused into it."""
        pending, seen = list(value.inputs), set()
        while pending:
            v = pending.pop()
            if v is wanted:
                return True
            if v.id not in seen and v.id not in self.buffers:
                seen.add(v.id)
                pending.extend(v.inputs)
        return False

    def _through_work(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        store = kernel.stores[0]
        temporary = Buffer(
            f"new.{store.buffer.name}", store.buffer.dtype, store.buffer.shape, store.buffer.order, Space.work
        )
        first = Kernel(
            kernel.name, kernel.axes, (Store(temporary, store.index, store.value),), kernel.span, kernel.layer
        )
        copy = Store(store.buffer, store.index, Load(temporary, store.index))
        return first, Kernel(f"copy.{kernel.name}", kernel.axes, (copy,), kernel.span, kernel.layer)


def _same_points(reader: Value, value: Value) -> bool:
    """A reader that needs each element of the value once, at the element's own place."""
    if reader.op.name == "permute":
        return True
    return (
        reader.op.name not in HEAVY
        and reader.op.name not in INDEXING
        and reader.shape == value.shape
        and (reader.op.name not in ("pad", "concat"))
    )


def loads(kernel: Kernel) -> set[Buffer]:
    """Every buffer a kernel reads."""
    found: set[Buffer] = set()
    seen: set[int] = set()
    pending: list[Expr] = [s.value for s in kernel.stores]
    while pending:
        e = pending.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, Load):
            found.add(e.buffer)
        pending.extend(children(e))
    return found


def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions an expression is made of."""
    match e:
        case Reduction():
            return (e.body,)
        case Apply():
            return e.arguments
        case Guarded():
            return (e.body, e.otherwise)
        case _:
            return ()


__all__ = ["ROWS", "choose_orders", "lower"]
