"""Convolutions over channels-last arrays, with any number of spatial axes.

Both ops are sums of products of windows with weights.  A convolution is one `Part`; a transposed convolution is one
Part for each phase of its output (the elements whose places are equal modulo the strides), each of them a plain
convolution of stride 1 with some of the taps.  How a Part is computed is a row of ALGORITHMS.

All algorithms work on blocks of output rows that stay in the cache together with what they are computed from, and
give each block its bias, residual and activation while it is hot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from math import ceil, gcd, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..copies import copy
from ..registry import Array, Scratch, Step, is_constant, kernel
from ..workers import cuts, together
from .elementwise import activate
from .memory import Block, Memory, blocks, compute_dtype
from .products import matrix_product, shared_product

Pads = tuple[tuple[int, int], ...]
Apply = Callable[[Array, Array, "Array | None"], list[Step]]  # (source, out, residual) -> steps

BLOCK_BYTES = 1 << 20  # patches of a block: fit L2
COLUMNS_BYTES = 1 << 20  # of patches as columns and their results
BLOCK_ROWS = 64  # but a product of fewer rows than this is slow
PADDED_BYTES = 1 << 19  # padded images made at once
DEPTHWISE_ELEMENTS = 1 << 17  # output elements of a depthwise block
DEPTHWISE_FLOPS = 16  # what one of them counts for where work is shared out: products go so much faster
DEPTHWISE_ROW = 1 << 14  # of the row that its weights are repeated to
DEPTHWISE_RUN = 96  # channels from which on a loop over them alone takes less time than to bring places together
TILE_ELEMENTS = 1 << 12  # of a repeated bias: fits L1
FEW_PLACES = 64  # of an output
FEW_CHANNELS = 8
SHORT = 8  # elements of the last axis: shorter loops than this are not worth it
GROUP_CHANNELS = 32  # groups of fewer channels are merged, up to this many


@kernel(strided=True, over=("residual",))
def conv(
    x: Array,
    w: Array,
    bias: Array | None,
    residual: Array | None,
    *,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    groups: int,
    activation: Any,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out[n, s, o] = activation(bias[o] + residual[n, s, o] + Σ x[n, s·stride + k·dilation - before, c] w[k, c, o]).

    x (N, *S, C), w (*K, C/groups, O), bias (O), residual and out (N, *S_out, O).  Group g is the g-th run of
    C/groups channels of x and the g-th run of O/groups channels of out.
    """
    *taps, outs = w.shape
    weights = w.reshape(*taps, groups, outs // max(groups, 1))
    if out.size == 0:
        return []

    flops = 2 * out[..., 0].size * w.size * (DEPTHWISE_FLOPS if w.shape[-2] == 1 and groups > 1 else 1)
    shares = branches_of(out.shape, flops, groups == 1)

    def branch(images: slice, rows: slice, filters: slice) -> list[Step]:
        given = weights if groups > 1 else weights[..., filters]
        part = Part(given, (0,) * len(strides), strides, dilations, (slice(None),) * len(strides))
        places = (rows, *(slice(0, size) for size in out.shape[2:-1]))
        seen, pads = seen_from(x[images], places, taps, strides, dilations, [before for before, _ in padding])
        after = None if residual is None else residual[images, rows, ..., filters]
        row = None if bias is None else bias[filters]
        target = out[images, rows, ..., filters]
        return _bind_images(seen, [part], row, after, pads, activation, target, scratch, len(shares) == 1)

    return together([branch(**which) for which in shares])


def branches_of(shape: Sequence[int], flops: int, by_filter: bool, unit: int = 1) -> list[dict[str, slice]]:
    """How work on an output (N, *S, O) is shared out: by images; of one image by rows, `unit` together.

    Where the output has few places, what takes longest is to read the weights: then by filters, if that can be done.
    """
    whole = {"images": slice(0, shape[0]), "rows": slice(0, shape[1]), "filters": slice(0, shape[-1])}
    if by_filter and prod(shape[:-1]) <= FEW_PLACES:
        axis, unit = "filters", 16
    else:
        axis, unit = ("images", 1) if shape[0] > 1 else ("rows", unit)
    return [{**whole, axis: piece} for piece in cuts(whole[axis].stop, flops, unit=unit)]


def seen_from(
    x: Array, places: Sequence[slice], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    before: Sequence[int],
) -> tuple[Array, Pads]:  # fmt: skip
    """The part of x (N, *S, C) that some places of the output see, and what is to be padded around it."""
    parts, pads = [slice(None)], []
    for size, place, k, stride, dilation, crop in zip(x.shape[1:], places, kernel, strides, dilations, before):
        start = place.start * stride - crop
        stop = (place.stop - 1) * stride + (k - 1) * dilation + 1 - crop
        low = min(max(start, 0), size)
        high = max(min(stop, size), low)
        parts.append(slice(low, high))
        pads.append((low - start, stop - high))
    return x[tuple(parts)], tuple(pads)


@kernel(strided=True)
def conv_transpose(
    x: Array,
    w: Array,
    bias: Array | None,
    *,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    output_padding: tuple[int, ...],
    groups: int,
    activation: Any,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """out[n, s·stride + k·dilation - before, o] += x[n, s, c] w[k, c, o], starting from bias; then the activation.

    x (N, *S, C), w (*K, C, O/groups), bias (O), out (N, *S_out, O) with
    S_out = (S - 1)·stride + (K - 1)·dilation + 1 + output_padding - before - after.
    """
    *taps, channels, outs = w.shape
    weights = np.swapaxes(w.reshape(*taps, groups, channels // groups, outs), -3, -2)
    crops = [before for before, _ in padding]
    axes = [_phases(*axis) for axis in zip(taps, out.shape[1:], strides, dilations, crops)]
    before = [max(0, *(-phase.first for phase in axis)) if axis else 0 for axis in axes]
    after = [max([0, *(p.last - size + 1 for p in axis)]) for axis, size in zip(axes, x.shape[1:])]
    parts = [
        Part(
            weights[tuple(phase.taps for phase in phases)],
            tuple(phase.first + b for phase, b in zip(phases, before)),
            (1,) * len(taps),
            tuple(phase.dilation for phase in phases),
            tuple(phase.place for phase in phases),
        )
        for phases in product(*axes)
    ]
    if out.size == 0:
        return []
    flops, pads = 2 * x[..., 0].size * w.size, tuple(zip(before, after))
    return together(
        [_bind_images(x[n], parts, bias, None, pads, activation, out[n], scratch) for n in cuts(len(x), flops)]
    )


# ---- what is computed ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Part:
    """out[:, *place] = the windows of the padded input, from `origin` on, times weights (*K, C/G, G, O/G)."""

    weights: Array
    origin: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    place: Block

    @property
    def taps(self) -> tuple[int, ...]:
        return tuple(self.weights.shape[:-3])

    def windows(self, source: Array, spatial: Sequence[int]) -> Array:
        """The elements that meet each tap, as a view (N, *spatial, *K, C) of source (N, *S, C)."""
        return windows_of(source, spatial, self.taps, self.strides, self.dilations)


@dataclass(frozen=True)
class Phase:
    """One axis of a phase of a transposed convolution: the elements of the output at `place`.

    The t-th of them meets x[first + t + m·dilation] with the m-th of `taps`, a slice that runs down the kernel.
    Together they meet the elements of x from `first` to `last`.
    """

    place: slice
    taps: slice
    first: int
    last: int
    dilation: int


def _phases(kernel: int, size: int, stride: int, dilation: int, before: int) -> list[Phase]:
    """The phases of one axis of a transposed convolution, whose output has `size` elements.

    Element q of the output meets tap k at x[(q + before - k·dilation) / stride], where that is whole.
    """
    apart = stride // gcd(stride, dilation)  # between taps of the same phase
    step = apart * dilation // stride
    found = []
    for q in range(min(stride, size)):
        place = slice(q, None, stride)
        taps = [k for k in range(kernel) if (q + before - k * dilation) % stride == 0]
        if not taps:
            found.append(Phase(place, slice(0, 0), 0, 0, 1))
            continue
        down = slice(taps[-1], taps[0] - 1 if taps[0] else None, -apart)
        first = (q + before - taps[-1] * dilation) // stride
        last = first + ceil((size - q) / stride) - 1 + (len(taps) - 1) * step
        found.append(Phase(place, down, first, last, step))
    return found


def windows_of(
    source: Array, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """A view (N, *spatial, *kernel, *rest) of source (N, *S, *rest): what each tap meets at each place."""
    end = len(spatial) + 1
    step, over = source.strides[1:end], source.strides[end:]
    return as_strided(
        source,
        (source.shape[0], *spatial, *kernel, *source.shape[end:]),
        (
            source.strides[0],
            *(a * b for a, b in zip(step, strides)),
            *(a * b for a, b in zip(step, dilations)),
            *over,
        ),
    )


# ---- binding -------------------------------------------------------------------------------------------------


def _bind_images(
    x: Array,
    parts: list[Part],
    bias: Array | None,
    residual: Array | None,
    padding: tuple[tuple[int, int], ...],
    activation: Any,
    out: Array,
    scratch: Scratch,
    shared: bool = False,
) -> list[Step]:
    """Steps for a part of the output; its products may be shared by threads where the part is all of it."""
    layer = Layer(bias, residual, activation, out, scratch)
    if shared:
        layer.product = shared_product
    steps: list[Step] = []
    bound: list[Apply] = []
    for images, source, copies in padded_sources(x, padding, layer.dtype, scratch):
        sources = [_inside(source, [slice(start, None) for start in part.origin]) for part in parts]
        targets = [_inside(out[images], part.place) for part in parts]
        if not bound:
            bound = [_algorithm(*given)(*given, layer) for given in zip(parts, sources, targets)]
        steps += copies
        for apply, origin, target in zip(bound, sources, targets):
            steps += apply(origin, target, None if residual is None else residual[images])
    return layer.prologue + steps


def padded_sources(
    x: Array, padding: tuple[tuple[int, int], ...], dtype: np.dtype[Any], scratch: Scratch, least: int = 1
) -> Iterator[tuple[slice, Array, list[Step]]]:
    """Groups of images, at least so many: which, the padded array in the dtype of computing, the steps that make it."""
    if x.dtype == dtype and not any(map(any, padding)):
        yield slice(None), x, []
        return
    spatial = [before + size + after for size, (before, after) in zip(x.shape[1:], padding)]
    image = prod(spatial) * x.shape[-1] * dtype.itemsize
    count = min(len(x), max(least, PADDED_BYTES // max(image, 1)))
    buffer = scratch((count, *spatial, x.shape[-1]), dtype)
    inside = [slice(before, before + size) for size, (before, _) in zip(x.shape[1:], padding)]
    steps: list[Step] = [partial(border.fill, 0) for border in _borders(buffer, padding)]
    for first in range(0, len(x), count):
        images = slice(first, min(first + count, len(x)))
        source = buffer[: images.stop - first]
        steps.append(copy(_inside(source, inside), x[images]))
        yield images, source, steps
        steps = []  # the borders stay zero during the step


def _inside(images: Array, places: Sequence[slice]) -> Array:
    """images[:, *places]."""
    return images[(slice(None),) + tuple(places)]


def _borders(padded: Array, padding: tuple[tuple[int, int], ...]) -> Iterator[Array]:
    for axis, (before, after) in enumerate(padding, 1):
        along = np.moveaxis(padded, axis, 0)
        if before:
            yield along[:before]
        if after:
            yield along[-after:]


class Layer(Memory):
    """What the parts of a convolution share: memory, and what follows the sums of products."""

    def __init__(self, bias: Array | None, residual: Array | None, activation: Any, out: Array, scratch: Scratch):
        super().__init__(compute_dtype(out.dtype), scratch)
        self.product: Callable[[Array, Array, Array], list[Step]] = matrix_product
        self._outs = out.shape[-1]
        self.bias = bias
        self._activate = None
        self._over_residual = residual is not None and np.may_share_memory(residual, out)
        self._is_relu = activation.name == "relu" and not activation.attrs
        if not self._is_relu:
            self._activate = activate(activation)
        self._floor_first = self._is_relu and bias is not None and residual is None
        self.epilogue = self._is_relu or any(part is not None for part in (bias, residual, self._activate))

    @cached_property
    def _biases(self) -> Array | None:
        return None if self.bias is None else self._repeated(self.bias, np.positive)

    @cached_property
    def _negative_biases(self) -> Array | None:
        return None if self.bias is None else self._repeated(self.bias, np.negative)

    @cached_property
    def _zeros(self) -> Array | None:
        return self._repeated(np.broadcast_to(np.float32(0), self._outs), np.positive) if self._is_relu else None

    def _repeated(self, row: Array, call: np.ufunc) -> Array:
        """call(row) over and over: NumPy is much faster on two long arrays than on a long one and a row or a number."""
        repeat = max(1, TILE_ELEMENTS // self._outs)
        return self.packed(row, (repeat, self._outs), lambda rows: call(row, out=rows, casting="unsafe"))

    def block(
        self, out: Array, residual: Array | None, block: Block, compute: Callable[[Array], list[Step]],
        biased: bool = False,
    ) -> list[Step]:  # fmt: skip
        """Steps for a block of the output, from those that `compute` gives for the sums (rows, O), with or without the
        bias.
        """
        part = out[block]
        whole = part.flags.c_contiguous and part.dtype == self.dtype and not self._over_residual
        sums = part if whole else self.work("sums", part.shape)
        rows = sums.reshape(-1, self._outs)
        steps = compute(rows) + self.finish(rows, sums, None if residual is None else residual[block], biased)
        return steps if whole else [*steps, copy(part, sums)]

    def finish(self, rows: Array, sums: Array, residual: Array | None, biased: bool = False) -> list[Step]:
        """Bias, residual and activation; sums is rows in the shape of residual."""
        repeat = next(r for r in range(max(1, TILE_ELEMENTS // self._outs), 0, -1) if len(rows) % r == 0)
        long = rows.reshape(-1, repeat * self._outs)

        def with_row(call: np.ufunc, repeated: Array | None) -> list[Step]:
            return [] if repeated is None else [partial(call, long, repeated[:repeat].reshape(-1), out=long)]

        if self._floor_first and not biased:  # relu(sums + bias) = max(sums, -bias) + bias
            return with_row(np.maximum, self._negative_biases) + with_row(np.add, self._biases)
        bias = [] if biased else with_row(np.add, self._biases)
        added = [] if residual is None else [partial(np.add, sums, residual, out=sums, casting="unsafe")]
        return bias + added + with_row(np.maximum, self._zeros) + self._activated(rows)

    def _activated(self, rows: Array) -> list[Step]:
        return [partial(self._activate, rows)] if self._activate else []


# ---- algorithms ----------------------------------------------------------------------------------------------


def is_depthwise(part: Part, source: Array, out: Array) -> bool:
    channels, groups, outs = part.weights.shape[-3:]
    return bool(channels == 1 and groups > 1 and outs <= 4)


def _depthwise(part: Part, source: Array, out: Array, layer: Layer) -> Apply:
    """Each channel by itself: multiply-adds over long rows (the last axis and the channels), with repeated weights.

    einsum is the one NumPy function that adds products without storing them; it wants long inner loops.
    """
    groups, outs = part.weights.shape[-2:]
    spatial, channels = out.shape[1:-1], groups * outs
    if outs == 1 and part.strides[-1] > 1 and channels >= DEPTHWISE_RUN:
        return _by_place(part, spatial, layer)
    width = max(1, min(spatial[-1], DEPTHWISE_ROW // channels))
    limit = DEPTHWISE_ELEMENTS // channels if width == spatial[-1] else width

    def fill(tile: Array) -> None:
        np.copyto(tile, part.weights, casting="unsafe")

    tile = layer.packed(part.weights, (*part.taps, width, groups, outs), fill).reshape(*part.taps, width * channels)
    over, taps = "abcd"[: len(spatial)], "klmn"[: len(spatial)]
    formula = f"{over}{taps}z,{taps}z->{over}z"

    def sums(given: Array, out: Array) -> list[Step]:
        rows = out.reshape(*given.shape[: len(spatial)], given.shape[-1])
        return [partial(np.einsum, formula, given, tile[..., : given.shape[-1]], out=rows)]

    def apply(source: Array, out: Array, residual: Array | None) -> list[Step]:
        rows, steps = rows_by_tap(part, source, spatial[-1], outs, layer)
        windows = windows_of(rows, spatial[:-1], part.taps[:-1], part.strides[:-1], part.dilations[:-1])
        for block in blocks(out.shape[:-1], max(width, limit)):
            *over, along = block
            given = windows[tuple(over)][..., along.start * channels : along.stop * channels]
            steps += layer.block(out, residual, block, partial(sums, given))
        return steps

    return apply


def _by_place(part: Part, spatial: Sequence[int], layer: Layer) -> Apply:
    """Where neighbours of the output meet places that are none, inner loops run over the channels of one place."""
    given = part.weights[..., 0, :, 0]  # (*K, C)
    weights = layer.packed(given, given.shape, lambda own: np.copyto(own, given, casting="unsafe"))
    over, taps = "abcde"[: len(spatial) + 1], "klmn"[: len(spatial)]
    formula = f"{over}{taps}z,{taps}z->{over}z"

    def sums(given: Array, out: Array) -> list[Step]:
        places = out.reshape(*given.shape[: len(over)], given.shape[-1])
        return [partial(np.einsum, formula, given, weights, out=places)]

    def apply(source: Array, out: Array, residual: Array | None) -> list[Step]:
        windows = part.windows(source, spatial)
        steps: list[Step] = []
        for block in blocks(out.shape[:-1], DEPTHWISE_ELEMENTS // out.shape[-1]):
            steps += layer.block(out, residual, block, partial(sums, windows[block]))
        return steps

    return apply


def rows_by_tap(part: Part, source: Array, width: int, outs: int, layer: Memory) -> tuple[Array, list[Step]]:
    """(N, *S[:-1], K, width·C·outs): what each tap of the last axis meets, in a row, each channel `outs` times."""
    windows = np.moveaxis(
        as_strided(
            source,
            (*source.shape[:-2], width, part.taps[-1], source.shape[-1]),
            (
                *source.strides[:-2],
                source.strides[-2] * part.strides[-1],
                source.strides[-2] * part.dilations[-1],
                source.strides[-1],
            ),
        ),
        -2,
        -3,
    )
    shape = (*windows.shape[:-2], width * source.shape[-1] * outs)
    if outs == 1:
        try:
            return windows.reshape(shape, copy=False), []
        except ValueError:
            pass
    rows = layer.work("rows", (*windows.shape, outs))
    return rows.reshape(shape), [copy(rows, windows[..., None])]


def _is_matrix(part: Part, source: Array, out: Array) -> bool:
    return part.weights.shape[-2] == 1 and window_matrix(part, source, out) is not None


def window_matrix(part: Part, source: Array, out: Array) -> Array | None:
    """The windows as rows of a matrix that BLAS can read in place, if they are: 1×1, or a kernel as large as x."""
    windows = part.windows(source, out.shape[1:-1])
    rows, columns = prod(out.shape[:-1]), prod(part.weights.shape[:-2])
    try:
        matrix = windows.reshape(rows, columns, copy=False)
    except ValueError:
        return None
    row, element = matrix.strides
    in_place = element == matrix.itemsize and (rows == 1 or row >= columns * element)
    return matrix if in_place else None


def _in_place(part: Part, source: Array, out: Array, layer: Layer) -> Apply:
    """One product; where something follows it, in blocks, so that it finds the sums in the cache."""
    weights = _packed_weights(part, 1, layer)[0]
    limit = BLOCK_BYTES // (sum(weights.shape) * weights.itemsize) if layer.epilogue else prod(out.shape)

    def sums(given: Array, out: Array) -> list[Step]:
        return layer.product(given.reshape(len(out), len(weights), copy=False), weights, out)

    def apply(source: Array, out: Array, residual: Array | None) -> list[Step]:
        matrix = window_matrix(part, source, out)
        assert matrix is not None
        by_place = matrix.reshape(*out.shape[:-1], len(weights), copy=False)
        steps: list[Step] = []
        for block in blocks(out.shape[:-1], max(limit, BLOCK_ROWS)):
            steps += layer.block(out, residual, block, partial(sums, by_place[block]))
        return steps

    return apply


def _always(part: Part, source: Array, out: Array) -> bool:
    return True


def _patches(part: Part, source: Array, out: Array, layer: Layer) -> Apply:
    """Copy the windows of a block into a matrix for each group, (G, rows, taps·C/G), and multiply."""
    channels, groups, _ = part.weights.shape[-3:]
    merged = merged_groups(channels, groups)
    weights = _packed_weights(part, merged, layer)
    groups, depth, outs = weights.shape
    limit = max(BLOCK_ROWS, BLOCK_BYTES // max(1, groups * depth * weights.itemsize))

    def sums(windows: Array, out: Array) -> list[Step]:
        patches = layer.work("patches", (groups, len(out), depth))
        by_group = np.moveaxis(windows.reshape(*windows.shape[:-1], groups, merged * channels, copy=False), -2, 0)
        gather, made = copy(patches.reshape(by_group.shape), by_group), out.reshape(-1, groups, outs).swapaxes(0, 1)
        if groups == 1:
            return [gather, *layer.product(patches[0], weights[0], made[0])]
        return [gather, *matrix_product(patches, weights, made)]

    def apply(source: Array, out: Array, residual: Array | None) -> list[Step]:
        windows = part.windows(source, out.shape[1:-1])
        steps: list[Step] = []
        for block in blocks(out.shape[:-1], limit):
            steps += layer.block(out, residual, block, partial(sums, windows[block]))
        return steps

    return apply


def has_few_channels(part: Part, source: Array, out: Array) -> bool:
    channels, groups, _ = part.weights.shape[-3:]
    return groups == 1 and channels <= FEW_CHANNELS and len(part.taps) > 0 and out.shape[-2] >= SHORT


def _planes(part: Part, source: Array, out: Array, layer: Layer) -> Apply:
    """Few channels: patches as columns, (taps·C, rows), from images channel by channel.

    Then NumPy's inner loops run along the last axis of the image, instead of over the few channels of some taps.  A
    bias is the weight of one more column, which is all ones.
    """
    weights, biased = _with_bias(_packed_weights(part, 1, layer)[0], layer)
    depth, outs = weights.shape
    limit = max(BLOCK_ROWS, COLUMNS_BYTES // ((depth + outs) * weights.itemsize))
    room = layer.own((depth, min(limit, prod(out.shape[:-1]))))
    if biased:
        layer.prologue.append(partial(room[-1].fill, 1))

    def sums(windows: Array, out: Array) -> list[Step]:
        patches = room[:, : len(out)]
        return [copy_columns(windows, patches[: depth - biased]), *matrix_product(patches.T, weights, out)]

    def apply(source: Array, out: Array, residual: Array | None) -> list[Step]:
        planes, steps = planes_of(source, layer)
        windows = part.windows(planes, out.shape[1:-1])
        for block in blocks(out.shape[:-1], limit):
            steps += layer.block(out, residual, block, partial(sums, windows[block]), biased)
        return steps

    return apply


def _with_bias(weights: Array, layer: Layer) -> tuple[Array, bool]:
    """The weights (rows, O) with the bias as one more row, if there is one."""
    bias = layer.bias
    if bias is None:
        return weights, False

    def fill(both: Array) -> None:
        np.copyto(both[:-1], weights)
        np.copyto(both[-1], bias, casting="unsafe")

    changing = bias if is_constant(weights) else weights
    return layer.packed(changing, (len(weights) + 1, weights.shape[1]), fill), True


def planes_of(source: Array, memory: Memory) -> tuple[Array, list[Step]]:
    """Images (N, *S, C) that lie channel by channel, and the steps that make them."""
    planes = np.moveaxis(memory.work("planes", (len(source), source.shape[-1], *source.shape[1:-1])), 1, -1)
    return planes, [copy(planes, source)]


def copy_columns(windows: Array, patches: Array) -> Step:
    """The step that copies windows (N, *S, *K, C) of planes into patches (taps·C, rows)."""
    axes = windows.ndim // 2
    by_tap = windows.transpose(*range(axes, 2 * axes), *range(axes))
    return copy(patches.reshape(by_tap.shape, copy=False), by_tap)


def merged_groups(channels: int, groups: int) -> int:
    """How many groups of few channels are computed as one, which is faster though most products are with 0."""
    return max((q for q in range(1, groups + 1) if groups % q == 0 and q * channels <= GROUP_CHANNELS), default=1)


def _packed_weights(part: Part, merged: int, layer: Layer) -> Array:
    """Weights (*K, C/G, G, O/G) as (G', taps·C/G', O/G') where G' = G / merged, with zeros between merged groups."""
    channels, groups, outs = part.weights.shape[-3:]
    left = groups // merged
    packed = (left, prod(part.taps) * merged * channels, merged * outs)
    if groups == 1 and part.weights.dtype == layer.dtype and part.weights.strides[-1] == part.weights.itemsize:
        try:
            return part.weights.reshape(packed, copy=False)
        except ValueError:  # it is transposed
            pass
    split = part.weights.reshape(*part.taps, channels, left, merged, outs)
    split = np.moveaxis(split, (-3, -2), (0, -3))  # (G', *K, merged, C/G, O/G)

    def fill(weights: Array) -> None:
        apart = weights.reshape(left, *part.taps, merged, channels, merged, outs)
        weights.fill(0)
        np.copyto(np.einsum("...gcgo->...gco", apart), split, casting="unsafe")

    return layer.packed(part.weights, packed, fill)


# The first row that fits is used.
ALGORITHMS: tuple[tuple[Callable[..., bool], Callable[..., Apply]], ...] = (
    (is_depthwise, _depthwise),
    (_is_matrix, _in_place),
    (has_few_channels, _planes),
    (_always, _patches),
)


def _algorithm(part: Part, source: Array, out: Array) -> Callable[..., Apply]:
    return next(bind for fits, bind in ALGORITHMS if fits(part, source, out))
