"""Whatever the text, netc answers with diagnostics or takes the program, and soon.

NETC_FUZZ=10000 sets the number of spoiled programs. A case that takes more than two seconds of processor time fails.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from mutations import mutated

import netc
from netc.grammar.diagnostics import Diagnostic
from netc.grammar.format import format_source
from netc.grammar.render import render

ROOT = Path(__file__).parent.parent
PROGRAMS = [
    p.read_text(encoding="utf-8")
    for top in ("examples", "tests/reference")
    for p in sorted((ROOT / top).glob("*.net"))
]
CASES = int(os.environ.get("NETC_FUZZ", "700"))
PARTS = 10
SECONDS = 2.0


@contextmanager
def limited() -> Iterator[None]:
    """Stops what runs longer than it may, by the processor's clock."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def checked(text: str) -> list[Diagnostic]:
    with limited():
        found = netc.check(text + "\n")
    assert all(d.code and d.message and d.primary for d in found)
    assert render(found) or not found
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_spoiled_programs_give_diagnostics(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    taken = 0
    for seed in range(part, CASES, PARTS):
        rng = random.Random(seed)
        text = mutated(rng, rng.choice(PROGRAMS))
        try:
            found = checked(text)
            if not found:
                taken += 1
                once = format_source(text)
                assert format_source(once) == once
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}\n{text}") from error
    assert 0 < taken < CASES / PARTS


NET = "net a {{ input x: [3]; {} }}"
HOSTILE = {
    "sizes": (NET.format("linear(1000000000)"), "E0505"),
    "sizes that multiply": (NET.format("linear(40000); linear(40000); linear(40000)"), "E0505"),
    "a size beyond words": (NET.format("linear(10 ^ 30)"), "E0304"),
    "an input": ("net a { input x: [100000, 100000]; flatten; linear(1) }", "E0505"),
    "padding": ("net a { input x: [1, 8, 8]; conv2d(4, 3, padding = 10 ^ 9); flatten; linear(1) }", "E0505"),
    "classes": (NET.format("y = one_hot(x, 10 ^ 9); linear(1)"), "E0505"),
    "rows": (NET.format("linear(1)") + "\ndata { x = randn(10 ^ 9, 3); target = randn(10 ^ 9, 1) }", "E0505"),
    "copies": (NET.format("repeat 5000 { linear(3) }"), "E0505"),
    "copies of copies": (NET.format("repeat 5000 { repeat 5000 { repeat 5000 { relu } } }"), "E0505"),
    "copies of nothing": (NET.format("repeat 5000 { repeat 5000 { repeat 5000 { } } }"), "E0505"),
    "too many copies": (NET.format("repeat 10 ^ 9 { relu }"), "E0304"),
    "lists that double": (NET.format("l0 = [1]; " + "; ".join(f"l{i + 1} = l{i} + l{i}" for i in range(60)) + "; relu"), "E0505"),
    "numbers that square": (NET.format("b0 = 3; " + "; ".join(f"b{i + 1} = b{i} * b{i}" for i in range(60)) + "; relu"), "E0304"),
    "a tower of powers": (NET.format("linear(9 ^ 9 ^ 9 ^ 9)"), "E0304"),
    "calls without end": ("fn f(x) = f(x)\n" + NET.format("f"), "E0204"),
    "calls that double": ("fn f(x, k) = if k == 0 then x else f(x, k - 1) + f(x, k - 1)\n" + NET.format("f(40)"), "E0505"),
    "layers without end": ("layer l() { input x: [...]; l }\n" + NET.format("l"), "E0204"),
    "layers that double": (
        "layer l(k) { input x: [...]; repeat (if k == 0 then 0 else 2) { l(k - 1) }; relu }\n" + NET.format("l(15)"), "E0505",
    ),
    "brackets": ("const a = " + "(" * 5000 + "1" + ")" * 5000 + "\n", "E0103"),
    "lists": ("const a = " + "[" * 5000 + "]" * 5000 + "\n", "E0103"),
    "blocks": ("net a { input x: [3]; " + "sequential { " * 5000 + "relu" + " }" * 5000 + " }", "E0103"),
    "signs": ("const a = " + "-" * 5000 + "1\n", "E0103"),
    "a long sum": ("const a = " + " + ".join(["1"] * 5000) + "\n", "E0103"),
    "conditions": ("const a = " + "if true then 1 else " * 3000 + "2\n", "E0103"),
    "errors everywhere": ("net a {\n" * 3000, "E0102"),
    "a name": ("const " + "a" * 500_000 + " = b\n", "E0201"),
    "an unknown stage of many letters": (NET.format("linea" + "r" * 100_000), "E0202"),
    "unfinished strings": ('const a = "\n' * 20_000, "E0105"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_programs_are_refused_soon(case: str) -> None:
    text, code = HOSTILE[case]
    assert code in [d.code for d in checked(text)]


def test_many_stages_are_no_problem() -> None:
    assert checked(NET.format("repeat 500 { linear(3); relu }; linear(1)")) == []
