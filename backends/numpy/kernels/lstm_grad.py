"""The way back through an LSTM, and the way forward that makes a record for it.

What a step of the way back needs of the forward pass is a record (T + 1, 7, D, H, N), in the order in which it is
computed: i, f, o, act(g) of a step, c before it, the squashed c after it, h before it.  `lstm_record` leaves one;
`lstm_grad` reads it, or makes one in its own memory first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ....ir.ops.recurrent import RECORDED
from ..registry import Array, Scratch, Step, kernel
from .memory import compute_dtype
from .recurrent import _activated, _activated_into, _is, _peeped, _sigmoid_of_tanh
from .recurrent_grad import Backward, _slope, slope_into


@kernel
def lstm_record(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    c0: Array | None,
    peephole: Array | None,
    *,
    zero_masked: bool,
    out: tuple[Array | None, ...],
    scratch: Scratch,
    **how: Any,
) -> list[Step]:
    """out: all h (N, T, D, H), the last h and the last c (N, D, H), the record."""
    y, last_h, last_c, record = out
    layer = Recorded(x, r, mask, peephole, record, scratch, **how)
    forward = layer.forward(w, bias, h0, c0)
    shown = [] if y is None else layer.shown(y, layer.h[1:], 0, layer.length)
    return [
        *layer.prologue,
        *forward,
        *layer.final(layer.h[-1], last_h),
        *layer.final(layer.values[-1, 4], last_c),
        *shown,
        *layer.blanked(y, h0 is not None, zero_masked),
    ]


@kernel
def lstm_grad(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    c0: Array | None,
    peephole: Array | None,
    dy: Array | None,
    dh: Array | None,
    dc: Array | None,
    record: Array | None,
    *,
    zero_masked: bool,
    out: tuple[Array | None, ...],
    scratch: Scratch,
    **how: Any,
) -> list[Step]:
    """The formulas stand in the op's doc.  out: gradients of x, w, r, bias, h0, c0, peephole."""
    layer = Recorded(x, r, mask, peephole, record, scratch, **how)
    dx, dw, dr, dbias, dh0, dc0, dp = out
    layer.of_weights(w, layer.dz, dx, dw, dr, dbias)
    layer.stored(dp, layer.of_peepholes)
    steps = [
        *(layer.forward(w, bias, h0, c0) if record is None else []),
        *layer.backward(dy, dh, dc, dh0, dc0, zero_masked),
        *layer.finished(),
    ]
    return [*layer.prologue, *steps]


class Recorded(Backward):
    """An LSTM whose forward pass is a record: made by `forward`, read by `backward`, which leaves dz."""

    def __init__(
        self, x: Array, r: Array, mask: Array | None, peephole: Array | None, record: Array | None, scratch: Scratch,
        *, direction: str, activation: Activation, recurrent_activation: Activation, output_activation: Activation,
        clip: float | None, input_forget: bool,
    ) -> None:  # fmt: skip
        if record is None:
            record = scratch((x.shape[1] + 1, RECORDED, *r.shape[:2], x.shape[0]), compute_dtype(x.dtype))
        super().__init__(x, r, mask, direction, scratch, h=record[:, 6])
        self.values, self.squashed, self.last = record[:, :5], record[:-1, 5], record[-1]
        self.gate, self.act = (recurrent_activation, clip), (activation, clip)
        self.of_c, self.input_forget = output_activation, input_forget
        plain = peephole is None and clip is None and not input_forget
        self.together = plain and _is(recurrent_activation, "sigmoid") and _is(activation, "tanh")
        half = 0.5 if self.together else 1
        self.order = ((0, half), (1, half), (3, half), (2, 1))
        self.z = self.values if self.together else self.record(4)  # what went into the activations
        self.recurrent, self.product = self.transposed(r, self.order), self.rows(4)
        self.terms, self.spare = self.gates(2), self.rows(1)
        self.p_i, self.p_o, self.p_f = self.peepholes(peephole)
        self.dz, self.d_c = self.rows_record(4), self.gates(1)[0]

    # ---- forward

    def forward(self, w: Array, bias: Array | None, h0: Array | None, c0: Array | None) -> list[Step]:
        """Fills the record."""
        steps: list[Step] = [partial(self.last[:4].fill, 0), partial(self.last[5].fill, 0)]
        steps += self.initial(c0, self.values[0, 4])
        steps += self.forwards(self.transposed(w, self.order), self.biases(bias, self.order), h0, self._step)
        if self.skip is not None:
            steps.append(partial(np.copyto, self.values[:-1, 1], 1, where=self.skip))
        return steps

    def _step(self, projected: Array, s: int) -> list[Step]:
        values, c, new = self.values[s], self.values[s, 4], self.values[s + 1, 4]
        early, late = self._squashing(s)
        return [
            partial(np.matmul, self.recurrent, self.h[s], self.product),
            partial(np.add, self.by_gate(self.product), self.by_gate(projected), self.z[s, :4]),
            *early,
            partial(np.multiply, values[:2], values[3:], self.terms),
            partial(np.add, *self.terms, new),
            *self.kept(new, c, s),
            *late,
            *_activated_into(self.of_c, new, self.squashed[s]),
            partial(np.multiply, values[2], self.squashed[s], self.h[s + 1]),
        ]

    def _squashing(self, s: int) -> tuple[list[Step], list[Step]]:
        """The activations of a step: those before the new c, those after it."""
        (i, f, o, g, c), z, work = self.values[s], self.z[s], self.spare
        if self.together:
            return [partial(np.tanh, z[:4], z[:4]), *_sigmoid_of_tanh(z[:3])], []
        forget: list[Step] = [partial(np.subtract, 1, i, f)]
        if not self.input_forget:
            forget = _activated(*self.gate, f)
        peeped = [*_peeped(z[0], self.p_i, c, work), *_peeped(z[1], self.p_f, c, work)]
        copied = partial(np.copyto, self.values[s, :4], z)
        early: list[Step] = [*peeped, copied, *_activated(*self.gate, i), *forget, *_activated(*self.act, g)]
        peeped = _peeped(z[2], self.p_o, self.values[s + 1, 4], work)
        return early, [*peeped, partial(np.copyto, o, z[2]), *_activated(*self.gate, o)]

    # ---- back

    def backward(
        self, dy: Array | None, dh: Array | None, dc: Array | None, dh0: Array | None, dc0: Array | None,
        zero_masked: bool,
    ) -> list[Step]:  # fmt: skip
        """Fills dz, dh0 and dc0."""
        parts = self.parts(5 * self.hidden)
        factors = self.factors(parts, 5)  # of dc in dz_i, dz_f, dz_g, of dh in dz_o and in dc
        cell = partial(self._step_back, factors)
        loop = self.backwards(dy, dh, zero_masked, parts, factors, self._prepare, cell, dh0)
        return [*self.initial(dc, self.d_c), *loop, *self.final(self.d_c, dc0)]

    def _prepare(self, made: Array, start: int, stop: int) -> None:
        (i, f, o, g, c), (z_i, z_f, z_o, z_g) = (a[start:stop].swapaxes(0, 1) for a in (self.values, self.z[:, :4]))
        k_i, k_f, k_g, k_o, k_c = made.swapaxes(0, 1)
        new, squashed = self.values[start + 1 : stop + 1, 4], self.squashed[start:stop]
        for k, how, z, y in (
            (k_i, self.gate, z_i, i), (k_f, self.gate, z_f, f), (k_g, self.act, z_g, g), (k_o, self.gate, z_o, o),
            (k_c, (self.of_c, None), new, squashed),
        ):  # fmt: skip
            slope_into(*how, z, y, k)
        for k, factor in ((k_i, g), (k_f, 0 if self.input_forget else c), (k_g, i), (k_o, squashed), (k_c, o)):
            np.multiply(k, factor, k)
        if self.input_forget:
            k_i -= _slope(*self.gate, z_i, i) * c

    def _step_back(self, factors: Array, s: int, place: int, after: Array, before: Array) -> list[Step]:
        d_i, d_f, _, d_o = by_gate = self.by_gate(self.dz[s])
        k, d_c, work = factors[place], self.d_c, self.spare
        return [
            partial(np.multiply, after, k[3], d_o),
            partial(np.multiply, after, k[4], work),
            partial(np.add, d_c, work, d_c),
            *_peeped(d_c, self.p_o, d_o, work),
            partial(np.multiply, d_c, k[:3], by_gate[:3]),
            partial(np.multiply, d_c, self.values[s, 1], d_c),
            *_peeped(d_c, self.p_i, d_i, work),
            *_peeped(d_c, self.p_f, d_f, work),
            partial(np.matmul, self.r, self.dz[s], before),
        ]

    def of_peepholes(self, d: int, made: Array) -> None:
        """made (3H,) = the sums of dz_i c, dz_o c', dz_f c of a direction."""
        size, c = self.hidden, self.values[:, 4, d]
        for place, (row, factor) in enumerate(((0, c[:-1]), (3, c[1:]), (1, c[:-1]))):
            of_gate = self.dz[:, d, row * size : (row + 1) * size]
            np.einsum("thn,thn->h", of_gate, factor, out=made[place * size : (place + 1) * size])
