"""Activations: elementwise functions, gates and softmax."""

from __future__ import annotations

from .cases import Case, Input, case

IMAGE = Input((2, 6, 3, 4))
EDGES = Input((4, 4), "edges")
NAN = Input((4, 6), "nan")
PLAIN = {
    "relu": "nn.ReLU()",
    "relu6": "nn.ReLU6()",
    "leaky_relu": "nn.LeakyReLU()",
    "leaky_relu(0.2)": "nn.LeakyReLU(0.2)",
    "rrelu": "nn.RReLU()",
    "rrelu(0.1, 0.4)": "nn.RReLU(0.1, 0.4)",
    "prelu": "nn.PReLU()",
    "elu": "nn.ELU()",
    "elu(0.5)": "nn.ELU(0.5)",
    "selu": "nn.SELU()",
    "celu": "nn.CELU()",
    "celu(alpha = 2.5)": "nn.CELU(2.5)",
    "gelu": "nn.GELU()",
    'gelu(approximate = "tanh")': 'nn.GELU("tanh")',
    "silu": "nn.SiLU()",
    "mish": "nn.Mish()",
    "hardswish": "nn.Hardswish()",
    "hardsigmoid": "nn.Hardsigmoid()",
    "hardtanh": "nn.Hardtanh()",
    "hardtanh(-0.3, max_val = 2)": "nn.Hardtanh(-0.3, 2)",
    "hardshrink": "nn.Hardshrink()",
    "hardshrink(0.2)": "nn.Hardshrink(0.2)",
    "softshrink": "nn.Softshrink()",
    "softshrink(0.2)": "nn.Softshrink(0.2)",
    "tanhshrink": "nn.Tanhshrink()",
    "softplus": "nn.Softplus()",
    "softplus(2, threshold = 1)": "nn.Softplus(2, 1)",
    "softsign": "nn.Softsign()",
    "sigmoid": "nn.Sigmoid()",
    "log_sigmoid": "nn.LogSigmoid()",
    "tanh": "nn.Tanh()",
    "threshold(0.1, 20)": "nn.Threshold(0.1, 20)",
    "glu": "nn.GLU()",
    "softmax": "nn.Softmax(-1)",
    "softmin": "nn.Softmin(-1)",
    "log_softmax": "nn.LogSoftmax(-1)",
}


def plain(net: str, torch: str) -> tuple[Case, ...]:
    """Ordinary numbers; huge, tiny and zero ones; and NaN."""
    draws = net.startswith("rrelu")
    exact = (
        1e-7 if net == "hardsigmoid" else 1e-9
    )  # torch differentiates with the float32 number nearest to 1/6
    return (
        case(net, torch, draws=draws, exact=exact),
        case(
            net, torch, EDGES, name=f"{net} at edges", elementwise=True, kinks=True, draws=draws, exact=exact
        ),
        case(net, torch, NAN, name=f"{net} of NaN", elementwise=True, forward_only=True, draws=draws),
    )


CASES: tuple[Case, ...] = (
    *(found for net, torch in PLAIN.items() for found in plain(net, torch)),
    case("prelu(6)", "nn.PReLU(6)"),
    case("prelu(6, init = 0.1)", "nn.PReLU(6, 0.1)", IMAGE),
    case("glu(1)", "nn.GLU(1)", IMAGE),
    case("glu(dim = -2)", "nn.GLU(-2)", Input((2, 4, 3))),
    case("softmax(1)", "nn.Softmax(1)", IMAGE),
    case("softmax(dim = -2)", "nn.Softmax(-2)", IMAGE),
    case("softmax2d", "nn.Softmax2d()", IMAGE),
    case("softmin(1)", "nn.Softmin(1)", IMAGE),
    case("log_softmax(1)", "nn.LogSoftmax(1)", IMAGE),
    case("relu", "nn.ReLU()", IMAGE, name="relu of images"),
)
