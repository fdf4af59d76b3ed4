"""Did you mean: the known word nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_ELSEWHERE = {"dense": "linear", "fc": "linear", "fullyconnected": "linear"}


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was probably meant, or None. ``BatchNorm2d`` and ``nn_relu`` find what they mean."""
    known: dict[str, str] = {}
    for candidate in candidates:
        known.setdefault(_plain(candidate), candidate)
    plain = _plain(word)
    if (elsewhere := _ELSEWHERE.get(plain)) and known.get(_plain(elsewhere)) == elsewhere != word:
        return elsewhere
    found = get_close_matches(plain, list(known), n=1, cutoff=0.7)
    return known[found[0]] if found and known[found[0]] != word else None


def did_you_mean(word: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """A help text: the closest candidate, else ``otherwise``."""
    guess = closest(word, candidates)
    return f"did you mean `{guess}`?" if guess else otherwise


def _plain(word: str) -> str:
    return word.lower().removeprefix("nn_").removeprefix("nnf_").replace("_", "")
