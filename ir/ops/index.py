"""Reading and writing by index, sorting, and ops whose result size depends on the data."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import ShapeError
from ..attributes import Dim
from ..dims import UNKNOWN
from ..op import axis_of, op, require, require_dim, same_dtype, shape_text
from ..types import Tensor, i64

REDUCTION_NAMES = ("none", "add", "mul", "max", "min")


def _axis(rank: int, *, axis: int) -> Iterable[int]:
    return (axis % rank,)


@op(mixes=_axis)
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """x taken at `indices` along an axis (an embedding looks up rows, axis 0); negative indices count from the end.

    The axis is replaced by the axes of indices.
    """
    require(indices.dtype.is_integer, f"indices are {indices.dtype}, expected integers")
    a = axis_of(axis, x.rank)
    shape = (*x.dims[:a], *indices.dims, *x.dims[a + 1 :])
    value = None
    if x.value is not None and indices.value is not None and x.rank == 1:
        numbers = [i for i in indices.value if isinstance(i, int) and -len(x.value) <= i < len(x.value)]
        if len(numbers) == len(indices.value):
            value = tuple(x.value[i] for i in numbers)
    return Tensor(x.dtype, shape, value if len(shape) <= 1 else None)


@op(mixes=_axis)
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """y[i][j] = x[indices[i][j]][j] for axis 0, and so on (numpy.take_along_axis)."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, indices.shape)


@op()
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices of x; the last axis of indices holds their places in the axes after the first batch_dims."""
    depth = indices.dims[-1]
    if not isinstance(depth, int):
        return Tensor(x.dtype, None)
    if depth + batch_dims > x.rank:
        raise ShapeError(f"indices {indices} do not fit {x}")
    return Tensor(x.dtype, (*indices.dims[:-1], *x.dims[batch_dims + depth :]))


@op()
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    """x with updates[i][j] put to (or combined with) place [indices[i][j]][j], for axis 0, and so on."""
    require(reduction in REDUCTION_NAMES, f"reduction {reduction!r} is none of {', '.join(REDUCTION_NAMES)}")
    same_dtype(x, updates)
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op()
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none", batch_dims: int = 0) -> Tensor:
    """x with slices put to (or combined with) the places that the last axis of indices holds.

    Places count in the axes of x after the first batch_dims, which x, indices and updates share.
    """
    require(reduction in REDUCTION_NAMES, f"reduction {reduction!r} is none of {', '.join(REDUCTION_NAMES)}")
    same_dtype(x, updates)
    return Tensor(x.dtype, x.shape)


@op("gathers", mixes=lambda rank, **_: range(rank))
def scatter_rows(updates: Tensor, indices: Tensor, *, size: Dim, axis: int = 0) -> Tensor:
    """Zeros, `size` along an axis, with slices of updates added at `indices`: what undoes a gather.

    The axes of indices stand in updates at `axis`; indices outside of [-size, size) are an error.
    """
    require(indices.dtype.is_integer, f"indices are {indices.dtype}, expected integers")
    a = axis_of(axis, updates.rank - indices.rank + 1)
    for d, i in zip(updates.dims[a:], indices.dims):
        require_dim(d, i, "an axis of updates that belongs to indices")
    return Tensor(updates.dtype, (*updates.dims[:a], size, *updates.dims[a + indices.rank :]))


@op(mixes=lambda rank, **_: ())
def one_hot(indices: Tensor, on: Tensor, off: Tensor, *, depth: Dim, axis: int = -1) -> Tensor:
    """`on` where the place along the new axis equals the index (negative ones count from the end), else `off`."""
    a = axis_of(axis, indices.rank + 1)
    return Tensor(same_dtype(on, off), (*indices.dims[:a], depth, *indices.dims[a:]))


@op(mixes=lambda rank, *, k, axis, largest, sorted: (axis % rank,))
def top_k(x: Tensor, *, k: Dim, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (smallest) elements along an axis in order, and their places; the earlier wins a tie."""
    a = axis_of(axis, x.rank)
    shape = (*x.dims[:a], k, *x.dims[a + 1 :])
    length = x.dims[a]
    fits = not isinstance(k, int) or not isinstance(length, int) or k <= length
    require(fits, f"k = {k} is more than axis {axis} of {shape_text(x.shape)} holds")
    return Tensor(x.dtype, shape), Tensor(i64, shape)


@op()
def trilu(x: Tensor, *, k: int = 0, upper: bool = True) -> Tensor:
    """The upper (or lower) triangle of the last two axes from diagonal k on, zeros elsewhere."""
    require(x.rank >= 2, f"trilu of {shape_text(x.shape)}")
    return Tensor(x.dtype, x.shape)


@op("opaque")
def nonzero(x: Tensor) -> Tensor:
    """The places of the non-zero elements, one column each: i64[rank, ?]."""
    return Tensor(i64, (x.rank, UNKNOWN))


@op("opaque")
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """The slices of x along an axis (none: the flattened elements) where the condition (1-D) holds."""
    if axis is None:
        return Tensor(x.dtype, (UNKNOWN,))
    a = axis_of(axis, x.rank)
    return Tensor(x.dtype, (*x.dims[:a], UNKNOWN, *x.dims[a + 1 :]))


@op("opaque")
def unique(x: Tensor, *, axis: int | None = None, sorted: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct elements (or slices): they, where each stands first, which one each element is, how many of each."""
    counts = Tensor(i64, (UNKNOWN,))
    if axis is None:
        return Tensor(x.dtype, (UNKNOWN,)), counts, counts, counts
    a = axis_of(axis, x.rank)
    return Tensor(x.dtype, (*x.dims[:a], UNKNOWN, *x.dims[a + 1 :])), counts, counts, counts
