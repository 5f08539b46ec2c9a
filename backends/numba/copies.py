"""Copies of arrays of 4 bytes whose elements lie in another order, where NumPy's inner loops are short."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..numpy.copies import copy
from ..numpy.kernels.chains import merged_axes
from ..numpy.registry import Array, Step
from .compiler import Call, compiled
from .crew import shares, together
from .vectors import move

AXES = 4  # of the arrays
BLOCK = 16  # rows and columns at once: those of a transposed array lie in lines of the cache that are read once
SHORT = 64  # elements: NumPy copies longer rows as fast
ELEMENT_FLOPS = 32  # what an element counts for where work is shared out


def moved(
    n: int, height: int, rows: int, columns: int, x: int, x_n: int, x_y: int, x_r: int, x_c: int, out: int, out_n: int,
    out_y: int, out_r: int, out_c: int,
) -> None:  # fmt: skip
    """out[n, y, r, c] = x[n, y, r, c]; strides are bytes."""
    for a in range(n):
        for b in range(height):
            for first in range(0, rows, BLOCK):
                for left in range(0, columns, BLOCK):
                    for r in range(first, min(first + BLOCK, rows)):
                        source, target = x + a * x_n + b * x_y + r * x_r, out + a * out_n + b * out_y + r * out_r
                        for c in range(left, min(left + BLOCK, columns)):
                            move(source + c * x_c, target + c * out_c)


moved_compiled = compiled(moved)


def copied(out: Array, x: Array) -> list[Step]:
    """Steps that copy x to out, of one shape."""
    axes = merged_axes(out.shape, [x, out]) if x.dtype == out.dtype and x.itemsize == 4 and out.size else ()
    if not 1 < len(axes) <= AXES or _is_by_rows(axes, x.reshape(axes), out.reshape(axes)):
        return [copy(out, x)]
    flat = (*(1,) * (AXES - len(axes)), *axes)
    source, target = x.reshape(flat), out.reshape(flat)
    if flat[2] > flat[3]:  # long inner loops
        source, target = source.swapaxes(2, 3), target.swapaxes(2, 3)
    longest = max(range(AXES - 1), key=lambda i: (target.shape[i], -i))
    branches: list[list[Step]] = []
    for part in shares(target.shape[longest], out.size * ELEMENT_FLOPS):
        place = (slice(None),) * longest + (part,)
        a, b = source[place], target[place]
        branches.append([Call(moved_compiled, *b.shape, a, *a.strides, b, *b.strides)])
    return together(branches)


def moved_to(out: Array, x: Array) -> tuple[Array, list[Step]]:
    """out, and the steps that copy x there."""
    return out, copied(out, x)


def _is_by_rows(axes: Sequence[int], x: Array, out: Array) -> bool:
    """Whether elements lie in rows that NumPy copies well."""
    return (axes[-1] >= SHORT and x.strides[-1] == out.strides[-1] == x.itemsize) or math.prod(axes) < SHORT
