"""Where a workload is computed, and how: what netc and its peers are told alike.

Out: ``Place``.
"""

from __future__ import annotations

from dataclasses import dataclass

CPU, CUDA = "cpu", "cuda"
FULL, BF16 = "full", "bf16"


@dataclass(frozen=True, slots=True)
class Place:
    """threads: of the CPU. precision: ``full``, products of float32 without shortcuts; ``bf16``, of factors rounded to
    bfloat16. plan: how netc spreads a run over a device, None for its own choice; peers have none."""

    threads: int = 1
    device: str = CPU
    precision: str = FULL
    plan: str | None = None

    @property
    def rounded(self) -> bool:
        return self.precision == BF16
