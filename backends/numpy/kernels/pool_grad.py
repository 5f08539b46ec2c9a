"""Gradients of pooling over channels-last arrays, tap by tap of the window, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..copies import LONGEST, copy
from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .memory import Block, Memory, blocks, compute_dtype
from .pool import BLOCK_BYTES, Axis, Pairs, axes_of, lowest, mean_factors, part_of

Ints = tuple[int, ...]

AT_ONCE_BYTES = 1 << 21  # of gathered taps
GRAD_FLOPS = 32  # what an element counts for where work is shared out: products go so much faster
BRANCHES = 2  # at most: threads that make many short calls of NumPy hinder one another


@kernel
def max_pool_record(
    x: Array, *, window: Ints, strides: Ints, dilations: Ints, padding: Pairs, ceil_mode: bool,
    out: tuple[Array | None, Array | None], scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """y[n, s, c], the largest x[n, s·stride + k·dilation - before, c], and the number of the first such tap k, from 1.

    x (N, *S, C), y and the record (N, *S_out, C).  Taps in row-major order: one that is larger than all before wins.
    """
    shape = next(a.shape for a in out if a is not None)
    y, record = (scratch(shape, dtype) if a is None else a for a, dtype in zip(out, (x.dtype, np.uint8)))
    axes = axes_of(x, y, window, strides, dilations, padding)
    recorded = _recorded_at_once if _is_at_once(x, axes) else _recorded
    images = cuts(len(x), GRAD_FLOPS * x.size, most=BRANCHES)
    return together([recorded(x[n], y[n], record[n], axes, scratch) for n in images])


def _recorded_at_once(x: Array, y: Array, record: Array, axes: list[Axis], scratch: Scratch) -> list[Step]:
    """The taps of all windows of a block are gathered in one call; then one axis of the window after the other, the
    last one first, is reduced together with the numbers of the taps."""
    elements, flags, numbers = (Memory(np.dtype(t), scratch) for t in (x.dtype, np.bool_, np.uint8))
    windows, window = _windows(x, axes), [axis.window for axis in axes if axis.window > 1]
    steps: list[Step] = []
    for block in _blocks_of_windows(y, axes):
        most, kept, found = y[block], record[block], windows[_in_windows(block, axes)]
        taps = elements.work("taps", found.shape)
        steps.append(copy(taps, found))
        values, numbered = taps.reshape(*window, *most.shape), _tap_numbers(window, most.ndim)
        for axis in reversed(range(len(window))):
            (best, number), *others = zip(np.moveaxis(values, axis, 0), np.moveaxis(numbered, axis, 0))
            if numbered.size < values.size:
                first, number = number, numbers.work("number", best.shape)
                steps.append(partial(np.copyto, number, first))
            larger, mine = flags.work("larger", best.shape), numbers.work("mine", best.shape)
            for value, its in others:
                into = most if axis == 0 and value is others[-1][0] else best
                steps += [
                    partial(np.greater, value, best, out=larger),
                    partial(np.multiply, larger.view(np.uint8), its, out=mine),
                    partial(np.maximum, number, mine, out=number),  # numbers rise
                    partial(np.maximum, best, value, out=into),
                ]
            values, numbered = best, number
        steps += _without_nan(most, number, kept, flags)
    return steps


def _without_nan(best: Array, number: Array, record: Array, flags: Memory) -> list[Step]:
    """Steps for record = number, or 0 where NaN is the largest."""
    if best.dtype.kind in "iub":
        return [] if number is record else [partial(np.copyto, record, number)]
    known = flags.work("larger", best.shape)
    return [
        partial(np.equal, best, best, out=known),
        partial(np.multiply, number, known.view(np.uint8), out=record),
    ]


def _is_at_once(x: Array, axes: list[Axis]) -> bool:
    """Whether windows lie side by side, in runs so short that taps have to be gathered."""
    beside = all(_is_tight(axis) and axis.places * axis.stride <= axis.size for axis in axes)
    several = x.size > 0 and prod(axis.window for axis in axes) > 1
    return beside and several and x.itemsize < x.shape[-1] * x.itemsize <= LONGEST


def _windows(x: Array, axes: list[Axis]) -> Array:
    """x (N, *S, C) as (*window, N, *S_out, C), where windows lie side by side."""
    inside = (slice(None), *(slice(0, axis.places * axis.stride) for axis in axes))
    split = x[inside].reshape(len(x), *(n for a in axes for n in (a.places, a.window)), x.shape[-1], copy=False)
    count = len(axes)
    return split.transpose(*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), 2 * count + 1)


def _in_windows(block: Block, axes: list[Axis]) -> tuple[Any, ...]:
    """Where the windows of a block are in `_windows`."""
    return (..., *block, *(slice(None),) * len(axes))


def _tap_numbers(window: Sequence[int], rank: int) -> Array:
    """From 1 on, in row-major order, to be broadcast with so many axes more."""
    return np.arange(1, prod(window) + 1, dtype=np.uint8).reshape(*window, *(1,) * rank)


def _blocks_of_windows(y: Array, axes: list[Axis]) -> Iterator[Block]:
    """Blocks of images and rows of y, of whose windows a copy has about so many bytes."""
    row = prod(y.shape[2:]) * y.itemsize * prod(axis.window for axis in axes)
    return blocks(y.shape[:2], AT_ONCE_BYTES // max(1, row))


def _recorded(x: Array, y: Array, record: Array, axes: list[Axis], scratch: Scratch) -> list[Step]:
    elements, flags, numbers = (Memory(np.dtype(t), scratch) for t in (x.dtype, np.bool_, np.uint8))
    steps: list[Step] = []
    for block, taps in _taps(y, axes):
        best, kept = y[block], record[block]
        whole = taps[:1] if taps and taps[0].shape == best.shape[:-1] else []  # the first tap, met from everywhere
        for tap in whole:
            steps += [copy(best, x[tap.met]), partial(kept.fill, tap.number)]
        if not whole:
            steps += [partial(best.fill, lowest(x.dtype)), partial(kept.fill, 0)]
        for tap in taps[len(whole) :]:
            most, number = best[tap.inside], kept[tap.inside]
            given, gathered = _side_by_side(x[tap.met], elements)
            larger, mine = flags.work("larger", most.shape), numbers.work("mine", most.shape)
            steps += [*gathered, partial(np.greater, given, most, out=larger)]
            if not whole:  # the first wins, even if it is the lowest of all numbers
                first = flags.work("first", most.shape)
                steps += [partial(np.equal, number, 0, out=first), partial(np.logical_or, larger, first, out=larger)]
            steps += [
                partial(np.multiply, larger.view(np.uint8), np.uint8(tap.number), out=mine),
                partial(np.maximum, number, mine, out=number),  # numbers rise
                partial(np.maximum, most, given, out=most),
            ]
        steps += _without_nan(best, kept, kept, flags)
    return steps


@kernel
def max_pool_grad(
    x: Array, y: Array, g: Array, record: Array | None, *, window: Ints, strides: Ints, dilations: Ints,
    padding: Pairs, ceil_mode: bool, all_ties: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """out[n, e, c] = Σ of g[n, s, c] over the windows s of which x[n, e, c] is the first largest element, y[n, s, c].

    x and out (N, *S, C), y, g and record (N, *S_out, C).  NaN equals nothing: its window has no gradient.
    """
    axes = axes_of(x, y, window, strides, dilations, padding)

    def spread(n: slice) -> list[Step]:
        if record is None:
            return _spread_to_hits(_hits(x[n], y[n], axes, all_ties, scratch), g[n], axes, out[n], scratch)
        if _is_at_once(out, axes):
            return _spread_at_once(record[n], g[n], axes, out[n], scratch)
        return _spread_to_hits(_recorded_hits(record[n], axes, scratch), g[n], axes, out[n], scratch)

    return together([spread(n) for n in cuts(len(x), GRAD_FLOPS * x.size, most=BRANCHES)])


def _spread_at_once(record: Array, g: Array, axes: list[Axis], out: Array, scratch: Scratch) -> list[Step]:
    """What every tap of a block gets, side by side; then all of it is put in its place in one call."""
    flags, memory = Memory(np.dtype(np.bool_), scratch), Memory(out.dtype, scratch)
    windows, numbers = _windows(out, axes), _tap_numbers([axis.window for axis in axes], g.ndim)
    steps: list[Step] = [] if all(map(_covers, axes)) else [partial(out.fill, 0)]
    for block in _blocks_of_windows(g, axes):
        target = windows[_in_windows(block, axes)]
        hit, chosen = flags.work("hit", target.shape), memory.work("chosen", target.shape)
        steps += [partial(np.equal, record[block], numbers, out=hit), _select(g[block], hit, chosen)]
        steps.append(copy(target, chosen))
    return steps


def _spread_to_hits(hits: Hits, g: Array, axes: list[Axis], out: Array, scratch: Scratch) -> list[Step]:
    overlap = any(axis.overlaps for axis in axes)
    covered = not overlap and all(_covers(axis) for axis in axes)
    steps: list[Step] = [] if covered else [partial(out.fill, 0)]
    memory = Memory(out.dtype, scratch)
    for at, met, hit, found in hits:
        target = out[met]
        apart = overlap or _is_in_short_rows(target)
        chosen = memory.work("chosen", hit.shape) if apart else target
        steps += [*found, _select(g[at], hit, chosen)]
        if apart:
            steps.append(partial(np.add, target, chosen, out=target) if overlap else copy(target, chosen))
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


class Tap(NamedTuple):
    """A tap at the places of a block that it meets elements from: these places, of y and of the block, the elements,
    and the tap's number in the window in row-major order, from 1.
    """

    at: Block
    inside: Block
    met: Block
    number: int

    @property
    def shape(self) -> Ints:
        """How many images and places."""
        return tuple(part.stop - part.start for part in self.at)


def _taps(y: Array, axes: list[Axis]) -> Iterator[tuple[Block, list[Tap]]]:
    """Blocks of images and rows of y, and the taps of each in row-major order."""
    for images, rows in blocks(y.shape[:2], BLOCK_BYTES // max(1, prod(y.shape[2:]) * y.itemsize)):
        firsts = [rows.start, *(0 for _ in axes[1:])]
        counts = [rows.stop - rows.start, *(axis.places for axis in axes[1:])]
        found: list[Tap] = []
        for taps in product(*(axis.taps(*along) for axis, along in zip(axes, zip(firsts, counts)))):
            number = 0
            for axis, first, (start, _, element) in zip(axes, firsts, taps):
                k = (element + axis.before - (first + start) * axis.stride) // axis.dilation
                number = number * axis.window + k
            at = (images, *(slice(first + start, first + stop) for first, (start, stop, _) in zip(firsts, taps)))
            inside = (slice(0, images.stop - images.start), *(slice(start, stop) for start, stop, _ in taps))
            met = (images, *(_elements(axis.stride, *tap) for axis, tap in zip(axes, taps)))
            found.append(Tap(at, inside, met, number + 1))
        yield (images, rows), found


# For each block and each tap of the window: places of y, the elements of x that they meet, whether these are the ones
# that the windows' maxima are, and steps that find that.
Hits = Iterator[tuple[Block, Block, Array, list[Step]]]


def _hits(x: Array, y: Array, axes: list[Axis], all_ties: bool, scratch: Scratch) -> Hits:
    """The first that equal y, or with all_ties all that do."""
    elements, flags = Memory(x.dtype, scratch), Memory(np.dtype(np.bool_), scratch)
    for block, taps in _taps(y, axes):
        waiting = flags.work("waiting", y[block].shape)
        steps: list[Step] = [] if all_ties else [partial(waiting.fill, True)]
        for tap in taps:
            here, (given, gathered) = waiting[tap.inside], _side_by_side(x[tap.met], elements)
            hit = flags.work("hit", here.shape)
            steps += [*gathered, partial(np.equal, given, y[tap.at], out=hit)]
            if not all_ties:
                steps += [partial(np.logical_and, hit, here, out=hit), partial(np.not_equal, hit, here, out=here)]
            yield tap.at, tap.met, hit, steps
            steps = []


def _recorded_hits(record: Array, axes: list[Axis], scratch: Scratch) -> Hits:
    """Those whose numbers are in the record."""
    flags = Memory(np.dtype(np.bool_), scratch)
    for _, taps in _taps(record, axes):
        for tap in taps:
            given = record[tap.at]
            hit = flags.work("hit", given.shape)
            yield tap.at, tap.met, hit, [partial(np.equal, given, np.uint8(tap.number), out=hit)]


def _side_by_side(x: Array, memory: Memory) -> tuple[Array, list[Step]]:
    """x, or a copy where its rows are short: NumPy's inner loops are along one axis."""
    if not _is_in_short_rows(x):
        return x, []
    made = memory.work("gathered", x.shape)
    return made, [copy(made, x)]


def _is_in_short_rows(x: Array) -> bool:
    """Whether it is better to copy x, run by run, than to compute with it where it is."""
    return not x.flags.c_contiguous and x.itemsize < x.shape[-1] * x.itemsize <= LONGEST


def _elements(stride: int, start: int, stop: int, element: int) -> slice:
    """What the places from start to stop meet, beginning with `element`."""
    return slice(element, element + (stop - start - 1) * stride + 1, stride)


def _select(values: Array, hit: Array, out: Array) -> Step:
    """out = values where hit, 0 elsewhere: bits times 0 or 1, exact for all numbers and faster than a masked copy."""
    return partial(np.multiply, _bits(values), hit.view(np.uint8), out=_bits(out))


def _bits(x: Array) -> Array:
    return x.view(f"u{x.itemsize}")


def _covers(axis: Axis) -> bool:
    """Whether every element is met from exactly one place."""
    return _is_tight(axis) and axis.places * axis.stride == axis.size


def _is_tight(axis: Axis) -> bool:
    """Whether windows lie side by side from the first element on."""
    return axis.window == axis.stride and (axis.dilation == 1 or axis.window == 1) and axis.before == 0


@kernel
def avg_pool_grad(
    g: Array, *, sizes: Ints, window: Ints, strides: Ints, dilations: Ints, padding: Pairs, ceil_mode: bool,
    count_include_pad: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """out[n, e, c] = Σ over the windows s that meet e of g[n, s, c] / how many elements s counts (as `avg_pool` does).

    g (N, *S_out, C), out (N, *sizes, C).
    """
    axes = axes_of(out, g, window, strides, dilations, padding)
    dtype = compute_dtype(out.dtype)
    factors = mean_factors(axes, padding, count_include_pad, dtype) if g.size else np.zeros(1)
    spread = _repeated if all(map(_covers, axes)) else _summed
    images = cuts(len(out), GRAD_FLOPS * out.size, most=BRANCHES)
    return together([spread(g[n], factors, axes, out[n], Memory(dtype, scratch)) for n in images])


def _repeated(g: Array, factors: Array, axes: list[Axis], out: Array, memory: Memory) -> list[Step]:
    """Windows that neither overlap nor leave anything out: each element of g · factors, copied to its window."""
    split = [size for axis in axes for size in (axis.places, axis.stride)]
    steps: list[Step] = []
    for images, given in _scaled(g, factors, out, memory, steps):
        apart = given.reshape(len(given), *(n for axis in axes for n in (axis.places, 1)), given.shape[-1])
        steps.append(copy(out[images].reshape(len(given), *split, out.shape[-1], copy=False), apart))
    return steps


def _summed(g: Array, factors: Array, axes: list[Axis], out: Array, memory: Memory) -> list[Step]:
    """One axis after the other: the last one, which is spread first, is short."""
    steps: list[Step] = []
    for images, given in _scaled(g, factors, out, memory, steps):
        for axis in range(len(axes), 0, -1):
            if not axes[axis - 1].trivial:
                spread = memory.work(f"axis {axis}", (*given.shape[:axis], out.shape[axis], *given.shape[axis + 1 :]))
                steps += _spread(given, spread, axis, axes[axis - 1])
                given = spread
        steps.append(copy(out[images], given))
    return steps


def _scaled(
    g: Array, factors: Array, out: Array, memory: Memory, steps: list[Step]
) -> Iterator[tuple[slice, Array]]:  # fmt: skip
    """Groups of images, and g · factors of each, which a step makes."""
    for (images,) in blocks(out.shape[:1], BLOCK_BYTES // max(1, prod(out.shape[1:]) * memory.dtype.itemsize)):
        given = memory.work("scaled", g[images].shape)
        steps.append(partial(np.multiply, g[images], factors, out=given, casting="unsafe"))
        yield images, given


def _spread(g: Array, out: Array, axis: int, along: Axis) -> list[Step]:
    """Steps for out = the sum of what all places of g give to each element of one axis."""
    steps: list[Step] = [partial(out.fill, 0)]
    for start, stop, element in along.taps(0, along.places):
        into = part_of(out, axis, _elements(along.stride, start, stop, element))
        steps.append(partial(np.add, into, part_of(g, axis, slice(start, stop)), out=into))
    return steps
