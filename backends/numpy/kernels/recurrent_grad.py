"""Backpropagation through time.

What a step of the way back multiplies its gradients with depends on the way forward alone, whose record is given or
made first.  So these factors are made for many steps at once, ahead of the loop; the loop itself has one small product
and two to four other operations a step, and leaves dz, the gradients of the sums that went into the activations.
Behind the loop dz is multiplied with x, h and w, for many steps at once (`recurrent_sums`).  What is ahead and behind
another thread does meanwhile (`flow`).  Layouts are those of `recurrent_layer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..flow import Tasks
from ..registry import Array, Scratch, Step, kernel
from .memory import compute_dtype
from .products import in_pieces
from .recurrent import Gru, Lstm, Rnn, peeped_into
from .recurrent_layer import RING, Loop, before, is_plain, is_worth_a_thread
from .recurrent_sums import Left, Outs, Sums
from .slopes import slope, slope_into

Some = Array | None


class Backward:
    """The loop back of a cell.

    A step multiplies with `factors` rows (D, H, N), which `prepare` makes, and makes `made` rows, of which those in
    `of_dz` are dz.  Attributes `of_x` and `left` are those of `Sums`; columns of r stand in the order of dz.
    """

    factors: int
    made: int
    of_dz: slice
    of_x: slice

    def __init__(self, layer: Loop, w: Array, r: Array, outs: Outs, left: list[Left]) -> None:
        self.layer = layer
        self.r = r
        rows = self.of_dz.stop - self.of_dz.start
        self.sums = Sums(layer, w, outs, rows, self.of_x, left)
        self.parts = layer.parts(self.factors, self.sums.flops)
        longest = max((stop - start for start, stop in self.parts), default=0)
        self.k, self.steps = layer.gates(self.factors, RING, longest), layer.gates(self.made, RING, longest)
        self.dy = layer.gates(1, RING, longest)[:, :, 0]
        d, size, n = layer.state
        if d == 1:  # what the steps make is in the order of dz already
            self.dz = self.steps[:, :, self.of_dz].reshape(RING, longest, 1, rows * size, n, copy=False)
        else:
            self.dz = layer.memory((RING, longest, d, rows * size, n))

    def prepare(self, k: Array, start: int, stop: int) -> None:
        """The factors of some steps (steps, factors, D, H, N)."""
        raise NotImplementedError

    def step(self, s: int, k: Array, made: Array, dz: Array, after: Array, result: Array) -> list[Step]:
        """dz of step s, and result = the gradient of h before it, from `after`, that of h after it."""
        raise NotImplementedError

    def behind(self, i: int, start: int, stop: int) -> list[Step]:
        """What else is to be done with the rows of a part, in the order of parts."""
        return []

    # ---- the loop

    def backward(self, dy: Some, dh: Some, dh0: Some, zero_masked: bool) -> list[Step]:
        """From the gradients of the sequence and of the last h to that of the first h, and those that `Sums` makes."""
        layer, tasks, parts = self.layer, Tasks(), self.parts[::-1]
        after, result = layer.gates(2)
        steps = layer.initial(dh, after)
        hidden = self._hidden(zero_masked) if dy is not None else None
        ahead, loops, sums = list[int](), list[int](), list[list[int]]()
        for i, (start, stop) in enumerate(parts):
            for k in range(len(ahead), min(i + 2, len(parts))):
                ahead.append(tasks.enter(self._ahead(*parts[k], k % RING, dy, hidden), loops[before(k)]))
            loop: list[Step] = []
            for s in reversed(range(start, stop)):
                loop += self._step(s, i % RING, s - start, after, result, dy is not None)
                after, result = result, after
            freed = [number for numbers in sums[before(i)] for number in numbers]
            loops.append(tasks.enter([*loop, *self.behind(i, start, stop)], [ahead[i], *freed], main=True))
            dz = self.dz[i % RING, : stop - start]
            sums.append(self.sums.tasks(tasks, dz, loops[i], sums[i - 1] if i else [], start, stop, i))
        flowing = is_worth_a_thread(self.sums.flops, parts)
        return [*steps, *tasks.as_steps(flowing), *layer.final(after, dh0), *self.sums.delivered()]

    def _step(self, s: int, slot: int, place: int, after: Array, result: Array, shown: bool) -> list[Step]:
        steps: list[Step] = [partial(np.add, after, self.dy[slot, place], after)] if shown else []
        steps += self.step(s, self.k[slot, place], self.steps[slot, place], self.dz[slot, place], after, result)
        return [*steps, *self.layer.kept(result, after, s)]

    def in_rows(self, made: Array, dz: Array) -> list[Step]:
        """dz (D, rows, N) from what a step made, where that is other memory."""
        layer = self.layer
        if layer.directions == 1:
            return []
        by_gate = dz.reshape(layer.directions, -1, layer.hidden, layer.batch).swapaxes(0, 1)
        return [partial(np.copyto, by_gate, made[self.of_dz])]

    def through(self, r: Array, dz: Array, out: Array) -> Step:
        """out (D, H, N) = r (D, H, rows) @ dz (D, rows, N)."""
        if self.layer.directions > 1 or not r[0].flags.c_contiguous:
            return in_pieces(r, dz, out) or partial(np.matmul, r, dz, out)
        return in_pieces(r[0], dz[0], out[0]) or partial(r[0].dot, dz[0], out[0])

    # ---- ahead of the loop

    def _ahead(self, start: int, stop: int, slot: int, dy: Some, hidden: Some) -> list[Step]:
        """The factors of some steps, and the gradient of the sequence as the steps compute it."""
        layer, count = self.layer, stop - start
        steps: list[Step] = [partial(self._prepared, self.k[slot, :count], start, stop)]
        if dy is None:
            return steps
        out = self.dy[slot, :count]
        for d in range(layer.directions):
            given = layer.ordered(dy[:, :, d], d)[:, start:stop].transpose(1, 2, 0)
            steps.append(partial(np.copyto, out[:, d], given, casting="unsafe"))
        return steps if hidden is None else [*steps, partial(np.copyto, out, 0, where=hidden[start:stop])]

    def _prepared(self, k: Array, start: int, stop: int) -> None:
        """The factors of some steps, zero where these are masked: nothing goes into the cell there."""
        with unbuffered():
            self.prepare(k, start, stop)
            if self.layer.skip is not None:
                np.copyto(k, 0, where=self.layer.skip[start:stop, np.newaxis])
                self.passed(k, self.layer.skip[start:stop])

    def passed(self, k: Array, skip: Array) -> None:
        """The factors of masked steps that are not zero; skip (steps, D, 1, N)."""

    def _hidden(self, zero_masked: bool) -> Some:
        """Where the sequence shows zeros, (T, D, 1, N): at masked steps, or those before the first that counts."""
        skip = self.layer.skip
        if skip is None or zero_masked:
            return skip
        hidden = self.layer.memory(skip.shape, np.dtype(bool))
        self.layer.prologue.append(partial(np.logical_and.accumulate, skip, 0, None, hidden))
        return hidden

    def computed(self, weights: Array) -> Array:
        """Weights as they are, contiguous and in the dtype of computing."""
        if weights.dtype == self.layer.dtype and weights.flags.c_contiguous:
            return weights
        return self.layer.packed(weights, weights.shape, lambda out: np.copyto(out, weights, casting="unsafe"))


@contextmanager
def unbuffered() -> Iterator[None]:
    """Ufuncs inside read and write arrays that are not contiguous as they are.

    NumPy would copy parts of them to a buffer, which takes longer than it saves where rows are long.
    """
    size = np.setbufsize(16)
    try:
        yield
    finally:
        np.setbufsize(size)


def memory_for(record: Some, x: Array, r: Array, rows: int, scratch: Scratch) -> Array:
    """The record, or memory for one: (T + 1, rows, D, H, N)."""
    if record is not None:
        return record
    return scratch((x.shape[1] + 1, rows, *r.shape[:2], x.shape[0]), compute_dtype(x.dtype))


# ---- cells ---------------------------------------------------------------------------------------------------


class LstmBack(Backward):
    """Rows of a step: dc before it; dz of i, f, g, o; what dh adds to dc'."""

    factors = made = 6
    of_dz, of_x = slice(1, 5), slice(0, 4)

    def __init__(self, cell: Lstm, record: Array, w: Array, r: Array, outs: Outs, dp: Some) -> None:
        super().__init__(cell, w, r, outs, [Left(slice(0, 4), range(4), record[:-1, 6], cell.scale)])
        self.r = self.computed(r)
        self.cell, self.record, self.dp = cell, record, dp
        self.d_c, self.work = cell.gates(2)
        self.of_p = cell.memory((3, *cell.state[:2])) if dp is not None else None

    def prepare(self, k: Array, start: int, stop: int) -> None:
        cell, new_c = self.cell, self.record[start + 1 : stop + 1, 4]
        (i, f, o, g, c, s, _), (t, k_i, k_f, k_g, k_o, k_c) = (a.swapaxes(0, 1) for a in (self.record[start:stop], k))
        if not cell.together:
            self._apart(k, start, stop)
            return
        for twice, factor, out in (
            (self.record[start:stop, :2], self.record[start:stop, 3:5], k[:, 1:3]), (o, s, k_o),
        ):  # fmt: skip
            twice_slope(twice, out)
            np.multiply(out, factor, out)
        half_slope_of_tanh(g, k_g)
        np.multiply(k_g, i, k_g)
        if is_plain(cell.of_c, "tanh"):
            half_slope_of_tanh(s, k_c)
        else:
            np.multiply(slope(cell.of_c, None, new_c, s), 0.5, k_c)
        np.multiply(k_c, o, k_c)
        np.multiply(f, 0.5, t)

    def _apart(self, k: Array, start: int, stop: int) -> None:
        """The factors where each gate has an activation of its own."""
        cell = self.cell
        assert cell.inputs is not None
        i, f, o, g, c, s, _ = self.record[start:stop].swapaxes(0, 1)
        z_i, z_f, z_o, z_g = cell.inputs[start:stop].swapaxes(0, 1)
        t, k_i, k_f, k_g, k_o, k_c = k.swapaxes(0, 1)
        new_c = self.record[start + 1 : stop + 1, 4]
        for out, how, z, y, factor in (
            (k_i, cell.gate, z_i, i, g), (k_f, cell.gate, z_f, f, 0 if cell.input_forget else c),
            (k_g, cell.act, z_g, g, i), (k_o, cell.gate, z_o, o, s), (k_c, (cell.of_c, None), new_c, s, o),
        ):  # fmt: skip
            slope_into(*how, z, y, out)
            np.multiply(out, factor, out)
        if cell.input_forget:
            k_i -= slope(*cell.gate, z_i, i) * c
        np.copyto(t, f)

    def passed(self, k: Array, skip: Array) -> None:
        np.copyto(k[:, 0], 1, where=skip)

    def step(self, s: int, k: Array, made: Array, dz: Array, after: Array, result: Array) -> list[Step]:
        cell, d_c, self.d_c = self.cell, self.d_c, made[0]
        return [
            partial(np.multiply, after, k[4:], made[4:]),
            partial(np.add, d_c, made[5], d_c),
            *peeped_into(d_c, cell.p_o, made[4], self.work),
            partial(np.multiply, d_c, k[:4], made[:4]),
            *peeped_into(made[0], cell.p_i, made[1], self.work),
            *peeped_into(made[0], cell.p_f, made[2], self.work),
            *self.in_rows(made, dz),
            self.through(self.r, dz, result),
        ]

    def behind(self, i: int, start: int, stop: int) -> list[Step]:
        return [] if self.of_p is None else [partial(self._peepholes, i, start, stop, self.of_p)]

    def _peepholes(self, i: int, start: int, stop: int, total: Array) -> None:
        """total (3, D, H) += the sums of dz_i c, dz_o c', dz_f c of some steps; i: the number of the part."""
        made = self.steps[i % RING, : stop - start]
        c, new_c = self.record[start:stop, 4], self.record[start + 1 : stop + 1, 4]
        for out, row, factor in zip(total, (1, 4, 2), (c, new_c, c)):
            found = np.einsum("tdhn,tdhn->dh", made[:, row], factor)
            np.add(out if i else 0, found, out)

    def of_peepholes(self) -> list[Step]:
        """The gradient of the peepholes to its place."""
        if self.dp is None or self.of_p is None:
            return []
        by_gate = self.dp.reshape(self.cell.directions, 3, -1, copy=False).swapaxes(0, 1)
        return [partial(np.copyto, by_gate, self.of_p if self.cell.length else 0, casting="unsafe")]


class GruBack(Backward):
    """Rows of a step: dz of n as r sees it, of z, r, n; dh by way of z."""

    factors = made = 5
    of_dz, of_x = slice(0, 4), slice(1, 4)

    def __init__(self, cell: Gru, record: Array, w: Array, r: Array, outs: Outs) -> None:
        super().__init__(cell, w, r, outs, [Left(slice(0, 3), (2, 0, 1), record[:-1, 5], 1)])
        self.cell, self.record = cell, record
        size = cell.hidden
        shape = cell.directions, size, 3 * size

        def turn(packed: Array) -> None:
            packed[..., :size], packed[..., size:] = r[..., 2 * size :], r[..., : 2 * size]

        self.r = cell.packed(r, shape, turn)

    def prepare(self, k: Array, start: int, stop: int) -> None:
        record, (k_u, k_z, k_r, k_n, t) = self.record[start:stop].swapaxes(0, 1), k.swapaxes(0, 1)
        u, update, reset, n = record[:4]
        gate_slopes(self.cell, start, stop, record, k_z, k_r)
        half, inputs = 0.5 if self.cell.twice else 1, self.cell.inputs
        slope_into(*self.cell.act, n if inputs is None else inputs[start:stop, 2], n, k_n)
        np.subtract(1, np.multiply(update, half, t), k_u)
        np.multiply(k_n, k_u, k_n)
        np.multiply(reset, half, k_u)
        np.multiply(k_u, k_n, k_u)
        for factor in (u, 1 / half, k_n):
            np.multiply(k_r, factor, k_r)

    def step(self, s: int, k: Array, made: Array, dz: Array, after: Array, result: Array) -> list[Step]:
        return [
            partial(np.multiply, after, k, made),
            *self.in_rows(made, dz),
            self.through(self.r, dz[:, : 3 * self.cell.hidden], result),
            partial(np.add, result, made[4], result),
        ]


class GruBackBefore(Backward):
    """Without reset_after.  Rows of a step: dz of z, r, n; dh by way of z, and of r h."""

    factors = made = 5
    of_dz, of_x = slice(0, 3), slice(0, 3)

    def __init__(self, cell: Gru, record: Array, w: Array, r: Array, outs: Outs) -> None:
        u, h = record[:-1, 0], record[:-1, 5]
        of_n = Left(slice(2, 3), (2,), u, 2 if cell.twice else 1)
        super().__init__(cell, w, r, outs, [Left(slice(0, 2), (0, 1), h, 1), of_n])
        self.cell, self.record, self.r = cell, record, self.computed(r)
        self.d_u = cell.gates(1)[0]

    def prepare(self, k: Array, start: int, stop: int) -> None:
        record, (k_z, k_r, k_n, t, k_u) = self.record[start:stop].swapaxes(0, 1), k.swapaxes(0, 1)
        _, update, reset, n, _, h = record
        gate_slopes(self.cell, start, stop, record, k_z, k_r)
        np.multiply(k_r, h, k_r)
        half, inputs = 0.5 if self.cell.twice else 1, self.cell.inputs
        slope_into(*self.cell.act, n if inputs is None else inputs[start:stop, 2], n, k_n)
        np.subtract(1, np.multiply(update, half, t), k_u)
        np.multiply(k_n, k_u, k_n)
        np.multiply(reset, half, k_u)

    def step(self, s: int, k: Array, made: Array, dz: Array, after: Array, result: Array) -> list[Step]:
        size, d_u = self.cell.hidden, self.d_u
        of_n = dz[:, 2 * size :] if self.cell.directions == 1 else made[2]
        return [
            partial(np.multiply, after, k[0], made[0]),
            partial(np.multiply, after, k[2:4], made[2:4]),
            in_pieces(self.r[..., 2 * size :], of_n, d_u) or partial(np.matmul, self.r[..., 2 * size :], of_n, d_u),
            partial(np.multiply, d_u, k[1], made[1]),
            partial(np.multiply, d_u, k[4], made[4]),
            *self.in_rows(made, dz),
            self.through(self.r[..., : 2 * size], dz[:, : 2 * size], result),
            partial(np.add, result, made[3], result),
            partial(np.add, result, made[4], result),
        ]


class RnnBack(Backward):
    """The one row of a step is dz."""

    factors = made = 1
    of_dz = of_x = slice(0, 1)

    def __init__(self, cell: Rnn, record: Array, w: Array, r: Array, outs: Outs) -> None:
        super().__init__(cell, w, r, outs, [Left(slice(0, 1), (0,), record[:-1, 0], 1)])
        self.cell, self.record, self.r = cell, record, self.computed(r)

    def prepare(self, k: Array, start: int, stop: int) -> None:
        h, inputs = self.record[start + 1 : stop + 1, 0], self.cell.inputs
        slope_into(*self.cell.act, h if inputs is None else inputs[start:stop, 0], h, k[:, 0])

    def step(self, s: int, k: Array, made: Array, dz: Array, after: Array, result: Array) -> list[Step]:
        return [partial(np.multiply, after, k[0], made[0]), *self.in_rows(made, dz), self.through(self.r, dz, result)]


def twice_slope(twice: Array, out: Array) -> None:
    """out = s (1 - s) of a sigmoid s, from 2 s."""
    np.multiply(twice, -0.25, out)
    np.add(out, 0.5, out)
    np.multiply(out, twice, out)


def half_slope_of_tanh(y: Array, out: Array) -> None:
    """out = (1 - y²) / 2."""
    np.multiply(y, y, out)
    np.multiply(out, -0.5, out)
    np.add(out, 0.5, out)


def gate_slopes(cell: Gru, start: int, stop: int, record: Array, k_z: Array, k_r: Array) -> None:
    """k_z = (h - n) ra'(z_z), k_r = ra'(z_r) of some steps, from their record (rows, steps, D, H, N)."""
    _, update, reset, n, part, h = record
    if cell.twice:
        np.multiply(update, -0.25, k_z)
        np.add(k_z, 0.5, k_z)
        np.multiply(k_z, part, k_z)
        twice_slope(reset, k_r)
        return
    assert cell.inputs is not None
    slope_into(*cell.gate, cell.inputs[start:stop, 0], update, k_z)
    np.subtract(h, n, k_r)
    np.multiply(k_z, k_r, k_z)
    slope_into(*cell.gate, cell.inputs[start:stop, 1], reset, k_r)


# ---- kernels: the formulas stand in the docs of the ops ------------------------------------------------------


@kernel
def lstm_grad(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, c0: Some, peephole: Some, dy: Some, dh: Some,
    dc: Some, record: Some, *, zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """out: gradients of x, w, r, bias, h0, c0, peephole."""
    dx, dw, dr, dbias, dh0, dc0, dp = out
    kept = memory_for(record, x, r, Lstm.ROWS, scratch)
    cell = Lstm(x, r, mask, peephole, kept, scratch, keeps=True, **how)
    forward = cell.forward(w, bias, h0, c0, None, None, None, False) if record is None else []
    back = LstmBack(cell, kept, w, r, Outs(dx, dw, dr, dbias), dp)
    steps = [*forward, *cell.initial(dc, back.d_c), *back.backward(dy, dh, dh0, zero_masked)]
    return [*cell.prologue, *steps, *cell.final(back.d_c, dc0), *back.of_peepholes()]


@kernel
def gru_grad(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, dy: Some, dh: Some, record: Some, *,
    zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """out: gradients of x, w, r, bias, h0."""
    *outs, dh0 = out
    kept = memory_for(record, x, r, Gru.ROWS, scratch)
    cell = Gru(x, r, mask, kept, scratch, keeps=True, **how)
    forward = cell.forward(w, bias, h0, None, None, False) if record is None else []
    back = (GruBack if cell.reset_after else GruBackBefore)(cell, kept, w, r, Outs(*outs))
    steps = back.backward(dy, dh, dh0, zero_masked)
    return [*cell.prologue, *forward, *steps]


@kernel
def rnn_grad(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, dy: Some, dh: Some, record: Some, *,
    zero_masked: bool, out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """out: gradients of x, w, r, bias, h0."""
    *outs, dh0 = out
    kept = memory_for(record, x, r, Rnn.ROWS, scratch)
    cell = Rnn(x, r, mask, kept, scratch, keeps=True, **how)
    forward = cell.forward(w, bias, h0, None, None, False) if record is None else []
    steps = RnnBack(cell, kept, w, r, Outs(*outs)).backward(dy, dh, dh0, zero_masked)
    return [*cell.prologue, *forward, *steps]
