"""Parts of a model by position or name, and what there is of its inputs.

In: a ``Model``. Out: its parameters under paths as in torch (``model[0].bias``), gradients by the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .tensors import Parameter

if TYPE_CHECKING:
    from .model import Model

Array = NDArray[Any]


class Module:
    """A part of a model: its parameters and further parts by position or name."""

    def __init__(self, model: Model, path: str) -> None:
        self._model, self._path = model, path

    def __getitem__(self, key: int | str) -> Module:
        prefix = f"{self._path}.{key}" if self._path else str(key)
        known = [layer.path for layer in self._model.network.layers] + list(self._model._parameters)
        if not any(p == prefix or p.startswith(prefix + ".") for p in known):
            raise (IndexError if isinstance(key, int) else KeyError)(
                f"{self._model.network.name} has no part `{prefix}`"
            )
        return Module(self._model, prefix)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        path = f"{self._path}.{name}" if self._path else name
        found = self._model._parameters.get(path)
        if found is not None:
            return found
        try:
            return self[name]
        except (KeyError, IndexError):
            raise AttributeError(f"{self._model.network.name} has no `{path}`") from None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of this part, by path within it."""
        prefix = self._path + "."
        return {n.removeprefix(prefix): p for n, p in self._model._parameters.items() if n.startswith(prefix)}

    def __repr__(self) -> str:
        rows = [
            f"{x.path}  {x.name}"
            for x in self._model.network.layers
            if (x.path + ".").startswith(self._path + ".")
        ]
        return "\n".join(rows)

    def __iter__(self) -> Iterator[Module]:
        raise TypeError("a part of a model is not iterable; use .parameters()")


class InputGradients:
    """Gradients with respect to the inputs."""

    def __init__(self, gradients: Mapping[str, Array]) -> None:
        self._gradients = gradients

    @property
    def grad(self) -> Array | None:
        return next(iter(self._gradients.values()), None)

    def __getitem__(self, name: str) -> Array:
        return self._gradients[name]


__all__ = ["InputGradients", "Module"]
