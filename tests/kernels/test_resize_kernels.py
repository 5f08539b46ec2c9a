"""resize against ONNX's reference and TensorFlow's image resizing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tenun.tests.kernels.harness import layouts, random, run

MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]


def onnx_resize(x, sizes=None, scales=None, roi=None, **attrs):
    """The result of ONNX's reference implementation on all axes of x."""
    inputs = ["x", "" if roi is None else "roi", "" if scales is None else "scales", "" if sizes is None else "sizes"]
    node = helper.make_node("Resize", inputs, ["y"], **attrs)
    feeds = {"x": x}
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    for name, value, dtype in (("roi", roi, np.float32), ("scales", scales, np.float32), ("sizes", sizes, np.int64)):
        if value is not None:
            feeds[name] = np.array(value, dtype)
            element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            infos.append(helper.make_tensor_value_info(name, element, [len(value)]))
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return ReferenceEvaluator(model).run(None, feeds)[0]


def close(got, want):
    np.testing.assert_allclose(got, want, 1e-4, 2e-5)


SIZES = [(3, 4), (8, 6), (1, 1), (4, 12), (5, 3), (7, 2)]


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_sizes(mode, coordinates):
    x = random(2, 4, 6)
    for size, exclude, antialias in itertools.product(SIZES, (False, True), (False, True)):
        if coordinates == "pytorch_half_pixel" and 1 in size:
            continue  # ONNX's text says 0, its reference -1/2
        got = run("resize", x, sizes=size, axes=(1, 2), mode=mode, coordinates=coordinates,
                  exclude_outside=exclude, antialias=antialias)  # fmt: skip
        want = onnx_resize(x, (2, *size), mode=mode, coordinate_transformation_mode=coordinates,
                           exclude_outside=int(exclude), antialias=int(antialias))  # fmt: skip
        close(got, want)


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(coordinates, nearest):
    x = random(2, 4, 6)
    for size in ((8, 12), (2, 3), (4, 6), (1, 1), (7, 9), (3, 5)):
        got = run("resize", x, sizes=size, axes=(-2, -1), coordinates=coordinates, nearest=nearest)
        want = onnx_resize(x, (2, *size), mode="nearest", coordinate_transformation_mode=coordinates,
                           nearest_mode=nearest)  # fmt: skip
        if coordinates == "half_pixel_symmetric" or (7 in size and coordinates == "align_corners"):
            continue
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("scales", [(0.6, 0.6), (2.5, 1.3), (0.8, 3.0)])
def test_scales(mode, coordinates, scales):
    x = random(4, 6)
    scales = tuple(float(np.float32(s)) for s in scales)
    sizes = tuple(int(np.floor(n * s)) for n, s in zip(x.shape, scales))
    got = run("resize", x, sizes=sizes, axes=(0, 1), scales=scales, mode=mode, coordinates=coordinates)
    close(got, onnx_resize(x, scales=scales, mode=mode, coordinate_transformation_mode=coordinates))


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("roi", [(0.4, 0.6, 0.7, 0.8), (0.0, 0.0, 1.2, 1.7), (0.25, -0.5, 0.75, 0.5)])
def test_crop_and_resize(mode, roi):
    x = random(4, 5)
    for size in ((3, 3), (1, 4), (6, 2)):
        got = run("resize", x, sizes=size, axes=(0, 1), mode=mode, coordinates="tf_crop_and_resize", roi=roi,
                  extrapolation=10.0)  # fmt: skip
        want = onnx_resize(x, size, roi=roi, mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
                           extrapolation_value=10.0)  # fmt: skip
        close(got, want)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.sampled_from(["linear", "cubic"]), st.booleans())
def test_one_axis(old, new, mode, antialias):
    x = random(old)
    got = run("resize", x, sizes=(new,), axes=(0,), mode=mode, antialias=antialias, cubic_coefficient=-0.5)
    close(got, onnx_resize(x, (new,), mode=mode, antialias=int(antialias), cubic_coeff_a=-0.5))


def test_layouts_and_dtypes():
    x = random(2, 4, 6, 3)
    for layout in layouts(x):
        want = onnx_resize(layout, (2, 7, 3, 3), mode="linear")
        close(run("resize", layout, sizes=(7, 3), axes=(1, 2), mode="linear"), want)
        nearest = onnx_resize(layout, (2, 8, 3, 3), mode="nearest")
        np.testing.assert_array_equal(run("resize", layout, sizes=(8, 3), axes=(1, 2)), nearest)
    np.testing.assert_array_equal(run("resize", x, sizes=(4, 6), axes=(1, 2), mode="cubic"), x)
    half = x.astype(np.float16)
    want = onnx_resize(half.astype(np.float32), (2, 7, 3, 3), mode="linear")
    np.testing.assert_allclose(run("resize", half, sizes=(7, 3), axes=(1, 2), mode="linear"), want, 2e-3, 2e-3)
    integers = (x * 10).astype(np.int32)
    want = np.trunc(onnx_resize(integers.astype(np.float32), (2, 8, 12, 3), mode="linear").round(4))
    np.testing.assert_array_equal(run("resize", integers, sizes=(8, 12), axes=(1, 2), mode="linear"), want)
    assert run("resize", x, sizes=(0, 3), axes=(1, 2)).shape == (2, 0, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("method, attrs", [
    ("bilinear", {"mode": "linear"}),
    ("nearest", {"mode": "nearest", "nearest": "round_prefer_ceil"}),
    ("bicubic", {"mode": "cubic", "cubic_coefficient": -0.5, "exclude_outside": True}),
    ("lanczos3", {"mode": "lanczos3", "exclude_outside": True}),
    ("lanczos5", {"mode": "lanczos5", "exclude_outside": True}),
])  # fmt: skip
@pytest.mark.parametrize("antialias", [False, True])
def test_tensorflow(method, attrs, antialias):
    """TensorFlow's bicubic without antialias reads the cubic from a table of 1024 places, off by up to 3e-3."""
    tf = pytest.importorskip("tensorflow")
    tolerance = 5e-3 if method == "bicubic" and not antialias else 2e-5
    x = random(2, 12, 9, 3)
    for size in ((7, 5), (24, 18), (12, 20), (3, 2)):
        want = tf.image.resize(x, size, method, antialias=antialias).numpy()
        extra = {"exclude_outside": True} if antialias and method == "bilinear" else {}
        got = run("resize", x, sizes=size, axes=(1, 2), antialias=antialias, **{**attrs, **extra})
        np.testing.assert_allclose(got, want, 1e-4, tolerance)
