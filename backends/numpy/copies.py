"""Copies of arrays whose elements do not lie side by side as a whole.

NumPy copies along one axis at a time.  Where that is a short run of neighbours (the channels of a place, a few taps of
a window), going from run to run takes longer than copying them.  As one element of an opaque dtype of that size, a run
costs one `memmove`, and NumPy's inner loop is along the next axis: two to three times as fast, up to fifteen times for
pairs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .registry import Array, Step

LONGEST = 1 << 9  # bytes of a run: NumPy's own loops copy longer ones as fast


def copy(out: Array, x: Array) -> Step:
    """The step out = x, which broadcasts with out; in the dtype of out."""
    return partial(np.copyto, *in_runs(out, x), casting="unsafe")


def copied(out: Array, x: Array) -> list[Step]:
    """Steps that copy x to out, of one shape."""
    return [copy(out, x)]


def in_runs(out: Array, x: Array) -> tuple[Array, Array]:
    """The arrays with what lies side by side in both as one element; themselves where that gains nothing."""
    if out.dtype != x.dtype or out.dtype.hasobject or not out.size:
        return out, x
    x, axis, run = np.broadcast_to(x, out.shape), out.ndim, out.itemsize
    while axis and (out.shape[axis - 1] == 1 or out.strides[axis - 1] == x.strides[axis - 1] == run):
        axis -= 1
        run *= out.shape[axis]
    if axis == 0 or not out.itemsize < run <= LONGEST:
        return out, x
    return _as_runs(out, axis, run), _as_runs(x, axis, run)


def _as_runs(x: Array, axis: int, run: int) -> Array:
    """The axes from `axis` on, which lie side by side, as one element."""
    flat: Any = x.reshape((*x.shape[:axis], -1), copy=False)
    return flat.view(f"V{run}")[..., 0]
