"""What a weights file says of its network, and whether saved tensors fit one: every difference at once.

In: the shapes a network has and those a file or a dictionary gives. Out: ``Misfit`` records, as lines of a ValueError
for Python, as diagnostics E0701 and E0702 for files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .grammar.diagnostics import CompileError, Diagnostic, Label
from .grammar.source import Source, Span
from .grammar.suggest import closest

if TYPE_CHECKING:
    from .model import Model

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Misfit:
    """code is E0701 for a name that is missing or not expected, E0702 for a shape."""

    code: str
    message: str
    help: str = ""


def misfits(wanted: Shapes, given: Shapes) -> list[Misfit]:
    """Everything about the given tensors that is not as the network wants it."""
    missing = [n for n in wanted if n not in given]
    extra = [n for n in given if n not in wanted]
    found = [Misfit("E0701", f"missing: {n} {list(wanted[n])}", _guess(n, extra)) for n in missing]
    found += [Misfit("E0701", f"unexpected: {n} {list(given[n])}", _guess(n, missing)) for n in extra]
    found += [
        Misfit("E0702", f"{n} has shape {list(given[n])}, the network has {list(wanted[n])}")
        for n in wanted
        if n in given and tuple(given[n]) != tuple(wanted[n])
    ]
    return found


def _guess(name: str, others: list[str]) -> str:
    guess = closest(name, others)
    return f"did you mean `{guess}`?" if guess else ""


def check_weights(path: Path, network: str, wanted: Shapes, given: Shapes) -> None:
    """Raises CompileError with a diagnostic for names and one for shapes when a file does not fit."""
    found = misfits(wanted, given)
    where = Label(Span(Source(str(path), ""), 0, 0))
    diagnostics = []
    for code, what in (("E0701", "parameters of other names"), ("E0702", "parameters of other shapes")):
        lines = tuple(m.message for m in found if m.code == code)
        advice = next((m.help for m in found if m.code == code and m.help), "")
        if lines:
            message = f"{path} does not fit the network `{network}`: {what}"
            notes = lines if len(lines) <= 12 else (*lines[:12], f"and {len(lines) - 12} more")
            diagnostics.append(Diagnostic(code, message, where, notes=notes, help=advice))
    if diagnostics:
        raise CompileError(tuple(diagnostics))


def metadata(model: Model) -> dict[str, str]:
    """What a weights file tells besides weights: the program, its settings, how data were scaled."""
    found = {
        "source": model.program.source.text,
        "source_sha256": hashlib.sha256(model.program.source.text.encode()).hexdigest(),
        "name": model.program.source.name,
        "dtype": model.program.dtype.value,
        "constants": json.dumps(dict(model.program.definitions.constants)),
        "widths": json.dumps({s.name: list(s.shape) for s in model.network.inputs}),
    }
    if model.program.asked is not None:
        found["precision"] = model.program.asked.value
    if model.folder is not None:
        found["folder"] = str(model.folder)
    scalers = {n: [s.shift.tolist(), s.scale.tolist()] for n, s in model.scalers.items()}
    for name, value in (("scalers", scalers), ("classes", model.classes), ("columns", model.columns)):
        if value:
            found[name] = json.dumps(value)
    return found
