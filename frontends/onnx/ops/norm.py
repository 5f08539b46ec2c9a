"""Normalisation and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.graph import Var
from ....ir.op import axis_of
from ....ir.types import f64
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx


@onnx("BatchNormalization", since=1)
def batch_norm_6(
    b: Lowering, X: Var, scale: Var, B: Var, mean: Var, var: Var, *, epsilon: float = 1e-5, is_test: int = 0,
    momentum: float = 0.9, spatial: int = 1,
) -> Var:  # fmt: skip
    """Models without outputs for statistics are meant for inference, whatever is_test says (the default is 0)."""
    return batch_norm_7(b, X, scale, B, mean, var, epsilon=epsilon, momentum=momentum, spatial=spatial)


@onnx("BatchNormalization", since=7)
def batch_norm_7(
    b: Lowering, X: Var, scale: Var, B: Var, mean: Var, var: Var, *, epsilon: float = 1e-5, momentum: float = 0.9,
    spatial: int = 1,
) -> Var:  # fmt: skip
    """spatial = 0: statistics have the shape of a sample."""
    if spatial or len(X.shape) == 2:
        return _batch_norm(b, X, scale, B, mean, var, epsilon)
    return b.add(b.mul(b.div(b.sub(X, mean), b.sqrt(b.add(var, epsilon))), scale), B)


@onnx("BatchNormalization", since=9)
def batch_norm(
    b: Lowering, X: Var, scale: Var, B: Var, input_mean: Var, input_var: Var, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    """In training the statistics are the batch's own, and their running means are the other outputs."""
    if not training_mode:
        return (_batch_norm(b, X, scale, B, input_mean, input_var, epsilon),)
    axes = (0, *range(2, len(X.shape)))
    mean, variance = b.reduce_mean(X, axes=axes), b.reduce_variance(X, axes=axes)
    y = _batch_norm(b, X, scale, B, mean, variance, epsilon)
    running = [
        b.add(b.mul(old, momentum), b.mul(_like(b, new, old), 1 - momentum))
        for old, new in ((input_mean, mean), (input_var, variance))
    ]
    return (y, *running)


def _batch_norm(b: Lowering, X: Var, scale: Var, bias: Var, mean: Var, variance: Var, epsilon: float) -> Var:
    parts = (_like(b, v, X) for v in (scale, bias, mean, variance))
    return b.to_first(b.batch_norm(b.to_last(X), *parts, axis=-1, epsilon=epsilon))


def _like(b: Lowering, v: Var, x: Var) -> Var:
    """v in the dtype of x."""
    return v if v.tensor.dtype is x.tensor.dtype else b.cast(v, to=x.tensor.dtype)


@onnx("InstanceNormalization")
def instance_norm(b: Lowering, input: Var, scale: Var, B: Var, *, epsilon: float = 1e-5) -> Var:
    channels = scale.shape[0] if isinstance(scale.shape[0], int) else input.shape[1]
    if not isinstance(channels, int):
        axes = tuple(range(2, len(input.shape)))
        scale, B = (b.unsqueeze(v, axes=tuple(range(1, 1 + len(axes)))) for v in (scale, B))
        return b.layer_norm(input, scale, B, axes=axes, epsilon=epsilon)
    return b.to_first(b.group_norm(b.to_last(input), scale, B, groups=channels, axis=-1, epsilon=epsilon))


@onnx("GroupNormalization", since=18)
def group_norm_18(b: Lowering, X: Var, scale: Var, bias: Var, *, epsilon: float = 1e-5, num_groups: int) -> Var:
    """Scale and bias for each group; later opsets have them for each channel."""
    each = X.shape[1] // num_groups
    scale, bias = (b.repeat(v, repeats=each, axis=0) for v in (scale, bias))
    return group_norm(b, X, scale, bias, epsilon=epsilon, num_groups=num_groups)


@onnx("GroupNormalization", since=21)
def group_norm(
    b: Lowering, X: Var, scale: Var, bias: Var, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Var:
    scale, bias = _like(b, scale, X), _like(b, bias, X)
    return b.to_first(b.group_norm(b.to_last(X), scale, bias, groups=num_groups, axis=-1, epsilon=epsilon))


@onnx("LayerNormalization")
def layer_norm(
    b: Lowering, X: Var, Scale: Var, B: Var | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Var, ...]:
    """The result and, if asked for, the mean and the inverse standard deviation."""
    axes = tuple(range(axis_of(axis, len(X.shape)), len(X.shape)))
    y = b.layer_norm(X, _like(b, Scale, X), None if B is None else _like(b, B, X), axes=axes, epsilon=epsilon)
    if not (b.wants(1) or b.wants(2)):
        return (y,)
    stash = elem_type(stash_type)
    wide = X if X.tensor.dtype in (stash, f64) else b.cast(X, to=stash)
    variance = b.reduce_variance(wide, axes=axes, keepdims=True)
    statistics = b.reduce_mean(wide, axes=axes, keepdims=True), b.rsqrt(b.add(variance, epsilon))
    return (y, *(v if v.tensor.dtype is stash else b.cast(v, to=stash) for v in statistics))


@onnx("MeanVarianceNormalization", since=9)
def mean_variance_norm(b: Lowering, X: Var, *, axes: tuple[int, ...] = (0, 2, 3)) -> Var:
    """(X - mean) / (standard deviation + 1e-9), over the axes."""
    mean, variance = (f(X, axes=axes, keepdims=True) for f in (b.reduce_mean, b.reduce_variance))
    return b.div(b.sub(X, mean), b.add(b.sqrt(variance), 1e-9))


@onnx("RMSNormalization")
def rms_norm(b: Lowering, X: Var, scale: Var, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Var:
    axes = tuple(range(axis_of(axis, len(X.shape)), len(X.shape)))
    return b.rms_norm(X, _like(b, scale, X), axes=axes, epsilon=epsilon)


@onnx("LRN")
def lrn(b: Lowering, X: Var, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int) -> Var:
    return b.to_first(b.lrn(b.to_last(X), size=size, alpha=alpha, beta=beta, bias=bias, axis=-1))


@onnx("LpNormalization")
def lp_norm(b: Lowering, input: Var, *, axis: int = -1, p: int = 2) -> Var:
    return b.lp_norm(input, axis=axis, p=p)


# ---- softmax -------------------------------------------------------------------------------------------------


def _along_axis(name: str) -> Callable[..., Any]:
    return lambda b, input, *, axis=-1: getattr(b, name)(input, axis=axis)


def _flattened(name: str) -> Callable[..., Any]:
    """Before opset 13: over all axes from `axis` on, taken as one."""

    def lower(b: Lowering, input: Var, *, axis: int = 1) -> Any:
        rank = len(input.shape)
        first = axis_of(axis, rank) if axis != rank else rank
        if first == rank - 1:
            return getattr(b, name)(input, axis=-1)
        whole = b.dims(input)
        flat = b.reshape(input, shape=b.mixed((*whole[:first], -1 if first < rank else 1)))
        return b.reshape(getattr(b, name)(flat, axis=-1), shape=b.mixed(whole))

    return lower


for _name, _core in {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Hardmax": "hardmax"}.items():
    onnx(_name)(_flattened(_core))
    onnx(_name, since=13)(_along_axis(_core))
