"""Random numbers: ONNX prescribes the distribution, not the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.graph import Var
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx


def seed_of(seed: float | None) -> int | None:
    """ONNX's seeds are floats; equal ones give equal integers."""
    return None if seed is None else int(np.float32(seed).view(np.uint32))


@onnx("RandomNormal")
def random_normal(
    b: Lowering, *, dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None, shape: Any
) -> Var:
    return b.random_normal(shape=shape, mean=mean, scale=scale, dtype=elem_type(dtype), seed=seed_of(seed))


@onnx("RandomNormalLike")
def random_normal_like(
    b: Lowering,
    input: Var,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Var:
    target = input.tensor.dtype if dtype is None else elem_type(dtype)
    return b.random_normal(shape=b.vector(b.dims(input)), mean=mean, scale=scale, dtype=target, seed=seed_of(seed))


@onnx("RandomUniform")
def random_uniform(
    b: Lowering, *, dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None, shape: Any
) -> Var:
    return b.random_uniform(shape=shape, low=low, high=high, dtype=elem_type(dtype), seed=seed_of(seed))


@onnx("RandomUniformLike")
def random_uniform_like(
    b: Lowering, input: Var, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Var:
    target = input.tensor.dtype if dtype is None else elem_type(dtype)
    return b.random_uniform(shape=b.vector(b.dims(input)), low=low, high=high, dtype=target, seed=seed_of(seed))


@onnx("Bernoulli")
def bernoulli(b: Lowering, input: Var, *, dtype: int | None = None, seed: float | None = None) -> Var:
    """1 with the probability that the input says."""
    noise = b.random_uniform(shape=b.vector(b.dims(input)), dtype=input.tensor.dtype, seed=seed_of(seed))
    return b.cast(b.less(noise, input), to=input.tensor.dtype if dtype is None else elem_type(dtype))


@onnx("Multinomial")
def multinomial(b: Lowering, input: Var, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Var:
    """Places in rows of (N, K), drawn with the probabilities softmax(input): how many running sums noise passes."""
    sums = b.cumsum(b.softmax(input, axis=1), axis=1)
    shape = b.vector([b.dim(input, 0), sample_size, 1])
    noise = b.random_uniform(shape=shape, dtype=input.tensor.dtype, seed=seed_of(seed))
    passed = b.cast(b.greater_equal(noise, b.unsqueeze(sums, axes=(1,))), to="i64")
    places = b.reduce_sum(passed, axes=(2,))
    last = b.sub(b.gather(b.shape(input), np.int64(1)), 1)  # where sums end below 1, by rounding
    return b.cast(b.minimum(places, last), to=elem_type(dtype))
