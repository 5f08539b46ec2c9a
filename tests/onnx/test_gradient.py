"""The operator Gradient, and the rules of differentiation that it uses, against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol, verify
from tenun.passes.autodiff.engine import gradients
from tenun.passes.autodiff.rules import RULES

from .models import FLOAT, model, node, run, value

DOMAIN = "ai.onnx.preview.training"
F64 = dtype("f64")
Body = Callable[[Builder, Any, Any], Any]

# what is differentiated with respect to x: f64[3, 4] and y: f64[4] (both within [0.5, 2])
CASES: dict[str, Body] = {
    "add": lambda b, x, y: b.add(x, y),
    "sub": lambda b, x, y: b.sub(y, x),
    "mul": lambda b, x, y: b.mul(x, y),
    "div": lambda b, x, y: b.div(y, x),
    "pow": lambda b, x, y: b.pow(x, y),
    "neg": lambda b, x, y: b.neg(b.mul(x, y)),
    "exp": lambda b, x, y: b.exp(b.mul(x, y)),
    "log": lambda b, x, y: b.log(b.add(x, y)),
    "sqrt": lambda b, x, y: b.sqrt(b.mul(x, y)),
    "square": lambda b, x, y: b.square(b.sub(x, y)),
    "sin": lambda b, x, y: b.sin(b.mul(x, y)),
    "cos": lambda b, x, y: b.cos(b.mul(x, y)),
    "tanh": lambda b, x, y: b.tanh(b.sub(x, y)),
    "sigmoid": lambda b, x, y: b.sigmoid(b.sub(x, y)),
    "relu": lambda b, x, y: b.relu(b.sub(x, y)),
    "where": lambda b, x, y: b.where(b.less(x, y), b.square(x), b.mul(x, y)),
    "cast": lambda b, x, y: b.cast(b.mul(x, y), to=F64),
    "matmul": lambda b, x, y: b.matmul(x, b.reshape(b.square(y), shape=(4, 1))),
    "batched matmul": lambda b, x, y: b.matmul(b.reshape(x, shape=(2, 3, 2)), b.reshape(y, shape=(2, 2))),
    "reduce_sum": lambda b, x, y: b.square(b.reduce_sum(b.mul(x, y), axes=(0,))),
    "reduce_mean": lambda b, x, y: b.square(b.reduce_mean(b.mul(x, y), axes=(1,), keepdims=True)),
    "reshape": lambda b, x, y: b.square(b.reshape(b.mul(x, y), shape=(2, 6))),
    "transpose": lambda b, x, y: b.mul(b.transpose(x, perm=(1, 0)), b.unsqueeze(y, axes=(1,))),
    "squeeze": lambda b, x, y: b.mul(b.squeeze(b.unsqueeze(x, axes=(1,)), axes=(1,)), y),
    "unsqueeze": lambda b, x, y: b.mul(b.unsqueeze(x, axes=(0,)), y),
    "identity": lambda b, x, y: b.identity(b.mul(x, y)),
    "expand": lambda b, x, y: b.mul(b.expand(y, shape=(3, 4)), x),
    "shared": lambda b, x, y: b.mul(b.add(x, x), b.mul(x, b.add(y, x))),
}


def built(body: Body, batch: Any = 3, again: bool = False) -> Graph:
    """x, y -> the sum of body(x, y) and its gradients (or those of the sum of the gradients)."""
    b = Builder(Graph("g"))
    x, y = b.input("x", Tensor(F64, (batch, 4))), b.input("y", Tensor(F64, (4,)))
    total = b.reduce_sum(body(b, x, y))
    if again:
        first = gradients(b, [total], [x, y])
        total = b.add(b.reduce_sum(b.sin(first[0])), b.reduce_sum(b.sin(first[1])))
    return b.outputs(total, *gradients(b, [total], [x, y]), names=["total", "dx", "dy"])


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, again: bool) -> None:
    graph = built(CASES[name], again=again)
    verify(graph)
    f = tenun.compile(graph, pipeline=[])
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 2, (3, 4)), rng.uniform(0.5, 2, 4)
    _, dx, dy = f(x, y)
    u, v, h = rng.standard_normal((3, 4)), rng.standard_normal(4), 1e-6
    numeric = (f(x + h * u, y + h * v)[0] - f(x - h * u, y - h * v)[0]) / (2 * h)
    np.testing.assert_allclose((dx * u).sum() + (dy * v).sum(), numeric, rtol=1e-6, atol=1e-7)


def test_every_rule_has_a_case() -> None:
    """Rules that other issues add are tested beside them; those here are the table's beginning."""
    assert {name for name in CASES if " " not in name and name != "shared"} <= set(RULES)


def test_symbolic_batch() -> None:
    x, y = np.full((5, 4), 2.0), np.full(4, 3.0)
    _, dx, dy = tenun.compile(built(CASES["mul"], batch=symbol("N")))(x, y)
    np.testing.assert_array_equal(dx, np.broadcast_to(y, (5, 4)))
    np.testing.assert_array_equal(dy, np.full(4, 10.0))


def test_missing_rule_is_loud() -> None:
    with pytest.raises(UnsupportedError, match="op erf has no gradient") as caught:
        built(lambda b, x, y: b.erf(b.mul(x, y)))
    assert "passes/autodiff/rules/elementwise.py" in str(caught.value)


def gradient(xs: str, y: str, outputs: str) -> onnx.NodeProto:
    """A Gradient node."""
    made = node("Gradient", xs, outputs, xs=xs.split(), y=y)
    made.domain = DOMAIN
    return made


def test_gradient_operator() -> None:
    """d (a b + a) / d a and d b; of what y does not depend on it is 0."""
    nodes = [node("Mul", "a b", "p"), node("Add", "p a", "y"), gradient("a b c", "y", "da db dc")]
    inputs = [value(n, [2, 3], FLOAT) for n in "abc"]
    proto = model(nodes, inputs, ["y", "da", "db", "dc"], domains={DOMAIN: 1})
    a, b, c = (np.random.default_rng(i).standard_normal((2, 3)).astype(np.float32) for i in range(3))
    _, da, db, dc = run(proto, a, b, c)
    np.testing.assert_allclose(da, b + 1)
    np.testing.assert_allclose(db, a)
    np.testing.assert_array_equal(dc, np.zeros((2, 3)))
