"""Winograd's convolutions: transforms in registers, and products of rows in between.

A chunk of tiles goes through all of it in two buffers that stay in the cache: what the tiles see is transformed, LANES
channels at a time; for each point there is one product; what comes out is transformed back and gets bias, residual and
activation before it is written.  The matrices are those of NumPy's kernel, so the weights are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from ....ir.attributes import LINEAR, Activation
from ...numpy.kernels.winograd import transforms
from ...numpy.registry import Array, Scratch, Step
from ..compiler import Call, from_text, inlined
from ..crew import shares, together
from ..expressions import activation_of
from ..products import (
    DEPTH,
    F32,
    WIDTH,
    compiled_product,
    is_plain,
    is_row,
    padded_bias,
    panels,
)
from ..registry import row
from ..vectors import LANES, ROWS, fma, load, spread, store
from .linalg import run_of

BUFFER_BYTES = 3 << 18  # both buffers of a chunk, if they can
LEAST_TILES = 16  # of a chunk: products of fewer rows are slow
MOST_TILES = 64
FEW_TILES = 16  # of an output: then threads share filters
GAP = LANES  # numbers between the points of a buffer, which would be rivals for the same places of the cache


# ---- compiled ------------------------------------------------------------------------------------------------


@inlined
def framed(
    target: int, x: int, x_y: int, x_x: int, channels: int, rows: int, columns: int, y: int, z: int, height: int,
    width: int,
) -> None:  # fmt: skip
    """target (rows, columns, channels) = what a tile sees from row y and column z of an image on, zeros around it."""
    at = target
    for i in range(rows):
        for j in range(columns):
            inside = y + i >= 0 and y + i < height and z + j >= 0 and z + j < width
            source, c = x + (y + i) * x_y + (z + j) * x_x, 0
            while c < 4 * channels:
                c = min(c, 4 * (channels - LANES))  # the last vector may do some channels again
                store(at + c, load(source + c) if inside else spread(np.float32(0)))
                c += 4 * LANES
            at += 4 * channels


TEXT = """def winograd(
    first, last, tiles_y, tiles_x, channels, outs, x, x_n, x_y, x_x, height, width, before_y, before_x, u, u_p,
    u_pitch, offsets, runs, depth, at_once, bias, out, out_n, out_y, out_x, rows, columns, residual, res_n, res_y,
    res_x, count, v, v_p, m, m_p, frame, sums,
):  # {name}
    start = first
    while start < last:
        size = min(count, last - start)
        for k in range(size):
            n, place = (start + k) // (tiles_y * tiles_x), (start + k) % (tiles_y * tiles_x)
            y, z = place // tiles_x * {m_y} - before_y, place % tiles_x * {m_x} - before_x
            source, step_y, step_x = x + n * x_n + y * x_y + z * x_x, x_y, x_x
            if y < 0 or z < 0 or y + {n_y} > height or z + {n_x} > width:
                framed(frame, x + n * x_n, x_y, x_x, channels, {n_y}, {n_x}, y, z, height, width)
                source, step_y, step_x = frame, 4 * {n_x} * channels, 4 * channels
            c = 0
            while c < 4 * channels:
                c = min(c, 4 * (channels - LANES))  # the last vector may do some channels again
                at, to = source + c, v + 4 * k * channels + c
{inputs}
                c += 4 * LANES
        for p in range({points}):
            product(
                1, 1, size, v + p * v_p, 0, 0, 4 * channels, 4, offsets, runs, depth, at_once, u + p * u_p, 0, u_pitch,
                0, outs, m + p * m_p, 0, 0, 4 * outs, 0, 0, 0, 0, 1, sums,
            )
        for k in range(size):
            n, place = (start + k) // (tiles_y * tiles_x), (start + k) % (tiles_y * tiles_x)
            y, z = place // tiles_x * {m_y}, place % tiles_x * {m_x}
            target, added = out + n * out_n + y * out_y + z * out_x, residual + n * res_n + y * res_y + z * res_x
            c = 0
            while c < 4 * outs:
                c = min(c, 4 * (outs - LANES))
                at, to = m + 4 * k * outs + c, target + c
                b = load(bias + c) if bias != 0 else spread(float32(0))
{outputs}
                for i in range(min({m_y}, rows - y)):
                    for j in range(min({m_x}, columns - z)):
                        made, there = load(frame + 4 * LANES * ({m_x} * i + j)) + b, i * out_y + j * out_x
                        if residual != 0:
                            made = made + load(added + c + i * res_y + j * res_x)
                        store(to + there, activate(made))
                c += 4 * LANES
        start += size
"""


def _terms(factors: Array, values: Sequence[str]) -> str:
    """The text of Σ factor · value."""
    text = ""
    for factor, value in zip(map(float, factors), values):
        if factor == 0:
            continue
        if not text:
            text = value if factor == 1 else f"{value} * {factor!r}"
        elif abs(factor) == 1:
            text = f"{text} {'+' if factor > 0 else '-'} {value}"
        else:
            text = f"fma({value}, {factor!r}, {text})"
    return text


def _applied(matrix: Array, values: Sequence[str], made: str) -> Iterator[str]:
    """Lines that make made0, made1, ... = matrix @ values.

    Points come in pairs ±p: two rows (of B) that differ in the signs of some columns share sums, as do two columns (of
    A) that differ in the signs of some rows.
    """
    columns = list(matrix.T)
    names = list(values)
    for i, j in _twins(columns):
        yield f"{made}s{i}, {made}d{i} = {values[i]} + {values[j]}, {values[i]} - {values[j]}"
        even = columns[i] == columns[j]
        columns[i], columns[j] = np.where(even, columns[i], 0), np.where(even, 0, columns[i])
        names[i], names[j] = f"{made}s{i}", f"{made}d{i}"
    rows = list(np.array(columns).T)
    twins = list(_twins(rows)) if not any(_twins(list(matrix.T))) else []
    for i, j in twins:
        even = rows[i] == rows[j]
        yield f"{made}e = {_terms(np.where(even, rows[i], 0), names)}"
        yield f"{made}o = {_terms(np.where(even, 0, rows[i]), names)}"
        yield f"{made}{i}, {made}{j} = {made}e + {made}o, {made}e - {made}o"
    paired = {i for pair in twins for i in pair}
    for i in set(range(len(rows))) - paired:
        yield f"{made}{i} = {_terms(rows[i], names)}"


def _twins(rows: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Neighbours that differ in the signs of some numbers, but not of all."""
    i = 0
    while i + 1 < len(rows):
        same, turned = rows[i] == rows[i + 1], rows[i] == -rows[i + 1]
        if (same | turned).all() and not same.all() and not turned.all():
            yield i, i + 1
            i += 1
        i += 1


def _transform(which: int, tile: Sequence[int], kernel: Sequence[int], given: str, made: str) -> list[str]:
    """Lines that turn given{i}_{j} into made{i}_{j} by the matrices of both axes (0: A, 2: B)."""
    down, across = (transforms(m, r)[which] for m, r in zip(tile, kernel))
    lines = []
    for j in range(across.shape[1]):
        values = [f"{given}{i}_{j}" for i in range(down.shape[1])]
        lines += list(_applied(down, values, f"t{j}_"))
    for i in range(down.shape[0]):
        lines += list(_applied(across, [f"t{j}_{i}" for j in range(across.shape[1])], f"{made}{i}_"))
    return lines


@cache
def _compiled(tile: tuple[int, ...], kernel: tuple[int, ...], activation: Activation) -> Any:
    """The function for tiles and an activation; None where that is not known."""
    found = activation_of(activation)
    if found is None:
        return None
    (m_y, m_x), (n_y, n_x) = tile, (m + r - 1 for m, r in zip(tile, kernel))
    inputs = [f"d{i}_{j} = load(at + {i} * step_y + {j} * step_x)" for i in range(n_y) for j in range(n_x)]
    inputs += _transform(2, tile, kernel, "d", "w")
    inputs += [f"store(to + {i * n_x + j} * v_p, w{i}_{j})" for i in range(n_y) for j in range(n_x)]
    outputs = [f"s{i}_{j} = load(at + {i * n_x + j} * m_p)" for i in range(n_y) for j in range(n_x)]
    outputs += _transform(0, tile, kernel, "s", "y")
    outputs += [f"store(frame + {4 * LANES * (i * m_x + j)}, y{i}_{j})" for i in range(m_y) for j in range(m_x)]
    text = TEXT.format(
        name=f"{tile} {kernel} {activation}", m_y=m_y, m_x=m_x, n_y=n_y, n_x=n_x, points=n_y * n_x,
        inputs="\n".join(f"{' ' * 16}{line}" for line in inputs),
        outputs="\n".join(f"{' ' * 16}{line}" for line in outputs),
    )  # fmt: skip
    names = {"product": compiled_product(LINEAR), "framed": framed, "activate": found, "float32": np.float32}
    return from_text(
        "winograd", text, {**names, "LANES": LANES, "load": load, "store": store, "spread": spread, "fma": fma}
    )


# ---- binding -------------------------------------------------------------------------------------------------


@row
def winograd_conv(
    x: Array, u: Array, bias: Array | None, residual: Array | None, *, kernel: tuple[int, ...], tile: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], activation: Activation, out: Array, scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """LANES channels and filters or more (weights that are no constant: whole vectors), along one or two axes."""
    if len(kernel) == 1:
        x, out, residual = x[:, None], out[:, None], None if residual is None else residual[:, None]
        kernel, tile, padding = (1, *kernel), (1, *tile), ((0, 0), *padding)
    fits = len(kernel) == 2 and is_plain(x, u, bias, residual, out) and min(u.shape[1:]) >= LANES and out.size
    if residual is not None and out.shape[-1] % LANES:  # may lie in out: nothing can be added twice
        return None
    found = panels(u, images=len(u)) if fits and is_row(bias, u.shape[2]) else None
    run = _compiled(tile, kernel, activation) if found is not None else None
    if found is None or run is None:
        return None
    weights = found[0]
    before = padding[0][0], padding[1][0]
    points, channels, outs = u.shape
    tiles_y, tiles_x = (-(-size // m) for size, m in zip(out.shape[1:3], tile))
    tiles = len(x) * tiles_y * tiles_x
    wide = padded_bias(bias, outs)
    depth = run_of(channels)
    offsets = np.arange(0, 4 * channels, 4 * depth)
    flops = 2 * tiles * u.size
    branches: list[list[Step]] = []
    for part, filters in _parts(tiles, outs, flops):
        count = _count(part.stop - part.start, points, channels + filters.stop - filters.start)
        target, added = out[..., filters], None if residual is None else residual[..., filters]
        v, m = (scratch((points, count * n + GAP), F32) for n in (channels, target.shape[-1]))
        branches.append([Call(
            run, part.start, part.stop, tiles_y, tiles_x, channels, target.shape[-1], x, *x.strides[:3], *x.shape[1:3],
            *before, weights.part(filters.start), weights.numbers.strides[0], weights.pitch, offsets, len(offsets),
            depth, max(1, DEPTH // depth), None if wide is None else wide[filters.start :], target, *target.strides[:3],
            *target.shape[1:3], added, *((0, 0, 0) if added is None else added.strides[:3]), count, v, v.strides[0], m,
            m.strides[0], scratch((points, channels), F32), scratch((ROWS, WIDTH * LANES), F32),
        )])  # fmt: skip
    return together(branches)


def _parts(tiles: int, outs: int, flops: int) -> list[tuple[slice, slice]]:
    """Tiles, or panels of filters if there are few tiles, in parts that are work enough for a thread."""
    filters = shares(outs, flops, unit=WIDTH * LANES) if tiles <= FEW_TILES else []
    if len(filters) > 1:
        return [(slice(0, tiles), part) for part in filters]
    return [(part, slice(0, outs)) for part in shares(tiles, flops, unit=ROWS)]


def _count(tiles: int, points: int, width: int) -> int:
    """Tiles of a chunk: all chunks of about one size."""
    most = min(MOST_TILES, max(LEAST_TILES, BUFFER_BYTES // (4 * points * width)))
    chunks = -(-tiles // most)
    return min(tiles, ROWS * math.ceil(tiles / (chunks * ROWS)))
