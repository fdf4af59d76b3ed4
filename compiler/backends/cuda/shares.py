"""Shares of a sum: the terms that one of several partial sums takes.

In: a reduction, or a share of one. Out: the other. A share is plain Loop IR: the terms are counted through, runs of ``chunk``
of them are dealt out in turn, and what belongs to other shares is guarded away. Whoever writes code for it need not look at
those.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...loops.ir import (
    Affine,
    Axis,
    Combine,
    Condition,
    Constant,
    FloorDiv,
    Guarded,
    Reduction,
    Remainder,
)


@dataclass(frozen=True, slots=True)
class Share:
    """``whole`` is the reduction that is shared; ``axis`` counts the shares."""

    whole: Reduction
    axis: Axis
    chunk: int

    @property
    def parts(self) -> int:
        """How many shares there are."""
        extent = self.axis.extent
        assert isinstance(extent, int), "bug in netc: as many shares as observations"
        return extent


def taken(share: Share) -> Reduction:
    """The reduction over the terms of a share."""
    whole = share.whole
    run = Affine(((1, FloorDiv(_place(whole.axes), share.chunk)),))
    turn = Affine(((1, Remainder(run, share.parts)),)) - share.axis
    body = Guarded((Condition(turn, 0, 1),), whole.body, Constant(0, whole.body.dtype))
    return Reduction(Combine.sum, whole.axes, body)


def share_of(e: Reduction) -> Share | None:
    """The share that a reduction takes, if it was made by ``taken``."""
    body = e.body
    if not isinstance(body, Guarded) or len(body.conditions) != 1:
        return None
    index = body.conditions[0].index
    for coefficient, axis in index.terms:
        if coefficient == -1 and isinstance(axis, Axis) and axis not in e.axes:
            for _, atom in index.terms:
                if isinstance(atom, Remainder) and len(atom.value.terms) == 1:
                    run = atom.value.terms[0][1]
                    if isinstance(run, FloorDiv):
                        found = Share(Reduction(e.combine, e.axes, body.body), axis, run.divisor)
                        return found if taken(found) == e else None
    return None


def _place(axes: tuple[Axis, ...]) -> Affine:
    """The place of a term, the last axis running fastest. Observations run slowest, whose number is not known."""
    place, scale = Affine(), 1
    for axis in reversed(axes):
        place += Affine.of(axis) * scale
        scale *= axis.extent if isinstance(axis.extent, int) else 1
    return place


__all__ = ["Share", "share_of", "taken"]
