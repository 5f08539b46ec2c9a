"""Pooling and resizing: channels first in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import dims
from ....ir.ops.conv import effective, window_places
from ....ir.types import f32, i64
from ..emitter import Emitter, Item
from . import export, refuse
from .conv import padded

Ints = Sequence[int]


def _windows(x: Item, window: Ints, strides: Ints, dilations: Ints, padding: Any, ceil_mode: bool) -> dict[str, Any]:
    """The attributes that all pools share."""
    return {
        "kernel_shape": window, "strides": strides, "ceil_mode": int(ceil_mode),
        "dilations": dilations if any(d != 1 for d in dilations) else None,
        **padded(padding, x.shape[2:], window, strides, dilations),
    }  # fmt: skip


def _spelled_out(x: Item, **attrs: Any) -> dict[str, Any]:
    """For windows of a maximum: those that ceil_mode adds as padding, as opsets differ in which these are."""
    sizes, padding = x.shape[2:], attrs["padding"]
    if not attrs["ceil_mode"] or isinstance(padding, str) or not dims.is_number(sizes):
        return _windows(x, **attrs)
    window, strides, dilations = attrs["window"], attrs["strides"], attrs["dilations"]
    places = window_places(sizes, window, strides, dilations, padding, True)
    ends = [(p - 1) * s + effective(k, d) for p, s, k, d in zip(places, strides, window, dilations)]
    pairs = tuple((before, max(end - size - before, 0)) for end, size, (before, _) in zip(ends, sizes, padding))
    return _windows(x, **{**attrs, "padding": pairs, "ceil_mode": False})


@export(first=("x",))
def max_pool(w: Emitter, x: Item, **attrs: Any) -> Item:
    return w.MaxPool(x, **_spelled_out(x, **attrs))  # type: ignore[no-any-return]


@export(first=("x",))
def max_pool_indices(w: Emitter, x: Item, **attrs: Any) -> Item:
    """ONNX counts places through the whole tensor, the core op through the spatial axes of a channel."""
    _, places = w.MaxPool(x, outputs=2, **_spelled_out(x, **attrs))
    w.typed(places, x.tensor.with_(dtype=i64))
    count: Item | None = None
    for d in x.shape[2:]:
        size = w.size(d)
        count = size if count is None else w.Mul(count, size)
    return w.Mod(places, count)  # type: ignore[no-any-return]


@export(first=("x",))
def avg_pool(w: Emitter, x: Item, *, count_include_pad: bool, **attrs: Any) -> Item:
    if any(d != 1 for d in attrs["dilations"]):
        w.need(19, "a dilated average pool")
    return w.AveragePool(x, count_include_pad=int(count_include_pad), **_windows(x, **attrs))  # type: ignore[no-any-return]


@export(dynamic=("sizes", "scales", "roi"))
def resize(
    w: Emitter, x: Item, *, sizes: Any, axes: Ints, scales: Any, mode: str, coordinates: str, nearest: str,
    cubic_coefficient: float, exclude_outside: bool, fraction_steps: int, antialias: bool, extrapolation: float,
    roi: Any,
) -> Item:  # fmt: skip
    """Before opset 18 all axes have to be listed."""
    if fraction_steps:
        raise w.refuse("weights rounded to a table are not known to ONNX", "use another interpolation")
    if antialias:
        w.need(18, "antialiasing")
    by_scales = isinstance(scales, Item) or len(scales) > 0
    region = w.cast(roi if isinstance(roi, Item) else np.array(roi, float), f32) if roi else None
    given: list[Item | None] = [region, None, None]
    listed, every = list(axes), [a % x.rank for a in axes] == list(range(x.rank))
    if w.opset >= 18 or (every and not roi):
        given[1 if by_scales else 2] = _scales(w, scales) if by_scales else w.vector(sizes)
        extra: dict[str, Any] = {"axes": listed, "antialias": int(antialias)} if w.opset >= 18 else {}
    elif isinstance(sizes, Item) or isinstance(scales, Item) or roi:
        raise w.refuse("sizes along some axes, known at run time, need opset 18", "write opset 18")
    else:
        extra = {}
        if by_scales:
            whole = [1.0] * x.rank
            for axis, scale in zip(listed, scales):
                whole[axis % x.rank] = scale
            given[1] = _scales(w, whole)
        else:
            target = list(x.shape)
            for axis, size in zip(listed, sizes):
                target[axis % x.rank] = size
            given[2] = w.vector(target)
    return w.Resize(  # type: ignore[no-any-return]
        x, *given, mode=mode, coordinate_transformation_mode=coordinates, nearest_mode=nearest,
        cubic_coeff_a=cubic_coefficient, exclude_outside=int(exclude_outside), extrapolation_value=extrapolation,
        **extra,
    )  # fmt: skip


def _scales(w: Emitter, scales: Any) -> Item:
    return w.cast(scales if isinstance(scales, Item) else np.array(scales, float), f32)


refuse("it belongs to a gradient", "max_pool_grad", "max_pool_pick", "avg_pool_grad", "resize_grad")
