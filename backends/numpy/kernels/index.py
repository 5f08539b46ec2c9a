"""Kernels that read and write by index, sort, and whose result size depends on the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ....errors import RunError
from ..copies import copy
from ..registry import Array, Scratch, Step, function, is_constant, kernel
from .rows import wide_dtype

SCATTER_BLOCK = 1 << 16  # elements added at a time: their places are eight bytes each
TURN_WIDTH, TURN_SIZE = 64, 1 << 16  # elements of a row, and of all rows, from which they are added in turns
TURN_PLACES = 32  # of a turn: fewer are summed one by one
PARTITION_LENGTH = 512  # of an axis from which on a partition is faster than sorting it all


def check_places(indices: Array, size: int, op: str) -> None:
    """Raise RunError where an index is outside of [-size, size)."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        bad = indices[(indices < -size) | (indices >= size)].reshape(-1)[0]
        raise RunError(f"index {bad} is out of range for an axis of {size}", op=op)


def places_of(indices: Array, size: int, op: str) -> Array:
    """Indices as places in [0, size), checked."""
    check_places(indices, size, op)
    return np.where(indices < 0, indices + size, indices).astype(np.intp)


# ---- gather --------------------------------------------------------------------------------------------------


@kernel
def gather(x: Array, indices: Array, *, axis: int, out: Array, scratch: Scratch) -> Step | list[Step]:
    """x taken at indices along an axis.  Indices known now become a slice where they can.

    np.take is at its fastest with mode="wrap", which counts negative indices from the end; what would wrap around
    otherwise has been refused before.
    """
    a = axis % x.ndim
    size = x.shape[a]
    check = partial(check_places, indices, size, "gather")
    if not indices.size or not size:
        return check
    if is_constant(indices):
        if indices.min() < -size or indices.max() >= size:
            return check
        regular = _as_slice(places_of(indices, size, "gather"))
        if regular is not None:
            return copy(out, x[(slice(None),) * a + (regular, ...)])  # ...: a view even of one element
    steps: list[Step] = [] if is_constant(indices) else [check]
    places = indices
    if indices.dtype != np.intp:
        places = indices.astype(np.intp) if is_constant(indices) else scratch(indices.shape, np.intp)
        if not is_constant(indices):
            steps.append(partial(np.copyto, places, indices, casting="unsafe"))
    if x.flags.c_contiguous and out.flags.c_contiguous:
        return [*steps, partial(np.take, x, places, axis=a, out=out, mode="wrap")]
    return [*steps, partial(_pick, x, (slice(None),) * a, places, out)]  # np.take would copy all of x


def _as_slice(places: Array) -> slice | int | None:
    """Places as one place or a slice, if they are at equal distances."""
    if places.ndim == 0:
        return int(places)
    if places.ndim != 1:
        return None
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    if step == 0 or np.any(np.diff(places) != step):
        return None
    end = int(places[-1]) + (1 if step > 0 else -1)
    return slice(int(places[0]), None if end < 0 else end, step)


def _pick(x: Array, before: tuple[slice, ...], places: Array, out: Array) -> None:
    index: Any = (*before, places)
    np.copyto(out, x[index])


@kernel
def gather_elements(x: Array, indices: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step]:
    """np.take_along_axis; axes of indices may be shorter than those of x."""
    places, steps = _elements_of(x.shape, indices, axis, "gather_elements", scratch)
    if x.flags.c_contiguous and out.flags.c_contiguous:
        return [*steps, partial(np.take, x.reshape(-1), places, out=out, mode="wrap")]
    return [*steps, partial(_pick_elements, x, places, out)]


def _elements_of(
    shape: tuple[int, ...], indices: Array, axis: int, op: str, scratch: Scratch
) -> tuple[Array, list[Step]]:  # fmt: skip
    """The elements (i, j, ...) but for `axis`, where they are indices[i, j, ...], counted in row-major order, and the
    steps that find them."""
    a = axis % len(shape) if shape else 0
    size, places = shape[a] if shape else 1, scratch(indices.shape, np.intp)
    if not indices.size:
        return places, []
    steps: list[Step] = [
        partial(check_places, indices, size, op),
        partial(np.copyto, places, indices, casting="unsafe"),
        partial(np.remainder, places, max(size, 1), out=places),  # negative ones count from the end
    ]
    if (inner := math.prod(shape[a + 1 :])) != 1:
        steps.append(partial(np.multiply, places, inner, out=places))
    for i, n in enumerate(indices.shape):
        if i != a and n > 1:
            others = np.arange(n) * math.prod(shape[i + 1 :])
            steps.append(partial(np.add, places, others.reshape(-1, *(1,) * (indices.ndim - 1 - i)), out=places))
    return places, steps


def _pick_elements(x: Array, places: Array, out: Array) -> None:
    np.copyto(out, x.flat[places.reshape(-1)].reshape(out.shape))


@function
def gather_nd(x: Array, indices: Array, *, batch_dims: int) -> Array:
    return x[_nd_places(x.shape, indices, batch_dims, "gather_nd")]


def _nd_places(shape: tuple[int, ...], indices: Array, batch_dims: int, op: str) -> tuple[Array, ...]:
    """The NumPy index for places in the last axis of indices, each of which belongs to an axis after the batch's."""
    lead = indices.shape[:-1]
    batch = [np.arange(n).reshape(-1, *(1,) * (len(lead) - i - 1)) for i, n in enumerate(lead[:batch_dims])]
    rest = [places_of(indices[..., i], shape[batch_dims + i], op) for i in range(indices.shape[-1])]
    return (*batch, *rest)


# ---- scatter -------------------------------------------------------------------------------------------------

_COMBINE: dict[str, Callable[..., Any]] = {
    "none": lambda out, places, updates: out.__setitem__(places, updates),
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


@kernel
def scatter_elements(
    x: Array, indices: Array, updates: Array, *, axis: int, reduction: str, out: Array, scratch: Scratch
) -> list[Step]:
    places, steps = _elements_of(x.shape, indices, axis, "scatter_elements", scratch)
    target = out if out.flags.c_contiguous else scratch(out.shape, out.dtype)
    steps += [copy(target, x), partial(_put_elements, _COMBINE[reduction], target, places, updates)]
    return steps if target is out else [*steps, copy(out, target)]


def _put_elements(combine: Callable[..., Any], out: Array, places: Array, updates: Array) -> None:
    """ufunc.at is several times faster on flat arrays."""
    if updates.shape != places.shape:
        updates = np.broadcast_to(updates, places.shape)
    combine(out.reshape(-1), places.reshape(-1), updates.reshape(-1))


@function
def scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str, batch_dims: int) -> Array:
    out = x.copy()
    _COMBINE[reduction](out, _nd_places(x.shape, indices, batch_dims, "scatter_nd"), updates)
    return out


@kernel
def scatter_rows(updates: Array, indices: Array, *, size: int, axis: int, out: Array, scratch: Scratch) -> list[Step]:
    """Sums in at least float32, rows first."""
    a = axis % out.ndim
    lead, inner = updates.shape[:a], updates.shape[a + indices.ndim :]
    rows, width = indices.size, math.prod(lead) * math.prod(inner)
    wide = wide_dtype(out.dtype)
    direct = a == 0 and out.dtype == wide and out.flags.c_contiguous
    target = out.reshape(size, width, copy=False) if direct else scratch((size, width), wide)
    delivered = np.moveaxis(target.reshape(size, *lead, *inner), 0, a)

    in_turns = width >= TURN_WIDTH and rows * width >= TURN_SIZE
    work = [scratch((count, width), wide) for count in (min(rows, size) + 1, rows // 2)] if in_turns else []

    def add() -> None:
        ordered = np.moveaxis(updates.reshape(*lead, rows, *inner), a, 0).reshape(rows, width).astype(wide, copy=False)
        places = places_of(indices, size, "scatter_rows").reshape(rows)
        (_add_in_turns if in_turns else _add_flat)(ordered, places, target, *work)

    steps: list[Step] = [add] if in_turns else [partial(target.fill, 0), add]
    return steps if direct else [*steps, partial(np.copyto, out, delivered, casting="unsafe")]


def _add_flat(rows: Array, places: Array, target: Array) -> None:
    """target[places] += rows.  np.add.at on flat arrays is several times faster than on rows."""
    width = rows.shape[1]
    step = max(1, SCATTER_BLOCK // max(width, 1))
    for i in range(0, len(rows), step):
        flat = places[i : i + step, None] * width + np.arange(width)
        np.add.at(target.reshape(-1), flat.reshape(-1), rows[i : i + step].reshape(-1))


def _add_in_turns(rows: Array, places: Array, target: Array, sums: Array, taken: Array) -> None:
    """target = the sums of long rows by their places: in each turn one row of every place that has one left.

    Places with most rows come first, so that a turn is a slice.  What is left of a few places is summed place by place.
    sums has a row more than there may be places, taken half as many as there are rows.
    """
    # NumPy sorts 16 bits in a sixth of the time
    order = np.argsort(places.astype(np.uint16 if len(target) <= 1 << 16 else np.intp), kind="stable")
    places = places[order]
    starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    counts = np.diff(starts, append=len(places))
    by_count = np.argsort(-counts, kind="stable")
    starts, counts = starts[by_count], counts[by_count]
    sums = sums[: len(starts) + 1]
    rows.take(order[starts], 0, sums[:-1], "wrap")
    turn = 1
    while (left := int(np.searchsorted(-counts, -turn))) > TURN_PLACES:
        rows.take(order[starts[:left] + turn], 0, taken[:left], "wrap")
        np.add(sums[:left], taken[:left], sums[:left])
        turn += 1
    for i in range(left):
        sums[i] += rows.take(order[starts[i] + turn : starts[i] + counts[i]], 0).sum(0)
    sums[-1] = 0
    found = np.full(len(target), len(starts))  # of each place, which of the sums; zeros where there is no row
    found[places[starts]] = np.arange(len(starts))
    sums.take(found, 0, target, "wrap")


@kernel
def one_hot(
    indices: Array, on: Array, off: Array, *, depth: int, axis: int, out: Array, scratch: Scratch
) -> list[Step]:
    """`on` where the index, or depth + index, is the place along the new axis; nowhere for indices out of range."""
    along = np.moveaxis(out, axis, -1)
    mask = scratch(along.shape, np.bool_)
    return [partial(_one_hot, indices, on.reshape(()), off.reshape(()), np.arange(depth), mask, along)]


def _one_hot(indices: Array, on: Array, off: Array, places: Array, mask: Array, out: Array) -> None:
    np.equal(np.where(indices < 0, indices + len(places), indices)[..., None], places, out=mask)
    np.copyto(out, off)
    np.copyto(out, on, where=mask)


# ---- sorting -------------------------------------------------------------------------------------------------


@function
def top_k(x: Array, *, k: int, axis: int, largest: bool, sorted: bool) -> tuple[Array, Array]:
    """The k largest (smallest) in order; the sort is stable, so the earlier of equals comes first."""
    along = np.moveaxis(x, axis, -1)
    size = along.shape[-1]
    if not 0 <= k <= size:
        raise RunError(f"k = {k} of an axis of {size}", op="top_k")
    if k == 1:
        order = (along.argmax(-1) if largest else along.argmin(-1))[..., None]
    elif size >= PARTITION_LENGTH and 4 * k <= size and k and not _has_nan(along):
        order = _partitioned(along, k, largest)
    else:
        order = _stable_order(along, largest)[..., :k]
    values = np.take_along_axis(along, order, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(order, -1, axis).astype(np.int64)


def _stable_order(x: Array, largest: bool) -> Array:
    """The places of the elements in order.  For the largest first: reversed, sorted and reversed again, so that
    the earlier of two equal ones still comes first, in any dtype."""
    if not largest:
        return np.argsort(x, axis=-1, kind="stable")
    return x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def _has_nan(x: Array) -> bool:
    return (x.dtype.kind == "f" and bool(np.isnan(x).any())) or x.dtype.kind not in "fiub"


def _partitioned(x: Array, k: int, largest: bool) -> Array:
    """The same for few out of many: those beyond the k-th value, and of those equal to it the first."""
    size = x.shape[-1]
    place = size - k if largest else k - 1
    edge = np.partition(x, place, axis=-1)[..., place, None]
    beyond = x > edge if largest else x < edge
    equal = x == edge
    missing = k - beyond.sum(-1, keepdims=True)
    chosen = beyond | (equal & (np.cumsum(equal, axis=-1) <= missing))
    places = np.nonzero(chosen)[-1].reshape(*x.shape[:-1], k)
    order = _stable_order(np.take_along_axis(x, places, -1), largest)
    return np.take_along_axis(places, order, -1)


# ---- triangles and results of unknown size -------------------------------------------------------------------


@kernel
def trilu(x: Array, *, k: int, upper: bool, out: Array, scratch: Scratch) -> list[Step]:
    rows, columns = (np.arange(n) for n in x.shape[-2:])
    distance = columns - rows[:, None]
    gone = distance < k if upper else distance > k
    return [partial(np.copyto, out, x), partial(np.copyto, out, out.dtype.type(0), where=gone)]


@function
def nonzero(x: Array) -> Array:
    if not x.ndim:
        return np.zeros((0, int(bool(x))), np.int64)
    return np.stack(np.nonzero(x)).astype(np.int64)


@function
def compress(x: Array, condition: Array, *, axis: int | None) -> Array:
    return np.compress(condition.reshape(-1).astype(bool), x, axis=axis)


@function
def unique(x: Array, *, axis: int | None, sorted: bool) -> tuple[Array, Array, Array, Array]:
    """Distinct elements in order, or (not sorted) in the order in which they first appear."""
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        values, first, counts = np.take(values, order, axis=axis or 0), first[order], counts[order]
        inverse = rank[inverse]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)
