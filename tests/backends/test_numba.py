"""Backend "numba": the same results as NumPy's kernels and as Keras, what falls back, what is kept on disk."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.backends.numba import compiler
from tenun.backends.numba.compiler import Call
from tenun.backends.numba.copies import copied
from tenun.backends.numba.crew import Fork, Row, joined, together
from tenun.backends.numba.registry import ROWS, table
from tenun.backends.numba.vectors import LANES, load_some, store_some
from tenun.backends.numpy.evaluate import flat_steps, kernel_attributes, run_time_type
from tenun.backends.numpy.registry import KERNELS, Kernel
from tenun.backends.numpy.workers import Parallel, Worker, each, several
from tenun.debug.steps import calls
from tenun.ir.attributes import check
from tenun.ir.op import infer, lookup
from tenun.ir.ops.elementwise import UNARY
from tenun.ir.ops.winograd import points

Array = np.ndarray[Any, Any]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def constant(*shape: int, seed: int = 1) -> Array:
    array = random(*shape, seed=seed)
    array.flags.writeable = False
    return array


def is_compiled(steps: Any) -> bool:
    return any(
        is_compiled([s for b in step.branches for s in b]) if isinstance(step, Parallel) else isinstance(step, Call)
        for step in flat_steps(steps)
    )


def poisoned(shape: Any, dtype: Any = np.float32) -> Array:
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 1, dtype)


def results(
    row: Kernel, name: str, operands: list[Any], attrs: dict[str, Any], unused: tuple[int, ...] = ()
) -> tuple[list[Any], bool]:
    """What a row computes, and whether a compiled function does so; nobody asks for the `unused` results."""
    op, types = lookup(name), tuple(None if a is None else run_time_type(a) for a in operands)
    canonical = {k: check(a, attrs[k]) if k in attrs else a.default for k, a in op.attributes.items()}
    made: Any = infer(op, types, canonical)
    outs = tuple(None if i in unused else poisoned(t.static, t.dtype.numpy) for i, t in enumerate(made))
    concrete = kernel_attributes(op, canonical, types)
    steps = row.call(*operands, **concrete, out=outs if op.many else outs[0], scratch=poisoned)
    for step in flat_steps(steps):
        step()
    return list(outs), is_compiled(steps)


def agree(
    name: str, operands: list[Any], expect: bool = True, tolerance: float = 2e-6, unused: tuple[int, ...] = (),
    **attrs: Any,
) -> None:  # fmt: skip
    """The row gives what NumPy's kernel gives, and is compiled (or falls back) as expected."""
    with np.errstate(all="ignore"):
        got, compiled = results(table().rows[name], name, operands, attrs, unused)
        want, _ = results(KERNELS[name], name, operands, attrs, unused)
    assert compiled == expect, f"{name} {'falls back' if expect else 'is compiled'}"
    for a, b in zip(got, want):
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- rows ----------------------------------------------------------------------------------------------------


def test_rows_keep_the_promises_of_the_kernels_that_they_replace() -> None:
    for name, row in ROWS.items():
        given = KERNELS[name]
        assert (row.form, row.strided, row.over, row.parts) == (given.form, given.strided, given.over, given.parts)


SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 87.5, -87.5, 3e38, -3e38], np.float32)


@pytest.mark.parametrize("name", ["sigmoid", "silu", "gelu", "elu", "softplus", "hard_silu"])
def test_functions_are_numpys_at_usual_and_at_special_numbers(name: str) -> None:
    x = np.concatenate([3 * random(1000), 40 * random(200, seed=1), SPECIAL[:7] if name == "silu" else SPECIAL])
    attrs = dict(UNARY[name][1])
    with np.errstate(all="ignore"):
        got, compiled = results(table().rows[name], name, [x], attrs)
        want, _ = results(KERNELS[name], name, [x.astype(np.float64)], attrs)
    assert compiled
    keep = ~np.isnan(want[0]) | np.isnan(x)  # inf · 0 is no number in one order of operations, and one in another
    np.testing.assert_allclose(got[0][keep], want[0][keep], rtol=2e-6, atol=1e-6 if name == "gelu" else 2e-7)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 33), (1, 16), (4, 1000)])
def test_rows_of_softmax_and_norms(shape: tuple[int, ...]) -> None:
    x = 10 * random(*shape)
    agree("softmax", [x], axis=-1)
    agree("log_softmax", [x], axis=-1, tolerance=1e-5)
    width = shape[-1]
    agree("layer_norm", [x + 3, constant(width), constant(width)], axes=(-1,), epsilon=1e-3, tolerance=1e-5)
    agree("layer_norm", [x, None, None], axes=(-1,), epsilon=1e-3, tolerance=1e-5)
    agree("rms_norm", [x, constant(width)], axes=(-1,), epsilon=1e-3, tolerance=1e-5)
    statistics = [constant(width, seed=s) for s in range(3)] + [np.abs(constant(width)) + np.float32(0.1)]
    statistics[-1].flags.writeable = False
    agree("batch_norm", [x, *statistics], axis=-1, epsilon=1e-3, tolerance=1e-5)


def test_softmax_of_rows_that_are_no_numbers_or_masked() -> None:
    x = random(4, 20)
    x[0, 3], x[1], x[2, :5], x[3, 0] = np.nan, -np.inf, -np.inf, np.inf
    agree("softmax", [x], axis=-1)
    agree("log_softmax", [x], axis=-1)


@pytest.mark.parametrize("shape", [(1, 9, 8), (2, 5, 5), (1, 1, 1), (3, 7)])
@pytest.mark.parametrize("window, stride, dilation", [(2, 2, 1), (3, 2, 1), (3, 1, 2)])
def test_windows_with_padding(shape: tuple[int, ...], window: int, stride: int, dilation: int) -> None:
    rank = len(shape) - 1
    how = {"strides": (stride,) * rank, "dilations": (dilation,) * rank, "padding": "same"}
    for channels in (16, 21):
        x = random(*shape, channels)
        agree("max_pool", [x], window=(window,) * rank, **how)
        agree("avg_pool", [x], window=(window,) * rank, **how)
        if dilation == 1 or stride == 1:
            weights = [constant(*(window,) * rank, 1, channels), constant(channels)]
            agree("conv", [x, *weights, None], groups=channels, activation="relu", tolerance=1e-5, **how)
            dense = [constant(*(window,) * rank, channels, 37), constant(37)]
            agree("conv", [x, *dense, None], activation="relu", tolerance=2e-5, **how)


def test_convolution_of_strided_images_in_groups_with_a_residual() -> None:
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "relu", "tolerance": 2e-5}
    x, bias = random(2, 5, 6, 50), constant(64)
    agree("conv", [x[..., 3:43], constant(3, 3, 20, 64), bias, random(2, 5, 6, 64)], groups=2, **how)
    agree("conv", [random(2, 40, 5, 6).transpose(0, 2, 3, 1), constant(1, 1, 40, 64), bias, None], **how)
    agree("conv", [random(2, 5, 6, 32), constant(3, 3, 1, 32), None, random(2, 5, 6, 32)], groups=32, **how)


@pytest.mark.parametrize("m, k, n", [(1, 3, 5), (2, 784, 64), (5, 33, 33), (9, 1024, 80), (7, 1009, 48)])
def test_products_with_constant_weights(m: int, k: int, n: int) -> None:
    agree("matmul", [random(m, k), constant(k, n), constant(n), random(m, n)], activation="relu", tolerance=1e-4)
    agree("matmul", [random(m, k), constant(k, n), None, None], activation="relu", tolerance=1e-4)


@pytest.mark.parametrize("m, k, n", [(1, 3, 16), (5, 33, 48), (9, 1024, 80), (70, 130, 512)])
def test_products_with_weights_that_change(m: int, k: int, n: int) -> None:
    for x in (random(m, k), random(k, m).T):
        for y in (random(k, n), random(n, k).T, random(k, n + 16)[:, 16:]):
            agree("matmul", [x, y, random(n), random(m, n)], activation="relu", tolerance=2e-4)
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "relu", "tolerance": 2e-4}
    agree("conv", [random(2, 7, 9, 5), random(3, 3, 5, n), random(n), None], **how)


# x, kernel, tile, filters, padding
WINOGRAD = {
    "tiles that reach over all ends": ((2, 9, 11, 16), (3, 3), (4, 4), 37, "same"),
    "no padding": ((1, 10, 9, 21), (3, 3), (2, 2), 16, "valid"),
    "more padding on one side": ((2, 6, 7, 32), (3, 3), (4, 4), 64, ((0, 2), (1, 0))),
    "many tiles": ((3, 33, 31, 20), (3, 3), (4, 4), 48, "same"),
    "rows": ((1, 7, 7, 32), (1, 7), (1, 2), 32, "same"),
    "a mixed kernel": ((1, 7, 8, 16), (5, 3), (2, 4), 16, "same"),
    "one axis": ((2, 40, 16), (3,), (4,), 19, "same"),
    "more on one side by itself": ((2, 9, 10, 16), (6, 6), (3, 3), 32, "same"),
}
# The same for other kernels: each is compiled.
WINOGRAD_SLOW = {
    f"{k}x{k} {padding}": ((2, 13, 10, 16), (k, k), (m, m), 32, padding)
    for k, m in ((2, 4), (4, 4), (4, 3), (5, 4), (7, 2))
    for padding in ("same", "valid")
}


@pytest.mark.parametrize("case", [*WINOGRAD, *(pytest.param(c, marks=pytest.mark.slow) for c in WINOGRAD_SLOW)])
def test_winograds_convolution(case: str) -> None:
    shape, kernel, tile, filters, padding = {**WINOGRAD, **WINOGRAD_SLOW}[case]
    (u,), _ = results(
        KERNELS["winograd_weights"], "winograd_weights", [random(*kernel, shape[-1], filters)], {"tile": tile}
    )
    x, how = random(*shape, seed=2), {"kernel": kernel, "tile": tile, "padding": padding, "activation": "relu"}
    whole, tolerance = filters % 16 == 0, 1e-4 if prod(points(tile, kernel)) <= 36 else 1e-3
    agree("winograd_conv", [x, u, random(filters), None], whole, tolerance, **how)
    u.flags.writeable = False
    agree("winograd_conv", [x, u, constant(filters), None], True, tolerance, **how)
    (y,), _ = results(KERNELS["winograd_conv"], "winograd_conv", [x, u, None, None], how)
    agree("winograd_conv", [x, u, constant(filters), random(*y.shape)], whole, tolerance, **how)


@pytest.mark.parametrize("all_ties", [False, True])
def test_gradients_of_windows_side_by_side(all_ties: bool) -> None:
    how = {"strides": (2, 3), "window": (2, 3), "dilations": (1, 1), "padding": "valid", "all_ties": all_ties}
    for height, covered in ((6, True), (7, False)):
        x = np.round(2 * random(3, height, 9, 21))
        x[0, 0, 0, 0] = np.nan
        y = x[:, :6].reshape(3, 3, 2, 3, 3, 21).max((2, 4))
        g = random(*y.shape, seed=4)
        agree("max_pool_grad", [x, y, g, None], covered, **how)
        if not all_ties:
            del how["all_ties"]
            (_, record), _ = results(KERNELS["max_pool_record"], "max_pool_record", [x], how)
            agree("max_pool_record", [x], covered, **how)
            how["all_ties"] = False
            agree("max_pool_grad", [x, y, g, record], covered, **how)


@pytest.mark.parametrize("shape, order", [
    ((50, 4, 28), (0, 2, 1)), ((3, 40, 50), (2, 1, 0)), ((2, 3, 5, 7, 4), (4, 2, 0, 3, 1)), ((2, 3), (1, 0)),
    ((700,), (0,)),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64])
def test_copies_in_another_order(shape: tuple[int, ...], order: tuple[int, ...], dtype: Any) -> None:
    x = (100 * random(*shape)).astype(dtype).transpose(order)
    out = poisoned(x.shape, dtype)
    for step in copied(out, x):
        step()
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("width", [16, 37])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_by_index(width: int, dtype: Any) -> None:
    indices = np.random.default_rng(2).integers(-9, 9, (40, 25)).astype(dtype)
    agree("gather", [random(9, width), indices], tolerance=0, axis=0)
    agree("gather", [random(9, width), indices.T], tolerance=0, axis=0)
    agree("gather", [random(9, 3), indices], False, tolerance=0, axis=0)
    agree("gather", [random(9, 18), indices], False, tolerance=0, axis=1)


def test_products_are_summed_in_one_order_wherever_a_row_is() -> None:
    x, y = random(11, 300), constant(300, 70)
    row = table().rows["matmul"]
    whole = results(row, "matmul", [x, y, None, None], {"activation": "relu"})[0][0]
    for i in range(11):
        alone = results(row, "matmul", [x[i : i + 1], y, None, None], {"activation": "relu"})[0][0]
        np.testing.assert_array_equal(alone[0], whole[i])


def test_what_no_row_takes_falls_back() -> None:
    agree("softmax", [random(3, 4, 5)], expect=False, axis=1)
    agree("softmax", [random(3, 4).astype(np.float64)], expect=False, axis=-1)
    agree("matmul", [random(3, 4), random(4, 5), None, None], expect=False)
    agree("matmul", [random(2, 3, 4), random(2, 4, 5), None, None], expect=False)
    agree("max_pool", [random(1, 4, 4, 3)], expect=False, window=(2, 2), strides=(2, 2), dilations=(1, 1))
    agree("layer_norm", [random(3, 4, 5), None, None], expect=False, axes=(1,), epsilon=1e-3, tolerance=1e-5)
    weights = [random(2, 3, 16), random(2, 4, 16)]
    agree("lstm", [random(2, 5, 3), *weights, None, None, None, None, None], False, direction="bidirectional", clip=1.0)
    gru = [random(1, 3, 12), random(1, 4, 12), None, None, None]
    agree("gru", [random(2, 5, 3), *gru], False, reset_after=False)


# ---- recurrent layers ----------------------------------------------------------------------------------------

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def recurrent_operands(name: str, n: int, steps: int, size: int, directions: int, masked: bool) -> list[Any]:
    gates, seed = GATES[name], iter(range(20))
    shapes = [(n, steps, 5), (directions, 5, gates * size), (directions, size, gates * size)]
    shapes += [(directions, 2, gates * size) if name == "gru" else (directions, gates * size)]
    operands: list[Any] = [0.5 * random(*shape, seed=next(seed)) for shape in shapes]
    operands[2] /= np.sqrt(np.float32(size))  # or what differs in a last digit would grow from step to step
    operands.append(np.random.default_rng(3).random((n, steps)) < 0.6 if masked else None)
    states = [random(n, directions, size, seed=next(seed)) for _ in range(2 if name == "lstm" else 1)]
    return [*operands, *(states if masked else [None] * len(states)), *([None] if name == "lstm" else [])]


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("n, steps, size", [(1, 7, 3), (5, 20, 16), (9, 33, 37), (4, 1, 48)])
def test_recurrent_layers(name: str, direction: str, n: int, steps: int, size: int) -> None:
    for masked in (False, True):
        operands = recurrent_operands(name, n, steps, size, 2 if direction == "bidirectional" else 1, masked)
        for zero_masked in (False, True) if masked else (False,):
            agree(name, operands, direction=direction, zero_masked=zero_masked, tolerance=2e-5)


@pytest.mark.parametrize("name, unused", [("lstm", (6,)), ("gru", ())])
@pytest.mark.parametrize("n, steps, size, direction, states", [
    (16, 5, 16, "bidirectional", False), (48, 6, 9, "reverse", True), (80, 4, 7, "bidirectional", True),
    (32, 1, 5, "forward", False), (5, 4, 8, "forward", True),
])  # fmt: skip
def test_recurrent_layers_in_training(
    name: str, unused: tuple[int, ...], n: int, steps: int, size: int, direction: str, states: bool
) -> None:
    directions, compiled = 2 if direction == "bidirectional" else 1, n % LANES == 0
    operands = recurrent_operands(name, n, steps, size, directions, states)
    operands[3], operands[4] = operands[3] if states else None, None
    agree(f"{name}_record", operands, compiled, direction=direction, tolerance=2e-5)
    *_, record = results(KERNELS[f"{name}_record"], f"{name}_record", operands, {"direction": direction})[0]
    last = [random(n, directions, size, seed=s) for s in range(2 if name == "lstm" else 1)]
    for dy in (random(n, steps, directions, size), None):
        given = [*operands, dy, *last, record]
        agree(f"{name}_grad", given, compiled, unused=unused, direction=direction, tolerance=1e-4)
    mask = np.random.default_rng(3).random((n, steps)) < 0.6
    agree(f"{name}_record", [*operands[:4], mask, *operands[5:]], False, direction=direction, tolerance=2e-5)


def test_recurrent_activations() -> None:
    operands = recurrent_operands("lstm", 3, 6, 20, 1, False)
    agree("lstm", operands, activation="relu", recurrent_activation="hard_sigmoid", tolerance=1e-5)


# ---- models --------------------------------------------------------------------------------------------------


def keras_models() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Models with layers of all families, and the shapes of their samples."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((9, 11, 3))
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, strides=2, padding="same")(x))
    x = layers.Activation("silu")(x)
    x = layers.Add()([layers.Conv2D(32, 1)(x), x])
    x = layers.MaxPooling2D(2)(layers.AveragePooling2D(2, padding="same", strides=1)(layers.ReLU()(x)))
    sequence = keras.Input((10, 6))
    masked = layers.Masking()(sequence)
    y = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(masked)
    y = layers.GRU(12, go_backwards=True, return_sequences=True)(y)
    y = layers.SimpleRNN(5)(layers.LayerNormalization()(y))
    return {
        "image": (keras.Model(image, layers.Dense(7, "softmax")(layers.Flatten()(x))), (9, 11, 3)),
        "sequence": (keras.Model(sequence, y), (10, 6)),
    }


MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {}


@pytest.fixture(params=["image", "sequence"])
def model(request: pytest.FixtureRequest) -> tuple[Any, tuple[int, ...]]:
    if not MODELS:
        MODELS.update(keras_models())
    return MODELS[request.param]


def samples(shape: tuple[int, ...], n: int) -> Array:
    x = random(n, *shape)
    if len(shape) == 2:
        x[:, 7:] = 0  # is masked
    return x


def test_models_are_kerass_and_numpys(model: tuple[Any, tuple[int, ...]]) -> None:
    live, shape = model
    ours, numpys = tenun.compile(live, backend="numba", verify=True), tenun.compile(live)
    for n in (1, 3, 16):
        x = samples(shape, n)
        np.testing.assert_allclose(ours(x), np.asarray(live(x, training=False)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours(x), numpys(x), rtol=1e-5, atol=1e-6)
    assert ours(samples(shape, 0)).shape == numpys(samples(shape, 0)).shape
    assert any(isinstance(step, Call) for step in ours.plan(samples(shape, 1)).steps)


def test_threads_change_no_bit(model: tuple[Any, tuple[int, ...]]) -> None:
    live, shape = model
    x = samples(shape, 64)
    one, two = (tenun.compile(live, backend="numba", threads=threads)(x) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_an_executable_keeps_its_backend_when_pickled(model: tuple[Any, tuple[int, ...]]) -> None:
    import pickle

    live, shape = model
    ours = tenun.compile(live, backend="numba")
    again = pickle.loads(pickle.dumps(ours))
    assert again.backend_name == "numba"
    np.testing.assert_array_equal(again(samples(shape, 2)), ours(samples(shape, 2)))


CHAIN = """graph "g" (%x: FLOATS, %row: f32[70], %column: f32[64, 1], %k: BOOLS) -> (%a: FLOATS, %b: FLOATS, %c: BOOLS)
{
  %s: FLOATS = sigmoid(%x)
  %m: FLOATS = mul(%s, %x)
  %a: FLOATS = add(%m, %row)
  %h: FLOATS = sub(%a, %column)
  %t: FLOATS = tanh(%h)
  %b: FLOATS = where(%k, %t, %x)
  %p: BOOLS = greater(%b, %row)
  %c: BOOLS = logical_and(%p, %k)
}""".replace("FLOATS", "f32[N, 64, 70]").replace("BOOLS", "bool[N, 64, 70]")


def test_chains_are_one_loop() -> None:
    graph = tenun.parse(CHAIN)
    ours, numpys = tenun.compile(graph, backend="numba"), tenun.compile(graph)
    inputs = [random(3, 64, 70), random(70), random(64, 1), random(3, 64, 70) > 0]
    with np.errstate(all="ignore"):
        inputs[0][0, 0, :11] = SPECIAL
    for got, want in zip(ours(*inputs), numpys(*inputs)):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert {name for step in ours.plan(*inputs).steps for name in calls(step)} == {"chain"}


def test_chains_with_ops_that_have_no_text_fall_back() -> None:
    text = """graph "g" (%x: f32[N, 5000]) -> (%y: f32[N, 5000]) {
      %s: f32[N, 5000] = sin(%x)
      %y: f32[N, 5000] = mul(%s, %x)
    }"""
    x = random(2, 5000)
    np.testing.assert_array_equal(tenun.compile(tenun.parse(text), backend="numba")(x), np.sin(x) * x)


SHUFFLE = """graph "g" (%x: f32[N, 20, 30, 112]) -> (%y: f32[N, 20, 30, 112]) {
  %a: f32[N, 20, 30, 4, 28] = reshape(%x) {shape = (dim N, 20, 30, 4, 28)}
  %b: f32[N, 20, 30, 28, 4] = transpose(%a) {perm = (0, 1, 2, 4, 3)}
  %c: f32[N, 20, 30, 112] = reshape(%b) {shape = (dim N, 20, 30, 112)}
  %y: f32[N, 20, 30, 112] = relu(%c)
}"""


def test_shuffled_channels_are_copied_once() -> None:
    graph, x = tenun.parse(SHUFFLE), random(2, 20, 30, 112)
    want = np.maximum(x.reshape(2, 20, 30, 4, 28).swapaxes(3, 4).reshape(x.shape), 0)
    for backend, call in (("numpy", "copyto"), ("numba", "moved")):
        ours = tenun.compile(graph, backend=backend)
        np.testing.assert_array_equal(ours(x), want)
        assert call in {name for step in ours.plan(x).steps for name in calls(step)}


# ---- side by side --------------------------------------------------------------------------------------------


def counting(counts: Array) -> list[list[Call]]:
    """Branches that add 1 to a number each, 3 times."""
    return [[Call(ADD_ONE, counts[i : i + 1])] * 3 for i in range(len(counts))]


def add_one(x: int) -> None:
    store_some(x, load_some(x, 1) + np.float32(1), 1)


def copy_4(x: int, out: int) -> None:
    store_some(out, load_some(x, 4), 4)


ADD_ONE, COPY_4 = compiler.compiled(add_one), compiler.compiled(copy_4)


@pytest.mark.parametrize("threads", [1, 2, 3, 12])
def test_every_branch_is_run_once(threads: int) -> None:
    counts = np.zeros(37, np.float32)
    (fork,) = together(counting(counts))
    assert isinstance(fork, Fork)
    with several(threads):
        for _ in range(200):
            fork()
    np.testing.assert_array_equal(counts, 600)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_without_python_are_one_call(threads: int) -> None:
    """In their order: what a fork counts is there when the next step reads it."""
    counts, before, after = (np.zeros(4, np.float32) for _ in range(3))
    (fork,) = together(counting(counts))
    looks = [Call(COPY_4, counts, into) for into in (before, after)]
    other = partial(np.add, 0, 0)
    rows = joined([looks[0], fork, fork, looks[1], other, fork])
    assert [type(step) for step in rows] == [Row, partial, Fork]
    with several(threads):
        for i in range(100):
            for step in rows:
                step()
            np.testing.assert_array_equal(after, 3 * (3 * i + 2))
            np.testing.assert_array_equal(before, 9 * i)
    np.testing.assert_array_equal(counts, 900)


def test_who_stands_by_still_takes_tasks() -> None:
    counts = np.zeros(4, np.float32)
    (fork,) = together(counting(counts))
    with several(2):
        for i in range(50):
            fork()
            assert each([lambda i=i: i, lambda: 7]) == [i, 7]
            with pytest.raises(ValueError, match="here"):
                each([partial(fails, "here"), int])
    np.testing.assert_array_equal(counts, 150)


def fails(text: str) -> None:
    raise ValueError(text)


def test_programs_of_several_threads_do_not_meet() -> None:
    rows = [np.zeros(4, np.float32) for _ in range(3)]
    forks = [together(counting(counts))[0] for counts in rows]

    def work(fork: Any) -> None:
        with several(2):
            for _ in range(200):
                fork()

    threads = [threading.Thread(target=work, args=(fork,)) for fork in forks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(rows, 600)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_workers_who_stand_by_are_not_called_to_a_gate(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To and fro takes Python; who waits for NumPy's branches is at the gate anyway."""
    called: list[Worker] = []
    expect = Worker.expect
    monkeypatch.setattr(Worker, "expect", lambda self: called.append(self) or expect(self))
    model = tenun.Sequential([tenun.Input((512,)), tenun.layers.Dense(512, "relu"), tenun.layers.Dense(512)])
    x = np.ones((64, 512), np.float32)
    executable = tenun.compile(model, backend=backend, threads=2)
    executable(x)
    assert executable.plan(x).is_parallel and bool(called) == (backend == "numpy")


# ---- training ------------------------------------------------------------------------------------------------


def losses(backend: str, threads: int | None = None) -> list[float]:
    tenun.set_random_seed(3)
    layers = [tenun.layers.Conv2D(32, 3, padding="same", activation="relu"), tenun.layers.MaxPooling2D()]
    layers += [tenun.layers.Conv2D(48, 3, activation="relu"), tenun.layers.Flatten(), tenun.layers.Dense(5, "softmax")]
    model = tenun.Sequential([tenun.Input((16, 16, 16)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", backend=backend, threads=threads)
    x, y = random(8, 16, 16, 16), np.arange(8) % 5
    return [float(model.train_on_batch(x, y)) for _ in range(6)]


def test_a_training_is_numpys_and_the_same_at_any_number_of_threads() -> None:
    found = losses("numba")
    np.testing.assert_allclose(found, losses("numpy"), rtol=2e-5)
    assert found == losses("numba", 1)


def test_a_model_is_not_compiled_for_a_backend_that_is_not_there() -> None:
    model = tenun.Sequential([tenun.Input((3,)), tenun.layers.Dense(1)])
    with pytest.raises(tenun.UnsupportedError, match="'abacus'"):
        model.compile("sgd", "mse", backend="abacus")


# ---- installation --------------------------------------------------------------------------------------------


RELU = 'graph "g" (%x: f32[3]) -> (%y: f32[3]) {\n%y: f32[3] = relu(%x)\n}'


def run_python(code: str, **environment: str) -> str:
    import os

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def test_without_numba_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import tenun\n"
        f"graph = tenun.parse({RELU!r})\n"
        "try:\n    tenun.compile(graph, backend='numba')\n"
        "except tenun.UnsupportedError as error:\n    print(error)"
    )
    assert "pip install tenun[jit]" in run_python(code)


def test_the_numpy_backend_does_not_import_numba() -> None:
    code = f"import sys, tenun; tenun.compile_and_run(tenun.parse({RELU!r})); print('numba' in sys.modules)"
    assert run_python(code) == "False"


def test_functions_are_kept_where_numba_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    text = "def twice(x):\n    return 2 * x\n"
    assert compiler.from_text("twice", text, {})(4) == 8
    assert list((tmp_path / "tenun").glob("*.nbc"))
    again = compiler.from_text("twice", text, {})
    assert again(4) == 8 and sum(again.stats.cache_hits.values()) == 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert compiler.from_text("thrice", "def thrice(x):\n    return 3 * x\n", {})(4) == 12
