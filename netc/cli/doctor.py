"""``netc doctor``: what this installation is made of."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from .. import __version__
from ..compiler.backends.llvm.compile import cpu_description, vector_bytes
from ..grammar.cachedir import cache_directory


@click.command("doctor")
def command() -> None:
    """Print versions, the CPU and its vectors, the cache."""
    click.echo(f"netc      {__version__}")
    click.echo(f"python    {sys.version.split()[0]} on {platform.platform()}")
    for package in ("lark", "numpy", "llvmlite", "safetensors", "click", "rich"):
        try:
            click.echo(f"{package:<9} {version(package)}")
        except PackageNotFoundError:
            click.echo(f"{package:<9} missing")
    click.echo(f"cpu       {cpu_description().split()[0]}, vectors of {vector_bytes()} bytes")
    folder = cache_directory()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.exists() else 0
    click.echo(f"cache     {folder} ({size / 2**20:.1f} MiB)")
