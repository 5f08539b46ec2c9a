"""Pooling over channels-last arrays, with any number of spatial axes.

Maximum and sum are separable: one axis is reduced after the other, tap by tap, the first spatial axis first (there
NumPy's inner loops are long).  No padded copy is made: a tap leaves out the places where it meets padding.  Blocks of
images, or of output rows of an image, keep what lies between two axes in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from math import ceil, prod
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .memory import Block, Memory, blocks, compute_dtype

Pairs = tuple[tuple[int, int], ...]

BLOCK_BYTES = 1 << 19  # input of a block
POOL_FLOPS = 32  # what an element counts for where work is shared out: products go so much faster


@kernel(strided=True)
def max_pool(
    x: Array,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: Pairs,
    ceil_mode: bool,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out[n, s, c] = max over k of x[n, s·stride + k·dilation - before, c]; NaN where one of them is.

    x (N, *S, C), out (N, *S_out, C).  Padding is the lowest value of the dtype, -inf for floats.
    """
    axes = axes_of(x, out, window, strides, dilations, padding)
    larger = partial(np.maximum, dtype=x.dtype)
    images = cuts(len(x), POOL_FLOPS * x.size)
    return together([_reduced(x[n], out[n], axes, larger, lowest(x.dtype), scratch) for n in images])


@kernel(strided=True)
def avg_pool(
    x: Array,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: Pairs,
    ceil_mode: bool,
    count_include_pad: bool,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out[n, s, c] = Σ over k of x[n, s·stride + k·dilation - before, c] / how many elements that are.

    x (N, *S, C), out (N, *S_out, C).  With count_include_pad the padding counts as elements, but never what lies
    beyond it, where the last windows of ceil_mode hang over.  The mean of no elements is 0.
    """
    if out.size == 0:
        return []
    dtype = compute_dtype(out.dtype)
    axes = axes_of(x, out, window, strides, dilations, padding)
    factors = mean_factors(axes, padding, count_include_pad, dtype)
    sums = out if out.dtype == dtype else scratch(out.shape, dtype)

    def scale(out: Array, sums: Array, block: Block) -> list[Step]:
        return [partial(np.multiply, sums[block], factors[block[1]], out=out[block], casting="unsafe")]

    add = partial(np.add, dtype=dtype, casting="unsafe")
    images = cuts(len(x), POOL_FLOPS * x.size)
    return together([_reduced(x[n], sums[n], axes, add, 0, scratch, partial(scale, out[n], sums[n])) for n in images])


@dataclass(frozen=True)
class Axis:
    """One spatial axis: `size` elements in, `places` out; tap k of place p meets p·stride + k·dilation - before."""

    size: int
    places: int
    window: int
    stride: int
    dilation: int
    before: int

    @property
    def overlaps(self) -> bool:
        """Whether an element may be met from several places."""
        return self.stride <= (self.window - 1) * self.dilation

    @property
    def trivial(self) -> bool:
        return self.window == self.stride == 1 and self.before == 0 and self.size == self.places

    def taps(self, first: int, places: int, before: int = 0, after: int = 0) -> Iterator[tuple[int, int, int]]:
        """(start, stop, element) of each tap that meets elements at places first, first + 1, ...

        It meets them from start to stop (counted from first), beginning with `element`.  `before` and `after` are
        elements more on each side.
        """
        # Windows may be far larger than what is there.
        lowest = self.before - before - (first + places - 1) * self.stride
        highest = self.before + self.size + after - 1 - first * self.stride
        for k in range(max(0, -(-lowest // self.dilation)), min(self.window, highest // self.dilation + 1)):
            element = first * self.stride + k * self.dilation - self.before
            start = max(0, ceil((-before - element) / self.stride))
            stop = min(places, (self.size + after - 1 - element) // self.stride + 1)
            if start < stop:
                yield start, stop, element + start * self.stride

    def counts(self, before: int, after: int) -> Array:
        """How many elements each place meets."""
        counts = np.zeros(self.places)
        for start, stop, _ in self.taps(0, self.places, before, after):
            counts[start:stop] += 1
        return counts


def mean_factors(axes: list[Axis], padding: Pairs, count_include_pad: bool, dtype: np.dtype[Any]) -> Array:
    """(*S_out, 1): 1 / how many elements each window counts, 0 where there are none."""
    counted = [axis.counts(*pads) if count_include_pad else axis.counts(0, 0) for axis, pads in zip(axes, padding)]
    counts = reduce(np.multiply.outer, counted)
    factors = np.divide(1, counts, out=np.zeros(counts.shape), where=counts > 0).astype(dtype)[..., np.newaxis]
    if np.all(factors == factors.flat[:1]):
        factors = np.broadcast_to(factors.flat[:1], factors.shape)
    return factors


def axes_of(
    x: Array,
    out: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: Pairs,
) -> list[Axis]:
    before = (pair[0] for pair in padding)
    return [Axis(*axis) for axis in zip(x.shape[1:-1], out.shape[1:-1], window, strides, dilations, before)]


def lowest(dtype: np.dtype[Any]) -> Any:
    """The element that every other is at least as large as."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return False if dtype.kind == "b" else -np.inf


def _reduced(
    x: Array,
    out: Array,
    axes: list[Axis],
    call: Callable[..., Any],
    empty: Any,
    scratch: Scratch,
    finish: Callable[[Block], list[Step]] = lambda block: [],
) -> list[Step]:
    """Steps that reduce the axes of x to those of out, block by block, each followed by finish(block)."""
    if out.size == 0:
        return []
    memory = Memory(out.dtype, scratch)
    active = [axis for axis, a in enumerate(axes, 1) if not a.trivial] or [1]
    row = max(1, axes[0].stride * prod(x.shape[2:]) * x.itemsize)  # bytes of input for a row of output
    steps: list[Step] = []
    for block in blocks(out.shape[:2], BLOCK_BYTES // row):
        images, rows = block
        given = x[images] if 1 in active else x[block]  # rows of x are those of out, or what they are reduced from
        for axis in active:
            first, places = (rows.start, rows.stop - rows.start) if axis == 1 else (0, axes[axis - 1].places)
            if axis == active[-1]:
                result = out[block]
            else:
                result = memory.work(f"axis {axis}", (*given.shape[:axis], places, *given.shape[axis + 1 :]))
            steps += _reduced_axis(given, result, axis, axes[axis - 1], first, call, empty)
            given = result
        steps += finish(block)
    return steps


def _reduced_axis(
    x: Array, out: Array, axis: int, along: Axis, first: int, call: Callable[..., Any], empty: Any
) -> list[Step]:
    """Steps for out = x reduced along one axis, where out begins with place `first`."""
    whole: list[tuple[Array, Array]] = []  # taps that meet elements at all places
    parts: list[tuple[Array, Array]] = []  # at some
    places = out.shape[axis]
    for start, stop, element in along.taps(first, places):
        met = slice(element, element + (stop - start - 1) * along.stride + 1, along.stride)
        source, target = part_of(x, axis, met), part_of(out, axis, slice(start, stop))
        (whole if stop - start == places else parts).append((source, target))
    steps: list[Step] = []
    if len(whole) > 1:
        (a, _), (b, _) = whole.pop(), whole.pop()
        steps.append(partial(call, a, b, out=out))
    elif whole:
        steps.append(partial(np.copyto, out, whole.pop()[0], casting="unsafe"))
    else:
        steps.append(partial(out.fill, empty))
    steps += [partial(call, target, source, out=target) for source, target in whole + parts]
    return steps


def part_of(array: Array, axis: int, where: slice) -> Array:
    return array[(slice(None),) * axis + (where,)]
