"""A small net that the tests of this folder share, up to its last node."""

from __future__ import annotations

import numpy as np

from tenun.ir import Builder, Tensor, Var, symbol
from tenun.ir.types import f32

N = symbol("N")


def weight(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 0.3).astype(np.float32)


def trunk(b: Builder) -> Var:
    """conv, relu | pool | flatten | dense twice with the same weights."""
    x = b.input("x", Tensor(f32, (N, 8, 8, 3)))
    with b.at("conv"):
        kernel, bias = b.constant(weight(3, 3, 3, 4), "conv.kernel"), b.constant(weight(4), "conv.bias")
        y = b.relu(b.conv(x, kernel, bias, strides=(1, 1), dilations=(1, 1), padding="same"))
    with b.at("pool"):
        y = b.max_pool(y, window=(2, 2), strides=(2, 2), dilations=(1, 1))
    with b.at("flatten"):
        y = b.reshape(y, shape=(N, -1))
    kernel = b.constant(weight(64, 64), "dense.kernel")
    with b.at("dense"):
        y = b.matmul(y, kernel)
    with b.at("again"):
        y = b.matmul(y, kernel)
    return y  # type: ignore[no-any-return]


def images(n: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 8, 8, 3)).astype(np.float32)
