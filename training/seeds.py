"""Where random numbers of building and training come from: one generator, which a seed makes repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..layers.base import clear_session

_GENERATOR = np.random.default_rng()
_LOCAL: ContextVar[np.random.Generator | None] = ContextVar("generator", default=None)


def set_random_seed(seed: int) -> None:
    """Make all that follows repeatable: first weights, seeds of random layers, orders of samples."""
    global _GENERATOR
    _GENERATOR = np.random.default_rng(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, and in this thread, seeds come from a generator of their own; the common one stays where it is."""
    token = _LOCAL.set(np.random.default_rng(seed))
    try:
        yield
    finally:
        _LOCAL.reset(token)


def next_seed() -> int:
    """A new seed."""
    return int((_LOCAL.get() or _GENERATOR).integers(1, 2**31))


__all__ = ["clear_session", "next_seed", "seeded", "set_random_seed"]
