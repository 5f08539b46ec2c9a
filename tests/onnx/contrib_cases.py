"""Calls of the operators of ONNX Runtime: name, inputs (None: left out), attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

R = np.random.default_rng(7)
F16, F64 = np.float16, np.float64


@dataclass
class Case:
    """One call; `fixed`: inputs that are initialisers, by place; `step`: results of integers may differ by so much."""

    op: str
    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    fixed: tuple[int, ...] = ()
    tolerance: float = 1e-5
    step: int = 0
    domain: str = "com.microsoft"


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return R.standard_normal(shape).astype(dtype)


def integers(dtype: Any, *shape: int, low: int | None = None, high: int | None = None) -> Any:
    info = np.iinfo(dtype)
    return R.integers(info.min if low is None else low, info.max if high is None else high, shape, dtype, endpoint=True)


def scalar(x: float, dtype: Any = np.float32) -> Any:
    return np.array(x, dtype)


def i32(*x: int) -> Any:
    return np.array(x, np.int32)


def fused() -> Iterator[Case]:
    x, w, bias = normal(2, 4, 6, 6), normal(6, 4, 3, 3), normal(6)
    for activation, parameters in (
        ("Relu", ()), ("Tanh", ()), ("Sigmoid", ()), ("LeakyRelu", (0.2,)), ("Clip", (-0.5, 0.7)),
        ("HardSigmoid", (0.3, 0.4)),
    ):  # fmt: skip
        attrs = {"activation": activation, **({"activation_params": list(parameters)} if parameters else {})}
        yield Case("FusedConv", (x, w, bias), attrs)
    yield Case("FusedConv", (x, w, bias, normal(2, 6, 6, 6)), {"activation": "Relu", "pads": [1, 1, 1, 1]})
    yield Case("FusedConv", (x, normal(4, 2, 3, 3)), {"activation": "Relu", "group": 2, "strides": [2, 2]})
    for activation, given in (
        ("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 0.7}), ("Softplus", {}),
        ("Selu", {"activation_alpha": 1.5, "activation_gamma": 1.2}), ("Tanh", {}), ("Sigmoid", {}), ("Softsign", {}),
        ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
        ("ThresholdedRelu", {"activation_alpha": 0.5}), ("Celu", {"activation_alpha": 0.7}),
    ):  # fmt: skip
        attrs = {"activation": activation, "transB": 1, "alpha": 0.5, "beta": 2.0, **given}
        yield Case("FusedGemm", (normal(3, 4), normal(5, 4), normal(5)), attrs)
    a, b = normal(2, 3, 4, 5), normal(2, 3, 5, 6)
    for op in ("FusedMatMul", "TransposeMatMul"):
        yield Case(op, (a, b), {"alpha": 0.3})
        yield Case(op, (a, a), {"transB": 1})
        yield Case(op, (a, a), {"transA": 1})
    yield Case("FusedMatMul", (a[0], normal(2, 4, 3, 5)[0].transpose(0, 2, 1)), {"transA": 0, "transBatchA": 1})
    yield Case("FusedMatMul", (normal(4, 3, 5), normal(5, 3, 6)), {"transBatchA": 1, "transBatchB": 1})
    yield Case("FusedMatMul", (normal(5, 3, 4), normal(3, 5, 6)), {"transBatchA": 1, "transA": 1}, tolerance=1e-4)


def activations() -> Iterator[Case]:
    x = normal(3, 4, 6)
    for op in ("Gelu", "FastGelu", "QuickGelu"):
        yield Case(op, (x,))
        yield Case(op, (x.astype(F16),), tolerance=2e-3)
    yield Case("QuickGelu", (x,), {"alpha": 0.7})
    yield Case("FastGelu", (x, normal(6)))
    yield Case("BiasGelu", (x, normal(6)))
    yield Case("ScaledSiLU", (x,), {"alpha": 0.7})
    yield Case("ScaledSiLU", (x, scalar(1.3)))
    yield Case("GatedAdd", (x, normal(3, 4, 6), normal(3, 4, 1)))
    yield Case("GatedRMSNorm", (x, normal(6), normal(3, 4, 6)))
    yield Case("GatedRMSNorm", (x, normal(3), normal(3, 4, 6)), {"activation": "sigmoid", "epsilon": 0.1})
    yield Case("LinearAttentionGate", (x, normal(6), normal(6), normal(3, 4, 6)), outputs=2)
    yield Case("LinearAttentionGate", (x, normal(6), normal(6)))


def norms() -> Iterator[Case]:
    x, gamma, beta = normal(2, 3, 8), normal(8), normal(8)
    yield Case("SkipLayerNormalization", (x, normal(2, 3, 8), gamma, beta), {"epsilon": 1e-5})
    yield Case("SkipLayerNormalization", (x, normal(3, 8), gamma, None, normal(8)), {"epsilon": 1e-5})
    half = tuple(v.astype(F16) for v in (x, normal(2, 3, 8), gamma, beta))
    yield Case("SkipLayerNormalization", half, {"epsilon": 1e-5}, tolerance=5e-3)
    yield Case("SkipLayerNormalization", (x, normal(1, 3, 8), gamma, beta, normal(8)), {"epsilon": 0.1}, outputs=-4)
    yield Case("SkipSimplifiedLayerNormalization", (x, normal(2, 3, 8), gamma), {"epsilon": 1e-5})
    yield Case("SkipSimplifiedLayerNormalization", (x, normal(2, 3, 8), gamma, normal(8)), {"epsilon": 0.1}, outputs=-4)
    yield Case("SimplifiedLayerNormalization", (x, gamma), {"epsilon": 1e-5}, domain="")
    yield Case("SimplifiedLayerNormalization", (x, normal(3, 8)), {"axis": 1, "epsilon": 0.1}, outputs=2, domain="")
    ids, kinds = (integers(np.int32, 2, 5, low=0, high=high) for high in (9, 1))
    tables = normal(10, 8), normal(12, 8), normal(2, 8)
    masks = np.stack([i32(1, 1, 1, 0, 0), i32(1, 1, 1, 1, 1)])
    yield Case("EmbedLayerNormalization", (ids, kinds, *tables, gamma, beta, masks), {"epsilon": 1e-5}, outputs=2)
    yield Case("EmbedLayerNormalization", (ids, None, *tables[:2], None, gamma, beta), outputs=3)
    places = integers(np.int32, 2, 5, low=0, high=11)
    yield Case("EmbedLayerNormalization", (ids, kinds, *tables, gamma, beta, masks, places), outputs=3)


def attention() -> Iterator[Case]:
    x, w, bias = normal(2, 5, 12), normal(12, 36), normal(36)
    heads = {"num_heads": 3}
    yield Case("Attention", (x, w, bias), heads)
    yield Case("Attention", (x, w, bias), {**heads, "unidirectional": 1, "scale": 0.3})
    yield Case("Attention", (x, w, bias, i32(3, 5)), heads)
    yield Case("Attention", (x, w, bias, i32(3, 5, 1, 0)), heads)
    yield Case(
        "Attention", (x, w, bias, integers(np.int32, 2, 5, low=0, high=1)), {**heads, "mask_filter_value": -50.0}
    )
    yield Case("Attention", (x, w, bias, integers(np.int32, 2, 5, 5, low=0, high=1)), heads)
    past = normal(2, 2, 3, 4, 4)
    yield Case("Attention", (x, w, bias, None, past), {**heads, "unidirectional": 1}, outputs=2)
    yield Case("Attention", (x, w, bias, integers(np.int32, 2, 9, low=0, high=1), past), heads, outputs=2)
    yield Case("Attention", (x, w, bias, None, None, normal(2, 3, 5, 5)), heads)
    yield Case("Attention", (x, normal(12, 30), normal(30)), {**heads, "qkv_hidden_sizes": [12, 12, 6]})
    q, k, v = normal(2, 5, 12), normal(2, 7, 12), normal(2, 7, 6)
    yield Case("MultiHeadAttention", (q, k, v), heads)
    yield Case("MultiHeadAttention", (q, k, v, normal(30)), {**heads, "scale": 0.2})
    yield Case("MultiHeadAttention", (q, k, v, None, i32(4, 7)), heads)
    yield Case("MultiHeadAttention", (q, k, v, None, integers(np.int32, 2, 7, low=0, high=1)), heads)
    yield Case("MultiHeadAttention", (q, k, v, None, integers(np.int32, 2, 5, 7, low=0, high=1)), heads)
    yield Case("MultiHeadAttention", (q, k, v, None, None, normal(1, 3, 5, 7)), heads)
    yield Case("MultiHeadAttention", (q, normal(2, 3, 7, 4), normal(2, 3, 7, 4)), heads)
    own = normal(2, 5, 12), normal(2, 5, 12), normal(2, 5, 12)
    caches = normal(2, 3, 4, 4), normal(2, 3, 4, 4)
    yield Case("MultiHeadAttention", (*own, None, None, None, *caches), {**heads, "unidirectional": 1}, outputs=3)
    for shape, attrs in (((2, 5, 12), {}), ((2, 3, 5, 4), {}), ((2, 5, 12), {"interleaved": 1})):
        for ids in (np.array([2], np.int64), integers(np.int64, 2, 5, low=0, high=15)):
            yield Case("RotaryEmbedding", (normal(*shape), ids, normal(16, 2), normal(16, 2)), attrs)
    partial = {"rotary_embedding_dim": 4, "num_heads": 2}
    yield Case("RotaryEmbedding", (normal(2, 5, 16), np.array([0]), normal(16, 2), normal(16, 2)), partial)


def grouped() -> Iterator[Case]:
    heads = {"num_heads": 4, "kv_num_heads": 2}
    q, k, v = normal(2, 5, 64), normal(2, 5, 32), normal(2, 5, 32)
    empty = normal(2, 2, 0, 16), normal(2, 2, 0, 16)
    first = i32(4, 4), i32(5)[0:1].reshape(())
    yield Case("GroupQueryAttention", (q, k, v, None, None, i32(4, 4), scalar(5, np.int32)), heads, outputs=3)
    yield Case("GroupQueryAttention", (q, k, v, *empty, *first), heads, outputs=3)
    packed = normal(2, 5, 128)
    yield Case("GroupQueryAttention", (packed, None, None, *empty, *first), heads, outputs=3)
    cos, sin = normal(32, 8), normal(32, 8)
    for more in ({}, {"rotary_interleaved": 1}, {"local_window_size": 3}, {"softcap": 2.0}, {"scale": 0.1}):
        attrs = {**heads, "do_rotary": 1, **more}
        yield Case("GroupQueryAttention", (q, k, v, *empty, *first, cos, sin), attrs, outputs=3)
    step = normal(2, 1, 64), normal(2, 1, 32), normal(2, 1, 32)
    past = normal(2, 2, 6, 16), normal(2, 2, 6, 16)
    later = i32(6, 6), scalar(7, np.int32)
    yield Case("GroupQueryAttention", (*step, *past, *later, cos, sin), {**heads, "do_rotary": 1}, outputs=3)
    yield Case("GroupQueryAttention", (*step, *past, *later), {**heads, "smooth_softmax": 1}, outputs=3)
    sink = normal(4)
    yield Case("GroupQueryAttention", (*step, *past, *later, None, None, None, None, sink), heads, outputs=3)
    bias = normal(2, 4, 5, 5)
    yield Case("GroupQueryAttention", (q, k, v, *empty, *first, None, None, None, bias), heads, outputs=3)
    more, one = (normal(1, 3, 64), normal(1, 3, 32), normal(1, 3, 32)), tuple(v[:1] for v in past)
    yield Case("GroupQueryAttention", (*more, *one, i32(8), scalar(9, np.int32)), heads, outputs=3)
    ragged = tuple(v.copy() for v in past)
    for cache in ragged:
        cache[1, :, 4:] = 0  # the second sample is shorter
    yield Case("GroupQueryAttention", (*step, *ragged, i32(6, 4), scalar(7, np.int32)), heads, outputs=3)
    attrs = {**heads, "local_window_size": 2}
    yield Case("GroupQueryAttention", (*step, *ragged, i32(6, 4), scalar(7, np.int32)), attrs, outputs=3)
    one, each = np.float32([0.02]), normal(2, 1, 16) ** 2 / 20 + 0.005
    for bits in (8, 4):
        codes = integers(np.int8, 2, 2, 6, 16) if bits == 8 else integers(np.uint8, 2, 2, 6, 8)
        for kind, scale in (("PER_TENSOR", one), ("PER_CHANNEL", each)):
            attrs = {**heads, "k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": bits}
            given = (*step, codes, codes[::-1].copy(), *later, *(None,) * 5, scale, scale / 2)
            yield Case("GroupQueryAttention", given, attrs, outputs=3, tolerance=1e-4)
    own = np.random.default_rng(3)
    new, room = (own.standard_normal(s).astype(np.float32) for s in ((2, 3, 128), (2, 2, 8, 16)))
    q, k, v = np.split(new, (64, 96), axis=2)
    for which, attrs in ((1, {}), (2, {}), (1, {"softcap": 0.7}), (2, {"local_window_size": 2})):
        given = (*(x[:, :1] for x in (q, k, v)), room.copy(), room[::-1].copy(), i32(7, 7), scalar(8, np.int32))
        yield Case("GroupQueryAttention", given, {**heads, "qk_output": which, **attrs}, outputs=4)
    room[0, :, 6:] = 0  # behind what a sample has, anything may be in the result
    given = (q, k, v, room, room / 2, i32(5, 7), scalar(8, np.int32), *(None,) * 9, i32(3, 3))
    yield Case("GroupQueryAttention", given, heads, outputs=3)
    yield from linear()


def linear() -> Iterator[Case]:
    own = np.random.default_rng(4)
    draw = lambda *shape: (own.standard_normal(shape) / 2).astype(np.float32)  # noqa: E731
    heads = {"q_num_heads": 2, "kv_num_heads": 2}
    q, k, v, state = draw(2, 5, 8), draw(2, 5, 8), draw(2, 5, 12), draw(2, 2, 4, 6)
    decay, beta = -np.abs(draw(2, 5, 2)), np.abs(draw(2, 5, 2))
    for rule in ("linear", "gated", "delta", "gated_delta"):
        given = (q, k, v, state, decay if "gated" in rule else None, beta if "delta" in rule else None)
        yield Case("LinearAttention", given, {**heads, "update_rule": rule}, outputs=2)
    yield Case("LinearAttention", (q, k, v, None, decay, beta), {**heads, "scale": 0.3}, outputs=2)


def quantised() -> Iterator[Case]:
    for dtype in (np.uint8, np.int8):
        zero = [scalar(z, dtype) for z in ((100, 130, 120) if dtype is np.uint8 else (-3, 7, 11))]
        scale = [scalar(s) for s in (0.0213, 0.0317, 0.0541)]
        a, b = integers(dtype, 2, 3, 4, 4), integers(dtype, 3, 1, 4)
        for op in ("QLinearAdd", "QLinearMul"):
            yield Case(op, (a, scale[0], zero[0], b, scale[1], zero[1], scale[2], zero[2]), step=1)
        one = (a, scale[0], zero[0], scalar(1 / 256), zero[1])
        yield Case("QLinearSigmoid", one, fixed=(1, 2, 3, 4), step=1)
        yield Case("QLinearLeakyRelu", (a, scale[0], zero[0], scale[1], zero[1]), {"alpha": 0.3}, step=1)
        soft = (a, scale[0], zero[0], scalar(1 / 256), scalar(0 if dtype is np.uint8 else -128, dtype))
        for opset, axis in ((13, -1), (13, 1), (9, 1)):
            yield Case("QLinearSoftmax", soft, {"opset": opset, "axis": axis}, step=1)
        wider = integers(dtype, 2, 2, 4, 4)
        parts = (a, scale[0], zero[0], wider, scale[1], zero[1])
        yield Case("QLinearConcat", (scale[2], zero[2], *parts), {"axis": 1}, fixed=(0, 1, 3, 4, 6, 7), step=1)
        condition = R.random((2, 3, 4, 4)) > 0.5
        other = integers(dtype, 2, 3, 4, 4)
        chosen = (condition, a, scale[0], zero[0], other, scale[1], zero[1], scale[2], zero[2])
        yield Case("QLinearWhere", chosen, step=1)
        a = integers(dtype, 2, 8, 9, 8)
        pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 1, 1, 0]}
        scales = (scale[0], zero[0], scale[1], zero[1])
        yield Case("QLinearAveragePool", (a, *scales), pool, step=1)
        yield Case("QLinearAveragePool", (a, *scales), {**pool, "count_include_pad": 1}, step=1)
        yield Case("QLinearAveragePool", (a, *scales), {**pool, "channels_last": 1}, step=1)
        yield Case("QLinearGlobalAveragePool", (a, *scales), step=1)
        yield Case("QLinearGlobalAveragePool", (a, *scales), {"channels_last": 1}, step=1)
        yield Case("NhwcMaxPool", (a,), {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]})
        yield Case("DequantizeLinear", (a, scale[0], zero[0]))
        yield Case("DequantizeLinear", (a, normal(8) ** 2, integers(dtype, 8)), {"axis": 1})
        yield Case("QuantizeLinear", (normal(2, 3, 4), scale[0], zero[0]))
        x = integers(dtype, 1, 5, 6, 4)
        conv = (x, scale[0], zero[0], integers(np.int8, 3, 4, 3, 3), scale[1], scalar(0, np.int8), scalar(3.0), zero[2])
        yield Case("QLinearConv", conv, {"channels_last": 1}, fixed=(1, 2, 3, 4, 5, 6, 7), step=1)


def products() -> Iterator[Case]:
    for left, right in ((np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)):
        a, w, bias = integers(left, 3, 8), integers(right, 8, 5), normal(5)
        zero = scalar(5, left), scalar(3, right)
        yield Case("MatMulIntegerToFloat", (a, w, scalar(0.1), scalar(0.2), *zero, bias), tolerance=1e-4)
        columns = normal(5), None, integers(right, 5)
        yield Case("MatMulIntegerToFloat", (a, w, scalar(0.1), *columns), tolerance=1e-4)
        yield Case("QGemm", (a, scalar(0.1), zero[0], w, scalar(0.2), zero[1]), {"alpha": 0.5}, tolerance=1e-4)
        c, target = integers(np.int32, 5, low=-99, high=99), (scalar(9.0), scalar(3, left))
        given = (a, scalar(0.1), zero[0], w.T.copy(), scalar(0.2), zero[1], c, *target)
        yield Case("QGemm", given, {"transB": 1}, step=1)
    for dtype in (np.uint8, np.int8):
        w = integers(dtype, 8, 5)
        yield Case("DynamicQuantizeMatMul", (normal(2, 3, 8), w, scalar(0.1), scalar(3, dtype), normal(5)))
        yield Case("DynamicQuantizeMatMul", (normal(3, 8), w, normal(5) ** 2), tolerance=1e-4)
        x, w = integers(np.uint8, 2, 5, 12), integers(dtype, 12, 36)
        given = (x, w, normal(36), scalar(0.02), scalar(0.01), None, scalar(128, np.uint8), scalar(2, dtype))
        yield Case("QAttention", given, {"num_heads": 3}, tolerance=1e-4)
        masked = (*given[:5], i32(3, 5), *given[6:], normal(2, 2, 3, 4, 4))
        yield Case("QAttention", masked[:8], {"num_heads": 3, "unidirectional": 1}, tolerance=1e-4)
    yield Case("MatMulInteger16", (integers(np.int16, 3, 8), integers(np.int16, 8, 5)))


def packed() -> Iterator[Case]:
    a = normal(2, 3, 40)
    for bits, size in ((4, 16), (4, 32), (8, 16), (2, 16)):
        blocks = -(-40 // size)
        w, scales = integers(np.uint8, 6, blocks, size * bits // 8), normal(6, blocks)
        attrs = {"K": 40, "N": 6, "bits": bits, "block_size": size}
        zeros = integers(np.uint8, 6, -(-blocks * bits // 8))
        yield Case("MatMulNBits", (a, w, scales.reshape(-1)), attrs, fixed=(1, 2), tolerance=1e-4)
        yield Case("MatMulNBits", (a, w, scales.reshape(-1), zeros.reshape(-1)), attrs, fixed=(1, 2, 3), tolerance=1e-4)
    w, scales = integers(np.uint8, 6, 3, 8), normal(18)
    attrs = {"K": 40, "N": 6, "bits": 4, "block_size": 16}
    yield Case("MatMulNBits", (a, w, scales, normal(18) + 8), attrs, fixed=(1, 2, 3), tolerance=1e-4)
    yield Case("MatMulNBits", (a, w, scales, None, None, normal(6)), attrs, fixed=(1, 2, 5), tolerance=1e-4)
    group = integers(np.int32, 48, low=0, high=2)
    yield Case("MatMulNBits", (a, w, scales, None, group), attrs, fixed=(1, 2, 4), tolerance=1e-4)
    for kind in (0, 1):
        attrs = {"K": 40, "N": 6, "block_size": 16, "quant_type": kind}
        yield Case("MatMulBnb4", (a, integers(np.uint8, 120), normal(15) ** 2), attrs, fixed=(1, 2), tolerance=1e-4)
    ids = integers(np.int64, 2, 3, low=0, high=9)
    for bits in (4, 8):
        data, scales = integers(np.uint8, 10, 32 * bits // 8), normal(10, 2)
        attrs = {"bits": bits, "block_size": 16, "gather_axis": 0, "quantize_axis": 1}
        yield Case("GatherBlockQuantized", (data, ids, scales), attrs, fixed=(0, 2))
        zeros = integers(np.uint8, 10, 2 * bits // 8)
        yield Case("GatherBlockQuantized", (data, ids, scales, zeros), attrs, fixed=(0, 2, 3))


def lstm() -> Iterator[Case]:
    for directions in (1, 2):
        x, w, r = normal(4, 2, 3), integers(np.int8, directions, 3, 20), integers(np.int8, directions, 5, 20)
        scales = np.full(directions, 0.01, np.float32), np.zeros(directions, np.int8)
        given = (x, w, r, normal(directions, 40), None, None, None, None, *scales, *scales)
        attrs = {"hidden_size": 5, "direction": ("forward", "bidirectional")[directions - 1]}
        yield Case("DynamicQuantizeLSTM", given, attrs, outputs=3, fixed=(1, 2, 3, 8, 9, 10, 11), tolerance=3e-2)


def others() -> Iterator[Case]:
    square = normal(2, 4, 4) + 4 * np.eye(4, dtype=np.float32)
    yield Case("Inverse", (square,), tolerance=1e-4)
    yield Case("Inverse", (square.astype(F64),), tolerance=1e-8)
    x = normal(2, 3, 5, 6)
    for mode in ("constant", "reflect", "edge"):
        yield Case("Pad", (x, np.array([0, 1, 2, 0, 1, 0, 1, 2])), {"mode": mode})
    yield Case("Pad", (x, np.array([0, 0, 1, 2, 0, 0, 2, 1]), scalar(0.5)))
    yield Case("Range", (scalar(1.0), scalar(5.5), scalar(0.5)))
    yield Case("Range", (scalar(1, np.int64), scalar(5, np.int64)))
    yield Case("Trilu", (x, np.array(1)), {"upper": 0})
    yield Case("Trilu", (x,))
    yield Case("GatherND", (x, integers(np.int64, 4, 2, low=0, high=1)))
    for mode in ("bilinear", "nearest", "bicubic"):
        grid = R.uniform(-1.2, 1.2, (2, 4, 3, 2)).astype(np.float32)
        yield Case("GridSample", (x, grid), {"mode": mode, "padding_mode": "border"}, tolerance=1e-4)
    yield Case("GridSample", (x, grid), {"align_corners": 1, "padding_mode": "reflection"}, tolerance=1e-4)
    yield Case("ExpandDims", (x, scalar(1, np.int32)), fixed=(1,))
    yield Case("Unique", (np.array([3, 1, 3, 2, 1], np.float32),), outputs=3)
    yield Case("SampleOp", (x,))
    for metric in ("sqeuclidean", "euclidean"):
        yield Case("CDist", (normal(4, 6), normal(5, 6)), {"metric": metric}, tolerance=1e-4)
        yield Case("CDist", (normal(4, 6, dtype=F64), normal(5, 6, dtype=F64)), {"metric": metric}, tolerance=1e-9)
    yield Case("UnfoldTensor", (x,), {"dim": 2, "size": 3, "step": 2})
    yield Case("UnfoldTensor", (x,), {"size": 2})
    words = integers(np.int64, 3, 9, low=0, high=3)
    for n in (1, 2, 3):
        yield Case("NGramRepeatBlock", (words, normal(3, 4)), {"ngram_size": n})
    boxes = np.array([[0.1, 0.2, 0.8, 0.9], [-0.2, 0.3, 1.2, 0.6], [0.9, 0.9, 0.1, 0.1]], np.float32)
    for mode, size in (("bilinear", (3, 4)), ("nearest", (3, 4)), ("bilinear", (1, 2))):
        given = (x, boxes, i32(0, 1, 0), i32(*size))
        yield Case("CropAndResize", given, {"mode": mode, "extrapolation_value": 0.5}, fixed=(3,), tolerance=1e-4)
    for dtype in (np.int32, np.uint32, np.int64, np.uint64):
        yield Case("MurmurHash3", (integers(dtype, 4, 3),), {"seed": 42})
        yield Case("MurmurHash3", (integers(dtype, 4, 3),), {"positive": 0})
    yield Case("MurmurHash3", (normal(4, 3),))
    yield Case("MurmurHash3", (normal(4, 3, dtype=F64),))
    pads = np.array([1, 0, 1, 0])
    given = (normal(1, 3, 4, 4), normal(3, 2, 3, 3), pads, normal(2))
    yield Case("ConvTransposeWithDynamicPads", given, {"strides": [2, 2]}, fixed=(2,), tolerance=1e-4)
    experts = normal(3, 16, 8), normal(3, 16), normal(3, 8, 16), normal(3, 8)
    for activation in ("relu", "gelu", "silu", "identity"):
        given = (normal(5, 8), normal(5, 3), *experts)
        yield Case("MoE", given, {"activation_type": activation, "k": 2}, tolerance=1e-4)
    attrs = {"activation_type": "relu", "k": 2, "normalize_routing_weights": 1}
    yield Case("MoE", (normal(2, 5, 8), normal(10, 3), *experts), attrs, tolerance=1e-4)
    wide = normal(3, 32, 8), normal(3, 32), normal(3, 8, 16), normal(3, 8)
    attrs = {"activation_type": "swiglu", "k": 2, "swiglu_fusion": 1, "swiglu_limit": 1.0, "activation_beta": 1.0}
    yield Case("MoE", (normal(5, 8), normal(5, 3), *wide), {**attrs, "activation_alpha": 1.7}, tolerance=1e-4)


def causal() -> Iterator[Case]:
    x, w, bias, past = normal(2, 4, 5), normal(4, 1, 3), normal(4), normal(2, 4, 2)
    for activation in ("none", "silu", "swish"):
        yield Case("CausalConvWithState", (x, w, bias, past), {"activation": activation}, outputs=2)
    yield Case("CausalConvWithState", (x, w), outputs=2)
    yield Case("CausalConvWithState", (x[..., :1], w, None, past), outputs=2)


def texts() -> Iterator[Case]:
    lines = np.array(["a bc def", "hello-world", "", "héé\nü 日本 x_1", "aaab ab"], object)
    nothing = np.array([["", ""], ["", ""]], object)
    plain = {"mark": 0, "mincharnum": 1, "pad_value": "#"}
    for rule in (
        {"tokenexp": "."}, {"tokenexp": "(?:.)"}, {"tokenexp": "[a-z]+"}, {"tokenexp": "[a-z]*"},
        {"tokenexp": "a|ab|bc?"},
        {"tokenexp": "^[a-z]"}, {"tokenexp": r"\b\w\w+\b"}, {"tokenexp": r"\w+"}, {"tokenexp": r"[^\d\s]+?"},
        {"tokenexp": "(a+)+b"}, {"tokenexp": "Z"}, {"separators": [""]}, {"separators": ["", ""]},
        {"separators": [" "]}, {"separators": [" ", "-", "\n"]}, {"separators": ["a*"]}, {"separators": ["e|el+o"]},
        {"separators": ["^a", " b"]}, {"separators": ["a"], "tokenexp": "b"},
    ):  # fmt: skip
        yield Case("Tokenizer", (lines,), {**plain, **rule})
        yield Case("Tokenizer", (lines.reshape(1, -1),), {**plain, **rule, "mark": 1})
        yield Case("Tokenizer", (nothing,), {**plain, **rule, "mark": 1})
        if rule not in ({"tokenexp": "."}, {"separators": [""]}):
            yield Case("Tokenizer", (lines,), {**plain, **rule, "mincharnum": 2})
    for given in (lines, lines.reshape(1, -1), np.array(["abcd", "é", "日本語の文"], object)):
        yield Case("MurmurHash3", (given,), {"seed": 42})
        yield Case("MurmurHash3", (given,), {"positive": 0})


def experimental() -> Iterator[Case]:
    """Operators of the default domain from before its opset 1 was stable."""
    x = normal(1, 3, 6, 6)
    old = {"domain": ""}
    yield Case("Affine", (x,), {"alpha": 0.5, "beta": 1.5}, **old)
    yield Case("Scale", (x,), {"scale": 0.5}, **old)
    yield Case("ScaledTanh", (x,), {"alpha": 0.5, "beta": 1.5}, **old)
    yield Case("ParametricSoftplus", (x,), {"alpha": 0.5, "beta": 1.5}, **old)
    yield Case("ImageScaler", (x,), {"bias": [0.1, 0.2, 0.3], "scale": 2.0}, **old)
    yield Case("Crop", (x,), {"border": [1, 2, 1, 1]}, **old)
    yield Case("Crop", (x,), {"border": [1, 2, 0, 0], "scale": [3, 2]}, **old)
    yield Case("DynamicSlice", (x, np.array([1, 2]), np.array([2, 5]), np.array([1, 3])), **old)


FAMILIES = (
    fused, activations, norms, attention, grouped, quantised, products, packed, lstm, others, causal, texts,
    experimental,
)  # fmt: skip
CASES = [case for family in FAMILIES for case in family()]
