"""The arrays a model hands out: parameters with gradients, outputs and losses that can go backward.

In: NumPy views and callables of the model. Out: ``ndarray`` subclasses, so that all of NumPy works on them; what
NumPy computes from them are plain results without history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class Parameter(np.ndarray[Any, np.dtype[Any]]):
    """A view of one parameter in the model's memory: writing to it changes the model.

    ``grad`` is None until a backward pass reached it, then an array of the same shape, to which further backward
    passes add. ``path`` is its name in ``state_dict`` (``0.weight``).
    """

    grad: Array | None
    path: str

    @classmethod
    def view_of(cls, array: Array, path: str) -> Self:
        parameter = array.view(cls)
        parameter.path = path
        return parameter

    def __array_finalize__(self, source: Any) -> None:
        self.grad = None
        self.path = getattr(source, "path", "")

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self:
            return self
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


class Recorded(np.ndarray[Any, np.dtype[Any]]):
    """A result that remembers how to go backward; arithmetic on it gives plain arrays that do not."""

    _backward: Callable[[Array], None] | None

    @classmethod
    def record(cls, array: Array, backward: Callable[[Array], None]) -> Self:
        result = np.asarray(array).view(cls)
        result._backward = backward
        return result

    def __array_finalize__(self, source: Any) -> None:
        self._backward = None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def backward(self, gradient: ArrayLike | None = None) -> None:
        """Adds to the gradients of all parameters, given the gradient of something with respect to this array.

        gradient: of this array's shape; may be left out for a single element, where it is 1.

        Raises ValueError without a gradient for several elements, or with one of another shape.
        """
        if self._backward is None:
            raise ValueError("this array was computed by NumPy from a model's result and has no history")
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"backward() needs a gradient of shape {self.shape}: only a single element has a default of 1"
                )
            gradient = np.ones(self.shape, self.dtype)
        cotangent = np.asarray(gradient, dtype=self.dtype)
        if cotangent.shape != self.shape:
            raise ValueError(f"the gradient has shape {cotangent.shape}, the result {self.shape}")
        self._backward(cotangent)


class Output(Recorded):
    """What calling a model returns: the network's output, one row an observation."""


class Loss(Recorded):
    """What ``model.loss`` returns: a scalar, or an array where the reduction is none."""
