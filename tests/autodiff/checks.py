"""Gradients of a few lines of graph against central differences in float64 and against tf.GradientTape in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tenun
from tenun.ir import Builder, Graph, Tensor, Var, dtype, verify
from tenun.passes.autodiff.engine import gradients

Shape = tuple[Any, ...]


def weights(shape: Shape) -> np.ndarray:
    """What the elements of a result count for."""
    return np.cos(np.arange(np.prod(shape, dtype=int), dtype=np.float64)).reshape(shape)


def built(body: Callable[..., Var], *types: Tensor, order: int = 1, shape: Shape | None = None) -> Graph:
    """x0, x1, … -> the weighted sum of tanh(body) and its gradients; then, order times, of the sines of these."""
    b = Builder(Graph("g"))
    xs = [b.input(f"x{i}", t) for i, t in enumerate(types)]
    y = body(b, *xs)
    count = b.constant(weights(shape or y.shape).astype(types[0].dtype.numpy))
    total = b.reduce_sum(b.mul(b.tanh(y), count))
    for _ in range(1, order):
        parts = [b.reduce_sum(b.sin(g)) for g in gradients(b, [total], xs)]
        total = parts[0]
        for part in parts[1:]:
            total = b.add(total, part)
    graph = b.outputs(total, *gradients(b, [total], xs), names=["total", *(f"d{i}" for i in range(len(xs)))])
    verify(graph)
    return graph


def check(body: Callable[..., Var], *shapes: Shape, order: int = 1, tol: float = 2e-6) -> None:
    """The derivative in a random direction is what the gradients say, for first order and up to `order`."""
    rng = np.random.default_rng(0)
    xs, moves = ([rng.standard_normal(s) for s in shapes] for _ in range(2))
    for n in range(1, order + 1):
        f = tenun.compile(built(body, *(Tensor(dtype("f64"), s) for s in shapes), order=n), pipeline=[], threads=1)
        _, *found = f(*xs)
        step = 1e-5 if n == 1 else 1e-6
        up, down = (f(*(x + sign * step * u for x, u in zip(xs, moves)))[0] for sign in (1, -1))
        given = sum(float((g * u).sum()) for g, u in zip(found, moves))
        np.testing.assert_allclose(given, (up - down) / (2 * step), rtol=tol, atol=tol)


def check_tape(body: Callable[..., Var], theirs: Callable[..., Any], *xs: np.ndarray) -> None:
    """The gradients of the weighted sum of tanh(body) are TensorFlow's, to 1e-4."""
    import tensorflow as tf

    graph = built(body, *(Tensor(dtype("f32"), x.shape) for x in xs))
    _, *found = tenun.compile(graph, threads=1)(*xs)
    given = [tf.constant(x) for x in xs]
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = theirs(*given)
        total = tf.reduce_sum(tf.tanh(y) * weights(tuple(y.shape)).astype(np.float32))
    for ours, wanted in zip(found, tape.gradient(total, given)):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
