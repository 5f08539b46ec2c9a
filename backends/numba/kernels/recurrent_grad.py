"""Recurrent layers in training as compiled loops over time: the way forward with its record, and the way back.

A record has the batch as its last axis, and so has all that is computed here: vectors are of LANES samples.  A unit has
four rows of products of packed weights with x_t (E, N) and h (H, N), one for each gate; the GRU's are z, r, and what h
and x give for n, which stay apart (so two rows are products of one of them).  On the way back a step leaves dz, the
gradients of these sums; what is multiplied with them comes behind the loop, as products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ....ir.attributes import LINEAR, Activation
from ....ir.ops.recurrent import SIGMOID, TANH
from ...numpy.evaluate import flat_steps
from ...numpy.kernels.rows import contiguous
from ...numpy.registry import Array, Scratch, Step
from ...numpy.workers import MOST
from ..compiler import Call, compiled, variant
from ..copies import copied
from ..crew import shares, together
from ..functions import bounded_sigmoid, linear, tanh
from ..products import F32, VECTOR, WIDTH, sum_up
from ..registry import ROWS as TABLE
from ..registry import row
from ..vectors import LANES, ROWS, fma, load, load_one, store

Some = Array | None
GATES = 4  # rows of a unit
NONE = np.zeros(1, np.int64)  # the offset of a row's only run


# ---- compiled ------------------------------------------------------------------------------------------------
# Functions of cells, and what a variant puts in their places:

cell = cell_back = linear


def _lstm_cell(
    z: int, line: int, bias: int, gate: int, record: int, record_t: int, record_row: int, h: int, new: int
) -> None:  # fmt: skip
    """New h, and the record of a step, from the sums z of the gates, `line` bytes apart; their biases, `gate` bytes
    apart; a record has twice i, f and o, act(g), c before, tanh of c after it, twice h before."""
    i = bounded_sigmoid(load(z) + load_one(bias)) * 2.0
    f = bounded_sigmoid(load(z + line) + load_one(bias + gate)) * 2.0
    g = tanh(load(z + 2 * line) + load_one(bias + 2 * gate))
    o = bounded_sigmoid(load(z + 3 * line) + load_one(bias + 3 * gate)) * 2.0
    c = fma(f, load(record + 4 * record_row), i * g) * 0.5
    squashed = tanh(c)
    store(record, i)
    store(record + record_row, f)
    store(record + 2 * record_row, o)
    store(record + 3 * record_row, g)
    store(record + 5 * record_row, squashed)
    store(record + record_t + 4 * record_row, c)
    store(record + record_t + 6 * record_row, o * squashed)
    store(new, o * squashed * 0.5)


def _gru_cell(
    z: int, line: int, bias: int, gate: int, record: int, record_t: int, record_row: int, h: int, new: int
) -> None:  # fmt: skip
    """The same; a record has half of what h gives for n, twice z and r, n, twice z (h - n), h before."""
    update = bounded_sigmoid(load(z) + load_one(bias)) * 2.0
    reset = bounded_sigmoid(load(z + line) + load_one(bias + gate)) * 2.0
    half = (load(z + 2 * line) + load_one(bias + 2 * gate)) * 0.5
    n = tanh(fma(reset, half, load(z + 3 * line) + load_one(bias + 3 * gate)))
    part = update * (load(h) - n)
    made = fma(part, 0.5, n)
    store(record, half)
    store(record + record_row, update)
    store(record + 2 * record_row, reset)
    store(record + 3 * record_row, n)
    store(record + 4 * record_row, part)
    store(record + record_t + 5 * record_row, made)
    store(new, made)


def _lstm_back(record: int, record_row: int, e: Any, dz: int, gate: int, carried: int) -> None:
    """dz of the gates, `gate` bytes apart, from e, the gradient of h; carried: that of c."""
    i, f, o = load(record), load(record + record_row), load(record + 2 * record_row)
    g, c, squashed = load(record + 3 * record_row), load(record + 4 * record_row), load(record + 5 * record_row)
    d = fma(e * o, 0.5 - squashed * squashed * 0.5, load(carried))
    store(dz, d * g * i * (0.5 - i * 0.25))
    store(dz + gate, d * c * f * (0.5 - f * 0.25))
    store(dz + 2 * gate, d * i * (0.5 - g * g * 0.5))
    store(dz + 3 * gate, e * squashed * o * (0.5 - o * 0.25))
    store(carried, d * f * 0.5)


def _gru_back(record: int, record_row: int, e: Any, dz: int, gate: int, carried: int) -> None:
    """The same; carried: what of e goes to h before the step by way of z."""
    half, update, reset = load(record), load(record + record_row), load(record + 2 * record_row)
    n, part = load(record + 3 * record_row), load(record + 4 * record_row)
    d = e * (1.0 - update * 0.5) * (1.0 - n * n)
    store(dz, e * part * (0.5 - update * 0.25))
    store(dz + gate, d * half * reset * (1.0 - reset * 0.5))
    store(dz + 2 * gate, d * reset * 0.5)
    store(dz + 3 * gate, d)
    store(carried, e * update * 0.5)


# samples: a multiple of LANES; pitch: bytes from the samples of a unit to those of the next one; none: an int64 of 0;
# sums: work (ROWS or GATES, WIDTH vectors).


def forward(
    samples: int, pitch: int, length: int, features: int, hidden: int, backwards: int, x: int, x_t: int, w: int, r: int,
    bias: int, h: int, new: int, record: int, record_t: int, record_row: int, none: int, sums: int,
) -> None:  # fmt: skip
    """All steps of one direction: from the states in the record's first entry, and h, to the whole record.

    x (length, features, N), x_t: bytes of a step; w (hidden, GATES, features), r (hidden, GATES, hidden); bias (GATES,
    hidden); h and new (hidden, N) take turns; record (length + 1, rows, hidden, N).
    """
    for s in range(length):
        seen = x + (length - 1 - s if backwards else s) * x_t
        for u in range(hidden):
            n = 0
            while n < samples:
                width = min(WIDTH, (samples - n) // LANES)
                line = width * VECTOR
                for gate in range(0, GATES, ROWS):
                    target, rows = sums + gate * line, GATES * u + gate
                    of_x, of_h = w + 4 * rows * features, r + 4 * rows * hidden
                    sum_up(ROWS, width, of_x, 4 * features, 4, none, 1, features, seen + 4 * n, pitch, target, 0)
                    sum_up(ROWS, width, of_h, 4 * hidden, 4, none, 1, hidden, h + 4 * n, pitch, target, 1)
                for v in range(width):
                    at = u * pitch + 4 * (n + v * LANES)
                    z, here = sums + v * VECTOR, record + s * record_t + at
                    cell(z, line, bias + 4 * u, 4 * hidden, here, record_t, record_row, h + at, new + at)
                n += width * LANES
        h, new = new, h


def backward(
    samples: int, pitch: int, length: int, hidden: int, backwards: int, r: int, depth: int, record: int, record_t: int,
    record_row: int, dy: int, dy_t: int, dh: int, carried: int, adds: int, dz: int, dz_t: int, none: int, sums: int,
) -> None:  # fmt: skip
    """dz (length, GATES · hidden, N), and dh, carried (hidden, N) from those of the last states to those of the first.

    r (hidden, depth) @ the first `depth` rows of dz is the gradient of h, to which `carried` is added if `adds`; dy
    (length, hidden, N), or 0; dy_t, dz_t: bytes of a step.
    """
    for k in range(length):
        s = length - 1 - k
        t = k if backwards else s
        for u in range(hidden):
            for n in range(0, samples, LANES):
                at = u * pitch + 4 * n
                e = load(dh + at)
                if dy != 0:
                    e = e + load(dy + t * dy_t + at)
                cell_back(record + s * record_t + at, record_row, e, dz + t * dz_t + at, hidden * pitch, carried + at)
        through(samples, pitch, hidden, depth, r, dz + t * dz_t, carried if adds else 0, dh, none, sums)


def multiplied(
    samples: int, pitch: int, rows: int, depth: int, r: int, dz: int, added: int, out: int, none: int, sums: int
) -> None:
    """out (rows, N) = r (rows, depth) @ dz (depth, N) + added (rows, N), if that is not 0."""
    u = 0
    while u < rows:
        count, n = ROWS if u + ROWS <= rows else 1, 0
        while n < samples:
            width = min(WIDTH, (samples - n) // LANES)
            sum_up(count, width, r + 4 * u * depth, 4 * depth, 4, none, 1, depth, dz + 4 * n, pitch, sums, 0)
            for i in range(count):
                for v in range(width):
                    made, at = load(sums + (i * width + v) * VECTOR), (u + i) * pitch + 4 * (n + v * LANES)
                    store(out + at, made + load(added + at) if added != 0 else made)
            n += width * LANES
        u += count


through = compiled(multiplied)


@dataclass(frozen=True)
class Kind:
    """A cell: its compiled loops; which of a unit's rows the gates of w and of r are; the record's row of h, and how
    often it is h."""

    forward: Any
    backward: Any
    of_x: Sequence[int]
    of_h: Sequence[int]
    h: int
    scale: int


LSTM = Kind(
    variant(forward, "lstm", cell=_lstm_cell), variant(backward, "lstm", cell_back=_lstm_back),
    (0, 1, 2, 3), (0, 1, 2, 3), 6, 2,
)  # fmt: skip
GRU = Kind(
    variant(forward, "gru", cell=_gru_cell), variant(backward, "gru", cell_back=_gru_back), (0, 1, 3), (0, 1, 2), 5, 1
)


# ---- binding -------------------------------------------------------------------------------------------------


class Layer:
    """The sizes of a layer, and what both ways share."""

    def __init__(self, kind: Kind, x: Array, w: Array, r: Array, direction: str, scratch: Scratch) -> None:
        self.kind, self.direction, self.scratch = kind, direction, scratch
        self.batch, self.length, self.features = x.shape
        self.directions, self.hidden, _ = r.shape
        self.prologue: list[Step] = []
        self.x, self.w, self.r = (contiguous(a, F32, self.prologue, scratch) for a in (x, w, r))
        flops = 2 * self.batch * self.length * GATES * self.hidden * (self.features + self.hidden)
        most = MOST if self.batch >= 2 * WIDTH * LANES else 2  # of few vectors of samples, units take more time
        parts = shares(self.batch, flops, most=max(1, most // self.directions), unit=LANES)
        self.places = list(product(range(self.directions), parts))

    def backwards(self, d: int) -> bool:
        """Whether direction d goes from the end to the beginning."""
        return self.direction == "reverse" or (self.direction == "bidirectional" and d % 2 == 1)

    def memory(self, *shape: int) -> Array:
        """Memory for float32."""
        return self.scratch(shape, F32)

    def state(self, given: Some) -> Array:
        """A state (N, D, H), or zeros, as (D, H, N)."""
        made = self.memory(self.directions, self.hidden, self.batch)
        self.prologue += [partial(made.fill, 0)] if given is None else copied(made, given.transpose(1, 2, 0))
        return made

    def turned(self, x: Array, *axes: int) -> Array:
        """A copy with the axes in another order."""
        view = x.transpose(axes)
        made = self.memory(*view.shape)
        self.prologue += copied(made, view)
        return made

    def spread(self, out: Array, given: Array, rows: Sequence[int], axis: int) -> list[Step]:
        """Steps that copy gates to their rows, along an axis of both; zeros to the others."""
        apart, target = given.swapaxes(0, axis), out.swapaxes(0, axis)
        steps = [step for gate, place in enumerate(rows) for step in copied(target[place], apart[gate])]
        return [*steps, *(partial(target[place].fill, 0) for place in range(GATES) if place not in rows)]

    def gated(self, weights: Array) -> Array:
        """(..., gates · H) as (..., gates, H)."""
        return weights.reshape(*weights.shape[:-1], -1, self.hidden)

    def packed(self, weights: Array, rows: Sequence[int]) -> Array:
        """Weights (D, A, gates · H) as (D, H, GATES, A): the rows of a unit."""
        made = self.memory(self.directions, self.hidden, GATES, weights.shape[1])
        self.prologue += self.spread(made, self.gated(weights).transpose(0, 3, 2, 1), rows, 2)
        return made

    def by_sample(self, sequence: Array, ordered: bool) -> tuple[Array, list[Step]]:
        """(T, D, rows, N) as (N·T, D · rows) in the order of x; `ordered`: each direction has its own order of time."""
        length, d, rows, n = sequence.shape
        made, steps = self.memory(n, length, d, rows), list[Step]()
        for i in range(d):
            part = sequence[::-1, i] if ordered and self.backwards(i) else sequence[:, i]
            steps += copied(made[:, :, i], part.transpose(2, 0, 1))
        return made.reshape(n * length, d * rows), steps

    # ---- forward

    def forwards(self, bias: Array, h: Array, record: Array) -> list[Step]:
        """The loop; bias (D, GATES · H), h (D, H, N) before the first step."""
        w, r = self.packed(self.w, self.kind.of_x), self.packed(self.r, self.kind.of_h)
        seen, new = self.turned(self.x, 1, 2, 0), self.memory(*h.shape)
        branches: list[list[Step]] = []
        for d, n in self.places:
            kept = record[:, :, d, :, n]
            branches.append([Call(
                self.kind.forward, n.stop - n.start, h.strides[1], self.length, self.features, self.hidden,
                self.backwards(d), seen[..., n], seen.strides[0], w[d], r[d], bias[d], h[d, :, n], new[d, :, n], kept,
                *kept.strides[:2], NONE, self.memory(GATES, WIDTH * LANES),
            )])  # fmt: skip
        return together(branches)

    def shown(self, record: Array, y: Some, last: Some) -> list[Step]:
        """The sequence y (N, T, D, H), and the last h (N, D, H)."""
        states, factor, steps = record[1:, self.kind.h], 1 / self.kind.scale, list[Step]()
        if y is not None:
            for d in range(self.directions):
                here, out = states[::-1, d] if self.backwards(d) else states[:, d], y[:, :, d]
                steps += [*copied(out, here.transpose(2, 0, 1)), partial(np.multiply, out, factor, out)]
        if last is not None:
            steps.append(partial(np.multiply, record[-1, self.kind.h].transpose(2, 0, 1), factor, last))
        return steps

    # ---- back

    def back(
        self, record: Array, dy: Some, dh: Array, carried: Array, adds: bool
    ) -> tuple[Array, list[Step]]:  # fmt: skip
        """dz (T, D, GATES · H, N), and the loop that makes it."""
        given = None if dy is None else self.turned(dy, 1, 2, 3, 0)
        dz = self.memory(self.length, self.directions, GATES * self.hidden, self.batch)
        branches: list[list[Step]] = []
        for d, n in self.places:
            kept, here = record[:, :, d, :, n], None if given is None else given[:, d, :, n]
            branches.append([Call(
                self.kind.backward, n.stop - n.start, dh.strides[1], self.length, self.hidden, self.backwards(d),
                self.r[d], self.r.shape[2], kept, *kept.strides[:2], here, 0 if here is None else here.strides[0],
                dh[d, :, n], carried[d, :, n], adds, dz[:, d, :, n], dz.strides[0], NONE,
                self.memory(ROWS, WIDTH * LANES),
            )])  # fmt: skip
        return dz, together(branches)

    def gradients(
        self, record: Array, dz: Array, w: Array, dx: Some, dw: Some, dr: Some, dbias: Some
    ) -> list[Step]:  # fmt: skip
        """Gradients of x, w, r and bias; w and dw (D, E, GATES · H), and dbias (D, GATES · H), are of all rows of a
        unit."""
        d, e = self.directions, self.features
        rows, steps = self.by_sample(dz, False)
        if dw is not None:
            made = self.memory(e, rows.shape[1])
            steps += self.product(self.x.reshape(-1, e).T, rows, made)
            steps.append(partial(np.copyto, dw, made.reshape(e, d, -1).swapaxes(0, 1)))
        if dx is not None:
            turned = self.memory(rows.shape[1], e)
            steps += copied(turned.reshape(d, -1, e), w.swapaxes(1, 2))
            steps += self.product(rows, turned, dx.reshape(-1, e))
        if dbias is not None:
            steps += self.product(np.ones((1, len(rows)), F32), rows, dbias.reshape(1, -1))
        if dr is not None:
            states, turns = self.by_sample(record[:-1, self.kind.h], True)
            steps += turns
            for i, (h, part) in enumerate(zip(np.split(states, d, 1), np.split(rows, d, 1))):
                steps += self.product(h.T, part[:, : dr.shape[2]], dr[i])
            steps += [partial(np.multiply, dr, 1 / self.kind.scale, dr)] if self.kind.scale != 1 else []
        return steps

    def product(self, x: Array, y: Array, out: Array) -> list[Step]:
        """out = x @ y."""
        return flat_steps(TABLE["matmul"].call(x, y, None, None, activation=LINEAR, out=out, scratch=self.scratch))

    def delivered(self, state: Array, out: Some) -> list[Step]:
        """A state (D, H, N) as (N, D, H), if it is asked for."""
        return [] if out is None else [partial(np.copyto, out, state.transpose(2, 0, 1))]


def _fits(x: Array, mask: Some, *others: Some) -> bool:
    """Whether arrays are what is compiled: whole vectors of float32 samples, no mask."""
    given = all(a is None or a.dtype == F32 for a in (x, *others))
    return given and mask is None and x.size > 0 and x.shape[0] % LANES == 0


def _plain(activation: Activation, recurrent_activation: Activation, clip: float | None, **more: Any) -> bool:
    """Whether a cell is the usual one."""
    return (recurrent_activation, activation, clip) == (SIGMOID, TANH, None)


def _is_lstm(peephole: Some, output_activation: Activation, input_forget: bool, **how: Any) -> bool:
    return peephole is None and output_activation == TANH and not input_forget and _plain(**how)


@row
def lstm_record(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, c0: Some, peephole: Some, *, direction: str,
    zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step] | None:  # fmt: skip
    """Batches of whole vectors, without mask."""
    y, last_h, last_c, record = out
    if record is None or not _is_lstm(peephole, **how) or not _fits(x, mask, w, r, h0, c0):
        return None
    layer = Layer(LSTM, x, w, r, direction, scratch)
    h, c = layer.state(h0), layer.state(c0)
    given = np.zeros((layer.directions, GATES * layer.hidden), F32) if bias is None else bias
    loop = layer.forwards(contiguous(given, F32, layer.prologue, scratch), h, record)
    first: list[Step] = [partial(np.multiply, h, 2, record[0, 6]), partial(np.copyto, record[0, 4], c)]
    empty = [partial(record[-1, rows].fill, 0) for rows in (slice(0, 4), slice(5, 6))]
    shown = [*layer.shown(record, y, last_h), *layer.delivered(record[-1, 4], last_c)]
    return [*layer.prologue, *first, *loop, *empty, *shown]


@row
def lstm_grad(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, c0: Some, peephole: Some, dy: Some, dh: Some,
    dc: Some, record: Some, *, direction: str, zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step] | None:  # fmt: skip
    """Where there is a record that `lstm_record` could have made, and nobody asks for the gradient of peepholes."""
    dx, dw, dr, dbias, dh0, dc0, dp = out
    fits = dp is None and _is_lstm(peephole, **how) and _fits(x, mask, w, r, dy, dh, dc, record)
    if record is None or not fits:
        return None
    layer = Layer(LSTM, x, w, r, direction, scratch)
    d_h, d_c = layer.state(dh), layer.state(dc)
    dz, loop = layer.back(record, dy, d_h, d_c, False)
    steps = [*layer.prologue, *loop, *layer.delivered(d_h, dh0), *layer.delivered(d_c, dc0)]
    return [*steps, *layer.gradients(record, dz, layer.w, dx, dw, dr, dbias)]


@row
def gru_record(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, *, direction: str, reset_after: bool,
    zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step] | None:  # fmt: skip
    """Batches of whole vectors, without mask, with reset_after."""
    y, last, record = out
    if record is None or not reset_after or not _plain(**how) or not _fits(x, mask, w, r, h0):
        return None
    layer = Layer(GRU, x, w, r, direction, scratch)
    h = layer.state(h0)
    biases = layer.memory(layer.directions, GATES * layer.hidden)
    z_r_u_n = layer.gated(biases)
    if bias is None:
        layer.prologue.append(partial(biases.fill, 0))
    else:
        with_x, with_h = (layer.gated(bias[:, i]) for i in range(2))
        layer.prologue += [
            partial(np.add, with_x[:, :2], with_h[:, :2], z_r_u_n[:, :2]),
            partial(np.copyto, z_r_u_n[:, 2], with_h[:, 2]),
            partial(np.copyto, z_r_u_n[:, 3], with_x[:, 2]),
        ]
    loop = layer.forwards(biases, h, record)
    empty: list[Step] = [partial(record[-1, :5].fill, 0)]
    return [*layer.prologue, partial(np.copyto, record[0, 5], h), *loop, *empty, *layer.shown(record, y, last)]


@row
def gru_grad(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, dy: Some, dh: Some, record: Some, *,
    direction: str, reset_after: bool, zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step] | None:  # fmt: skip
    """Where there is a record that `gru_record` could have made."""
    dx, dw, dr, dbias, dh0 = out
    if record is None or not reset_after or not _plain(**how) or not _fits(x, mask, w, r, dy, dh, record):
        return None
    layer = Layer(GRU, x, w, r, direction, scratch)
    d_h, carried = layer.state(dh), layer.state(None)
    dz, loop = layer.back(record, dy, d_h, carried, True)
    steps = [*layer.prologue, *loop, *layer.delivered(d_h, dh0)]
    wide, dw_wide = (layer.memory(layer.directions, layer.features, GATES * layer.hidden) for _ in range(2))
    sums = layer.memory(layer.directions, GATES * layer.hidden)
    steps += layer.spread(layer.gated(wide), layer.gated(layer.w), GRU.of_x, 2)
    steps += layer.gradients(record, dz, wide, dx, dw_wide, dr, sums)
    if dw is not None:
        steps += _picked(layer.gated(dw), layer.gated(dw_wide), GRU.of_x)
    for i, rows in enumerate((GRU.of_x, GRU.of_h) if dbias is not None else ()):
        assert dbias is not None
        steps += _picked(layer.gated(dbias[:, i]), layer.gated(sums), rows)
    return steps


def _picked(out: Array, wide: Array, rows: Sequence[int]) -> list[Step]:
    """Steps for out (..., gates, H) = its rows of `wide` (..., GATES, H)."""
    return [partial(np.copyto, out[..., gate, :], wide[..., place, :]) for gate, place in enumerate(rows)]
