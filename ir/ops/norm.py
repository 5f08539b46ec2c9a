"""Normalisation and softmax."""

from __future__ import annotations

from ..attributes import Ints
from ..op import axes_of, axis_of, op, require, require_dim, require_rank
from ..types import Tensor
from .conv import not_batch


def _axis(rank: int, *, axis: int) -> tuple[int]:
    return (axis % rank,)


@op("permutes", mixes=lambda rank, *, axis, epsilon: ())
def batch_norm(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    *,
    axis: int = -1,
    epsilon: float,
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias with given statistics: one number a place of `axis`."""
    a = axis_of(axis, x.rank)
    for name, t in (("scale", scale), ("bias", bias), ("mean", mean), ("variance", variance)):
        require_rank(t, 1, name)
        if t is not None:
            require_dim(t.dims[0], x.dims[a], f"the length of {name}")
    return Tensor(x.dtype, x.shape)


@op(mixes=lambda rank, *, axes, epsilon: {a % rank for a in axes})
def layer_norm(
    x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None, *, axes: Ints, epsilon: float
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, mean and variance over `axes` of each sample.

    scale and bias broadcast against x.
    """
    axes_of(axes, x.rank)
    return Tensor(x.dtype, x.shape)


@op(mixes=lambda rank, *, axes, epsilon: {a % rank for a in axes})
def rms_norm(x: Tensor, scale: Tensor | None = None, *, axes: Ints, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * scale, the mean over `axes`."""
    axes_of(axes, x.rank)
    return Tensor(x.dtype, x.shape)


@op(mixes=not_batch)
def group_norm(
    x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None, *, groups: int, axis: int = -1, epsilon: float
) -> Tensor:
    """Channels (along `axis`) in `groups`, each normalised over its channels and all spatial axes of a sample.

    scale and bias: one number a channel.  groups = channels is instance normalisation.
    """
    channels = x.dims[axis_of(axis, x.rank)]
    require(not isinstance(channels, int) or channels % groups == 0, f"{channels} channels in {groups} groups")
    for name, t in (("scale", scale), ("bias", bias)):
        require_rank(t, 1, name)
        if t is not None:
            require_dim(t.dims[0], channels, f"the length of {name}")
    return Tensor(x.dtype, x.shape)


@op("permutes", mixes=lambda rank, *, size, alpha, beta, bias, axis: (axis % rank,))
def lrn(x: Tensor, *, size: int, alpha: float, beta: float, bias: float, axis: int = -1) -> Tensor:
    """x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta; Krizhevsky et al. 2012.

    Neighbours of channel c: c - floor((size - 1) / 2) to c + ceil((size - 1) / 2).
    """
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("permutes", mixes=lambda rank, *, axis, p, epsilon: (axis % rank,))
def lp_norm(x: Tensor, *, axis: int = -1, p: int = 2, epsilon: float = 0.0) -> Tensor:
    """x / max(norm, epsilon), the p-norm (1 or 2) along an axis; 0 / 0 is 0."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("inplace", "permutes", mixes=_axis)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """exp(x - max) / sum(exp(x - max)) along an axis."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("inplace", "permutes", mixes=_axis)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """x - max - log(sum(exp(x - max))) along an axis."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("permutes", mixes=_axis)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first largest element along an axis, 0 elsewhere."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("permutes", mixes=_axis)
def sparsemax(x: Tensor, *, axis: int = -1) -> Tensor:
    """The Euclidean projection of x onto the simplex along an axis; Martins & Astudillo 2016."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)
