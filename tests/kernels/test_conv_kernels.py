"""conv and conv_transpose, bound, against naive loops in float64, ONNX Runtime and Keras."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.kernels import conv as conv_kernels
from tenun.backends.numpy.kernels.conv import blocks
from tenun.backends.numpy.registry import KERNELS
from tenun.ir.attributes import Activation

LINEAR, RELU = Activation(), Activation("relu")
rng = np.random.default_rng()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same operands whatever ran before."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def run(name: str, shape: tuple[int, ...], *operands: Any, constant: bool = True, **attrs: Any) -> np.ndarray:
    """Bind a kernel to operands and an output of this shape, with poisoned memory, and run it twice."""

    def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory.append(np.full(shape, np.nan, dtype))
        return memory[-1]

    memory: list[np.ndarray] = []
    operands = (operands[0], *(a if a is None else a.copy() for a in operands[1:]))
    for a in operands[1:]:
        if a is not None and constant:
            a.flags.writeable = False
    out = poisoned(shape, operands[0].dtype)
    steps = KERNELS[name].call(*operands, **attrs, out=out, scratch=poisoned)
    for _ in range(2):
        for array in memory:
            array.fill(np.nan)
        for step in steps:
            step()
    return out


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def naive_conv(x, w, bias, residual, strides, dilations, padding, groups):
    """The definition, one product of a window and a tap at a time."""
    x, w = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0))), w.astype(np.float64)
    *kernel, channels, outs = w.shape
    sizes = [(s - (k - 1) * d - 1) // t + 1 for s, k, d, t in zip(x.shape[1:], kernel, dilations, strides)]
    out = np.zeros((len(x), *sizes, outs))
    for place, tap, g in product(np.ndindex(*sizes), np.ndindex(*kernel), range(groups)):
        at = tuple(p * t + k * d for p, t, k, d in zip(place, strides, tap, dilations))
        mine = slice(g * outs // groups, (g + 1) * outs // groups)
        read = x[(slice(None), *at, slice(g * channels, (g + 1) * channels))]
        out[(slice(None), *place, mine)] += read @ w[tap][:, mine]
    return out + (0 if bias is None else bias) + (0 if residual is None else residual)


def naive_transpose(x, w, bias, strides, dilations, padding, output_padding, groups):
    """The definition: every element of x is spread over the output, which is cropped at the end."""
    *kernel, channels, outs = w.shape
    sizes = [
        max((s - 1) * t + (k - 1) * d + 1 + p, 0)
        for s, t, k, d, p in zip(x.shape[1:], strides, kernel, dilations, output_padding)
    ]
    out = np.zeros((len(x), *sizes, outs * groups))
    per = channels // groups
    for place, tap, g in product(np.ndindex(*x.shape[1:-1]), np.ndindex(*kernel), range(groups)):
        at = tuple(p * t + k * d for p, t, k, d in zip(place, strides, tap, dilations))
        read = x[(slice(None), *place, slice(g * per, (g + 1) * per))].astype(np.float64)
        spread = read @ w[tap][g * per : (g + 1) * per].astype(np.float64)
        out[(slice(None), *at, slice(g * outs, (g + 1) * outs))] += spread
    crop = tuple(slice(before, size - after) for size, (before, after) in zip(sizes, padding))
    return out[(slice(None), *crop)] + (0 if bias is None else bias)


def check_conv(x, w, *, strides, dilations, padding, groups=1, bias=True, residual=False, relu=True, tol=1e-4, **how):
    bias = array(w.shape[-1], dtype=x.dtype) if bias else None
    expected = naive_conv(x, w, bias, None, strides, dilations, padding, groups)
    residual = array(*expected.shape, dtype=x.dtype) if residual else None
    expected = expected if residual is None else expected + residual
    expected = np.maximum(expected, 0) if relu else expected
    out = run(
        "conv",
        expected.shape,
        x,
        w,
        bias,
        residual,
        strides=strides,
        dilations=dilations,
        padding=padding,
        groups=groups,
        activation=RELU if relu else LINEAR,
        **how,
    )
    np.testing.assert_allclose(out.astype(np.float64), expected, rtol=tol, atol=tol)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (4, 1)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (0, 3))])
@pytest.mark.parametrize("groups, channels, outs", [(1, 5, 7), (3, 6, 9), (5, 5, 5), (5, 5, 10), (2, 66, 4)])
def test_conv_2d(kernel, strides, dilations, padding, groups, channels, outs):
    x, w = array(2, 11, 17, channels), array(*kernel, channels // groups, outs)
    check_conv(x, w, strides=strides, dilations=dilations, padding=padding, groups=groups)


@pytest.mark.parametrize("groups, channels, outs", [(1, 3, 7), (2, 6, 4), (4, 4, 8), (3, 3, 18)])
@pytest.mark.parametrize("spatial", [1, 3])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("stride, dilation, pad", [(1, 1, (1, 1)), (2, 1, (0, 1)), (1, 2, (2, 0)), (3, 2, (0, 0))])
def test_conv_1d_3d(spatial, groups, channels, outs, constant, stride, dilation, pad):
    x = array(3, *(7, 5, 11)[-spatial:], channels)
    w = array(*(2, 1, 3)[-spatial:], channels // groups, outs)
    common = {"strides": (stride,) * spatial, "dilations": (dilation,) * spatial, "padding": (pad,) * spatial}
    check_conv(x, w, groups=groups, constant=constant, residual=True, **common)


@pytest.mark.parametrize("bias, residual, relu", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (3, 6), (3, 2)])
def test_epilogue(kernel, groups, bias, residual, relu):
    x, w = array(2, 7, 5, 6), array(kernel, kernel, 6 // groups, 6)
    check_conv(
        x,
        w,
        strides=(1, 1),
        dilations=(1, 1),
        padding=((0, 0),) * 2,
        groups=groups,
        bias=bias,
        residual=residual,
        relu=relu,
    )


@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (3, 4), (3, 64)])
def test_many_blocks(kernel, groups):
    """Larger than one block, one group of images, and one row of a depthwise convolution."""
    x, w = array(5, 41, 37, 64), array(kernel, kernel, 64 // groups, 64)
    pad = ((kernel // 2,) * 2,) * 2
    out = run(
        "conv",
        (5, 41, 37, 64),
        x,
        w,
        array(64),
        None,
        strides=(1, 1),
        dilations=(1, 1),
        padding=pad,
        groups=groups,
        activation=RELU,
    )
    for image in (0, 3, 4):
        one = run(
            "conv",
            (1, 41, 37, 64),
            x[image : image + 1],
            w,
            None,
            None,
            strides=(1, 1),
            dilations=(1, 1),
            padding=pad,
            groups=groups,
            activation=LINEAR,
        )
        assert out[image].min() == 0 and out[image].shape == one[0].shape
    check_conv(x[:2, :9], w, strides=(1, 1), dilations=(1, 1), padding=pad, groups=groups, tol=1e-3)
    long = array(1, 3001, 17)
    check_conv(long, array(3, 1, 17), strides=(1,), dilations=(1,), padding=((1, 1),), groups=17)


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("stride, channels", [(1, 6), (2, 6), (1, 100), (2, 100)])
def test_depthwise_in_blocks(spatial, constant, stride, channels, monkeypatch):
    """Rows of neighbours and places by themselves, in many blocks."""
    monkeypatch.setattr(conv_kernels, "DEPTHWISE_ELEMENTS", 3 * channels)
    x, w = array(2, *(5, 4, 11)[-spatial:], channels), array(*(2, 1, 3)[-spatial:], 1, channels)
    common = {"strides": (stride,) * spatial, "dilations": (1, 1, 2)[-spatial:], "padding": ((1, 1),) * spatial}
    check_conv(x, w, groups=channels, constant=constant, residual=True, **common)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("dtype, tol", [("float16", 2e-2), ("float64", 1e-12), ("bfloat16", 1e-1), ("complex64", 1e-4)])
def test_dtypes(dtype, tol, groups):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, w = array(2, 7, 5, 6, dtype=dtype), array(3, 2, 6 // groups, 6, dtype=dtype)
    if dtype == "complex64":
        x, w = x * np.complex64(1 + 2j), w * np.complex64(2 - 1j)
        real = [run_plain(a, b, groups) for a, b in ((x.real, w.real), (x.imag, w.imag), (x.real, w.imag))]
        assert np.allclose(run_plain(x, w, groups).real, real[0] - real[1], atol=tol)
    else:
        check_conv(x, w, strides=(1, 2), dilations=(1, 1), padding=((1, 1), (0, 1)), groups=groups, tol=tol)
        check_conv(
            x,
            w,
            strides=(1, 1),
            dilations=(1, 1),
            padding=((0, 0), (0, 0)),
            groups=groups,
            tol=tol,
            residual=True,
            constant=False,
        )


def run_plain(x, w, groups):
    shape = (len(x), x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1, w.shape[-1])
    return run(
        "conv",
        shape,
        x,
        w,
        None,
        None,
        strides=(1, 1),
        dilations=(1, 1),
        padding=((0, 0), (0, 0)),
        groups=groups,
        activation=LINEAR,
    )


@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (3, 6), (3, 2)])
@pytest.mark.parametrize("pad", [0, 1])
def test_strided_operands(kernel, groups, pad):
    wide = array(2, 14, 9, 13)
    for x in (wide[:, ::2, :, 1:7], wide[:, ::-2, :, :12:2], wide[..., :6].transpose(0, 2, 1, 3), wide[:, :, :, :6]):
        w = array(6, kernel, 6 // groups, kernel).transpose(3, 1, 2, 0)
        check_conv(x, w, strides=(1, 1), dilations=(1, 1), padding=((pad, pad),) * 2, groups=groups)
        check_conv(x, w, strides=(2, 1), dilations=(1, 1), padding=((pad, pad),) * 2, groups=groups, constant=False)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_empty(groups):
    attrs = {"strides": (1, 1), "dilations": (1, 1), "groups": groups, "activation": RELU}
    w, bias = array(3, 3, 4 // groups, 4), array(4)
    assert run("conv", (0, 5, 5, 4), array(0, 5, 5, 4), w, bias, None, padding=((1, 1),) * 2, **attrs).size == 0
    assert run("conv", (2, 0, 5, 4), array(2, 0, 5, 4), w, bias, None, padding=((1, 1),) * 2, **attrs).size == 0
    out = run("conv", (2, 1, 2, 4), array(2, 0, 2, 4), w, bias, None, padding=((1, 2), (1, 1)), **attrs)
    np.testing.assert_array_equal(out, np.broadcast_to(np.maximum(bias, 0), out.shape))


def test_no_channels():
    out = run(
        "conv",
        (2, 3, 3, 4),
        array(2, 3, 3, 0),
        array(1, 1, 0, 4),
        None,
        None,
        strides=(1, 1),
        dilations=(1, 1),
        padding=((0, 0),) * 2,
        groups=1,
        activation=LINEAR,
    )
    assert not out.any()


def test_nan_and_activation():
    x = array(1, 4, 4, 3)
    x[0, 1, 1, 0] = np.nan
    out = run(
        "conv",
        (1, 4, 4, 2),
        x,
        array(1, 1, 3, 2),
        array(2),
        None,
        strides=(1, 1),
        dilations=(1, 1),
        padding=((0, 0),) * 2,
        groups=1,
        activation=RELU,
    )
    assert np.isnan(out[0, 1, 1]).all() and np.isnan(out).sum() == 2
    tanh = Activation("tanh")
    w, x = array(3, 3, 3, 2), array(2, 5, 5, 3)
    common = {"strides": (1, 1), "dilations": (1, 1), "padding": ((0, 0),) * 2, "groups": 1}
    linear = run("conv", (2, 3, 3, 2), x, w, None, None, activation=LINEAR, **common)
    np.testing.assert_allclose(
        run("conv", (2, 3, 3, 2), x, w, None, None, activation=tanh, **common), np.tanh(linear), rtol=1e-5
    )


def check_transpose(x, w, *, strides, dilations, padding, output_padding, groups, bias=True, tol=1e-4, **how):
    bias = array(w.shape[-1] * groups, dtype=x.dtype) if bias else None
    attrs = {
        "strides": strides,
        "dilations": dilations,
        "padding": padding,
        "output_padding": output_padding,
        "groups": groups,
    }
    expected = naive_transpose(x, w, bias, *attrs.values())
    out = run("conv_transpose", expected.shape, x, w, bias, **attrs, activation=RELU, **how)
    np.testing.assert_allclose(out.astype(np.float64), np.maximum(expected, 0), rtol=tol, atol=tol)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (4, 5)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 0), (0, 2))])
@pytest.mark.parametrize("output_padding", [(0, 0), (1, 2), (3, 5)])
@pytest.mark.parametrize("groups, channels, outs", [(1, 3, 5), (2, 4, 3), (3, 3, 2), (5, 5, 1)])
def test_transpose_2d(kernel, strides, dilations, padding, output_padding, groups, channels, outs):
    sizes = [
        (s - 1) * t + (k - 1) * d + 1 + o - sum(p)
        for s, t, k, d, o, p in zip((3, 5), strides, kernel, dilations, output_padding, padding)
    ]
    if min(sizes) < 0:
        pytest.skip("the padding crops more than there is")
    check_transpose(
        array(2, 3, 5, channels),
        array(*kernel, channels, outs),
        strides=strides,
        dilations=dilations,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
    )


@pytest.mark.parametrize("spatial", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype, tol", [("float32", 1e-4), ("float16", 2e-2), ("float64", 1e-12)])
def test_transpose_1d_3d(spatial, groups, constant, dtype, tol):
    x = array(3, *(2, 3, 5)[-spatial:], 4, dtype=dtype)
    w = array(*(2, 1, 3)[-spatial:], 4, 3, dtype=dtype)
    for stride, dilation, pad, extra in ((1, 1, (0, 0), 0), (2, 1, (0, 1), 1), (3, 2, (0, 0), 2), (2, 2, (1, 0), 0)):
        check_transpose(
            x,
            w,
            strides=(stride,) * spatial,
            dilations=(dilation,) * spatial,
            padding=(pad,) * spatial,
            output_padding=(extra,) * spatial,
            groups=groups,
            constant=constant,
            tol=tol,
        )


def test_transpose_is_empty():
    attrs = {"strides": (2, 2), "dilations": (1, 1), "padding": ((0, 0),) * 2, "output_padding": (0, 0), "groups": 1}
    out = run("conv_transpose", (0, 7, 7, 2), array(0, 3, 3, 4), array(3, 3, 4, 2), None, **attrs, activation=LINEAR)
    assert out.size == 0


@pytest.mark.parametrize("shape, limit", [((2, 3, 5), 1), ((2, 3, 5), 4), ((2, 3, 5), 14), ((7,), 3), ((4, 6), 1000)])
def test_blocks(shape, limit):
    seen = np.zeros(shape, int)
    for block in blocks(shape, limit):
        part = seen[block]
        assert part.size <= limit and part.flags.c_contiguous
        part += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("groups, outs", [(1, 5), (2, 4), (6, 6), (6, 12)])
@pytest.mark.parametrize("stride, dilation", [(1, 1), (2, 1), (1, 2)])
def test_against_onnxruntime(groups, outs, stride, dilation):
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x, bias = array(2, 9, 8, 6), array(outs)
    for op, w, extra in (
        ("Conv", array(3, 2, 6 // groups, outs), {}),
        ("ConvTranspose", array(3, 2, 6, outs // groups), {"output_padding": [stride - 1, 0]}),
    ):
        order = (3, 2, 0, 1) if op == "Conv" else (2, 3, 0, 1)
        node = onnx.helper.make_node(
            op,
            ["x", "w", "b"],
            ["y"],
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            pads=[1, 0, 1, 1],
            group=groups,
            **extra,
        )
        values = [onnx.helper.make_tensor_value_info(n, 1, None) for n in "xwby"]
        graph = onnx.helper.make_graph([node], "g", values[:3], values[3:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"x": x.transpose(0, 3, 1, 2), "w": w.transpose(order), "b": bias})
        expected = expected.transpose(0, 2, 3, 1)
        attrs = {"strides": (stride,) * 2, "dilations": (dilation,) * 2, "padding": ((1, 1), (0, 1)), "groups": groups}
        if op == "Conv":
            out = run("conv", expected.shape, x, w, bias, None, **attrs, activation=LINEAR)
        else:
            out = run(
                "conv_transpose", expected.shape, x, w, bias, **attrs, output_padding=(stride - 1, 0), activation=LINEAR
            )
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_against_keras():
    keras = pytest.importorskip("keras")
    x, w, bias = array(2, 9, 8, 6), array(3, 2, 6, 5), array(5)
    layer = keras.layers.Conv2DTranspose(5, (3, 2), strides=2, padding="valid", activation="relu")
    layer.build(x.shape)
    layer.set_weights([np.swapaxes(w, 2, 3), bias])
    expected = np.asarray(layer(x))
    out = run(
        "conv_transpose",
        expected.shape,
        x,
        w,
        bias,
        strides=(2, 2),
        dilations=(1, 1),
        padding=((0, 0),) * 2,
        output_padding=(0, 0),
        groups=1,
        activation=RELU,
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    layer = keras.layers.Conv2D(5, (3, 2), strides=2, padding="same", activation="relu")
    layer.build(x.shape)
    layer.set_weights([w, bias])
    expected = np.asarray(layer(x))
    out = run(
        "conv",
        expected.shape,
        x,
        w,
        bias,
        None,
        strides=(2, 2),
        dilations=(1, 1),
        padding=((1, 1), (0, 0)),
        groups=1,
        activation=RELU,
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
