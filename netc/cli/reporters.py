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

REFRESH_SECONDS = 0.1
BARS = "▁▂▃▄▅▆▇█"
MEANINGS = {
    "early stop": "stopped early, validation no longer improves",
    "diverged": "stopped, the loss is not finite",
}


class Reporter(Protocol):
    def begin(self, epochs: int) -> None:
        """Before the first epoch."""

    def epoch(self, row: EpochRow) -> None:
        """After each epoch."""

    def close(self) -> None:
        """Gives the terminal back before anything else is printed."""

    def end(self, folder: Path, status: str, history: History, written: list[str]) -> None:
        """After everything was written."""


def make_reporter(model: Model, rows: int, quiet: bool, as_json: bool) -> Reporter:
    """rows: how many there are in an epoch."""
    if as_json:
        return JsonLines()
    if quiet:
        return Silent()
    return Live(model, rows) if sys.stdout.isatty() else Lines(model, rows)


class Silent:
    def begin(self, epochs: int) -> None: ...

    def epoch(self, row: EpochRow) -> None: ...

    def close(self) -> None: ...

    def end(self, folder: Path, status: str, history: History, written: list[str]) -> None: ...


class JsonLines(Silent):
    def epoch(self, row: EpochRow) -> None:
        record = {"epoch": row.epoch, "loss": row.loss, "validation_loss": row.validation_loss, **row.metrics}
        click.echo(json.dumps(record))


class Lines:
    """The shape table, a line every ``log_every`` epochs, what was written and what to do next."""

    def __init__(self, model: Model, rows: int) -> None:
        self.model, self.rows = model, rows
        self.every = model.plan.log_every if model.plan else 1
        self.epochs = 0
        self.row: EpochRow | None = None
        self.started = time.perf_counter()

    def begin(self, epochs: int) -> None:
        self.epochs = epochs
        click.echo(self.model.summary() + "\n")
        self.started = time.perf_counter()

    def epoch(self, row: EpochRow) -> None:
        self.row = row
        if row.epoch % self.every == 0 or row.epoch == self.epochs:
            self.stay(line(row, self.epochs))

    def stay(self, text: str) -> None:
        click.echo(text)

    def close(self) -> None: ...

    def end(self, folder: Path, status: str, history: History, written: list[str]) -> None:
        self.close()
        epoch = self.row.epoch if self.row is not None else 0
        if self.row is not None and epoch % self.every and epoch != self.epochs:
            click.echo(line(self.row, self.epochs))
        seconds = duration(time.perf_counter() - self.started)
        best = f", best epoch {history.best_epoch}" if 0 < history.best_epoch < epoch else ""
        click.echo(f"\n{MEANINGS.get(status, status)} after epoch {epoch} of {self.epochs}, {seconds}{best}")
        click.echo("wrote " + "\n      ".join(written))
        if status in ("interrupted", "stopped"):
            click.echo(f"go on with: netc train --resume {folder}")
        elif status != "diverged":
            click.echo(f"next: netc predict {folder} DATA.csv  or  netc eval {folder}")


class Live(Lines):
    """One line that is rewritten some times a second, below the lines that stay."""

    def __init__(self, model: Model, rows: int) -> None:
        super().__init__(model, rows)
        self.losses: list[float] = []
        self.waiting: list[str] = []
        self.shown = 0.0
        self.live: Any = None

    def begin(self, epochs: int) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        super().begin(epochs)
        self.live = RichLive(console=Console(highlight=False), auto_refresh=False, transient=True)
        self.live.start()

    def epoch(self, row: EpochRow) -> None:
        self.losses.append(row.loss)
        super().epoch(row)
        if time.perf_counter() - self.shown > REFRESH_SECONDS:
            self._show()

    def stay(self, text: str) -> None:
        self.waiting.append(text)

    def _show(self) -> None:
        from rich.text import Text

        if self.live is None or self.row is None:
            return
        if self.waiting:
            self.live.console.print(Text("\n".join(self.waiting)), soft_wrap=True)
            self.waiting = []
        done, spent = len(self.losses), max(time.perf_counter() - self.started, 1e-9)
        rest = progress(done, self.epochs - self.row.epoch, self.rows, spent)
        text = f"{line(self.row, self.epochs)}  {rest}  {sparkline(self.losses)}"
        self.live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)
        self.shown = time.perf_counter()

    def close(self) -> None:
        if self.live is not None:
            self._show()
            self.live.stop()
            self.live = None


def line(row: EpochRow, epochs: int) -> str:
    """``epoch  10  loss 180.921  validation 1.23  accuracy 0.9700``."""
    parts = [f"epoch {row.epoch:>{len(str(epochs))}}", f"loss {row.loss:.6g}"]
    if row.validation_loss is not None:
        parts.append(f"validation {row.validation_loss:.6g}")
    parts += [f"{name} {value:.4f}" for name, value in row.metrics.items()]
    return "  ".join(parts)


def progress(done: int, left: int, rows: int, spent: float) -> str:
    """``12.3k rows/s  40 s left`` from the epochs done in so many seconds and those to do."""
    rate = done * rows / spent
    shown = f"{rate / 1e6:.1f}M" if rate >= 1e6 else f"{rate / 1e3:.1f}k" if rate >= 1e3 else f"{rate:.0f}"
    return f"{shown} rows/s  {duration(spent / done * left)} left"


def duration(seconds: float) -> str:
    """``0.42 s``, ``37 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """A curve in block characters, lowest to highest; a long one by every n-th of its values and the last."""
    step = -(-len(values) // width) or 1
    shown = [v for v in list(values)[::-1][::step][::-1] if v == v and abs(v) != float("inf")]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((v - low) * scale)] for v in shown)
