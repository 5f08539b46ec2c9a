"""`tenun.value`: values against NumPy, gradients against central differences in float64 and tf.GradientTape."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import pydoc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import GraphError, RunError, ShapeError, TenunError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dims, dtype
from tenun.value import (
    Module,
    Value,
    apply,
    avg_pool2d,
    concat,
    conv2d,
    embedding,
    grad,
    lstm,
    max_pool2d,
    maximum,
    minimum,
    one_hot,
    stack,
    where,
)
from tenun.value.expressions import Trace, for_values
from tenun.value.programs import gradient_program, value_program

Array = np.ndarray[Any, Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def positive(*shape: int) -> Array:
    return np.abs(normal(*shape)) + 0.5


def slopes(f: Callable[..., Array], xs: list[Array], place: int, step: float = 1e-6) -> Array:
    """Central differences of the weighted sum of f(*xs) in every element of xs[place]."""

    def total(i: int, change: float) -> float:
        moved = xs[place].copy()
        moved.reshape(-1)[i] += change
        y = np.asarray(f(*xs[:place], moved, *xs[place + 1 :]))
        return float((y * weights(y.shape)).sum())

    found = [(total(i, step) - total(i, -step)) / (2 * step) for i in range(xs[place].size)]
    return np.reshape(found, xs[place].shape)


def weights(shape: tuple[int, ...]) -> Array:
    return np.cos(np.arange(np.prod(shape, dtype=int), dtype=np.float64)).reshape(shape)


def check(ours: Callable[..., Value], theirs: Callable[..., Any], *xs: Array, tol: float = 1e-7) -> None:
    """Equal values, and gradients as central differences of the NumPy function have them."""
    arrays = [np.asarray(x, np.float64) for x in xs]
    values = [Value(x, requires_grad=True) for x in arrays]
    y = ours(*values)
    expected = np.asarray(theirs(*arrays))
    assert y.shape == expected.shape
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)
    (y * weights(y.shape)).sum().backward()
    for i, value in enumerate(values):
        assert value.grad.shape == value.shape and value.grad.dtype == np.float64
        np.testing.assert_allclose(value.grad, slopes(theirs, arrays, i), rtol=tol, atol=max(tol, 1e-8))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# ---- functions and operators ---------------------------------------------------------------------------------

X, Y = normal(3, 4), normal(3, 4, seed=1)
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Array]] = {
    "neg": (lambda v: -v, lambda x: -x, X),
    "exp": (Value.exp, np.exp, X),
    "log": (Value.log, np.log, positive(3, 4)),
    "sqrt": (Value.sqrt, np.sqrt, positive(3, 4)),
    "abs": (Value.abs, np.abs, X),
    "builtin abs": (abs, np.abs, X),
    "tanh": (Value.tanh, np.tanh, X),
    "sigmoid": (Value.sigmoid, lambda x: 1 / (1 + np.exp(-x)), X),
    "relu": (Value.relu, lambda x: np.maximum(x, 0), X),
    "linear": (lambda v: v.linear() * 1.0, lambda x: x, X),
    "leaky_relu": (Value.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), X),
    "leaky_relu, slope": (lambda v: v.leaky_relu(negative_slope=0.3), lambda x: np.where(x > 0, x, 0.3 * x), X),
    "elu": (Value.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1), X),
    "elu, alpha": (lambda v: v.elu(0.7), lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1)), X),
    "softmax": (Value.softmax, softmax, X),
    "softmax, axis": (lambda v: v.softmax(axis=0), lambda x: softmax(x, 0), X),
    "log_softmax": (Value.log_softmax, lambda x: np.log(softmax(x)), X),
    "clamp": (lambda v: v.clamp(-0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), X),
    "clamp, min": (lambda v: v.clamp(min=0.1), lambda x: np.maximum(x, 0.1), X),
    "clamp, max": (lambda v: v.clamp(max=0.1), lambda x: np.minimum(x, 0.1), X),
    "sum": (Value.sum, np.sum, X),
    "sum, axis": (lambda v: v.sum(0), lambda x: x.sum(0), X),
    "sum, axes": (lambda v: v.sum((0, -1), keepdims=True), lambda x: x.sum((0, 2), keepdims=True), normal(2, 3, 2)),
    "mean": (Value.mean, np.mean, X),
    "mean, axis": (lambda v: v.mean(-1, keepdims=True), lambda x: x.mean(-1, keepdims=True), X),
    "max": (Value.max, np.max, X),
    "max, axis": (lambda v: v.max(axis=1), lambda x: x.max(1), X),
    "min": (lambda v: v.min(0, True), lambda x: x.min(0, keepdims=True), X),
    "var": (Value.var, np.var, X),
    "var, axis": (lambda v: v.var(axis=0), lambda x: x.var(0), X),
    "T": (lambda v: v.T * 1.0, np.transpose, normal(2, 3, 4)),
    "transpose": (lambda v: v.transpose(1, 2, 0), lambda x: x.transpose(1, 2, 0), normal(2, 3, 4)),
    "reshape": (lambda v: v.reshape(2, -1), lambda x: x.reshape(2, -1), X),
    "reshape, tuple": (lambda v: v.reshape((6, 2)), lambda x: x.reshape(6, 2), X),
    "flatten": (Value.flatten, np.ravel, X),
    "flatten, batch": (lambda v: v.flatten(1), lambda x: x.reshape(2, 12), normal(2, 3, 4)),
    "squeeze": (Value.squeeze, np.squeeze, normal(1, 3, 1)),
    "squeeze, axis": (lambda v: v.squeeze(-1), lambda x: x.squeeze(-1), normal(1, 3, 1)),
    "unsqueeze": (lambda v: v.unsqueeze(1), lambda x: x[:, None], X),
    "pow 2": (lambda v: v**2, lambda x: x**2, X),
    "pow 3": (lambda v: v**3, lambda x: x**3, X),
    "pow 0": (lambda v: v**0, lambda x: x**0, X),
    "pow -1": (lambda v: v**-1, lambda x: 1 / x, X),
    "pow 0.5": (lambda v: v**0.5, np.sqrt, positive(3, 4)),
    "pow -1.5": (lambda v: v**-1.5, lambda x: x**-1.5, positive(3, 4)),
    "v + 2": (lambda v: v + 2, lambda x: x + 2, X),
    "2 + v": (lambda v: 2 + v, lambda x: 2 + x, X),
    "v - 2": (lambda v: v - 2, lambda x: x - 2, X),
    "2 - v": (lambda v: 2 - v, lambda x: 2 - x, X),
    "2 * v": (lambda v: 2 * v, lambda x: 2 * x, X),
    "v / 2": (lambda v: v / 2, lambda x: x / 2, X),
    "2 / v": (lambda v: 2 / v, lambda x: 2 / x, X),
    "2 ** v": (lambda v: 2**v, lambda x: 2**x, X),
    "array + v": (lambda v: Y + v, lambda x: Y + x, X),
    "array - v": (lambda v: Y - v, lambda x: Y - x, X),
    "array * v": (lambda v: Y * v, lambda x: Y * x, X),
    "array / v": (lambda v: Y / v, lambda x: Y / x, X),
    "array ** v": (lambda v: np.abs(Y) ** v, lambda x: np.abs(Y) ** x, X),
    "array @ v": (lambda v: Y.T @ v, lambda x: Y.T @ x, X),
    "v @ array": (lambda v: v @ Y.T, lambda x: x @ Y.T, X),
    "list + v": (lambda v: [1.1, 2, 3, 4] + v, lambda x: x + [1.1, 2, 3, 4], X),
    "np.float64 * v": (lambda v: np.float64(1.5) * v, lambda x: 1.5 * x, X),
    "diamond": (lambda v: (v * 2) * (v + 1) + v, lambda x: (x * 2) * (x + 1) + x, X),
    "twice the same": (lambda v: v * v, lambda x: x * x, X),
    "chain": (
        lambda v: ((v.exp() + 1).log() * v.tanh()).sum(1) / 3,
        lambda x: (np.log1p(np.exp(x)) * np.tanh(x)).sum(1) / 3, X),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    ours, theirs, x = FUNCTIONS[name]
    check(ours, theirs, x)


PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Array, ...]]] = {
    "add": (lambda a, b: a + b, lambda a, b: a + b, (X, Y)),
    "sub": (lambda a, b: a - b, lambda a, b: a - b, (X, Y)),
    "mul": (lambda a, b: a * b, lambda a, b: a * b, (X, Y)),
    "div": (lambda a, b: a / b, lambda a, b: a / b, (X, Y)),
    "pow": (lambda a, b: a**b, lambda a, b: a**b, (positive(3, 4), Y)),
    "add, row": (lambda a, b: a + b, lambda a, b: a + b, (X, normal(4))),
    "sub, column": (lambda a, b: a - b, lambda a, b: a - b, (normal(3, 1), X)),
    "mul, scalar": (lambda a, b: a * b, lambda a, b: a * b, (normal(), X)),
    "div, both ways": (lambda a, b: a / b, lambda a, b: a / b, (normal(3, 1), positive(1, 4))),
    "pow, broadcast": (lambda a, b: a**b, lambda a, b: a**b, (positive(2, 1, 3), normal(4, 1))),
    "matmul": (lambda a, b: a @ b, lambda a, b: a @ b, (X, normal(4, 2))),
    "matmul, vectors": (lambda a, b: a @ b, lambda a, b: a @ b, (normal(4), normal(4, seed=1))),
    "matmul, vector right": (lambda a, b: a @ b, lambda a, b: a @ b, (X, normal(4))),
    "matmul, vector left": (lambda a, b: a @ b, lambda a, b: a @ b, (normal(3), X)),
    "matmul, batches": (lambda a, b: a @ b, lambda a, b: a @ b, (normal(2, 1, 3, 4), normal(3, 4, 2))),
    "maximum": (maximum, np.maximum, (X, normal(4, seed=1))),
    "minimum": (minimum, np.minimum, (X, normal(4, seed=1))),
    "where": (lambda a, b: where(X > 0, a, b), lambda a, b: np.where(X > 0, a, b), (Y, normal(4))),
    "where, condition": (lambda a, b: where(a > b, a * 2, b), lambda a, b: np.where(a > b, a * 2, b), (X, Y)),
    "concat": (lambda a, b: concat([a, b, a], axis=1), lambda a, b: np.concatenate([a, b, a], 1), (X, normal(3, 2))),
    "stack": (lambda a, b: stack([a, b]), lambda a, b: np.stack([a, b]), (X, Y)),
    "stack, axis": (lambda a, b: stack([a, b], axis=-1), lambda a, b: np.stack([a, b], -1), (X, Y)),
    "softmax cross-entropy": (
        lambda a, b: -(a.log_softmax() * b.softmax()).sum(-1).mean(),
        lambda a, b: -(np.log(softmax(a)) * softmax(b)).sum(-1).mean(), (X, Y)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_function_of_two(name: str) -> None:
    ours, theirs, xs = PAIRS[name]
    check(ours, theirs, *xs)


COMPARISONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.mark.parametrize("sign", COMPARISONS)
def test_comparisons_give_booleans(sign: str) -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    for left, right in ((Value(x, True), y), (x, Value(y)), (Value(x), 2), (2, Value(x))):
        result = COMPARISONS[sign](left, right)
        assert isinstance(result, Value) and result.dtype == bool and not result.requires_grad
        plain = [o.data if isinstance(o, Value) else o for o in (left, right)]
        np.testing.assert_array_equal(result.data, COMPARISONS[sign](*plain))


def test_logic_of_booleans() -> None:
    v = Value([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(((v > 1) & (v < 3)).data, [False, True, False])
    np.testing.assert_array_equal(((v < 2) | ~(v < 3)).data, [True, False, True])


# ---- indexing ------------------------------------------------------------------------------------------------

CUBE = normal(4, 5, 6)
KEYS: list[Any] = [
    0, -1, slice(1, 3), slice(None, None, -1), slice(4, None, -2), slice(2, -100, -1), slice(3, 3), ..., None,
    (slice(None), None), (1, ..., 2), (..., -1), (slice(None), slice(1, 4, 2)), (None, 2, slice(None), None, 3),
    (slice(None), -2, slice(None, None, -3)), (0, 1, 2), np.array([2, 0, 2]), [3, -1], [],
    np.array([[0, 1], [2, 3]]), (slice(None), np.array([[0, 4], [2, -1]])), (np.array([0, 3]), np.array([1, 2])),
    (slice(None), np.array([0, 3]), np.array([1, 2])), (np.array([0, 3]), slice(None), np.array([1, 2])),
    (np.array([[0], [3]]), slice(1, 4), np.array([1, 2])), (1, slice(None), np.array([1, 1])),
    (slice(1, None), np.array([1, 1]), 0), (..., np.array([0, 0, 4]), slice(None, None, -1)),
    (np.array([1, 2]), None, np.array([3, 3])), (None, np.array([1, 2]), np.array([3, 3]), None),
    (slice(None), None, np.array([1, 2]), None), (slice(None, None, 2), np.array([1, 0]), None, slice(0, 2)),
    CUBE > 0, CUBE[:, 0, 0] > 0, (slice(None), CUBE[0] > 0), (CUBE[..., 0] > 0, 1), np.zeros(4, bool), np.array(2),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k).replace("\n", "")[:60])
def test_indexing(key: Any) -> None:
    v = Value(CUBE, requires_grad=True)
    picked, expected = v[key], CUBE[key]
    assert picked.shape == expected.shape
    np.testing.assert_array_equal(picked.data, expected)
    given = weights(expected.shape)
    (picked * given).sum().backward()
    wanted = np.zeros_like(CUBE)
    np.add.at(wanted, key, given)
    np.testing.assert_allclose(v.grad, wanted, atol=1e-14)


def test_values_as_indices() -> None:
    v, i = Value(CUBE, requires_grad=True), Value(np.array([2, 0]))
    np.testing.assert_array_equal(v[i].data, CUBE[[2, 0]])
    np.testing.assert_array_equal(v[v > 1].data, CUBE[CUBE > 1])
    np.testing.assert_array_equal(v[i + 1, :, i].data, CUBE[[3, 1], :, [2, 0]])


@pytest.mark.parametrize(
    "key", [4, -5, (0, 0, 0, 0), (..., ...), np.array([0, 9]), 1.5, "a", np.zeros((4, 4), bool), True,
            (np.array([0, 1]), np.array([0, 1, 2]))],
    ids=str,
)  # fmt: skip
def test_bad_indices(key: Any) -> None:
    with pytest.raises(ShapeError):
        Value(CUBE)[key]


def test_iterating() -> None:
    v = Value([[1.0, 2.0], [3.0, 4.0]])
    assert len(v) == 2
    assert [row.data.tolist() for row in v] == [[1.0, 2.0], [3.0, 4.0]]


# ---- backward ------------------------------------------------------------------------------------------------


def test_backward_again_adds() -> None:
    v = Value([1.0, 2.0], requires_grad=True)
    y = (v * v).sum()
    y.backward()
    y.backward()
    np.testing.assert_array_equal(v.grad, [4.0, 8.0])
    (3 * v).sum().backward()
    np.testing.assert_array_equal(v.grad, [7.0, 11.0])
    v.zero_grad()
    assert v.grad is None


def test_backward_starts_from_ones_or_from_what_is_given() -> None:
    v = Value(np.arange(3.0), requires_grad=True)
    (v**2).backward()
    np.testing.assert_array_equal(v.grad, [0.0, 2.0, 4.0])
    v.grad = None
    (v**2).backward([1, 10, 100])
    np.testing.assert_array_equal(v.grad, [0.0, 20.0, 400.0])


def test_a_leaf_is_its_own_gradient() -> None:
    v = Value([1.0, 2.0], requires_grad=True)
    v.backward()
    np.testing.assert_array_equal(v.grad, [1.0, 1.0])


def test_only_what_requires_it_gets_a_gradient() -> None:
    a, b, c = Value(1.5, requires_grad=True), Value(2.0), Value(3.0, requires_grad=True)
    y = a * b
    z = y + 1
    z.backward()
    assert a.grad == 2.0 and b.grad is None and c.grad is None and y.grad is None
    assert y.requires_grad and not (b * 2).requires_grad


def test_intermediate_gradients_on_request() -> None:
    a = Value([1.0, 2.0], requires_grad=True)
    h = (a * 3).retain_grad()
    y = (h * h + h).sum().retain_grad()
    y.backward()
    np.testing.assert_array_equal(h.grad, [7.0, 13.0])
    np.testing.assert_array_equal(a.grad, [21.0, 39.0])
    assert y.grad == 1.0


def test_gradients_do_not_share_memory() -> None:
    a, b = Value(np.ones(3), True), Value(np.ones(3), True)
    (a + b).sum().backward()
    a.grad *= 2
    np.testing.assert_array_equal(b.grad, np.ones(3))


def test_a_wide_and_deep_diamond() -> None:
    v = Value(1.0, requires_grad=True)
    y = v
    for _ in range(40):
        y = y * 0.5 + y * 0.5  # 2^40 ways
    y.backward()
    assert v.grad == 1.0


def test_a_deep_expression_needs_no_recursion() -> None:
    v = Value(np.float64(1.0), requires_grad=True)
    y = v
    for _ in range(1500):
        y = y + 0.001
    np.testing.assert_allclose(y.item(), 2.5)
    y.backward()
    assert v.grad == 1.0
    for _ in range(20_000):
        y = y + 1
    del y


def test_no_gradient_flows_through_comparisons_and_detach() -> None:
    v = Value([1.0, -2.0], requires_grad=True)
    (v * (v > 0)).sum().backward()
    np.testing.assert_array_equal(v.grad, [1.0, 0.0])
    v.zero_grad()
    (v * v.detach()).sum().backward()
    np.testing.assert_array_equal(v.grad, [1.0, -2.0])
    assert v.detach().is_leaf and not v.detach().requires_grad


def test_ties_are_shared_as_in_tensorflow() -> None:
    v = Value([2.0, 2.0, 1.0], requires_grad=True)
    v.max().backward()
    np.testing.assert_array_equal(v.grad, [0.5, 0.5, 0.0])


def test_second_derivatives() -> None:
    v = Value(np.array([0.5, -1.5]), requires_grad=True)
    (slope,) = grad((v**3).sum(), [v])
    np.testing.assert_allclose(slope.data, 3 * v.data**2)
    (curvature,) = grad(slope.sum(), [v])
    np.testing.assert_allclose(curvature.data, 6 * v.data)
    (slope**2).sum().backward()  # a penalty on the gradient: d (3 x²)² = 36 x³
    np.testing.assert_allclose(v.grad, 36 * v.data**3)
    (third,) = grad(curvature, [v], gradient=[1.0, 2.0])
    np.testing.assert_allclose(third.data, [6.0, 12.0])


def test_gradient_penalty_of_a_network_against_central_differences() -> None:
    x, w1, w2 = normal(5, 3), normal(3, 4, seed=1), normal(4, 1, seed=2)

    def penalty(first: Array, second: Array) -> Array:
        """The mean of (|d tanh(x W) V / dx| - 1)², the slope written out by hand."""
        inner = 1 - np.tanh(x @ first) ** 2
        slope = (inner * second[:, 0]) @ first.T
        return ((np.sqrt((slope**2).sum(1)) - 1) ** 2).mean()

    def ours(first: Value, second: Value) -> Value:
        given = Value(x, requires_grad=True)
        (slope,) = grad(((given @ first).tanh() @ second).sum(), [given])
        return (((slope**2).sum(1).sqrt() - 1) ** 2).mean()

    check(ours, penalty, w1, w2, tol=1e-6)


# ---- graphs --------------------------------------------------------------------------------------------------


def test_the_recorded_graph_is_ir() -> None:
    x = Value(np.ones((2, 3), np.float32), name="x")
    w = Value(np.full((3, 1), 2.0, np.float32), requires_grad=True, name="w")
    y = ((x @ w) ** 2).mean()
    y.name = "loss"
    text = str(y.graph)
    assert "(%x: f32[2, 3], %w: f32[3, 1])" in text and "matmul(%x, %w)" in text and "loss" in text
    assert tenun.parse(text, y.graph.weights) == y.graph
    assert tenun.compile(y.graph)(x.data, w.data) == y.item() == 36.0
    slopes_of_loss = tenun.compile(y.grad_graph())(x.data, w.data)
    y.backward()
    np.testing.assert_array_equal(slopes_of_loss, w.grad)
    assert y.grad_graph(w, x).output_names == ["d_w", "d_x"]
    assert "pow" in str((x**2).graph)  # also after it was computed
    z = x**2
    assert z.data.sum() == 6 and "pow" in str(z.graph)


def test_the_gradient_graph_can_be_differentiated() -> None:
    v = Value(np.array([1.0, 2.0]), requires_grad=True, name="v")
    first = (v**3).sum().grad_graph(v)
    second = tenun.grad(first, wrt=["v"])
    np.testing.assert_allclose(tenun.compile(second)(v.data), [6.0, 12.0])


def test_names_that_repeat() -> None:
    a, b = Value([1.0], True, name="p"), Value([2.0], True, name="p")
    assert [v.name for v in (a * b).graph.inputs] == ["p", "p_1"]
    assert (a * b).grad_graph().output_names == ["d_p", "d_p_1"]


def test_apply_puts_a_graph_into_an_expression() -> None:
    b = Builder(Graph("dense"))
    x = b.input("x", Tensor(dtype("f64"), (dims.symbol("N"), 3)))
    w = b.input("w", Tensor(dtype("f64"), (3, 2)))
    graph = b.outputs(b.tanh(b.add(b.matmul(x, w), b.constant(np.array([0.5, -0.5])))))

    def ours(x: Value, w: Value) -> Value:
        return apply(graph, x, w)[0] * 2

    check(ours, lambda x, w: np.tanh(x @ w + [0.5, -0.5]) * 2, normal(4, 3), normal(3, 2))
    with pytest.raises(RunError, match="takes 2 inputs"):
        apply(graph, normal(4, 3))
    with pytest.raises(ShapeError):
        apply(graph, normal(4, 2), normal(3, 2))


def test_apply_a_keras_model(tf: Any) -> None:
    path = tenun.__path__[0] + "/demo/digits_cnn.keras"
    image = normal(2, 8, 8, 1).astype(np.float32)
    v = Value(image, requires_grad=True)
    (y,) = apply(tenun.load(path), v)
    y[:, 3].log().sum().backward()
    model, given = pytest.importorskip("keras").models.load_model(path), tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(given)
        wanted = model(given)
        total = tf.reduce_sum(tf.math.log(wanted[:, 3]))
    np.testing.assert_allclose(y.data, wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(v.grad, tape.gradient(total, given), rtol=1e-4, atol=1e-5)


# ---- elements, dtypes, interface -----------------------------------------------------------------------------


def test_what_a_value_is() -> None:
    v = Value([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="v")
    assert (v.shape, v.ndim, v.size, v.dtype, v._op, v._prev) == ((2, 2), 2, 4, np.float32, "", ())
    y = v @ v.T
    assert y._op == "matmul" and y._prev[0] is v and y._prev[1]._op == "transpose" and not y.is_leaf
    assert [p is v for p in (v + v)._prev] == [True, True]
    np.testing.assert_array_equal(np.asarray(y), y.numpy())
    assert np.array(y, dtype=np.float64).dtype == np.float64
    assert repr(Value([1.5], True, "w")) == "Value([1.5], float32, requires_grad=True, name='w')"
    assert f"{Value(1.23456):.2f}" == "1.23" and float(Value(2.5)) == 2.5 and int(Value(2.5)) == 2
    assert bool(Value(1.0) > 0) and not Value(0.0)
    assert {v: 1}[v] == 1 and v in {v}
    assert (v == None) is False  # noqa: E711


def test_dtypes() -> None:
    single, double, whole, flag = (Value(np.ones(2, t)) for t in (np.float32, np.float64, np.int64, bool))
    rows: list[tuple[Value, Any]] = [
        (single + 1, np.float32), (single + 1.5, np.float32), (single * np.float64(1.5), np.float32),
        (single + double, np.float64), (single + whole, np.float32), (single * flag, np.float32),
        (whole + 1, np.int64), (whole + 0.5, np.float32), (whole / 2, np.float32), (whole**2, np.int64),
        (whole**-1, np.float32), (whole**0.5, np.float32), (flag + 1, np.int64), (flag.sum(), np.int64),
        (flag.mean(), np.float32), (whole.mean(), np.float32), (whole.sum(), np.int64), (whole.exp(), np.float32),
        (whole + np.ones(2, np.int32), np.int64), (single + np.ones(2), np.float64), (double.sum(), np.float64),
        (Value([1, 2]), np.int64), (Value(2.0), np.float32), (single.astype("float64"), np.float64),
        (single.astype(np.int32), np.int32), (single.argmax(0), np.int64), (where(flag, 1.0, 0.0), np.float32),
        (double + [0.1, 0.2], np.float64), (Value(np.ones(2, np.float16)) + 1, np.float16),
    ]  # fmt: skip
    for i, (value, expected) in enumerate(rows):
        assert value.dtype == expected == value.data.dtype, i
    np.testing.assert_array_equal((double + [0.1, 0.2]).data, 1 + np.array([0.1, 0.2]))


def test_casts_bring_the_gradient_back() -> None:
    v = Value(np.ones(2, np.float32), requires_grad=True)
    (v * np.array([2.0, 3.0])).sum().backward()
    assert v.grad.dtype == np.float32
    np.testing.assert_array_equal(v.grad, [2.0, 3.0])


def test_elements_are_copied() -> None:
    x = np.ones(3)
    v = Value(x)
    y = v + x
    x[:] = 7
    np.testing.assert_array_equal(y.data, [2.0, 2.0, 2.0])


def test_expressions_mean_the_elements_of_their_time() -> None:
    p = Value(np.ones(2), requires_grad=True)
    before = p * 10
    p.data -= 0.5
    between = p * 10
    p.data = p.data * 2
    p.data[0] = 3.0
    after = p * 10
    np.testing.assert_array_equal(before.data, [10.0, 10.0])
    np.testing.assert_array_equal(between.data, [5.0, 5.0])
    np.testing.assert_array_equal(after.data, [30.0, 10.0])
    (before * p).sum().backward()  # both uses of p count
    np.testing.assert_array_equal(p.grad, [40.0, 20.0])
    (slope,) = grad((before * p).sum(), [p])
    np.testing.assert_array_equal(slope.data, [40.0, 20.0])


def test_data_of_a_leaf_stays_one_array() -> None:
    p = Value(np.ones(2))
    held = p.data
    y = p + 1
    assert p.data is held
    held -= 1
    np.testing.assert_array_equal((p + 1).data, [1.0, 1.0])
    np.testing.assert_array_equal(y.data, [2.0, 2.0])
    p.data = [5, 6]
    np.testing.assert_array_equal(held, [5.0, 6.0])


def test_a_shared_leaf_lives_in_an_array_of_others() -> None:
    array = np.ones(2, np.float32)
    p = Value.shared(array, requires_grad=True, name="p")
    (p * 3).sum().backward()
    p.data -= p.grad
    np.testing.assert_array_equal(array, [-2.0, -2.0])
    array[:] = 4
    assert (p * 3).sum().item() == 24.0 and p.name == "p"


def test_assigned_data_is_converted() -> None:
    p = Value(np.ones(2, np.float32), requires_grad=True)
    p.data = np.array([0.5, 1.5])
    assert p.data.dtype == np.float32
    p.data = [3, 4]
    np.testing.assert_array_equal(p.data, np.float32([3, 4]))
    p.data = Value(np.ones(2))
    assert p.data.dtype == np.float32 and p.is_leaf


@pytest.mark.parametrize("name", ["exp", "leaky_relu", "clamp", "sum", "softmax", "__add__", "__pow__", "__matmul__"])
def test_methods_have_help(name: str) -> None:
    method = getattr(Value, name)
    assert method.__doc__ and "Value" in method.__qualname__
    assert len(pydoc.render_doc(method)) > 60
    assert "negative_slope=0.01" in pydoc.render_doc(Value.leaky_relu)
    assert "min=None, max=None" in pydoc.render_doc(Value.clamp)


def test_leaves_can_be_copied_and_pickled() -> None:
    p = Value(np.arange(3.0), requires_grad=True, name="p")
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert other is not p and other.requires_grad and other.name == "p"
        other.data += 1
        np.testing.assert_array_equal(p.data, [0.0, 1.0, 2.0])
        other.sum().backward()
        np.testing.assert_array_equal(other.grad, np.ones(3))


# ---- errors --------------------------------------------------------------------------------------------------

V = Value(np.ones((2, 3)), requires_grad=True)
BAD: dict[str, tuple[type[TenunError], str, Callable[[], Any]]] = {
    "shapes": (ShapeError, "broadcast", lambda: V + np.ones(2)),
    "inner": (ShapeError, "inner dimensions", lambda: V @ V),
    "reshape": (ShapeError, "reshape", lambda: V.reshape(5, -1)),
    "axis": (ShapeError, "out of range", lambda: V.sum(axis=2)),
    "argument": (ShapeError, "negative_slope", lambda: V.leaky_relu(slope=1)),
    "arguments": (ShapeError, "no arguments", lambda: V.exp(1)),
    "kind": (ShapeError, "alpha", lambda: V.elu(alpha=np.ones(2))),
    "strings": (ShapeError, "no Value", lambda: Value(["a"])),
    "ragged": (ShapeError, "no Value", lambda: Value([[1.0], [1.0, 2.0]])),
    "int gradient": (ShapeError, "only floats", lambda: Value([1], requires_grad=True)),
    "nothing to do": (RunError, "nothing to differentiate", lambda: Value([1.0]).backward()),
    "comparison": (RunError, "greater", lambda: (V > 0).backward()),
    "gradient": (ShapeError, r"shape \(3,\)", lambda: V.backward(np.ones(3))),
    "data of a result": (RunError, "data of a result", lambda: setattr(V + 1, "data", 1)),
    "data shape": (ShapeError, r"shape \(\) for", lambda: setattr(V, "data", 1)),
    "data float": (ShapeError, "does not fit i64", lambda: setattr(Value([1]), "data", [1.5])),
    "twice": (ShapeError, "elu takes alpha", lambda: V.elu(1.0, alpha=2.0)),
    "data kind": (ShapeError, "does not fit", lambda: setattr(V, "data", "a")),
    "result": (RunError, "detach", lambda: setattr(V + 1, "requires_grad", False)),
    "retain": (RunError, "no gradient flows", lambda: Value(1.0).retain_grad()),
    "item": (ShapeError, "exactly one", lambda: V.item()),
    "truth": (ShapeError, "exactly one", lambda: bool(V)),
    "length": (ShapeError, "no length", lambda: len(Value(1.0))),
    "not there": (GraphError, "depend", lambda: (V + 1).grad_graph(Value(1.0, True, name="other"))),
    "range": (ShapeError, "does not fit", lambda: Value(np.ones(2, np.uint8)) + 300),
    "nothing": (ShapeError, "put together", lambda: concat([])),
    "no forward": (UnsupportedError, "no forward", lambda: Module()(V)),
    "complex": (ShapeError, "does not fit", lambda: V * np.array([["a"]])),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_errors(name: str) -> None:
    error, text, call = BAD[name]
    with pytest.raises(error, match=text):
        call()


def test_foreign_operands_are_left_to_python() -> None:
    for other in ("a", None, {}):
        with pytest.raises(TypeError):
            V + other


def test_data_of_results_is_read_only() -> None:
    with pytest.raises(ValueError):
        (V + 1).data[0] = 1


# ---- programs, memory ----------------------------------------------------------------------------------------


def test_a_loop_compiles_once_and_does_not_grow() -> None:
    p, x = Value(normal(3, 2), requires_grad=True), normal(5, 3)
    counts, misses = [], []
    for i in range(60):
        p.zero_grad()
        loss = ((Value(x + i) @ p).tanh() * (0.1 + i)).mean()  # numbers and data change, the structure does not
        loss.backward()
        p.data -= 0.1 * p.grad
        assert np.isfinite(loss.item())
        if i in (9, 59):
            gc.collect()
            counts.append(len(gc.get_objects()))
            misses.append(gradient_program.cache_info().misses + value_program.cache_info().misses)
    assert misses[0] == misses[1]
    assert abs(counts[1] - counts[0]) < 50


def test_node_by_node_and_compiled_give_the_same() -> None:
    p, x = Value(normal(3, 4), requires_grad=True), normal(5, 3)
    found = []
    for _ in range(3):
        p.zero_grad()
        y = ((x @ p).softmax()[:, ::-1].reshape(4, 5).T * 1.75).var(1)
        y.backward()
        found.append([y.data, p.grad, p.reshape(2, 6).data])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_results_do_not_share_memory_with_leaves() -> None:
    p = Value(np.ones((2, 3)))
    for _ in range(3):
        y = p.reshape(3, 2)
        before = y.data.copy()
        p.data += 1
        np.testing.assert_array_equal(y.data, before)


def test_threads_share_programs() -> None:
    p = Value(normal(4, 4))

    def run(i: int) -> float:
        return float(((p * i).exp() - 1.5).tanh().sum())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(40)))
    np.testing.assert_allclose(found, [np.tanh(np.exp(p.data * i) - 1.5).sum() for i in range(40)])


def test_backward_brings_the_data() -> None:
    p = Value(normal(3), requires_grad=True)
    loss = (p.exp() * 3.25).sum()
    loss.backward()
    before = value_program.cache_info()
    np.testing.assert_allclose(loss.data, (np.exp(p.data) * 3.25).sum())
    assert value_program.cache_info() == before


def test_computed_values_are_not_computed_again() -> None:
    x = Value(normal(3, 3))
    h = x.exp().sum(0)
    assert h.data.shape == (3,)
    assert "exp" in str((h * 2).graph)
    assert len(Trace(for_values).follow((h * 2)._operand()).entries) == 3  # h, 2, their product


# ---- layers: against TensorFlow ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tf() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found = pytest.importorskip("tensorflow")
    found.get_logger().setLevel("ERROR")
    return found


def same_as_tape(tf: Any, ours: Callable[..., Any], theirs: Callable[..., Any], *xs: Array) -> None:
    """Values and gradients (of a weighted sum) are those of tf.GradientTape, in float64."""
    values = [Value(x, requires_grad=True) for x in xs]
    given = [tf.constant(x) for x in xs]
    with tf.GradientTape() as tape:
        tape.watch(given)
        results = theirs(*given)
        results = results if isinstance(results, (tuple, list)) else [results]
        total = tf.add_n([tf.reduce_sum(tf.tanh(y) * weights(tuple(y.shape))) for y in results])
    found = ours(*values)
    found = found if isinstance(found, tuple) else (found,)
    for y, wanted in zip(found, results):
        np.testing.assert_allclose(y.data, wanted, rtol=1e-10, atol=1e-12)
    mine = sum((y.tanh() * weights(y.shape)).sum() for y in found)
    mine.backward()
    for value, wanted in zip(values, tape.gradient(total, given)):
        np.testing.assert_allclose(value.grad, tf.convert_to_tensor(wanted), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("padding", ["same", "VALID"])
@pytest.mark.parametrize("strides", [1, (2, 1)])
def test_conv2d(tf: Any, padding: str, strides: Any) -> None:
    pair = (strides, strides) if isinstance(strides, int) else strides

    def theirs(x: Any, w: Any, b: Any) -> Any:
        return tf.nn.bias_add(tf.nn.conv2d(x, w, pair, padding.upper()), b)

    xs = normal(2, 7, 6, 3), normal(3, 2, 3, 4), normal(4)
    same_as_tape(tf, lambda x, w, b: conv2d(x, w, b, strides, padding), theirs, *xs)


def test_conv2d_options() -> None:
    x, w = normal(1, 6, 6, 2), normal(3, 3, 2, 2)
    padded = np.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)))
    explicit = conv2d(x, w, padding=((1, 2), (0, 1)))
    np.testing.assert_allclose(explicit.data, conv2d(padded, w).data)
    wide = np.zeros((5, 5, 2, 2))
    wide[::2, ::2] = w
    np.testing.assert_allclose(conv2d(x, w, dilations=2).data, conv2d(x, wide).data, atol=1e-12)


@pytest.mark.parametrize("strides, padding", [(None, "valid"), (1, "same"), ((2, 3), "same")])
def test_pooling(tf: Any, strides: Any, padding: str) -> None:
    pair = (2, 2) if strides is None else (strides, strides) if isinstance(strides, int) else strides
    x = normal(2, 7, 6, 3)
    for ours, theirs in ((max_pool2d, tf.nn.max_pool2d), (avg_pool2d, tf.nn.avg_pool2d)):
        same_as_tape(
            tf, lambda v, o=ours: o(v, 2, strides, padding), lambda t, f=theirs: f(t, 2, pair, padding.upper()), x
        )


def test_embedding_and_one_hot(tf: Any) -> None:
    table, tokens = normal(6, 3), np.array([[0, 5, 5], [2, 0, 1]])
    same_as_tape(tf, lambda t: embedding(t, tokens), lambda t: tf.nn.embedding_lookup(t, tokens), table)
    hot = one_hot(tokens, 6)
    np.testing.assert_array_equal(hot.data, np.eye(6, dtype=np.float32)[tokens])
    assert one_hot(Value(tokens), 6, dtype=np.float64).dtype == np.float64
    with pytest.raises(TenunError):
        _ = embedding(table, np.array([6])).data


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_lstm_is_keras(tf: Any, masked: bool, started: bool) -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.LSTM(4, return_sequences=True, return_state=True, dtype="float64")
    x, kernel, recurrent, bias = normal(2, 5, 3), normal(3, 16), normal(4, 16, seed=3) * 0.5, normal(16)
    states = [normal(2, 4, seed=5), normal(2, 4, seed=6)] if started else []
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 1]], bool) if masked else None
    layer.build(x.shape)

    def theirs(x: Any, kernel: Any, recurrent: Any, bias: Any, *states: Any) -> Any:
        """Keras' layer on given tensors: its step, whose formula is what counts, over time."""
        h, c = states if states else (tf.zeros((2, 4), tf.float64), tf.zeros((2, 4), tf.float64))
        rows = []
        for t in range(x.shape[1]):
            i, f, g, o = tf.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
            new_c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            new_h = tf.sigmoid(o) * tf.tanh(new_c)
            keep = tf.ones((2, 1), bool) if mask is None else tf.constant(mask[:, t : t + 1])
            h, c = tf.where(keep, new_h, h), tf.where(keep, new_c, c)
            rows.append(h)
        return tf.stack(rows, 1), h, c

    def ours(x: Value, kernel: Value, recurrent: Value, bias: Value, *states: Value) -> Any:
        return lstm(x, kernel, recurrent, bias, initial_state=states or None, mask=mask)

    arrays = [x, kernel, recurrent, bias, *states]
    same_as_tape(tf, ours, theirs, *arrays)
    layer.set_weights([kernel, recurrent, bias])
    wanted = layer(x, initial_state=states or None, mask=mask)
    for y, w in zip(ours(*map(Value, arrays)), wanted):
        np.testing.assert_allclose(y.data, w, rtol=1e-10, atol=1e-12)


def test_a_small_cnn_is_tensorflows(tf: Any) -> None:
    """Conv, bias, ReLU, max pooling, dense, sparse cross-entropy: the loss and all gradients in float32."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 2, 4), (4,), (36, 5), (5,)]
    parameters = [(rng.standard_normal(s) * 0.3).astype(np.float32) for s in shapes]
    images, labels = rng.standard_normal((6, 6, 6, 2)).astype(np.float32), rng.integers(0, 5, 6)

    def cnn(x: Any, w: Value, b: Value, dense: Value, bias: Value) -> Value:
        h = max_pool2d(conv2d(x, w, b, padding="same").relu())
        return h.flatten(1) @ dense + bias

    values = [Value(p, requires_grad=True) for p in parameters]
    logits = cnn(Value(images), *values)
    loss = -logits.log_softmax()[np.arange(6), labels].mean()
    loss.backward()
    given = [tf.Variable(p) for p in parameters]
    with tf.GradientTape() as tape:
        h = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(images, given[0], 1, "SAME") + given[1]), 2, 2, "VALID")
        theirs = tf.reshape(h, (6, -1)) @ given[2] + given[3]
        wanted = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, theirs))
    np.testing.assert_allclose(loss.item(), float(wanted), rtol=1e-6)
    for v, g in zip(values, tape.gradient(wanted, given)):
        np.testing.assert_allclose(v.grad, g, rtol=1e-5, atol=1e-6)


def test_training_an_lstm_follows_tensorflow(tf: Any) -> None:
    """Five steps of gradient descent on embedding, LSTM and dense layer, written by hand in both."""
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(1)
    tokens, labels = rng.integers(0, 10, (8, 6)), rng.integers(0, 3, 8)
    layers = [keras.layers.Embedding(10, 4), keras.layers.LSTM(5), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model(tokens)
    values = [Value(w, requires_grad=True) for w in model.get_weights()]
    for _ in range(5):
        table, kernel, recurrent, bias, dense, shift = values
        _, h, _ = lstm(embedding(table, tokens), kernel, recurrent, bias)
        loss = -(h @ dense + shift).log_softmax()[np.arange(8), labels].mean()
        loss.backward()
        with tf.GradientTape() as tape:
            wanted = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(tokens)))
        np.testing.assert_allclose(loss.item(), float(wanted), rtol=1e-5)
        slopes_of = tape.gradient(wanted, model.trainable_variables)
        for v, variable, g in zip(values, model.trainable_variables, slopes_of):
            np.testing.assert_allclose(v.grad, tf.convert_to_tensor(g), rtol=1e-4, atol=1e-6)
            variable.assign_sub(0.5 * tf.convert_to_tensor(g))
            v.data -= 0.5 * v.grad
            v.zero_grad()


# ---- modules -------------------------------------------------------------------------------------------------


class Dense(Module):
    def __init__(self, inputs: int, units: int, rng: np.random.Generator) -> None:
        self.kernel = Value(rng.standard_normal((inputs, units)) / np.sqrt(inputs), requires_grad=True)
        self.bias = Value(np.zeros(units), requires_grad=True)

    def forward(self, x: Any) -> Value:
        return x @ self.kernel + self.bias


class MLP(Module):
    def __init__(self, *sizes: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.layers = [Dense(a, b, rng) for a, b in pairwise(sizes)]

    def forward(self, x: Any) -> Value:
        for layer in self.layers[:-1]:
            x = layer(x).tanh()
        return self.layers[-1](x)


def train(model: Module, x: Array, y: Array, steps: int, rate: float) -> float:
    """Plain gradient descent on the binary cross-entropy; the last loss."""
    for _ in range(steps):
        model.zero_grad()
        p = model(x).sigmoid().clamp(1e-7, 1 - 1e-7)[:, 0]
        loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        loss.backward()
        for parameter in model.parameters():
            parameter.data -= rate * parameter.grad
    return loss.item()


def test_xor_is_learnt() -> None:
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 1, 1, 0])
    model = MLP(2, 8, 1)
    assert train(model, x, y, 500, 1.0) < 0.05
    np.testing.assert_array_equal((model(x)[:, 0] > 0).data, y > 0)


def test_moons_are_learnt() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.make_moons(200, noise=0.1, random_state=0)
    model = MLP(2, 16, 16, 1)
    train(model, x, y, 500, 1.0)
    accuracy = ((model(x)[:, 0] > 0) == (y > 0)).mean()
    assert accuracy.item() > 0.98


def test_parameters_are_found_once_and_in_order() -> None:
    class Foreign:
        def parameters(self) -> list[Value]:
            return [theirs]

    theirs, a, b, c, d = (Value([float(i)], requires_grad=True) for i in range(5))

    class Net(Module):
        def __init__(self) -> None:
            self.a, self.fixed, self.again = a, Value([1.0]), a
            self.parts = {"b": b, "list": [c, (Dense(1, 1, np.random.default_rng(0)), "text", 3, None)]}
            self.sub, self.foreign, self.result = Module(), Foreign(), a * 2
            self.sub.d, self.sub.parent, self.kind = d, self, Dense

    net = Net()
    inner = net.parts["list"][1][0]
    wanted = [a, b, c, inner.kernel, inner.bias, d, theirs]
    assert [id(p) for p in net.parameters()] == [id(p) for p in wanted]
    for p in wanted:
        p.grad = np.ones(1)
    net.zero_grad()
    assert all(p.grad is None for p in wanted)
