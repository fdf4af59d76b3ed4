"""Python's garbage collector, at rest while something large is built.

Graphs and kernels are hundreds of thousands of objects that refer to each other without cycles and live until the end. The
collector looks at all of them again and again as they become more, and finds nothing. It is at rest for the whole process:
what other threads leave in cycles meanwhile is freed afterwards.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def uncollected(build: Callable[P, T]) -> Callable[P, T]:
    """The function, run without the collector; one that was off before stays off."""

    @wraps(build)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if not gc.isenabled():
            return build(*args, **kwargs)
        gc.disable()
        try:
            return build(*args, **kwargs)
        finally:
            gc.enable()

    return run
