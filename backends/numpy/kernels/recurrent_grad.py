"""Backpropagation through time: what the cells share, gru and rnn (lstm has a file of its own).

The forward pass is computed again (if there is no record of it), and all its gates are kept.  What a step of the way
back multiplies its gradients with depends on these alone, so it is made for many steps at once (as many as stay in the
cache): the loop itself has one small matmul and three to six multiplications a step.  It leaves dz, the gradients of
the sums that went into the activations, from which one product over all steps and sequences makes each gradient of
weights.

Layouts are those of `recurrent`: (T, D, H, N) in the order in which it is computed, for several gates (T, G, D, H, N).
dz is (T, D, rows, N), its rows in the order of the columns of r.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ....ir.ops.elementwise import UNARY as DECLARED
from ..registry import Array, Scratch, Step, kernel
from .elementwise import activate
from .recurrent import Biases, Layer, _activated, _is, _sigmoid_of_tanh, branched

Cell = Callable[[Array, int], list[Step]]  # (product with x, number of the step) -> steps
Back = Callable[[int, int, Array, Array], list[Step]]  # (step, its place in the part, dh', dh) -> steps that make dh
Prepare = Callable[[Array, int, int], None]  # (factors to make, first step, behind the last)


@kernel
def gru_grad(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    dy: Array | None,
    dh: Array | None,
    *,
    direction: str,
    activation: Activation,
    recurrent_activation: Activation,
    reset_after: bool,
    clip: float | None,
    zero_masked: bool,
    out: tuple[Array | None, ...],
    scratch: Scratch,
) -> list[Step]:
    """The formulas stand in the op's doc.  out: gradients of x, w, r, bias, h0."""
    layer = Backward(x, r, mask, direction, scratch)
    size = layer.hidden
    together = clip is None and _is(recurrent_activation, "sigmoid") and _is(activation, "tanh")
    half = 0.5 if together else 1
    order = ((0, half), (1, half), (2, 1))
    recurrent, sums, work = layer.transposed(r, order), layer.rows(3), layer.rows(1)
    gates, h = layer.record(3), layer.h  # z, r, n
    z = gates if together else layer.record(3)
    inner = layer.record(1)[:, 0]  # h R_n + c_n where reset_after, else r h

    biases: Biases = []
    add_inner: Array | None = None
    if bias is not None:
        both = layer.transposed(bias, order)
        added = slice(2 * size if reset_after else None)
        biases = [(slice(None), both[..., :1]), (added, both[:, added, 1:])]
        add_inner = both[:, 2 * size :, 1:] if reset_after else None

    def squash(s: int) -> list[Step]:
        if together:
            return [partial(np.tanh, gates[s, :2], gates[s, :2]), *_sigmoid_of_tanh(gates[s, :2])]
        return [partial(np.copyto, gates[s, :2], z[s, :2]), *_activated(recurrent_activation, clip, gates[s, :2])]

    def to_n(s: int) -> list[Step]:
        """z_n without the product with x."""
        if not reset_after:
            products = [partial(np.multiply, gates[s, 1], h[s], inner[s])]
            return [*products, partial(np.matmul, recurrent[:, 2 * size :], inner[s], z[s, 2])]
        of_n = layer.by_gate(sums)[2]
        keep = partial(np.copyto, inner[s], of_n) if add_inner is None else partial(np.add, of_n, add_inner, inner[s])
        return [keep, partial(np.multiply, inner[s], gates[s, 1], z[s, 2])]

    def forward(projected: Array, s: int) -> list[Step]:
        given, n = layer.by_gate(projected), gates[s, 2]
        used = slice(None if reset_after else 2 * size)
        return [
            partial(np.matmul, recurrent[:, used], h[s], sums[:, used]),
            partial(np.add, layer.by_gate(sums)[:2], given[:2], z[s, :2]),
            *squash(s),
            *to_n(s),
            partial(np.add, z[s, 2], given[2], z[s, 2]),
            *([] if together else [partial(np.copyto, n, z[s, 2])]),
            *_activated(activation, clip, n),
            partial(np.subtract, h[s], n, work),  # z h + (1 - z) n = n + z (h - n)
            partial(np.multiply, work, gates[s, 0], work),
            partial(np.add, work, n, h[s + 1]),
        ]

    # Rows of dz: z, r, n; where reset_after n as r sees it, then n as w sees it.
    rows = 4 if reset_after else 3
    parts = layer.parts(rows * size)
    factors = layer.factors(parts, rows)  # of dh in dz; where not reset_after, of dq in dz_r

    def prepare(made: Array, start: int, stop: int) -> None:
        (update, reset, n), (z_z, z_r, z_n) = (a[start:stop].swapaxes(0, 1) for a in (gates, z))
        k = made.swapaxes(0, 1)
        np.subtract(h[start:stop], n, k[1])
        slope_into(recurrent_activation, clip, z_z, update, k[0])
        np.multiply(k[0], k[1], k[0])
        np.subtract(1, update, k[1])
        slope_into(activation, clip, z_n, n, k[-1])
        np.multiply(k[-1], k[1], k[-1])
        slope_into(recurrent_activation, clip, z_r, reset, k[1])
        if reset_after:
            np.multiply(inner[start:stop], k[-1], k[2])
            np.multiply(k[1], k[2], k[1])
            np.multiply(k[-1], reset, k[2])
        else:
            np.multiply(k[1], h[start:stop], k[1])

    dz = layer.rows_record(rows)
    d_inner = layer.rows(1)

    def backward(s: int, place: int, after: Array, before: Array) -> list[Step]:
        by_gate, k = layer.by_gate(dz[s]), factors[place]
        through_z = [partial(np.multiply, after, gates[s, 0], work), partial(np.add, before, work, before)]
        if reset_after:
            product = partial(np.matmul, layer.r, dz[s, :, : 3 * size], before)
            return [partial(np.multiply, after, k, by_gate), product, *through_z]
        return [
            partial(np.multiply, after, k[::2], by_gate[::2]),
            partial(np.matmul, layer.r[..., 2 * size :], dz[s, :, 2 * size :], d_inner),
            partial(np.multiply, d_inner, k[1], by_gate[1]),
            partial(np.matmul, layer.r[..., : 2 * size], dz[s, :, : 2 * size], before),
            *through_z,
            partial(np.multiply, d_inner, gates[s, 1], d_inner),
            partial(np.add, before, d_inner, before),
        ]

    dx, dw, dr, dbias, dh0 = out
    first, n_rows = slice(2 * size), slice(2 * size, 3 * size)
    of_r = layer.by_row(dz, [slice(3 * size)])
    of_w = layer.by_row(dz, [first, slice(3 * size, 4 * size)]) if reset_after else of_r
    left = layer.by_row(h[:-1], [slice(None)])
    reset_h = left if reset_after else layer.by_row(inner, [slice(None)])

    def recurrent_weights(d: int, made: Array) -> None:
        for given, part in ((left, first), (reset_h, n_rows)):
            np.matmul(given[d], of_r[d, part].T, out=made[:, part])

    def both_biases(d: int, made: Array) -> None:
        np.add.reduce(of_w[d], 1, out=made[0])
        np.add.reduce(of_r[d], 1, out=made[1])

    layer.of_input(w, of_w, dx, dw)
    layer.stored(dr, recurrent_weights, 2 * of_r[0].size * size)
    layer.stored(dbias, both_biases)
    steps = [
        *layer.forwards(layer.transposed(w, order), biases, h0, forward),
        *layer.backwards(dy, dh, zero_masked, parts, factors, prepare, backward, dh0),
        *layer.finished(),
    ]
    return [*layer.prologue, *steps]


@kernel
def rnn_grad(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    mask: Array | None,
    h0: Array | None,
    dy: Array | None,
    dh: Array | None,
    *,
    direction: str,
    activation: Activation,
    clip: float | None,
    zero_masked: bool,
    out: tuple[Array | None, ...],
    scratch: Scratch,
) -> list[Step]:
    """The formulas stand in the op's doc.  out: gradients of x, w, r, bias, h0."""
    layer = Backward(x, r, mask, direction, scratch)
    order = ((0, 1),)
    recurrent, sums, h = layer.transposed(r, order), layer.rows(1), layer.h
    z = layer.record(1)[:, 0]

    def forward(projected: Array, s: int) -> list[Step]:
        product = partial(np.matmul, recurrent, h[s], sums)
        return [product, partial(np.add, sums, projected, z[s]), partial(np.copyto, h[s + 1], z[s]),
                *_activated(activation, clip, h[s + 1])]  # fmt: skip

    parts = layer.parts(layer.hidden)
    factors = layer.factors(parts, 1)

    def prepare(made: Array, start: int, stop: int) -> None:
        slope_into(activation, clip, z[start:stop], h[start + 1 : stop + 1], made[:, 0])

    dz = layer.rows_record(1)

    def backward(s: int, place: int, after: Array, before: Array) -> list[Step]:
        return [partial(np.multiply, after, factors[place, 0], dz[s]), partial(np.matmul, layer.r, dz[s], before)]

    dx, dw, dr, dbias, dh0 = out
    layer.of_weights(w, dz, dx, dw, dr, dbias)
    steps = [
        *layer.forwards(layer.transposed(w, order), layer.biases(bias, order), h0, forward),
        *layer.backwards(dy, dh, zero_masked, parts, factors, prepare, backward, dh0),
        *layer.finished(),
    ]
    return [*layer.prologue, *steps]


# ---- what the cells share ------------------------------------------------------------------------------------


class Backward(Layer):
    """A recurrent layer's forward pass with everything kept, the loop back, and the products over all steps."""

    def __init__(
        self, x: Array, r: Array, mask: Array | None, direction: str, scratch: Scratch, h: Array | None = None
    ) -> None:  # fmt: skip
        super().__init__(x, r, mask, direction, scratch)
        # before each step, and after the last
        self.h = scratch((self.length + 1, *self._state), self.dtype) if h is None else h
        self._given = self._x_to_compute(self.prologue)
        self.keep, self.skip = self._masks(self.prologue)
        self.r = self._computed(r)
        self._copies: list[list[Step]] = [[] for _ in range(self.directions)]
        self._products: list[list[Step]] = []
        self._after: list[Step] = []
        self._flops = 0  # of the products

    @property
    def _state(self) -> tuple[int, int, int]:
        return self.directions, self.hidden, self.batch

    def record(self, gates: int, extra: int = 0) -> Array:
        """Memory for so many gates at each step (and some steps more): (T, gates, D, H, N)."""
        return self._scratch((self.length + extra, gates, *self._state), self.dtype)

    def rows_record(self, gates: int) -> Array:
        """Memory for so many gates at each step, as matmul makes them: (T, D, gates·H, N)."""
        return self._scratch((self.length, self.directions, gates * self.hidden, self.batch), self.dtype)

    def factors(self, parts: list[tuple[int, int]], gates: int) -> Array:
        """Memory for what the steps of one part multiply with: (steps, gates, D, H, N)."""
        return self._scratch((self.longest(parts), gates, *self._state), self.dtype)

    def kept(self, new: Array, old: Array, s: int) -> list[Step]:
        """new = old where step s is masked."""
        return [] if self.skip is None else [partial(np.copyto, new, old, where=self.skip[s])]

    def forwards(self, weights: Array, biases: Biases, h0: Array | None, cell: Cell) -> list[Step]:
        """The loop forward, which fills h."""
        steps = self.initial(h0, self.h[0])
        parts = self.parts(weights.shape[1])
        products = self._scratch((self.longest(parts), self.directions, weights.shape[1], self.batch), self.dtype)
        for start, stop in parts:
            projected = products[: stop - start]
            steps += self.projected(self._given, weights, biases, start, stop, projected)
            for s in range(start, stop):
                steps += [*cell(projected[s - start], s), *self.kept(self.h[s + 1], self.h[s], s)]
        return steps

    def backwards(
        self, dy: Array | None, dh: Array | None, zero_masked: bool, parts: list[tuple[int, int]], factors: Array,
        prepare: Prepare, cell: Back, dh0: Array | None,
    ) -> list[Step]:  # fmt: skip
        """The loop back: from the gradients of the sequence and of the last h to that of the first h."""
        after, before = self.rows(1), self.rows(1)
        steps = self.initial(dh, after)
        shown = self._scratch((self.longest(parts), *self._state), self.dtype)
        hidden = self._hidden(zero_masked, steps) if dy is not None else None
        for start, stop in reversed(parts):
            if dy is not None:
                steps += self._of_sequence(dy, start, stop, hidden, shown)
            steps += self._prepared(factors, prepare, start, stop)
            for s in reversed(range(start, stop)):
                if dy is not None:
                    steps.append(partial(np.add, after, shown[s - start], after))
                steps += [*cell(s, s - start, after, before), *self.kept(before, after, s)]
                after, before = before, after
        return [*steps, *self.final(after, dh0)]

    def _prepared(self, factors: Array, prepare: Prepare, start: int, stop: int) -> list[Step]:
        """The factors of some steps, zero where these are masked: nothing goes into the cell there."""
        made = factors[: stop - start]
        steps: list[Step] = [partial(prepare, made, start, stop)]
        if self.skip is not None:
            steps.append(partial(np.copyto, made, 0, where=self.skip[start:stop, np.newaxis]))
        return steps

    def _hidden(self, zero_masked: bool, steps: list[Step]) -> Array | None:
        """Where the sequence shows zeros, (T, D, 1, N): at masked steps, or those before the first that counts."""
        if self.keep is None or self.skip is None or zero_masked:
            return self.skip
        hidden = self._scratch(self.keep.shape, np.dtype(bool))
        steps.append(partial(np.logical_and.accumulate, self.skip, 0, None, hidden))
        return hidden

    def _of_sequence(self, dy: Array, start: int, stop: int, hidden: Array | None, out: Array) -> list[Step]:
        """out (steps, D, H, N) = the gradient of the sequence, as the steps compute it."""
        steps: list[Step] = []
        out = out[: stop - start]
        for d in range(self.directions):
            given = self._ordered(dy[:, :, d], d)[:, start:stop].transpose(1, 2, 0)
            steps.append(partial(np.copyto, out[:, d], given, casting="unsafe"))
        if hidden is not None:
            steps.append(partial(np.copyto, out, 0, where=hidden[start:stop]))
        return steps

    # ---- after the loop: copies, then products, which run side by side where they are work enough

    def by_row(self, record: Array, rows: list[slice]) -> Array:
        """(T, D, R, N) as (D, some rows, T·N), the steps in the order of x."""
        count = sum(len(range(*part.indices(record.shape[2]))) for part in rows)
        made = self._scratch((self.directions, count, self.length, self.batch), self.dtype)
        for d, branch in enumerate(self._copies):
            place = 0
            for part in rows:
                source = record[:, d, part].transpose(1, 0, 2)
                branch.append(partial(np.copyto, made[d, place : place + len(source)], self._ordered(source, d)))
                place += len(source)
        return made.reshape(self.directions, count, self.length * self.batch)

    def stored(self, out: Array | None, make: Callable[[int, Array], Any], flops: int = 0) -> None:
        """make(d, out[d]) for each direction d, by way of memory in the dtype of computing where out has another."""
        if out is None:
            return
        made = out if out.dtype == self.dtype else self._scratch(out.shape, self.dtype)
        self._flops += flops * self.directions
        for d in range(self.directions):
            store = [] if made is out else [partial(np.copyto, out[d], made[d], casting="unsafe")]
            self._products.append([partial(make, d, made[d]), *store])

    def products(self, left: Array, right: Array, out: Array | None) -> None:
        """out (D, A, B) = left (D, A, K) @ right (D, K, B), or left (A, K)."""

        def product(d: int, made: Array) -> None:
            np.matmul(left[d] if left.ndim == 3 else left, right[d], made)

        self.stored(out, product, 2 * math.prod(right.shape[1:]) * left.shape[-2])

    def of_weights_from(self, left: Array, dz: Array, out: Array | None) -> None:
        """out (D, A, R) = left (D, A, K), or (A, K), @ dzᵀ (D, K, R); K is long, and this way around BLAS is faster."""
        if out is None:
            return
        turned = self._scratch((self.directions, dz.shape[1], left.shape[-2]), self.dtype)

        def product(d: int, made: Array) -> None:
            np.matmul(dz[d], (left[d] if left.ndim == 3 else left).T, turned[d])
            np.copyto(made, turned[d].T)

        self.stored(out, product, 2 * math.prod(dz.shape[1:]) * left.shape[-2])

    def sums(self, rows: Array, out: Array | None) -> None:
        """out (D, R) = the sums of rows (D, R, K)."""
        self.stored(out, lambda d, made: np.add.reduce(rows[d], 1, out=made))

    def of_input(self, w: Array, dz: Array, dx: Array | None, dw: Array | None) -> None:
        """dx (N, T, E) = dz @ wᵀ, dw = xᵀ @ dz, from dz (D, rows, T·N)."""
        features, count = w.shape[1], self.length * self.batch
        if dx is not None:
            parts = self._scratch((self.directions, count, features), self.dtype)
            self.products(dz.swapaxes(1, 2), self._computed(w).swapaxes(1, 2), parts)
            if self.directions == 2:
                self._after.append(partial(np.add, parts[0], parts[1], parts[0]))
            by_time = parts[0].reshape(self.length, self.batch, features)
            self._after.append(partial(np.copyto, dx, by_time.transpose(1, 0, 2), casting="unsafe"))
        if dw is not None:
            rows = self._scratch((self.length, self.batch, features), self.dtype)
            self._copies[0].append(partial(np.copyto, rows, self._given.transpose(1, 0, 2)))
            self.of_weights_from(rows.reshape(count, features).T, dz, dw)

    def of_weights(
        self, w: Array, dz: Array, dx: Array | None, dw: Array | None, dr: Array | None, dbias: Array | None
    ) -> None:  # fmt: skip
        """All gradients that are products of dz (T, D, rows, N), of a cell whose rows see x and h alike."""
        stacked, left = self.by_row(dz, [slice(None)]), self.by_row(self.h[:-1], [slice(None)])
        self.of_input(w, stacked, dx, dw)
        self.of_weights_from(left, stacked, dr)
        self.sums(stacked, dbias)

    def finished(self) -> list[Step]:
        """The steps of all these products."""
        copies = self.by_direction(lambda d: self._copies[d], self._flops // 2)
        return [*copies, *branched(self._products, self._flops // 2), *self._after]

    def _computed(self, weights: Array) -> Array:
        """Weights as they are, contiguous and in the dtype of computing."""
        if weights.dtype == self.dtype and weights.flags.c_contiguous:
            return weights
        return self.packed(weights, weights.shape, lambda out: np.copyto(out, weights, casting="unsafe"))


# ---- derivatives of activations ------------------------------------------------------------------------------


def _of(name: str, x: Array) -> Array:
    """An activation without attributes, of a copy of x."""
    copy = x.copy()
    call = activate(Activation(name))
    assert call is not None
    call(copy)
    return copy


def _gelu(x: Array, y: Array, *, approximate: bool) -> Array:
    """Phi(x) + x phi(x); or, t being the tanh of u(x): (1 + t) / 2 + x (1 - t^2) u'(x) / 2."""
    if not approximate:
        return _of("erf", x * math.sqrt(0.5)) / 2 + 0.5 + x * np.exp(x * x / -2) / math.sqrt(2 * math.pi)
    scale = math.sqrt(2 / math.pi)
    t = np.tanh(scale * (x + 0.044715 * x * x * x))
    return (1 + t) / 2 + x * (1 - t * t) * (scale * (1 + 3 * 0.044715 * x * x)) / 2


def _silu(x: Array, y: Array, *, beta: float) -> Array:
    """s + beta x s (1 - s), s = sigmoid(beta x)."""
    s = _of("sigmoid", x * beta)
    return s + beta * x * s * (1 - s)


def _mish(x: Array, y: Array) -> Array:
    """t + x sigmoid(x) (1 - t^2), t = tanh(softplus(x))."""
    t = np.tanh(_of("softplus", x))
    return t + x * _of("sigmoid", x) * (1 - t * t)


def _bounds(x: Array, y: Array, *, low: float | None, high: float | None, open_low: bool, open_high: bool) -> Array:
    """1 within the bounds and on those that are not open."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return (np.greater if open_low else np.greater_equal)(x, low) & (np.less if open_high else np.less_equal)(x, high)


# name: the derivative at x, where the activation is y.  Edges as TensorFlow chooses them.
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "linear": lambda x, y: np.ones_like(y),
    "neg": lambda x, y: np.full_like(y, -1),
    "abs": lambda x, y: np.sign(x),
    "square": lambda x, y: 2 * x,
    "exp": lambda x, y: y,
    "sin": lambda x, y: np.cos(x),
    "cos": lambda x, y: -np.sin(x),
    "relu": lambda x, y: y > 0,
    "sigmoid": lambda x, y: y * (1 - y),
    "tanh": lambda x, y: 1 - y * y,
    "softplus": lambda x, y: -np.expm1(-y),
    "softsign": lambda x, y: np.square(1 - np.abs(y)),
    "leaky_relu": lambda x, y, negative_slope: np.where(x > 0, y.dtype.type(1), y.dtype.type(negative_slope)),
    "elu": lambda x, y, alpha: np.where(x > 0, y.dtype.type(1), y + alpha),
    "selu": lambda x, y, alpha, scale: np.where(x > 0, y.dtype.type(scale), y + alpha * scale),
    "celu": lambda x, y, alpha: (x >= 0) + (y / alpha + 1) * (x <= 0),
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "hard_sigmoid": lambda x, y, alpha, beta: ((y > 0) & (y < 1)) * y.dtype.type(alpha),
    "affine": lambda x, y, alpha, beta: np.full_like(y, alpha),
    "scaled_tanh": lambda x, y, alpha, beta: alpha * beta - (beta / alpha) * y * y,
    "hard_silu": lambda x, y: np.where(np.abs(x) < 3, x / 3 + 0.5, x >= 3),
    "thresholded_relu": lambda x, y, theta: x > theta,
    "clip": _bounds,
    "log_sigmoid": lambda x, y: -np.expm1(y),
    "soft_shrink": lambda x, y, threshold: np.abs(x) > threshold,
    "hard_shrink": lambda x, y, threshold: np.abs(x) > threshold,
    "shrink": lambda x, y, bias, lambd: np.abs(x) > lambd,
    "tanh_shrink": lambda x, y: np.square(np.tanh(x)),
    "squareplus": lambda x, y, b: (x / np.sqrt(x * x + b) + 1) / 2,
    "sparse_plus": lambda x, y: np.where(x < 1, np.clip(x + 1, 0, 2) / 2, y.dtype.type(1)),
    "sparse_sigmoid": lambda x, y: ((x > -1) & (x < 1)) * y.dtype.type(0.5),
}


def _slope(activation: Activation, clip: float | None, x: Array, y: Array) -> Array:
    """The derivative of activation(x, clipped to [-clip, clip]) = y: 0 beyond the clip."""
    attrs = {**DECLARED[activation.name][1], **dict(activation.attrs)} if activation else {}
    if clip is None:
        return np.asarray(DERIVATIVES[activation.name](x, y, **attrs))
    found = DERIVATIVES[activation.name](np.clip(x, -clip, clip), y, **attrs)
    return np.asarray(found * (np.abs(x) <= clip))


# the most frequent ones, without memory of their own
INTO: dict[str, Callable[[Array, Array], Any]] = {
    "sigmoid": lambda y, out: np.multiply(np.subtract(1, y, out), y, out),
    "tanh": lambda y, out: np.subtract(1, np.multiply(y, y, out), out),
}


def slope_into(activation: Activation, clip: float | None, x: Array, y: Array, out: Array) -> None:
    """out = the derivative of activation(x, clipped to [-clip, clip]) = y."""
    if clip is None and activation.name in INTO:
        INTO[activation.name](y, out)
    else:
        out[...] = _slope(activation, clip, x, y)
