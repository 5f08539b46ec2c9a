"""Random numbers from NumPy's generators: with a seed or a key they start anew at each run, others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.types import DType
from ..registry import Array, Scratch, Step, function, kernel

_SHARED = np.random.default_rng()

Draw = Callable[[np.random.Generator, Array], None]


def _generator(key: Array | None, seed: int | None) -> np.random.Generator:
    if key is not None:  # SFC64 is the fastest that NumPy has; seeding mixes the key well
        return np.random.Generator(np.random.SFC64([int(k) for k in key.reshape(-1)]))
    return _SHARED if seed is None else np.random.default_rng(seed % 2**64)


def _bound(
    draw: Draw, key: Array | None, out: Array, scratch: Scratch, seed: int | None, factor: float, offset: float
) -> Step:
    """A step that draws in float32 or float64, and scales."""
    drawn_in = out.dtype if out.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    numbers = out if out.dtype == drawn_in and out.flags.c_contiguous else scratch(out.shape, drawn_in)

    def step() -> None:
        draw(_generator(key, seed), numbers)
        if factor != 1:
            np.multiply(numbers, drawn_in.type(factor), out=numbers)
        if offset:
            np.add(numbers, drawn_in.type(offset), out=numbers)
        if numbers is not out:
            np.copyto(out, numbers, casting="unsafe")

    return step


def _normal(generator: np.random.Generator, out: Array) -> None:
    generator.standard_normal(out.shape, out.dtype.type, out)


def _uniform(generator: np.random.Generator, out: Array) -> None:
    generator.random(out.shape, out.dtype.type, out)


@kernel
def random_normal(
    key: Array | None, *, shape: tuple[int, ...], mean: float, scale: float, dtype: DType, seed: int | None,
    out: Array, scratch: Scratch,
) -> Any:  # fmt: skip
    return _bound(_normal, key, out, scratch, seed, scale, mean)


@kernel
def random_uniform(
    key: Array | None, *, shape: tuple[int, ...], low: float, high: float, dtype: DType, seed: int | None,
    out: Array, scratch: Scratch,
) -> Any:  # fmt: skip
    return _bound(_uniform, key, out, scratch, seed, high - low, low)


@function
def random_beta(alpha: Array, beta: Array, key: Array | None, *, seed: int | None) -> Array:
    drawn = _generator(key, seed).beta(alpha.astype(np.float64), beta.astype(np.float64))
    return np.asarray(drawn, alpha.dtype)
