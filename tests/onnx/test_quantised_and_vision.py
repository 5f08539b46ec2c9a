"""Quantised, image, signal and string operators against ONNX Runtime, beyond what the node suite asks.

Inputs are given at run time or as initialisers (`constants`), which lets lowering prove more about them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tenun.tests.onnx.models import check, model, node, run, tensor, value


def integers(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed + sum(shape)).integers(info.min, info.max + 1, shape).astype(dtype)


def floats(*shape: int, low: float = -1, high: float = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).uniform(low, high, shape).astype(np.float32)


def case(op: str, arrays: list[Any], constants: int = 0, opset: int = 20, outputs: str = "y", **attrs: Any) -> Any:
    """A model of one node and what to run it on; the last `constants` of its inputs are initialisers."""
    names = [f"x{i}" if a is not None else "_" for i, a in enumerate(arrays)]
    given = [(n, np.asarray(a)) for n, a in zip(names, arrays) if a is not None]
    split = len(given) - constants
    declared = [value(n, a.shape, helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in given[:split]]
    stored = [tensor(n, a) for n, a in given[split:]]
    proto = model([node(op, " ".join(names), outputs, **attrs)], declared, outputs.split(), stored, opset=opset)
    return proto, [a for _, a in given[:split]]


def agree(op: str, arrays: list[Any], constants: int = 0, tolerance: float = 0, opset: int = 20, **attrs: Any) -> None:
    proto, given = case(op, arrays, constants, opset, **attrs)
    check(proto, *given, rtol=tolerance, atol=tolerance)


U8, I8 = np.uint8, np.int8


@pytest.mark.parametrize("k", [3, 300, 3000])
@pytest.mark.parametrize("constants", [0, 1, 3])
def test_matmul_integer_is_exact(k: int, constants: int) -> None:
    agree("MatMulInteger", [integers(5, k), integers(k, 7, dtype=I8), U8(131), I8(-7)], constants)


def test_matmul_integer_of_the_largest_numbers() -> None:
    """Sums beyond 2^24, where float32 would lose the last bits."""
    x, y = np.full((2, 2001), 255, U8), np.full((2001, 2), 255, U8)
    (got,) = run(*_flat(case("MatMulInteger", [x, y, U8(0), U8(0)])))
    assert (got == 2001 * 255 * 255).all()


def _flat(made: Any) -> list[Any]:
    proto, arrays = made
    return [proto, *arrays]


@pytest.mark.parametrize("constants", [0, 2])
@pytest.mark.parametrize("group", [1, 2])
def test_conv_integer(constants: int, group: int) -> None:
    x, w = integers(2, 4, 7, 6), integers(6, 4 // group, 3, 3)
    agree("ConvInteger", [x, w, U8(3), U8(100)], constants, group=group, pads=[1, 0, 2, 1], strides=[1, 2])


@pytest.mark.parametrize("constants", [0, 7])
@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv(constants: int, per_channel: bool) -> None:
    x, w = integers(2, 4, 7, 6), integers(6, 2, 3, 3, dtype=I8)
    scale = floats(6, low=0.01, high=0.02) if per_channel else np.float32(0.013)
    bias = np.random.default_rng(0).integers(-9000, 9000, 6).astype(np.int32)
    zero = np.zeros(6, I8) if per_channel else I8(0)
    arrays = [x, np.float32(0.02), U8(120), w, scale, zero, np.float32(0.31), U8(99), bias]
    agree("QLinearConv", arrays, constants, group=2, pads=[1, 1, 1, 1], dilations=[1, 2])


@pytest.mark.parametrize("constants", [0, 5])
def test_qlinear_matmul(constants: int) -> None:
    parameters = [np.float32(0.05), U8(113), integers(33, 6, dtype=U8), np.float32(0.02), U8(130)]
    agree("QLinearMatMul", [integers(2, 4, 33), *parameters, np.float32(0.3), U8(100)], constants)


@pytest.mark.parametrize("dtype", [U8, I8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_quantize_and_dequantize(dtype: Any, axis: int | None) -> None:
    """Halves go to even, what is too large saturates; and back again."""
    x = np.concatenate([np.arange(-12, 12) / 8, [1e9, -1e9, 0.49, 5.5]]).astype(np.float32).reshape(1, 7, 4)
    size = None if axis is None else x.shape[axis]
    scale = np.float32(0.25) if size is None else floats(size, low=0.1, high=0.5)
    zero = dtype(3) if size is None else integers(size, dtype=I8 if dtype is I8 else U8).astype(dtype)
    attrs = {} if axis is None else {"axis": axis}
    agree("QuantizeLinear", [x, scale, zero], opset=21, **attrs)
    agree("DequantizeLinear", [integers(1, 7, 4, dtype=dtype), scale, zero], opset=21, tolerance=1e-6, **attrs)


@pytest.mark.parametrize("axis, shape", [(0, (3, 4)), (1, (5, 2))])
def test_blocked_quantisation(axis: int, shape: tuple[int, int]) -> None:
    """Blocks of 2 along an axis, the last one of one place."""
    scale, zero = floats(*shape, low=0.01, high=0.1), integers(*shape)
    attrs = {"axis": axis, "block_size": 2}
    agree("QuantizeLinear", [floats(5, 4), scale, zero], opset=21, **attrs)
    agree("DequantizeLinear", [integers(5, 4), scale, zero], opset=21, tolerance=1e-6, **attrs)


def test_dynamic_quantize() -> None:
    agree("DynamicQuantizeLinear", [floats(3, 50, low=-2, high=9)], outputs="y s z")


# ---- images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample(mode: str, padding_mode: str, align_corners: int) -> None:
    attrs = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    agree("GridSample", [floats(2, 3, 5, 4), floats(2, 6, 7, 2, low=-1.6, high=1.6)], tolerance=1e-4, **attrs)
    if mode != "cubic":  # ONNX Runtime has no tricubic samples
        agree("GridSample", [floats(1, 2, 3, 5, 4), floats(1, 2, 6, 7, 3, low=-2, high=2)], tolerance=1e-4, **attrs)


def test_grid_sample_of_places_that_are_no_numbers() -> None:
    grid = np.float32([[[[np.nan, 0], [np.inf, 0], [-np.inf, 1e30], [0, 0]]]])
    (y,) = run(*_flat(case("GridSample", [np.ones((1, 1, 3, 3), np.float32), grid])))
    assert y.ravel().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, ratio: int, coordinates: str) -> None:
    rois = np.float32([[1, 1, 18, 12], [0, 3, 9, 4], [-4, -4, 40, 40], [5, 5, 5, 5]])
    attrs = {"mode": mode, "sampling_ratio": ratio, "coordinate_transformation_mode": coordinates}
    agree(
        "RoiAlign", [floats(2, 3, 10, 9, low=0), rois, np.int64([0, 1, 1, 0])], tolerance=1e-4,
        output_height=3, output_width=2, spatial_scale=0.5, **attrs,
    )  # fmt: skip


@pytest.mark.parametrize("centers", [0, 1])
@pytest.mark.parametrize("limits", [(4, 0.3, 0.2), (100, 0.5, None), (0, 0.5, None)])
def test_non_max_suppression(centers: int, limits: Any) -> None:
    most, overlap, least = limits
    corner, size = floats(2, 60, 2, low=0, high=3), floats(2, 60, 2, low=0.1, high=2, seed=1)
    boxes = np.concatenate([corner, size if centers else corner + size], -1)
    threshold = None if least is None else np.float32([least])
    arrays = [boxes, floats(2, 3, 60, low=0), np.int64([most]), np.float32([overlap]), threshold]
    agree("NonMaxSuppression", arrays, center_point_box=centers)
    agree("NonMaxSuppression", arrays, constants=2, center_point_box=centers)


def test_col2im() -> None:
    arrays = [floats(2, 12, 20), np.int64([6, 5]), np.int64([2, 3])]
    attrs = {"pads": [1, 1, 0, 1], "strides": [1, 2], "dilations": [2, 1]}
    out = ((6 + 1 - 3) // 1 + 1) * ((5 + 2 - 3) // 2 + 1)
    arrays[0] = floats(2, 12, out)
    agree("Col2Im", arrays, tolerance=1e-5, **attrs)
    agree("Col2Im", arrays, constants=2, tolerance=1e-5, **attrs)


def test_deform_conv() -> None:
    arrays = [
        floats(2, 4, 6, 7),
        floats(6, 2, 3, 2),
        floats(2, 24, 3, 6, low=-3, high=3),
        floats(6),
        floats(2, 12, 3, 6),
    ]
    attrs = {"group": 2, "offset_group": 2, "strides": [2, 1], "pads": [1, 0, 0, 0]}
    agree("DeformConv", arrays, opset=19, tolerance=1e-4, **attrs)


# ---- signals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [1, 2])
@pytest.mark.parametrize("length", [None, 5, 12])
@pytest.mark.parametrize("inverse, onesided", [(0, 0), (1, 0), (0, 1)])
def test_dft(pair: int, length: int | None, inverse: int, onesided: int) -> None:
    if onesided and pair == 2:
        pytest.skip("half of a spectrum is that of a real signal")
    arrays = [floats(2, 9, 3, pair), None if length is None else np.int64(length)]
    agree("DFT", arrays, opset=17, tolerance=1e-5, axis=1, inverse=inverse, onesided=onesided)


@pytest.mark.parametrize("constants", [0, 2])
@pytest.mark.parametrize("onesided", [0, 1])
def test_stft(constants: int, onesided: int) -> None:
    window = np.hanning(8).astype(np.float32)
    agree("STFT", [floats(2, 50, 1), np.int64(3), window], constants, tolerance=1e-5, onesided=onesided)
    agree("STFT", [floats(2, 50, 1), np.int64(4), None, np.int64(16)], constants, tolerance=1e-5, onesided=onesided)


@pytest.mark.parametrize("constants", [0, 5])
def test_mel_weight_matrix(constants: int) -> None:
    arrays = [np.int64(12), np.int64(256), np.int64(16000), np.float32(20), np.float32(7600)]
    agree("MelWeightMatrix", arrays, constants, tolerance=1e-6)


def test_det() -> None:
    agree("Det", [floats(2, 3, 4, 4)], tolerance=1e-5)


# ---- strings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("least, most, skips", [(1, 1, 3), (1, 2, 0), (2, 2, 5), (1, 3, 1)])
def test_tf_idf(mode: str, least: int, most: int, skips: int) -> None:
    attrs = {
        "mode": mode, "min_gram_length": least, "max_gram_length": most, "max_skip_count": skips,
        "ngram_counts": [0, 3, 7], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6],
        "weights": [1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0],
        "pool_int64s": [2, 3, 5, 5, 4, 5, 6, 2, 3, 3, 3, 2, 3],
    }  # fmt: skip
    agree("TfIdfVectorizer", [np.random.default_rng(0).integers(1, 7, (4, 30))], **attrs)


def test_tensor_scatter_writes_around_the_end() -> None:
    """ONNX Runtime has no such operator: row i of the batch is written from place starts[i] on."""
    cache, update, starts = floats(3, 2, 5, 4), floats(3, 2, 3, 4), np.int64([0, 3, 4])
    want = cache.copy()
    for i, start in enumerate(starts):
        want[i][:, (start + np.arange(3)) % 5] = update[i]
    (got,) = run(*_flat(case("TensorScatter", [cache, update, starts], opset=24, mode="circular")))
    np.testing.assert_array_equal(got, want)
