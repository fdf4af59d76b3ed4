"""Kernels to CUDA C++ functions: one rule for every loop nest.

In: a kernel of the Loop IR. Out: the text of ``void k(pointers..., rows, step, seed)``, which all threads of a grid call
together; it has no grid barrier in it. It is kept a function, for the sake of the time that its compilation takes. Points go to teams in turn (``mapping.py``). Every expression is
written in the outermost scope where its axes are known; scopes are C++ blocks, and each remembers what it holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...graph import ROWS, DType
from ...loops.ir import (
    Apply,
    Axis,
    Buffer,
    Combine,
    Constant,
    Expr,
    Guarded,
    Kernel,
    Load,
    Position,
    Random,
    Reduction,
    Scalar,
)
from ...loops.rewrite import walk
from .contraction import unguarded
from .indices import condition_text, extent_text, index_text
from .mapping import Team, team
from .scalars import ROWS as SCALARS
from .scalars import STORED, TYPES, literal
from .shares import Share, share_of

NAME = "KERNEL"
"""What a kernel is called until the module knows its name."""
LANES = {Team.warp: ("(threadIdx.x & 31)", "32"), Team.block: ("threadIdx.x", "blockDim.x")}
FIRST = {
    Team.thread: "block_number() * blockDim.x + threadIdx.x",
    Team.warp: "(block_number() * blockDim.x + threadIdx.x) / 32",
    Team.block: "block_number()",
}
STRIDE = {
    Team.thread: "block_count() * blockDim.x",
    Team.warp: "block_count() * blockDim.x / 32",
    Team.block: "block_count()",
}
OPERATORS = {Combine.sum: "Add", Combine.max: "Largest", Combine.argmax: "First"}


@dataclass(slots=True)
class Scope:
    """A block of the text: the axes whose values become known in it, its lines, and the names of what it holds."""

    axes: frozenset[Axis]
    lines: list[str] = field(default_factory=list)
    memo: dict[Expr, str] = field(default_factory=dict)


class KernelWriter:
    """Writes one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.team = kernel, team(kernel)
        self.buffers: dict[Buffer, str] = {}
        self.names = itertools.count()
        self.scopes = [Scope(frozenset())]
        self.floor = 0 if kernel.axes else 1
        """The outermost scope that may be written to: inside a guard nothing is moved out of it."""
        self.begun: set[Reduction] = set()
        self.reductions = list(unguarded(kernel))

    def write(self) -> tuple[str, tuple[Buffer, ...]]:
        """The function's text, and the buffers that it takes, in order."""
        points = Scope(frozenset(self.kernel.axes))
        self.scopes.append(points)
        self._points()
        self.scopes.pop()
        lines = [
            f"const index_t points = {total(self.kernel.axes)};",
            f"for (index_t point = {FIRST[self.team]}; point < points; point += {STRIDE[self.team]}) {{",
            *indented(places(self.kernel.axes, "point")),
            *indented(points.lines),
            "}",
        ]
        return self.function(lines), tuple(self.buffers)

    def function(self, lines: Sequence[str]) -> str:
        """The function of some lines, behind what is the same at all points."""
        parameters = [f"{STORED[b.dtype]} *{name}" for b, name in self.buffers.items()]
        parameters += ["index_t rows", "word32 step", "word64 seed"]
        if self.kernel.repeat is not None:
            parameters.append(f"index_t {self.kernel.repeat.axis.name}")
        head = f"static __device__ __noinline__ void {NAME}({', '.join(parameters)}) {{"
        return "\n".join([head, *indented([*self.scopes[0].lines, *lines]), "}"])

    def busy(self, threads: int) -> tuple[int, int]:
        """How many threads, of blocks of so many, the kernel has work for: whatever the rows, and for each row."""
        size = {Team.thread: 1, Team.warp: 32}.get(self.team, threads)
        for axis in self.kernel.axes:
            size *= 1 if axis.extent is ROWS else int(axis.extent)
        return (0, size) if any(a.extent is ROWS for a in self.kernel.axes) else (size, 0)

    def _points(self) -> None:
        """What is done at one point: sums by the whole team, the rest by its first thread."""
        if self.team is Team.thread:
            self.stores()
            return
        for reduction in self.reductions:
            self.value(reduction)
        before = self.floor
        self.floor = len(self.scopes)
        self.scopes.append(Scope(frozenset()))
        self.stores()
        inner = self.scopes.pop()
        self.floor = before
        self.scopes[-1].lines += [
            f"if ({LANES[self.team][0]} == 0) {{",
            *indented(inner.lines),
            "}",
        ]

    def stores(self) -> None:
        """All values first: an update in place must not be seen by its neighbours."""
        values = [self.value(store.value) for store in self.kernel.stores]
        for store, value in zip(self.kernel.stores, values, strict=True):
            place = index_text(store.buffer.offset(store.index))
            kept = f"to_half({value})" if store.buffer.dtype is DType.bfloat16 else value
            self.scopes[-1].lines.append(f"{self.buffer(store.buffer)}[{place}] = {kept};")

    def buffer(self, buffer: Buffer) -> str:
        return self.buffers.setdefault(buffer, f"p{len(self.buffers)}")

    # expressions

    def value(self, e: Expr) -> str:
        """The name of a variable that holds the expression; a constant itself."""
        if isinstance(e, Constant):
            return literal(e.value, e.dtype)
        for scope in self.scopes:
            if e in scope.memo:
                return scope.memo[e]
        level = self._level(e)
        assert level is not None, f"bug in netc: kernel {self.kernel.name} does not bind {set(e.free)}"
        aside, self.scopes = self.scopes[level + 1 :], self.scopes[: level + 1]
        if isinstance(e, Reduction):
            self._reduce(e, level)
        else:
            self.scopes[-1].memo[e] = self._variable(e)
        name = self.scopes[-1].memo[e]
        self.scopes += aside
        return name

    def _level(self, e: Expr) -> int | None:
        """The outermost scope that knows the axes of an expression; None when none of the present ones does."""
        missing = set(e.free)
        for i, scope in enumerate(self.scopes):
            missing -= scope.axes
            if not missing and i >= self.floor:
                return i
        return None

    def _variable(self, e: Expr) -> str:
        if isinstance(e, Guarded):
            return self._guarded(e)
        text = self._text(e)
        name = f"v{next(self.names)}"
        self.scopes[-1].lines.append(f"const {TYPES[e.dtype]} {name} = {text};")
        return name

    def _text(self, e: Expr) -> str:
        match e:
            case Load():
                element = f"{self.buffer(e.buffer)}[{index_text(e.buffer.offset(e.index))}]"
                return f"from_half({element})" if e.dtype is DType.bfloat16 else element
            case Apply():
                kind = e.arguments[-1].dtype if e.op is Scalar.select else e.arguments[0].dtype
                return SCALARS[e.op]([self.value(a) for a in e.arguments], kind, e.dtype)
            case Position():
                return f"({TYPES[e.dtype]})({index_text(e.index)})"
            case Random():
                function = "uniform_f" if e.dtype is DType.float32 else "uniform_d"
                return f"{function}((word64)({index_text(e.index)}), {e.stream}u, step, seed)"
        raise AssertionError(f"bug in netc: {e} stands for no variable")

    def _guarded(self, e: Guarded) -> str:
        name = f"v{next(self.names)}"
        condition = " && ".join(condition_text(c) for c in e.conditions)
        branches = [self._branch(name, part) for part in (e.body, e.otherwise)]
        self.scopes[-1].lines += [
            f"{TYPES[e.dtype]} {name};",
            f"if ({condition}) {{",
            *indented(branches[0]),
            "} else {",
            *indented(branches[1]),
            "}",
        ]
        return name

    def _branch(self, name: str, e: Expr) -> list[str]:
        """The lines that compute one side of a guard and give it to a variable."""
        before, self.floor = self.floor, len(self.scopes)
        self.scopes.append(Scope(frozenset()))
        value = self.value(e)
        lines = self.scopes.pop().lines
        self.floor = before
        return [*lines, f"{name} = {value};"]

    # reductions

    def _reduce(self, e: Reduction, level: int) -> None:
        """One loop for a reduction and those beside it, with an accumulator for each."""
        group = self._siblings(e, level)
        divided = self._divided(level)
        begun = set(group) - self.begun
        self.begun |= begun
        names = [f"v{next(self.names)}" for _ in group]
        self.scopes.append(Scope(frozenset(e.axes)))
        share = share_of(e) if divided is not None else None
        for name, member in zip(names, group, strict=True):
            value = self.value(member.body if share is None else _whole(member).body)
            self.scopes[-1].lines.append(_combined(name, member, value))
        inner = self.scopes.pop()
        self.begun -= begun
        scope = self.scopes[-1]
        scope.lines += [_start(name, member) for name, member in zip(names, group, strict=True)]
        scope.lines += (
            _sequential(e.axes, inner.lines)
            if divided is None
            else _shared(e.axes, inner.lines, divided, share)
        )
        for name, member in zip(names, group, strict=True):
            result = name
            if divided is not None:
                result = f"{name}t"
                call = f"over_{divided.value}<{OPERATORS[member.combine]}>({name})"
                scope.lines.append(f"const auto {result} = {call};")
            scope.memo[member] = f"{result}.place" if member.combine is Combine.argmax else result

    def _divided(self, level: int) -> Team | None:
        """The team that divides a reduction at a level, where all of its threads pass."""
        if level == 0:
            return Team.block
        return self.team if level == 1 and self.team is not Team.thread else None

    def _siblings(self, e: Reduction, level: int) -> list[Reduction]:
        """Reductions over the same axes at the same level, none of which needs another's result."""
        group = [e]
        if e not in self.reductions:
            return group
        inside = {e: _inner(e)}
        for other in self.reductions:
            if other in group or other.axes != e.axes or self._known(other) or other in self.begun:
                continue
            if (share_of(other) is None) != (share_of(e) is None):
                continue
            inside[other] = _inner(other)
            if self._level(other) != level or inside[other] & self.begun:
                continue
            if any(other in inside[s] or s in inside[other] for s in group):
                continue
            group.append(other)
        return group

    def _known(self, e: Expr) -> bool:
        return any(e in scope.memo for scope in self.scopes)


def _inner(e: Reduction) -> set[Reduction]:
    return {x for x in walk(e.body) if isinstance(x, Reduction)}


def _start(name: str, e: Reduction) -> str:
    kind = e.body.dtype
    if e.combine is Combine.argmax:
        return f"Best<{TYPES[kind]}> {name} = {{{literal(0, kind)}, -1}};"
    if e.combine is Combine.sum:
        return f"{TYPES[kind]} {name} = {literal(0, kind)};"
    least = literal(float("-inf"), kind) if kind.is_float else literal(-(2**63), DType.int64)
    return f"{TYPES[kind]} {name} = {least};"


def _combined(name: str, e: Reduction, value: str) -> str:
    if e.combine is Combine.sum:
        return f"{name} += {value};"
    if e.combine is Combine.max:
        return f"{name} = maximum({name}, {value});"
    kind = TYPES[e.body.dtype]
    return f"{name} = First::of({name}, Best<{kind}>{{{value}, {_place(e.axes)}}});"


def _place(axes: Sequence[Axis]) -> str:
    """The row-major position within a reduction."""
    text = ""
    for axis in axes:
        text = f"({text}) * {extent_text(axis.extent)} + {axis.name}" if text else f"(long long){axis.name}"
    return text


def _sequential(axes: Sequence[Axis], body: list[str]) -> list[str]:
    if not axes:
        return body
    axis = axes[0]
    head = f"for (index_t {axis.name} = 0; {axis.name} < {extent_text(axis.extent)}; ++{axis.name}) {{"
    return [head, *indented(_sequential(axes[1:], body)), "}"]


def _shared(axes: Sequence[Axis], body: list[str], divided: Team, share: Share | None) -> list[str]:
    """The loop of one thread over its part of a reduction's terms, or of a share of them: some runs of terms."""
    lane, size = LANES[divided]
    inner = indented([*places(axes, "term"), *body])
    if share is None:
        return [f"for (index_t term = {lane}; term < {total(axes)}; term += {size}) {{", *inner, "}"]
    run, parts = share.chunk, share.parts
    return [
        f"for (index_t run = {share.axis.name}; run * {run} < {total(axes)}; run += {parts}) {{",
        f"    for (index_t term = run * {run} + {lane}; term < (run + 1) * {run} && term < {total(axes)}; term += {size}) {{",
        *indented(inner),
        "    }",
        "}",
    ]


def _whole(e: Reduction) -> Reduction:
    share = share_of(e)
    assert share is not None, "bug in netc: shares and whole sums in one loop"
    return share.whole


def total(axes: Sequence[Axis]) -> str:
    """The number of combinations of some axes."""
    text = " * ".join(extent_text(a.extent) for a in axes) or "1"
    return text if text.startswith("rows") else f"(index_t){text}"


def places(axes: Sequence[Axis], flat: str) -> list[str]:
    """The values of axes from their position in one long loop."""
    lines, rest = [], flat
    for axis in reversed(axes[1:]):
        extent = extent_text(axis.extent)
        lines.append(f"const index_t {axis.name} = ({rest}) % {extent};")
        rest = f"{rest} / {extent}"
    if axes:
        lines.append(f"const index_t {axes[0].name} = {rest};")
    return lines


def indented(lines: Sequence[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


__all__ = ["NAME", "KernelWriter", "Scope", "indented", "places", "total"]
