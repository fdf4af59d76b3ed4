"""What a conformance case is: a piece of the language, the same in torch, and the arrays both are given.

A family is a module ``cases_NAME.py`` with a tuple ``CASES``; its reference values lie in ``reference/NAME.safetensors``
and are made by ``make_references.py``. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
REFERENCES = HERE / "reference"


@dataclass(frozen=True, slots=True)
class Input:
    """An array that is given. shape: with the rows, as torch sees it.

    kind: how it is drawn. ``normal``; ``uniform`` in (0, 1); ``positive`` in (0.2, 2); ``probabilities`` sum to 1 along
    dimension 1; ``distinct`` has no two elements nearly equal; ``binary`` 0 or 1; ``signs`` -1 or 1; ``edges`` huge, tiny
    and zero numbers of both signs; ``nan`` has some; ``classes N`` whole numbers below N; ``values a b ...`` these
    numbers in turn, ``whole a b ...`` the same as int64.
    """

    shape: tuple[int, ...] = (5, 6)
    kind: str = "normal"
    name: str = "x"

    @property
    def dtype(self) -> str:
        return "int64" if self.kind.split()[0] in ("classes", "whole") else "float"

    @property
    def differentiable(self) -> bool:
        """Whether torch is asked for its gradient: choices have none."""
        return self.dtype == "float" and self.kind not in ("binary", "signs")


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the library with one choice of arguments.

    net: what stands in the net behind its inputs: stages, or ``return`` of an expression. torch: a Python expression over
    ``torch``, ``nn`` and ``F`` that gives a module or a function of the inputs. entry: the definition that is tested, by
    default the first name of ``net`` behind a ``return``. bound and exact: of the float32 and the float64 runs, relative to the largest element,
    or to each that is above 1 with ``elementwise``. draws: random in training, so only evaluation is compared. kinks: the derivative jumps
    within the data, so differences say nothing. forward_only: derivatives are not compared.
    """

    name: str
    net: str
    torch: str
    inputs: tuple[Input, ...] = (Input(),)
    entry: str = ""
    bound: float = 2e-5
    exact: float = 1e-9
    elementwise: bool = False
    draws: bool = False
    kinks: bool = False
    forward_only: bool = False

    @property
    def tested(self) -> str:
        """The library's definition that this case is about."""
        found = re.search(r"\w+", self.net.removeprefix("return "))
        return self.entry or (found.group() if found else "")

    @property
    def source(self) -> str:
        """The program."""
        lines = [
            f"    input {i.name}: {list(i.shape[1:])}" + (": int64" if i.dtype == "int64" else "")
            for i in self.inputs
        ]
        return "\n".join(["net case {", *lines, "    " + self.net, "}", ""])


def case(net: str, torch: str, *inputs: Input, name: str = "", **rest: object) -> Case:
    """A case named after its net."""
    return Case(name or net.removeprefix("return "), net, torch, inputs or (Input(),), **rest)  # type: ignore[arg-type]


def families() -> dict[str, tuple[Case, ...]]:
    """Every family by name, in the order of their files."""
    names = sorted(p.stem.removeprefix("cases_") for p in HERE.glob("cases_*.py"))
    package = __package__ or "library"
    return {n: import_module(f"{package}.cases_{n}").CASES for n in names}
