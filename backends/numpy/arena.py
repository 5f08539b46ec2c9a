"""The memory of a plan: one block for its buffers, in whose gaps kernels find their scratch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...ir.aligned import aligned_empty
from ...ir.types import Tensor
from ...passes.memory import Buffer, aligned
from .registry import Array

RESERVE = 64 << 20  # bytes of address space behind the buffers; only what steps touch becomes memory
LARGE = 1 << 16  # bytes of buffers; smaller plans have the reserve elsewhere, and only if they need it


class Arena:
    """Memory for the buffers of a plan, and for scratch.

    Scratch of a step goes where no buffer is alive during the step: in gaps, or behind the last buffer.  `needs` has
    the bytes of scratch of each step; `peak` is what all of it takes with the buffers, `bound` what is in use at the
    peak (`bound` bytes without scratch): no plan can do with less.
    """

    def __init__(self, offsets: Sequence[int], buffers: Sequence[Buffer], bound: int) -> None:
        total = max((offset + aligned(b.size) for offset, b in zip(offsets, buffers)), default=0)
        self.block = aligned_empty((total + (RESERVE if total >= LARGE else 0),), np.uint8)
        self.needs: dict[int, int] = {}
        self.peak = self._total = total
        self.bound = bound
        self._reserve: Array | None = None
        self._used = self._step = self._live = 0
        self._gaps: list[tuple[int, int]] | None = None  # of this step, once it has asked for scratch
        self._coming = sorted(zip(buffers, offsets), key=lambda pair: -pair[0].first)
        self._alive: list[tuple[Buffer, int]] = []

    @property
    def scratch_bytes(self) -> int:
        """The most scratch that a step has."""
        return max(self.needs.values(), default=0)

    def array(self, offset: int, t: Tensor) -> Array:
        """The buffer at an offset as an array of type t."""
        return self.block[offset : offset + t.nbytes].view(t.dtype.numpy).reshape(t.static)

    def start_step(self, step: int) -> None:
        """Scratch of the steps bound so far may be used again; steps come in order."""
        self._used, self._step, self._gaps = 0, step, None

    def _find_gaps(self) -> list[tuple[int, int]]:
        while self._coming and self._coming[-1][0].first <= self._step:
            self._alive.append(self._coming.pop())
        self._alive = [pair for pair in self._alive if pair[0].last >= self._step]
        gaps, end = [], 0
        for buffer, offset in sorted(self._alive, key=lambda pair: pair[1]):
            if offset > end:
                gaps.append((end, offset))
            end = max(end, offset + aligned(buffer.size))
        self._live = sum(aligned(buffer.size) for buffer, _ in self._alive)
        gaps.append((end, len(self.block)))
        return gaps

    def scratch(self, shape: Any, dtype: Any = np.float32) -> Array:
        """Uninitialised memory for the duration of a step."""
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = prod(map(int, shape)) * dtype.itemsize
        if self._gaps is None:
            self._gaps = self._find_gaps()
        raw = self._from_gap(self._gaps, size)
        self.needs[self._step] = self.needs.get(self._step, 0) + aligned(size)
        self.bound = max(self.bound, self._live + self.needs[self._step])
        if raw is None:
            raw = self._from_reserve(size)
        return raw.view(dtype).reshape(shape)

    def _from_gap(self, gaps: list[tuple[int, int]], size: int) -> Array | None:
        """Bytes of the smallest gap that has them."""
        fitting = [gap for gap in gaps if gap[1] - gap[0] >= aligned(size)]
        if not fitting:
            return None
        start, end = gap = min(fitting, key=lambda gap: gap[1] - gap[0])
        gaps[gaps.index(gap)] = (start + aligned(size), end)
        self.peak = max(self.peak, start + aligned(size))
        return self.block[start : start + size]

    def _from_reserve(self, size: int) -> Array:
        """Bytes elsewhere; what is not used by two steps is not counted twice."""
        start, self._used = self._used, self._used + aligned(size)
        self.peak = max(self.peak, self._total + self._used)
        if self._used > RESERVE:
            return np.empty(size, np.uint8)
        if self._reserve is None:
            self._reserve = aligned_empty((RESERVE,), np.uint8)
        return self._reserve[start : start + size]
