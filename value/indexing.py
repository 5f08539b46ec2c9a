"""What `value[key]` means: a key as NumPy reads it, as ops one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.ops.shape import BIG
from .expressions import Array

Applied = tuple[str, tuple[Array, ...], dict[str, Any]]  # an op, its operands behind the first, its attributes


def steps(key: Any, shape: tuple[int, ...]) -> Iterator[Applied]:
    """The ops that pick x[key]: a slice along the axes that have one, then a gather of those that have an index array.

    ShapeError where the key does not fit the shape of x.
    """
    entries = _entries(key if isinstance(key, tuple) else (key,), shape)
    if any(isinstance(e, np.ndarray) for e in entries):
        entries = [np.array(e) if isinstance(e, int) else e for e in entries]
    axes = [e for e in entries if e is not None]
    arrays = {i: e for i, e in enumerate(axes) if isinstance(e, np.ndarray)}
    cuts = {i: slice(e, e + 1) if isinstance(e, int) else e for i, e in enumerate(axes) if i not in arrays}
    sizes = tuple(len(range(*cuts[i].indices(n))) if i in cuts else n for i, n in enumerate(shape))
    yield from _sliced(cuts, shape)
    if arrays:
        yield from _gathered(entries, arrays, sizes)
        return
    left = iter(sizes)
    kept = [(1 if e is None else next(left), e) for e in entries]
    yield from _reshaped(sizes, tuple(size for size, e in kept if not isinstance(e, int)))


def steps_of_unknown(key: tuple[Any, ...], rank: int) -> Iterator[Applied]:
    """The same for a tensor of a rank whose sizes are not all known: ints, slices, None and `...`."""
    found = [_entry(k) for k in key]
    used = sum(e is not None and e is not ... for e in found)
    if any(isinstance(e, np.ndarray) for e in found) or sum(e is ... for e in found) > 1 or used > rank:
        raise ShapeError(f"index {key} does not fit {rank} axes of sizes not known", hint="ints, slices, None, ...")
    place = next((i for i, e in enumerate(found) if e is ...), len(found))
    found[place : place + 1] = [slice(None)] * (rank - used)
    axes = [e for e in found if e is not None]
    cuts = {i: _cut(e) for i, e in enumerate(axes) if e != slice(None)}
    if cuts:
        starts, ends, strides = zip(*cuts.values())
        yield "slice", (), {"starts": starts, "ends": ends, "axes": tuple(cuts), "steps": strides}
    single = tuple(i for i, e in enumerate(axes) if isinstance(e, int))
    if single:
        yield "squeeze", (), {"axes": single}
    new = tuple(i for i, e in enumerate(e for e in found if not isinstance(e, int)) if e is None)
    if new:
        yield "unsqueeze", (), {"axes": new}


def _cut(e: int | slice) -> tuple[int, int, int]:
    """Start, end and step of an entry, as the op `slice` has them."""
    if isinstance(e, int):
        return e, (e + 1) or BIG, 1
    step = 1 if e.step is None else e.step
    start = (0 if step > 0 else BIG) if e.start is None else e.start
    return start, (BIG if step > 0 else -BIG) if e.stop is None else e.stop, step


def _reshaped(shape: Sequence[int], wanted: Sequence[int]) -> Iterator[Applied]:
    if tuple(shape) != tuple(wanted):
        yield "reshape", (), {"shape": tuple(wanted)}


def _entries(key: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """The key with one entry for each axis (a slice, a non-negative int, an integer array), and None for new ones."""
    found = [_entry(k) for k in key]
    dots = [i for i, e in enumerate(found) if e is ...]
    used = sum(e.ndim if _is_mask(e) else e is not None and e is not ... for e in found)
    if len(dots) > 1 or used > len(shape):
        raise ShapeError(f"index {key} does not fit shape {shape}")
    place = dots[0] if dots else len(found)
    found[place : place + 1] = [slice(None)] * (len(shape) - used)
    entries: list[Any] = []
    axis = 0
    for e in found:
        if _is_mask(e):
            if e.shape != shape[axis : axis + e.ndim]:
                raise ShapeError(f"a mask of shape {e.shape} for axes of sizes {shape[axis : axis + e.ndim]}")
            entries += e.nonzero()
            axis += e.ndim
        elif e is None:
            entries.append(e)
        else:
            entries.append(e if isinstance(e, slice) else _in_range(e, axis, shape[axis]))
            axis += 1
    return entries


def _entry(k: Any) -> Any:
    """One entry of a key: None, `...`, a slice, an int, or an array of integers or booleans."""
    if k is None or k is ... or isinstance(k, slice):
        return k
    array = np.asarray(k)
    if array.size == 0 and not hasattr(k, "dtype"):
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu" or (array.dtype.kind == "b" and not array.ndim):
        raise ShapeError(f"{k!r} is no index", hint="ints, slices, None, ..., integer and boolean arrays")
    return array if array.ndim or isinstance(k, np.ndarray) else int(array)


def _is_mask(e: Any) -> bool:
    return isinstance(e, np.ndarray) and e.dtype.kind == "b"


def _in_range(e: Any, axis: int, size: int) -> Any:
    """Indices of an axis, counted from its front."""
    wrong = np.extract((np.asarray(e) < -size) | (np.asarray(e) >= size), e)
    if wrong.size:
        raise ShapeError(f"index {wrong[0]} is out of range for axis {axis} of size {size}")
    return np.where(e < 0, e + size, e).astype(np.int64) if isinstance(e, np.ndarray) else e % size


def _sliced(cuts: dict[int, slice], shape: tuple[int, ...]) -> Iterator[Applied]:
    """The slices, by axis, applied."""
    found = {axis: cut.indices(shape[axis]) for axis, cut in cuts.items() if cut != slice(None)}
    if found:
        starts, ends, steps = zip(*found.values())
        # an end before the first element, which -1 does not mean
        ends = tuple(end if end >= 0 else -shape[axis] - 1 for axis, end in zip(found, ends))
        yield "slice", (), {"starts": starts, "ends": ends, "axes": tuple(found), "steps": steps}


def _gathered(entries: list[Any], arrays: dict[int, Array], sizes: tuple[int, ...]) -> Iterator[Applied]:
    """The index arrays (by axis) applied: their broadcast shape stands where they stood, in front if they were apart.

    Several axes become one, of which one flat index picks.
    """
    try:
        indices = np.broadcast_arrays(*arrays.values())
    except ValueError:
        raise ShapeError(f"index arrays of shapes {[a.shape for a in arrays.values()]} do not broadcast") from None
    rest = [a for a in range(len(sizes)) if a not in arrays]
    order, picked, others = (*arrays, *rest), [sizes[a] for a in arrays], [sizes[a] for a in rest]
    if order != tuple(range(len(sizes))):
        yield "transpose", (), {"perm": order}
    flat = np.ravel_multi_index(tuple(indices), picked) if indices[0].size else np.zeros(indices[0].shape)
    if len(arrays) > 1:
        yield "reshape", (), {"shape": (int(np.prod(picked)), *others)}
    yield "gather", (np.asarray(flat, np.int64),), {"axis": 0}
    yield from _placed(entries, indices[0].shape, others)


def _placed(entries: list[Any], front: tuple[int, ...], others: list[int]) -> Iterator[Applied]:
    """The axes in the order of the entries: those of the indices came out in front, new ones are missing."""
    places = [i for i, e in enumerate(entries) if isinstance(e, np.ndarray)]
    together = places[-1] - places[0] == len(places) - 1
    before = entries[: places[0]] if together else []
    behind = [e for e in entries if not isinstance(e, np.ndarray)][len(before) :]
    width, lead, shape = len(front), sum(e is not None for e in before), [*front, *others]
    if lead:
        perm = (*range(width, width + lead), *range(width), *range(width + lead, len(shape)))
        yield "transpose", (), {"perm": perm}
        shape = [shape[i] for i in perm]
    left = iter(shape)
    yield from _reshaped(shape, [1 if e is None else next(left) for e in (*before, *range(width), *behind)])
