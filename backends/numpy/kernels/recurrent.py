"""Recurrent layers: three cells, and what they share (packed weights, projection, directions, masks, time loop).

Inside, everything is in the order in which it is computed: the reverse direction is turned around on its way in and
out, so that both directions take a step together.  The batch is the last axis.  The recurrent product is one batched
matmul, R (D, G·H, H) @ h (D, H, N); adding the product with x puts the sums into the order (G, D, H, N), in which any
run of gates is contiguous: a small contiguous operation takes NumPy .25 µs, any other 1 µs.  The products with x of
many steps are made at once, before these steps: as many as stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from ..workers import LEAST_FLOPS, cuts
from ..workers import together as side_by_side
from .elementwise import activate
from .memory import Memory, compute_dtype

PROJECTED_BYTES = 1 << 20  # products with x made at once: few hand-overs between threads, and yet in L2 and L3

Order = tuple[tuple[int, float], ...]  # of the gates in packed weights: which gate of the given ones, scaled by what
Biases = list[tuple[slice, Array]]  # what is added to some rows of the products with x
Cell = Callable[[Array, Array, Array, "Array | None"], list[Step]]  # (product with x, h, h', mask) -> steps


@kernel
def lstm(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    c0: Array | None,
    peephole: Array | None,
    *,
    direction: str,
    activation: Any,
    recurrent_activation: Any,
    output_activation: Any,
    clip: float | None,
    input_forget: bool,
    zero_masked: bool,
    out: tuple[Array | None, Array | None, Array | None],
    scratch: Scratch,
) -> list[Step]:
    """i, f, g, o = x_t W + h R + bias;  c' = ra(f + p_f c) c + ra(i + p_i c) act(g);  h' = ra(o + p_o c') oa(c').

    x (N, T, E), w (D, E, 4H), r (D, H, 4H), bias (D, 4H), mask (N, T), h0 and c0 (N, D, H), peephole (D, 3H) in the
    order i, o, f; out: all h (N, T, D, H), the last h and the last c (N, D, H).
    """
    layer = Layer(x, r, mask, direction, scratch)
    plain = peephole is None and clip is None and not input_forget
    together = plain and _is(recurrent_activation, "sigmoid") and _is(activation, "tanh")
    half = 0.5 if together else 1
    order = ((0, half), (1, half), (3, half), (2, 1))
    recurrent = layer.transposed(r, order)

    # Gates i, f, o, g, and c: the two terms of c' are i f times g c.
    sums, gates = layer.rows(4), layer.gates(5)
    i, f, o, g, c = gates
    terms, squashed = layer.gates(2), layer.rows(1)

    early: list[Step]
    late: list[Step] = []
    if together:
        early = [partial(np.tanh, gates[:4], gates[:4]), *_sigmoid_of_tanh(gates[:3])]
    else:
        p_i, p_o, p_f = layer.peepholes(peephole)
        act = partial(_activated, recurrent_activation, clip)
        forget: list[Step] = [partial(np.subtract, 1, i, f)]
        if not input_forget:
            forget = _peeped(f, p_f, c, squashed) + act(f)
        early = _peeped(i, p_i, c, squashed) + act(i) + forget + _activated(activation, clip, g)
        late = _peeped(o, p_o, c, squashed) + act(o)

    def cell(projected: Array, h: Array, new: Array, keep: Array | None) -> list[Step]:
        return [
            partial(np.matmul, recurrent, h, sums),
            partial(np.add, layer.by_gate(sums), layer.by_gate(projected), gates[:4]),
            *early,
            partial(np.multiply, gates[:2], gates[3:], terms),
            partial(np.add, *terms, c) if keep is None else partial(np.add, *terms, c, where=keep),
            *late,
            *_activated_into(output_activation, c, squashed),
            partial(np.multiply, o, squashed, new),
        ]

    y, last_h, last_c = out
    steps = layer.unrolled(layer.transposed(w, order), layer.biases(bias, order), h0, cell, y, last_h, zero_masked)
    return [*layer.prologue, *layer.initial(c0, c), *steps, *layer.final(c, last_c)]


@kernel
def gru(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    *,
    direction: str,
    activation: Any,
    recurrent_activation: Any,
    reset_after: bool,
    clip: float | None,
    zero_masked: bool,
    out: tuple[Array | None, Array | None],
    scratch: Scratch,
) -> list[Step]:
    """z, r = ra(x_t W + b + h R + c);  h' = z h + (1 - z) n, where n = act(x_t W + b + r (h R + c)), gate by gate.

    Without reset_after, n = act(x_t W + b + (r h) R + c).  x (N, T, E), w (D, E, 3H) and r (D, H, 3H) for z, r, n,
    bias (D, 2, 3H) for b and c, mask (N, T), h0 (N, D, H); out: all h (N, T, D, H) and the last h (N, D, H).
    """
    layer = Layer(x, r, mask, direction, scratch)
    size = layer.hidden
    together = clip is None and _is(recurrent_activation, "sigmoid")
    half = 0.5 if together else 1
    order = ((0, half), (1, half), (2, 1))
    recurrent = layer.transposed(r, order)

    sums, gates, part = layer.rows(3), layer.gates(3), layer.rows(1)
    z, reset, n = gates
    squash: list[Step]
    if together:
        squash = [partial(np.tanh, gates[:2], gates[:2]), *_sigmoid_of_tanh(gates[:2])]
    else:
        squash = _activated(recurrent_activation, clip, gates[:2])

    inner = layer.by_gate(sums)[2]  # h R of n
    add_inner: list[Step] = []
    biases: Biases = []
    if bias is not None:
        both = layer.transposed(bias, order)
        added = slice(2 * size if reset_after else None)
        biases = [(slice(None), both[..., :1]), (added, both[:, added, 1:])]
        if reset_after:  # r multiplies the recurrent bias of n
            add_inner = [partial(np.add, inner, both[:, 2 * size :, 1:], inner)]

    def cell(projected: Array, h: Array, new: Array, keep: Array | None) -> list[Step]:
        steps: list[Step]
        to_n: list[Step]
        given = layer.by_gate(projected)
        to_gates: list[Step] = [partial(np.add, layer.by_gate(sums)[:2], given[:2], gates[:2]), *squash]
        if reset_after:
            to_n = [*add_inner, partial(np.multiply, inner, reset, n)]
            steps = [partial(np.matmul, recurrent, h, sums), *to_gates, *to_n]
        else:
            to_n = [partial(np.multiply, reset, h, part), partial(np.matmul, recurrent[:, 2 * size :], part, n)]
            steps = [partial(np.matmul, recurrent[:, : 2 * size], h, sums[:, : 2 * size]), *to_gates, *to_n]
        return [
            *steps,
            partial(np.add, n, given[2], n),
            *_activated(activation, clip, n),
            partial(np.subtract, h, n, part),  # z h + (1 - z) n = n + z (h - n)
            partial(np.multiply, part, z, part),
            partial(np.add, part, n, new),
        ]

    y, last = out
    steps = layer.unrolled(layer.transposed(w, order), biases, h0, cell, y, last, zero_masked)
    return [*layer.prologue, *steps]


@kernel
def rnn(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    *,
    direction: str,
    activation: Any,
    clip: float | None,
    zero_masked: bool,
    out: tuple[Array | None, Array | None],
    scratch: Scratch,
) -> list[Step]:
    """h' = act(x_t W + h R + bias).

    x (N, T, E), w (D, E, H), r (D, H, H), bias (D, H), mask (N, T), h0 (N, D, H); out: all h (N, T, D, H) and the
    last h (N, D, H).
    """
    layer = Layer(x, r, mask, direction, scratch)
    order = ((0, 1),)
    recurrent, sums = layer.transposed(r, order), layer.rows(1)

    def cell(projected: Array, h: Array, new: Array, keep: Array | None) -> list[Step]:
        return [
            partial(np.matmul, recurrent, h, sums),
            partial(np.add, sums, projected, new),
            *_activated(activation, clip, new),
        ]

    y, last = out
    steps = layer.unrolled(layer.transposed(w, order), layer.biases(bias, order), h0, cell, y, last, zero_masked)
    return [*layer.prologue, *steps]


# ---- what the cells share ------------------------------------------------------------------------------------


class Layer(Memory):
    """The sizes, the packed weights and the time loop of a recurrent layer."""

    def __init__(self, x: Array, r: Array, mask: Array | None, direction: str, scratch: Scratch):
        super().__init__(compute_dtype(x.dtype), scratch)
        self.batch, self.length, _ = x.shape
        self.directions, self.hidden = r.shape[:2]
        self._x, self._mask, self._direction, self._scratch = x, mask, direction, scratch

    def rows(self, gates: int) -> Array:
        """Memory for so many gates, as matmul makes them: (D, gates·H, N)."""
        return self._scratch((self.directions, gates * self.hidden, self.batch), self.dtype)

    def gates(self, gates: int) -> Array:
        """Memory for so many gates, each contiguous: (gates, D, H, N)."""
        return self._scratch((gates, self.directions, self.hidden, self.batch), self.dtype)

    def by_gate(self, rows: Array) -> Array:
        """A view (G, D, H, N) of rows (D, G·H, N)."""
        split = rows.reshape(self.directions, rows.shape[1] // self.hidden, self.hidden, self.batch)
        return np.swapaxes(split, 0, 1)

    def transposed(self, given: Array, order: Order) -> Array:
        """Weights (D, A, G·H) as (D, G·H, A), the gates put in order and scaled."""
        size = self.hidden

        def fill(packed: Array) -> None:
            for place, (gate, factor) in enumerate(order):
                columns = given[..., gate * size : (gate + 1) * size].swapaxes(1, 2)
                np.multiply(columns, factor, out=packed[:, place * size : (place + 1) * size], casting="unsafe")

        return self.packed(given, (self.directions, len(order) * size, given.shape[1]), fill)

    def biases(self, bias: Array | None, order: Order) -> Biases:
        """Bias (D, G·H), for all rows."""
        return [] if bias is None else [(slice(None), self.transposed(bias[:, np.newaxis], order))]

    def peepholes(self, given: Array | None) -> tuple[Array | None, ...]:
        """Weights (D, 3H) as three columns (D, H, 1)."""
        if given is None:
            return None, None, None
        packed = self.transposed(given[:, np.newaxis], ((0, 1), (1, 1), (2, 1)))
        return tuple(np.split(packed, 3, axis=1))

    def initial(self, given: Array | None, state: Array) -> list[Step]:
        """state (D, H, N) = given (N, D, H), or zero."""
        if given is None:
            return [partial(state.fill, 0)]
        return [partial(np.copyto, state, given.transpose(1, 2, 0), casting="unsafe")]

    def final(self, state: Array, out: Array | None) -> list[Step]:
        """out (N, D, H) = state (D, H, N)."""
        return [] if out is None else [partial(np.copyto, out, state.transpose(2, 0, 1), casting="unsafe")]

    def unrolled(
        self,
        weights: Array,
        biases: Biases,
        h0: Array | None,
        cell: Cell,
        y: Array | None,
        last: Array | None,
        zero_masked: bool,
    ) -> list[Step]:
        """The loop over time: each step of the cell, between projections of x and copies to y (N, T, D, H)."""
        h = self.rows(1)
        steps = self.initial(h0, h)
        x = self._x_to_compute(steps)
        keep, skip = self._masks(steps)
        parts = self.parts(weights.shape[1])
        products = self._scratch((self.longest(parts), self.directions, weights.shape[1], self.batch), self.dtype)
        places = 2 if y is None else self.length  # h of each step; two places in turn are enough if nobody asks
        sequence = self._scratch((places, *h.shape), self.dtype)

        for start, stop in parts:
            projected = products[: stop - start]
            steps += self.projected(x, weights, biases, start, stop, projected)
            for s in range(start, stop):
                new = sequence[s % places]
                steps += cell(projected[s - start], h, new, None if keep is None else keep[s])
                if skip is not None:
                    steps.append(partial(np.copyto, new, h, where=skip[s]))
                h = new
            if y is not None:
                steps += self.shown(y, sequence, start, stop)
        return [*steps, *self.final(h, last), *self.blanked(y, h0 is not None, zero_masked)]

    def shown(self, y: Array, sequence: Array, start: int, stop: int) -> list[Step]:
        """Some steps of y (N, T, D, H) = those of a sequence (T, D, H, N) as it was computed."""
        steps: list[Step] = []
        for d in range(self.directions):
            place, made = self._ordered(y[:, :, d], d)[:, start:stop], sequence[start:stop, d].transpose(2, 0, 1)
            steps.append(partial(np.copyto, place, made, casting="unsafe"))
        return steps

    def blanked(self, y: Array | None, started: bool, zero_masked: bool) -> list[Step]:
        """Zeros in y where a masked step does not show the state; `started`: the first state is another than zeros."""
        if y is None or self._mask is None or not (zero_masked or started):
            return []
        return [partial(self._clear, y, self._mask, zero_masked)]

    def parts(self, rows: int) -> list[tuple[int, int]]:
        """Runs of steps (start, stop); `rows` numbers for every direction, sequence and step of a run stay in cache."""
        step_bytes = rows * self.directions * self.batch * self.dtype.itemsize
        count = max(1, min(self.length, PROJECTED_BYTES // max(1, step_bytes)))
        return [(start, min(start + count, self.length)) for start in range(0, self.length, count)]

    def longest(self, parts: list[tuple[int, int]]) -> int:
        """The length of the longest run."""
        return max((stop - start for start, stop in parts), default=0)

    def projected(self, x: Array, weights: Array, biases: Biases, start: int, stop: int, out: Array) -> list[Step]:
        """out (steps, D, rows, N) = the products of some steps of x with the weights, plus biases."""
        flops = 2 * (stop - start) * self.batch * weights.size
        halves = cuts(stop - start, flops, most=2 if self.directions == 1 and self.batch > 1 else 1)
        branches: list[list[Step]] = []
        for d, part in product(range(self.directions), halves):
            made = out[part, d]
            branches.append(self._projection(self._ordered(x, d)[:, start:stop][:, part], weights[d], made))
            branches[-1] += [partial(np.add, made[:, rows], bias[d], made[:, rows]) for rows, bias in biases]
        return branched(branches, flops // len(branches))

    def by_direction(self, steps_of: Callable[[int], list[Step]], flops: int) -> list[Step]:
        """The steps of each direction, side by side where each is work enough."""
        return branched([steps_of(d) for d in range(self.directions)], flops)

    def _ordered(self, sequence: Array, d: int) -> Array:
        """(N, T, ...) in the order of time, or the other way around, as direction d computes it."""
        return sequence[:, ::-1] if d == 1 or self._direction == "reverse" else sequence

    def _x_to_compute(self, steps: list[Step]) -> Array:
        """x in the dtype of computing."""
        if self._x.dtype == self.dtype:
            return self._x
        copy = self._scratch(self._x.shape, self.dtype)
        steps.append(partial(np.copyto, copy, self._x, casting="unsafe"))
        return copy

    def _projection(self, x: Array, weights: Array, out: Array) -> list[Step]:
        """out (T, rows, N) = weights (rows, E) @ x (N, T, E)."""
        if self.batch != 1:
            return [partial(np.matmul, weights, x.transpose(1, 2, 0), out)]
        # One product instead of T products with a vector.  BLAS cannot read rows backwards.
        rows, steps = x[0], []
        if rows.strides[0] < 0:
            rows = self.work("backwards", rows.shape)
            steps.append(partial(np.copyto, rows, x[0]))
        return [*steps, partial(np.matmul, rows, weights.T, out[..., 0])]

    def _masks(self, steps: list[Step]) -> tuple[Array | None, Array | None]:
        """Where steps count and where not, (T, D, 1, N)."""
        if self._mask is None:
            return None, None
        shape = (self.length, self.directions, 1, self.batch)
        keep, skip = self._scratch(shape, np.dtype(bool)), self._scratch(shape, np.dtype(bool))
        for d in range(self.directions):
            steps.append(partial(np.copyto, keep[:, d, 0], self._ordered(self._mask, d).T))
        steps.append(partial(np.logical_not, keep, skip))
        return keep, skip

    def _clear(self, y: Array, mask: Array, zero_masked: bool) -> None:
        """Zeros in y (N, T, D, H) at masked steps: at all of them, or at those before the first that counts."""
        for d in range(self.directions):
            counts = self._ordered(mask, d)
            if not zero_masked:
                counts = np.logical_or.accumulate(counts, axis=1)
            np.copyto(self._ordered(y[:, :, d], d), 0, where=~counts[:, :, np.newaxis])


def branched(branches: list[list[Step]], flops: int) -> list[Step]:
    """Branches side by side if those of one thread are work enough, else one after another."""
    serial = [step for branch in branches for step in branch]
    return side_by_side(branches) if flops >= LEAST_FLOPS and len(branches) > 1 else serial


def _is(activation: Any, name: str) -> bool:
    return activation.name == name and not activation.attrs


def _sigmoid_of_tanh(x: Array) -> list[Step]:
    """sigmoid(2a) from tanh(a): the weights of such gates are halved, so that one tanh serves all gates."""
    half = np.full((), 0.5, x.dtype)  # an array of no axes costs less than a number
    return [partial(np.multiply, x, half, x), partial(np.add, x, half, x)]


def _activated(activation: Any, clip: float | None, x: Array) -> list[Step]:
    """x = activation(x, clipped to [-clip, clip])."""
    call = activate(activation)
    bound: list[Step] = [] if clip is None else [partial(np.clip, x, -clip, clip, x)]
    if _is(activation, "tanh"):
        return [*bound, partial(np.tanh, x, x)]
    return bound if call is None else [*bound, partial(call, x)]


def _activated_into(activation: Any, x: Array, out: Array) -> list[Step]:
    """out = activation(x)."""
    if _is(activation, "tanh"):
        return [partial(np.tanh, x, out)]
    return [partial(np.copyto, out, x), *_activated(activation, None, out)]


def _peeped(gate: Array, weights: Array | None, c: Array, work: Array) -> list[Step]:
    """gate += weights c."""
    if weights is None:
        return []
    return [partial(np.multiply, c, weights, work), partial(np.add, gate, work, gate)]
