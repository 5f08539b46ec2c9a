"""Gradients of a recurrent layer's weights and of x: products of dz with h, x and w, part after part of the sequence.

dz (steps, D, rows, N) are the gradients of the sums that went into the activations; its rows are counted in gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..flow import Tasks
from ..registry import Array, Step
from .products import matrix_product
from .recurrent_layer import RING, Loop

Some = Array | None


@dataclass
class Outs:
    """The gradients of x, w, r and bias that are wanted."""

    dx: Some
    dw: Some
    dr: Some
    dbias: Some


@dataclass
class Left:
    """What some rows of dz are multiplied with to make gradients of r, for which columns (gates) of r: an array
    (T, D, H, N) that is `scale` times itself."""

    rows: slice
    columns: Sequence[int]
    of: Array
    scale: float


class Sums:
    """The products, as tasks of each part; their sums, as steps behind all tasks.

    of_x: the rows of dz that x was multiplied to.
    """

    def __init__(self, layer: Loop, w: Array, outs: Outs, rows: int, of_x: slice, left: list[Left]) -> None:
        self.layer, self.outs, self.rows, self.of_x, self.left = layer, outs, rows, of_x, left
        turned = w.shape[0], w.shape[2], w.shape[1]
        self.w = layer.packed(w, turned, lambda out: np.copyto(out, w.swapaxes(1, 2), casting="unsafe"))
        of_x_and_h = layer.features * sum(out is not None for out in (outs.dx, outs.dw)) + layer.hidden
        self.flops = 2 * layer.length * layer.batch * layer.directions * rows * layer.hidden * of_x_and_h

    def tasks(self, tasks: Tasks, dz: Array, loop: int, last: list[int], start: int, stop: int, i: int) -> list[int]:
        """Enter the tasks of some steps, for when their loop is over: sums in the order of parts, dx by itself.

        last: the tasks of the part before; i: the number of the part, in the order in which they are computed.
        """
        directions = range(self.layer.directions)
        found = [tasks.enter(self._summed(dz[:, d], d, start, stop, i), [loop, *last[d : d + 1]]) for d in directions]
        if self.outs.dx is not None:
            found += [tasks.enter(self._of_input(dz[:, d], d, start, stop, i % RING), [loop]) for d in directions]
        return found

    # ---- sums over the sequence

    def _summed(self, dz: Array, d: int, start: int, stop: int, i: int) -> list[Step]:
        """What some steps of a direction add to the gradients of w, r and bias."""
        layer, outs, count = self.layer, self.outs, stop - start
        rows, turn = self._turned(f"dz {d}", dz)
        steps: list[Step] = [turn]
        if outs.dw is not None:
            x = layer.work(f"x {d}", (count, layer.batch, layer.features))
            given = layer.ordered(layer.x, d)[:, start:stop].transpose(1, 0, 2)
            steps.append(partial(np.copyto, x, given, casting="unsafe"))
            steps += self._plus(i, f"w {d}", rows[self._whole(self.of_x)], x.reshape(-1, layer.features))
        for number, left in enumerate(self.left if outs.dr is not None else ()):
            h, turn = self._turned(f"h {d}", left.of[start:stop, d])
            steps += [turn, *self._plus(i, f"r{number} {d}", rows[self._whole(left.rows)], h.T)]
        if outs.dbias is not None:
            total = self._total(f"bias {d}", (len(rows),))
            part = layer.work(f"part bias {d}", total.shape) if i else total
            steps.append(partial(np.add.reduce, rows, 1, None, part))
            steps += [partial(np.add, total, part, total)] if i else []
        return steps

    def _turned(self, role: str, sequence: Array) -> tuple[Array, Step]:
        """Memory (rows, steps·N) for (steps, rows, N), and the step that copies it there."""
        count, rows, n = sequence.shape
        made = self.layer.work(role, (rows, count, n))
        return made.reshape(rows, count * n), partial(np.copyto, made, sequence.transpose(1, 0, 2))

    def _whole(self, gates: slice) -> slice:
        """Rows of gates."""
        return slice(gates.start * self.layer.hidden, gates.stop * self.layer.hidden)

    def _total(self, what: str, shape: tuple[int, ...]) -> Array:
        return self.layer.work(f"sum {what}", shape)

    def _plus(self, i: int, what: str, a: Array, b: Array) -> list[Step]:
        """The product of a and b, to the sum of such products; BLAS is fastest where a has the long axis last."""
        total = self._total(what, (len(a), b.shape[1]))
        if not i:
            return matrix_product(a, b, total)
        part = self.layer.work(f"part {what}", total.shape)
        return [*matrix_product(a, b, part), partial(np.add, total, part, total)]

    # ---- dx

    def _of_input(self, dz: Array, d: int, start: int, stop: int, slot: int) -> list[Step]:
        """dx of some steps, as one direction has it; of one sequence all steps at once."""
        layer, w = self.layer, self.w[d]
        place, dz = layer.ordered(self._dx(d), d)[:, start:stop], dz[:, self._whole(self.of_x)]
        if layer.batch != 1:
            return matrix_product(dz.transpose(0, 2, 1), w, place.transpose(1, 0, 2))
        made = layer.work(f"dx {slot} {d}", (stop - start, layer.features))
        return [partial(np.matmul, dz[..., 0], w, made), partial(np.copyto, place[0], made)]

    def _dx(self, d: int) -> Array:
        """Where the dx of a direction goes, (N, T, E): that of the first to its place, where the dtype is right."""
        dx = self.outs.dx
        assert dx is not None
        return dx if d == 0 and dx.dtype == self.layer.dtype else self.layer.work(f"dx of {d}", dx.shape)

    # ---- to their places

    def delivered(self) -> list[Step]:
        """The gradients in their places."""
        outs, steps = self.outs, list[Step]()
        if outs.dx is not None:
            first, *others = (self._dx(d) for d in range(self.layer.directions))
            steps += [partial(np.add, first, other, first) for other in others]
            steps += [] if first is outs.dx else [partial(np.copyto, outs.dx, first, casting="unsafe")]
        if not self.layer.length:
            return [*steps, *(partial(out.fill, 0) for out in (outs.dw, outs.dr, outs.dbias) if out is not None)]
        for d in range(self.layer.directions):
            if outs.dw is not None:
                count = (self.of_x.stop - self.of_x.start) * self.layer.hidden
                total = self._total(f"w {d}", (count, self.layer.features))
                steps.append(partial(np.copyto, outs.dw[d], total.T, casting="unsafe"))
            if outs.dr is not None:
                steps += self._delivered_dr(outs.dr[d], d)
            if outs.dbias is not None:
                steps += self._delivered_dbias(outs.dbias[d], d)
        return steps

    def _gates(self, out: Array, columns: Sequence[int]) -> list[Array]:
        """The columns of each gate."""
        size = self.layer.hidden
        return [out[..., column * size : (column + 1) * size] for column in columns]

    def _delivered_dr(self, out: Array, d: int) -> list[Step]:
        size, steps = self.layer.hidden, list[Step]()
        for number, left in enumerate(self.left):
            total = self._total(f"r{number} {d}", (len(left.columns) * size, size))
            for place, made in zip(self._gates(out, left.columns), total.reshape(-1, size, size)):
                steps.append(partial(np.multiply, made.T, 1 / left.scale, place, casting="unsafe"))
        return steps

    def _delivered_dbias(self, out: Array, d: int) -> list[Step]:
        """The bias that came with x, and, where there are two rows, the one that came with h."""
        total = self._total(f"bias {d}", (self.rows * self.layer.hidden,))
        with_x, *with_h = out if out.ndim == 2 else (out,)
        steps: list[Step] = [partial(np.copyto, with_x, total[self._whole(self.of_x)], casting="unsafe")]
        for row in with_h:
            for left in self.left:
                made = total[self._whole(left.rows)].reshape(-1, self.layer.hidden)
                pairs = zip(self._gates(row, left.columns), made)
                steps += [partial(np.copyto, place, part, casting="unsafe") for place, part in pairs]
        return steps
