"""Rows taken by index, on several threads."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...numpy.kernels.index import check_places
from ...numpy.registry import Array, Scratch, Step, is_constant
from ..compiler import Call, compiled
from ..copies import ELEMENT_FLOPS
from ..crew import shares, together
from ..products import F32
from ..registry import row
from ..vectors import LANES, load, load_some, number, store, store_some


def gathered(count: int, places: int, size: int, width: int, x: int, out: int) -> None:
    """out (count, width) = rows of x (size, width) at places (int64); those below 0 count from the end."""
    for k in range(count):
        place = number(places + 8 * k)
        source, target = x + 4 * width * (place + size if place < 0 else place), out + 4 * width * k
        c = 0
        while c + LANES <= width:
            store(target + 4 * c, load(source + 4 * c))
            c += LANES
        if c < width:
            store_some(target + 4 * c, load_some(source + 4 * c, width - c), width - c)


gathered_compiled = compiled(gathered)


@row
def gather(x: Array, indices: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step] | None:
    """Rows of LANES numbers or more, by indices that are not known."""
    width = x.size // max(len(x), 1) if x.ndim else 0
    fits = x.dtype == F32 and x.ndim > 1 and axis % x.ndim == 0 and width >= LANES and indices.size
    if not fits or is_constant(indices) or not (x.flags.c_contiguous and out.flags.c_contiguous):
        return None
    steps: list[Step] = [partial(check_places, indices, len(x), "gather")]
    places = indices
    if indices.dtype != np.int64 or not indices.flags.c_contiguous:
        places = scratch(indices.shape, np.dtype(np.int64))
        steps.append(partial(np.copyto, places, indices, casting="unsafe"))
    flat, rows = places.reshape(-1), out.reshape(-1, width)
    return [*steps, *together([
        [Call(gathered_compiled, len(rows[part]), flat[part], len(x), width, x, rows[part])]
        for part in shares(len(rows), out.size * ELEMENT_FLOPS)
    ])]  # fmt: skip
