"""The gradient of a convolution with respect to its weights: patchesᵀ @ g, summed over cache-sized blocks of places.

It is the mirror image of `conv`: the same windows of x are laid out by the same rules (in place, as patches, as
columns of them, or in rows for a depthwise convolution), but multiplied with the gradient of the result instead of the
weights.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from ..copies import copy
from ..registry import Array, Scratch, Step, kernel
from ..workers import cuts, together
from .conv import (
    DEPTHWISE_ELEMENTS,
    DEPTHWISE_ROW,
    Part,
    copy_columns,
    has_few_channels,
    is_depthwise,
    merged_groups,
    padded_sources,
    planes_of,
    rows_by_tap,
    window_matrix,
    windows_of,
)
from .memory import Memory, blocks, compute_dtype
from .products import matrix_product
from .rows import contiguous

BLOCK_BYTES = 1 << 20  # patches of a block: fit L2
BLOCK_ROWS = 512  # but the sum of products of fewer rows costs as much as they do


@kernel
def conv_weight_grad(
    x: Array,
    g: Array,
    *,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    groups: int,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out[k, c, o] = Σ over n, s of x[n, s·stride + k·dilation - before, c] g[n, s, o].

    x (N, *S, C), g (N, *S_out, O), out (*K, C/groups, O); o sees the channels of its own group only.
    """
    if x.size == 0 or g.size == 0 or out.size == 0:
        return [partial(out.fill, 0)]
    geometry: dict[str, Any] = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups}
    parts = cuts(len(x), 2 * g.size // g.shape[-1] * out.size)
    totals = [out, *(scratch(out.shape, out.dtype) for _ in parts[1:])]
    branches = [_of_images(x[n], g[n], out=total, scratch=scratch, **geometry) for n, total in zip(parts, totals)]
    return together(branches) + [partial(np.add, out, total, out=out) for total in totals[1:]]


def _of_images(
    x: Array, g: Array, *, strides: tuple[int, ...], dilations: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], groups: int, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    *taps, channels, outs = out.shape
    weights = out.reshape(*taps, channels, groups, outs // groups)  # for its shape
    part = Part(weights, (0,) * len(strides), strides, dilations, (slice(None),) * len(strides))
    dtype = compute_dtype(out.dtype)
    steps: list[Step] = []
    above = contiguous(g, dtype, steps, scratch)
    total = (_Depthwise if is_depthwise(part, x, g) else _Product)(part, out, scratch)
    for images, source, copies in padded_sources(x, padding, dtype, scratch):
        steps += copies + total.add(source, above[images])
    return steps + total.finish()


class _Product(Memory):
    """Windows as a matrix for each group, (G', rows, taps·C/G'), times g as (G', rows, O/G')."""

    def __init__(self, part: Part, out: Array, scratch: Scratch) -> None:
        super().__init__(compute_dtype(out.dtype), scratch)
        channels, groups, outs = part.weights.shape[-3:]
        self.part, self.out, self.merged = part, out, merged_groups(channels, groups)
        self.groups = groups // self.merged
        shape = (self.groups, prod(part.taps) * channels * self.merged, self.merged * outs)
        self.direct = groups == 1 and out.dtype == self.dtype and out.flags.c_contiguous
        self.total = out.reshape(shape) if self.direct else scratch(shape, self.dtype)
        self.begun = False

    def add(self, source: Array, g: Array) -> list[Step]:
        matrix = window_matrix(self.part, source, g) if self.part.weights.shape[-2] == 1 else None
        if matrix is not None:
            return self._sum(matrix[None], g.reshape(1, len(matrix), -1))
        few = has_few_channels(self.part, source, g)
        source, steps = planes_of(source, self) if few else (source, [])
        windows, depth = self.part.windows(source, g.shape[1:-1]), self.groups * self.total.shape[1]
        for block in blocks(g.shape[:-1], max(BLOCK_ROWS, BLOCK_BYTES // (depth * self.dtype.itemsize))):
            above = g[block].reshape(-1, self.groups, self.total.shape[2])
            patches, copies = self._columns(windows[block]) if few else self._patches(windows[block])
            steps += [*copies, *self._sum(patches, above.swapaxes(0, 1))]
        return steps

    def _columns(self, windows: Array) -> tuple[Array, list[Step]]:
        patches = self.work("patches", (self.total.shape[1], prod(windows.shape[: windows.ndim // 2])))
        return patches.T[None], [copy_columns(windows, patches)]

    def _patches(self, windows: Array) -> tuple[Array, list[Step]]:
        patches = self.work("patches", (self.groups, prod(windows.shape[: windows.ndim // 2]), self.total.shape[1]))
        split = (*windows.shape[:-1], self.groups, windows.shape[-1] // self.groups)
        by_group = np.moveaxis(windows.reshape(split, copy=False), -2, 0)
        return patches, [copy(patches.reshape(by_group.shape), by_group)]

    def _sum(self, rows: Array, above: Array) -> list[Step]:
        """total += rowsᵀ @ above; the first time, = ."""
        into = self.work("product", self.total.shape) if self.begun else self.total
        added = [partial(np.add, self.total, into, out=self.total)] if self.begun else []
        self.begun = True
        return [*matrix_product(rows.swapaxes(1, 2), above, into, self.terms), *added]

    def terms(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Room for the terms of a deep product."""
        return self.work("terms", shape)

    def finish(self) -> list[Step]:
        """Of merged groups, only the products of a group with itself are wanted."""
        if self.direct:
            return []
        taps, (channels, _, outs) = self.part.taps, self.part.weights.shape[-3:]
        products = self.total.reshape(self.groups, *taps, self.merged, channels, self.merged, outs)
        own = np.einsum("...gcgo->...gco", products)
        target = self.out.reshape(*taps, channels, self.groups, self.merged, outs)
        return [copy(np.moveaxis(target, (-3, -2), (0, -3)), own)]


class _Depthwise(Memory):
    """Each channel by itself: products of long rows (the last axis and the channels), which are summed at the end."""

    def __init__(self, part: Part, out: Array, scratch: Scratch) -> None:
        super().__init__(compute_dtype(out.dtype), scratch)
        self.part, self.out, self.channels = part, out, out.shape[-1]
        self.total = np.empty(0)

    def add(self, source: Array, g: Array) -> list[Step]:
        part, channels, spatial = self.part, self.channels, g.shape[1:-1]
        steps: list[Step] = []
        width = max(1, min(spatial[-1], DEPTHWISE_ROW // channels))
        if not self.total.size:
            self.total = self.work("total", (*part.taps, width * channels))
            steps.append(partial(self.total.fill, 0))
        limit = DEPTHWISE_ELEMENTS // channels if width == spatial[-1] else width
        rows, copies = rows_by_tap(part, source, spatial[-1], part.weights.shape[-1], self)
        windows = windows_of(rows, spatial[:-1], part.taps[:-1], part.strides[:-1], part.dilations[:-1])
        over, taps = "abcd"[: len(spatial)], "klmn"[: len(spatial)]
        formula = f"{over}{taps}z,{over}z->{taps}z"
        for block in blocks(g.shape[:-1], max(width, limit)):
            *outer, along = block
            given = windows[tuple(outer)][..., along.start * channels : along.stop * channels]
            above = g[block].reshape(*given.shape[: len(spatial)], -1)
            total = self.total[..., : given.shape[-1]]
            more = self.work("product", total.shape)
            copies += [partial(np.einsum, formula, given, above, out=more), partial(np.add, total, more, out=total)]
        return steps + copies

    def finish(self) -> list[Step]:
        by_place = self.total.reshape(*self.part.taps, -1, self.channels)
        target = self.out.reshape(*self.part.taps, self.channels)
        return [partial(np.add.reduce, by_place, axis=-2, out=target, dtype=self.dtype)]
