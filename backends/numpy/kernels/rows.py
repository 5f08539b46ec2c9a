"""What families share: conversion of operands, and a row combined with every row of a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..copies import copy
from ..registry import Array, Scratch, Step, is_constant

TILE_ELEMENTS = 1 << 12  # of a repeated row: fits L1
BLOCK = 1 << 16  # elements of a block of rows: of fewer the calls cost more than the memory, four of float32 fit L2
LARGEST_EXPONENT = 60.0  # numbers up to this may be exponents as they are: float32 holds sums of 10^12 such powers
SMALLEST_TOTAL = 1e-20  # of powers: what is lost below the smallest number of float32 is no part of such a sum


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which sums and products of a float dtype are computed: at least float32.  Others stay."""
    return np.dtype(np.float32) if dtype.kind in "fV" and dtype.itemsize < 4 else dtype


def packed(x: Array, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> Array:
    """A contiguous copy of x in a dtype: made now of a constant, by a step of anything else."""
    if is_constant(x):
        made = x.astype(dtype, order="C")
        made.flags.writeable = False
        return made
    made = scratch(x.shape, dtype)
    steps.append(copy(made, x))
    return made


def converted(x: Array, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> Array:
    """x in a dtype: itself, a constant converted now, or scratch that a step fills."""
    return x if x.dtype == dtype else packed(x, dtype, steps, scratch)


def contiguous(x: Array, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> Array:
    """x in a dtype and in row-major order: itself or a copy."""
    return x if x.dtype == dtype and x.flags.c_contiguous else packed(x, dtype, steps, scratch)


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of a matrix's rows that hold about BLOCK elements."""
    count = max(1, BLOCK // max(width, 1))
    return (slice(i, min(i + count, rows)) for i in range(0, rows, count))


class Row:
    """A row to be combined with every row of a contiguous matrix of at most `rows` rows.

    NumPy combines two long arrays much faster than many short rows, so the row is repeated: now if it is a constant,
    otherwise by a step that is appended to `steps`.
    """

    def __init__(self, row: Array, rows: int, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> None:
        repeat = max(1, min(TILE_ELEMENTS // max(row.size, 1), rows))
        plain = row.reshape(-1)
        self.tile = packed(np.broadcast_to(plain, (repeat, row.size)), dtype, steps, scratch) if is_constant(row) else (
            self._filled(plain, (repeat, row.size), dtype, steps, scratch))  # fmt: skip

    @staticmethod
    def _filled(row: Array, shape: tuple[int, int], dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> Array:
        tile = scratch(shape, dtype)
        steps.append(partial(np.copyto, tile, row, casting="unsafe"))
        return tile

    def steps(self, ufunc: np.ufunc, x: Array, out: Array) -> list[Step]:
        """Steps for out = ufunc(x, row), x and out being contiguous matrices."""
        repeat, width = min(len(self.tile), max(len(x), 1)), x.shape[1]
        whole = len(x) // repeat * repeat
        long = (whole // repeat, repeat * width)
        found: list[Step] = [
            partial(ufunc, x[:whole].reshape(long), self.tile[:repeat].reshape(-1), out=out[:whole].reshape(long))
        ]
        if whole < len(x):
            rest = len(x) - whole
            found.append(partial(ufunc, x[whole:], self.tile[:rest], out=out[whole:]))
        return found


def spread_rows(column: Array, out: Array) -> None:
    """One number for each row: NumPy multiplies two whole arrays faster than an array and a column, this included."""
    np.copyto(out, column[..., None])


def as_matrix(x: Array, columns: int) -> Array:
    """A contiguous array as a matrix with so many columns (also where it is empty)."""
    return x.reshape(x.size // columns if columns else math.prod(x.shape[:-1]), columns)


def matrix_of(x: Array, columns: int) -> Array | None:
    """An array as a matrix of so many columns, whose rows may be parts of wider ones; None where that takes a copy."""
    try:
        return x.reshape((x.size // columns if columns else math.prod(x.shape[:-1]), columns), copy=False)
    except ValueError:
        return None
