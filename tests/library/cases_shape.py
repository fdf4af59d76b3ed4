"""Linear maps, embeddings, and the same elements under other shapes."""

from __future__ import annotations

from .cases import Case, Input, case

IMAGE = Input((2, 4, 3, 5))
LABELS = Input((4, 5), "classes 7")
COLUMNS = Input((2, 12, 6))

CASES: tuple[Case, ...] = (
    case("linear(3)", "nn.Linear(6, 3)"),
    case("linear(6, 3, bias = false)", "nn.Linear(6, 3, bias=False)"),
    case("linear(3)", "nn.Linear(5, 3)", IMAGE, name="linear of images"),
    case("identity", "nn.Identity()"),
    case("flatten", "nn.Flatten()", IMAGE),
    case("flatten(2)", "nn.Flatten(2)", IMAGE),
    case("flatten(1, 2)", "nn.Flatten(1, 2)", IMAGE),
    case("flatten(start_dim = -3, end_dim = -2)", "nn.Flatten(-3, -2)", IMAGE),
    case("unflatten(1, [2, 3])", "nn.Unflatten(1, [2, 3])"),
    case("unflatten(-1, [3, -1])", "nn.Unflatten(-1, [3, -1])"),
    case("unflatten(2, [1, 3])", "nn.Unflatten(2, [1, 3])", IMAGE),
    case("embedding(7, 3)", "nn.Embedding(7, 3)", LABELS),
    case("embedding(7, 3, padding_idx = 2)", "nn.Embedding(7, 3, padding_idx=2)", LABELS),
    case("embedding(7, 3, -1)", "nn.Embedding(7, 3, -1)", LABELS),
    case("embedding(7, 4)", "nn.Embedding(7, 4)", Input((6,), "classes 7"), name="embedding of numbers"),
    case("pixel_shuffle(2)", "nn.PixelShuffle(2)", Input((2, 8, 2, 3))),
    case("pixel_unshuffle(2)", "nn.PixelUnshuffle(2)", Input((2, 3, 4, 6))),
    case("channel_shuffle(2)", "nn.ChannelShuffle(2)", IMAGE),
    case("channel_shuffle(3)", "nn.ChannelShuffle(3)", Input((2, 6, 2, 2)), forward_only=True),
    case("unfold(2)", "nn.Unfold(2)", IMAGE),
    case("unfold([2, 3], padding = 1)", "nn.Unfold([2, 3], padding=1)", IMAGE),
    case("unfold(2, 2, 1, 2)", "nn.Unfold(2, 2, 1, 2)", IMAGE),
    case("fold([3, 4], 2)", "nn.Fold([3, 4], 2)", COLUMNS),
    case("fold([3, 2], [2, 3], padding = [0, 1])", "nn.Fold([3, 2], [2, 3], padding=[0, 1])", Input((2, 12, 4))),
    case("fold([3, 5], 2, 2, 1, 2)", "nn.Fold([3, 5], 2, 2, 1, 2)", COLUMNS),
)  # fmt: skip
