"""Products of rows with constant weights, finished in registers: what `matmul` and `conv` become.

Weights are packed once, in panels of WIDTH vectors of columns.  A tile of ROWS rows and one panel stays in registers
over the whole depth, then gets bias, residual and activation.  A row is not copied: it may be runs of numbers that lie
apart, as the window of a convolution does.  Every number is summed in the same order, wherever it is in a tile: results
do not depend on how rows are shared out.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ...ir.attributes import Activation
from ..numpy.registry import Array, Scratch, Step
from ..numpy.workers import cuts
from .compiler import Call, inlined, variant
from .expressions import activation_of
from .functions import linear
from .vectors import LANES, ROWS, load, load_some, product_tile, store, store_some

WIDTH = 4  # vectors of a panel
VECTOR = 4 * LANES  # bytes
DEPTH = 512  # numbers summed up one after the other, before they are added to the sum of those before
F32 = np.dtype(np.float32)

activate = linear
tile_1, tile_2, tile_3, tile_4 = (product_tile(ROWS, width) for width in (1, 2, 3, 4))
single_1, single_2, single_3, single_4 = (product_tile(1, width) for width in (1, 2, 3, 4))


# ---- compiled ------------------------------------------------------------------------------------------------


@inlined
def sum_up(
    rows: int, width: int, x: int, pitch: int, offsets: int, runs: int, depth: int, w: int, sums: int, again: int
) -> None:
    """sums (rows, width vectors) = the products of ROWS rows, or of one."""
    out = width * VECTOR
    if rows == ROWS:
        if width == 4:
            tile_4(x, pitch, offsets, runs, depth, w, sums, out, again)
        elif width == 3:
            tile_3(x, pitch, offsets, runs, depth, w, sums, out, again)
        elif width == 2:
            tile_2(x, pitch, offsets, runs, depth, w, sums, out, again)
        else:
            tile_1(x, pitch, offsets, runs, depth, w, sums, out, again)
    elif width == 4:
        single_4(x, pitch, offsets, runs, depth, w, sums, out, again)
    elif width == 3:
        single_3(x, pitch, offsets, runs, depth, w, sums, out, again)
    elif width == 2:
        single_2(x, pitch, offsets, runs, depth, w, sums, out, again)
    else:
        single_1(x, pitch, offsets, runs, depth, w, sums, out, again)


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
    images: int, height: int, columns: int, x: int, x_n: int, x_y: int, x_x: int, offsets: int, runs: int, depth: int,
    at_once: int, weights: int, w_n: int, bias: int, channels: int, out: int, out_n: int, out_y: int, out_x: int,
    residual: int, res_n: int, res_y: int, res_x: int, again: int, sums: int,
) -> None:  # fmt: skip
    """out (images, height, columns, channels) = activate(x @ weights + bias + residual).

    A row of x is `runs` runs of `depth` numbers at `offsets` (int64, bytes), of which `at_once` are summed up at once.
    weights: (panels, runs, depth, vectors), the last panel having as many vectors as are left, w_n bytes from those of
    one image to those of the next; bias: vectors.  Strides are bytes; bias and residual may be 0.  `again`: columns may
    be computed twice.  sums: work for a tile.
    """
    done, vectors = 0, -(-channels // LANES)
    while done < vectors:
        width, c = min(WIDTH, vectors - done), 4 * done * LANES
        for n in range(images):
            panel = weights + n * w_n + done * runs * depth * VECTOR
            for i in range(height):
                j = 0
                while j < columns:
                    if again != 0 and j + ROWS > columns and columns >= ROWS:
                        j = columns - ROWS
                    rows = ROWS if j + ROWS <= columns else 1
                    source, run = x + n * x_n + i * x_y + j * x_x, 0
                    while run < runs:
                        count, w = min(at_once, runs - run), panel + run * depth * width * VECTOR
                        sum_up(rows, width, source, x_x, offsets + 8 * run, count, depth, w, sums, run)
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


def padded_bias(bias: Array | None, channels: int) -> Array | None:
    """A constant bias, with zeros up to whole vectors."""
    if bias is None:
        return None
    wide = np.zeros(-(-channels // LANES) * LANES, np.float32)
    wide[:channels] = bias.reshape(-1)
    return wide


def product_steps(
    run: Any, x: Array, runs: Sequence[int], depth: int, weights: Array, bias: Array | None, residual: Array | None,
    out: Array, scratch: Scratch, flops: int,
) -> list[list[Step]]:  # fmt: skip
    """Branches that compute out (images, height, columns, channels) from rows of x (images, height, columns, ...).

    Only the first three strides of x matter: rows are runs of `depth` numbers, so many bytes from there.
    """
    offsets = np.array(runs, np.int64)
    at_once = max(1, DEPTH // max(depth, 1))
    again = residual is None or not np.may_share_memory(residual, out)
    branches: list[list[Step]] = []
    for part in parts_of(out.shape[:3], flops):
        source, target = x[part], out[part]
        added = None if residual is None else residual[part]
        branches.append([Call(
            run, *target.shape[:3], source, *source.strides[:3], offsets, len(runs), depth, at_once, weights, 0, bias,
            out.shape[-1], target, *target.strides[:3], added, *((0, 0, 0) if added is None else added.strides[:3]),
            again, scratch((ROWS, WIDTH * LANES), F32),
        )])  # fmt: skip
    return branches


def parts_of(shape: Sequence[int], flops: int) -> list[tuple[slice, ...]]:
    """The longest of three axes in parts that are work enough for a thread."""
    axis = max(range(len(shape)), key=lambda i: (shape[i], -i))
    pieces = cuts(shape[axis], flops, unit=ROWS if axis == 2 else 1)
    return [(*(slice(None),) * axis, piece) for piece in pieces]


def is_plain(*arrays: Array | None) -> bool:
    """Whether arrays are float32 whose last axes are contiguous."""
    return all(a is None or (a.dtype == F32 and (a.shape[-1] <= 1 or a.strides[-1] == 4)) for a in arrays)


_PACKED: dict[int, tuple[weakref.ref[Array], list[Array]]] = {}


def packed_once(weights: Array, groups: int = 1) -> list[Array]:
    """The panels of constant weights (..., depth, columns), for each run of columns a group; plans share them."""
    known = _PACKED.get(id(weights))
    if known is not None and known[0]() is weights:
        return known[1]
    key = id(weights)
    panels = [panels_of(part) for part in np.split(weights.reshape(-1, weights.shape[-1]), groups, axis=1)]
    _PACKED[key] = weakref.ref(weights, lambda _: _PACKED.pop(key, None)), panels
    return panels
