"""Working memory of kernels: arrays packed once, arrays used for a while, blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import ceil, prod
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, is_constant

Block = tuple[slice, ...]


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What products of a dtype are computed in: itself where BLAS knows it or it is wider, otherwise float32."""
    return dtype if dtype.kind in "fc" and dtype.itemsize >= 4 else np.dtype(np.float32)


def blocks(shape: Sequence[int], limit: int) -> Iterator[Block]:
    """Cut an array into blocks of at most `limit` elements (and at least one), each contiguous in row-major order."""
    axis = next(a for a in range(len(shape)) if prod(shape[a + 1 :]) <= max(limit, 1))
    length = shape[axis]
    pieces = ceil(length / max(1, limit // max(1, prod(shape[axis + 1 :]))))
    step = ceil(length / max(pieces, 1))
    for outer in np.ndindex(*shape[:axis]):
        for start in range(0, length, max(step, 1)):
            inner = (slice(0, size) for size in shape[axis + 1 :])
            yield *(slice(i, i + 1) for i in outer), slice(start, min(start + step, length)), *inner


class Memory:
    """The arrays of a step that are neither operands nor results, in the dtype of computing."""

    def __init__(self, dtype: np.dtype[Any], scratch: Scratch):
        self.dtype = dtype
        self.prologue: list[Step] = []  # packs weights that are no constants, at the start of each run
        self._scratch = scratch
        self._buffers: dict[str, Array] = {}

    def packed(self, source: Array, shape: Sequence[int], fill: Callable[[Array], Any]) -> Array:
        """An array made from source by `fill`: now if source is a constant, otherwise at the start of each run."""
        if is_constant(source):
            array = np.empty(shape, self.dtype)
            fill(array)
            array.flags.writeable = False
            return array
        array = self._scratch(tuple(shape), self.dtype)
        self.prologue.append(partial(fill, array))
        return array

    def own(self, shape: Sequence[int]) -> Array:
        """Working memory of its own, for the whole step."""
        return self._scratch(tuple(shape), self.dtype)

    def work(self, role: str, shape: Sequence[int]) -> Array:
        """Working memory for a while: the next array asked for in the same role may overlap."""
        size = prod(shape)
        if role not in self._buffers or self._buffers[role].size < size:
            self._buffers[role] = self._scratch((size,), self.dtype)
        return self._buffers[role][:size].reshape(shape)
