"""Random numbers."""

from __future__ import annotations

from ..attributes import Dims
from ..op import op
from ..types import DType, Tensor, f32


@op("random")
def random_normal(
    *, shape: Dims, mean: float = 0.0, scale: float = 1.0, dtype: DType = f32, seed: int | None = None
) -> Tensor:
    """Independent normal numbers; with a seed the same ones at every run."""
    return Tensor(dtype, tuple(shape))


@op("random")
def random_uniform(
    *, shape: Dims, low: float = 0.0, high: float = 1.0, dtype: DType = f32, seed: int | None = None
) -> Tensor:
    """Independent numbers, uniform in [low, high); with a seed the same ones at every run."""
    return Tensor(dtype, tuple(shape))
