"""Convolutions and transposed convolutions of sequences, images and volumes."""

from __future__ import annotations

from .cases import Case, Input, case

GIVEN = {1: Input((2, 4, 7)), 2: Input((2, 4, 5, 4)), 3: Input((2, 2, 3, 4, 3))}
SMALL = {1: Input((3, 4, 5)), 2: Input((2, 4, 3, 2)), 3: Input((2, 2, 2, 1, 3))}
KERNELS = {1: "3", 2: "[3, 2]", 3: "[2, 3, 2]"}
CHOICES = {
    "bias = false": "bias=False",
    "stride = 2, padding = 1": "stride=2, padding=1",
    "dilation = 2, padding = 2": "dilation=2, padding=2",
    "groups = 2": "groups=2",
    'padding = "same", dilation = 2': "padding='same', dilation=2",
    'padding = "valid"': "padding='valid'",
    'padding = 1, padding_mode = "reflect"': "padding=1, padding_mode='reflect'",
    'padding = 2, padding_mode = "replicate"': "padding=2, padding_mode='replicate'",
    'padding = "same", padding_mode = "circular"': "padding='same', padding_mode='circular'",
}
TRANSPOSED = {
    "bias = false": "bias=False",
    "stride = 2, padding = 1": "stride=2, padding=1",
    "stride = 2, padding = 1, output_padding = 1": "stride=2, padding=1, output_padding=1",
    "stride = 3, output_padding = 2": "stride=3, output_padding=2",
    "dilation = 2": "dilation=2",
    "groups = 2, stride = 2": "groups=2, stride=2",
}


def cases(net: str, torch: str, kernel: str, given: Input, choices: dict[str, str]) -> tuple[Case, ...]:
    """The defaults, and each choice of arguments."""
    channels = given.shape[1]
    found = [case(f"{net}(4, {kernel})", f"{torch}({channels}, 4, {kernel})", given)]
    found += [
        case(f"{net}(4, {kernel}, {a})", f"{torch}({channels}, 4, {kernel}, {b})", given)
        for a, b in choices.items()
    ]
    return tuple(found)


def convolved(dims: int) -> tuple[Case, ...]:
    """By name and by position."""
    net, torch, given = f"conv{dims}d", f"nn.Conv{dims}d", GIVEN[dims]
    positions = f"{given.shape[1]}, 4, 2, 2, 1, 1, 2, "
    by_position = case(f"{net}({positions}false)", f"{torch}({positions}False)", given)
    return (*cases(net, torch, KERNELS[dims], given, CHOICES), by_position)


def transposed(dims: int) -> tuple[Case, ...]:
    """By name and by position."""
    net, torch, given = f"conv_transpose{dims}d", f"nn.ConvTranspose{dims}d", SMALL[dims]
    positions = f"{given.shape[1]}, 4, 3, 2, 1, 1, 2, "
    by_position = case(f"{net}({positions}false, 2)", f"{torch}({positions}False, 2)", given)
    return (*cases(net, torch, KERNELS[dims], given, TRANSPOSED), by_position)


CASES: tuple[Case, ...] = (
    *convolved(1),
    *convolved(2),
    *convolved(3),
    case("conv2d(6, 1)", "nn.Conv2d(4, 6, 1)", GIVEN[2]),
    case("conv2d(3, [5, 4])", "nn.Conv2d(4, 3, [5, 4])", GIVEN[2]),
    case(
        "conv2d(4, 3, stride = [2, 1], padding = [0, 2])",
        "nn.Conv2d(4, 4, 3, stride=[2, 1], padding=[0, 2])",
        GIVEN[2],
    ),
    case('conv1d(8, 4, padding = "same")', "nn.Conv1d(4, 8, 4, padding='same')", GIVEN[1]),
    case("conv1d(8, 3, groups = 4)", "nn.Conv1d(4, 8, 3, groups=4)", GIVEN[1]),
    case("conv2d(8, 3, padding = 1, groups = 4)", "nn.Conv2d(4, 8, 3, padding=1, groups=4)", GIVEN[2]),
    *transposed(1),
    *transposed(2),
    *transposed(3),
    case("conv_transpose1d(8, 3, groups = 4)", "nn.ConvTranspose1d(4, 8, 3, groups=4)", SMALL[1]),
    case(
        "conv_transpose2d(2, [2, 3], stride = [2, 1], padding = [0, 1], output_padding = [1, 0])",
        "nn.ConvTranspose2d(4, 2, [2, 3], stride=[2, 1], padding=[0, 1], output_padding=[1, 0])",
        SMALL[2],
    ),
)
