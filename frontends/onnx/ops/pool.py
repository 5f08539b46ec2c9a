"""Pooling and resizing: channels first in ONNX, channels last inside."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ....errors import ShapeError
from ....ir import dims
from ....ir.dims import Dim
from ....ir.graph import Var
from ....ir.op import axis_of
from ....ir.types import f32, f64, i64
from ..lowering import Lowering
from ..registry import onnx
from .conv import Ints, ones, padding
from .shape import pad


def _windows(b: Lowering, kernel: Ints, strides: Ints | None, dilations: Ints | None, auto_pad: str, pads: Ints | None,
             ceil_mode: int) -> dict[str, Any]:  # fmt: skip
    """The attributes that all pooling ops share."""
    spatial = len(kernel)
    return {
        "window": kernel,
        "strides": ones(strides, spatial),
        "dilations": ones(dilations, spatial),
        "padding": padding(b, auto_pad, pads, spatial),
        "ceil_mode": bool(ceil_mode) and auto_pad in ("NOTSET", "VALID", ""),
    }


@onnx("MaxPool")
def max_pool(
    b: Lowering, X: Var, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    kernel_shape: Ints, pads: Ints | None = None, storage_order: int = 0, strides: Ints | None = None,
) -> tuple[Var, ...]:  # fmt: skip
    """The maxima and, if asked for, their places in the flattened X."""
    attrs = _windows(b, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    x = b.to_last(X)
    y = b.to_first(b.max_pool(x, **attrs))
    if not b.wants(1):
        return (y,)
    return y, _flat_places(b, X, b.to_first(b.max_pool_indices(x, **attrs)), storage_order)


def _flat_places(b: Lowering, X: Var, places: Var, column_major: int) -> Var:
    """Places in the spatial axes of each channel as places in the whole of X."""
    n, c, *sizes = b.dims(X)
    count = b.reduce_prod(b.slice(b.shape(X), starts=(2,), ends=(len(X.shape),)))
    if column_major:
        places = _column_major(b, places, b.shape(X), len(sizes))
    channel = b.range(
        np.int64(0),
        b.size(b.slice(X, starts=(0,) * len(sizes), ends=(1,) * len(sizes), axes=tuple(range(2, 2 + len(sizes))))),
        np.int64(1),
    )
    offset = b.reshape(b.mul(channel, count), shape=b.mixed((n, c, *[1] * len(sizes))))
    return b.add(places, offset)


def _column_major(b: Lowering, places: Var, shape: Var, spatial: int) -> Var:
    """Places counted with the last spatial axis first as places counted with the first one first."""
    size = [b.gather(shape, np.int64(2 + i)) for i in range(spatial)]
    total, rest = None, places
    for i in reversed(range(spatial)):
        coordinate, rest = b.mod(rest, size[i]), b.floor_div(rest, size[i])
        total = coordinate if total is None else b.add(b.mul(total, size[i]), coordinate)
    assert total is not None
    return total


@onnx("AveragePool")
def average_pool(
    b: Lowering, X: Var, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Ints | None = None, kernel_shape: Ints, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    attrs = _windows(b, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    return b.to_first(b.avg_pool(b.to_last(X), count_include_pad=count_include_pad, **attrs))


@onnx("LpPool")
def lp_pool(
    b: Lowering, X: Var, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    kernel_shape: Ints, p: int = 2, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """(sum |x|^p)^(1/p) over each window: the mean of |x|^p times the number of places."""
    attrs = _windows(b, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    hangs_over = attrs.pop("ceil_mode")
    if hangs_over:
        around = padding(b, "NOTSET", pads if auto_pad != "VALID" else None, len(kernel_shape))
        attrs["padding"] = [(before, after + s - 1) for (before, after), s in zip(around, attrs["strides"])]
    powers = _power(b, b.abs(b.to_last(X)), p)
    sums = b.mul(b.avg_pool(powers, count_include_pad=True, **attrs), prod(kernel_shape))
    y = b.to_first(_root(b, sums, p))
    return _no_empty_windows(b, y, X, attrs) if hangs_over else y


def _no_empty_windows(b: Lowering, y: Var, X: Var, attrs: dict[str, Any]) -> Var:
    """Results without those of windows that begin behind X."""
    strides = np.array(attrs["strides"], np.int64)
    before = np.array([p for p, _ in attrs["padding"]], np.int64)
    sizes = b.slice(b.shape(X), starts=(2,), ends=(len(X.shape),))
    count = b.floor_div(b.add(sizes, before + strides - 1), strides)
    return b.slice(y, starts=(0,) * len(strides), ends=count, axes=tuple(range(2, len(X.shape))))  # type: ignore[no-any-return]


def _power(b: Lowering, x: Var, p: int) -> Var:
    return x if p == 1 else b.square(x) if p == 2 else b.pow(x, float(p))  # type: ignore[no-any-return]


def _root(b: Lowering, x: Var, p: int) -> Var:
    return x if p == 1 else b.sqrt(x) if p == 2 else b.pow(x, 1 / p)  # type: ignore[no-any-return]


def _spatial(X: Var) -> Ints:
    return tuple(range(2, len(X.shape)))


@onnx("GlobalAveragePool")
def global_average_pool(b: Lowering, X: Var) -> Var:
    return b.reduce_mean(X, axes=_spatial(X), keepdims=True)


@onnx("GlobalMaxPool")
def global_max_pool(b: Lowering, X: Var) -> Var:
    return b.reduce_max(X, axes=_spatial(X), keepdims=True)


@onnx("GlobalLpPool")
def global_lp_pool(b: Lowering, X: Var, *, p: int = 2) -> Var:
    return _root(b, b.reduce_sum(_power(b, b.abs(X), p), axes=_spatial(X), keepdims=True), p)


@onnx("MaxUnpool")
def max_unpool(
    b: Lowering, X: Var, I: Var, output_shape: Var | None = None, *, kernel_shape: Ints, pads: Ints | None = None,  # noqa: E741
    strides: Ints | None = None,
) -> Var:  # fmt: skip
    """Zeros, but the elements of X at places I of the flattened natural result, which output_shape then pads."""
    spatial = len(kernel_shape)
    stride, around = ones(strides, spatial), padding(b, "NOTSET", pads, spatial)
    rest = [k - s - sum(p) for s, k, p in zip(stride, kernel_shape, around)]
    natural = b.add(b.mul(b.shape(X), np.array([1, 1, *stride])), np.array([0, 0, *rest]))
    zeros = b.fill(b.constant(0, dtype=X.tensor.dtype.numpy), shape=b.reduce_prod(natural, axes=(0,), keepdims=True))
    flat = b.scatter_elements(zeros, b.reshape(I, shape=(-1,)), b.reshape(X, shape=(-1,)))
    y = b.reshape(flat, shape=natural)
    if output_shape is None:
        return y
    return pad(b, y, b.concat(np.zeros(2 + spatial, np.int64), b.sub(output_shape, natural), axis=0))


# ---- resizing ------------------------------------------------------------------------------------------------


@onnx("Upsample")
@onnx("Resize", since=10)
def upsample(b: Lowering, X: Var, scales: Var, *, mode: str = "nearest") -> Var:
    return _asymmetric(b, X, scales, mode)


def _asymmetric(b: Lowering, X: Var, scales: Var | tuple[float, ...], mode: str) -> Var:
    """The only way of opsets to 10: coordinates are divided by the scale, and cut."""
    attrs = {"mode": "linear" if mode == "linear" else "nearest", "coordinates": "asymmetric", "nearest": "floor"}
    return _resize(b, X, list(range(len(X.shape))), _listed(b, scales), None, attrs)


def _listed(b: Lowering, values: Var | tuple[float, ...]) -> Any:
    """A list if the values are known while reading, else the var."""
    known = b.known(values) if isinstance(values, Var) else values
    return values if known is None else list(known)


@onnx("Resize", since=11)
def resize(
    b: Lowering, X: Var, roi: Var | None = None, scales: Var | None = None, sizes: Var | None = None, *,
    antialias: int = 0, axes: Ints | None = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> Var:  # fmt: skip
    """To `sizes`, or to the old sizes times `scales`, along `axes` (default: all)."""
    chosen = [axis_of(a, len(X.shape)) for a in (range(len(X.shape)) if axes is None else axes)]
    attrs = {
        "mode": mode, "coordinates": coordinate_transformation_mode, "nearest": nearest_mode,
        "cubic_coefficient": cubic_coeff_a, "exclude_outside": exclude_outside, "antialias": antialias,
        "extrapolation": extrapolation_value,
    }  # fmt: skip
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None:
            raise b.refuse("tf_crop_and_resize without roi")
        attrs["roi"] = _listed(b, roi)
    if scales is not None and scales.tensor.shape != (0,):
        return _resize(b, X, chosen, _listed(b, scales), None, attrs)
    if sizes is None:
        raise b.refuse("neither scales nor sizes are given")
    if keep_aspect_ratio_policy != "stretch":
        return _keeping_ratio(b, X, chosen, sizes, keep_aspect_ratio_policy, attrs)
    return _resize(b, X, chosen, None, _listed(b, sizes), attrs)


def _keeping_ratio(b: Lowering, X: Var, axes: list[int], sizes: Var, policy: str, attrs: dict[str, Any]) -> Var:
    """One scale for all axes, so that nothing is larger, or smaller, than `sizes`."""
    old, new = [X.shape[a] for a in axes], b.known(sizes)
    if new is not None and dims.is_number((*old, *new)):
        scale = {"not_larger": min, "not_smaller": max}[policy](s / d for s, d in zip(new, old))  # type: ignore
        return _resize(b, X, axes, [scale] * len(axes), [int(np.floor(scale * d + 0.5)) for d in old], attrs)
    before = b.cast(b.gather(b.shape(X), np.array(axes, np.int64)), to=f64)
    ratios = b.div(b.cast(sizes, to=f64), before)
    scale = (b.reduce_min if policy == "not_larger" else b.reduce_max)(ratios, keepdims=True)
    target = b.cast(b.floor(b.add(b.mul(before, scale), 0.5)), to=i64)
    return _resize(b, X, axes, b.expand(scale, shape=(len(axes),)), target, attrs)


def _resize(b: Lowering, X: Var, axes: list[int], scales: Any, sizes: Any, attrs: dict[str, Any]) -> Var:
    """One core op over the axes that change, channels last; scales and sizes are lists, or vars where not known."""
    count, rank = len(axes), len(X.shape)
    for given in (scales, sizes):
        if isinstance(given, list) and len(given) != count:
            raise ShapeError(f"scales or sizes {given} are not {count}, one for each axis")
    if isinstance(scales, list) and sizes is None:
        sizes = [_scaled(X.shape[a], s) for a, s in zip(axes, scales)]
    roi = attrs.get("roi", ())
    crops = isinstance(roi, Var) or bool(roi)
    if any(isinstance(v, Var) for v in (scales, sizes, roi)) or not all(map(dims.known, sizes)):
        target = sizes if isinstance(sizes, Var) or scales is None else _scaled_at_run_time(b, X, axes, scales)
        return b.resize(X, sizes=target, axes=axes, scales=() if scales is None else scales, **attrs)  # type: ignore[no-any-return]
    kept = [i for i in range(count) if crops or sizes[i] != X.shape[axes[i]] or (scales is not None and scales[i] != 1)]
    if not kept:
        return X
    if crops and len(roi) != 2 * count:
        raise ShapeError(f"roi has {len(roi)} entries for {count} axes")
    last = rank >= 3 and all(axes[i] >= 2 for i in kept)
    y = b.resize(
        b.to_last(X) if last else X,
        sizes=[sizes[i] for i in kept],
        axes=[axes[i] - last for i in kept],
        scales=[scales[i] for i in kept] if scales is not None else (),
        **attrs,
    )
    return b.to_first(y) if last else y


def _scaled(d: Dim, scale: float) -> Dim:
    """floor(d * scale), `?` where d is a symbol that no integer multiplies or divides."""
    if isinstance(d, int):
        return int(np.floor(d * np.float32(scale)))
    if float(scale).is_integer():
        return d * int(scale)
    return d // round(1 / scale) if scale > 0 and abs(1 / scale - round(1 / scale)) < 1e-6 else dims.UNKNOWN


def _scaled_at_run_time(b: Lowering, X: Var, axes: list[int], scales: Var | list[float]) -> Var:
    old = b.cast(b.gather(b.shape(X), np.array(axes, np.int64)), to=f32)
    factors = scales if isinstance(scales, Var) else b.constant(scales, dtype=np.float32)
    return b.cast(b.floor(b.mul(old, factors)), to=i64)  # type: ignore[no-any-return]
