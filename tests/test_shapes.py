"""Embeddings as they begin and train, and what layers that change shapes refuse."""

from __future__ import annotations

import numpy as np
import pytest

import netc

WORDS = """
net words { input x: [4]: int64; embed: embedding(50, 40, padding_idx = 3); flatten; linear(1) }
train { loss = mse_loss(); optimizer = sgd(lr = 0.1); epochs = 3 }
"""


def test_embeddings_begin_normal_and_their_padding_as_zeros() -> None:
    weight = netc.compile(source=WORDS, seed=3).state_dict()["embed.weight"]
    assert not weight[3].any()
    others = np.delete(weight, 3, axis=0)
    assert abs(others.mean()) < 0.1
    assert others.std() == pytest.approx(1, abs=0.1)


def test_training_leaves_the_padding_and_what_does_not_occur() -> None:
    model = netc.compile(source=WORDS, seed=3)
    before = {n: a.copy() for n, a in model.state_dict().items()}
    rng = np.random.default_rng(1)
    x = rng.integers(0, 40, (30, 4))
    x[:, 0] = 3
    model.fit(x, rng.standard_normal((30, 1)))
    after = model.state_dict()["embed.weight"]
    changed = (after != before["embed.weight"]).any(axis=1)
    assert set(np.flatnonzero(changed)) == set(np.unique(x)) - {3}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("flatten(4)", "the index is out of range"),
        ("flatten(3, 2)", "start_dim must not lie behind end_dim"),
        ("flatten(0)", "the number of observations is not known when compiling"),
        ("unflatten(-5, [2, 2])", "the index is out of range"),
        ("unflatten(1, [3, 3])", "cannot be reshaped"),
        ("pixel_shuffle(3)", "divisible by upscale_factor squared"),
        ("pixel_unshuffle(5)", "divisible by downscale_factor"),
        ("channel_shuffle(3)", "divisible by groups"),
        ("fold([4, 4], 2)", "[n, channels * taps, positions]"),
        ("upsample", "either size or scale_factor"),
        ("upsample(3, 2)", "either size or scale_factor"),
        ('upsample(3, mode = "linear")', "fit the input"),
        ("upsample(3, align_corners = true)", "needs linear or cubic"),
        ("embedding(3, 4)", "an input of int64"),
    ],
)
def test_layers_of_shapes_say_what_they_need(stage: str, message: str) -> None:
    (found,) = netc.check(f"net a {{ input x: [4, 6, 6]; {stage} }}")
    assert message in found.message
