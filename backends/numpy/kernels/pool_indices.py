"""Where the largest element of each pooling window stands."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np

from ..registry import Array, Scratch, Step, kernel

Ints = tuple[int, ...]


@kernel
def max_pool_indices(
    x: Array, *, window: Ints, strides: Ints, dilations: Ints, padding: tuple[tuple[int, int], ...], ceil_mode: bool,
    out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """Tap by tap of the window, in row-major order: a strictly larger element takes the place, so the first wins.

    NaN is larger than any number.
    """
    spatial = x.shape[1:-1]
    best = scratch(out.shape, x.dtype)
    empty = scratch(out.shape, np.bool_)  # places that have met no element yet
    steps: list[Step] = [partial(out.fill, 0), partial(empty.fill, True)]
    flat = np.arange(int(np.prod(spatial, dtype=np.int64)), dtype=np.int64).reshape(spatial)
    for taps in product(*map(range, window)):
        places, sources = [slice(None)], [slice(None)]
        for axis in zip(taps, spatial, out.shape[1:-1], strides, dilations, padding):
            place, source = _meeting(*axis)
            places.append(place)
            sources.append(source)
        here, there = (*places, slice(None)), (*sources, slice(None))
        where = flat[tuple(sources[1:])][..., None]
        if best[here].size:
            steps.append(partial(_challenge, x[there], where, best[here], out[here], empty[here]))
    return steps


def _meeting(
    tap: int, size: int, places: int, stride: int, dilation: int, padding: tuple[int, int]
) -> tuple[slice, slice]:
    """Along one axis: the places of the result for which this tap is inside of x, and the elements that it meets."""
    shift = tap * dilation - padding[0]  # place p meets element p · stride + shift
    first = max(0, -(shift // stride))
    end = min(places, (size - 1 - shift) // stride + 1)
    if end <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, end), slice(first * stride + shift, (end - 1) * stride + shift + 1, stride)


def _challenge(x: Array, where: Array, best: Array, out: Array, empty: Array) -> None:
    wins = empty | (x > best)
    if x.dtype.kind in "fV":
        wins |= np.isnan(x) & ~np.isnan(best)
    np.copyto(best, x, where=wins)
    np.copyto(out, where, where=wins)
    empty[...] = False
