"""``netc train --replicas N``: N networks side by side, a run folder with one for each, and a table of how they ended.

In: the first model and the run's options. Out: ``replica-000`` and so on, each a run as one alone leaves behind, beside
``summary.csv``, ``run.json`` and ``best.safetensors``, the best weights of the best replica.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import __version__
from ..devices import plan_of
from ..grammar.diagnostics import CompileError
from ..model import Model
from ..replicas import Replicas, replica_name
from ..runs import refuse, restore, save_best, settings
from ..runtime.artifact import DIVERGED, EXHAUSTED, FINISHED
from ..runtime.checkpoint import write_atomically
from ..runtime.rundir import write_json
from ..side_by_side import Team
from ..training import EpochRow, History
from .reporters import duration
from .train import CODES, SAVE_SECONDS, Options, Record, stored, with_way_back

SHOWN = 20
"""Replicas of the table that is printed; the file has all."""
LOOK_SECONDS = 0.1
"""How often to see whether the replicas that are left have all done an epoch."""
FINAL = ("early stop", "diverged")
"""How a run ended that has nothing more to do, however many epochs are asked for."""


def train_replicas(
    model: Model, options: Options, folder: Path, resume: bool, quiet: bool, as_json: bool
) -> int:
    """Trains all to the end or an interruption, saves, and gives the exit code."""
    assert options.replicas is not None
    replicas = Replicas.of_seeds(model, options.replicas)
    team = Team(
        replicas.models,
        epochs=options.epochs,
        batch=options.batch,
        threads=options.threads,
        spread=plan_of(options.plan),
    )
    run = _Run(folder, replicas, team, options)
    try:
        if resume:
            run.restore()
        return run.carry_out(_Printer(run, quiet, as_json))
    except CompileError as error:
        raise with_way_back(error, folder) from None


class _Run:
    """The files of all replicas, and their training."""

    def __init__(self, folder: Path, replicas: Replicas, team: Team, options: Options) -> None:
        self.folder, self.team, self.options = folder, team, options
        self.model = replicas[0]
        self.folders = [folder / replica_name(i) for i in range(len(replicas))]
        self.records = [
            Record(place, model, trainer, replace(options, seed=model.seed, replicas=1))
            for place, model, trainer in zip(self.folders, replicas, team.trainers, strict=True)
        ]
        self.locks = [threading.Lock() for _ in self.records]
        self.started = time.time()

    def restore(self) -> None:
        """Brings every replica to where it stood; one that was never saved begins anew. Raises CompileError (E0704)."""
        found = len(settings(self.folder)["replicas"])
        if found != len(self.records):
            raise refuse(self.folder, f"the run had {found} replicas, now there are {len(self.records)}")
        for i, (place, record) in enumerate(zip(self.folders, self.records, strict=True)):
            if not (place / "last.safetensors").exists():
                continue
            restore(place, record.model, record.trainer)
            status = settings(place).get("status")
            if status in FINAL:
                self.team.over[i] = str(status)

    def carry_out(self, printer: _Printer) -> int:
        self.write("running", ["running"] * len(self.records))
        for place, record in zip(self.folders, self.records, strict=True):
            place.mkdir(exist_ok=True)
            record.begin()
        printer.begin()

        def on_epoch(number: int, row: EpochRow) -> None:
            with self.locks[number]:
                self.records[number].epoch(row)
            printer.epoch(number, row)

        try:
            histories = self.team.run(on_epoch, on_save=self.save, save_seconds=SAVE_SECONDS)
            statuses = [h.status for h in histories]
            status = "finished" if any(s != "diverged" for s in statuses) else "diverged"
        except KeyboardInterrupt:
            histories = [t.outcome(0.0) for t in self.team.trainers]
            statuses = [self.team.over.get(i, _interrupted(h)) for i, h in enumerate(histories)]
            status = "interrupted"
        written = self.end(status, statuses)
        printer.end(status, self.table(histories, statuses), statuses, written, histories)
        return CODES.get(status, 0)

    def save(self, number: int) -> None:
        with self.locks[number]:
            self.records[number].save("running")

    def write(self, status: str, statuses: Sequence[str]) -> None:
        """run.json of the whole."""
        write_json(self.folder / "run.json", {
            "netc": __version__, "status": status,
            "options": stored(self.options),
            "started": self.started, "seconds": time.time() - self.started,
            "replicas": [{"folder": p.name, "seed": r.model.seed, "status": s}
                         for p, r, s in zip(self.folders, self.records, statuses, strict=True)],
        })  # fmt: skip

    def end(self, status: str, statuses: Sequence[str]) -> list[str]:
        """The last save of all and of the best; gives the names of what was written."""
        for record, own in zip(self.records, statuses, strict=True):
            record.finish(own)
        self.write(status, statuses)
        written = [f"{self.folder / replica_name(0)} to {self.folders[-1].name}"]
        number = self.best(statuses)
        if number is not None:
            places = [self.folder / "best.safetensors"]
            if self.model.plan and self.model.plan.save and self.model.folder is not None:
                places.append(self.model.folder / self.model.plan.save)
            for place in places:
                save_best(place, self.records[number].model, self.team.trainers[number])
            written += map(str, places)
        return [*written, str(self.folder / "summary.csv"), str(self.folder / "run.json")]

    def best(self, statuses: Sequence[str]) -> int | None:
        """The replica with the best epoch, among those that have not diverged where there are such."""
        found = [t.native.double("best") for t in self.team.trainers]
        finite = [i for i, value in enumerate(found) if np.isfinite(value)]
        sound = [i for i in finite if statuses[i] != "diverged"]
        return min(sound or finite, key=lambda i: found[i], default=None)

    def table(self, histories: Sequence[History], statuses: Sequence[str]) -> list[list[Any]]:
        """A line for each replica, the head first; written as summary.csv."""
        metrics = self.records[0].metrics
        head = [
            "replica",
            "seed",
            "status",
            "epochs",
            "loss",
            "validation_loss",
            *metrics,
            "best_epoch",
            "best_loss",
        ]
        lines: list[list[Any]] = [head]
        for i, history in enumerate(histories):
            last = history.rows[-1] if history.rows else EpochRow(0, float("nan"), None, {})
            best = self.team.trainers[i].native.double("best")
            lines.append([
                i, self.records[i].model.seed, statuses[i], last.epoch, last.loss if last.epoch else None,
                last.validation_loss, *(last.metrics.get(m) for m in metrics),
                history.best_epoch if last.epoch else None, best if np.isfinite(best) else None,
            ])  # fmt: skip
        text = "".join(",".join("" if c is None else str(c) for c in line) + "\n" for line in lines)
        write_atomically(self.folder / "summary.csv", text.encode())
        return lines


def _interrupted(history: History) -> str:
    return "interrupted" if history.status == "stopped" else history.status


class _Printer:
    """A line for an epoch when all replicas have done it or have ended; a table at the end."""

    def __init__(self, run: _Run, quiet: bool, as_json: bool) -> None:
        self.run, self.quiet, self.as_json = run, quiet, as_json
        trainers = run.team.trainers
        self.epochs = trainers[0].epochs
        self.every = run.model.plan.log_every if run.model.plan else 1
        self.rows: dict[int, dict[int, EpochRow]] = {}
        self.done = [0] * len(trainers)
        self.shown = 0
        self.looked = 0.0
        self.started = time.perf_counter()

    def begin(self) -> None:
        if not self.quiet and not self.as_json:
            seeds = [r.model.seed for r in self.run.records]
            click.echo(
                f"{self.run.model.summary()}\n\n{len(seeds)} replicas, seeds {seeds[0]} to {seeds[-1]}\n"
            )
        self.started = time.perf_counter()

    def epoch(self, number: int, row: EpochRow) -> None:
        self.done[number] = row.epoch
        self.rows.setdefault(row.epoch, {})[number] = row
        now = time.perf_counter()
        if len(self.rows[row.epoch]) == len(self.done) or now - self.looked > LOOK_SECONDS:
            self.looked = now
            self._show(min((d for i, d in enumerate(self.done) if not self._over(i)), default=max(self.done)))

    def _over(self, number: int) -> bool:
        """Whether no further epoch will come of it."""
        native = self.run.team.trainers[number].native
        ended = native.get("status") in (DIVERGED, EXHAUSTED, FINISHED) or number in self.run.team.over
        return ended and self.done[number] >= native.get("epoch")

    def _show(self, until: int) -> None:
        while self.shown < until:
            self.shown += 1
            rows = self.rows.pop(self.shown, {})
            if not rows or self.quiet:
                continue
            if self.as_json:
                click.echo(json.dumps(self._record(rows)))
            elif self.shown % self.every == 0 or self.shown == self.epochs:
                click.echo(self._line(list(rows.values())))

    def _record(self, rows: dict[int, EpochRow]) -> dict[str, Any]:
        """The numbers of every replica in order, null for one that has ended."""
        names = ["loss", "validation_loss", *self.run.records[0].metrics]
        found: dict[str, Any] = {"epoch": self.shown}
        for name in names:
            each = [rows.get(i) for i in range(len(self.done))]
            found[name] = [None if r is None else _value(r, name) for r in each]
        return found

    def _line(self, rows: list[EpochRow]) -> str:
        """``epoch  10  loss 1.2 median, 0.9 best  validation 1.3 median, 1.0 best``."""
        parts = [f"epoch {self.shown:>{len(str(self.epochs))}}"]
        for name, title in (("loss", "loss"), ("validation_loss", "validation")):
            values = [v for r in rows if (v := _value(r, name)) is not None]
            if values:
                parts.append(f"{title} {np.median(values):.6g} median, {min(values):.6g} best")
        parts += [f"{m} {np.median([r.metrics[m] for r in rows]):.4f} median" for m in rows[0].metrics]
        if len(rows) < len(self.done):
            parts.append(f"{len(rows)} of {len(self.done)}")
        return "  ".join(parts)

    def end(
        self, status: str, table: list[list[Any]], statuses: Sequence[str], written: list[str],
        histories: Sequence[History],
    ) -> None:  # fmt: skip
        self._show(max(self.done))
        if self.as_json or self.quiet:
            return
        click.echo("\n" + "\n".join(_aligned(table)))
        for i, history in enumerate(histories):
            if history.problem:
                click.echo(f"replica {i}: {history.problem}")
        seconds = duration(time.perf_counter() - self.started)
        counts = {s: statuses.count(s) for s in dict.fromkeys(statuses)}
        ended = ", ".join(f"{n} {s}" for s, n in counts.items())
        click.echo(f"\n{len(statuses)} replicas, {seconds}: {ended}")
        click.echo("wrote " + "\n      ".join(written))
        folder = self.run.folder
        if status == "interrupted":
            click.echo(f"go on with: netc train --resume {folder}")
        elif status != "diverged":
            click.echo(
                f"next: netc predict {folder} DATA.csv  or  netc eval {folder}, with the best replica's weights"
            )


def _value(row: EpochRow, name: str) -> float | None:
    known = {"loss": row.loss, "validation_loss": row.validation_loss, **row.metrics}
    return known.get(name)


def _aligned(table: list[list[Any]]) -> list[str]:
    """The table in columns: all of it, or the replicas with the best losses; columns that are empty are left out."""
    head, *lines = table
    shown = lines
    if len(lines) > SHOWN:
        shown = sorted(lines, key=lambda line: float("inf") if line[-1] is None else line[-1])[:SHOWN]
    kept = [i for i in range(len(head)) if any(line[i] is not None for line in lines)]
    cells = [
        [f"{line[i]:.6g}" if isinstance(line[i], float) else "" if line[i] is None else str(line[i]) for i in kept]
        for line in (head, *shown)
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in cells) for i in range(len(kept))]
    texts = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in cells]
    rest = len(lines) - len(shown)
    return [*texts, *([f"and {rest} more in summary.csv"] if rest else [])]


__all__ = ["train_replicas"]
