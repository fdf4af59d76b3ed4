"""A run on disk: what is saved at any moment, and how it goes on from there with the same bits.

``last.safetensors`` holds parameters and buffers under torch's names, optimizer states under ``optimizer.``, and the
cursor, the statistics of the running epoch and the history under ``run.``. ``best.safetensors`` holds weights only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .api import take_weights
from .grammar.diagnostics import CompileError, Diagnostic, Label
from .grammar.source import Source, Span
from .model import Model
from .runtime.artifact import SLOT
from .runtime.checkpoint import load, save
from .runtime.cpu import view
from .training import Trainer
from .weights import metadata

Array = NDArray[Any]
CURSOR = ("epoch", "row", "step", "loss_sum", "best", "best_epoch", "seed")


def save_run(folder: Path, model: Model, trainer: Trainer) -> None:
    """Writes last and best weights, each whole or not at all."""
    about = metadata(model)
    tensors: dict[str, Array] = dict(model.state_dict())
    for name, array in model.memory.views.items():
        if name.startswith("state."):
            tensors["optimizer." + name.removeprefix("state.")] = np.array(array)
    tensors["run.cursor"] = np.array([trainer.native.control[SLOT[n]] for n in CURSOR])
    tensors["run.history"] = trainer.history[: trainer.native.get("epoch")].copy()
    tensors["run.size"] = np.array([trainer.rows, trainer.batch, trainer.epochs], np.int64)
    if np.isfinite(trainer.native.double("best")):
        save(folder / "best.safetensors", best_weights(model, trainer), about)
    save(folder / "last.safetensors", tensors, about)


def save_best(path: Path, model: Model, trainer: Trainer) -> None:
    """Writes the best weights so far to a place of their own; the present ones when no epoch has ended."""
    if not np.isfinite(trainer.native.double("best")):
        trainer.best[...] = model.memory.block
    save(path, best_weights(model, trainer), metadata(model))


def best_weights(model: Model, trainer: Trainer) -> dict[str, Array]:
    """Parameters (averaged ones, where the program wants that) and buffers after the best epoch, by their names."""
    return {n: np.array(v, order="C") for n, v in _best_views(model, trainer).items()}


def _best_views(model: Model, trainer: Trainer) -> dict[str, Array]:
    views = {x.name: view(trainer.best, x, x.fixed) for x in model.memory.layouts}
    averages = model.averages()
    return {n: views[averages.get(place, place)] for n, place in model.places().items()}


def refuse(folder: Path, message: str, help: str = "") -> CompileError:
    """The error (E0704) for a run that cannot go on."""
    where = Label(Span(Source(str(folder), ""), 0, 0))
    return CompileError((Diagnostic("E0704", message, where, help=help),))


def settings(folder: Path) -> dict[str, Any]:
    """The settings a run was started with; raises CompileError (E0704) where there is none."""
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise refuse(
            folder, f"{folder} is no run that could be resumed", "name a folder such as runs/NAME-001"
        ) from None
    several = isinstance(found, dict) and isinstance(found.get("replicas"), list)
    if not isinstance(found, dict) or not (several or (folder / "last.safetensors").exists()):
        raise refuse(folder, f"{folder} holds no last.safetensors to go on from")
    return found


def restore(folder: Path, model: Model, trainer: Trainer) -> None:
    """Brings model and trainer to where the run stood; raises CompileError when the program or data have changed."""
    tensors, about = load(folder / "last.safetensors")
    if about.get("source") != model.program.source.text:
        raise refuse(
            folder, "the program has changed since the run was started", "start a new run, or undo the change"
        )
    if "run.cursor" not in tensors:
        raise refuse(folder, f"{folder}/last.safetensors holds weights alone")
    rows, batch, _ = (int(v) for v in tensors["run.size"])
    if (rows, batch) != (trainer.rows, trainer.batch):
        raise refuse(
            folder, f"the run had {rows} rows in batches of {batch}, now {trainer.rows} in {trainer.batch}"
        )
    done = int(tensors["run.cursor"][CURSOR.index("epoch")])
    if done > trainer.epochs:
        raise refuse(
            folder, f"the run has done {done} epochs, more than {trainer.epochs}", "ask for more --epochs"
        )
    take_weights(model, folder / "last.safetensors", tensors)
    for name, array in tensors.items():
        if name.startswith("optimizer."):
            model.memory.views["state." + name.removeprefix("optimizer.")][...] = array
    for name, value in zip(CURSOR, tensors["run.cursor"], strict=True):
        trainer.native.control[SLOT[name]] = value
    history = tensors["run.history"]
    trainer.history[: len(history)] = history[: len(trainer.history)]
    best = folder / "best.safetensors"
    if best.exists():
        weights, _ = load(best)
        for name, place in _best_views(model, trainer).items():
            if name in weights:
                place[...] = weights[name]
