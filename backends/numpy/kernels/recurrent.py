"""Recurrent layers: three cells, as they are and with a record of the way forward.

Where the gates of a cell are sigmoids, it computes with t = tanh of half of what goes in, which is 2 sigmoid - 1 (so
that one tanh serves all gates), and with t + 1, which is twice the gate.  Halves go into the weights when these are
packed, and into the sums of products, which are products with the vector (½, ½): so a step of the LSTM is 8 NumPy
calls, one of the GRU 10, one of the simple layer 3.

A record holds what the gradient ops need of each step.  A layer without one has memory for two steps in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ..registry import Array, Scratch, Step, kernel
from .recurrent_layer import Biases, Loop, activated, activated_into, is_plain

Some = Array | None


class Lstm(Loop):
    """i, f, g, o = x_t W + h R + bias;  c' = ra(f + p_f c) c + ra(i + p_i c) act(g);  h' = ra(o + p_o c') oa(c').

    values[s] (5, D, H, N): i, f, o, act(g) of step s, c before it, in a record followed by oa(c') and h.  With `scale`
    2 (plain sigmoids and tanhs) i, f, o and h are twice themselves.
    """

    ROWS = 7

    def __init__(
        self, x: Array, r: Array, mask: Some, peephole: Some, record: Some, scratch: Scratch, *, direction: str,
        activation: Activation, recurrent_activation: Activation, output_activation: Activation,
        clip: float | None, input_forget: bool, keeps: bool = False,
    ) -> None:  # fmt: skip
        plain = peephole is None and clip is None and not input_forget
        self.together = plain and is_plain(recurrent_activation, "sigmoid") and is_plain(activation, "tanh")
        super().__init__(x, r, mask, direction, scratch, 2 if self.together else 1)
        self.gate, self.act = (recurrent_activation, clip), (activation, clip)
        self.of_c, self.input_forget = output_activation, input_forget
        self.record = record
        if record is None:
            record = self.gates(6, 2)
        else:
            self.keeps_h(record[0, 6], record[1:, 6])
        places = list(record)
        self.values = [places[s % len(places)][:5] for s in range(self.length + 1)]
        self.squashed = [places[s % len(places)][5] for s in range(self.length)]
        # what went into the activations, where the way back asks for it
        self.inputs = self.gates(4, self.length) if keeps and not self.together else None
        self.apart = self.inputs is not None
        self.z = list(self.inputs) if self.inputs is not None else [values[:4] for values in self.values]
        half = 0.5 if self.together else 1
        self.order = ((0, half), (1, half), (3, half), (2, 1))
        self.product = self.recurrence(r, tuple((gate, factor / self.scale) for gate, factor in self.order))
        self.sums, self.terms = self.gates(4), self.gates(2)
        self.spare, self.halves = self.gates(1)[0], np.full(2, 0.5, self.dtype)
        self.p_i, self.p_o, self.p_f = self._peepholes(peephole)

    def _peepholes(self, given: Some) -> Sequence[Some]:
        """Weights (D, 3H) as three columns (D, H, 1)."""
        return (None, None, None) if given is None else tuple(self.columns(given, ((0, 1), (1, 1), (2, 1))))

    def forward(
        self, w: Array, bias: Some, h0: Some, c0: Some, y: Some, last_h: Some, last_c: Some, zero_masked: bool
    ) -> list[Step]:  # fmt: skip
        biases: Biases = [] if bias is None else [(bias, (0, 1, 2, 3))]
        products = self.products(w, self.order, biases)
        steps = self.initial(c0, self.values[0][4])
        steps += self.forwards(products, self._step, h0, y, last_h, zero_masked)
        return [*steps, *self.final(self.values[-1][4], last_c)]

    def _step(self, given: Array, s: int) -> list[Step]:
        gates, squashed, new = self.values[s], self.squashed[s], self.h[s + 1]
        c, new_c = gates[4], self.values[s + 1][4]
        early, late = self._squashing(s)
        return [
            self.product(self.h[s], self.sums),
            partial(np.add, self.sums, given, self.z[s]),
            *early,
            partial(np.multiply, gates[:2], gates[3:], self.terms),
            self._sum_of_terms(new_c),
            *self.kept(new_c, c, s),
            *late,
            *activated_into(self.of_c, None, new_c, squashed),
            partial(np.multiply, gates[2], squashed, new),
            *self.kept(new, self.h[s], s),
        ]

    def _sum_of_terms(self, out: Array) -> Step:
        if not self.together:
            return partial(np.add, *self.terms, out)
        return partial(self.halves.dot, self.terms.reshape(2, -1), out.reshape(-1))

    def _squashing(self, s: int) -> tuple[list[Step], list[Step]]:
        """The activations of a step: those before the new c, those after it."""
        (i, f, o, g, c), z, work = self.values[s], self.z[s], self.spare
        if self.together:
            twice = self.values[s][:3]
            return [partial(np.tanh, z, z), partial(np.add, twice, self.number(1, twice), twice)], []
        forget: list[Step] = [partial(np.subtract, 1, i, f)]
        if not self.input_forget:
            forget = activated(*self.gate, f)
        peeped = [*peeped_into(z[0], self.p_i, c, work), *peeped_into(z[1], self.p_f, c, work)]
        copied: list[Step] = [partial(np.copyto, self.values[s][:4], z)] if self.apart else []
        early: list[Step] = [*peeped, *copied, *activated(*self.gate, i), *forget, *activated(*self.act, g)]
        peeped = peeped_into(z[2], self.p_o, self.values[s + 1][4], work)
        copied = [partial(np.copyto, o, z[2])] if self.apart else []
        return early, [*peeped, *copied, *activated(*self.gate, o)]


class Gru(Loop):
    """z, r = ra(x_t W + b + h R + c);  h' = z h + (1 - z) n, where n = act(x_t W + b + r (h R + c)), gate by gate.

    Without reset_after, n = act(x_t W + b + (r h) R + c).  values[s] (5, D, H, N): u, z, r, n, z (h - n) of step s,
    where u is h R + c of n, or r h without reset_after; in a record followed by h.  With `twice` (plain sigmoids), z,
    r and z (h - n) are twice themselves, and u is half of itself, or twice without reset_after.
    """

    ROWS = 6

    def __init__(
        self, x: Array, r: Array, mask: Some, record: Some, scratch: Scratch, *, direction: str,
        activation: Activation, recurrent_activation: Activation, reset_after: bool, clip: float | None,
        keeps: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(x, r, mask, direction, scratch)
        self.gate, self.act, self.reset_after = (recurrent_activation, clip), (activation, clip), reset_after
        self.twice = clip is None and is_plain(recurrent_activation, "sigmoid")
        self.record = record
        if record is None:
            record = self.gates(5, 1)
        else:
            self.keeps_h(record[0, 5], record[1:, 5])
        places = list(record[:, :5])
        self.values = [places[s % len(places)] for s in range(self.length)]
        # what went into the activations, where the way back asks for it: z, r, n
        self.apart = keeps and not (self.twice and clip is None and is_plain(activation, "tanh"))
        self.inputs = self.gates(3, self.length) if self.apart else None
        self.z = list(self.inputs) if self.inputs is not None else [values[1:4] for values in self.values]
        half = 0.5 if self.twice else 1
        self.order = ((0, half), (1, half), (2, 1))
        self.factors = np.array([1, 0.5], self.dtype)
        self.sums, self.product_n = self.gates(3), self.recurrence(r, ((2, half),))
        whole = ((2, half), *self.order[:2]) if reset_after else self.order[:2]
        self.product = self.recurrence(r, whole)

    def forward(
        self, w: Array, bias: Some, h0: Some, y: Some, last: Some, zero_masked: bool
    ) -> list[Step]:  # fmt: skip
        biases: Biases = []
        if bias is not None:
            biases = [(bias[:, 0], (0, 1, 2)), (bias[:, 1], (0, 1) if self.reset_after else (0, 1, 2))]
        products = self.products(w, self.order, biases, spare=int(self.reset_after))
        steps: list[Step] = []
        if self.reset_after:  # in the spare place: the bias of u
            given: Any = 0 if bias is None else self.columns(bias[:, 1], ((2, 0.5 if self.twice else 1),))[0]
            steps = [partial(np.copyto, products.made[:, :, 0], given)]
        return [*steps, *self.forwards(products, self._step, h0, y, last, zero_masked)]

    def _step(self, given: Array, s: int) -> list[Step]:
        values, h, new = self.values[s], self.h[s], self.h[s + 1]
        update, n, part, z_n = values[1], values[3], values[4], self.z[s][2]
        return [
            *self._gates(given, s),
            partial(np.add, z_n, given[-1], z_n),
            *activated_into(*self.act, z_n, n),
            partial(np.subtract, h, n, part),  # z h + (1 - z) n = n + z (h - n)
            partial(np.multiply, part, update, part),
            self._sum(values[3:], new),
            *self.kept(new, h, s),
        ]

    def _sum(self, terms: Array, out: Array) -> Step:
        if not self.twice:
            return partial(np.add, *terms, out)
        return partial(self.factors.dot, terms.reshape(2, -1), out.reshape(-1))

    def _gates(self, given: Array, s: int) -> list[Step]:
        """z, r, and what goes into n without the product with x."""
        values, z, h = self.values[s], self.z[s], self.h[s]
        u, reset, sums = values[0], values[2], self.sums
        if not self.reset_after:
            return [
                self.product(h, sums[:2]), partial(np.add, sums[:2], given[:2], z[:2]), *self._squashing(s),
                partial(np.multiply, reset, h, u), self.product_n(u, z[2:3]),
            ]  # fmt: skip
        added: list[Step] = [partial(np.add, sums, given[:3], values[:3])]
        if self.apart:
            added = [partial(np.add, sums[:1], given[:1], values[:1]), partial(np.add, sums[1:], given[1:3], z[:2])]
        return [self.product(h, sums), *added, *self._squashing(s), partial(np.multiply, u, reset, z[2])]

    def _squashing(self, s: int) -> list[Step]:
        """z and r from what goes into them."""
        gates, z = self.values[s][1:3], self.z[s][:2]
        if self.twice:
            return [partial(np.tanh, z, gates), partial(np.add, gates, self.number(1, gates), gates)]
        return activated_into(*self.gate, z, gates)


class Rnn(Loop):
    """h' = act(x_t W + h R + bias).  A record holds h."""

    ROWS = 1

    def __init__(
        self, x: Array, r: Array, mask: Some, record: Some, scratch: Scratch, *, direction: str,
        activation: Activation, clip: float | None, keeps: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(x, r, mask, direction, scratch)
        self.act, self.record = (activation, clip), record
        if record is not None:
            self.keeps_h(record[0, 0], record[1:, 0])
        # what went into the activation, where the way back asks for it
        apart = keeps and not (clip is None and is_plain(activation, "tanh"))
        self.inputs = self.gates(1, self.length) if apart else None
        self.product, self.sums = self.recurrence(r, ((0, 1),)), self.gates(1)

    def forward(
        self, w: Array, bias: Some, h0: Some, y: Some, last: Some, zero_masked: bool
    ) -> list[Step]:  # fmt: skip
        products = self.products(w, ((0, 1),), [] if bias is None else [(bias, (0,))])
        return self.forwards(products, self._step, h0, y, last, zero_masked)

    def _step(self, given: Array, s: int) -> list[Step]:
        new = self.h[s + 1]
        z = new if self.inputs is None else self.inputs[s, 0]
        return [
            self.product(self.h[s], self.sums),
            partial(np.add, self.sums[0], given[0], z),
            *activated_into(*self.act, z, new),
            *self.kept(new, self.h[s], s),
        ]


def peeped_into(gate: Array, weights: Some, c: Array, work: Array) -> list[Step]:
    """gate += weights c."""
    if weights is None:
        return []
    return [partial(np.multiply, c, weights, work), partial(np.add, gate, work, gate)]


# ---- kernels: all h (N, T, D, H), the last h (and c) (N, D, H), and the record -------------------------------


def _lstm(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, c0: Some, peephole: Some, *, zero_masked: bool,
    out: tuple[Some, ...], scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """x (N, T, E), w (D, E, 4H), r (D, H, 4H), bias (D, 4H), mask (N, T), h0 and c0 (N, D, H), peephole (D, 3H) in
    the order i, o, f."""
    y, last_h, last_c, *record = out
    layer = Lstm(x, r, mask, peephole, record[0] if record else None, scratch, **how)
    steps = layer.forward(w, bias, h0, c0, y, last_h, last_c, zero_masked)
    return [*layer.prologue, *_rest(record, (slice(0, 4), slice(5, 6))), *steps]


def _gru(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, *, zero_masked: bool, out: tuple[Some, ...],
    scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """x (N, T, E), w (D, E, 3H) and r (D, H, 3H) for z, r, n, bias (D, 2, 3H), mask (N, T), h0 (N, D, H)."""
    y, last, *record = out
    layer = Gru(x, r, mask, record[0] if record else None, scratch, **how)
    steps = layer.forward(w, bias, h0, y, last, zero_masked)
    return [*layer.prologue, *_rest(record, (slice(0, 5),)), *steps]


def _rnn(
    x: Array, w: Array, r: Array, bias: Some, mask: Some, h0: Some, *, zero_masked: bool, out: tuple[Some, ...],
    scratch: Scratch, **how: Any,
) -> list[Step]:  # fmt: skip
    """x (N, T, E), w (D, E, H), r (D, H, H), bias (D, H), mask (N, T), h0 (N, D, H)."""
    y, last, *record = out
    layer = Rnn(x, r, mask, record[0] if record else None, scratch, **how)
    steps = layer.forward(w, bias, h0, y, last, zero_masked)
    return [*layer.prologue, *steps]


def _rest(record: list[Some], rows: Sequence[slice]) -> list[Step]:
    """Zeros in the rows of a record that its last entry does not have."""
    return [partial(kept[-1, part].fill, 0) for kept in record if kept is not None for part in rows]


for _name, _call in (("lstm", _lstm), ("gru", _gru), ("rnn", _rnn)):
    kernel(_call, _name)
    kernel(_call, f"{_name}_record")
