"""Recurrent layers as compiled loops over time.

Hidden units come in panels: the columns of LANES units (of 2 LANES for `rnn`), gate by gate, lie together, so that a
tile of products has all gates of its units, for ROWS samples, and the cell goes on from there.  The products with x of
a chunk of samples and steps come first; then a loop takes the chunk through time.  Sums are made in one order, whatever
the number of samples: results do not depend on how a batch is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ....ir.ops.recurrent import SIGMOID
from ...numpy.kernels import recurrent_layer as plain
from ...numpy.kernels.rows import contiguous
from ...numpy.registry import Array, Scratch, Step
from ...numpy.workers import MOST
from ..compiler import Call, compiled, variant
from ..crew import shares, together
from ..expressions import activation_of
from ..functions import bounded_sigmoid, linear
from ..products import is_plain
from ..registry import row
from ..vectors import LANES, ROWS, byte, fma, load, load_some, product_tile, spread, store, store_some

CHUNK_BYTES = 1 << 19  # products with x of a chunk of samples and steps: half of L2
CHUNK_SAMPLES = 32  # enough for what is read of recurrent weights
CHUNK_STEPS = 8
VECTOR = 4 * LANES  # bytes
NONE = np.zeros(1, np.int64)  # the offset of a row's only run


@row
def lstm(
    x: Array, w: Array, r: Array, bias: Array | None, mask: Array | None, h0: Array | None, c0: Array | None,
    peephole: Array | None, *, direction: str, activation: Any, recurrent_activation: Any, output_activation: Any,
    clip: float | None, input_forget: bool, zero_masked: bool, out: tuple[Array | None, Array | None, Array | None],
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """Without peephole, clip and input_forget."""
    if peephole is not None or clip is not None or input_forget:
        return None
    functions = {"activate": activation, "gate": recurrent_activation, "squash": output_activation}
    layer = _layer(LSTM, functions, x, r, mask, direction, scratch)
    if layer is None:
        return None
    y, last_h, last_c = out
    biases = None if bias is None else bias[:, None]
    return layer.steps(w, biases, [h0, c0], y, [last_h, last_c], zero_masked)


@row
def gru(
    x: Array, w: Array, r: Array, bias: Array | None, mask: Array | None, h0: Array | None, *, direction: str,
    activation: Any, recurrent_activation: Any, reset_after: bool, clip: float | None, zero_masked: bool,
    out: tuple[Array | None, Array | None], scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """With reset_after and without clip.  A panel has the biases of z, r, n, and that of h for n, which stays apart."""
    if clip is not None or not reset_after:
        return None
    functions = {"activate": activation, "gate": recurrent_activation}
    layer = _layer(GRU, functions, x, r, mask, direction, scratch)
    if layer is None:
        return None
    y, last = out
    return layer.steps(w, bias, [h0], y, [last], zero_masked)


@row
def rnn(
    x: Array, w: Array, r: Array, bias: Array | None, mask: Array | None, h0: Array | None, *, direction: str,
    activation: Any, clip: float | None, zero_masked: bool, out: tuple[Array | None, Array | None], scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """Without clip."""
    layer = _layer(RNN, {"activate": activation}, x, r, mask, direction, scratch)
    if layer is None or clip is not None:
        return None
    y, last = out
    return layer.steps(w, None if bias is None else bias[:, None], [h0], y, [last], zero_masked)


# ---- compiled ------------------------------------------------------------------------------------------------
# Functions of activations, and what a variant puts in their places:

activate = gate = squash = cell = linear
tile = single = product_tile(1, 1)  # of ROWS rows, and of one
PANEL = 1  # vectors of a tile
BLOCKS = 1  # of LANES units in a panel
BIASES = 1  # vectors of biases of a panel


def _lstm_cell(sums: int, given: int, bias: int, h: int, new: int, c: int) -> Any:
    i = gate(load(sums) + (load(given) + load(bias)))
    f = gate(load(sums + VECTOR) + (load(given + VECTOR) + load(bias + VECTOR)))
    g = activate(load(sums + 2 * VECTOR) + (load(given + 2 * VECTOR) + load(bias + 2 * VECTOR)))
    o = gate(load(sums + 3 * VECTOR) + (load(given + 3 * VECTOR) + load(bias + 3 * VECTOR)))
    made = fma(f, load(c), i * g)
    store(c, made)
    store(new, o * squash(made))


def _gru_cell(sums: int, given: int, bias: int, h: int, new: int, c: int) -> Any:
    z = gate(load(sums) + (load(given) + load(bias)))
    r = gate(load(sums + VECTOR) + (load(given + VECTOR) + load(bias + VECTOR)))
    inner = load(sums + 2 * VECTOR) + load(bias + 3 * VECTOR)
    n = activate(fma(r, inner, load(given + 2 * VECTOR) + load(bias + 2 * VECTOR)))
    store(new, fma(z, load(h) - n, n))


def _rnn_cell(sums: int, given: int, bias: int, h: int, new: int, c: int) -> Any:
    store(new, activate(load(sums) + (load(given) + load(bias))))
    store(new + VECTOR, activate(load(sums + VECTOR) + (load(given + VECTOR) + load(bias + VECTOR))))


def project(
    samples: int, steps: int, depth: int, panels: int, x: int, x_n: int, none: int, weights: int, out: int, out_n: int
) -> None:
    """out (samples, steps, panels, PANEL vectors) = x (samples, steps, depth) @ weights (panels, depth, PANEL vectors).

    x_n, out_n: bytes between samples; none: an int64 of 0.
    """
    pitch, width = 4 * depth, panels * PANEL * VECTOR
    for p in range(panels):
        panel = weights + p * depth * PANEL * VECTOR
        for n in range(samples):
            source, target = x + n * x_n, out + n * out_n + p * PANEL * VECTOR
            t = 0
            while t + ROWS <= steps:
                tile(source + t * pitch, pitch, none, 1, depth, panel, target + t * width, width, 0)
                t += ROWS
            while t < steps:
                single(source + t * pitch, pitch, none, 1, depth, panel, target + t * width, width, 0)
                t += 1


def begin(samples: int, hidden: int, units: int, state: int, given: int, given_n: int) -> None:
    """state (samples, units) = given (samples, hidden), given_n bytes between samples, or zeros; zeros behind it."""
    for n in range(samples):
        for c in range(0, units, LANES):
            count = min(LANES, hidden - c)
            made = load_some(given + n * given_n + 4 * c, count) if given != 0 and count > 0 else spread(np.float32(0))
            store(state + 4 * (n * units + c), made)


def end(samples: int, hidden: int, units: int, state: int, out: int, out_n: int) -> None:
    """out (samples, hidden), out_n bytes between samples, = state (samples, units)."""
    for n in range(samples):
        for c in range(0, hidden, LANES):
            store_some(out + n * out_n + 4 * c, load(state + 4 * (n * units + c)), min(LANES, hidden - c))


begin_compiled, end_compiled = compiled(begin), compiled(end)


def loop(
    samples: int, length: int, hidden: int, panels: int, backwards: int, given: int, recurrent: int, bias: int,
    h: int, new: int, c: int, none: int, sums: int, mask: int, mask_n: int, mask_t: int, y: int, y_n: int, y_t: int,
) -> None:  # fmt: skip
    """Some steps of some samples.

    given: products with x (samples, length, panels, PANEL vectors); recurrent (panels, hidden, PANEL vectors); bias
    (panels, BIASES vectors); h, new and c (samples, units): the states, h and new taking turns; none: an int64 of 0;
    sums: work (ROWS, PANEL vectors); mask and y with their strides in bytes, or 0.
    """
    width = panels * PANEL * VECTOR
    units = panels * BLOCKS * VECTOR
    for s in range(length):
        t = length - 1 - s if backwards else s
        for k in range(panels):
            p = panels - 1 - k if s % 2 else k  # to and fro: what was read last still is in the first cache
            weights, place = recurrent + p * hidden * PANEL * VECTOR, p * BLOCKS * VECTOR
            n = 0
            while n < samples:
                rows = ROWS if n + ROWS <= samples else 1
                if rows == ROWS:
                    tile(h + n * units, units, none, 1, hidden, weights, sums, PANEL * VECTOR, 0)
                else:
                    single(h + n * units, units, none, 1, hidden, weights, sums, PANEL * VECTOR, 0)
                for i in range(n, n + rows):
                    at = i * units + place
                    if mask != 0 and byte(mask + i * mask_n + t * mask_t) == 0:
                        for b in range(BLOCKS):
                            store(new + at + b * VECTOR, load(h + at + b * VECTOR))
                    else:
                        product = given + (i * length + t) * width + p * PANEL * VECTOR
                        row = sums + (i - n) * PANEL * VECTOR
                        cell(row, product, bias + p * BIASES * VECTOR, h + at, new + at, c + at)
                    if y != 0:
                        for b in range(BLOCKS):
                            unit = (p * BLOCKS + b) * LANES
                            target = y + i * y_n + t * y_t + 4 * unit
                            if unit + LANES <= hidden:
                                store(target, load(new + at + b * VECTOR))
                            elif unit < hidden:
                                store_some(target, load(new + at + b * VECTOR), hidden - unit)
                n += rows
        h, new = new, h


# ---- binding -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A kind of layer: its compiled cell, how many gates, vectors of biases and blocks of units a panel has."""

    compute: Callable[..., Any]
    gates: int
    biases: int
    blocks: int


LSTM, GRU, RNN = Cell(_lstm_cell, 4, 4, 1), Cell(_gru_cell, 3, 4, 1), Cell(_rnn_cell, 1, 1, 2)


SHORTER = {SIGMOID: bounded_sigmoid}


@cache
def _projection(panel: int) -> Any:
    """The products with x, for panels of so many vectors."""
    return variant(project, str(panel), tile=product_tile(ROWS, panel), single=product_tile(1, panel), PANEL=panel)


@cache
def _compiled(kind: Cell, functions: tuple[tuple[str, Activation], ...]) -> Any:
    """The loop of a kind of cell with some activations; None where one of them is not known."""
    found = {name: SHORTER.get(activation) or activation_of(activation) for name, activation in functions}
    if None in found.values():
        return None
    key = " ".join([kind.compute.__name__, *(f"{name}={activation}" for name, activation in functions)])
    panel = kind.gates * kind.blocks
    return variant(
        loop, key, cell=kind.compute, tile=product_tile(ROWS, panel), single=product_tile(1, panel), PANEL=panel,
        BLOCKS=kind.blocks, BIASES=kind.biases * kind.blocks, **found,
    )  # fmt: skip


def _layer(
    kind: Cell, functions: dict[str, Activation], x: Array, r: Array, mask: Array | None, direction: str,
    scratch: Scratch,
) -> Layer | None:  # fmt: skip
    """The layer, if there is a compiled loop for it."""
    if x.dtype != np.float32 or 0 in x.shape or not r.size:
        return None
    compute = _compiled(kind, tuple(functions.items()))
    return None if compute is None else Layer(kind, compute, x, r, mask, direction, scratch)


class Layer(plain.Layer):
    """A recurrent layer's packed weights, and its steps: samples, and directions, on several threads."""

    def __init__(
        self, kind: Cell, compute: Any, x: Array, r: Array, mask: Array | None, direction: str, scratch: Scratch
    ) -> None:
        super().__init__(x, r, mask, direction, scratch)
        self.kind, self.compute, self._r = kind, compute, r
        self.project = _projection(kind.gates * kind.blocks)
        self.panels = -(-self.hidden // (LANES * kind.blocks))
        self.panel = kind.gates * kind.blocks * LANES
        self.units = self.panels * kind.blocks * LANES

    def panelled(self, given: Array, gates: int) -> Array:
        """Weights (D, A, G·H) as (D, A, panels, blocks·G·LANES), zeros where there are no units."""
        d, rows = given.shape[:2]

        def fill(packed: Array) -> None:
            apart = np.zeros((d, rows, gates, self.units), np.float32)
            apart[..., : self.hidden] = given.reshape(d, rows, gates, self.hidden)
            split = apart.reshape(d, rows, gates, self.panels, self.kind.blocks, LANES).transpose(0, 1, 3, 4, 2, 5)
            np.copyto(packed.reshape(split.shape), split)

        return self.packed(given, (d, rows, self.panels, self.kind.blocks * gates * LANES), fill)

    def by_panel(self, given: Array) -> Array:
        """Weights (D, A, G·H) as (D, panels, A, columns of a panel)."""
        columns = self.panelled(given, self.kind.gates)
        shape = (self.directions, self.panels, given.shape[1], self.panel)
        return self.packed(columns, shape, lambda packed: np.copyto(packed, columns.swapaxes(1, 2)))

    def bias_panels(self, bias: Array | None) -> Array:
        """Biases (D, rows, G·H) as panels; the last gate has a bias from each row, if there are two."""
        kind, size = self.kind, self.hidden
        if bias is None:
            return np.zeros((self.directions, 1, self.panels, kind.blocks * kind.biases * LANES), np.float32)
        given = bias

        def fill(packed: Array) -> None:
            packed.fill(0)
            packed[:, 0, : kind.gates * size] = given[:, 0]
            if given.shape[1] == 2:
                whole = (kind.gates - 1) * size
                packed[:, 0, :whole] += given[:, 1, :whole]
                packed[:, 0, kind.gates * size :] = given[:, 1, whole:]

        wide = self.packed(given, (self.directions, 1, kind.biases * size), fill)
        return self.panelled(wide, kind.biases)

    def steps(
        self, w: Array, bias: Array | None, states: Sequence[Array | None], y: Array | None,
        lasts: Sequence[Array | None], zero_masked: bool,
    ) -> list[Step]:  # fmt: skip
        """`states` and `lasts`: the first and last h, and c where there is one."""
        packed = self.by_panel(w), self.by_panel(self._r), self.bias_panels(bias)
        x = contiguous(self.x, self.dtype, self.prologue, self._scratch)
        states = [
            s if s is None or is_plain(s) else contiguous(s, self.dtype, self.prologue, self._scratch) for s in states
        ]
        flops = 2 * self.batch * self.length * (w.size + self._r.size)
        parts = shares(self.batch, flops // self.directions, most=MOST // self.directions, unit=ROWS)
        places = list(product(range(self.directions), parts))
        branches = [self.branch(d, n, x, [p[d] for p in packed], states, y, lasts, len(places) == 1) for d, n in places]
        return [*self.prologue, *together(branches), *self.blanked(y, states[0] is not None, zero_masked)]

    def branch(
        self, d: int, part: slice, x: Array, packed: Sequence[Array], states: Sequence[Array | None], y: Array | None,
        lasts: Sequence[Array | None], alone: bool,
    ) -> list[Step]:  # fmt: skip
        """The steps of some samples in one direction, chunk by chunk.

        `alone`: there is no other branch; what is no loop is shared out.
        """
        weights, recurrent, bias = packed
        samples, width = part.stop - part.start, self.panels * self.panel
        size = min(samples, CHUNK_SAMPLES)
        length = min(self.length, max(CHUNK_STEPS, CHUNK_BYTES // (size * width * 4) // ROWS * ROWS))
        given = self._scratch((size, length, width), self.dtype)
        states_of = [self._scratch((samples, self.units), self.dtype) for _ in range(3)]
        sums = self._scratch((ROWS, self.panel), self.dtype)
        backwards = self.backwards(d)
        steps: list[Step] = []
        sizes = samples, self.hidden, self.units
        for state, first in zip(states_of[::2], states):
            given_state = None if first is None else first[part, d]
            steps.append(Call(begin_compiled, *sizes, state, given_state, *strides_of(given_state)[:1]))
        spans = [slice(i, min(i + length, self.length)) for i in range(0, self.length, length)]
        for start in range(0, samples, size):
            n = slice(start, min(start + size, samples))
            h, new, c = (state[n] for state in states_of)
            for t in spans[::-1] if backwards else spans:
                count, span = n.stop - n.start, t.stop - t.start
                mask = None if self.mask is None else self.mask[part][n, t]
                shown = None if y is None else y[part][n, t, d]
                source = x[part][n, t]
                steps += together(
                    [
                        [self.projected(source[:, piece], weights, given[:, piece], span * width * 4)]
                        for piece in shares(span, 2 * count * span * weights.size if alone else 0, unit=ROWS)
                    ]
                )
                steps.append(Call(
                    self.compute, count, span, self.hidden, self.panels, backwards, given, recurrent, bias, h, new, c,
                    NONE, sums, mask, *strides_of(mask), shown, *strides_of(shown),
                ))  # fmt: skip
                h, new = (new, h) if span % 2 else (h, new)
        turned = self.length % 2
        found = [(last, state) for last, state in zip(lasts, (states_of[turned], states_of[2])) if last is not None]
        for last, state in found:
            target = last[part, d]
            steps.append(Call(end_compiled, *sizes, state, target, target.strides[0]))
        return steps

    def projected(self, x: Array, weights: Array, out: Array, out_n: int) -> Call:
        """The products with x (samples, steps, features); out_n: bytes between samples of `out`."""
        *sizes, depth = x.shape
        return Call(self.project, *sizes, depth, self.panels, x, x.strides[0], NONE, weights, out, out_n)


def strides_of(array: Array | None) -> tuple[int, int]:
    """The first two strides, in bytes."""
    return (0, 0) if array is None else (array.strides[0], array.strides[1])
