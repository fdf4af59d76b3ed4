"""Dropout in evaluation, and where it has nothing to draw; what it draws is tested in ``test_dropout.py``."""

from __future__ import annotations

from .cases import Case, Input, case

ROWS, SEQUENCE = Input((4, 6)), Input((3, 4, 5))
IMAGE, VOLUME = Input((2, 3, 4, 3)), Input((2, 3, 2, 3, 2))
CASES: tuple[Case, ...] = (
    case("dropout", "nn.Dropout()", ROWS, draws=True),
    case("dropout(0.2)", "nn.Dropout(0.2)", IMAGE, draws=True),
    case("dropout(0)", "nn.Dropout(0)", ROWS),
    case("dropout(1)", "nn.Dropout(1)", ROWS),
    case("dropout1d", "nn.Dropout1d()", SEQUENCE, draws=True),
    case("dropout2d(0.3)", "nn.Dropout2d(0.3)", IMAGE, draws=True),
    case("dropout2d(1)", "nn.Dropout2d(1)", IMAGE),
    case("dropout3d", "nn.Dropout3d()", VOLUME, draws=True),
    case("alpha_dropout", "nn.AlphaDropout()", ROWS, draws=True),
    case("alpha_dropout(0)", "nn.AlphaDropout(0)", ROWS),
    case("alpha_dropout(1)", "nn.AlphaDropout(1)", ROWS),
    case("feature_alpha_dropout(0.1)", "nn.FeatureAlphaDropout(0.1)", IMAGE, draws=True),
)
