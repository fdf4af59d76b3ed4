"""A plugin of pytest, ``-p rehearsal``: the emulator as the device of this machine, to try the GPU suite without one."""

from __future__ import annotations

from emulator import MIXED, Emulator

from netc.runtime.cuda import device


def rehearsed() -> Emulator:
    return Emulator(threads=64, blocks=3, order=MIXED)


device.find = rehearsed  # type: ignore[assignment]
