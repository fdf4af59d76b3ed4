"""``netc doctor`` tells what is there, and of the GPU why it is not."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from netc.cli import doctor
from netc.cli.main import run


class Driver:
    """The part of libcuda that is asked."""

    def __init__(self, status: int, count: int) -> None:
        self.status, self.count = status, count

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        ctypes.memmove(name, b"Example 9000\0", 13)
        return 0


def test_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = "cupy" in sys.modules
    run(["doctor"])
    lines = [text.split(maxsplit=1) for text in capsys.readouterr().out.splitlines()]
    names = ["netc", "python", *doctor.PACKAGES, "cpu", "gpu", "cache"]
    assert [name for name, _ in lines] == names
    assert "missing" not in dict(lines)["numpy"]
    assert ("cupy" in sys.modules) == before


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (None, "none: no NVIDIA driver"),
        (Driver(100, 0), "none: the NVIDIA driver finds no device (CUDA status 100)"),
        (Driver(0, 0), "none: the NVIDIA driver finds no device"),
        (Driver(0, 1), "Example 9000"),
        (Driver(0, 3), "Example 9000 and 2 more; this version of netc computes on the CPU"),
    ],
)
def test_the_gpu_or_why_not(driver: Driver | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_driver", lambda: driver)
    assert doctor.gpu_description().startswith(said)
