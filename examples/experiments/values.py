"""The job that looks at `Value`: the elements and gradients of each operator and function, beside TensorFlow's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenun import Value

from .job import SEED, Context, Record, keras

CLOSE = 1e-5  # in float32, relative to the largest element


class Methods:
    """Functions of Keras' names that are methods of a Value."""

    def transpose(self, v: Any) -> Any:
        return v.T

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda v, *more: getattr(v, {"clip": "clamp"}.get(name, name))(*more)


# v (3, 4) and w (4,), which is broadcast, are positive; f holds functions
EXPRESSIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "v + w": lambda v, w, f: v + w,
    "2 + v": lambda v, w, f: 2 + v,
    "v - w": lambda v, w, f: v - w,
    "2 - v": lambda v, w, f: 2 - v,
    "v * w": lambda v, w, f: v * w,
    "2 * v": lambda v, w, f: 2 * v,
    "v / w": lambda v, w, f: v / w,
    "2 / v": lambda v, w, f: 2 / v,
    "-v": lambda v, w, f: -v * w,
    "v @ v.T": lambda v, w, f: (v * w) @ f.transpose(v),
    "v ** 3": lambda v, w, f: v**3,
    "v ** 0.5": lambda v, w, f: v**0.5,
    "exp": lambda v, w, f: f.exp(v),
    "log": lambda v, w, f: f.log(v),
    "abs": lambda v, w, f: f.abs(v - 1),
    "sum": lambda v, w, f: f.sum(v, 0) * w,
    "mean": lambda v, w, f: f.mean(v, 0) * w,
    "linear": lambda v, w, f: f.linear(v) * w,
    "relu": lambda v, w, f: f.relu(v - 1),
    "tanh": lambda v, w, f: f.tanh(v),
    "sigmoid": lambda v, w, f: f.sigmoid(v),
    "leaky_relu": lambda v, w, f: f.leaky_relu(v - 1, 0.01),
    "elu": lambda v, w, f: f.elu(v - 1, 1.0),
    "softmax": lambda v, w, f: f.softmax(v) * w,
    "clamp": lambda v, w, f: f.clip(v, 0.8, 1.2),
}


@dataclass(frozen=True)
class ValueCheck:
    """An expression's elements and the gradients of their weighted sum, accumulated over two times `backward`."""

    expression: str

    def run(self, context: Context) -> Record:
        """The largest errors of elements and gradients."""
        generator = np.random.default_rng(SEED)
        arrays = [generator.uniform(0.5, 1.5, shape).astype(np.float32) for shape in ((3, 4), (4,))]
        leaves = [Value(array, requires_grad=True) for array in arrays]
        made = EXPRESSIONS[self.expression](*leaves, Methods())
        weights = generator.normal(size=made.shape).astype(np.float32)
        for _ in range(2):
            (EXPRESSIONS[self.expression](*leaves, Methods()) * weights).sum().backward()
        grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
        record: Record = {"data": "random numbers", "gradients": len(grads)}
        if "keras" in context.peers:
            elements, tape = self._by_keras(arrays, weights)
            pairs = zip(grads, [2 * each for each in tape if each is not None], strict=True)
            record["keras"] = {
                "value": _error(made.data, elements),
                "gradient": max(_error(ours, theirs) for ours, theirs in pairs),
            }
        return record

    def agrees(self, record: Record) -> bool | None:
        """Both."""
        return max(record["keras"].values()) <= CLOSE if "keras" in record else None

    def _by_keras(self, arrays: list[Any], weights: Any) -> tuple[Any, list[Any]]:
        import tensorflow as tf

        functions = type("Functions", (), {**vars(keras().ops), "linear": staticmethod(tf.identity)})
        with tf.GradientTape() as tape:
            leaves = [tf.Variable(array) for array in arrays]
            made = EXPRESSIONS[self.expression](*leaves, functions)
            total = tf.reduce_sum(made * weights)
        return made.numpy(), [None if g is None else g.numpy() for g in tape.gradient(total, leaves)]


def _error(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest element."""
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
