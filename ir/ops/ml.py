"""Classical machine learning: tables of keys, maps (dicts), decision trees, coupled probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..attributes import Ints, Strs
from ..dims import UNKNOWN, Dim
from ..op import op, require, require_dim, require_rank, same_dtype
from ..types import Map, Sequence, Tensor, boolean, i64, string, u8

BRANCHES = ("<=", "<", ">=", ">", "==", "!=")  # the comparisons of a tree's branches, by number
AGGREGATES = ("sum", "average", "min", "max")


# ---- tables and maps -----------------------------------------------------------------------------------------


@op("string", mixes=lambda rank, **_: ())
def find(x: Tensor, keys: Tensor, *, strict: bool = False) -> Tensor:
    """The place of each element of x among keys, (K): i64 in the shape of x; K where it is none of them.

    Of equal keys the first counts; NaN equals NaN.  strict: an element that is no key is an error.
    """
    require_rank(keys, 1, "keys")
    same_dtype(x, keys)
    return Tensor(i64, x.shape)


@op("string", "opaque")
def map_items(x: Map) -> tuple[Tensor, Tensor]:
    """The keys of a map, sorted, and the values (scalars) that belong to them: both (K)."""
    require(isinstance(x, Map) and isinstance(x.element, Tensor), f"{x} is no map of tensors")
    assert isinstance(x.element, Tensor)
    return Tensor(x.key, (UNKNOWN,)), Tensor(x.element.dtype, (UNKNOWN,))


@op("string")
def zip_map(x: Tensor, *, words: Strs = (), numbers: Ints = ()) -> Sequence:
    """A list of maps, one for each row of x, (C) or (N, C): the elements of the row by the C keys, words or numbers."""
    require(x.rank in (1, 2), f"operand has rank {x.rank}, expected 1 or 2")
    require(bool(words) != bool(numbers), "the keys are words or numbers, one of them")
    require_dim(x.dims[-1], len(words or numbers), "the number of columns")
    return Sequence(Map(Tensor(x.dtype, ()), string if words else i64))


# ---- decision trees ------------------------------------------------------------------------------------------


def _by_sample(rank: int, **_: Any) -> Iterable[int]:
    return (rank - 1,)


@op(mixes=_by_sample)
def tree_ensemble(
    x: Tensor, roots: Tensor, features: Tensor, thresholds: Tensor, modes: Tensor, missing: Tensor, children: Tensor,
    weights: Tensor, *, aggregate: str = "sum",
) -> Tensor:  # fmt: skip
    """What a forest of T trees says of each row of x, (N, F): (N, targets), in the dtype of the weights.

    Branches (features, thresholds, modes, missing: (B)) compare x[:, feature] with the threshold, by the comparison
    BRANCHES[mode]; what is not a number counts as true where `missing` says so.  children, (B, 2), has where to go
    then, if it is false and if it is true, and roots, (T), where to start: numbers below B are branches, B + l is
    leaf l, whose row of weights, (leaves, targets), is the tree's word.  The words of the trees are aggregated.
    """
    require_rank(x, 2, "x")
    require_rank(weights, 2, "weights")
    require(aggregate in AGGREGATES, f"aggregate {aggregate!r} is none of {', '.join(AGGREGATES)}")
    same_dtype(x, thresholds)
    require(modes.dtype is u8 and missing.dtype is boolean, "modes are u8, missing are bool")
    require(roots.dtype is features.dtype is children.dtype is i64, "roots, features and children are i64")
    branches: Dim = features.dims[0]
    for name, rows in {"thresholds": thresholds, "modes": modes, "missing": missing, "children": children}.items():
        require_dim(rows.dims[0], branches, f"the number of {name}")
    return Tensor(weights.dtype, (x.dims[0], weights.dims[1]))


# ---- coupled probabilities -----------------------------------------------------------------------------------


def _by_leading(rank: int, **_: Any) -> Iterable[int]:
    return (rank - 2, rank - 1)


@op(mixes=_by_leading)
def couple_probabilities(pairs: Tensor) -> Tensor:
    """Probabilities of K classes, (N, K), from those of each pair, (N, K, K): pairs[n, i, j] = P(i | i or j).

    Minimises the sum over i != j of (pairs[j, i] p[i] - pairs[i, j] p[j])^2 by the iteration of Wu, Lin and Weng 2004
    (second approach), to 0.005 / K and no farther: as libsvm does.
    """
    require_rank(pairs, 3, "pairs")
    require(pairs.dtype.is_float, f"pairs are {pairs.dtype}, expected floats")
    require_dim(pairs.dims[1], pairs.dims[2], "the number of classes")
    return Tensor(pairs.dtype, pairs.dims[:-1])
