"""Products of matrices, cut into pieces that BLAS multiplies without copying them first.

OpenBLAS copies ("packs") both operands of a product before it multiplies, which pays in large square ones only.  On
processors with AVX-512 it has kernels for single-precision products of at most a million multiplications that read
operands as they lie.  A larger product is a grid of such: one call of `np.matmul` on views with two axes more.  That
is 1.1 to 1.3 times as fast for many rows, 2 to 4 times for few.  A product of a long inner dimension and a small
result is a sum of such, 1.3 to 1.5 times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from math import ceil

import numpy as np

from ..registry import Array, Scratch, Step
from ..workers import ALONE, cuts, together

SMALL = 10**6  # multiplications of a product that is not packed (OpenBLAS' interface/gemm.c and its kernels' permits)
TURNED = 1200  # elements of its result, where the second operand lies column by column
PANEL_BYTES = 1 << 17  # of the second operand's columns that are multiplied at once
DEEP = 1900  # inner dimension from which on pieces have too few rows
SHALLOW = 120  # inner dimension of what a deep product is the sum of, at least
HELD = 500  # elements of a result, for fewer of which np.matmul keeps the GIL, however long it takes
FEW_ROWS = 16
UNIT = 8  # rows of a piece are multiples of it
VECTOR = 16  # columns beyond a multiple of it are summed in another order, so that equal columns would differ


@cache
def _reads_in_place() -> bool:
    """Whether NumPy's BLAS has kernels for products that it need not pack: OpenBLAS with AVX-512."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features  # type: ignore[import-not-found]

        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    except (ImportError, KeyError, TypeError):  # another NumPy, which has not this to say
        return False
    return bool(features.get("AVX512_SKX")) and "openblas" in blas


def matrix_product(x: Array, y: Array, out: Array, scratch: Scratch | None = None) -> list[Step]:
    """Steps for out = x @ y, x (..., M, K), y (..., K, N), out (..., M, N): one, and more where pieces do not fit.

    With scratch it may be a sum of products.
    """
    if x.ndim < 2 or y.ndim < 2:
        return [partial(np.matmul, x, y, out=out)]
    count = _terms(x, y, out) if scratch is not None else 1
    if scratch is not None and count > 1:
        products = scratch((*out.shape[:-2], count, *out.shape[-2:]), out.dtype)
        return [_sides(x, y, products), partial(np.add.reduce, products, axis=-3, out=out)]
    rows, columns = _piece(x, y, out)
    steps: list[Step] = []
    for m, size in _cuts(x.shape[-2], rows):
        for n, width in _cuts(y.shape[-1], columns):
            steps.append(_grid(x[..., m, :], y[..., n], out[..., m, n], size, width))
    return steps


def shared_product(x: Array, y: Array, out: Array, scratch: Scratch | None = None) -> list[Step]:
    """The same of matrices, in halves for two threads where that is worth it: of the longer axis of the result, or of
    its rows where columns would be summed in different orders.
    """
    rows, columns = out.shape
    by_rows = rows >= columns or columns % VECTOR != 0
    length, flops = rows if by_rows else columns, 2 * x.size * columns
    fits = out.dtype.kind == "f" and out.size >= 2 * HELD and length >= 2 * VECTOR
    halves = cuts(length, flops, most=2, unit=VECTOR, least=ALONE) if fits else [slice(0, length)]
    if by_rows:
        return together([matrix_product(x[n], y, out[n], scratch) for n in halves])
    return together([matrix_product(x, y[:, n], out[:, n], scratch) for n in halves])


def _terms(x: Array, y: Array, out: Array) -> int:
    """Of how many products that need no packing a deep one is the sum; 1 where that gains nothing."""
    k, result = x.shape[-1], out.shape[-2] * out.shape[-1]
    if result * SHALLOW > SMALL or result * k <= SMALL or min(out.shape[-2:]) == 1 or not _in_place(x, y, out):
        return 1
    return next((k // part for part in range(SMALL // result, SHALLOW - 1, -1) if k % part == 0), 1)


def _sides(x: Array, y: Array, products: Array) -> Step:
    """products (..., T, M, N): some of the inner dimension each."""
    count = products.shape[-3]
    left = np.moveaxis(x.reshape(*x.shape[:-1], count, -1, copy=False), -2, -3)
    right = y.reshape(*y.shape[:-2], count, -1, y.shape[-1], copy=False)
    return partial(np.matmul, left, right, out=products)


def _in_place(x: Array, y: Array, out: Array) -> bool:
    """Whether BLAS can read small products like these in place, and sums equal columns alike."""
    return out.shape[-1] % VECTOR == 0 and _reads_in_place() and all(a.dtype == np.float32 for a in (x, y, out))


def in_pieces(x: Array, y: Array, out: Array) -> Step | None:
    """The same as one step; None where the product is none of pieces, or one of pieces that do not fit evenly."""
    rows, columns = _piece(x, y, out)
    (m, n), whole = out.shape[-2:], rows >= out.shape[-2] and columns >= out.shape[-1]
    return None if whole or m % rows or n % columns else _grid(x, y, out, rows, columns)


def _cuts(length: int, size: int) -> Iterator[tuple[slice, int]]:
    """What is a multiple of `size` of an axis, and the rest; each with the length of its pieces."""
    whole = length - length % size
    if whole:
        yield slice(0, whole), size
    if whole < length:
        yield slice(whole, length), length - whole


def _grid(x: Array, y: Array, out: Array, rows: int, columns: int) -> Step:
    """One call for all pieces: a panel of y's columns meets all rows before the next one."""
    if (rows, columns) == out.shape[-2:]:
        lets_go = (
            out.ndim == x.ndim == y.ndim == 2 and out.size < HELD and out.flags.c_contiguous and min(out.shape) > 1
        )
        return partial(np.dot if lets_go else np.matmul, x, y, out=out)
    by_row = x.reshape(*x.shape[:-2], 1, -1, rows, x.shape[-1], copy=False)
    panels = np.moveaxis(y.reshape(*y.shape[:-1], -1, columns, copy=False), -2, -3)[..., np.newaxis, :, :]
    pieces = out.reshape(*out.shape[:-2], -1, rows, out.shape[-1] // columns, columns, copy=False)
    return partial(np.matmul, by_row, panels, out=np.moveaxis(pieces, -2, -4))


def _piece(x: Array, y: Array, out: Array) -> tuple[int, int]:
    """Rows and columns of the pieces; the whole product where cutting gains nothing."""
    (m, k), n = x.shape[-2:], y.shape[-1]
    whole = max(m, 1), max(n, 1)
    if m * k * n <= SMALL or m == 1 or n == 1 or (k > DEEP and m > FEW_ROWS) or not _in_place(x, y, out):
        return whole
    unit = out.itemsize
    turned = y.strides[-1] != unit
    if turned and (y.strides[-2] != unit or k < 2 * UNIT * UNIT):
        return whole
    narrow = turned or x.strides[-1] != unit
    columns = _width(n, 32 if narrow else 128 if k * 128 * unit <= PANEL_BYTES else 64)
    while columns > VECTOR and min(m, UNIT) * columns * k > SMALL:
        columns = max(columns // 2 // VECTOR, 1) * VECTOR
    most = min(SMALL // (columns * k), TURNED // columns if turned else m)
    if most < min(m, UNIT):
        return whole
    return (m if most >= m else _height(m, most)), columns


def _width(n: int, about: int) -> int:
    """Columns of a panel: all, or about as many as asked for, so that the panels are of one width where they can be."""
    if n <= about * 3 // 2:
        return n
    return next((p for p in range(about, about // 2 - 1, -VECTOR) if n % p == 0), about)


def _height(m: int, most: int) -> int:
    """Rows of a piece: some part of all where that is not too small, otherwise as even as it goes.

    A single row is not left over: NumPy would give it to another function of BLAS, which sums in another order.
    """
    most = most // UNIT * UNIT
    even = min(ceil(ceil(m / ceil(m / most)) / UNIT) * UNIT, most)
    whole = next((rows for rows in range(most, most // 2, -UNIT) if m % rows == 0), None)
    return whole or next((rows for rows in range(even, UNIT, -UNIT) if m % rows != 1), m)
