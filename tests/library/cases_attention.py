"""Attention and transformer encoders."""

from __future__ import annotations

from .cases import Case, Input, case

SEQUENCE = Input((3, 5, 8))
ENCODER = "nn.TransformerEncoderLayer(8, 2, 12, batch_first=True{})"
WAVES = "torch.stack([f(torch.arange(5.0)[:, None].double() / 10000 ** (torch.arange(0, 8, 2) / 8)) for f in (torch.sin, torch.cos)], 2)"


def encoder(net: str, torch: str, *, draws: bool = False) -> Case:
    """Without dropout unless it draws: what falls out differs from torch's."""
    return case(net, torch, SEQUENCE, draws=draws, bound=1e-4)


CASES = (
    case("multihead_attention(2)", "Attention(8, 2)", SEQUENCE),
    case("multihead_attention(8, 4)", "Attention(8, 4)", SEQUENCE),
    case("multihead_attention(2, bias = false)", "Attention(8, 2, bias=False)", SEQUENCE),
    case("multihead_attention(2, causal = true)", "Attention(8, 2, causal=True)", SEQUENCE),
    case("multihead_attention(2, dropout = 0.3)", "Attention(8, 2, dropout=0.3)", SEQUENCE, draws=True),
    encoder("transformer_encoder_layer(2, dim_feedforward = 12)", ENCODER.format(""), draws=True),
    encoder("transformer_encoder_layer(2, dim_feedforward = 12, dropout = 0)", ENCODER.format(", dropout=0")),
    encoder(
        'transformer_encoder_layer(8, 2, dim_feedforward = 12, dropout = 0, norm_first = true, activation = "gelu")',
        ENCODER.format(', dropout=0, norm_first=True, activation="gelu"'),
    ),
    encoder(
        "transformer_encoder_layer(2, dim_feedforward = 12, dropout = 0, bias = false)",
        ENCODER.format(", dropout=0, bias=False"),
    ),
    encoder(
        "transformer_encoder(2, 2, dim_feedforward = 12, dropout = 0)",
        f"nn.TransformerEncoder({ENCODER.format(', dropout=0')}, 2, enable_nested_tensor=False)",
    ),
    case("sinusoidal_encoding", f"lambda x: x + {WAVES}.flatten(1)", SEQUENCE),
    case("learned_encoding", "Learned(5, 8)", SEQUENCE),
)
