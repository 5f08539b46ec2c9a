"""Random numbers from NumPy's generators (PCG64): a seeded op starts anew at each run, others go on."""

from __future__ import annotations

import numpy as np

from ....ir.types import DType
from ..registry import Array, function

_SHARED = np.random.default_rng()


def _generator(seed: int | None) -> np.random.Generator:
    return _SHARED if seed is None else np.random.default_rng(seed % 2**64)


def _drawn_in(dtype: DType) -> type:
    return np.float64 if dtype.numpy == np.float64 else np.float32


@function
def random_normal(*, shape: tuple[int, ...], mean: float, scale: float, dtype: DType, seed: int | None) -> Array:
    numbers = _generator(seed).standard_normal(shape, _drawn_in(dtype))
    return (numbers * numbers.dtype.type(scale) + numbers.dtype.type(mean)).astype(dtype.numpy)


@function
def random_uniform(*, shape: tuple[int, ...], low: float, high: float, dtype: DType, seed: int | None) -> Array:
    numbers = _generator(seed).random(shape, _drawn_in(dtype))
    return (numbers * numbers.dtype.type(high - low) + numbers.dtype.type(low)).astype(dtype.numpy)
