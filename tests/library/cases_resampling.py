"""Other sizes by interpolation."""

from __future__ import annotations

from .cases import Case, Input, case

GIVEN = {1: Input((2, 3, 5)), 2: Input((2, 2, 4, 5)), 3: Input((2, 1, 3, 2, 4))}
MODES = {1: ["nearest", "linear"], 2: ["nearest", "bilinear", "bicubic"], 3: ["nearest", "trilinear"]}
SIZES = {1: ["8", "3"], 2: ["8", "[3, 7]"], 3: ["4", "[3, 5, 2]"]}

KINDS = {1: "of sequences", 2: "of images", 3: "of volumes"}


def upsampled(dims: int) -> tuple[Case, ...]:
    """Sizes and factors, with the ends aligned where that has a meaning."""
    found = []
    given = GIVEN[dims]
    for mode in MODES[dims]:
        for size in SIZES[dims]:
            torch = f'nn.Upsample(size={size}, mode="{mode}"'
            net = f'upsample({size}, mode = "{mode}"'
            found.append(case(net + ")", torch + ")", given, name=f"{net}) {KINDS[dims]}"))
            if mode != "nearest":
                found.append(case(f"{net}, align_corners = true)", torch + ", align_corners=True)", given))
        for factor in ("2", "1.7"):
            net = f'upsample(scale_factor = {factor}, mode = "{mode}")'
            torch = f'nn.Upsample(scale_factor={factor}, mode="{mode}")'
            found.append(case(net, torch, given, name=f"{net} {KINDS[dims]}"))
    return tuple(found)


CASES: tuple[Case, ...] = (
    *upsampled(1),
    *upsampled(2),
    *upsampled(3),
    case('upsample(7, mode = "nearest-exact")', 'nn.Upsample(7, mode="nearest-exact")', GIVEN[2]),
    case('upsample([3, 7], mode = "area")', 'nn.Upsample([3, 7], mode="area")', GIVEN[2]),
    case("upsample(1, mode = \"bilinear\", align_corners = true)",
         "nn.Upsample(1, mode='bilinear', align_corners=True)", GIVEN[2]),
    case("upsample([1, 3], mode = \"bicubic\")", "nn.Upsample([1, 3], mode='bicubic')", Input((2, 2, 1, 2))),
    case("upsample(scale_factor = [2, 0.5], mode = \"bilinear\")",
         "nn.Upsample(scale_factor=(2, 0.5), mode='bilinear')", GIVEN[2]),
)  # fmt: skip
