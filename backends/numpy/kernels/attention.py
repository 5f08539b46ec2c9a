"""Attention, block by block of heads and rows: the matrix of all rows against all keys is never there.

A block of rows sees all keys, so its softmax is plain and exact.  Where keys are so many that even a few rows of
scores are too much for the cache, they come in chunks with a running maximum (online softmax: Milakov & Gimelshein
2018; blocks: Dao et al. 2022, FlashAttention).

NumPy facts behind the forms: the largest number of each row costs as much as exp, that of the whole block a fifth of
it; sums of rows as a product with ones a quarter of add.reduce; a product with k transposed by a copy is faster than
with a view, and the scale comes with that copy for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .linalg import blas_operand
from .rows import LARGEST_EXPONENT, SMALLEST_TOTAL, converted, spread_rows, wide_dtype

SCORES = 1 << 16  # of a block: in float32 a quarter of L2
LEAST_ROWS = 32  # products of fewer rows are slow
MOST_KEYS = 1 << 12  # at once
CHUNK_KEYS = 1 << 11  # where there are more
SCORE_FLOPS = 40  # what the softmax of one score counts for where work is shared out: products go so much faster


class Unit(NamedTuple):
    """A block: the sample, some of its heads, some rows of these."""

    sample: tuple[int, ...]
    heads: slice
    rows: slice


@dataclass(frozen=True)
class Job:
    """Operands with the same leading axes, at least one of them, which is called heads here."""

    q: Array
    k: Array
    v: Array
    mask: Array | None
    bias: Array | None
    out: Array
    scale: float
    causal: bool
    soft_cap: float | None
    lowest: float

    @property
    def keys(self) -> int:
        return int(self.k.shape[-2])

    def last_key(self, rows: slice) -> int:
        """How many keys some rows see: with a mask even those that are later, as none may be left."""
        return min(rows.stop, self.keys) if self.causal and self.mask is None else self.keys


@kernel
def attention(
    q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None, *, scale: float, causal: bool,
    soft_cap: float | None, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """softmax(scale q kᵀ, capped, biased, masked) v; narrow floats are computed in float32."""
    if out.size == 0 or k.shape[-2] == 0:
        return [partial(out.fill, 0)]
    wide = wide_dtype(out.dtype)
    steps: list[Step] = []
    q, v = (blas_operand(x, wide, steps, scratch) for x in (q, v))
    k = converted(k, wide, steps, scratch)
    bias = None if bias is None else converted(bias, wide, steps, scratch)
    result = out if out.dtype == wide and out.flags.c_contiguous else scratch(out.shape, wide)
    lead = out.shape[:-2] or (1,)
    places = (*lead, q.shape[-2], k.shape[-2])
    q, k, v = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (q, k, v))
    mask, bias = (None if x is None else np.broadcast_to(x, places) for x in (mask, bias))
    target = result.reshape((*lead, *out.shape[-2:]))
    job = Job(q, k, v, mask, bias, target, scale, causal, soft_cap, float(np.finfo(wide).min))
    steps += together([_branch(job, units, scratch) for units in _shares(job)])
    return steps if result is out else [*steps, partial(np.copyto, out, result, casting="unsafe")]


def _shares(job: Job) -> list[list[Unit]]:
    """The units of each branch."""
    *samples, heads, rows, width = job.q.shape
    scores = math.prod(samples) * heads * rows * job.keys
    flops = scores * (2 * width + 2 * job.v.shape[-1] + SCORE_FLOPS)
    branches = len(cuts(scores, flops))
    long = min(rows, max(LEAST_ROWS, SCORES // min(job.keys, CHUNK_KEYS)))
    together = max(1, min(SCORES // (long * job.keys), math.prod(samples) * heads // branches)) if long == rows else 1
    units = [
        Unit(sample, slice(h, min(h + together, heads)), slice(i, min(i + long, rows)))
        for sample in np.ndindex(*samples)
        for h in range(0, heads, together)
        for i in range(0, rows, long)
    ]
    return [units[part] for part in cuts(len(units), flops)]


def _branch(job: Job, units: list[Unit], scratch: Scratch) -> list[Step]:
    """The blocks of one thread, one after the other in the same scratch."""
    heads = max(u.heads.stop - u.heads.start for u in units)
    rows = max(u.rows.stop - u.rows.start for u in units)
    keys = job.keys if job.keys <= MOST_KEYS else CHUNK_KEYS
    dtype, width = job.out.dtype, job.k.shape[-1]
    room = Room(
        scratch((heads * width * job.keys,), dtype),
        scratch((heads * rows * keys,), dtype),
        scratch((heads * rows * keys,) if job.mask is not None else (0,), dtype),
        scratch((heads * rows,), dtype),
        scratch((heads * rows * job.out.shape[-1],), dtype),
        np.ones(keys, dtype),
        np.triu(np.full((rows, min(job.keys, rows if job.mask is None else keys)), job.lowest, dtype), 1)
        if job.causal
        else None,
    )
    steps: list[Step] = []
    packed: Any = None
    for unit in units:
        here = job.k[unit.sample][unit.heads]
        turned = room.turned[: here.size].reshape(len(here), width, job.keys)
        if packed != (unit.sample, unit.heads.start):
            packed = unit.sample, unit.heads.start
            steps.append(partial(np.multiply, here.swapaxes(1, 2), dtype.type(job.scale), out=turned))
        steps.append(partial(_attend if job.keys <= MOST_KEYS else _attend_in_chunks, Block(job, unit, turned, room)))
    return steps


class Room(NamedTuple):
    """Scratch of a branch, flat, and constants: ones, and 0 on and below the diagonal with the lowest number above."""

    turned: Array
    scores: Array
    kept: Array
    totals: Array
    factors: Array
    ones: Array
    later: Array | None


class Block:
    """The arrays of a unit.  `turned`: its keys (heads, D, Tk), times the scale."""

    def __init__(self, job: Job, unit: Unit, turned: Array, room: Room) -> None:
        sample: Any = (*unit.sample, unit.heads)
        place: Any = (*sample, unit.rows)
        self.q, self.out, self.v = job.q[place], job.out[place], job.v[sample]
        self.turned, self.room, self.soft_cap, self.lowest = turned, room, job.soft_cap, job.lowest
        self.first, self.end = unit.rows.start, job.last_key(unit.rows)
        self.bias = None if job.bias is None else _without_copies(job.bias[place])
        self.mask = None if job.mask is None else _without_copies(job.mask[place], keep_rows=job.causal)
        self.totals = room.totals[: self.q.shape[0] * self.q.shape[1]]

    def scores(self, keys: slice) -> Array:
        """What goes into the softmax, for some of the keys: (heads, rows, keys)."""
        shape = (*self.q.shape[:2], keys.stop - keys.start)
        s = self.room.scores[: math.prod(shape)].reshape(shape)
        np.matmul(self.q, self.turned[:, :, keys], out=s)
        if self.soft_cap is not None:
            np.divide(s, self.soft_cap, out=s)
            np.tanh(s, out=s)
            np.multiply(s, self.soft_cap, out=s)
        if self.bias is not None:
            np.add(s, self.bias[:, :, keys] if self.bias.shape[2] > 1 else self.bias, out=s)
        if self.mask is not None:
            np.add(s, self._kept(self.mask[:, :, keys] if self.mask.shape[2] > 1 else self.mask, keys), out=s)
        elif self.room.later is not None:
            self._hide_later(s, keys, np.add)
        return s

    def _kept(self, mask: Array, keys: slice) -> Array:
        """0 where the mask holds, and no later key is, the lowest number elsewhere."""
        shape = (*mask.shape[:2], keys.stop - keys.start)
        kept = self.room.kept[: math.prod(shape)].reshape(shape)
        np.copyto(kept, mask)
        np.subtract(kept, 1, out=kept)
        np.multiply(kept, -self.lowest, out=kept)
        if self.room.later is not None:
            self._hide_later(kept, keys, np.minimum)
        return kept

    def _hide_later(self, s: Array, keys: slice, combine: np.ufunc) -> None:
        """The lowest number for keys that come after the row: row r of the block is row first + r."""
        later = self.room.later
        assert later is not None
        begin = max(self.first, keys.start)
        if begin >= keys.stop:
            return
        ahead = begin - self.first  # so many columns of the triangle are left out
        part = s[:, :, begin - keys.start :]
        count = min(part.shape[2], max(later.shape[1] - ahead, 0))
        combine(part[:, :, :count], later[: s.shape[1], ahead : ahead + count], out=part[:, :, :count])
        if count < part.shape[2]:
            combine(part[:, :, count:], self.lowest, out=part[:, :, count:])


def _without_copies(x: Array, keep_rows: bool = False) -> Array:
    """A broadcast view with 1 in the place of the axes that only repeat, the rows perhaps."""
    repeats = [stride == 0 and not (keep_rows and axis == 1) for axis, stride in enumerate(x.strides)]
    return x[tuple(slice(0, 1) if r else slice(None) for r in repeats)]


def _attend(block: Block) -> None:
    """All keys at once.  Without taking the maximum away first, where that is safe: no exponent too large, no sum
    that came to nothing."""
    keys = slice(0, block.end)
    s = block.scores(keys)
    rows = s.reshape(-1, block.end)
    ones = block.room.ones[: block.end]
    safe = s.max() <= LARGEST_EXPONENT
    if safe:
        np.exp(s, out=s)
        np.dot(rows, ones, out=block.totals)
        safe = block.totals.min() >= SMALLEST_TOTAL
        s = s if safe else block.scores(keys)
    if not safe:
        np.subtract(s, s.max(axis=2, keepdims=True), out=s)
        np.exp(s, out=s)
        np.dot(rows, ones, out=block.totals)
    np.matmul(s, block.v[:, : block.end], out=block.out)
    _divide(block)


def _divide(block: Block) -> None:
    """The rows of the result by their totals."""
    np.reciprocal(block.totals, out=block.totals)
    factors = block.room.factors[: block.out.size].reshape(block.out.shape)
    spread_rows(block.totals.reshape(block.out.shape[:2]), factors)
    np.multiply(block.out, factors, out=block.out)


def _chunks(end: int) -> Iterator[slice]:
    return (slice(i, min(i + CHUNK_KEYS, end)) for i in range(0, end, CHUNK_KEYS))


def _attend_in_chunks(block: Block) -> None:
    """One head.  What was added up so far is scaled anew whenever a larger score comes."""
    shape = (*block.q.shape[:2], 1)
    largest = np.full(shape, -np.inf, block.out.dtype)
    totals, part = block.totals.reshape(shape), np.empty(block.out.shape, block.out.dtype)
    for keys in _chunks(block.end):
        s = block.scores(keys)
        before, largest = largest, np.maximum(largest, s.max(axis=2, keepdims=True))
        np.exp(np.subtract(s, largest, out=s), out=s)
        np.matmul(s, block.v[:, keys], out=part)
        fresh = s.sum(axis=2, keepdims=True)
        if keys.start:
            kept = np.exp(before - largest)
            np.add(np.multiply(totals, kept, out=totals), fresh, out=totals)
            np.add(np.multiply(block.out, kept, out=block.out), part, out=block.out)
        else:
            np.copyto(totals, fresh)
            np.copyto(block.out, part)
    _divide(block)
