"""Philox4x32-10, the counter-based generator of all random draws, in NumPy.

Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). Key: the seed's low and
high word. Counter: (index low, index high, stream, step). Compiled code draws the same words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def words(seed: int, stream: int, step: int, start: int, count: int) -> NDArray[np.uint64]:
    """The four words of each counter ``start ... start + count - 1``: shape [4, count], values below 2^32."""
    index = np.arange(start, start + count, dtype=np.uint64)
    c0, c1 = index & _LOW, index >> _SHIFT
    c2 = np.full(count, stream & 0xFFFFFFFF, np.uint64)
    c3 = np.full(count, step & 0xFFFFFFFF, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def uniform(seed: int, stream: int, step: int, count: int, dtype: Any, start: int = 0) -> NDArray[Any]:
    """Uniform draws from [0, 1): 24 bits for float32, 53 bits for float64."""
    w = words(seed, stream, step, start, count)
    if np.dtype(dtype) == np.float32:
        single: NDArray[Any] = ((w[0] >> np.uint64(8)).astype(np.float64) * 2.0**-24).astype(np.float32)
        return single
    double: NDArray[Any] = (
        (w[0] >> np.uint64(5)).astype(np.float64) * 2.0**26 + (w[1] >> np.uint64(6)).astype(np.float64)
    ) * 2.0**-53
    return double


def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of ``count`` rows in an epoch: rows sorted by their drawn 64-bit keys, ties by row."""
    w = words(seed, PERMUTATION_STREAM, epoch, 0, count)
    keys = (w[0] << _SHIFT) | w[1]
    return np.argsort(keys, kind="stable").astype(np.int64)


PERMUTATION_STREAM = 0xFFFFFFFF
