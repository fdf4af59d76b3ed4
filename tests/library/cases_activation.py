"""Activations: elementwise functions, gates and softmax."""

from __future__ import annotations

from .cases import Case, Input, case

IMAGE = Input((2, 6, 3, 4))
CASES: tuple[Case, ...] = (
    case("relu", "nn.ReLU()"),
    case("gelu", "nn.GELU()"),
    case('gelu(approximate = "tanh")', 'nn.GELU("tanh")'),
    case("softmax", "nn.Softmax(-1)"),
    case("softmax(1)", "nn.Softmax(1)", IMAGE),
)
