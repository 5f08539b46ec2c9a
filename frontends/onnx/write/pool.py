"""Pooling and resizing: channels first in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import dims
from ....ir.ops.conv import effective, explicit_padding, window_places
from ....ir.permutations import inverse
from ....ir.resampling import changes, resized_axes, table
from ....ir.types import Tensor, f32, f64, i64
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
    x, attrs = _padded_before(w, x, attrs)
    return w.MaxPool(x, **_spelled_out(x, **attrs))  # type: ignore[no-any-return]


def _padded_before(w: Emitter, x: Item, attrs: dict[str, Any]) -> tuple[Item, dict[str, Any]]:
    """Where windows leave gaps, auto_pad may come to less than none in ONNX Runtime: sizes are computed instead."""
    window, strides, dilations = attrs["window"], attrs["strides"], attrs["dilations"]
    gaps = any(s > effective(k, d) for k, s, d in zip(window, strides, dilations))
    pairs = explicit_padding(attrs["padding"], x.shape[2:], tuple(window), tuple(strides), tuple(dilations))
    if not gaps or dims.is_number(p for pair in pairs for p in pair):
        return x, attrs
    pads = w.vector([0, 0, *(before for before, _ in pairs), 0, 0, *(after for _, after in pairs)])
    least = -np.inf if x.dtype.is_float else np.iinfo(x.dtype.numpy).min
    wide = tuple(d + before + after for d, (before, after) in zip(x.shape[2:], pairs))
    padded_x = w.typed(w.Pad(x, pads, w.number(least, x)), x.tensor.with_(shape=(*x.shape[:2], *wide)))
    return padded_x, {**attrs, "padding": "valid"}


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


KNOWN_MODES = ("nearest", "linear", "cubic")


@export(dynamic=("sizes", "scales", "roi"))
def resize(w: Emitter, x: Item, **attrs: Any) -> Item:
    """As ONNX's operator where it knows the filter, else as products with the matrices of the filter."""
    known = attrs["mode"] in KNOWN_MODES and not attrs["fraction_steps"]
    usual = attrs["mode"] != "cubic" or _of_images(x, attrs["sizes"], attrs["axes"])
    common = usual and _scales_survive(x, **{name: attrs[name] for name in ("sizes", "axes", "scales")})
    if known and common and (w.opset >= 18 or not attrs["antialias"]):
        return _resized(w, x, **attrs)
    run_time = any(isinstance(attrs[name], Item) for name in ("sizes", "scales", "roi"))
    if not run_time and all(isinstance(x.shape[a], int) for a in attrs["axes"]) and dims.is_number(attrs["sizes"]):
        return _by_matrices(w, x, **attrs)
    if known:
        if attrs["antialias"]:
            w.need(18, "antialiasing")
        return _resized(w, x, **attrs)
    raise w.refuse(
        f"the filter {attrs['mode']} of sizes that are known at run time only", "declare the shapes of the inputs"
    )


def _scales_survive(x: Item, sizes: Any, axes: Ints, scales: Any) -> bool:
    """Whether scales are ONNX's: these are f32, and the sizes that they give are cut (of a kept ratio, rounded)."""
    if isinstance(scales, Item):
        return True
    known = [] if isinstance(sizes, Item) else [(x.shape[a], s, n) for a, s, n in zip(axes, scales, sizes)]
    cut = all(int(old * s) == new for old, s, new in known if isinstance(old, int) and isinstance(new, int))
    return cut and all(float(np.float32(s)) == s for s in scales)


def _of_images(x: Item, sizes: Any, axes: Ints) -> bool:
    """Whether only the last two axes change: ONNX Runtime has cubic filters for these."""
    if isinstance(sizes, Item) or x.rank not in (2, 4):
        return False
    return all(a % x.rank >= x.rank - 2 or x.shape[a] == size for a, size in zip(axes, sizes))


def _by_matrices(
    w: Emitter, x: Item, *, sizes: Ints, axes: Ints, scales: Sequence[float], mode: str, coordinates: str,
    extrapolation: float, roi: Sequence[float], nearest: str, cubic_coefficient: float, exclude_outside: bool,
    fraction_steps: int, antialias: bool,
) -> Item:  # fmt: skip
    """Axis after axis, by the tables of the kernel."""
    old = [d if isinstance(d, int) else 1 for d in x.shape]
    new = list(old)
    for place, size in zip(axes, sizes):
        new[place] = size
    wide = x.dtype if x.dtype in (f32, f64) else f32
    y = x if mode == "nearest" else w.cast(x, wide)
    outside: list[Item] = []
    for axis in resized_axes(old, new, axes, scales, roi):
        where = axis.coordinates(coordinates)
        if changes(axis, where, mode):
            places, weights = table(
                axis, mode, coordinates, nearest, cubic_coefficient, exclude_outside, fraction_steps, antialias
            )
            y = _along(w, y, axis.axis, axis.old, places, weights, mode == "nearest")
        beyond = (where < 0) | (where > axis.old - 1)
        if coordinates == "tf_crop_and_resize" and beyond.any():
            outside.append(w.constant(beyond.reshape(-1, *(1,) * (x.rank - 1 - axis.axis))))
    y = w.cast(y, x.dtype)
    for mask in outside:
        y = w.typed(w.Where(mask, w.number(extrapolation, x), y, result=x.dtype), y.type)
    return y


def _along(w: Emitter, x: Item, axis: int, old: int, places: Any, weights: Any, plain: bool) -> Item:
    """One axis sampled anew by its table: gathered, or multiplied with the table as a matrix."""
    kind = Tensor(x.dtype, (*x.shape[:axis], len(places), *x.shape[axis + 1 :]))
    if plain:
        return w.typed(w.Gather(x, w.ints(places[:, 0]), axis=axis), kind)
    matrix = np.zeros((len(places), old), x.dtype.numpy)
    np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
    if axis == x.rank - 2:
        return w.typed(w.MatMul(matrix, x), kind)
    order = [a for a in range(x.rank) if a != axis] + [axis]
    last = w.transpose(x, order)
    made = w.typed(w.MatMul(last, np.ascontiguousarray(matrix.T)), Tensor(x.dtype, tuple(kind.dims[a] for a in order)))
    return w.transpose(made, inverse(tuple(order)))


def _resized(
    w: Emitter, x: Item, *, sizes: Any, axes: Ints, scales: Any, mode: str, coordinates: str, nearest: str,
    cubic_coefficient: float, exclude_outside: bool, fraction_steps: int, antialias: bool, extrapolation: float,
    roi: Any,
) -> Item:  # fmt: skip
    """Before opset 18 all axes have to be listed."""
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


refuse("it belongs to a gradient", "max_pool_record", "max_pool_grad", "max_pool_pick", "avg_pool_grad", "resize_grad")
