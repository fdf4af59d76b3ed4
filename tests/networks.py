"""Random networks as programs: a strategy for hypothesis.

Out: texts of ``.net`` programs of few layers whose extents are odd: 1, 2, 3, 5, 17, 33, images of unequal sides, strides
and paddings that leave remainders, residual and concatenated branches, several dimensions normalised at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
EXTENTS = (1, 2, 3, 5, 8, 17, 33)
SIDES = (1, 2, 3, 5, 7, 9, 12)
CHANNELS = (1, 2, 3, 4, 6, 16, 17)
PLAIN = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu(0.2)", "softplus", "layer_norm", "dropout(0.3)",
         "softmax", "log_softmax", "elu")  # fmt: skip


class Writer:
    """Writes one stage after another and keeps the shape of an observation."""

    def __init__(self, draw: Draw, shape: tuple[int, ...]) -> None:
        self.draw, self.shape = draw, shape

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def stages(self, count: int, depth: int = 0) -> list[str]:
        lines: list[str] = []
        for _ in range(count):
            lines += self.stage(depth)
        return lines

    def stage(self, depth: int) -> list[str]:
        kinds = ["plain", "dense", "plain"] + ["residual", "concat"] * (depth == 0)
        if len(self.shape) == 3:
            kinds += ["conv", "conv", "conv", "pool", "batch_norm2d", "flatten"]
        if len(self.shape) == 1:
            kinds += ["batch_norm1d"]
        return list(getattr(self, "_" + self.choose(kinds))(depth))

    def _plain(self, depth: int) -> list[str]:
        return [self.choose(PLAIN)]

    def _dense(self, depth: int) -> list[str]:
        out = self.choose(EXTENTS)
        self.shape = (*self.shape[:-1], out)
        return [f"linear({out}, bias = {self.choose(['true', 'false'])})"]

    def _batch_norm1d(self, depth: int) -> list[str]:
        return ["batch_norm1d"]

    def _batch_norm2d(self, depth: int) -> list[str]:
        return ["batch_norm2d"]

    def _flatten(self, depth: int) -> list[str]:
        self.shape = (self.shape[0] * self.shape[1] * self.shape[2],)
        return ["flatten"]

    def _conv(self, depth: int) -> list[str]:
        channels = self.shape[0]
        kernel = [self.choose((1, 2, 3, 5)) for _ in range(2)]
        stride = [self.choose((1, 1, 2, 3)) for _ in range(2)]
        dilation = [self.choose((1, 1, 2)) for _ in range(2)]
        padding = [self.choose((0, 1, 2)) for _ in range(2)]
        groups = self.choose([g for g in (1, 1, 2, 3, channels) if channels % g == 0])
        sides = self.slid(kernel, stride, padding, dilation)
        if min(sides) < 1:
            return []
        out = groups * self.choose((1, 2, 3, 8))
        self.shape = (out, *sides)
        return [
            f"conv2d({out}, {kernel}, stride = {stride}, padding = {padding}, dilation = {dilation}, "
            f"groups = {groups}, bias = {self.choose(['true', 'false'])})"
        ]

    def _pool(self, depth: int) -> list[str]:
        kernel = [self.choose((1, 2, 3)) for _ in range(2)]
        stride = [self.choose((1, 2, 3)) for _ in range(2)]
        padding = [self.choose((0, k // 2)) for k in kernel]
        sides = self.slid(kernel, stride, padding, [1, 1])
        if min(sides) < 1:
            return []
        self.shape = (self.shape[0], *sides)
        return [f"{self.choose(['max', 'avg'])}_pool2d({kernel}, stride = {stride}, padding = {padding})"]

    def slid(
        self, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]
    ) -> list[int]:
        """Height and width after a window has slid over the image."""
        return [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(self.shape[1:], kernel, stride, padding, dilation, strict=True)
        ]

    def _residual(self, depth: int) -> list[str]:
        inner = Writer(self.draw, self.shape)
        lines = inner.stages(self.choose((1, 2)), depth + 1)
        if inner.shape != self.shape:
            return []
        return ["residual {", *lines, "}"] if lines else []

    def _concat(self, depth: int) -> list[str]:
        branches = []
        for _ in range(2):
            inner = Writer(self.draw, self.shape)
            lines = inner.stages(1, depth + 1)
            if inner.shape[1:] != self.shape[1:]:
                return []
            branches.append((lines, inner.shape[0]))
        if not all(lines for lines, _ in branches):
            return []
        self.shape = (sum(width for _, width in branches), *self.shape[1:])
        blocks = [["branch {", *lines, "}"] for lines, _ in branches]
        return ["concat(1) {", *blocks[0], *blocks[1], "}"]


@st.composite
def programs(draw: Draw) -> str:
    """A network of up to six stages over rows, sequences or images."""
    kind = draw(st.sampled_from(["rows", "sequence", "image", "image"]))
    side = st.sampled_from(SIDES)
    if kind == "rows":
        shape: tuple[int, ...] = (draw(st.sampled_from(EXTENTS)),)
    elif kind == "sequence":
        shape = (draw(side), draw(st.sampled_from(EXTENTS)))
    else:
        shape = (draw(st.sampled_from(CHANNELS)), draw(side), draw(side))
    writer = Writer(draw, shape)
    lines = writer.stages(draw(st.integers(1, 6)))
    return "\n".join(["net random {", f"    input x: {list(shape)}", *(lines or ["identity"]), "}", ""])
