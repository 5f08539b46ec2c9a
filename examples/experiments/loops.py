"""A CNN as the report computed it: loops over the positions of a kernel or a pool, NumPy for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .data import Array
from .spec import L


def conv2d(x: Array, kernel: Array, bias: Array) -> Array:
    """x (N, H, W, C) with a kernel (h, w, C, F), stride 1, padding "same", then relu -> (N, H, W, F)."""
    h, w = kernel.shape[:2]
    pads = [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in (h, w)]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    y = np.zeros((*x.shape[:3], kernel.shape[-1]), np.float32)
    for i in range(h):
        for j in range(w):
            y += padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
    return np.maximum(y + bias, 0)


def pooled(x: Array, join: Any) -> Array:
    """The four places of each 2×2 window joined by `join`."""
    return join([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])


def dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
    """x (N, K) @ kernel (K, M) + bias, then relu or softmax."""
    y = x @ kernel + bias
    if activation == "relu":
        return np.maximum(y, 0)
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def plain(layers: Sequence[L], weights: Sequence[Array]) -> Callable[[Array], Array]:
    """The model of `spec.cnn` with weights in Keras' order, as a function of images."""
    left, steps = list(weights), list[Callable[[Array], Array]]()
    for layer in layers:
        own = [left.pop(0), left.pop(0)] if layer.name in ("Conv2D", "Dense") else []
        steps.append({
            "Conv2D": lambda x, own=own: conv2d(x, *own),
            "MaxPooling2D": partial(pooled, join=np.maximum.reduce),
            "AveragePooling2D": partial(pooled, join=lambda parts: sum(parts) / 4),
            "Flatten": lambda x: x.reshape(len(x), -1),
            "Dense": lambda x, own=own, layer=layer: dense(x, *own, layer.more["activation"]),
        }[layer.name])  # fmt: skip

    def run(x: Array) -> Array:
        for step in steps:
            x = step(x)
        return x

    return run
