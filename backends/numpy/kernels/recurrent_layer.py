"""What recurrent layers share: packed weights, products with x, directions, masks, and the loop over time.

Inside, everything is in the order in which it is computed: the reverse direction is turned around on its way in and
out, so that all directions take a step together.  The batch is the last axis, and gates come before directions,
(G, D, H, N), so that any run of gates is contiguous: a small contiguous operation takes NumPy .25 µs, any other 1 µs,
and large ones on other operands are copied by NumPy before.  The recurrent product makes this order by itself, as one
matmul for each gate and direction: R (G, D, H, H) @ h (D, H, N).

The products with x of many steps are made at once, in parts that stay in the cache: ahead of the loop, on another
thread where they are worth it (see `flow`).  The same thread copies results to the sequence, behind the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from typing import Any

import numpy as np

from ..flow import Tasks
from ..registry import Array, Scratch, Step, is_constant
from .elementwise import activate
from .memory import Memory, compute_dtype
from .products import in_pieces, matrix_product

PART_BYTES = 1 << 20  # of the products with x of a part: so much stays in the cache until the loop reads it
PARTS = 12  # of a sequence at least, where each of them is worth the tasks: while the last one runs others idle
TASK_FLOPS = 16 << 20  # of a part: handing over costs some 50 µs
FLOW_FLOPS = 24 << 20  # in all tasks beside the loop: from so many on another thread takes them
RING = 3  # parts that are under way at once
BLOCK_BYTES = 1 << 16  # of recurrent weights as one matrix with zeros where directions do not meet: in the first cache
SMALL = 1 << 13  # elements up to which a number to compute with is an array
STEPS = 128  # of a part at most, and an even number: steps of later parts are those of earlier ones

Order = tuple[tuple[int, float], ...]  # of the gates in packed weights: which gate of the given ones, scaled by what
Biases = Sequence[tuple[Array, Sequence[int]]]  # (D, G·H), and the places in the order that it is added to
Cell = Callable[[Array, int], list[Step]]  # a step: (products with x (G, D, H, N), number of the step) -> steps
Part = tuple[int, int]  # first step, and the one behind the last


@dataclass
class Products:
    """The products of x with weights (D, G, H, E), or (D, G, H, E + 1) where the last column is a bias.

    `made` (RING, steps, spare + G, D, H, N): of the parts under way, behind spare gates.  `x` (RING, D, steps, E + 1,
    N) has what is multiplied.
    """

    weights: Array
    x: Array
    made: Array
    parts: list[Part]
    flops: int

    @property
    def spare(self) -> int:
        return self.made.shape[2] - self.weights.shape[1]


def before(k: int) -> slice:
    """Among what parts have, that of the part whose memory part k takes; nothing for the first ones."""
    return slice(max(0, k - RING), max(0, k - RING + 1))


def is_worth_a_thread(flops: int, parts: list[Part]) -> bool:
    """Whether another thread shall do what is beside the loop."""
    return flops >= FLOW_FLOPS and len(parts) > 1


class Layer(Memory):
    """The sizes of a recurrent layer, and what its sequences look like."""

    def __init__(self, x: Array, r: Array, mask: Array | None, direction: str, scratch: Scratch) -> None:
        super().__init__(compute_dtype(x.dtype), scratch)
        self.batch, self.length, self.features = x.shape
        self.directions, self.hidden = r.shape[:2]
        self.state = self.directions, self.hidden, self.batch
        self.x, self.mask, self.direction = x, mask, direction

    def memory(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """Memory, in the dtype of computing unless another one is given."""
        return self._scratch(tuple(shape), self.dtype if dtype is None else dtype)

    def backwards(self, d: int) -> bool:
        """Whether direction d goes from the end to the beginning."""
        return self.direction == "reverse" or (self.direction == "bidirectional" and d % 2 == 1)

    def ordered(self, sequence: Array, d: int) -> Array:
        """(N, T, ...) in the order of time, or the other way around, as direction d computes it."""
        return sequence[:, ::-1] if self.backwards(d) else sequence

    def blanked(self, y: Array | None, started: bool, zero_masked: bool) -> list[Step]:
        """Zeros in y where a masked step does not show the state; `started`: the first state is another than zeros."""
        if y is None or self.mask is None or not (zero_masked or started):
            return []
        return [partial(self._clear, y, self.mask, zero_masked)]

    def _clear(self, y: Array, mask: Array, zero_masked: bool) -> None:
        """Zeros in y (N, T, D, H) at masked steps: at all of them, or at those before the first that counts."""
        for d in range(self.directions):
            counts = self.ordered(mask, d)
            if not zero_masked:
                counts = np.logical_or.accumulate(counts, axis=1)
            np.copyto(self.ordered(y[:, :, d], d), 0, where=~counts[:, :, np.newaxis])


class Loop(Layer):
    """A layer as a loop over time: `h` (and whatever else a cell keeps) before each step and after the last one.

    What h is called inside is `scale` times what it is outside.
    """

    def __init__(
        self, x: Array, r: Array, mask: Array | None, direction: str, scratch: Scratch, scale: int = 1
    ) -> None:  # fmt: skip
        super().__init__(x, r, mask, direction, scratch)
        self.scale, self.h = scale, list[Array]()
        self._sequence = np.empty((0, 0, 0, 0), self.dtype)
        self._numbers: dict[Any, Array] = {}
        self._comes_again = False  # whether steps RING parts apart have the same memory
        self.skip = self._masked()

    # ---- memory

    def gates(self, count: int, *lead: int) -> Array:
        """Memory for so many gates: (*lead, gates, D, H, N)."""
        return self.memory((*lead, count, *self.state))

    def number(self, value: float, like: Array) -> Array:
        """A number to compute with `like`: an array of its shape where that is small (a contiguous operation takes
        NumPy half the time of another), else one of no axes."""
        shape = like.shape if like.size <= SMALL else ()
        if (value, shape) not in self._numbers:
            self._numbers[value, shape] = np.full(shape, value, self.dtype)
        return self._numbers[value, shape]

    def _masked(self) -> Array | None:
        """Where steps do not count, (T, D, 1, N)."""
        if self.mask is None:
            return None
        skip = self.memory((self.length, self.directions, 1, self.batch), np.dtype(bool))
        for d in range(self.directions):
            self.prologue.append(partial(np.logical_not, self.ordered(self.mask, d).T, skip[:, d, 0]))
        return skip

    # ---- weights

    def columns(self, given: Array, order: Order) -> Array:
        """Numbers (D, G·H) as columns (G, D, H, 1), gates in order and scaled."""

        def fill(packed: Array) -> None:
            by_gate = given.reshape(self.directions, -1, self.hidden)
            for place, (gate, factor) in enumerate(order):
                np.multiply(by_gate[:, gate], factor, out=packed[place, ..., 0], casting="unsafe")

        return self.packed(given, (len(order), self.directions, self.hidden, 1), fill)

    def recurrence(self, r: Array, order: Order) -> Callable[[Array, Array], Step]:
        """(h (D, H, N), out (G, D, H, N)) -> the step out = h R, with R (D, H, G·H) packed in order and scaled.

        One sequence is multiplied as a row with one matrix: `dot`, the method, takes the least time to start.
        """
        d, size, n = self.state
        count = len(order)
        if n == 1 and (d == 1 or d * d * count * size * size * self.dtype.itemsize <= BLOCK_BYTES):
            matrix = self.packed(r, (d, size, count, d, size), lambda out: self._fill_blocks(out, r, order))
            flat = matrix.reshape(d * size, count * d * size)
            return lambda h, out: partial(h.reshape(-1).dot, flat, out.reshape(-1))
        weights = self.packed(r, (count, d, size, size), lambda out: self._fill(out, r, order))
        if d == 1:
            rows = weights.reshape(count * size, size)

            def product_of(h: Array, out: Array) -> Step:
                return in_pieces(rows, h, out) or partial(rows.dot, h, out)

            return lambda h, out: product_of(h[0], out.reshape(count * size, n))
        return lambda h, out: in_pieces(weights, h, out) or partial(np.matmul, weights, h, out)

    def _gate(self, weights: Array, gate: int) -> Array:
        """The columns of a gate among weights (D, A, G·H)."""
        return weights[..., gate * self.hidden : (gate + 1) * self.hidden]

    def _fill(self, packed: Array, r: Array, order: Order) -> None:
        """packed (G, D, H, H) = the gates of r, transposed."""
        for place, (gate, factor) in enumerate(order):
            np.multiply(self._gate(r, gate).swapaxes(1, 2), factor, out=packed[place], casting="unsafe")

    def _fill_blocks(self, packed: Array, r: Array, order: Order) -> None:
        """packed (D, H, G, D, H) = the gates of r, and zeros from one direction to another."""
        packed.fill(0)
        for place, (gate, factor) in enumerate(order):
            for d in range(self.directions):
                np.multiply(self._gate(r[d], gate), factor, out=packed[d, :, place, d], casting="unsafe")

    def products(self, w: Array, order: Order, biases: Biases = (), spare: int = 0) -> Products:
        """The products with x; their memory, with w (D, E, G·H) packed in order and scaled."""
        inner = self.features + bool(biases)

        def fill(packed: Array) -> None:
            for place, (gate, factor) in enumerate(order):
                rows = packed[:, place]
                columns = self._gate(w, gate).swapaxes(1, 2)
                np.multiply(columns, factor, out=rows[..., : self.features], casting="unsafe")
                if biases:
                    mine = [self._gate(bias, gate).astype(self.dtype) for bias, places in biases if place in places]
                    np.multiply(sum(mine), factor, out=rows[..., -1])

        given = [w, *(bias for bias, _ in biases)]
        source = next((array for array in given if not is_constant(array)), w)
        shape = self.directions, len(order), self.hidden, inner
        if self.batch == 1:  # x comes in rows then
            shape = self.directions, inner, len(order), self.hidden
            weights = self.packed(source, shape, lambda packed: fill(packed.transpose(0, 2, 3, 1)))
            weights = weights.transpose(0, 2, 3, 1)
        else:
            weights = self.packed(source, shape, fill)
        flops = 2 * self.length * self.batch * weights.size
        parts = self.parts(spare + len(order), flops)
        longest = max((stop - start for start, stop in parts), default=0)
        x = self.memory((RING, self.directions, longest, inner, self.batch))
        return Products(weights, x, self.gates(spare + len(order), RING, longest), parts, flops)

    # ---- time

    def parts(self, gates: int, flops: int) -> list[Part]:
        """Runs of steps: so many gates for each step of a run stay in the cache.

        flops: what is to be done beside the loop for the whole sequence.
        """
        step_bytes = gates * prod(self.state) * self.dtype.itemsize
        count = min(STEPS, PART_BYTES // max(1, step_bytes))
        if flops >= FLOW_FLOPS:
            count = min(count, max(ceil(self.length / PARTS), ceil(self.length * TASK_FLOPS / flops)))
        count = min(self.length, count + count % 2) or 1
        return [(start, min(start + count, self.length)) for start in range(0, self.length, count)]

    def initial(self, given: Array | None, state: Array, scale: float = 1) -> list[Step]:
        """state (D, H, N) = given (N, D, H), scaled, or zero."""
        if given is None:
            return [partial(state.fill, 0)]
        return [partial(np.multiply, given.transpose(1, 2, 0), scale, state, casting="unsafe")]

    def final(self, state: Array, out: Array | None, scale: float = 1) -> list[Step]:
        """out (N, D, H) = state (D, H, N), scaled."""
        if out is None:
            return []
        return [partial(np.multiply, state.transpose(2, 0, 1), scale, out, casting="unsafe")]

    def kept(self, new: Array, old: Array, s: int) -> list[Step]:
        """new = old where step s is masked."""
        return [] if self.skip is None else [partial(np.copyto, new, old, where=self.skip[s])]

    def forwards(
        self, products: Products, cell: Cell, h0: Array | None, y: Array | None, last: Array | None, zero_masked: bool
    ) -> list[Step]:  # fmt: skip
        """The loop over time, which fills h; the sequence y (N, T, D, H) and the last h, if they are wanted."""
        self._have_h(len(products.made) * products.made.shape[1] if y is not None else 2)
        tasks, loops, shows, made = Tasks(), list[int](), list[int](), list[list[int]]()

        def project(k: int) -> None:
            branches = self._projected(products, *products.parts[k], k % RING)
            made.append([tasks.enter(steps, loops[before(k)]) for steps in branches])

        for k, (start, stop) in enumerate(products.parts):
            for next_one in range(len(made), min(k + 2, len(products.parts))):
                project(next_one)
            again = self._comes_again and k > RING and stop - start == len(products.made[0])
            steps = tasks[loops[k - RING]].steps if again else self._cells(products, cell, k)
            loops.append(tasks.enter(steps, [*made[k], *shows[before(k)]], main=True))
            if y is not None:
                shows.append(tasks.enter(self._shown(y, start, stop, k % RING), [loops[k]]))
        ones = [partial(products.x[..., -1, :].fill, 1)] if products.weights.shape[-1] > self.features else []
        flow = tasks.as_steps(is_worth_a_thread(products.flops, products.parts))
        steps = [*self.initial(h0, self.h[0], self.scale), *ones, *flow]
        return [*steps, *self.final(self.h[-1], last, 1 / self.scale), *self.blanked(y, h0 is not None, zero_masked)]

    def _cells(self, products: Products, cell: Cell, k: int) -> list[Step]:
        """The steps of a part."""
        given, (start, stop) = products.made[k % RING], products.parts[k]
        return [step for s in range(start, stop) for step in cell(given[s - start], s)]

    def keeps_h(self, first: Array, sequence: Array) -> None:
        """Where h is: before the first step, and after each step, in so many places in turn."""
        self._sequence, places = sequence, list(sequence)
        self.h = [first, *(places[s % len(places)] for s in range(self.length))]

    def _have_h(self, places: int) -> None:
        """Memory for h, unless the cell has it elsewhere."""
        if not self.h:
            made = self.memory((1 + max(2, min(places, self.length)), *self.state))
            self.keeps_h(made[0], made[1:])
            self._comes_again = self.skip is None

    def _projected(self, products: Products, start: int, stop: int, slot: int) -> list[list[Step]]:
        """The products of some steps of x with the weights, each direction by itself.  BLAS is fastest where the
        batch is last in x."""
        found: list[list[Step]] = []
        for d in range(self.directions):
            x, made = products.x[slot, d, : stop - start], products.made[slot, : stop - start, products.spare :, d]
            given = self.ordered(self.x, d)[:, start:stop].transpose(1, 2, 0)
            copy = partial(np.copyto, x[:, : self.features], given, casting="unsafe")
            found.append([copy, *self._product(x, products.weights[d], made, f"product {slot} {d}")])
        return found

    def _product(self, x: Array, weights: Array, out: Array, role: str) -> list[Step]:
        """out (T, G, H, N) = weights (G, H, E) @ x (T, E, N); of one sequence all T at once."""
        count = weights.shape[0] * weights.shape[1]
        flat = out.reshape(len(out), count, self.batch, copy=False) if self.directions == 1 else None
        if self.batch != 1:
            if flat is None:
                return matrix_product(weights, x[:, np.newaxis], out)
            return matrix_product(weights.reshape(count, -1), x, flat)
        columns = weights.transpose(2, 0, 1).reshape(-1, count, copy=False)
        if flat is not None:
            return [partial(np.matmul, x[..., 0], columns, flat[..., 0])]
        made = self.work(role, (len(x), count))
        by_gate = made.reshape(len(x), *weights.shape[:2])
        return [partial(x[..., 0].dot, columns, made), partial(np.copyto, out[..., 0], by_gate)]

    def _shown(self, y: Array, start: int, stop: int, slot: int) -> list[Step]:
        """Some steps of the sequence y (N, T, D, H)."""
        place, steps = start % len(self._sequence), list[Step]()
        made = self._sequence[place : place + stop - start]
        if self.scale != 1:
            scaled = self.work(f"shown {slot}", made.shape)
            steps.append(partial(np.multiply, made, made.dtype.type(1 / self.scale), scaled))
            made = scaled
        for d in range(self.directions):
            out = self.ordered(y[:, :, d], d)[:, start:stop]
            steps.append(partial(np.copyto, out, made[:, d].transpose(2, 0, 1), casting="unsafe"))
        return steps


# ---- activations of cells ------------------------------------------------------------------------------------


def is_plain(activation: Any, name: str) -> bool:
    """Whether an activation is this one, without attributes."""
    return bool(activation.name == name and not activation.attrs)


def activated(activation: Any, clip: float | None, x: Array) -> list[Step]:
    """x = activation(x, clipped to [-clip, clip])."""
    call = activate(activation)
    bound: list[Step] = [] if clip is None else [partial(np.clip, x, -clip, clip, x)]
    if is_plain(activation, "tanh"):
        return [*bound, partial(np.tanh, x, x)]
    return bound if call is None else [*bound, partial(call, x)]


def activated_into(activation: Any, clip: float | None, x: Array, out: Array) -> list[Step]:
    """out = activation(x, clipped to [-clip, clip]); out may be x."""
    if clip is None and is_plain(activation, "tanh"):
        return [partial(np.tanh, x, out)]
    copied: list[Step] = [] if x is out else [partial(np.copyto, out, x)]
    return [*copied, *activated(activation, clip, out)]
