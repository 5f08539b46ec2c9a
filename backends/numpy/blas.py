"""The number of threads of NumPy's BLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# How builds of OpenBLAS call what they export: those in NumPy's own wheels, and those of distributions.
SPELLINGS = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


@dataclass(frozen=True)
class Library:
    """A BLAS and its functions."""

    get_num_threads: Callable[[], int]
    set_num_threads: Callable[[int], Any]


def libraries() -> list[Any]:
    """NumPy's OpenBLAS, if it is one that answers; otherwise every BLAS in the process, as threadpoolctl finds them,
    which takes it 8 ms."""
    found = _own()
    if found is not None:
        return [found]
    from threadpoolctl import ThreadpoolController

    return [c for c in ThreadpoolController().lib_controllers if c.user_api == "blas"]


def _own() -> Library | None:
    """What NumPy's module of products is linked with: a look-up in a library looks into those that it needs."""
    try:
        from numpy._core import _multiarray_umath

        library = ctypes.CDLL(_multiarray_umath.__file__)
    except (ImportError, OSError):
        return None
    for spelling in SPELLINGS:
        get, put = (getattr(library, spelling.format(f"{verb}_num_threads"), None) for verb in ("get", "set"))
        if get is not None and put is not None:
            return Library(get, put)
    return None
