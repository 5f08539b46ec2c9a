"""max_pool and avg_pool, bound, against naive loops, ONNX Runtime and Keras."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.kernels import pool as pool_kernels  # noqa: F401 - registers the kernels
from tenun.backends.numpy.registry import KERNELS

rng = np.random.default_rng()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same operands whatever ran before."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def run(name: str, shape: tuple[int, ...], x: np.ndarray, **attrs: Any) -> np.ndarray:
    """Bind a kernel, with poisoned memory, and run it twice."""

    def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory.append(np.empty(shape, dtype))
        return memory[-1]

    memory: list[np.ndarray] = []
    out = poisoned(shape, x.dtype)
    steps = KERNELS[name].call(x, **attrs, out=out, scratch=poisoned)
    for _ in range(2):
        for array in memory:
            array.fill(np.nan if array.dtype.kind in "fcV" else 1)
        for step in steps:
            step()
    return out


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (rng.standard_normal(shape) * 10).astype(dtype)


def out_sizes(x, window, strides, dilations, padding, ceil_mode):
    """As PyTorch and ONNX have it: with ceil_mode, no window starts in the padding after the end."""
    sizes = []
    for s, k, t, d, (before, after) in zip(x.shape[1:], window, strides, dilations, padding):
        room = s + before + after - (k - 1) * d - 1
        size = (-(-room // t) if ceil_mode else room // t) + 1
        sizes.append(size - 1 if ceil_mode and (size - 1) * t >= s + before else size)
    return tuple(sizes)


def naive(name, x, sizes, window, strides, dilations, padding, count_include_pad=False):
    """The definition: look at the elements of each window, one place at a time."""
    out = np.zeros((len(x), *sizes, x.shape[-1]), np.float64)
    for place in np.ndindex(*sizes):
        met, count = [], 0
        for tap in np.ndindex(*window):
            at = [p * t + k * d - b for p, t, k, d, (b, _) in zip(place, strides, tap, dilations, padding)]
            if all(0 <= i < s for i, s in zip(at, x.shape[1:])):
                met.append(x[(slice(None), *at)].astype(np.float64))
            count += all(-b <= i < s + a for i, s, (b, a) in zip(at, x.shape[1:], padding))
        where = (slice(None), *place)
        if name == "max_pool":
            out[where] = np.max(met, axis=0) if met else -np.inf
        elif met:
            out[where] = np.sum(met, axis=0) / (count if count_include_pad else len(met))
    return out


def check(name, x, *, ceil_mode=False, tol=1e-5, **attrs):
    geometry = {k: v for k, v in attrs.items() if k != "count_include_pad"}
    sizes = out_sizes(x, *geometry.values(), ceil_mode)
    expected = naive(name, x, sizes, **attrs)
    out = run(name, expected.shape, x, ceil_mode=ceil_mode, **attrs)
    np.testing.assert_allclose(out.astype(np.float64), expected, rtol=tol, atol=tol)


GEOMETRIES = list(
    product(
        [(2, 2), (3, 2), (1, 3), (1, 1)],
        [(1, 1), (2, 2), (3, 2)],
        [(1, 1), (2, 3)],
        [((0, 0), (0, 0)), ((1, 0), (1, 1)), ((0, 1), (2, 0))],
    )
)


@pytest.mark.parametrize("window, strides, dilations, padding", GEOMETRIES)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_2d(window, strides, dilations, padding, ceil_mode):
    x = array(2, 7, 11, 3)
    attrs = {"window": window, "strides": strides, "dilations": dilations, "padding": padding, "ceil_mode": ceil_mode}
    check("max_pool", x, **attrs)
    check("avg_pool", x, **attrs, count_include_pad=False)
    check("avg_pool", x, **attrs, count_include_pad=True)


@pytest.mark.parametrize("name, extra", [("max_pool", {}), ("avg_pool", {"count_include_pad": False})])
def test_rows_in_blocks_that_no_window_joins(name, extra):
    """An image larger than a block, reduced along its width only."""
    shape = {"window": (1, 4), "strides": (1, 4), "dilations": (1, 1), "padding": ((0, 0), (0, 0))}
    check(name, array(1, 98, 256, 32), **shape, **extra)


@pytest.mark.parametrize("name, extra", [("max_pool", {}), ("avg_pool", {"count_include_pad": False})])
def test_a_window_far_larger_than_the_image(name, extra):
    """Only taps that meet elements are looked at."""
    size = 2**40
    x, sizes = array(1, 4, 3, 2), {"window": (size, 2), "padding": ((size - 1, 3), (0, 0))}
    got = run(name, (1, 4, 2, 2), x, strides=(1, 1), dilations=(1, 1), ceil_mode=False, **sizes, **extra)
    wide = np.lib.stride_tricks.sliding_window_view(x, 2, axis=2)
    rows = [wide[:, : i + 1] for i in range(4)]  # place i ends at row i
    want = np.stack([(np.max if name == "max_pool" else np.mean)(r, axis=(1, 4)) for r in rows], 1)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)


@pytest.mark.parametrize("spatial", [1, 3])
@pytest.mark.parametrize("window, stride, dilation, pad", [(2, 2, 1, (0, 0)), (3, 2, 1, (1, 1)), (3, 1, 2, (2, 1))])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_1d_3d(spatial, window, stride, dilation, pad, ceil_mode):
    x = array(2, *(5, 7, 6)[-spatial:], 3)
    attrs = {
        "window": (window,) * spatial,
        "strides": (stride,) * spatial,
        "dilations": (dilation,) * spatial,
        "padding": (pad,) * spatial,
        "ceil_mode": ceil_mode,
    }
    check("max_pool", x, **attrs)
    check("avg_pool", x, **attrs, count_include_pad=True)
    check("avg_pool", x, **attrs, count_include_pad=False)


SAME = {"window": (3, 3), "strides": (2, 2), "dilations": (1, 1), "padding": ((0, 1), (1, 1))}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float16", "float64", "bfloat16"])
def test_dtypes_of_max(dtype):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    x = np.abs(array(2, 7, 5, 3)).astype(dtype) if dtype in ("uint8", "bool") else array(2, 7, 5, 3, dtype=dtype)
    check("max_pool", x, **SAME)


@pytest.mark.parametrize("dtype, tol", [("float16", 2e-3), ("bfloat16", 1e-2), ("float64", 1e-14)])
def test_dtypes_of_mean(dtype, tol):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    check("avg_pool", array(2, 7, 5, 3, dtype=dtype), **SAME, count_include_pad=False, tol=tol)


def test_half_precision_is_summed_in_single():
    x = np.full((1, 64, 64, 1), 1000, np.float16)
    attrs = {"window": (64, 64), "strides": (1, 1), "dilations": (1, 1), "padding": ((0, 0),) * 2}
    assert run("avg_pool", (1, 1, 1, 1), x, **attrs, ceil_mode=False, count_include_pad=False).item() == 1000


def test_windows_of_padding_alone():
    x = array(1, 2, 3, 2)
    attrs = {"window": (2, 2), "strides": (2, 2), "dilations": (1, 1), "padding": ((2, 2), (0, 1))}
    with np.errstate(all="raise"):
        check("max_pool", x, **attrs)
        check("avg_pool", x, **attrs, count_include_pad=False)
        check("avg_pool", x, **attrs, count_include_pad=True)


def test_nan_propagates():
    x = array(1, 4, 6, 2)
    x[0, 1, 3, 1] = np.nan
    attrs = {"window": (2, 2), "strides": (2, 2), "dilations": (1, 1), "padding": ((0, 0),) * 2, "ceil_mode": False}
    for name, extra in (("max_pool", {}), ("avg_pool", {"count_include_pad": False})):
        out = run(name, (1, 2, 3, 2), x, **attrs, **extra)
        assert np.isnan(out[0, 0, 1, 1]) and np.isnan(out).sum() == 1


def test_strided_input_and_many_blocks():
    wide = array(5, 45, 61, 140)
    for x in (wide[:, ::2, ::-1, 3:130], wide.transpose(0, 2, 1, 3)):
        out = run(
            "max_pool",
            (5, *[(s + 1 - 3) // 2 + 1 for s in x.shape[1:3]], x.shape[-1]),
            x,
            **SAME | {"padding": ((0, 1),) * 2},
            ceil_mode=False,
        )
        padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        np.testing.assert_array_equal(out, windows.max(axis=(-1, -2)))


@pytest.mark.parametrize(
    "shape, expected", [((0, 4, 4, 3), (0, 2, 2, 3)), ((2, 4, 4, 0), (2, 2, 2, 0)), ((2, 0, 4, 3), (2, 0, 2, 3))]
)
def test_empty(shape, expected):
    attrs = {"window": (2, 2), "strides": (2, 2), "dilations": (1, 1), "padding": ((0, 0),) * 2, "ceil_mode": False}
    assert run("max_pool", expected, array(*shape), **attrs).size == 0
    assert run("avg_pool", expected, array(*shape), **attrs, count_include_pad=True).size == 0


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(
    "window, stride, pads", [((3, 2), 2, (1, 0, 1, 1)), ((2, 2), 3, (0, 1, 1, 0)), ((3, 3), 1, (1, 1, 1, 1))]
)
def test_against_onnxruntime(window, stride, pads, include, ceil_mode):
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x = array(2, 8, 11, 3)
    padding = tuple(zip(pads[:2], pads[2:]))
    common = {"strides": [stride] * 2, "pads": list(pads), "kernel_shape": list(window), "ceil_mode": ceil_mode}
    for op, name, extra in (("MaxPool", "max_pool", {}), ("AveragePool", "avg_pool", {"count_include_pad": include})):
        node = onnx.helper.make_node(op, ["x"], ["y"], **common, **extra)
        values = [onnx.helper.make_tensor_value_info(n, 1, None) for n in "xy"]
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, {"x": x.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
        out = run(
            name,
            expected.shape,
            x,
            window=window,
            strides=(stride,) * 2,
            dilations=(1, 1),
            padding=padding,
            ceil_mode=bool(ceil_mode),
            **extra,
        )
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_against_keras():
    keras = pytest.importorskip("keras")
    x = array(2, 8, 7, 3)
    common = {"window": (3, 3), "strides": (2, 2), "dilations": (1, 1), "padding": ((0, 1), (1, 1)), "ceil_mode": False}
    expected = np.asarray(keras.ops.max_pool(x, 3, 2, "same"))
    np.testing.assert_array_equal(run("max_pool", expected.shape, x, **common), expected)
    expected = np.asarray(keras.ops.average_pool(x, 3, 2, "same"))
    out = run("avg_pool", expected.shape, x, **common, count_include_pad=False)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
