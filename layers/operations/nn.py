"""The operations of keras.ops.nn.

Formulas and dtypes: keras/src/ops/nn.py, keras/src/backend/tensorflow/nn.py.
"""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...ir import Activation, Builder, Var
from ...ir.ctc import ctc_loss
from ...ir.dims import product
from ..activation import ELEMENTWISE, FUNCTIONS
from ..base import LAYERS, as_dtype, from_last, to_last
from .array import moveaxis
from .common import Function, Term, as_tuple, axes_of, fixed, kind_of, row, rows, tensor, where
from .elementwise import as_complex
from .promotion import result_type
from .reduce import argmax

FAMILY = "nn"
EPSILON = 1e-7  # keras.backend.epsilon()
HALF_MAX = 65504.0  # the largest float16
operation = partial(row, FAMILY)


# ---- activations ----------------------------------------------------------------------------------------------


def _activation(name: str) -> Function:
    """An activation with the attributes that the config has under its names of them."""

    def call(b: Builder, x: Any, /, **config: Any) -> Var:  # squareplus has a `b` of its own
        made = ELEMENTWISE[name]
        return b.activation(tensor(b, x), Activation(made.name, tuple({**dict(made.attrs), **config}.items())))

    return call


rows(FAMILY, {
    "Relu": _activation("relu"), "Relu6": _activation("relu6"), "Sigmoid": _activation("sigmoid"),
    "SparseSigmoid": _activation("sparse_sigmoid"), "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"), "SoftShrink": _activation("soft_shrink"),
    "SparsePlus": _activation("sparse_plus"), "Silu": _activation("silu"), "Squareplus": _activation("squareplus"),
    "LogSigmoid": _activation("log_sigmoid"), "LeakyRelu": _activation("leaky_relu"),
    "HardSigmoid": _activation("hard_sigmoid"), "HardSilu": _activation("hard_silu"), "Elu": _activation("elu"),
    "Selu": _activation("selu"), "Gelu": _activation("gelu"), "Celu": _activation("celu"),
    "TanhShrink": _activation("tanh_shrink"), "HardTanh": _activation("hard_tanh"),
    "HardShrink": _activation("hard_shrink"),
})  # fmt: skip


@operation("Threshold")
def threshold(b: Builder, x: Any, threshold: float, default_value: float) -> Any:
    t = Term(b, tensor(b, x))
    return where(t > threshold, t, default_value)


@operation("Glu")
def glu(b: Builder, x: Any, axis: int = -1) -> Var:
    """left * sigmoid(right), the halves of an axis."""
    return moveaxis(b, FUNCTIONS["glu"](b, moveaxis(b, x, axis, -1)), -1, axis)


@operation("Sparsemax")
def sparsemax(b: Builder, x: Any, axis: int = -1) -> Var:
    return moveaxis(b, FUNCTIONS["sparsemax"](b, moveaxis(b, x, axis, -1)), -1, axis)


def _along(op: str) -> Function:
    """A function of an axis, of several as one, or (None) of all."""

    def call(b: Builder, x: Any, axis: Any = -1) -> Var:
        x = tensor(b, x)
        if isinstance(axis, int):
            return getattr(b, op)(x, axis=axis)  # type: ignore[no-any-return]
        rank = len(x.shape)
        axes = tuple(a % rank for a in (range(rank) if axis is None else axis))
        perm = (*(i for i in range(rank) if i not in axes), *axes)
        moved = b.transpose(x, perm=perm)
        rest = moved.shape[: rank - len(axes)]
        y = getattr(b, op)(b.reshape(moved, shape=(*rest, product(moved.shape[len(rest) :]))), axis=-1)
        return b.transpose(b.reshape(y, shape=moved.shape), perm=tuple(np.argsort(perm).tolist()))  # type: ignore

    return call


softmax, log_softmax = _along("softmax"), _along("log_softmax")
rows(FAMILY, {"Softmax": softmax, "LogSoftmax": log_softmax})


# ---- convolutions and pools -----------------------------------------------------------------------------------


def _layer(name: str, x: Var, **config: Any) -> Any:
    """The layer for inputs of that rank, `name` having a place for the number of spatial axes."""
    return LAYERS[name.format(len(x.shape) - 2)](name="operation", **config)


def _pool(name: str) -> Function:
    def call(b: Builder, inputs: Any, **config: Any) -> Var:
        x = tensor(b, inputs)
        return _layer(name, x, **config).lower(b, x, SimpleNamespace())  # type: ignore[no-any-return]

    return call


rows(FAMILY, {
    "MaxPool": _pool("MaxPooling{}D"), "AveragePool": _pool("AveragePooling{}D"),
    "AdaptiveMaxPool": _pool("AdaptiveMaxPooling{}D"), "AdaptiveAveragePool": _pool("AdaptiveAveragePooling{}D"),
})  # fmt: skip


def _convolve(b: Builder, x: Var, kernel: Var, groups: int, strides: Any, padding: str, dilation_rate: Any) -> Var:
    """On channels-last x; kernel (*K, channels of a group, filters)."""
    rank = len(x.shape) - 2
    steps = {"strides": as_tuple(strides, rank), "dilations": as_tuple(dilation_rate, rank)}
    return b.conv(x, kernel, padding=str(padding).lower(), groups=groups, **steps)  # type: ignore[no-any-return]


@operation("Conv")
def conv(
    b: Builder, inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None,
    dilation_rate: Any = 1,
) -> Var:  # fmt: skip
    x, kernel = to_last(b, tensor(b, inputs), data_format), tensor(b, kernel)
    groups = x.shape[-1] // kernel.shape[-2]
    return from_last(b, _convolve(b, x, kernel, groups, strides, padding, dilation_rate), data_format)


def _depthwise(b: Builder, x: Var, kernel: Var, *steps: Any) -> Var:
    channels, multiplier = kernel.shape[-2:]
    kernel = b.reshape(kernel, shape=(*kernel.shape[:-2], 1, channels * multiplier))
    return _convolve(b, x, kernel, channels, *steps)


@operation("DepthwiseConv")
def depthwise_conv(
    b: Builder, inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None,
    dilation_rate: Any = 1,
) -> Var:  # fmt: skip
    x = to_last(b, tensor(b, inputs), data_format)
    return from_last(b, _depthwise(b, x, tensor(b, kernel), strides, padding, dilation_rate), data_format)


@operation("SeparableConv")
def separable_conv(
    b: Builder, inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: str = "valid",
    data_format: Any = None, dilation_rate: Any = 1,
) -> Var:  # fmt: skip
    x = to_last(b, tensor(b, inputs), data_format)
    y = _depthwise(b, x, tensor(b, depthwise_kernel), strides, padding, dilation_rate)
    return from_last(b, _convolve(b, y, tensor(b, pointwise_kernel), 1, 1, "valid", 1), data_format)


@operation("ConvTranspose")
def conv_transpose(b: Builder, inputs: Any, kernel: Any, data_format: Any = None, **config: Any) -> Var:
    x, kernel = tensor(b, inputs), tensor(b, kernel)
    size, filters = kernel.shape[:-2], kernel.shape[-2]
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    layer = _layer("Conv{}DTranspose", x, filters=filters, kernel_size=tuple(size), use_bias=False, **config)
    y = layer.convolve(b, to_last(b, x, data_format), SimpleNamespace(kernel=kernel), None)
    return from_last(b, y, data_format)


@operation("Unfold")
def unfold(b: Builder, x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Var:
    """The windows of images (N, C, H, W) as columns: (N, C · kh · kw, number of windows)."""
    x = tensor(b, x)
    kernel, dilations, edges, steps = (as_tuple(v, 2) for v in (kernel_size, dilation, padding, stride))
    x = b.pad(x, pads=((0, 0), (0, 0), *((e, e) for e in edges)))
    counts = [(d - (k - 1) * r - 1) // s + 1 for d, k, r, s in zip(x.shape[2:], kernel, dilations, steps)]
    pieces = []
    for place in np.ndindex(*kernel):
        starts = tuple(p * r for p, r in zip(place, dilations))
        ends = tuple(start + (n - 1) * s + 1 for start, n, s in zip(starts, counts, steps))
        piece = b.slice(x, starts=starts, ends=ends, axes=(2, 3), steps=steps)
        pieces.append(b.reshape(piece, shape=(*x.shape[:2], 1, product(counts))))
    columns = b.concat(*pieces, axis=2)
    return b.reshape(columns, shape=(x.shape[0], x.shape[1] * product(kernel), product(counts)))  # type: ignore


@operation("Fold")
def fold(
    b: Builder, x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Var:
    """The sum of windows, each put back where `unfold` takes it from."""
    image, block, dilations, edges, steps = (
        as_tuple(v, 2) for v in (output_size, kernel_size, dilation, padding, stride)
    )
    pads = tuple((e, e) for e in edges)
    return b.col2im(tensor(b, x), image=image, block=block, strides=steps, dilations=dilations, padding=pads)  # type: ignore


def _blocks(to_space: bool) -> Function:
    """Channels as blocks of pixels, or the other way."""

    def call(b: Builder, x: Any, block_size: int, data_format: str = "channels_last") -> Var:
        x = to_last(b, tensor(b, x), data_format)
        n, h, w, c = x.shape
        k = block_size
        if to_space:
            apart, perm, shape = (n, h, w, k, k, c // k**2), (0, 1, 3, 2, 4, 5), (n, h * k, w * k, c // k**2)
        else:
            apart, perm, shape = (n, h // k, k, w // k, k, c), (0, 1, 3, 2, 4, 5), (n, h // k, w // k, c * k**2)
        moved = b.transpose(b.reshape(x, shape=apart), perm=perm)
        return from_last(b, b.reshape(moved, shape=shape), data_format)

    return call


rows(FAMILY, {"DepthToSpace": _blocks(True), "SpaceToDepth": _blocks(False)})


# ---- classes --------------------------------------------------------------------------------------------------


def one_hot(b: Builder, x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Var:
    """1 at the place of the index along a new axis; nowhere, where it is outside."""
    if sparse:
        raise TypeError("sparse=True is not supported: tenun has no sparse tensors")
    indices = tensor(b, x, "int64")
    rank = len(indices.shape) + 1
    axis %= rank
    places = np.arange(num_classes).reshape([-1 if i == axis else 1 for i in range(rank)])
    return as_dtype(b, b.equal(b.unsqueeze(indices, axes=(axis,)), places), dtype or "float32")


@operation("MultiHot")
def multi_hot(
    b: Builder, inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False,
    num_tokens: int | None = None,
) -> Var:  # fmt: skip
    """1 at the places of all indices of a row."""
    x = tensor(b, inputs)
    hot = one_hot(b, x, num_classes or num_tokens or 0, axis, "bool", sparse)
    found = b.reduce_any(hot, axes=(1 if len(x.shape) > 1 else 0,), keepdims=False)
    return as_dtype(b, found, dtype or "float32")


rows(FAMILY, {"OneHot": one_hot})


# ---- losses ---------------------------------------------------------------------------------------------------


def _logits(x: Var, activation: str) -> Var | None:
    """What the activation that gave x was given: Keras goes back to it."""
    made = x.producer
    return made.inputs[0] if made is not None and made.op.name == activation else None


def _probabilities(b: Builder, x: Any) -> Term:
    return Term(b, x).clip(low=EPSILON, high=1.0 - EPSILON)  # type: ignore[no-any-return]


@operation("BinaryCrossentropy")
def binary_crossentropy(b: Builder, target: Any, output: Any, from_logits: bool = False) -> Any:
    output = tensor(b, output)
    z, logits = Term(b, tensor(b, target, output.tensor.dtype)), _logits(output, "sigmoid")
    if from_logits or logits is not None:
        x = Term(b, output if logits is None else logits)
        return x.relu() - x * z + (-x.abs()).exp().log1p()
    p = _probabilities(b, output)
    return -(z * p.log() + (1.0 - z) * (1.0 - p).log())


@operation("CategoricalCrossentropy")
def categorical_crossentropy(b: Builder, target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    output = tensor(b, output)
    z, logits = Term(b, tensor(b, target, output.tensor.dtype)), _logits(output, "softmax")
    if from_logits or logits is not None:
        return -(z * Term(b, output if logits is None else logits).log_softmax(axis=axis)).reduce_sum(axes=(axis,))
    p = Term(b, output)
    p = _probabilities(b, (p / p.reduce_sum(axes=(axis,), keepdims=True)).var)
    return -(z * p.log()).reduce_sum(axes=(axis,))


@operation("SparseCategoricalCrossentropy")
def sparse_categorical_crossentropy(
    b: Builder, target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """Classes by number: the loss of probabilities is that of their logarithms as logits."""
    output, labels = tensor(b, output), tensor(b, target, "int64")
    rank = len(output.shape)
    if axis not in (-1, rank - 1):
        raise TypeError(f"axis={axis} is not the last one, which Keras needs")
    if len(labels.shape) == rank and labels.shape[-1] == 1:
        labels = b.squeeze(labels, axes=(-1,))
    logits = output if from_logits else _logits(output, "softmax")
    x = _probabilities(b, output).log() if logits is None else Term(b, logits)
    picked = x.log_softmax(axis=-1).gather_elements(b.unsqueeze(labels, axes=(-1,)), axis=-1)
    return -picked.squeeze(axes=(-1,))


@operation("CTCLoss")
def ctc(b: Builder, target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Var:
    output = tensor(b, output)
    name = result_type(kind_of(output), "float32")
    logits = as_dtype(b, output, "float32")
    labels, steps = (tensor(b, v, "int64") for v in (target_length, output_length))
    blank = mask_index % fixed(output.shape[-1], "the number of classes")
    return as_dtype(b, ctc_loss(b, tensor(b, target), logits, labels, steps, blank), name)


@operation("CTCDecode")
def ctc_decode(
    b: Builder, inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100,
    top_paths: int = 1, merge_repeated: bool = True, mask_index: int = 0,
) -> Any:  # fmt: skip
    """The classes of the best path without repetitions and blanks, -1 behind them; minus the sum of its logits."""
    if strategy != "greedy":
        raise TypeError(f"strategy={strategy!r} is not supported, only 'greedy' is")
    x = Term(b, tensor(b, inputs)).to(result_type(kind_of(tensor(b, inputs)), "float32"))
    n, steps, classes = x.shape
    best = Term(b, argmax(b, x.var, axis=-1))
    places = Term(b, b.constant(np.arange(fixed(steps, "the number of steps"), dtype=np.int32)))
    runs = places < Term(b, tensor(b, sequence_lengths, "int32")).unsqueeze(axes=(1,))
    keep = runs & best.not_equal(mask_index % fixed(classes, "the number of classes"))
    if merge_repeated:
        keep = keep & best.not_equal(best.pad(np.int32(-1), pads=((0, 0), (1, -1))))
    first = (~keep).to("uint8").top_k(k=steps, axis=-1, largest=False)[1]
    count = keep.to("int32").reduce_sum(axes=(1,), keepdims=True)
    decoded = where(places < count, best.gather_elements(first, axis=-1), -1)
    scores = where(runs, x.reduce_max(axes=(-1,)), 0.0).reduce_sum(axes=(1,), keepdims=True)
    return [decoded.unsqueeze(axes=(0,)), -scores]


@operation("PSNR")
def psnr(b: Builder, x1: Any, x2: Any, max_val: float) -> Any:
    """20 log10(max_val) - 10 log10(the mean squared error)."""
    x, y = Term(b, tensor(b, x1)), Term(b, tensor(b, x2))
    error = (x - y).square().reduce_mean()
    return error.log() * (-10 / math.log(10)) + 20 * math.log10(max_val)


# ---- normalisations -------------------------------------------------------------------------------------------


@operation("Moments")
def moments(b: Builder, x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> list[Any]:
    """Mean and variance; of halves in float32, cut to what float16 can hold.  `synchronized` is for replicas."""
    x = tensor(b, x)
    half = kind_of(x) in ("float16", "bfloat16")
    t = Term(b, as_dtype(b, x, "float32") if half else x)
    found = [getattr(t, op)(axes=axes_of(axes), keepdims=keepdims) for op in ("reduce_mean", "reduce_variance")]
    return [v.clip(low=-HALF_MAX, high=HALF_MAX).to(kind_of(x)) if half else v for v in found]


@operation("BatchNorm")
def batch_norm(
    b: Builder, x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None, axis: Any = -1,
    epsilon: float = 1e-3,
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(variance + epsilon) · scale + offset, along an axis."""
    t = Term(b, tensor(b, x))
    axis = axis[0] if isinstance(axis, (list, tuple)) else axis
    shape = tuple(-1 if i == axis % len(t.shape) else 1 for i in range(len(t.shape)))

    def along(v: Any) -> Any:
        return Term(b, tensor(b, v, t.dtype)).reshape(shape=shape)

    inverse = (along(variance) + epsilon).rsqrt()
    inverse = inverse if scale is None else inverse * along(scale)
    shift = -along(mean) * inverse
    return t * inverse + (shift if offset is None else shift + along(offset))


def _normalised(b: Builder, x: Any, body: Any) -> Any:
    """A formula in float32 at least, the result in the dtype of x."""
    x = tensor(b, x)
    return body(Term(b, as_dtype(b, x, result_type(kind_of(x), "float32")))).to(kind_of(x))


@operation("RMSNorm")
def rms_norm(b: Builder, x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Any:
    def body(t: Term) -> Any:
        mean = t.square().reduce_mean(axes=axes_of(axis), keepdims=True)
        y = t * (mean + (EPSILON if epsilon is None else epsilon)).rsqrt()
        return y if scale is None else y * Term(b, tensor(b, scale, t.dtype))

    return _normalised(b, x, body)


@operation("LayerNorm")
def layer_norm(
    b: Builder, x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None,
    rms_scaling: bool = False,
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta over axes; rms_scaling: the mean stays, beta is left out."""

    def body(t: Term) -> Any:
        rank = len(t.shape)
        axes = tuple(sorted(a % rank for a in axes_of(axis) or ()))
        shape = tuple(t.shape[i] if i in axes else 1 for i in range(rank))

        def wide(v: Any) -> Any:
            v = Term(b, tensor(b, v, t.dtype))
            return v if len(v.shape) == rank or axes == (rank - 1,) else v.reshape(shape=shape)

        variance = t.reduce_variance(axes=axes, keepdims=True)
        centered = t if rms_scaling else t - t.reduce_mean(axes=axes, keepdims=True)
        y = centered * (variance + (EPSILON if epsilon is None else epsilon)).rsqrt()
        y = y if gamma is None else y * wide(gamma)
        return y if beta is None or rms_scaling else y + wide(beta)

    return _normalised(b, x, body)


@operation("Normalize")
def normalize(b: Builder, x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Any:
    """x over its norm along axes."""
    from .linalg import norm

    t, least = Term(b, tensor(b, x)), EPSILON if epsilon is None else epsilon
    t = t.unsqueeze(axes=(0,)) if not t.shape else t
    if order == 2:
        return t * t.square().reduce_sum(axes=axes_of(axis), keepdims=True).rsqrt().minimum(1.0 / least)
    size = norm(b, t.var, ord=order, axis=axis, keepdims=True)
    return t / size.maximum(least)


# ---- attention, complex numbers -------------------------------------------------------------------------------


@operation("DotProductAttention")
def dot_product_attention(
    b: Builder, query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None,
    is_causal: bool = False, flash_attention: Any = None, attn_logits_soft_cap: Any = None,
) -> Var:  # fmt: skip
    """softmax(scale q kᵀ + bias) v with heads in axis 2: (N, T, heads, D).

    Flash attention changes how Keras computes, and only a TPU looks at the soft cap.
    """
    name = result_type(*(kind_of(tensor(b, v)) for v in (query, key, value)))
    q, k, v = (b.transpose(tensor(b, x, name), perm=(0, 2, 1, 3)) for x in (query, key, value))
    heads, shared = q.shape[1], k.shape[1]
    if heads > shared > 1:
        k, v = (b.repeat(x, repeats=heads // shared, axis=1) for x in (k, v))
    if isinstance(scale, Var):
        q, scale = b.mul(q, as_dtype(b, scale, name)), 1.0
    scale = 1 / math.sqrt(fixed(k.shape[-1], "the size of a head")) if scale is None else float(scale)
    extra = None if bias is None else tensor(b, bias, name)
    allowed = None if mask is None else tensor(b, mask, "bool")
    y = b.attention(q, k, v, allowed, extra, scale=scale, causal=is_causal)
    return b.transpose(y, perm=(0, 2, 1, 3))  # type: ignore[no-any-return]


@operation("Polar")
def polar(b: Builder, abs_: Any, angle: Any) -> Var:
    """abs · (cos angle + i sin angle)."""
    size, turn = Term(b, tensor(b, abs_)), Term(b, tensor(b, angle))
    return as_complex(b, (size * turn.cos()).var, (size * turn.sin()).var)
