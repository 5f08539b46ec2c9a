"""Convolutions by Winograd's algorithm, as products of matrices only.

    1. gather   the n inputs of every tile and axis, element by element of a tile:  D (Π n, tiles·C)
    2. inputs   V = (B ⊗ B) D: a product for each axis; NumPy's additions on strided tiles would be slower
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
from ..workers import ALONE, cuts, together
from .conv import Layer, Pads, branches_of, padded_sources, seen_from, windows_of
from .memory import Block, Memory, blocks
from .products import matrix_product
from .rows import contiguous

BUFFER_BYTES = 1 << 20  # each of the two buffers of a block, which pass through L2
LEAST_TILES = 32  # but products of fewer rows than this are slow
THIN = 1 << 18  # numbers before and after the products, up to which transforms are too short to be shared by threads
SUMMED_TILES = 128  # of a block, of which sums are made: adding them to the total costs as much as 20 more

Pair = tuple[Array, Array]

# Where the polynomials are evaluated, by n = m + r - 1; infinity is one more point.  Those of a grid of (0, ±a, ±b, ..)
# which gave the smallest errors in float32: for n = 6 a quarter of the usual (0, ±1, ±2).
POINTS: dict[int, tuple[float, ...]] = {
    1: (),
    2: (0,),
    3: (0, 1),
    4: (0, 1, -1),
    5: (0, 0.75, -0.75, 1.625),
    6: (0, 0.75, -0.75, 1.5, -1.5),
    7: (0, 0.5, -0.5, 1.125, -1.125, 2.625),
    8: (0, 0.5, -0.5, 1, -1, 2, -2),
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


def over_axes(tile: Sequence[int], kernel: Sequence[int]) -> Array:
    """G of all axes together, in float64."""
    return reduce(np.kron, (transforms(m, r)[1] for m, r in zip(tile, kernel)))


@kernel
def winograd_weights(w: Array, *, tile: tuple[int, ...], flip: bool, out: Array, scratch: Scratch) -> list[Step]:
    """(G ⊗ G) w: w (*K, C, O), out (Π n, C, O)."""
    kernel = w.shape[: len(tile)]
    g = over_axes(tile, kernel).astype(out.dtype)
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
    tiles = len(x) * prod(tiling.tiles(out.shape[1:-1]))
    thin = tiles * len(u) * sum(u.shape[1:]) <= THIN

    def branch(images: slice, rows: slice, filters: slice) -> list[Step]:
        target = out[images, rows, ..., filters]
        after = None if residual is None else residual[images, rows, ..., filters]
        layer = Layer(None if bias is None else bias[filters], after, activation, target, scratch)
        places = (rows, *(slice(0, size) for size in out.shape[2:-1]))
        part, pads = tiling.seen(x[images], places, before)
        return _forward(tiling, u[..., filters], part, pads, after, target, layer, scratch, thin)

    shares = branches_of(out.shape, 0 if thin else 2 * u.size * tiles, by_filter=True, unit=tile[0])
    return together([branch(**which) for which in shares])


class Tiling:
    """How images are cut into tiles, and the matrices that transform what a tile sees, and what becomes of it."""

    def __init__(self, kernel: Sequence[int], tile: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.kernel, self.tile, self.axes = tuple(kernel), tuple(tile), len(tile)
        self.ones = (1,) * self.axes
        self.extent = tuple(m + r - 1 for m, r in zip(tile, kernel))
        self.points, self.elements = prod(self.extent), prod(tile)
        self.weights = over_axes(tile, kernel).astype(dtype)
        self.outputs, self.inputs = (
            [transforms(m, r)[which].astype(dtype) for m, r in zip(tile, kernel)] for which in (0, 2)
        )

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

    def transformed(self, windows: Array, memory: Memory, outs: int) -> tuple[Pair, list[Step]]:
        """A buffer that begins with B x of some tiles (points, tiles, C), one with room for (points, tiles, outs), and
        the steps.
        """
        shape, channels = windows.shape[: self.axes + 1], windows.shape[-1]
        size = self.points * prod(shape) * max(channels, outs)
        buffers = memory.work("first", (size,)), memory.work("second", (size,))
        order = (*range(self.axes + 1, 2 * self.axes + 1), *range(self.axes + 1), 2 * self.axes + 1)
        gather = copy(head(buffers[0], *self.extent, *shape, channels), windows.transpose(order))
        buffers, steps = by_axis(self.inputs, buffers, prod(shape) * channels)
        return buffers, [gather, *steps]

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


def head(buffer: Array, *shape: int) -> Array:
    """What a flat buffer begins with."""
    return buffer[: prod(shape)].reshape(shape)


def by_axis(matrices: Sequence[Array], buffers: Pair, length: int) -> tuple[Pair, list[Step]]:
    """Matrices (m, n), one for each axis, times what the first of two buffers begins with: (*n, length).

    Returns the buffer that then begins with the result (*m, length), the other one, and the steps.
    """
    (given, other), steps = buffers, list[Step]()
    before, after = 1, prod(matrix.shape[1] for matrix in matrices) * length
    for matrix in matrices:
        m, n = matrix.shape
        after //= n
        if matrix.size > 1:  # it is (1) where the kernel has but one element
            steps += matrix_product(matrix, head(given, before, n, after), head(other, before, m, after))
            given, other = other, given
        before *= m
    return (given, other), steps


def _forward(
    tiling: Tiling, u: Array, x: Array, pads: Pads, residual: Array | None, out: Array,
    layer: Layer, scratch: Scratch, shared: bool,
) -> list[Step]:  # fmt: skip
    """Steps for out from the part of x that it sees; products alone may be shared by threads."""
    points, channels, outs = u.shape
    count = max(LEAST_TILES, BUFFER_BYTES // (u.itemsize * points * max(channels, outs)))
    steps: list[Step] = []
    for images, windows, copies in tiling.sources(x, pads, out.shape[1:-1], count, layer, scratch):
        steps += copies
        here, given = out[images], None if residual is None else residual[images]
        for block in blocks(windows.shape[: 1 + tiling.axes], count):
            steps += _block(tiling, u, windows[block], block, given, here, layer, shared)
    return layer.prologue + steps


def _block(
    tiling: Tiling, u: Array, windows: Array, block: Block, residual: Array | None, out: Array, layer: Layer,
    shared: bool,
) -> list[Step]:  # fmt: skip
    """The steps for a block of tiles, which see windows (images, *tiles, *n, C)."""
    shape, (points, channels, outs) = windows.shape[: tiling.axes + 1], u.shape
    tiles = prod(shape)
    (held, free), steps = tiling.transformed(windows, layer, outs)
    given, products = head(held, points, tiles, channels), head(free, points, tiles, outs)
    parts = cuts(points, 2 * tiles * u.size, most=2, least=ALONE) if shared else [slice(0, points)]
    steps += together([matrix_product(given[p], u[p], products[p]) for p in parts])
    (held, _), back = by_axis(tiling.outputs, (free, held), tiles * outs)
    steps += back
    made = head(held, *tiling.tile, *shape, outs)
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
            shape = windows[block].shape[: tiling.axes + 1]
            tiles = prod(shape)
            (turned, free), made = tiling.transformed(windows[block], memory, outs)
            given = memory.work("gradients", (points * tiles * outs,))
            by_tile = head(given, *tiling.tile, *shape, outs)
            pairs = list(tiling.pairs(by_tile, g[images], block))
            if sum(a.size for a, _ in pairs) < by_tile.size:  # some tiles reach over the end
                made.append(partial(by_tile.fill, 0))
            made += [copy(a, b) for a, b in pairs]
            (above, _), back = by_axis([a.T for a in tiling.outputs], (given, free), tiles * outs)
            rows, seen = head(above, points, tiles, outs), head(turned, points, tiles, channels).swapaxes(1, 2)
            steps += [*made, *back, *matrix_product(seen, rows, into)]
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
