"""Convolutions by Winograd's algorithm, as products of matrices only.

    1. gather   the n inputs of every tile and axis, element by element of a tile:  D (Π n, tiles·C)
    2. inputs   V = (B ⊗ B) D: one product serves all axes, where NumPy's additions on strided tiles would be slower
    3. product  M = V @ u: Π n products (tiles, C) @ (C, O), which is where the multiplications are saved
    4. outputs  Y = (A ⊗ A) M, bias, residual and activation while it is in the cache
    5. scatter  Y (Π m, tiles·O) to its places

A block of tiles goes through all of it in two buffers that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial, reduce
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .conv import Layer, padded_sources, windows_of
from .memory import Block, blocks
from .rows import contiguous

BUFFER_BYTES = 3 << 18  # each of the two buffers of a block: both fit L2
LEAST_TILES = 32  # but products of fewer rows than this are slow

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
        b[j, : n - 1] = np.polynomial.polynomial.polyfromroots(others)
    a[m - 1, n - 1] = g[n - 1, r - 1] = 1
    b[n - 1] = np.polynomial.polynomial.polyfromroots(at)
    return a, g, b


def over_axes(which: int, tile: Sequence[int], kernel: Sequence[int]) -> Array:
    """The transform of all axes together (0: A, 1: G, 2: B), in float64."""
    return reduce(np.kron, (transforms(m, r)[which] for m, r in zip(tile, kernel)))


@kernel
def winograd_weights(w: Array, *, tile: tuple[int, ...], flip: bool, out: Array, scratch: Scratch) -> list[Step]:
    """(G ⊗ G) w: w (*K, C, O), out (Π n, C, O)."""
    kernel = w.shape[: len(tile)]
    g = over_axes(1, tile, kernel).astype(out.dtype)
    g = g.reshape(-1, *kernel)[(slice(None), *(slice(None, None, -1 if flip else 1),) * len(tile))]
    steps: list[Step] = []
    given = contiguous(w, out.dtype, steps, scratch).reshape(prod(kernel), -1)
    product = partial(np.matmul, np.ascontiguousarray(g.reshape(len(g), -1)), given, out=out.reshape(len(out), -1))
    return [*steps, product]


@kernel
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
    transform = Transform(kernel, tile, u, out.dtype)

    def branch(images: slice, rows: slice) -> list[Step]:
        places = (rows, *(slice(0, size) for size in out.shape[2:-1]))
        part, pads = seen(x[images], places, kernel, tile, [before for before, _ in padding])
        after = None if residual is None else residual[images, rows]
        layer = Layer(bias, after, activation, out, scratch)
        return transform.steps(part, pads, after, out[images, rows], layer, scratch)

    flops = 2 * u.size * prod(transform.tiles(out.shape[1:-1])) * len(x)
    if len(x) > 1:
        return together([branch(images, slice(0, out.shape[1])) for images in cuts(len(x), flops)])
    return together([branch(slice(0, 1), rows) for rows in cuts(out.shape[1], flops, unit=tile[0])])


def seen(
    x: Array, places: Sequence[slice], kernel: Sequence[int], tile: Sequence[int], before: Sequence[int]
) -> tuple[Array, tuple[tuple[int, int], ...]]:
    """The part of x that whole tiles at some places of the output see, and what is to be padded around it."""
    parts, pads = [slice(None)], []
    for size, place, r, m, crop in zip(x.shape[1:], places, kernel, tile, before):
        start = place.start - crop
        stop = start + ceil((place.stop - place.start) / m) * m + r - 1
        low, high = min(max(start, 0), size), max(min(stop, size), 0)
        parts.append(slice(low, max(high, low)))
        pads.append((low - start, stop - max(high, low)))
    return x[tuple(parts)], tuple(pads)


class Transform:
    """The sizes and matrices of a convolution."""

    def __init__(self, kernel: Sequence[int], tile: Sequence[int], u: Array, dtype: np.dtype[Any]) -> None:
        self.tile, self.u = tuple(tile), u
        self.extent = tuple(m + r - 1 for m, r in zip(tile, kernel))
        self.inputs, self.outputs = (over_axes(which, tile, kernel).astype(dtype) for which in (2, 0))

    def tiles(self, places: Sequence[int]) -> tuple[int, ...]:
        """How many tiles cover so many places of each axis."""
        return tuple(ceil(size / m) for size, m in zip(places, self.tile))

    def steps(
        self, x: Array, pads: tuple[tuple[int, int], ...], residual: Array | None, out: Array, layer: Layer,
        scratch: Scratch,
    ) -> list[Step]:  # fmt: skip
        """Steps for out from the part of x that it sees."""
        steps: list[Step] = []
        for images, source, copies in padded_sources(x, pads, layer.dtype, scratch):
            steps += copies
            here, given = out[images], None if residual is None else residual[images]
            windows = windows_of(source, self.tiles(out.shape[1:-1]), self.extent, self.tile, (1,) * len(self.tile))
            for block in blocks(windows.shape[: 1 + len(self.tile)], self._count()):
                steps += self._block(windows[block], block, given, here, layer)
        return layer.prologue + steps

    def _count(self) -> int:
        """The tiles of a block."""
        return max(LEAST_TILES, BUFFER_BYTES // (self.u.itemsize * len(self.u) * max(self.u.shape[1:])))

    def _block(self, windows: Array, block: Block, residual: Array | None, out: Array, layer: Layer) -> list[Step]:
        """The steps for a block of tiles, whose inputs are windows (images, *tiles, *n, C)."""
        axes, (points, channels, outs) = len(self.tile), self.u.shape
        shape = windows.shape[: axes + 1]
        tiles = prod(shape)
        first = layer.work("first", (points * tiles * max(channels, outs),))
        second = layer.work("second", (points * tiles * max(channels, outs),))
        given, sums = first[: points * tiles * channels], first[: points * tiles * outs]
        turned = second[: points * tiles * channels]
        made = second[: prod(self.tile) * tiles * outs].reshape(*self.tile, *shape, outs)
        order = (*range(axes + 1, 2 * axes + 1), *range(axes + 1), 2 * axes + 1)
        steps: list[Step] = [
            partial(np.copyto, given.reshape(*self.extent, *shape, channels), windows.transpose(order)),
            partial(np.matmul, self.inputs, given.reshape(points, -1), out=turned.reshape(points, -1)),
            partial(np.matmul, turned.reshape(points, tiles, channels), self.u, out=sums.reshape(points, tiles, outs)),
            partial(np.matmul, self.outputs, sums.reshape(points, -1), out=made.reshape(prod(self.tile), -1)),
        ]
        added = None
        if residual is not None:
            added = layer.work("residual", made.shape)
            steps += [partial(np.copyto, a, b) for a, b in self._pairs(added, residual, block)]
        steps += layer.finish(made.reshape(-1, outs), made, added)
        return steps + [partial(np.copyto, b, a) for a, b in self._pairs(made, out, block)]

    def _pairs(self, by_tile: Array, images: Array, block: Block) -> Iterator[tuple[Array, Array]]:
        """Elements of tiles (*m, images, *tiles, O) with those of images (N, *S, O) that they stand for.

        The last tiles of an axis may reach over its end, so they are apart.
        """
        axes = len(self.tile)
        pieces = [_whole_and_rest(place, m, size) for place, m, size in zip(block[1:], self.tile, images.shape[1:])]
        for piece in product(*pieces):
            inside, within, places = zip(*piece)
            part = images[(block[0], *places)]
            split = [n for axis in piece for n in _tiled(axis)]
            part = part.reshape(len(part), *split, part.shape[-1], copy=False)
            order = (*range(2, 2 * axes + 1, 2), 0, *range(1, 2 * axes, 2), 2 * axes + 1)
            yield by_tile[(*inside, slice(None), *within)], part.transpose(order)


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
