"""Models that are trained side by side: of one program with different seeds, or with different constants.

In: a model and a number, or settings and what makes a model of each. Out: ``Replicas``, a sequence of ``Model``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import devices
from .arrays import as_seed
from .compiler.elaborate.training import MOST_REPLICAS
from .model import Model
from .runtime.cuda.plans import Plan
from .side_by_side import OnEpoch, Team
from .training import History

Array = NDArray[Any]
Settings = Mapping[str, Any]
SEEDS = 2**63


def checked_replicas(given: Any) -> int | list[dict[str, Any]]:
    """A number of replicas, or a list with the settings of each; raises ValueError for anything else."""
    wanted = (
        f"replicas is a whole number from 1 to {MOST_REPLICAS}, or a list of settings such as {{'lr': 0.01}}"
    )
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if not 1 <= int(given) <= MOST_REPLICAS:
            raise ValueError(f"{wanted}, not {given}")
        return int(given)
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise ValueError(f"{wanted}, not {given!r}")
    if not 1 <= len(given) <= MOST_REPLICAS:
        raise ValueError(f"{wanted}; the list has {len(given)}")
    for i, settings in enumerate(given):
        if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
            raise ValueError(f"{wanted}; number {i} of the list is {settings!r}")
    return [dict(settings) for settings in given]


class Replicas(Sequence[Model]):
    """Models in an order. ``settings``: what each was made with, its seed and the constants that were set for it alone.
    ``histories``: of the last ``fit``."""

    def __init__(self, models: Sequence[Model], settings: Sequence[Settings]) -> None:
        self.models, self.settings = list(models), [dict(s) for s in settings]
        self.histories: list[History] = []

    @classmethod
    def of_seeds(cls, model: Model, count: int) -> Replicas:
        """The model and others with the seeds that follow its own. Raises CompileError (E0505) where there is no memory for
        so many."""
        size = len(model.memory.block)
        devices.expect_memory(model, f"making {count:,} replicas", (count - 1) * size)
        seeds = [(model.seed + i) % SEEDS for i in range(count)]
        return cls([model, *(model.replica(seed) for seed in seeds[1:])], [{"seed": s} for s in seeds])

    @classmethod
    def of_settings(
        cls, make: Callable[[Settings, int | None], Model], settings: Sequence[Settings], seed: int | None
    ) -> Replicas:
        """A model for each of the settings; those whose constants are equal share one compiled program. make: the model of a
        program with other constants and of a seed. All have the same seed, but for those with a ``seed`` of their own.

        Raises CompileError for constants that the program does not have."""
        models: list[Model] = []
        found: list[tuple[Settings, Model]] = []
        for given in settings:
            constants = {n: v for n, v in given.items() if n != "seed"}
            own = as_seed(given["seed"]) if "seed" in given else seed
            like = next((m for known, m in found if _same(known, constants)), None)
            if like is None:
                model = make(constants, own)
                if found:
                    _share_rows(model, found[0][1])
                found.append((constants, model))
            else:
                model = like.replica(default_seed(like) if own is None else own)
            models.append(model)
        told = [{**given, "seed": m.seed} for given, m in zip(settings, models, strict=True)]
        return cls(models, told)

    # a sequence

    def __len__(self) -> int:
        return len(self.models)

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> Replicas: ...

    def __getitem__(self, index: int | slice) -> Model | Replicas:
        if not isinstance(index, slice):
            return self.models[index]
        part = Replicas(self.models[index], self.settings[index])
        part.histories = self.histories[index]
        return part

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __repr__(self) -> str:
        lines = [
            f"{i:>{len(str(len(self)))}}  " + "  ".join(f"{n} {v}" for n, v in s.items())
            for i, s in enumerate(self.settings)
        ]
        shown = lines if len(lines) <= 12 else [*lines[:10], f"and {len(lines) - 10} more"]
        return "\n".join([f"{len(self)} replicas of {self.models[0].network.name}", *shown])

    # running

    def fit(
        self,
        *arrays: ArrayLike,
        epochs: int | None = None,
        batch: int | str | None = None,
        validation: tuple[Any, ...] | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        on_epoch: OnEpoch | None = None,
        threads: int | None = None,
        plan: Plan | str | None = None,
    ) -> list[History]:
        """Trains all in place and returns the ``History`` of each. Arguments are those of ``Model.fit``, but for these:

        seed: of the first run's shuffling and dropout, the others have those that follow; by default each has its model's.
        on_epoch: called with a replica's number and its ``EpochRow``. threads: how many are trained at once on the CPU, by
        default one for each processor core; results do not depend on it. On a CUDA device each is a block of one launch where the
        network is small, or else ``plan`` is ``grid`` and they are trained one after the other.

        A replica whose loss is not finite ends alone, with ``status`` "diverged". KeyboardInterrupt stops all after their
        present steps and is raised again. Raises CompileError (E0505) when the memory is too small for all, ValueError for
        arrays and settings that do not fit.
        """
        seeds = None
        if seed is not None:
            first = as_seed(seed)
            seeds = [(first + i) % SEEDS for i in range(len(self))]
        for model in {id(m.network): m for m in self}.values():
            model.expect_run(arrays, validation, epochs=epochs, batch=batch, threads=threads)
        team = Team(
            self.models, arrays, validation, epochs=epochs, batch=batch, shuffle=shuffle, seeds=seeds,
            threads=threads, spread=devices.plan_of(plan),
        )  # fmt: skip
        try:
            self.histories = team.run(on_epoch)
        finally:
            team.take_averages()
        return self.histories

    def best(self, by: str | None = None, *, highest: bool = False) -> Model:
        """The model that ended with the lowest loss in the last ``fit``: of validation where there is one. by: ``loss``,
        ``validation_loss`` or a metric's name. highest: the largest in place of the lowest. Diverged replicas do not count.

        Raises ValueError before ``fit``, when all have diverged, and for a name that there is not."""
        found = {
            i: self._final(h, by) for i, h in enumerate(self.histories) if h.rows and h.status != "diverged"
        }
        finite = {i: value for i, value in found.items() if np.isfinite(value)}
        if not finite:
            raise ValueError("no replica has been trained to a finite loss")
        return self.models[max(finite, key=lambda i: finite[i] if highest else -finite[i])]

    @staticmethod
    def _final(history: History, by: str | None) -> float:
        row = history.rows[-1]
        known = {"loss": row.loss, **row.metrics}
        if row.validation_loss is not None:
            known["validation_loss"] = row.validation_loss
        name = by or ("validation_loss" if "validation_loss" in known else "loss")
        if name not in known:
            raise ValueError(f"the runs have {', '.join(known)}, not {name}")
        return known[name]

    def predict(self, *inputs: ArrayLike, **named: ArrayLike) -> Array:
        """The outputs of all in evaluation mode, ``[replica, row, ...]``; raises ValueError where their shapes differ."""
        found = [model.predict(*inputs, **named) for model in self]
        if len({a.shape for a in found}) > 1:
            raise ValueError("the replicas' outputs differ in shape: call predict of each")
        return np.stack(found)

    def evaluate(self, *arrays: ArrayLike) -> list[dict[str, float]]:
        """Loss and metrics of each, as ``Model.evaluate`` gives them."""
        return [model.evaluate(*arrays) for model in self]

    def to(self, device: str) -> Replicas:
        """All compute on ``cpu`` or ``cuda`` from now on."""
        for model in self:
            model.to(device)
        return self

    def cuda(self) -> Replicas:
        return self.to(devices.CUDA)

    def cpu(self) -> Replicas:
        return self.to(devices.CPU)

    def save(self, folder: str | Path) -> None:
        """Writes ``replica-000.safetensors`` and so on into a folder, each as ``Model.save`` does."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for i, model in enumerate(self):
            model.save(place / f"{replica_name(i)}.safetensors")


def replica_name(number: int) -> str:
    """What a replica's files are called."""
    return f"replica-{number:03d}"


def default_seed(model: Model) -> int:
    """The seed of a model whose caller gave none."""
    return model.plan.seed % SEEDS if model.plan is not None else 0


def _same(a: Settings, b: Settings) -> bool:
    """Whether constants are equal; True and 1 are not."""
    kinds = {n: type(v) for n, v in a.items()} == {n: type(v) for n, v in b.items()}
    return kinds and dict(a) == dict(b)


def _share_rows(model: Model, like: Model) -> None:
    """Lets go of a model's copy of the rows where another one has the same."""
    mine, other = model.data, like.data
    if mine is not None and other is not None and _equal(mine.training, other.training):
        both = mine.validation is not None and other.validation is not None
        if (both and _equal(mine.validation, other.validation)) or mine.validation is other.validation:
            model.data = other


def _equal(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


__all__ = ["Replicas", "checked_replicas", "replica_name"]
