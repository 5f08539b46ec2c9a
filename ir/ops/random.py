"""Random numbers."""

from __future__ import annotations

from ..attributes import Dims
from ..op import broadcast_type, op
from ..types import DType, Tensor, f32


@op("random")
def random_normal(
    key: Tensor | None = None, *, shape: Dims, mean: float = 0.0, scale: float = 1.0, dtype: DType = f32,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Independent normal numbers; the same ones at every run with a seed, for the same integers with a key."""
    return Tensor(dtype, tuple(shape))


@op("random")
def random_uniform(
    key: Tensor | None = None, *, shape: Dims, low: float = 0.0, high: float = 1.0, dtype: DType = f32,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Independent numbers, uniform in [low, high); the same ones at every run with a seed or for equal keys."""
    return Tensor(dtype, tuple(shape))


@op("random")
def random_beta(alpha: Tensor, beta: Tensor, key: Tensor | None = None, *, seed: int | None = None) -> Tensor:
    """For each element of alpha and beta (broadcast, positive) a number from the beta distribution that they shape.

    Its density at y in (0, 1) is proportional to y^(alpha - 1) (1 - y)^(beta - 1); seed and key as of `random_uniform`.
    """
    return broadcast_type(alpha, beta)
