"""Built-in functions that turn tensors round, put windows back or count on lists, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import netc

X = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)


def output(net: str) -> np.ndarray:
    return np.asarray(netc.compile(source=f"net a {{ input x: [3, 5]; {net} }}").predict(X))


def test_flip_turns_dimensions_round() -> None:
    assert np.array_equal(output("flip(-1)"), X[:, :, ::-1])
    assert np.array_equal(output("flip([1, 2])"), X[:, ::-1, ::-1])


@pytest.mark.parametrize(("size", "stride", "dilation"), [(2, 1, 1), (2, 2, 1), (2, 1, 3), (5, 1, 1)])
def test_folded_windows_count_how_often_an_element_is_seen(size: int, stride: int, dilation: int) -> None:
    windows = f"window(x, 2, {size}, strides = {stride}, dilations = {dilation})"
    got = output(f"return fold_windows({windows}, 2, 5, strides = {stride}, dilations = {dilation})")
    seen = np.zeros(5)
    for start in range(0, 5 - (size - 1) * dilation, stride):
        seen[start + np.arange(size) * dilation] += 1
    assert np.array_equal(got, X * seen)


def test_windows_of_two_dimensions_are_put_back_where_they_came_from() -> None:
    windows = "window(x, [1, 2], [3, 2], strides = [1, 2])"
    got = output(f"return fold_windows({windows}, [1, 2], [3, 5], strides = [1, 2])")
    assert np.array_equal(got, X * [1, 1, 1, 1, 0])


@pytest.mark.parametrize(
    ("net", "code"),
    [
        ("flip(0)", "E0407"),
        ("flip(3)", "E0407"),
        ("fold_windows([0, 1], [4, 4])", "E0407"),
        ("fold_windows(0, 4)", "E0402"),
        ("fold_windows(1, 4)", "E0402"),
        ("fold_windows(1, [7, 2])", "E0303"),
        ("fold_windows(1, 10 ^ 12)", "E0505"),
        ("fold_windows(1, 7, strides = 0)", "E0402"),
        ("reshape([product([1, none])])", "E0303"),
        ("reshape([max([])])", "E0304"),
        ("reshape([sum([3, x])])", "E0303"),
        ("reshape([sum(x.shape)])", "E0405"),
    ],
)
def test_what_does_not_fit_is_told(net: str, code: str) -> None:
    assert [d.code for d in netc.check(f"net a {{ input x: [3, 5]; {net} }}")] == [code]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ('conv2d(2, 3, stride = 2, padding = "same")', "needs a stride of 1"),
        ("conv2d(2, [3, 3, 3])", "a number for each dimension"),
        ('conv2d(2, 3, padding = 9, padding_mode = "reflect")', "smaller than the dimension"),
        ('conv2d(2, 3, padding_mode = "mirror")', "zeros, reflect, replicate or circular"),
        ("conv2d(3, 3, groups = 2)", "out_channels must be divisible by groups"),
        ("conv_transpose2d(2, 3, output_padding = 1)", "smaller than stride or dilation"),
        ("max_pool2d(3, padding = 2)", "at most half of kernel_size"),
        ("max_pool2d(3, stride = 0)", "stride must be positive"),
        ("avg_pool1d(3)", "[n, channels, ...]"),
    ],
)
def test_layers_of_windows_say_what_they_need(stage: str, message: str) -> None:
    (found,) = netc.check(f"net a {{ input x: [2, 6, 6]; {stage} }}")
    assert message in found.message
