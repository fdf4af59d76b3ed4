"""Contractions to CUDA C++ functions: tiles of points by whole blocks.

In: a kernel of the Loop IR, its contraction and its tile. Out: a function like those of ``kernel.py``, in which blocks take tiles
in turn. Operands come to shared memory in stages: while one stage is multiplied, the elements of the next are on their way to
registers. An operand's element is any expression, evaluated when it is fetched, zero where there is no point or no term; what
is stored at a point is any expression around the sums, evaluated from registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, prod

from ...graph import ROWS
from ...loops.ir import Apply, Axis, Buffer, Expr, Kernel
from ...loops.rewrite import children
from ...loops.work import COSTS
from .contraction import Contraction, runs_along
from .kernel import KernelWriter, Scope, indented, places, total
from .mapping import Team
from .scalars import TYPES
from .tiles import Tile

LIGHT = 16
"""Operations behind the sums up to which every point of a thread gets code of its own."""


class TileWriter(KernelWriter):
    """Writes one kernel by its tile."""

    def __init__(self, kernel: Kernel, contraction: Contraction, tile: Tile) -> None:
        super().__init__(kernel)
        self.team = Team.thread
        self.contraction, self.tile = contraction, tile
        self.operands = [
            *((e, "m", contraction.m) for e in contraction.lefts),
            *((e, "n", contraction.n) for e in contraction.rights),
        ]
        self.number = {e: i for i, (e, _, _) in enumerate(self.operands)}

    def write(self) -> tuple[str, tuple[Buffer, ...]]:
        c, tile = self.contraction, self.tile
        scope = Scope(frozenset(c.batch))
        self.scopes.append(scope)
        stages, points = self._stages(), self._epilogue()
        self.scopes.pop()
        lines = [
            *self._shape(),
            f"const index_t m_points = {total(c.m)}, n_points = {total(c.n)}, terms = {total(c.k)};",
            f"const index_t m_tiles = (m_points + {tile.block_m - 1}) / {tile.block_m};",
            f"const index_t n_tiles = (n_points + {tile.block_n - 1}) / {tile.block_n};",
            f"const index_t tiles = m_tiles * n_tiles * {total(c.batch)};",
            f"const index_t stages = (terms + {tile.depth - 1}) / {tile.depth};",
            "const Tile tile(threadIdx.x % Tile::THREADS);",
            "int turn = 0;",
            "for (index_t at = block_number(); at < tiles; at += block_count()) {",
            f"    const index_t m_first = at % m_tiles * {tile.block_m};",
            f"    const index_t n_first = at / m_tiles % n_tiles * {tile.block_n};",
            *indented(places(c.batch, "at / m_tiles / n_tiles")),
            *indented(scope.lines),
            *indented(stages),
            *indented(points),
            "}",
            *self._ended(),
        ]
        return self.function(lines), tuple(self.buffers)

    def _ended(self) -> list[str]:
        """The kernel behind this one may put its first stage where the last one may still be read."""
        return [] if self.tile.slices > 1 else ["__syncthreads();"]

    def _shape(self) -> list[str]:
        t = self.tile
        name = "OnCores<" if t.on_cores else f"Exact<{TYPES[self.contraction.dtype]}, "
        numbers = [t.warps_m, t.warps_n, t.slices, t.m, t.n, t.depth]
        return [
            f"typedef {name}{', '.join(map(str, numbers))}> Tile;",
            "Tile::Element *const shared = (Tile::Element *)(netc_shared + PARTS_BYTES);",
        ]

    # stages

    def _stages(self) -> list[str]:
        """The sums of a tile: a loop that fetches a stage, multiplies the one before, and puts the fetched one beside it."""
        c, t = self.contraction, self.tile
        sums = [f"Tile::Sum sums{i}[{t.m}][{t.n}] = {{}};" for i in range(len(c.products))]
        first, stride = "0", "1"
        if c.share is not None:
            first, stride = c.share.axis.name, str(t.parts)
        held, fetched, put = [], [], []
        for i, (operand, side, axes) in enumerate(self.operands):
            held.append(f"{TYPES[c.dtype]} held{i}[{self._count(side)}];")
            fetched += self._fetched(i, operand, side, axes)
            put += self._put(i, operand, side, axes)
        return [
            *sums,
            f"for (index_t stage = {first};; stage += {stride}) {{",
            *indented(held),
            "    const bool more = stage < stages;",
            "    if (more) {",
            *indented(fetched, 2),
            "    }",
            f"    if (stage > {first}) {{",
            *indented(self._multiplied(), 2),
            "    }",
            "    if (!more) break;",
            *indented(put),
            "    __syncthreads();",
            "    turn ^= 1;",
            "}",
        ]

    def _count(self, side: str) -> int:
        """Elements of an operand's stage that one thread fetches."""
        return -(-self._elements(side) // self.tile.threads)

    def _elements(self, side: str) -> int:
        return self.tile.depth * self._side(side)

    def _side(self, side: str) -> int:
        return self.tile.block_m if side == "m" else self.tile.block_n

    def _pitch(self, side: str) -> int:
        return self.tile.pitch(self._side(side))

    def _start(self, number: int) -> int:
        """Where an operand begins in a stage."""
        return sum(self.tile.depth * self._pitch(side) for _, side, _ in self.operands[:number])

    def _placed(self, operand: Expr, side: str, axes: Sequence[Axis]) -> tuple[str, str]:
        """The point and the term of a thread's place: neighbouring threads fetch what lies side by side in memory."""
        along, across = runs_along(operand, axes), runs_along(operand, self.contraction.k)
        points, depth = self._side(side), self.tile.depth
        if _far(along) <= _far(across):
            return f"place % {points}u", f"place / {points}u"
        return f"place / {depth}u", f"place % {depth}u"

    def _each(self, side: str, body: list[str], number: str = "e") -> list[str]:
        """A loop over a thread's places in a stage."""
        partly = self._elements(side) % self.tile.threads != 0
        guard = [f"if (place < {self._elements(side)}u) {{"] if partly else []
        return [
            "#pragma unroll",
            f"for (int {number} = 0; {number} < {self._count(side)}; ++{number}) {{",
            f"    const unsigned int place = {number} * Tile::THREADS + threadIdx.x % Tile::THREADS;",
            *indented(guard),
            *indented(body, 2 if partly else 1),
            *(["    }"] if partly else []),
            "}",
        ]

    def _fetched(self, number: int, operand: Expr, side: str, axes: Sequence[Axis]) -> list[str]:
        point, term = self._placed(operand, side, axes)
        scope = Scope(frozenset(axes) | frozenset(self.contraction.k))
        self.scopes.append(scope)
        value = self.value(operand)
        self.scopes.pop()
        body = [
            f"const index_t {side} = {side}_first + (index_t)({point});",
            f"const index_t k = stage * {self.tile.depth} + (index_t)({term});",
            f"{TYPES[self.contraction.dtype]} value = 0;",
            f"if ({side} < {side}_points && k < terms) {{",
            *indented([*places(axes, side), *places(self.contraction.k, "k")]),
            *indented(scope.lines),
            f"    value = {value};",
            "}",
            f"held{number}[e] = value;",
        ]
        return self._each(side, body)

    def _put(self, number: int, operand: Expr, side: str, axes: Sequence[Axis]) -> list[str]:
        point, term = self._placed(operand, side, axes)
        place = f"{self._where('turn', number)} + Tile::at({term}, {point}, {self._pitch(side)})"
        return self._each(side, [f"shared[{place}] = Tile::element(held{number}[e]);"])

    def _where(self, turn: str, number: int) -> str:
        whole, start = self._start(len(self.operands)), self._start(number)
        return f"{turn} * {whole} + {start}" if start else f"{turn} * {whole}"

    def _multiplied(self) -> list[str]:
        lines = []
        for i, p in enumerate(self.contraction.products):
            left = self._where("(turn ^ 1)", self.number[p.left])
            right = self._where("(turn ^ 1)", self.number[p.right])
            lines.append(f"tile.multiply(sums{i}, shared + {left}, shared + {right});")
        return lines

    def busy(self, threads: int) -> tuple[int, int]:
        """A whole block for each tile; rows are counted through by parts of one."""
        c, each = self.contraction, Fraction(threads)
        for axes, points in ((c.m, self.tile.block_m), (c.n, self.tile.block_n), (c.batch, 1)):
            known = Fraction(prod(int(a.extent) for a in axes if a.extent is not ROWS), points)
            each *= known if any(a.extent is ROWS for a in axes) else ceil(known)
        return (0, ceil(each)) if any(a.extent is ROWS for a in self.kernel.axes) else (ceil(each), 0)

    # epilogue

    def _epilogue(self) -> list[str]:
        """What is done at the points of a tile once their sums are known."""
        if self.tile.slices > 1:
            return self._of_slices()
        return self._of_threads(light=self._weight() <= LIGHT)

    def _weight(self) -> int:
        """Operations at a point besides its sums."""
        found: set[Expr] = {p.total for p in self.contraction.products}
        pending, weight = [s.value for s in self.kernel.stores], 0
        while pending:
            e = pending.pop()
            if e not in found:
                found.add(e)
                weight += COSTS.get(e.op, 1) if isinstance(e, Apply) else 1
                pending.extend(children(e))
        return weight

    def _of_threads(self, *, light: bool) -> list[str]:
        """Every thread stores its own points. Where that is much code it is a loop, which looks for its sum in the registers."""
        c, t, count = self.contraction, self.tile, len(self.contraction.products)
        sums = [f"sums{i}[i][j]" if light else f"total{i}" for i in range(count)]
        row, column = self._at_points(sums)
        rows = [] if light else [f"Tile::Sum row{i}[{t.n}];" for i in range(count)]
        rows += [] if light else [f"take_row(row{i}, sums{i}, i);" for i in range(count)]
        taken = [] if light else [f"const Tile::Sum total{i} = take(row{i}, j);" for i in range(count)]
        unroll = "#pragma unroll" if light else "#pragma unroll 1"
        return [
            "if (threadIdx.x < Tile::THREADS) {",
            f"    {unroll}",
            f"    for (int i = 0; i < {t.m}; ++i) {{",
            "        const index_t m = m_first + tile.row(i);",
            "        if (m < m_points) {",
            *indented([*rows, *places(c.m, "m"), *row.lines], 3),
            f"            {unroll}",
            f"            for (int j = 0; j < {t.n}; ++j) {{",
            "                const index_t n = n_first + tile.column(j);",
            "                if (n < n_points) {",
            *indented([*taken, *places(c.n, "n"), *column.lines], 5),
            "                }",
            "            }",
            "        }",
            "    }",
            "}",
        ]

    def _of_slices(self) -> list[str]:
        """All threads store the points of the block in turn, each sum from what the slices have put into shared memory."""
        c, t = self.contraction, self.tile
        points = t.block_m * t.block_n
        areas = [f"area + {i * t.slices * points}" for i in range(len(c.products))]
        sums = [f"total{i}" for i in range(len(areas))]
        row, column = self._at_points(sums)
        read = [
            f"const Tile::Sum {name} = of_slices<Tile, {t.slices}>({area}, place);"
            for name, area in zip(sums, areas, strict=True)
        ]
        return [
            "Tile::Sum *const area = (Tile::Sum *)shared;",
            "__syncthreads();  // the last stage may still be read",
            *[f"put_slice({area}, tile, sums{i});" for i, area in enumerate(areas)],
            "__syncthreads();",
            f"for (int place = threadIdx.x; place < {points}; place += blockDim.x) {{",
            f"    const index_t m = m_first + place / {t.block_n}, n = n_first + place % {t.block_n};",
            "    if (m < m_points && n < n_points) {",
            *indented([*read, *places(c.m, "m"), *row.lines, *places(c.n, "n"), *column.lines], 2),
            "    }",
            "}",
            "__syncthreads();",
        ]

    def _at_points(self, sums: Sequence[str]) -> tuple[Scope, Scope]:
        """What is computed where the ``m`` axes of a point are known, and where all of them are. sums: how they are called."""
        c = self.contraction
        row, column = Scope(frozenset(c.m)), Scope(frozenset(c.n))
        column.memo |= {p.total: name for p, name in zip(c.products, sums, strict=True)}
        self.scopes += [row, column]
        self.stores()
        del self.scopes[-2:]
        return row, column


def _far(distance: int | None) -> float:
    """How little it helps that neighbouring threads fetch elements at a distance; the same element is as good as near ones."""
    if distance is None:
        return float("inf")
    return 1.5 if distance == 0 else distance


__all__ = ["TileWriter"]
