"""Convolutions, channels last: x is (N, *spatial, C), one to three spatial axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import LINEAR, Activation, Dims, Ints, Padding
from ..dims import Dim
from ..op import op, require, require_dim, require_rank, same_dtype, shape_text
from ..types import Tensor


def not_batch(rank: int, **_: Any) -> Iterable[int]:
    """All axes but the first."""
    return range(1, rank)


def effective(kernel: int, dilation: int) -> int:
    """The extent of a dilated kernel."""
    return (kernel - 1) * dilation + 1


def explicit_padding(
    padding: Padding, sizes: Dims, kernel: Ints, strides: Ints, dilations: Ints
) -> tuple[tuple[Dim, Dim], ...]:
    """`padding` as (before, after) pairs: numbers wherever the sizes are.

    same: the result has ceil(size / stride) places, the odd element goes after (TensorFlow, Keras, ONNX
    SAME_UPPER); same_lower: before.  causal: all before, none after.
    """
    if not isinstance(padding, str):
        return tuple(padding)
    pairs: list[tuple[Dim, Dim]] = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations):
        extent = effective(k, dilation)
        if padding == "valid":
            pairs.append((0, 0))
        elif padding == "causal":
            pairs.append((extent - 1, 0))
        else:
            total = dims.maximum((dims.ceil_div(size, stride) - 1) * stride + extent - size, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if padding == "same" else (large, small))
    return tuple(pairs)


def concrete_padding(types: tuple[Tensor, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes with `padding` as pairs, for operands of static shapes."""
    x, *rest = types
    kernel = attrs.get("window") or attrs.get("kernel") or rest[0].static[:-2]
    pairs = explicit_padding(attrs["padding"], x.static[1:-1], kernel, attrs["strides"], attrs["dilations"])
    return {**attrs, "padding": pairs}


def window_places(
    sizes: Dims, kernel: Ints, strides: Ints, dilations: Ints, padding: Padding, ceil_mode: bool = False
) -> Dims:
    """How many windows fit each spatial axis."""
    out: list[Dim] = []
    for i, (size, k, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations)):
        if padding in ("same", "same_lower"):
            out.append(dims.ceil_div(size, stride))
            continue
        extent = effective(k, dilation)
        extra = {"valid": 0, "causal": extent - 1}[padding] if isinstance(padding, str) else sum(padding[i])
        room = size + extra - extent
        require(
            not isinstance(room, int) or room >= 0 or size == 0,
            f"a window of {extent} is larger than axis {i} ({size} + {extra})",
        )
        places = dims.ceil_div(room, stride) + 1 if ceil_mode else room // stride + 1
        out.append(_no_empty_window(places, size, padding, i, stride) if ceil_mode else places)
    return tuple(out)


def _no_empty_window(places: Dim, size: Dim, padding: Padding, axis: int, stride: int) -> Dim:
    """With ceil_mode, a last window that would start in the padding after the input is left out."""
    before = 0 if isinstance(padding, str) else padding[axis][0]
    if isinstance(places, int) and isinstance(size, int) and (places - 1) * stride >= size + before:
        return places - 1
    return places


def check_windows(rank: int, *lists: Ints) -> None:
    """Strides, dilations and the like have one positive entry a spatial axis."""
    for values in lists:
        require(len(values) == rank, f"{values} has not one entry for each of {rank} spatial axes")
        require(all(v > 0 for v in values), f"{values} has an entry that is not positive")


@op("epilogue", mixes=not_batch, concrete=concrete_padding)
def conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    strides: Ints,
    dilations: Ints,
    padding: Padding = "valid",
    groups: int = 1,
    activation: Activation = LINEAR,
) -> Tensor:
    """activation(x * w + bias + residual), the cross-correlation of deep learning.

    x: (N, *S, C), w: (*K, C / groups, O), bias: (O) -> (N, *S', O); with groups, output channels o of group g see
    the input channels of group g only.  groups = C is the depthwise convolution.
    """
    require(3 <= w.rank <= 5, f"weight {shape_text(w.shape)} has not one to three spatial axes")
    spatial = w.rank - 2
    require_rank(x, w.rank, "x")
    check_windows(spatial, strides, dilations)
    kernel, (per_group, filters) = w.dims[:-2], w.dims[-2:]
    require(dims.is_number(kernel), "the kernel's size is not known")
    require(
        groups > 0 and (not isinstance(filters, int) or filters % groups == 0), f"{filters} filters in {groups} groups"
    )
    require_dim(x.dims[-1], per_group * groups, "the number of channels of x")
    places = window_places(x.dims[1:-1], kernel, strides, dilations, padding)  # type: ignore[arg-type]
    if bias is not None:
        require_rank(bias, 1, "bias")
        require_dim(bias.dims[0], filters, "the length of bias")
    return Tensor(same_dtype(x, w, bias, residual), (x.dims[0], *places, filters))


@op("epilogue", mixes=not_batch, concrete=concrete_padding)
def conv_transpose(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints,
    dilations: Ints,
    padding: Padding = "valid",
    output_padding: Ints,
    groups: int = 1,
    activation: Activation = LINEAR,
) -> Tensor:
    """The adjoint of `conv` with respect to its input: y[n, s·stride + k·dilation - before] += x[n, s] @ w[k].

    x: (N, *S, C), w: (*K, C, O / groups) -> (N, *S', O) with S' = (S - 1)·stride + (K - 1)·dilation + 1
    - before - after + output_padding.  padding crops the result; "valid" crops nothing.
    """
    spatial = w.rank - 2
    require_rank(x, w.rank, "x")
    check_windows(spatial, strides, dilations)
    require(len(output_padding) == spatial, "output_padding has not one entry for each spatial axis")
    require(padding == "valid" or not isinstance(padding, str), f"padding {padding!r} is not explicit")
    pairs = ((0, 0),) * spatial if isinstance(padding, str) else padding
    require_dim(x.dims[-1], w.dims[-2], "the number of channels of x")
    places = tuple(
        (s - 1) * stride + effective(k, dilation) - before - after + extra  # type: ignore[arg-type]
        for s, stride, k, dilation, (before, after), extra in zip(
            x.dims[1:-1], strides, w.dims, dilations, pairs, output_padding
        )
    )
    return Tensor(same_dtype(x, w, bias), (x.dims[0], *places, w.dims[-1] * groups))


@op(concrete=concrete_padding)
def conv_weight_grad(
    x: Tensor,
    g: Tensor,
    *,
    kernel: Ints,
    strides: Ints,
    dilations: Ints,
    padding: Padding = "valid",
    groups: int = 1,
) -> Tensor:
    """The adjoint of `conv` with respect to its weight, the samples summed.

    w[k, c, o] = Σ over n, s of x[n, s·stride + k·dilation - before, c] g[n, s, o]; with groups, o sees the channels of
    its own group only.  x: (N, *S, C), g: (N, *S', O), what `conv` gave -> (*kernel, C / groups, O).
    """
    spatial = len(kernel)
    require_rank(x, spatial + 2, "x")
    require_rank(g, spatial + 2, "g")
    check_windows(spatial, kernel, strides, dilations)
    channels, filters = x.dims[-1], g.dims[-1]
    require(
        groups > 0 and all(not isinstance(n, int) or n % groups == 0 for n in (channels, filters)),
        f"{channels} channels and {filters} filters in {groups} groups",
    )
    require_dim(g.dims[0], x.dims[0], "the batch of g")
    for actual, expected in zip(g.dims[1:-1], window_places(x.dims[1:-1], kernel, strides, dilations, padding)):
        require_dim(actual, expected, "a spatial axis of g")
    return Tensor(same_dtype(x, g), (*kernel, channels // groups, filters))
