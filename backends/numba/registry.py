"""The table of this backend: NumPy's, with rows in place of some of its kernels.

A row binds arrays to steps as a kernel of NumPy's does, or returns None for operands and attributes that it does not
take: then NumPy's kernel is bound.  So it promises what that kernel does, in memory too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf
from typing import Any

from ...passes.algorithms import Prices
from ..numpy import evaluate  # noqa: F401 - fills the table
from ..numpy.registry import KERNELS, Kernel, Kernels

ROWS: dict[str, Kernel] = {}


# Products read the windows where they are, and transforms stay in registers.
PRICES = Prices(product=95e9, copy=inf, element=1e-10, least_channels=16)


def row(call: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Register a function in the place of NumPy's kernel."""
    given = KERNELS[name or call.__name__]

    def bind(*operands: Any, **named: Any) -> Any:
        steps = call(*operands, **named)
        return given.call(*operands, **named) if steps is None else steps

    assert given.name not in ROWS, f"row {given.name} is registered twice"
    ROWS[given.name] = replace(given, call=bind)
    return call


@cache
def table() -> Kernels:
    """The rows of this backend over those of NumPy."""
    from . import kernels  # noqa: F401 - fills ROWS
    from .copies import copied
    from .crew import joined

    return Kernels("numba", {**KERNELS, **ROWS}, copied, PRICES, joined)
