"""The order of kernels, and updates in place.

Lowering writes every buffer once: the new contents of a model tensor go to a buffer of their own, ``next.<name>``.
Here kernels are put into an order in which producers come before consumers and, where possible, readers of a tensor
before the kernel that makes its new contents; that kernel may then write in place. Where it may not, a copy follows.

In: kernels that write each buffer once. Out: ordered kernels; kernels that update in place.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from .ir import Buffer, Kernel, Load, Loop, Store
from .patterns import Item, Patterns, Placed, on_buffers, reads_of, writes_of


def ordered(kernels: Sequence[Item], renewed: Mapping[Buffer, Buffer], first: Buffer | None) -> list[Item]:
    """Producers before consumers; updates last, but as the graph has them otherwise.

    renewed: from the buffer of new contents to the one of the old. first: what is wanted before any update.
    """
    writer = {b: i for i, k in enumerate(kernels) for b in writes_of(k)}
    old = {previous: writer[new] for new, previous in renewed.items() if new in writer}
    hard: list[set[int]] = [set() for _ in kernels]
    soft: list[set[int]] = [set() for _ in kernels]
    for i, kernel in enumerate(kernels):
        for buffer in reads_of(kernel):
            if buffer in writer and writer[buffer] != i:
                hard[i].add(writer[buffer])
            if buffer in old and old[buffer] != i:
                soft[old[buffer]].add(i)
    updates = set(old.values())
    needed = _ancestors(hard, writer[first]) if first in writer else set()
    place = _places(hard, soft, updates)
    rank = [(i in updates and i not in needed, i not in needed, place[i]) for i in range(len(kernels))]
    return [kernels[i] for i in _sorted(rank, hard, soft)]


def _places(hard: Sequence[set[int]], soft: Sequence[set[int]], updates: set[int]) -> list[tuple[int, int]]:
    """Each kernel's place among those that are free: its own, but what only updates need comes behind all that read what
    is updated, so that gradient and update can be one kernel."""
    late = [max(soft[i] - {i}, default=-1) if i in updates else -1 for i in range(len(hard))]
    followed = [False] * len(hard)
    for i in reversed(range(len(hard))):
        for j in hard[i]:
            if i in updates:
                late[j] = max(late[j], late[i])
            else:
                followed[j] = True
    return [(2 * i if followed[i] else max(2 * i, 2 * late[i] + 1), i) for i in range(len(hard))]


def _ancestors(hard: Sequence[set[int]], goal: int) -> set[int]:
    found, pending = set(), [goal]
    while pending:
        i = pending.pop()
        if i not in found:
            found.add(i)
            pending.extend(hard[i])
    return found


def _sorted(
    rank: Sequence[tuple[bool, bool, tuple[int, int]]], hard: Sequence[set[int]], soft: Sequence[set[int]]
) -> list[int]:
    """A topological order of lowest rank first; soft edges give way when nothing else is free."""
    count = len(rank)
    followers: list[list[int]] = [[] for _ in range(count)]
    waiting = [len(hard[i] | soft[i]) for i in range(count)]
    for i in range(count):
        for j in hard[i] | soft[i]:
            followers[j].append(i)
    ready = [rank[i] for i in range(count) if not waiting[i]]
    heapq.heapify(ready)
    done: list[int] = []
    placed: set[int] = set()
    while len(done) < count:
        if ready:
            i = heapq.heappop(ready)[-1][-1]
        else:
            i = min(r for r in rank if r[-1][-1] not in placed and hard[r[-1][-1]] <= placed)[-1][-1]
        if i in placed:
            continue
        placed.add(i)
        done.append(i)
        for j in followers[i]:
            waiting[j] -= 1
            if waiting[j] == 0 and j not in placed:
                heapq.heappush(ready, rank[j])
    return done


def in_place(kernels: Sequence[Item], renewed: Mapping[Buffer, Buffer], patterns: Patterns) -> list[Item]:
    """Kernels that write ``renewed`` buffers over the old contents where no one reads these afterwards."""
    last: dict[Buffer, int] = {}
    for i, kernel in enumerate(kernels):
        for buffer, same in reads_of(kernel).items():
            last[buffer] = max(last.get(buffer, -1), i if same else i + 1)
    target: dict[Buffer, Buffer] = {}
    copies: list[Item] = []
    for i, kernel in enumerate(kernels):
        if isinstance(kernel, Loop):
            continue
        for store, buffer in zip(kernel.pattern.kernel.stores, kernel.writes, strict=True):
            previous = renewed.get(buffer)
            if previous is None:
                continue
            if last.get(previous, -1) <= i:
                target[buffer] = previous
            else:
                copy = Store(previous, store.index, Load(buffer, store.index))
                axes = kernel.pattern.kernel.axes
                copies.append(
                    patterns.of(Kernel(f"copy.{previous.name}", axes, (copy,), kernel.span, kernel.layer))
                )
    return [_retarget(k, target, patterns) for k in kernels] + copies


def _retarget(kernel: Item, target: Mapping[Buffer, Buffer], patterns: Patterns) -> Item:
    if isinstance(kernel, Placed):
        if target.keys().isdisjoint(kernel.buffers):
            return kernel
        return patterns.with_buffers(kernel, tuple([target.get(b, b) for b in kernel.buffers]))
    before, kernels = ([on_buffers(k, target) for k in part] for part in (kernel.before, kernel.kernels))
    return Loop(kernel.repeat, tuple(before), tuple(kernels))
