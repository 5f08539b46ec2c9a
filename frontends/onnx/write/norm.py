"""Normalisation and softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....ir.op import axis_of
from ....ir.permutations import Perm
from ....ir.types import boolean
from ..emitter import Emitter, Item
from . import export, export_all
from .reduce import reduced


def axis_second(rank: int, *, axis: int, **_: Any) -> Perm:
    """The axes with the channels' one in the second place."""
    channels = axis_of(axis, rank)
    others = [a for a in range(rank) if a != channels]
    return (*others[:1], channels, *others[1:])


def _per_channel(w: Emitter, given: Item | None, x: Item, value: float) -> Item:
    """One number a channel, by default equal ones."""
    if given is not None:
        return given
    channels = x.shape[1]
    if not isinstance(channels, int):
        raise w.refuse("the number of channels is not known", "give the inputs static shapes")
    return w.constant(np.full(channels, value, x.dtype.numpy), "per_channel")


@export(first=("x",), layout=axis_second)
def batch_norm(
    w: Emitter, x: Item, scale: Item | None, bias: Item | None, mean: Item, variance: Item, *, axis: int, epsilon: float
) -> Item:
    scale, bias = _per_channel(w, scale, x, 1), _per_channel(w, bias, x, 0)
    return w.BatchNormalization(x, scale, bias, mean, variance, epsilon=epsilon)  # type: ignore[no-any-return]


@export(first=("x",), layout=axis_second)
def group_norm(
    w: Emitter, x: Item, scale: Item | None = None, bias: Item | None = None, *, groups: int, axis: int, epsilon: float
) -> Item:
    """Groups are the channels of an instance normalisation; scale and bias come after."""
    if x.rank > 2 and x.shape[1] == groups:
        scale, bias = _per_channel(w, scale, x, 1), _per_channel(w, bias, x, 0)
        return w.InstanceNormalization(x, scale, bias, epsilon=epsilon)  # type: ignore[no-any-return]
    ones, zeros = (w.constant(np.full(groups, v, x.dtype.numpy), "per_group") for v in (1, 0))
    grouped = w.InstanceNormalization(w.Reshape(x, w.ints([0, groups, -1])), ones, zeros, epsilon=epsilon)
    y = w.Reshape(grouped, w.vector(x.shape))
    for op_type, given in (("Mul", scale), ("Add", bias)):
        if given is not None:
            y = w.emit(op_type, y, w.Unsqueeze(given, w.ints(range(1, x.rank - 1))) if x.rank > 2 else given)
    return y  # type: ignore[no-any-return]


@export()
def layer_norm(
    w: Emitter, x: Item, scale: Item | None = None, bias: Item | None = None, *, axes: Sequence[int], epsilon: float
) -> Item:
    """ONNX has it over the last axes, with a scale."""
    wanted = sorted(axis_of(a, x.rank) for a in axes)
    trailing = wanted == list(range(x.rank - len(wanted), x.rank))
    fits = scale is not None and all(v is None or v.rank <= len(wanted) for v in (scale, bias))
    if w.opset >= 17 and trailing and fits:
        return w.LayerNormalization(x, scale, bias, axis=wanted[0] - x.rank, epsilon=epsilon)  # type: ignore[no-any-return]
    centred = w.Sub(x, reduced(w, "ReduceMean", x, wanted, True))
    variance = reduced(w, "ReduceMean", w.Mul(centred, centred), wanted, True)
    return _affine(w, w.Div(centred, w.Sqrt(w.Add(variance, epsilon))), scale, bias)


@export()
def rms_norm(w: Emitter, x: Item, scale: Item | None = None, *, axes: Sequence[int], epsilon: float) -> Item:
    square = reduced(w, "ReduceMean", w.Mul(x, x), [axis_of(a, x.rank) for a in axes], True)
    return _affine(w, w.Div(x, w.Sqrt(w.Add(square, epsilon))), scale, None)


def _affine(w: Emitter, x: Item, scale: Item | None, bias: Item | None) -> Item:
    x = x if scale is None else w.Mul(x, scale)
    return x if bias is None else w.Add(x, bias)


@export(first=("x",), layout=axis_second)
def lrn(w: Emitter, x: Item, *, size: int, alpha: float, beta: float, bias: float, axis: int) -> Item:
    return w.LRN(x, size=size, alpha=alpha, beta=beta, bias=bias)  # type: ignore[no-any-return]


@export()
def lp_norm(w: Emitter, x: Item, *, axis: int, p: int, epsilon: float) -> Item:
    if epsilon == 0:
        return w.LpNormalization(x, axis=axis, p=p)  # type: ignore[no-any-return]
    norm = reduced(w, f"ReduceL{p}", x, [axis], True)
    return w.Div(x, w.Max(norm, epsilon))  # type: ignore[no-any-return]


def _along(op_type: str) -> Callable[..., Item]:
    return lambda w, x, *, axis: w.emit(op_type, x, axis=axis)


export_all({"softmax": _along("Softmax"), "log_softmax": _along("LogSoftmax"), "hardmax": _along("Hardmax")})


@export()
def sparsemax(w: Emitter, x: Item, *, axis: int) -> Item:
    """max(x - t, 0), t from the elements in order: those k with 1 + k z_k > the sum of the first k are kept."""
    place = axis_of(axis, x.rank)
    size = w.axis_size(x, place)
    ordered, _ = w.TopK(x, size, axis=place, outputs=2)
    sums = w.CumSum(ordered, w.constant(place, "axis", dtype="int64"))
    one = w.constant(np.int64(1))
    numbers = w.Range(one, w.Add(w.scalar(size), one), one)
    counts = w.Reshape(w.cast(numbers, x.dtype), w.ints([-1, *[1] * (x.rank - place - 1)]))
    kept = w.Greater(w.Add(w.Mul(ordered, counts), 1), sums, result=boolean)
    many = w.cast(kept, x.dtype)
    total = reduced(w, "ReduceSum", w.Mul(ordered, many), [place], True)
    threshold = w.Div(w.Sub(total, 1), reduced(w, "ReduceSum", many, [place], True))
    return w.Relu(w.Sub(x, threshold))  # type: ignore[no-any-return]
