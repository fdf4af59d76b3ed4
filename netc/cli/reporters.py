"""What training looks like: a live line on a terminal, plain lines elsewhere, JSON lines, or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from ..model import Model
from ..training import EpochRow, History

BARS = "▁▂▃▄▅▆▇█"


class Reporter(Protocol):
    def begin(self, epochs: int) -> None:
        """Before the first epoch."""

    def epoch(self, row: EpochRow) -> None:
        """After each epoch."""

    def close(self) -> None:
        """Gives the terminal back before an error is printed."""

    def end(self, folder: Path, status: str, history: History) -> None:
        """After everything was written."""


def make_reporter(model: Model, quiet: bool, as_json: bool) -> Reporter:
    if as_json:
        return JsonLines()
    if quiet:
        return Silent()
    return Live(model) if sys.stdout.isatty() else Lines(model)


class Silent:
    def begin(self, epochs: int) -> None: ...

    def epoch(self, row: EpochRow) -> None: ...

    def close(self) -> None: ...

    def end(self, folder: Path, status: str, history: History) -> None: ...


class JsonLines(Silent):
    def epoch(self, row: EpochRow) -> None:
        record = {"epoch": row.epoch, "loss": row.loss, "validation_loss": row.validation_loss, **row.metrics}
        click.echo(json.dumps(record))


class Lines:
    """The shape table, a line every ``log_every`` epochs, and where everything was written."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.every = model.plan.log_every if model.plan else 1
        self.epochs = 0
        self.started = time.perf_counter()

    def begin(self, epochs: int) -> None:
        self.epochs = epochs
        click.echo(self.model.summary() + "\n")

    def epoch(self, row: EpochRow) -> None:
        if row.epoch % self.every == 0 or row.epoch == self.epochs:
            click.echo(line(row, self.epochs))

    def close(self) -> None: ...

    def end(self, folder: Path, status: str, history: History) -> None:
        self.close()
        seconds = f" in {time.perf_counter() - self.started:.2f} s"
        best = " and best.safetensors" if (folder / "best.safetensors").exists() else ""
        click.echo(f"\n{status}{seconds}; wrote {folder}/last.safetensors{best}, history.csv, run.json")
        if status in ("interrupted", "stopped"):
            click.echo(f"go on with: netc train --resume {folder}")
        elif status != "diverged":
            click.echo(f"next: netc predict {folder} DATA.csv")


class Live(Lines):
    """One line that is rewritten, besides the lines that stay."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.losses: list[float] = []
        self.live: Any = None

    def begin(self, epochs: int) -> None:
        from rich.live import Live as RichLive

        super().begin(epochs)
        self.started = time.perf_counter()
        self.live = RichLive(refresh_per_second=10, transient=True)
        self.live.start()

    def epoch(self, row: EpochRow) -> None:
        self.losses.append(row.loss)
        if row.epoch % self.every == 0 or row.epoch == self.epochs:
            self.live.console.print(line(row, self.epochs), highlight=False)
        spent = time.perf_counter() - self.started
        left = spent / len(self.losses) * (self.epochs - row.epoch)
        self.live.update(f"{line(row, self.epochs)}  {left:.0f} s left  {sparkline(self.losses)}")

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def line(row: EpochRow, epochs: int) -> str:
    """``epoch  10  loss 180.921  validation 1.23  accuracy 0.9700``."""
    parts = [f"epoch {row.epoch:>{len(str(epochs))}}", f"loss {row.loss:.6g}"]
    if row.validation_loss is not None:
        parts.append(f"validation {row.validation_loss:.6g}")
    parts += [f"{name} {value:.4f}" for name, value in row.metrics.items()]
    return "  ".join(parts)


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The last part of a curve in block characters, lowest to highest."""
    shown = list(values)[-width:]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((v - low) * scale)] for v in shown)
