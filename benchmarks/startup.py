"""What lies around the steps: processes from a cold shell, compilation, one row's prediction, memory.

In: the interpreter that runs this. Out: ``Timing`` records, each the best of several fresh processes. The cache
directory is a temporary one: ``cold`` empties it before each run, ``cached`` does not.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "from netc.cli.main import run; run()"
COMPILE = """
import sys, time, numpy, netc
start = time.perf_counter()
model = netc.compile(sys.argv[1])
x = numpy.zeros((1, *model.network.inputs[0].shape), "float32")
model.predict(x)
print(time.perf_counter() - start)
"""
PREDICT = """
import sys, time, numpy, netc
model = netc.compile(sys.argv[1], seed=1)
x = numpy.zeros((1, *model.network.inputs[0].shape), "float32")
def run(count):
    start = time.perf_counter()
    for _ in range(count):
        model.predict(x)
    return (time.perf_counter() - start) / count
run(100)
print(min(run(2000) for _ in range(5)))
"""

# A process's largest memory counts that of the one it was forked from: so from a small one. KiB, on macOS bytes.
LAUNCH = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, and the process's largest memory in bytes."""

    name: str
    seconds: float
    peak_bytes: int


def measure(repeats: int) -> list[Timing]:
    """All of them, each the best of ``repeats`` processes."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lenet = work / "lenet.net"
        lenet.write_text(WORKLOADS["lenet"].source(), encoding="utf-8")
        regression, digits = (str(ROOT / "examples" / f"{n}.net") for n in ("regression", "digits"))
        train = ["-c", COMMAND, "train", regression, "--quiet", "--out", str(work / "runs")]
        return [
            best("import netc", ["-c", "import netc"], work, repeats),
            best("netc check", ["-c", COMMAND, "check", regression], work, repeats),
            best("netc train regression, cold", train, work, repeats, cold=True),
            best("netc train regression, cached", train, work, repeats),
            best("compile digits, cold", ["-c", COMPILE, digits], work, repeats, cold=True, printed=True),
            best("compile digits, cached", ["-c", COMPILE, digits], work, repeats, printed=True),
            best("compile lenet, cold", ["-c", COMPILE, str(lenet)], work, repeats, cold=True, printed=True),
            best("compile lenet, cached", ["-c", COMPILE, str(lenet)], work, repeats, printed=True),
            best("predict one row", ["-c", PREDICT, regression], work, repeats, printed=True),
            *peers(work, repeats),
        ]


def peers(work: Path, repeats: int) -> list[Timing]:
    """Importing what others import before they can begin."""
    found = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]
    return [best(f"import {name}", ["-c", f"import {name}"], work, repeats) for name in found]


def best(
    name: str, arguments: list[str], work: Path, repeats: int, *, cold: bool = False, printed: bool = False
) -> Timing:
    """The fastest of several processes; ``printed``: the time is what the process prints, not its own."""
    if not cold:
        process(arguments, work)
    found = []
    for _ in range(repeats):
        if cold:
            shutil.rmtree(work / "cache", ignore_errors=True)
        seconds, output, peak = process(arguments, work)
        found.append((float(output) if printed else seconds, peak))
    return Timing(name, min(found)[0], max(peak for _, peak in found))


def process(arguments: list[str], work: Path) -> tuple[float, str, int]:
    """Runs this interpreter; its seconds, what it printed, and its largest memory."""
    environment = {**os.environ, "NETC_CACHE_DIR": str(work / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its modules compiled
    command = [sys.executable, "-I", "-S", "-c", LAUNCH, sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    *output, last = done.stdout.strip().split("\n")
    code, seconds, peak = last.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(arguments)[:80]} ended with {code}")
    return float(seconds), "\n".join(output), int(peak) * (1 if sys.platform == "darwin" else 1024)
