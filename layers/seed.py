"""Seeds of random layers, as Keras keeps them: a pair of a seed and a counter, which each draw moves on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Builder, Tensor, Var
from .base import Layer, Weight, layer_base

if TYPE_CHECKING:
    from .lowering import Scope

STATE = "seed_generator_state"


@layer_base()
class SeedGenerator(Layer):
    """Keras' object of this name, as a sub-layer without a call; its state is the variable (seed, counter), u32[2]."""

    seed: int | None = field(default=None)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        yield Weight(STATE, (2,), self.first, trainable=False, dtype="uint32", autocast=False, kept=True)

    def first(self, shape: Any, dtype: Any, generator: np.random.Generator) -> Any:
        """The state at the start: the seed given, else a random one; nothing drawn yet."""
        seed = generator.integers(1, 2**31) if self.seed is None else self.seed
        return np.array([seed % 2**32, 0], np.uint32)


class Seeded(Layer):
    """A layer that draws random numbers in training; fields `seed` and what says whether it ever draws."""

    seed: int | None

    @property
    def seed_generator(self) -> SeedGenerator:
        """The layer's own generator, made when first asked for."""
        if "_seed_generator" not in self.__dict__:
            self._seed_generator = SeedGenerator(name="seed_generator", seed=self.seed)
        return self._seed_generator

    @property
    def draws(self) -> bool:
        """Whether the layer has a generator in Keras."""
        return True

    def children(self) -> Iterator[tuple[str, Any]]:
        yield from super().children()
        if self.draws:
            yield "seed_generator", self.seed_generator


def next_seed(w: Scope) -> Var:
    """The state of the layer's generator, which is moved on."""
    layer = w._layer
    assert isinstance(layer, Seeded)
    scope = w.child(layer.seed_generator)
    state: Var = getattr(scope, STATE)
    scope.assign(STATE, w.b.add(state, np.array([0, 1], np.uint32)))
    return state


def dropout(b: Builder, x: Var, rate: float, shape: tuple[Any, ...], seed: Var) -> Var:
    """x with elements set to 0 with probability rate, which may be 1, and the others scaled by 1 / (1 - rate).

    `shape` says which elements share their fate: 1 along an axis means all of it.
    """
    number = b.random_uniform(seed, shape=shape)
    scaled = b.mul(x, 1 / (1 - rate)) if rate < 1 else x
    return b.where(b.greater_equal(number, rate), scaled, b.constant(0, dtype=x.tensor.dtype.numpy))  # type: ignore[no-any-return]
