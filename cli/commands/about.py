"""The demo, and the versions: `tenun demo`, `tenun version`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..shell import app, examples, option, screen


@app.command(epilog=examples("tenun demo", "tenun demo --out drawings"))
def demo(
    out: Annotated[
        str | None, option("--out", "-o", metavar="DIR", help="Where the drawings go (default: tenun-demo).")
    ] = None,
) -> None:
    """Run the two models that come with tenun, trained by Keras, and compare with what Keras measured."""
    from ...demo.run import run_demo

    if not run_demo(out, screen()):
        sys.exit(1)


@app.command()
def version() -> None:
    """Print the versions of tenun, NumPy and Python."""
    _print_version(True)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    import platform

    import numpy as np

    from ... import __version__

    print(f"tenun {__version__} (NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()})")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compiles saved neural networks (.keras .h5 .onnx .tenun) and runs them with NumPy."""
