"""Convolutions of stride 1 with fewer multiplications (Winograd 1980; Lavin & Gray 2015, "Fast algorithms for
convolutional neural networks").

Tiles of m outputs along an axis are computed from n = m + r - 1 inputs, r being the size of the kernel: instead of m·r
products there are n, of transformed inputs and transformed weights.  A pass chooses these ops in the place of `conv`.
"""

from __future__ import annotations

import math
from typing import Any

from ..attributes import LINEAR, Activation, Ints, Padding
from ..op import op, require, require_dim, require_rank, same_dtype
from ..types import Tensor
from .conv import check_windows, explicit_padding, not_batch, window_places


def points(tile: Ints, kernel: Ints) -> tuple[int, ...]:
    """n = m + r - 1 of every axis: the inputs that a tile of outputs sees."""
    return tuple(m + r - 1 for m, r in zip(tile, kernel))


@op()
def winograd_weights(w: Tensor, *, tile: Ints, flip: bool = False) -> Tensor:
    """G w of every axis, for tiles of `tile` outputs: w (*K, C, O) -> (Π n, C, O).

    flip: the kernel is turned around first, as the adjoint of a convolution has it.
    """
    require_rank(w, len(tile) + 2, "w")
    check_windows(len(tile), tile)
    kernel = w.dims[:-2]
    require(all(isinstance(k, int) for k in kernel), "the kernel's size is not known")
    return Tensor(w.dtype, (math.prod(points(tile, kernel)), *w.dims[-2:]))  # type: ignore[arg-type]


def concrete(types: tuple[Tensor, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes with `padding` as pairs, for operands of static shapes."""
    ones = (1,) * len(attrs["kernel"])
    pairs = explicit_padding(attrs["padding"], types[0].static[1:-1], attrs["kernel"], ones, ones)
    return {**attrs, "padding": pairs}


@op(mixes=not_batch, concrete=concrete)
def winograd_conv(
    x: Tensor,
    u: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    kernel: Ints,
    tile: Ints,
    padding: Padding = "valid",
    activation: Activation = LINEAR,
) -> Tensor:
    """activation(A (u · B x) + bias + residual) of every tile: `conv` of stride 1 with the weights that gave u.

    x: (N, *S, C), u: (Π n, C, O) from `winograd_weights`, bias: (O), residual: (N, *S', O) -> (N, *S', O).  In float32
    the error depends on the number of points, m + r - 1, along an axis (POINTS in the kernel's file): of up to 6 it is
    1.5e-6 of the results' standard deviation on average, 2e-5 at most, about five times that of the sum of products;
    of 7 and 8, 8e-6 and 1.5e-4.
    """
    require_rank(x, len(kernel) + 2, "x")
    require_rank(u, 3, "u")
    check_windows(len(kernel), kernel, tile)
    require_dim(u.dims[0], math.prod(points(tile, kernel)), "the number of transformed weights")
    require_dim(x.dims[-1], u.dims[1], "the number of channels of x")
    ones = (1,) * len(kernel)
    places = window_places(x.dims[1:-1], kernel, ones, ones, padding)
    if bias is not None:
        require_rank(bias, 1, "bias")
        require_dim(bias.dims[0], u.dims[2], "the length of bias")
    return Tensor(same_dtype(x, u, bias, residual), (x.dims[0], *places, u.dims[2]))


@op(concrete=concrete)
def winograd_weight_grad(x: Tensor, g: Tensor, *, kernel: Ints, tile: Ints, padding: Padding = "valid") -> Tensor:
    """`conv_weight_grad` of stride 1 by way of tiles: x (N, *S, C), g (N, *S', O) -> (*kernel, C, O)."""
    require_rank(x, len(kernel) + 2, "x")
    require_rank(g, len(kernel) + 2, "g")
    check_windows(len(kernel), kernel, tile)
    ones = (1,) * len(kernel)
    for actual, expected in zip(g.dims[1:-1], window_places(x.dims[1:-1], kernel, ones, ones, padding)):
        require_dim(actual, expected, "a spatial axis of g")
    require_dim(g.dims[0], x.dims[0], "the batch of g")
    return Tensor(same_dtype(x, g), (*kernel, x.dims[-1], g.dims[-1]))
