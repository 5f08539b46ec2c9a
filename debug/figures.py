"""Figures of matplotlib: made without a window, written so that the same figure gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..errors import UnsupportedError
from ..files import write_atomically

FORMS = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}  # metadata that would change


def new_figure(width: float, height: float) -> Any:
    """An empty figure, sizes in inches; UnsupportedError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnsupportedError("figures are drawn with matplotlib", hint="pip install matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def check_path(path: str | Path) -> None:
    """UnsupportedError where a path ends in none of FORMS."""
    if Path(path).suffix not in FORMS:
        raise UnsupportedError(f"cannot write {path}", hint=f"end the path in {', '.join(FORMS)}")


def write_figure(figure: Any, path: str | Path) -> None:
    """Write an .svg, .png or .pdf file, atomically."""
    from matplotlib import rc_context

    check_path(path)
    suffix, buffer = Path(path).suffix, io.BytesIO()
    with rc_context({"svg.hashsalt": "tenun", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=suffix[1:], metadata=FORMS[suffix])
    write_atomically(path, buffer.getvalue())
