"""Products of rows with constant weights, finished in registers: what `matmul` and `conv` become.

Weights are packed once, in panels of WIDTH vectors of columns.  A tile of ROWS rows and one panel stays in registers
over the whole depth, then gets bias, residual and activation.  A row is not copied: it may be runs of numbers that lie
apart, as the window of a convolution does.  Every number is summed in the same order, wherever it is in a tile: results
do not depend on how rows are shared out.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...ir.attributes import Activation
from ..numpy.registry import Array, Scratch, Step, is_constant
from .compiler import Call, inlined, variant
from .crew import shares
from .expressions import activation_of
from .functions import linear
from .vectors import LANES, ROWS, load, load_some, store, store_some, strided_tile

WIDTH = 4  # vectors of a panel
VECTOR = 4 * LANES  # bytes
FEW_ROWS = 64  # of an output: then it takes longest to read the weights, which every thread does for its channels
DEPTH = 512  # numbers summed up one after the other, before they are added to the sum of those before
F32 = np.dtype(np.float32)

activate = linear
tile_1, tile_2, tile_3, tile_4 = (strided_tile(ROWS, width) for width in (1, 2, 3, 4))
single_1, single_2, single_3, single_4 = (strided_tile(1, width) for width in (1, 2, 3, 4))


# ---- compiled ------------------------------------------------------------------------------------------------


@inlined
def sum_up(
    rows: int, width: int, x: int, pitch: int, step: int, offsets: int, runs: int, depth: int, w: int, w_pitch: int,
    sums: int, again: int,
) -> None:  # fmt: skip
    """sums (rows, width vectors) = the products of ROWS rows, or of one."""
    out = width * VECTOR
    if rows == ROWS:
        if width == 4:
            tile_4(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
        elif width == 3:
            tile_3(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
        elif width == 2:
            tile_2(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
        else:
            tile_1(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
    elif width == 4:
        single_4(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
    elif width == 3:
        single_3(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
    elif width == 2:
        single_2(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)
    else:
        single_1(x, pitch, step, offsets, runs, depth, w, w_pitch, sums, out, again)


def finish(
    rows: int, width: int, left: int, sums: int, bias: int, out: int, out_x: int, residual: int, res_x: int, adds: int
) -> None:
    """out = activate(sums + bias + residual), of some rows and vectors; `left`: channels from here on."""
    for r in range(rows):
        for v in range(width):
            made, c = load(sums + (r * width + v) * VECTOR), 4 * v * LANES
            if bias != 0:
                made = made + load(bias + c)
            if (v + 1) * LANES <= left:
                if adds != 0:
                    made = made + load(residual + r * res_x + c)
                store(out + r * out_x + c, activate(made))
            else:
                if adds != 0:
                    made = made + load_some(residual + r * res_x + c, left - v * LANES)
                store_some(out + r * out_x + c, activate(made), left - v * LANES)


def product(
    images: int, height: int, columns: int, x: int, x_n: int, x_y: int, x_x: int, step: int, offsets: int, runs: int,
    depth: int, at_once: int, weights: int, w_n: int, w_pitch: int, bias: int, channels: int, out: int, out_n: int,
    out_y: int, out_x: int, residual: int, res_n: int, res_y: int, res_x: int, again: int, sums: int,
) -> None:  # fmt: skip
    """out (images, height, columns, channels) = activate(x @ weights + bias + residual).

    A row of x is `runs` runs of `depth` numbers, `step` bytes apart, at `offsets` (int64, bytes), of which `at_once`
    are summed up at once.  weights: a matrix (runs · depth, vectors) with rows w_pitch bytes apart; or, if that is 0,
    (panels, runs, depth, vectors), the last panel having as many vectors as are left.  w_n: bytes from those of one
    image to those of the next; bias: vectors.  Strides are bytes; bias and residual may be 0.  `again`: columns may be
    computed twice.  sums: work for a tile.
    """
    done, vectors = 0, -(-channels // LANES)
    while done < vectors:
        width, c = min(WIDTH, vectors - done), 4 * done * LANES
        row = w_pitch if w_pitch != 0 else width * VECTOR
        for n in range(images):
            panel = weights + n * w_n + done * VECTOR * (1 if w_pitch != 0 else runs * depth)
            for i in range(height):
                j = 0
                while j < columns:
                    if again != 0 and j + ROWS > columns and columns >= ROWS:
                        j = columns - ROWS
                    rows = ROWS if j + ROWS <= columns else 1
                    source, run = x + n * x_n + i * x_y + j * x_x, 0
                    while run < runs:
                        count, w = min(at_once, runs - run), panel + run * depth * row
                        sum_up(rows, width, source, x_x, step, offsets + 8 * run, count, depth, w, row, sums, run)
                        run += count
                    target = out + n * out_n + i * out_y + j * out_x + c
                    added = residual + n * res_n + i * res_y + j * res_x + c
                    here = bias + c if bias != 0 else 0
                    finish(rows, width, channels - done * LANES, sums, here, target, out_x, added, res_x, residual)
                    j += rows
        done += width


# ---- binding -------------------------------------------------------------------------------------------------


@cache
def compiled_product(activation: Activation) -> Any:
    """The function for an activation; None where it is not known."""
    found = activation_of(activation)
    return None if found is None else variant(product, str(activation), activate=found, finish=finish)


def panels_of(weights: Array) -> Array:
    """Weights (depth, channels) as panels (depth, vectors of the panel), zeros where there are no channels."""
    depth, channels = weights.shape
    vectors = -(-channels // LANES)
    wide = np.zeros((depth, vectors * LANES), np.float32)
    wide[:, :channels] = weights
    step = WIDTH * LANES
    parts = [wide[:, i : i + step].reshape(-1) for i in range(0, vectors * LANES, step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@dataclass(frozen=True)
class Panels:
    """Weights (images, depth, channels) as products read them: in panels, or as they are, rows `pitch` bytes apart."""

    numbers: Array  # (images, depth · channels), or (images, depth, channels)
    depth: int
    pitch: int

    def part(self, first: int) -> Array:
        """What there is from a channel on, the first one of a panel."""
        return self.numbers[..., first:] if self.pitch else self.numbers[:, first * self.depth :]


def panels(weights: Array, groups: int = 1, images: int = 1) -> list[Panels] | None:
    """Weights (..., channels) of some images, for each run of channels a group; None where they cannot be read."""
    depth, each = weights.size // (images * weights.shape[-1]), weights.shape[-1] // groups
    if is_constant(weights):
        return [Panels(packed, depth, 0) for packed in _packed_once(weights, groups, images)]
    try:
        rows = weights.reshape(images, depth, groups * each, copy=False)
    except ValueError:
        return None
    if each % LANES or rows.strides[-1] != 4:
        return None
    return [Panels(rows[..., g * each : (g + 1) * each], depth, rows.strides[1]) for g in range(groups)]


def is_row(bias: Array | None, channels: int, groups: int = 1) -> bool:
    """Whether a bias can be read as vectors, by groups."""
    return bias is None or (bias.size == channels and (is_constant(bias) or channels // groups % LANES == 0))


def padded_bias(bias: Array | None, channels: int) -> Array | None:
    """A bias for which that is so, a constant with zeros up to whole vectors."""
    if bias is None or not is_constant(bias):
        return None if bias is None else bias.reshape(-1)
    wide = np.zeros(-(-channels // LANES) * LANES, np.float32)
    wide[:channels] = bias.reshape(-1)
    return wide


def product_steps(
    run: Any, x: Array, runs: Sequence[int], depth: int, weights: Panels, bias: Array | None, residual: Array | None,
    out: Array, scratch: Scratch, flops: int,
) -> list[list[Step]]:  # fmt: skip
    """Branches that compute out (images, height, columns, channels) from rows of x (images, height, columns, ...).

    Only the strides of x matter: rows are runs of `depth` numbers, so many bytes from there.
    """
    step = x.strides[3] if x.shape[3] > 1 else F32.itemsize
    offsets = np.array(runs, np.int64)
    at_once = max(1, DEPTH // max(depth, 1))
    again = residual is None or not np.may_share_memory(residual, out)
    branches: list[list[Step]] = []
    for *places, columns in parts_of(out.shape, flops):
        place, first = (*places, columns), columns.start
        source, target = x[tuple(places)], out[place]
        added = None if residual is None else residual[place]
        branches.append([Call(
            run, *target.shape[:3], source, *source.strides[:3], step, offsets, len(runs), depth, at_once,
            weights.part(first), 0, weights.pitch, None if bias is None else bias[first:], target.shape[-1], target,
            *target.strides[:3], added, *((0, 0, 0) if added is None else added.strides[:3]), again,
            scratch((ROWS, WIDTH * LANES), F32),
        )])  # fmt: skip
    return branches


def parts_of(shape: Sequence[int], flops: int) -> list[tuple[slice, ...]]:
    """Four axes in parts that are work enough for a thread: panels of channels, where it is the weights that take the
    time, or the longest of the other axes."""
    axis = 3 if math.prod(shape[:3]) <= FEW_ROWS else max(range(3), key=lambda i: (shape[i], -i))
    unit = {2: ROWS, 3: WIDTH * LANES}.get(axis, 1)
    whole = [slice(0, size) for size in shape]
    return [(*whole[:axis], piece, *whole[axis + 1 :]) for piece in shares(shape[axis], flops, unit=unit)]


def is_plain(*arrays: Array | None) -> bool:
    """Whether arrays are float32 whose last axes are contiguous."""
    return all(a is None or (a.dtype == F32 and (a.shape[-1] <= 1 or a.strides[-1] == 4)) for a in arrays)


_PACKED: dict[int, tuple[weakref.ref[Array], list[Array]]] = {}


def _packed_once(weights: Array, groups: int, images: int) -> list[Array]:
    """The panels of constant weights, for each group (images, numbers); plans share them."""
    known = _PACKED.get(id(weights))
    if known is not None and known[0]() is weights:
        return known[1]
    key, rows = id(weights), weights.reshape(images, -1, weights.shape[-1])
    packed = [np.stack([panels_of(image) for image in part]) for part in np.split(rows, groups, axis=2)]
    _PACKED[key] = weakref.ref(weights, lambda _: _PACKED.pop(key, None)), packed
    return packed
