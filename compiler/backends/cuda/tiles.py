"""Tiles: how a block computes a contraction.

In: a contraction, the threads of a block. Out: a ``Tile``, from extents alone by a rule that
estimates clocks, without search and without regard to the batch or the number of blocks. The record is data; ``tiled.py``
writes the code that obeys it, with the templates of ``tiles.cuh``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from ....runtime.artifact import TILE_BYTES
from ...graph import ROWS, DType
from .contraction import Contraction
from .mapping import size

PROCESSORS = 128
"""Of a typical device. Estimates are made for it, results do not depend on how many there are."""
LEAST = 4
"""Fewer points along one side make a product of a matrix and a vector: nothing is read twice."""
LEAST_WORK = 1 << 12
MOST_ACCUMULATORS = 64
"""Registers of a thread for its sums."""
BARRIER = 3000
"""Clocks of a barrier of the grid, and of what starts and ends between two of them."""
LATENCY = 300
"""Clocks until the first stage of a tile has come from memory, and until its last point is stored."""
PAUSE = 40
"""Clocks of a stage in which a block waits for its slowest thread."""
WORDS = 16
"""Numbers that come from memory in a clock."""
PARTS = (1, 2, 4, 8, 16, 32)


RATE, RATE_ON_CORES = 128, 1024
"""Products of a clock."""
TERMS_ON_CORES = 16
"""Terms that an instruction of tensor cores adds up."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A block's share of a contraction.

    on_cores: whether tensor cores multiply, whose factors are bfloat16 numbers; products of others are exact or rounded once.
    warps_m, warps_n: how the warps that compute different points lie. slices: so many sets of warps share the terms of each
    stage. m, n: sums of one thread. depth: terms of a stage, of which two are in shared memory. parts: terms are dealt out,
    stage by stage, to so many partial sums of the whole.
    """

    on_cores: bool
    warps_m: int
    warps_n: int
    slices: int
    m: int
    n: int
    depth: int
    parts: int = 1

    @property
    def threads(self) -> int:
        return 32 * self.warps_m * self.warps_n * self.slices

    @property
    def block_m(self) -> int:
        """Points of the block; the lanes of a warp lie 4 x 8, on tensor cores 8 x 4."""
        return self.warps_m * self.m * (8 if self.on_cores else 4)

    @property
    def block_n(self) -> int:
        return self.warps_n * self.n * (4 if self.on_cores else 8)

    @property
    def loads_of_a_term(self) -> float:
        """How often a warp goes to shared memory for one term of its sums: for four neighbours at once, on tensor cores for
        a fragment of 16 terms."""
        if self.on_cores:
            return (2 * self.m + self.n) / TERMS_ON_CORES
        return -(-self.m // 4) + -(-self.n // 4)

    def pitch(self, points: int) -> int:
        """Elements from one term of a stage to the next: apart so far that stores and loads meet different banks."""
        return points + (8 if self.on_cores else 4)

    def stage(self, lefts: int, rights: int) -> int:
        """Elements of a stage of so many operands."""
        return self.depth * (lefts * self.pitch(self.block_m) + rights * self.pitch(self.block_n))


@dataclass(frozen=True, slots=True)
class _Operands:
    """What a tile must have room for: so many operands of either side, so many sums, and the types of both."""

    lefts: int
    rights: int
    sums: int
    dtype: DType

    @property
    def on_cores(self) -> bool:
        return self.dtype is DType.bfloat16

    @property
    def words(self) -> int:
        """Registers of a sum, and of an element that is fetched."""
        return self.dtype.wide.itemsize // 4


@dataclass(frozen=True, slots=True)
class _Costs:
    """A tile and what its clocks are made of."""

    tile: Tile
    block_m: int
    block_n: int
    depth: int
    of_stage: float
    finished: float


def tile(contraction: Contraction, threads: int) -> Tile | None:
    """The tile for a contraction by blocks of so many threads; None for those that are too small for one."""
    c, share = contraction, contraction.share
    extents = (size(c.m), size(c.n), size(c.k), size(c.batch) // (1 if share is None else share.parts))
    m, n, k, _ = extents
    if min(m, n, k) < LEAST or m * n * k < LEAST_WORK:
        return None
    operands = _Operands(len(c.lefts), len(c.rights), len(c.products), c.dtype)
    grown = any(a.extent is ROWS for a in (*c.m, *c.n, *c.batch))
    ways = None if grown else (0, 0) if share is None else (share.parts, share.chunk)
    return _chosen(extents, operands, ways, threads)


@cache
def _chosen(
    extents: tuple[int, ...],
    operands: _Operands,
    ways: tuple[int, int] | None,
    threads: int,
) -> Tile | None:
    """The fastest tile. ways: None where terms are not dealt out, (0, 0) where they may be, else the parts and the depth of
    stages that the partial sums have."""
    found, least = None, float("inf")
    for costs in _candidates(operands, threads):
        if ways is not None and ways[1] not in (0, costs.tile.depth):
            continue
        for parts in PARTS if ways == (0, 0) else (1 if ways is None else ways[0],):
            clocks = _clocks(costs, extents, parts, operands.sums)
            if clocks < least:
                found, least = (costs.tile, parts), clocks
    return None if found is None else replace(found[0], parts=found[1])


@cache
def _candidates(operands: _Operands, threads: int) -> tuple[_Costs, ...]:
    """All tiles that fit the registers and the shared memory."""
    cores = operands.on_cores
    sides = (2, 4, 8) if cores else (1, 2, 4, 8)
    depths, terms = ((16, 32), TERMS_ON_CORES) if cores else ((8, 16, 32), 1)
    warps, found = threads // 32, []
    for slices, m, n, depth in product((1, 2, 4, 8, 16), sides, sides, depths):
        if warps % slices or depth // slices < terms:
            continue
        for warps_m in (1, 2, 4, 8, 16):
            if warps // slices % warps_m == 0:
                made = Tile(cores, warps_m, warps // slices // warps_m, slices, m, n, depth)
                if max(made.block_m, made.block_n) <= 8 * min(made.block_m, made.block_n) and _fits(
                    made, operands
                ):
                    found.append(
                        _Costs(
                            made,
                            made.block_m,
                            made.block_n,
                            depth,
                            _of_stage(made, operands),
                            _finished(made, operands),
                        )
                    )
    return tuple(found)


def _fits(tile: Tile, o: _Operands) -> bool:
    """Whether the sums fit the registers, beside what is fetched, and the stages and the slices' sums the shared memory."""
    sums = tile.m * tile.n * o.sums * o.words
    fetched = tile.depth * (o.lefts * tile.block_m + o.rights * tile.block_n) // tile.threads * o.words
    sliced = tile.slices * tile.block_m * tile.block_n * o.sums * o.words * 4
    return (
        sums <= MOST_ACCUMULATORS
        and sums + fetched <= MOST_ACCUMULATORS + 16
        and 2 * tile.stage(o.lefts, o.rights) * o.dtype.itemsize <= TILE_BYTES
        and (tile.slices == 1 or sliced <= TILE_BYTES)
    )


def _of_stage(tile: Tile, o: _Operands) -> float:
    """Clocks of a stage: multiplications or loads from shared memory, whichever take longer, then fetching and waiting."""
    multiplied = (
        tile.block_m * tile.block_n * tile.depth * o.sums / (RATE_ON_CORES if tile.on_cores else RATE)
    )
    loaded = tile.threads / 32 * tile.depth / tile.slices * tile.loads_of_a_term * o.sums
    fetched = tile.depth * (o.lefts * tile.block_m + o.rights * tile.block_n) / WORDS
    return max(multiplied, loaded) + fetched + PAUSE


def _finished(tile: Tile, o: _Operands) -> float:
    """Clocks to store the points of a tile, and to add up its slices."""
    return tile.block_m * tile.block_n * o.sums * tile.slices / 32


def _clocks(costs: _Costs, extents: tuple[int, ...], parts: int, sums: int) -> float:
    """Clocks of a whole contraction."""
    m, n, k, batch = extents
    stages = -(-k // costs.depth)
    blocks = -(-m // costs.block_m) * -(-n // costs.block_n) * batch * parts
    rounds = -(-blocks // PROCESSORS)
    clocks = rounds * (-(-stages // parts) * costs.of_stage + LATENCY + costs.finished)
    if parts > 1:
        clocks += BARRIER + parts * m * n * batch * sums / (PROCESSORS * WORDS)
    return clocks


__all__ = ["Tile", "tile"]
