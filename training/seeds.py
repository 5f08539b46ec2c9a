"""Where random numbers of building and training come from: one generator, which a seed makes repeatable."""

from __future__ import annotations

import numpy as np

from ..layers.base import clear_session

_GENERATOR = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Make all that follows repeatable: first weights, seeds of random layers, orders of samples."""
    global _GENERATOR
    _GENERATOR = np.random.default_rng(seed)


def next_seed() -> int:
    """A new seed."""
    return int(_GENERATOR.integers(1, 2**31))


__all__ = ["clear_session", "next_seed", "set_random_seed"]
