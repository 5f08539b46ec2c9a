"""Gradients of lstm, gru and rnn: against central differences in float64, against Keras, and the kernels themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.api import load
from tenun.backends.numpy.kernels import recurrent_layer
from tenun.backends.numpy.kernels.slopes import DERIVATIVES
from tenun.backends.numpy.workers import several
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol, verify
from tenun.ir.attributes import Activation
from tenun.ir.op import OPS
from tenun.ir.ops.recurrent import DIFFERENTIABLE
from tenun.ir.rebuild import copy_nodes
from tenun.passes.autodiff.engine import gradients
from tenun.tests.kernels.harness import run_all

N, T, E, H = 3, 5, 2, 4
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
DIRECTIONS = ["forward", "reverse", "bidirectional"]
MASKS = ["none", "mask", "zero"]
# all, none, before the first, after the last, holes
PRESENT = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
Operands = dict[str, np.ndarray[Any, Any]]


def operands(
    name: str, direction: str = "forward", *, bias: bool = True, states: bool = True, mask: str = "none",
    peephole: bool = False, n: int = N, t: int = T, seed: int = 0,
) -> Operands:  # fmt: skip
    """Random operands in float64."""
    rng = np.random.default_rng(len(name) + n + seed)
    d, g = 2 if direction == "bidirectional" else 1, GATES[name]
    shapes: dict[str, tuple[int, ...]] = {"x": (n, t, E), "w": (d, E, g * H), "r": (d, H, g * H)}
    if bias:
        shapes["bias"] = (d, 2, g * H) if name == "gru" else (d, g * H)
    if states:
        shapes["h0"] = (n, d, H)
        shapes |= {"c0": (n, d, H)} if name == "lstm" else {}
    if peephole:
        shapes["peephole"] = (d, 3 * H)
    made = {k: rng.normal(size=s, scale=0.6) for k, s in shapes.items()}
    if mask != "none":
        made["mask"] = np.resize(PRESENT, (n, t))
    return made


def check(name: str, given: Operands, *, unused: tuple[int, ...] = (),
          **attrs: Any) -> None:  # fmt: skip
    """The gradient of a random combination of all results, in a random direction of all operands, by differences."""
    b = Builder(Graph("g"))
    inputs = {k: b.input(k, Tensor(dtype(a), a.shape)) for k, a in given.items()}
    results = getattr(b, name)(inputs["x"], **{k: v for k, v in inputs.items() if k != "x"}, **attrs)
    rng = np.random.default_rng(7)
    used = [v for i, v in enumerate(results) if i not in unused]
    total = reduce(b.add, [b.reduce_sum(b.mul(v, b.constant(rng.normal(size=v.shape)))) for v in used])
    wrt = [k for k in given if k != "mask"]
    graph = b.outputs(total, *gradients(b, [total], [inputs[k] for k in wrt]))
    verify(graph)
    f = tenun.compile(graph, pipeline=[])
    found = f(*given.values())[1:]
    for k, gradient in zip(wrt, found):
        u, h = rng.normal(size=given[k].shape), 1e-5
        up, down = (f(*(a + s * u if key == k else a for key, a in given.items()))[0] for s in (h, -h))
        np.testing.assert_allclose((gradient * u).sum(), (up - down) / (2 * h), rtol=2e-6, atol=2e-7, err_msg=k)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("states, bias", [(True, True), (False, False)])
def test_directions_masks_states(name: str, direction: str, mask: str, states: bool, bias: bool) -> None:
    given = operands(name, direction, bias=bias, states=states, mask=mask)
    check(name, given, direction=direction, zero_masked=mask == "zero")


@pytest.mark.parametrize("clip, input_forget, peephole", product([None, 0.5], [False, True], [False, True]))
@pytest.mark.parametrize("mask", ["none", "mask"])
@pytest.mark.parametrize("acts", ["tanh sigmoid tanh", "softsign hard_sigmoid linear", "silu tanh gelu"])
def test_lstm_attributes(clip: float | None, input_forget: bool, peephole: bool, mask: str, acts: str) -> None:
    given = operands("lstm", "bidirectional", mask=mask, peephole=peephole)
    names = dict(zip(("activation", "recurrent_activation", "output_activation"), acts.split()))
    check("lstm", given, direction="bidirectional", clip=clip, input_forget=input_forget, **names)


@pytest.mark.parametrize("clip, reset_after, bias", product([None, 0.5], [False, True], [False, True]))
@pytest.mark.parametrize("mask", ["none", "mask"])
@pytest.mark.parametrize("acts", ["tanh sigmoid", "elu hard_sigmoid", "softsign tanh"])
def test_gru_attributes(clip: float | None, reset_after: bool, bias: bool, mask: str, acts: str) -> None:
    given = operands("gru", "bidirectional", mask=mask, bias=bias)
    names = dict(zip(("activation", "recurrent_activation"), acts.split()))
    check("gru", given, direction="bidirectional", clip=clip, reset_after=reset_after, **names)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_every_activation(name: str, clip: float | None) -> None:
    activation = Activation("clip", (("low", -0.3), ("high", 0.4))) if name == "clip" else Activation(name)
    check("rnn", operands("rnn", mask="mask"), activation=activation, clip=clip)


@pytest.mark.parametrize("name, direction, mask", product(GATES, DIRECTIONS, MASKS))
def test_with_a_record(name: str, direction: str, mask: str) -> None:
    """First and second derivatives of the recording op, which go by the record where they can."""
    given, how = operands(name, direction, mask=mask), {"direction": direction, "zero_masked": mask == "zero"}
    check(f"{name}_record", given, unused=(3 if name == "lstm" else 2,), **how)
    check_second(f"{name}_record", given, **how)


@pytest.mark.parametrize("direction, mask", product(DIRECTIONS, MASKS))
def test_a_record_of_gru_without_reset_after(direction: str, mask: str) -> None:
    how = {"direction": direction, "zero_masked": mask == "zero", "reset_after": False}
    check("gru_record", operands("gru", direction, mask=mask), unused=(2,), **how)


@pytest.mark.parametrize("name, direction", product(GATES, ("forward", "bidirectional")))
def test_layers_side_by_side(name: str, direction: str) -> None:
    """Weights for twice as many directions: the gradients of two layers, that of x being their sum."""
    first, second = operands(name, direction), operands(name, direction, seed=1)
    given = {k: np.concatenate([a, second[k]], 1 if k in ("h0", "c0") else 0) for k, a in first.items() if k != "x"}
    check(name, {"x": first["x"], **given}, direction=direction)


def test_derivatives_are_those_declared() -> None:
    assert set(DERIVATIVES) == DIFFERENTIABLE
    assert DIFFERENTIABLE - {"linear"} <= {n for n, op in OPS.items() if op.has("activation")}


@pytest.mark.parametrize("name", GATES)
def test_single_results_and_sizes(name: str) -> None:
    count = 3 if name == "lstm" else 2
    for used in range(count):
        check(name, operands(name), unused=tuple(i for i in range(count) if i != used))
    for n, t in ((1, 4), (2, 1)):
        check(name, operands(name, "bidirectional", n=n, t=t, mask="mask"), direction="bidirectional")


@pytest.mark.parametrize("name", GATES)
def test_many_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps prepared a few at a time."""
    monkeypatch.setattr(recurrent_layer, "PART_BYTES", 1 << 11)
    check(name, operands(name, "bidirectional", t=11, mask="mask"), direction="bidirectional")


@pytest.mark.parametrize("name, direction", product(GATES, DIRECTIONS))
def test_the_same_bits_on_any_number_of_threads(name: str, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two steps, ahead of the loop and behind it on other threads or on the same one."""
    given = kernel_operands(name, operands(name, direction, mask="mask", t=11))
    whole = run_all(f"{name}_grad", *given, direction=direction)
    monkeypatch.setattr(recurrent_layer, "STEPS", 2)
    serial = run_all(f"{name}_grad", *given, direction=direction)
    monkeypatch.setattr(recurrent_layer, "FLOW_FLOPS", 0)
    monkeypatch.setattr(recurrent_layer, "TASK_FLOPS", 0)
    for threads in (1, 2, 4):
        with several(threads):
            found = run_all(f"{name}_grad", *given, direction=direction)
        for got, want, near in zip(found, serial, whole):
            np.testing.assert_array_equal(got, want)
            np.testing.assert_allclose(got, near, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_activations_that_the_gradient_op_does_not_know(name: str) -> None:
    """By a scan of elementary ops; the gradient op itself refuses them by name."""
    check(name, operands(name, "bidirectional", mask="mask"), direction="bidirectional", activation="erf")
    b = Builder(Graph("g"))
    x, w, r = (b.input(k, Tensor(dtype("f64"), a.shape)) for k, a in operands(name, states=False, bias=False).items())
    with b.at("layer_7"), pytest.raises(UnsupportedError, match="activation erf") as caught:
        getattr(b, f"{name}_grad")(x, w, r, activation="erf")
    assert "layer_7" in str(caught.value)


# ---- gradients of gradients ----------------------------------------------------------------------------------


def check_second(name: str, given: Operands, *, used: tuple[int, ...] = (0, 1), pipeline: Any = (), order: int = 2,
                 **attrs: Any) -> None:  # fmt: skip
    """The gradient of a random combination of first gradients (of `order` - 1 gradients), by differences of these."""
    b = Builder(Graph("g"))
    inputs = {k: b.input(k, Tensor(dtype(a), a.shape)) for k, a in given.items()}
    results = getattr(b, name)(inputs["x"], **{k: v for k, v in inputs.items() if k != "x"}, **attrs)
    rng = np.random.default_rng(7)
    total = reduce(b.add, [b.reduce_sum(b.square(b.sin(results[i]))) for i in used])
    wrt = [k for k in given if k != "mask"]
    for _ in range(order - 1):
        firsts = gradients(b, [total], [inputs[k] for k in wrt])
        total = reduce(b.add, [b.reduce_sum(b.mul(g, b.constant(rng.normal(size=g.shape)))) for g in firsts])
    graph = b.outputs(total, *gradients(b, [total], [inputs[k] for k in wrt]))
    verify(graph)
    f = tenun.compile(graph, pipeline=pipeline)
    found = f(*given.values())[1:]
    for k, gradient in zip(wrt, found):
        u, h = rng.normal(size=given[k].shape), 1e-6
        up, down = (f(*(a + s * u if key == k else a for key, a in given.items()))[0] for s in (h, -h))
        want = (up - down) / (2 * h)
        np.testing.assert_allclose((gradient * u).sum(), want, rtol=2e-6, atol=1e-6, err_msg=k)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction, mask", [("forward", "none"), ("reverse", "mask"), ("bidirectional", "zero")])
def test_second_derivatives(name: str, direction: str, mask: str) -> None:
    given = operands(name, direction, mask=mask, peephole=name == "lstm")
    check_second(name, given, direction=direction, zero_masked=mask == "zero")


@pytest.mark.parametrize("name", GATES)
def test_second_derivatives_of_plain_layers(name: str) -> None:
    """No bias, no states; one result at a time; through the passes."""
    given = operands(name, states=False, bias=False, n=2, t=2)
    for used in range(3 if name == "lstm" else 2):
        check_second(name, given, used=(used,), pipeline="inference")


def test_third_derivatives() -> None:
    check_second("rnn", operands("rnn", states=False, bias=False, n=2, t=3), used=(0,), order=3)


@pytest.mark.parametrize("attrs", [
    {"clip": 0.5}, {"input_forget": True}, {"clip": 0.5, "input_forget": True},
    {"activation": "softsign", "recurrent_activation": "hard_sigmoid", "output_activation": "gelu"},
], ids=str)  # fmt: skip
def test_second_derivatives_of_lstm_variants(attrs: dict[str, Any]) -> None:
    check_second("lstm", operands("lstm", mask="mask", peephole=True), used=(0, 1, 2), **attrs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attrs", [{"clip": 0.5}, {"activation": "elu", "recurrent_activation": "silu"}], ids=str)
def test_second_derivatives_of_gru_variants(attrs: dict[str, Any], bias: bool) -> None:
    check_second("gru", operands("gru", mask="mask", bias=bias), reset_after=False, **attrs)


def test_second_derivatives_with_a_symbolic_batch() -> None:
    b = Builder(Graph("g"))
    given = operands("lstm", "bidirectional", mask="mask")
    x = b.input("x", Tensor(dtype("f64"), (symbol("N"), T, E)))
    mask = b.input("mask", Tensor(dtype("bool"), (symbol("N"), T)))
    w, r, bias = (b.constant(given[k]) for k in ("w", "r", "bias"))
    y = b.lstm(x, w, r, bias, mask, direction="bidirectional")[0]
    (dx,) = gradients(b, [b.reduce_sum(b.square(y))], [x])
    f = tenun.compile(b.outputs(b.reduce_sum(b.sin(dx)), *gradients(b, [b.reduce_sum(b.sin(dx))], [x])))
    u = np.random.default_rng(0).normal(size=given["x"].shape)
    up, down = (f(given["x"] + h * u, given["mask"])[0] for h in (1e-6, -1e-6))
    np.testing.assert_allclose((f(given["x"], given["mask"])[1] * u).sum(), (up - down) / 2e-6, rtol=1e-6)


# ---- the kernels, in poisoned memory -------------------------------------------------------------------------


def kernel_operands(name: str, given: Operands) -> list[Any]:
    """The forward operands, then gradients of all results."""
    order = ["x", "w", "r", "bias", "mask", "h0", *(["c0", "peephole"] if name == "lstm" else [])]
    rng, d = np.random.default_rng(3), given["w"].shape[0]
    n, t, _ = given["x"].shape
    seeds = [rng.normal(size=(n, t, d, H)), *(rng.normal(size=(n, d, H)) for _ in range(2 if name == "lstm" else 1))]
    return [*(given.get(k) for k in order), *(s.astype(given["x"].dtype) for s in seeds)]


@pytest.mark.parametrize("name, dtypes", product(GATES, [("float32", 1e-4), ("float16", 2e-2), ("bfloat16", 2e-1)]))
def test_kernels_in_other_dtypes(name: str, dtypes: tuple[str, float]) -> None:
    kind, tolerance = dtypes
    kind = pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else kind
    given = operands(name, "bidirectional", mask="mask", peephole=name == "lstm")
    full = kernel_operands(name, given)
    lower = [a.astype(kind) if a is not None and a.dtype.kind == "f" else a for a in full]
    for got, want in zip(*(run_all(f"{name}_grad", *o, direction="bidirectional") for o in (lower, full))):
        np.testing.assert_allclose(got.astype(float), want, atol=tolerance * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("name, n, t", product(GATES, [0, 2], [0, 1]))
def test_kernels_on_nothing(name: str, n: int, t: int) -> None:
    """No sequences, or no steps: gradients of weights are 0, those of states go through."""
    given = kernel_operands(name, operands(name, n=n, t=t, mask="mask"))
    results = run_all(f"{name}_grad", *given)
    if n * t == 0:
        assert not any(a.any() for a in results[:4])
        np.testing.assert_array_equal(results[4], given[9 if name == "lstm" else 7])


@pytest.mark.parametrize("name", GATES)
def test_kernels_with_constant_and_left_out_operands(name: str) -> None:
    """Packed while binding, or at each run; no gradient of the sequence."""
    given = kernel_operands(name, operands(name))
    for place in (-1, -2):
        some = list(given)
        some[place] = None
        before = run_all(f"{name}_grad", *some)
        for a in some[1:4]:
            a.flags.writeable = False
        for x, y in zip(before, run_all(f"{name}_grad", *some)):
            np.testing.assert_array_equal(x, y)
        for a in some[1:4]:
            a.flags.writeable = True


# ---- Keras ---------------------------------------------------------------------------------------------------

STEPS = 6
THERE = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0] * 6], bool)
LAYERS: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda L: L.LSTM(4, return_sequences=True),
    "lstm last": lambda L: L.LSTM(4),
    "lstm backwards, zeros": lambda L: L.LSTM(4, go_backwards=True, return_sequences=True, zero_output_for_mask=True),
    "lstm relu": lambda L: L.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid", use_bias=False),
    "gru": lambda L: L.GRU(4, return_sequences=True),
    "gru before": lambda L: L.GRU(4, reset_after=False),
    "simple": lambda L: L.SimpleRNN(4, return_sequences=True),
    "cells in a scan": lambda L: L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_sequences=True),
    "both lstm": lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True)),
    "both gru, sum": lambda L: L.Bidirectional(L.GRU(4), merge_mode="sum"),
}


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras, quiet; the tests are skipped without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("tensorflow")
    return pytest.importorskip("keras")


def with_gradients(graph: Graph) -> tuple[Graph, list[np.ndarray[Any, Any]]]:
    """x -> the gradients of sum(sin(y)) with respect to x and each constant of a float dtype; these constants."""
    b = Builder(Graph("g"))
    x = b.input("x", graph.inputs[0].type)
    mapping = {graph.inputs[0]: x}
    (y,) = copy_nodes(b, graph, mapping)
    total = b.reduce_sum(b.sin(y))
    weights = [mapping[v] for v in graph.constants if v.tensor.dtype.is_float and v.data.ndim]  # type: ignore[union-attr]
    made = b.outputs(*gradients(b, [total], [x, *weights]), names=[f"d{i}" for i in range(len(weights) + 1)])
    return made, [w.data for w in weights]  # type: ignore[misc]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_keras(keras: Any, tmp_path: Path, name: str, masked: bool) -> None:
    """The gradients of a layer's input and weights are those of tf.GradientTape."""
    import tensorflow as tf

    inputs = keras.Input((STEPS, 3))
    model = keras.Model(inputs, LAYERS[name](keras.layers)(keras.layers.Masking()(inputs) if masked else inputs))
    rng = np.random.default_rng(0)
    for v in model.weights:
        v.assign(rng.uniform(-0.7, 0.7, v.shape))
    x = rng.normal(size=(len(THERE), STEPS, 3)).astype("float32")
    x = x * THERE[:, :, None] if masked else x
    with tf.GradientTape() as tape:
        given = tf.constant(x)
        tape.watch(given)
        total = tf.reduce_sum(tf.sin(model(given)))
    want = [np.asarray(g) for g in tape.gradient(total, [given, *(v.value for v in model.trainable_variables)])]
    path = tmp_path / "model.keras"
    model.save(path)
    graph, weights = with_gradients(load(path))
    dx, *found = (np.asarray(a) for a in tenun.compile(graph)(x))
    np.testing.assert_allclose(dx, want[0], rtol=1e-4, atol=1e-4)
    parts = [pair for w, g in zip(weights, found) for pair in pieces(w, g)]
    for variable, gradient in zip(model.trainable_variables, want[1:]):
        got = next(g for w, g in parts if same_numbers(w, np.asarray(variable)))
        np.testing.assert_allclose(got.reshape(gradient.shape), gradient, rtol=1e-4, atol=1e-4, err_msg=variable.path)


def pieces(weight: np.ndarray[Any, Any], gradient: np.ndarray[Any, Any]) -> list[Any]:
    """A constant of the graph, what it holds for one direction, for one of two biases, with their gradients."""
    inner = [pair for pairs in map(pieces, weight, gradient) for pair in pairs] if weight.ndim > 1 else []
    return [(weight, gradient), *inner]


def same_numbers(weight: np.ndarray[Any, Any], variable: np.ndarray[Any, Any]) -> bool:
    """Whether a piece of a constant is a variable, perhaps in another shape."""
    return weight.size == variable.size and np.array_equal(weight.reshape(-1), variable.reshape(-1))
