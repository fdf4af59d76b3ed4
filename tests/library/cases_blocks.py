"""Blocks, each against the same written in torch (``blocks_in_torch.py``)."""

from __future__ import annotations

from .cases import Case, Input, case

IMAGE = Input((3, 4, 5, 4))
WIDE = Input((3, 8, 4, 4))
SEQUENCE = Input((2, 4, 7))
TOKENS = Input((3, 4, 5))

CASES: tuple[Case, ...] = (
    case("conv_norm(6, 3, stride = 2)", "nn.Sequential(blocks.conv_norm(4, 6, 3, 2))", IMAGE),
    case("bottleneck(2)", "blocks.Bottleneck(8, 2)", WIDE, bound=1e-4),
    case("bottleneck(2)", "blocks.Bottleneck(4, 2)", IMAGE, name="bottleneck with projection", bound=1e-4),
    case("bottleneck(2, stride = 2)", "blocks.Bottleneck(8, 2, 2)", WIDE, bound=1e-4),
    case(
        "bottleneck(2, groups = 2, base_width = 32, dilation = 2)",
        "blocks.Bottleneck(8, 2, 1, 2, 32, 2)",
        WIDE,
        bound=1e-4,
    ),
    case("squeeze_excitation(2)", "blocks.SqueezeExcitation(4, 2)", IMAGE),
    case(
        "depthwise_separable_conv2d(6, 3, padding = 1)",
        "blocks.DepthwiseSeparable(4, 6, 3, 1, 1)",
        IMAGE,
    ),
    case(
        "depthwise_separable_conv2d(4, 6, 3, 2, 1, 2, bias = false)",
        "blocks.DepthwiseSeparable(4, 6, 3, 2, 1, 2, bias=False)",
        IMAGE,
    ),
    case("inverted_residual(4)", "blocks.InvertedResidual(4, 4)", IMAGE, bound=1e-4),
    case("inverted_residual(6, stride = 2, expand_ratio = 2)", "blocks.InvertedResidual(4, 6, 2, 2)", IMAGE,
         bound=1e-4),
    case("inverted_residual(4, expand_ratio = 1)", "blocks.InvertedResidual(4, 4, 1, 1)", IMAGE, bound=1e-4),
    case("mlp([7, 3])", "blocks.MLP(6, [7, 3], nn.ReLU())"),
    case(
        'mlp([4, 7, 2], activation = "gelu", bias = false)',
        "blocks.MLP(5, [4, 7, 2], nn.GELU(), bias=False)",
        TOKENS,
    ),
    case('mlp([4], activation = "silu", dropout = 0.5)', "blocks.MLP(6, [4], nn.SiLU(), 0.5)", draws=True),
    case('mlp([4, 3], activation = "tanh")', "blocks.MLP(6, [4, 3], nn.Tanh())"),
    case("tcn_block(4, 3, dropout = 0)", "blocks.TCNBlock(4, 4, 3, p=0)", SEQUENCE),
    case("tcn_block(6, 2, dilation = 3, dropout = 0)", "blocks.TCNBlock(4, 6, 2, 3, 0)", SEQUENCE),
    case("tcn_block(4, 3)", "blocks.TCNBlock(4, 4, 3)", SEQUENCE, draws=True),
    case("mixer_block(tokens_dim = 3, channels_dim = 7)", "blocks.MixerBlock(4, 5, 3, 7)", TOKENS),
    case("patch_embedding(3, 2)", "blocks.PatchEmbedding(4, 3, 2)", Input((2, 4, 4, 6))),
    case(
        "patch_embedding(3, [2, 3], class_token = true)",
        "blocks.PatchEmbedding(4, 3, (2, 3), True)",
        Input((2, 4, 4, 6)),
    ),
)  # fmt: skip
