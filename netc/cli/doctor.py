"""``netc doctor``: what this installation is made of, and whether a GPU can be used."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from .. import __version__
from ..compiler.backends.llvm.target import native
from ..grammar.cachedir import cache_directory
from ..runtime.cores import physical_cores
from ..runtime.cuda import device, driver
from ..runtime.cuda.driver import MissingDevice
from ..runtime.memory import gib

PACKAGES = ("lark", "numpy", "llvmlite", "safetensors", "click", "rich")


@click.command("doctor")
def command() -> None:
    """Print versions, the CPU and its vectors, the GPU, the cache."""
    click.echo(f"netc        {__version__}")
    click.echo(f"python      {sys.version.split()[0]} on {platform.platform()}")
    for package in PACKAGES:
        click.echo(f"{package:<11} {_version(package) or 'missing: pip install ' + package}")
    cores = physical_cores()
    count = f"{cores} core" + ("s" if cores > 1 else "")
    click.echo(f"cpu         {native().cpu}, {count}, vectors of {native().vector_bytes} bytes")
    click.echo(f"gpu         {gpu_description()}")
    folder = cache_directory()
    click.echo(f"cache       {folder} ({_cache_state()})")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpu_description() -> str:
    """The first CUDA device and what reaches it, or the first thing that is missing and how to get it."""
    try:
        found = driver.machine()
        name = f"{found.name}{f' and {found.devices - 1} more' if found.devices > 1 else ''}"
    except MissingDevice as error:
        return f"none: {error}; {error.help}"
    about = f"{name}, sm_{found.architecture}, {gib(found.memory)}, driver for CUDA {found.version[0]}.{found.version[1]}"
    try:
        made = device.find()
    except MissingDevice as error:
        return f"{about}; not usable: {error}; {error.help}"
    return f"{about}, CuPy {made.cupy.__version__}, NVRTC {made.compiler[0]}.{made.compiler[1]}"


def _cache_state() -> str:
    folder = cache_directory()
    try:
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.exists() else 0
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return f"{size / 2**20:.1f} MiB, safe to delete"
