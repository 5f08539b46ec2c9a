"""Convolutions by Winograd's algorithm, as products of matrices only.

    1. gather   the n inputs of every tile and axis, element by element of a tile:  D (Π n, tiles·C)
    2. inputs   V = (B ⊗ B) D: one product serves all axes, where NumPy's additions on strided tiles would be slower
    3. product  M = V @ u: Π n products (tiles, C) @ (C, O), which is where the multiplications are saved
    4. outputs  Y = (A ⊗ A) M, bias, residual and activation while it is in the cache
    5. scatter  Y (Π m, tiles·O) to its places

A block of tiles goes through all of it in two buffers that stay in the cache.  The gradient of the weights is the
adjoint: Aᵀ of the gradients of a tile times B x, summed over all tiles, then Gᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial, reduce
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np

from ..copies import copy
from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .conv import Layer, Pads, branches_of, padded_sources, seen_from, windows_of
from .memory import Block, Memory, blocks
from .products import matrix_product
from .rows import contiguous

BUFFER_BYTES = 3 << 18  # each of the two buffers of a block: both fit L2
LEAST_TILES = 32  # but products of fewer rows than this are slow
SUMMED_TILES = 128  # of a block, of which sums are made: adding them to the total costs as much as 20 more

# Where the polynomials are evaluated, by n = m + r - 1; infinity is one more point.  For n = 6 those which gave the
# smallest errors in float32 among a grid of (0, ±a, ±b): a quarter of the usual (0, ±1, ±2).
POINTS: dict[int, tuple[float, ...]] = {
    1: (),
    2: (0,),
    3: (0, 1),
    4: (0, 1, -1),
    5: (0, 1, -1, 0.5),
    6: (0, 0.75, -0.75, 1.5, -1.5),
    8: (0, 0.5, -0.5, 1, -1, 1.75, -1.75),
}


@lru_cache(maxsize=64)
def transforms(m: int, r: int) -> tuple[Array, Array, Array]:
    """A (m, n), G (n, r) and B (n, n) of one axis, in float64: A ((G w) · (B x)) is the correlation of x with w.

    Toom and Cook's way: polynomials are multiplied by their values at n - 1 points and at infinity; transposed, that
    is a correlation.
    """
    n = m + r - 1
    at = np.array(POINTS[n], np.float64)
    a, g, b = np.zeros((m, n)), np.zeros((n, r)), np.zeros((n, n))
    for j, point in enumerate(at):
        others = np.delete(at, j)
        a[:, j] = point ** np.arange(m)
        g[j] = point ** np.arange(r) / np.prod(point - others)
        b[j, : n - 1] = np.atleast_1d(np.poly(others))[::-1]
    a[m - 1, n - 1] = g[n - 1, r - 1] = 1
    b[n - 1] = np.atleast_1d(np.poly(at))[::-1]
    return a, g, b


def over_axes(which: int, tile: Sequence[int], kernel: Sequence[int]) -> Array:
    """The transform of all axes together (0: A, 1: G, 2: B), in float64."""
    return reduce(np.kron, (transforms(m, r)[which] for m, r in zip(tile, kernel)))


@kernel
def winograd_weights(w: Array, *, tile: tuple[int, ...], flip: bool, out: Array, scratch: Scratch) -> list[Step]:
    """(G ⊗ G) w: w (*K, C, O), out (Π n, C, O)."""
    kernel = w.shape[: len(tile)]
    g = over_axes(1, tile, kernel).astype(out.dtype)
    g = g.reshape(-1, *kernel)[(slice(None),) + (slice(None, None, -1 if flip else 1),) * len(tile)]
    steps: list[Step] = []
    given = contiguous(w, out.dtype, steps, scratch).reshape(prod(kernel), -1)
    product = partial(np.matmul, np.ascontiguousarray(g.reshape(len(g), -1)), given, out=out.reshape(len(out), -1))
    return [*steps, product]


@kernel(strided=True, over=("residual",))
def winograd_conv(
    x: Array,
    u: Array,
    bias: Array | None,
    residual: Array | None,
    *,
    kernel: tuple[int, ...],
    tile: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    activation: Any,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """x (N, *S, C), u (Π n, C, O), bias (O), residual and out (N, *S_out, O)."""
    if out.size == 0:
        return []
    tiling, before = Tiling(kernel, tile, out.dtype), [pair[0] for pair in padding]

    def branch(images: slice, rows: slice, filters: slice) -> list[Step]:
        target = out[images, rows, ..., filters]
        after = None if residual is None else residual[images, rows, ..., filters]
        layer = Layer(None if bias is None else bias[filters], after, activation, target, scratch)
        places = (rows, *(slice(0, size) for size in out.shape[2:-1]))
        part, pads = tiling.seen(x[images], places, before)
        return _forward(tiling, u[..., filters], part, pads, after, target, layer, scratch)

    tiles = tiling.tiles(out.shape[1:-1])
    flops = 2 * u.size * len(x) * prod(tiles)
    return together([branch(**which) for which in branches_of(out.shape, flops, by_filter=True, unit=tile[0])])


class Tiling:
    """How images are cut into tiles, and the matrices that transform what a tile sees, and what becomes of it."""

    def __init__(self, kernel: Sequence[int], tile: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.kernel, self.tile, self.axes = tuple(kernel), tuple(tile), len(tile)
        self.ones = (1,) * self.axes
        self.extent = tuple(m + r - 1 for m, r in zip(tile, kernel))
        self.points, self.elements = prod(self.extent), prod(tile)
        self.outputs, self.weights, self.inputs = (over_axes(which, tile, kernel).astype(dtype) for which in range(3))

    def tiles(self, places: Sequence[int]) -> tuple[int, ...]:
        """How many tiles cover so many places of each axis."""
        return tuple(ceil(size / m) for size, m in zip(places, self.tile))

    def seen(self, x: Array, places: Sequence[slice], before: Sequence[int]) -> tuple[Array, Pads]:
        """The part of x that the tiles of some places see, which may reach over the end, and what is padded around."""
        whole = [slice(p.start, p.start + ceil((p.stop - p.start) / m) * m) for p, m in zip(places, self.tile)]
        return seen_from(x, whole, self.kernel, self.ones, self.ones, before)

    def sources(
        self, x: Array, pads: Pads, places: Sequence[int], tiles: int, memory: Memory,
        scratch: Scratch,
    ) -> Iterator[tuple[slice, Array, list[Step]]]:  # fmt: skip
        """Groups of images that have at least so many tiles: which, what their tiles see (images, *tiles, *n, C), and
        the steps that make it.
        """
        per_image = self.tiles(places)
        for images, source, copies in padded_sources(x, pads, memory.dtype, scratch, ceil(tiles / prod(per_image))):
            yield images, windows_of(source, per_image, self.extent, self.tile, self.ones), copies

    def transformed(self, windows: Array, memory: Memory, outs: int) -> tuple[Array, Array, list[Step]]:
        """B x of some tiles (points, tiles, C), room for (points, tiles, outs) elsewhere, and the steps."""
        shape, channels = windows.shape[: self.axes + 1], windows.shape[-1]
        size = self.points * prod(shape)
        first, second = (memory.work(role, (size * max(channels, outs),)) for role in ("first", "second"))
        given, turned = first[: size * channels], second[: size * channels]
        order = (*range(self.axes + 1, 2 * self.axes + 1), *range(self.axes + 1), 2 * self.axes + 1)
        steps: list[Step] = [
            copy(given.reshape(*self.extent, *shape, channels), windows.transpose(order)),
            *matrix_product(self.inputs, given.reshape(self.points, -1), turned.reshape(self.points, -1)),
        ]
        return turned.reshape(self.points, -1, channels), first[: size * outs].reshape(self.points, -1, outs), steps

    def pairs(self, by_tile: Array, images: Array, block: Block) -> Iterator[tuple[Array, Array]]:
        """Elements of tiles (*m, images, *tiles, O) with those of images (N, *S, O) that they stand for.

        The last tiles of an axis may reach over its end, so they are apart.
        """
        pieces = [_whole_and_rest(place, m, size) for place, m, size in zip(block[1:], self.tile, images.shape[1:])]
        for piece in product(*pieces):
            inside, within, places = zip(*piece)
            part = images[(block[0],) + places]
            split = [n for axis in piece for n in _tiled(axis)]
            part = part.reshape(len(part), *split, part.shape[-1], copy=False)
            order = (*range(2, 2 * self.axes + 1, 2), 0, *range(1, 2 * self.axes, 2), 2 * self.axes + 1)
            yield by_tile[inside + (slice(None),) + within], part.transpose(order)


def _forward(
    tiling: Tiling, u: Array, x: Array, pads: Pads, residual: Array | None, out: Array,
    layer: Layer, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """Steps for out from the part of x that it sees."""
    points, channels, outs = u.shape
    count = max(LEAST_TILES, BUFFER_BYTES // (u.itemsize * points * max(channels, outs)))
    steps: list[Step] = []
    for images, windows, copies in tiling.sources(x, pads, out.shape[1:-1], count, layer, scratch):
        steps += copies
        here, given = out[images], None if residual is None else residual[images]
        for block in blocks(windows.shape[: 1 + tiling.axes], count):
            steps += _block(tiling, u, windows[block], block, given, here, layer)
    return layer.prologue + steps


def _block(
    tiling: Tiling, u: Array, windows: Array, block: Block, residual: Array | None, out: Array, layer: Layer
) -> list[Step]:
    """The steps for a block of tiles, which see windows (images, *tiles, *n, C)."""
    outs = u.shape[-1]
    turned, sums, steps = tiling.transformed(windows, layer, outs)
    size = tiling.elements * turned.shape[1] * outs
    made = layer.work("second", (turned.size,))[:size] if size <= turned.size else layer.work("made", (size,))
    made = made.reshape(*tiling.tile, *windows.shape[: tiling.axes + 1], outs)
    steps += [
        *matrix_product(turned, u, sums),
        *matrix_product(tiling.outputs, sums.reshape(len(u), -1), made.reshape(tiling.elements, -1)),
    ]
    added = None
    if residual is not None:
        added = layer.work("residual", made.shape)
        steps += [copy(a, b) for a, b in tiling.pairs(added, residual, block)]
    steps += layer.finish(made.reshape(-1, outs), made, added)
    return steps + [copy(b, a) for a, b in tiling.pairs(made, out, block)]


@kernel
def winograd_weight_grad(
    x: Array,
    g: Array,
    *,
    kernel: tuple[int, ...],
    tile: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out (*K, C, O) = (G ⊗ G)ᵀ of the sums over tiles of (B x) (Aᵀ g), x (N, *S, C), g (N, *S_out, O)."""
    if x.size == 0 or g.size == 0 or out.size == 0:
        return [partial(out.fill, 0)]
    tiling = Tiling(kernel, tile, out.dtype)
    places = tuple(slice(0, size) for size in g.shape[1:-1])
    part, pads = tiling.seen(x, places, [before for before, _ in padding])
    shape = (tiling.points, *out.shape[-2:])
    flops = 2 * prod(shape) * len(x) * prod(tiling.tiles(g.shape[1:-1]))
    branches, totals = [], []
    for images in cuts(len(x), flops, most=2):
        totals.append(scratch(shape, out.dtype))
        branches.append(_sums(tiling, part[images], pads, g[images], totals[-1], scratch))
    steps = together(branches) + [partial(np.add, totals[0], total, out=totals[0]) for total in totals[1:]]
    sums, made = totals[0].reshape(tiling.points, -1), out.reshape(prod(kernel), -1)
    return [*steps, *matrix_product(tiling.weights.T, sums, made)]


def _sums(tiling: Tiling, x: Array, pads: Pads, g: Array, total: Array, scratch: Scratch) -> list[Step]:
    """Steps for total (points, C, O) = the sums over all tiles."""
    memory = Memory(total.dtype, scratch)
    points, channels, outs = total.shape
    count = max(SUMMED_TILES, BUFFER_BYTES // (total.itemsize * points * max(channels, outs)))
    into, steps = total, list[Step]()
    for images, windows, copies in tiling.sources(x, pads, g.shape[1:-1], count, memory, scratch):
        steps += copies
        for block in blocks(windows.shape[: 1 + tiling.axes], count):
            turned, above, made = tiling.transformed(windows[block], memory, outs)
            by_tile = memory.work("gradients", (*tiling.tile, *windows[block].shape[: tiling.axes + 1], outs))
            pairs = list(tiling.pairs(by_tile, g[images], block))
            if sum(a.size for a, _ in pairs) < by_tile.size:  # some tiles reach over the end
                made.append(partial(by_tile.fill, 0))
            made += [copy(a, b) for a, b in pairs]
            back = matrix_product(tiling.outputs.T, by_tile.reshape(tiling.elements, -1), above.reshape(points, -1))
            steps += [*made, *back, *matrix_product(turned.swapaxes(1, 2), above, into)]
            if into is not total:
                steps.append(partial(np.add, total, into, out=total))
            into = memory.work("product", total.shape)
    return steps


# Of one axis: elements of tiles, tiles of the block, places in the images.
Piece = tuple[slice, slice, slice]


def _whole_and_rest(tiles: slice, m: int, size: int) -> list[Piece]:
    """The tiles that lie inside of the axis as a whole, then the one that reaches over its end."""
    whole = min(tiles.stop, size // m)
    pieces = []
    if whole > tiles.start:
        pieces.append((slice(0, m), slice(0, whole - tiles.start), slice(tiles.start * m, whole * m)))
    if whole < tiles.stop:
        at = max(whole, tiles.start)
        pieces.append((slice(0, size - at * m), slice(at - tiles.start, at - tiles.start + 1), slice(at * m, size)))
    return pieces


def _tiled(piece: Piece) -> tuple[int, int]:
    """The places of a piece as tiles and elements of tiles."""
    elements = piece[0].stop
    return (piece[2].stop - piece[2].start) // elements, elements
