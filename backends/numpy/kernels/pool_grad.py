"""Gradients of pooling over channels-last arrays, tap by tap of the window, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .memory import Block, Memory, blocks, compute_dtype
from .pool import BLOCK_BYTES, Axis, Pairs, axes_of, mean_factors, part_of

Ints = tuple[int, ...]

GRAD_FLOPS = 128  # what an element counts for where work is shared out: products go so much faster


@kernel
def max_pool_grad(
    x: Array, y: Array, g: Array, *, window: Ints, strides: Ints, dilations: Ints, padding: Pairs, ceil_mode: bool,
    all_ties: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """out[n, e, c] = Σ of g[n, s, c] over the windows s of which x[n, e, c] is the first largest element, y[n, s, c].

    x and out (N, *S, C), y and g (N, *S_out, C).  NaN equals nothing: its window has no gradient.
    """
    axes = axes_of(x, y, window, strides, dilations, padding)
    images = cuts(len(x), GRAD_FLOPS * x.size)
    return together([_spread_to_hits(x[n], y[n], g[n], axes, all_ties, out[n], scratch) for n in images])


def _spread_to_hits(
    x: Array, y: Array, g: Array, axes: list[Axis], all_ties: bool, out: Array, scratch: Scratch
) -> list[Step]:
    overlap = any(axis.overlaps for axis in axes)
    covered = not overlap and all(_covers(axis) for axis in axes)
    steps: list[Step] = [] if covered else [partial(out.fill, 0)]
    memory = Memory(out.dtype, scratch)
    for at, met, hit, found in _hits(x, y, axes, all_ties, scratch):
        chosen = memory.work("chosen", hit.shape) if overlap else out[met]
        steps += [*found, _select(g[at], hit, chosen)]
        if overlap:
            steps.append(partial(np.add, out[met], chosen, out=out[met]))
    return steps


@kernel
def max_pool_pick(
    x: Array, y: Array, h: Array, *, window: Ints, strides: Ints, dilations: Ints, padding: Pairs, ceil_mode: bool,
    all_ties: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """out[n, s, c] = h[n, e, c] where x[n, e, c] is the first largest element, y[n, s, c], of the window s; else 0.

    x and h (N, *S, C), y and out (N, *S_out, C).
    """
    steps: list[Step] = [partial(out.fill, 0)]
    axes = axes_of(x, y, window, strides, dilations, padding)
    memory = Memory(out.dtype, scratch)
    for at, met, hit, found in _hits(x, y, axes, all_ties, scratch):
        chosen = memory.work("chosen", hit.shape)
        steps += [*found, _select(h[met], hit, chosen), partial(np.add, out[at], chosen, out=out[at])]
    return steps


def _hits(
    x: Array, y: Array, axes: list[Axis], all_ties: bool, scratch: Scratch
) -> Iterator[tuple[Block, Block, Array, list[Step]]]:
    """For each block and each tap of the window, in row-major order: places of y, the elements of x that they meet,
    and steps that find where these are the first that equal y (or, with all_ties, equal y)."""
    flags = Memory(np.dtype(np.bool_), scratch)
    for images, rows in blocks(y.shape[:2], BLOCK_BYTES // max(1, prod(y.shape[2:]) * y.itemsize)):
        places = [(rows.start, rows.stop - rows.start), *((0, axis.places) for axis in axes[1:])]
        waiting = flags.work("waiting", (images.stop - images.start, *(n for _, n in places), y.shape[-1]))
        steps: list[Step] = [] if all_ties else [partial(waiting.fill, True)]
        for taps in product(*(axis.taps(*along) for axis, along in zip(axes, places))):
            at: Block = (images, *(slice(p + start, p + stop) for (p, _), (start, stop, _) in zip(places, taps)))
            met: Block = (images, *(_elements(axis.stride, *tap) for axis, tap in zip(axes, taps)))
            inside: Block = (slice(None), *(slice(start, stop) for start, stop, _ in taps))
            here = waiting[inside]
            hit = flags.work("hit", here.shape)
            steps.append(partial(np.equal, x[met], y[at], out=hit))
            if not all_ties:
                steps += [partial(np.logical_and, hit, here, out=hit), partial(np.not_equal, hit, here, out=here)]
            yield at, met, hit, steps
            steps = []


def _elements(stride: int, start: int, stop: int, element: int) -> slice:
    """What the places from start to stop meet, beginning with `element`."""
    return slice(element, element + (stop - start - 1) * stride + 1, stride)


def _select(values: Array, hit: Array, out: Array) -> Step:
    """out = values where hit, 0 elsewhere: bits times 0 or 1, exact for all numbers and faster than a masked copy."""
    return partial(np.multiply, _bits(values), hit, out=_bits(out))


def _bits(x: Array) -> Array:
    return x.view(f"u{x.itemsize}")


def _covers(axis: Axis) -> bool:
    """Whether every element is met from exactly one place."""
    tight = axis.window == axis.stride and (axis.dilation == 1 or axis.window == 1)
    return tight and axis.before == 0 and axis.places * axis.stride == axis.size


@kernel
def avg_pool_grad(
    g: Array, *, sizes: Ints, window: Ints, strides: Ints, dilations: Ints, padding: Pairs, ceil_mode: bool,
    count_include_pad: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """out[n, e, c] = Σ over the windows s that meet e of g[n, s, c] / how many elements s counts (as `avg_pool` does).

    g (N, *S_out, C), out (N, *sizes, C).  One axis after the other, the last one, which is spread first, is short.
    """
    axes = axes_of(out, g, window, strides, dilations, padding)
    memory = Memory(compute_dtype(out.dtype), scratch)
    factors = mean_factors(axes, padding, count_include_pad, memory.dtype) if g.size else np.zeros(1)
    steps: list[Step] = []
    for (images,) in blocks(out.shape[:1], BLOCK_BYTES // max(1, prod(out.shape[1:]) * memory.dtype.itemsize)):
        given = memory.work("scaled", g[images].shape)
        steps.append(partial(np.multiply, g[images], factors, out=given, casting="unsafe"))
        for axis in range(len(axes), 0, -1):
            if not axes[axis - 1].trivial:
                spread = memory.work(f"axis {axis}", (*given.shape[:axis], out.shape[axis], *given.shape[axis + 1 :]))
                steps += _spread(given, spread, axis, axes[axis - 1])
                given = spread
        steps.append(partial(np.copyto, out[images], given, casting="unsafe"))
    return steps


def _spread(g: Array, out: Array, axis: int, along: Axis) -> list[Step]:
    """Steps for out = the sum of what all places of g give to each element of one axis."""
    steps: list[Step] = [partial(out.fill, 0)]
    for start, stop, element in along.taps(0, along.places):
        into = part_of(out, axis, _elements(along.stride, start, stop, element))
        steps.append(partial(np.add, into, part_of(g, axis, slice(start, stop)), out=into))
    return steps
