"""``netc new``: a starter that trains as it is, with small data of its own."""

from __future__ import annotations

import math
import random
from pathlib import Path

import click

from ..grammar.diagnostics import CompileError, Diagnostic, Label
from ..grammar.source import Source, Span

REGRESSION = """# {name}: a number from a table's columns. Replace {name}.csv by your own table and name its columns here.

net {name} {{
    input x: [auto]
    linear(32)
    relu
    linear(1)
}}

data {{
    table      = csv("{name}.csv")
    x          = standardize(table["a":"c"])
    target     = standardize(table["y"])
    validation = 0.2
}}

train {{
    loss      = mse_loss()
    optimizer = adam(lr = 1e-2)
    batch     = 32
    epochs    = 60
    metrics   = [r2, mae]
    log_every = 10
}}
"""

CLASSIFICATION = """# {name}: a class from a table's columns. Replace {name}.csv by your own table and name its columns here.

net {name} {{
    input x: [auto]
    linear(32)
    relu
    linear(3)  # as many outputs as there are classes
}}

data {{
    table      = csv("{name}.csv")
    x          = standardize(table["a":"b"])
    target     = categories(table["class"])
    validation = 0.2
}}

train {{
    loss      = cross_entropy_loss()
    optimizer = adam(lr = 1e-2)
    batch     = 32
    epochs    = 60
    metrics   = [accuracy]
    log_every = 10
}}
"""

IMAGES = """# {name}: a class from small images, a row of {name}.csv each: 64 pixels (8 by 8), then the class.

net {name} {{
    input x: [64]
    unflatten(1, [1, 8, 8])
    conv2d(16, 3, padding = 1)
    relu
    max_pool2d(2)
    flatten
    linear(2)  # as many outputs as there are classes
}}

data {{
    table      = csv("{name}.csv")
    x          = table[0:64]
    target     = categories(table["class"])
    validation = 0.2
}}

train {{
    loss      = cross_entropy_loss()
    optimizer = adam(lr = 3e-3)
    batch     = 32
    epochs    = 15
    metrics   = [accuracy]
}}
"""


def _regression(draw: random.Random) -> list[str]:
    rows = ["a,b,c,y"]
    for _ in range(300):
        a, b, c = (draw.gauss(0, 1) for _ in range(3))
        rows.append(f"{a:.4f},{b:.4f},{c:.4f},{3 * a - 2 * b * b + math.sin(2 * c) + draw.gauss(0, 0.2):.4f}")
    return rows


def _classification(draw: random.Random) -> list[str]:
    rows = ["a,b,class"]
    for _ in range(300):
        k = draw.randrange(3)
        angle, radius = 2.1 * k + draw.gauss(0, 0.35), 1 + draw.random()
        rows.append(
            f"{radius * math.cos(angle):.4f},{radius * math.sin(angle):.4f},{('low', 'middle', 'high')[k]}"
        )
    return rows


def _images(draw: random.Random) -> list[str]:
    rows = [",".join([*(f"p{i}" for i in range(64)), "class"])]
    for _ in range(300):
        vertical, place = draw.random() < 0.5, draw.randrange(8)
        pixels = [(i % 8 if vertical else i // 8) == place for i in range(64)]
        values = [f"{max(0.0, p * 0.9 + draw.gauss(0, 0.15)):.2f}" for p in pixels]
        rows.append(",".join([*values, "vertical" if vertical else "horizontal"]))
    return rows


KINDS = {
    "tabular-regression": (REGRESSION, _regression),
    "tabular-classification": (CLASSIFICATION, _classification),
    "images": (IMAGES, _images),
}


@click.command("new")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name", default="starter")
def command(kind: str, name: str) -> None:
    """Write NAME.net and NAME.csv: a program of the KIND that trains as it is."""
    if not name.isidentifier():
        raise click.UsageError(f"NAME is a word of letters, digits and _, not {name}")
    text, rows = KINDS[kind]
    files = {
        Path(f"{name}.net"): text.format(name=name),
        Path(f"{name}.csv"): "\n".join(rows(random.Random(0))) + "\n",
    }
    for path, content in files.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            where = Label(Span(Source(str(path), ""), 0, 0))
            message = f"{path} cannot be written: {error.strerror}"
            raise CompileError(
                (Diagnostic("E0705", message, where, help="choose another name or folder"),)
            ) from None
    click.echo(f"wrote {name}.net and {name}.csv\nnext: netc train {name}.net")
