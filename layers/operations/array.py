"""The operations of keras.ops.numpy that make arrays and move elements; products are in products.py.

Formulas and dtypes: keras/src/backend/tensorflow/numpy.py.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ...ir import Builder, Var, dtype
from ...ir.dims import product
from ..base import as_dtype
from .common import (
    Function,
    Term,
    as_tuple,
    axes_of,
    fixed,
    flat,
    kind_of,
    row,
    rows,
    summable,
    tensor,
    together,
    where,
)  # fmt: skip
from .promotion import result_type

FAMILY = "numpy"
END = 2**31 - 1
operation = partial(row, FAMILY)


# ---- making arrays --------------------------------------------------------------------------------------------


@operation("Array")
def array(b: Builder, x: Any, dtype: Any = None) -> Var:
    return tensor(b, x, dtype)


def _filled(number: int) -> Function:
    def call(b: Builder, x: Any, dtype: Any = None) -> Var:
        x = tensor(b, x)
        return b.expand(tensor(b, np.array(number), dtype or x.tensor.dtype), shape=x.shape)  # type: ignore

    return call


rows(FAMILY, {"ZerosLike": _filled(0), "EmptyLike": _filled(0), "OnesLike": _filled(1)})


@operation("Full")
def full(b: Builder, fill_value: Any, shape: Any, dtype: Any = None) -> Var:
    return b.expand(tensor(b, fill_value, dtype or "float32"), shape=_shape(shape))  # type: ignore[no-any-return]


@operation("FullLike")
def full_like(b: Builder, x: Any, fill_value: Any, dtype: Any = None) -> Var:
    x = tensor(b, x)
    return b.expand(tensor(b, fill_value, result_type(dtype or kind_of(x))), shape=x.shape)  # type: ignore


def _shape(shape: Any) -> tuple[Any, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


@operation("Linspace")
def linspace(
    b: Builder, start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
    axis: int = 0,
) -> Any:  # fmt: skip
    """num points from start to stop (with endpoint: including it); retstep: and the distance between them."""
    name = dtype or result_type(kind_of(start), kind_of(stop), "float")
    low, high = (Term(b, tensor(b, v, name)) for v in (start, stop))
    inner = name if is_float_name(name) else "float64"
    low, high = low.to(inner), high.to(inner)
    parts = max(num - 1 if endpoint else num, 1)
    step = (high - low) / float(parts)
    rank = len(step.shape)
    place = axis % (rank + 1)
    numbers = np.arange(num).reshape([num if i == place else 1 for i in range(rank + 1)])
    counts = Term(b, b.constant(numbers.astype(tensor_dtype(inner))))
    points = low.unsqueeze(axes=(place,)) + step.unsqueeze(axes=(place,)) * counts
    if endpoint and num > 1:  # exactly there
        points = where(counts.equal(float(num - 1)), high.unsqueeze(axes=(place,)), points)
    if inner != name:
        points = points.floor()
    return [points.to(name), step] if retstep else points.to(name)


def is_float_name(name: str) -> bool:
    """Whether a dtype is a floating-point one."""
    return dtype(name).is_float


def tensor_dtype(name: str) -> Any:
    """The NumPy dtype of that name."""
    return dtype(name).numpy


@operation("Logspace")
def logspace(b: Builder, start: Any, stop: Any, base: Any = 10, **config: Any) -> Any:
    """Powers of base, the exponents evenly spaced."""
    exponents = linspace(b, start, stop, **config)
    return Term(b, tensor(b, base, exponents.dtype)).pow(exponents)


@operation("Geomspace")
def geomspace(b: Builder, start: Any, stop: Any, dtype: Any = None, **config: Any) -> Any:
    """Numbers of which each is the same multiple of the one before, from start to stop."""
    ends = [Term(b, tensor(b, v)).abs().to(dtype or "float32").log() / math.log(10) for v in (start, stop)]
    sizes = logspace(b, *(v.var for v in ends), dtype=dtype, **config)
    signs = Term(b, tensor(b, start)).to(ends[0].dtype).sign().to(sizes.dtype)
    return sizes * signs


@operation("Vander")
def vander(b: Builder, x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers 0 ... N - 1 of each element, by default the highest first."""
    t = Term(b, tensor(b, x))
    count = fixed(t.shape[0] if N is None else N, "the number of powers")
    powers = np.arange(count) if increasing else np.arange(count)[::-1]
    name = result_type(t.dtype, "float32")
    raised = t.unsqueeze(axes=(-1,)).to(name).pow(tensor(b, powers.copy(), name))
    return raised.to(result_type(t.dtype))


@operation("Meshgrid")
def meshgrid(b: Builder, *xs: Any, indexing: str = "xy") -> list[Var]:
    """Each vector along an axis of its own, repeated along those of the others."""
    vectors = [flat(b, tensor(b, x)) for x in xs]
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = [1, 0]
    sizes = [vectors[i].shape[0] for i in order]
    found = []
    for i, v in enumerate(vectors):
        place = order.index(i)
        v = b.reshape(v, shape=tuple(sizes[place] if a == place else 1 for a in range(len(sizes))))
        found.append(b.expand(v, shape=tuple(sizes)))
    return found


# ---- shapes ---------------------------------------------------------------------------------------------------


@operation("Ndim")
def ndim(b: Builder, x: Any) -> Var:
    return b.constant(np.int32(len(tensor(b, x).shape)))


@operation("Size")
def size(b: Builder, x: Any) -> Var:
    return as_dtype(b, b.size(tensor(b, x)), "int32")


@operation("ExpandDims")
def expand_dims(b: Builder, x: Any, axis: Any) -> Var:
    x, axes = tensor(b, x), axes_of(axis) or ()
    rank = len(x.shape) + len(axes)
    return b.unsqueeze(x, axes=tuple(sorted(a % rank for a in axes)))  # type: ignore[no-any-return]


@operation("Squeeze")
def squeeze(b: Builder, x: Any, axis: Any = None) -> Var:
    return b.squeeze(tensor(b, x), axes=axes_of(axis))  # type: ignore[no-any-return]


@operation("Reshape")
def reshape(b: Builder, x: Any, newshape: Any) -> Var:
    x = tensor(b, x)
    shape = [-1 if d is None else d for d in _shape(newshape)]
    if shape and shape[0] == -1 and shape.count(-1) == 2:
        shape[0] = x.shape[0]  # Keras writes both the batch and one other dimension as unknown
    if any(isinstance(d, Var) for d in shape):
        return b.reshape(x, shape=b.concat(*(b.reshape(tensor(b, d, "int64"), shape=(1,)) for d in shape), axis=0))  # type: ignore
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = product(x.shape) // product(d for d in shape if d != -1)
    return b.reshape(x, shape=tuple(shape))  # type: ignore[no-any-return]


@operation("Ravel")
def ravel(b: Builder, x: Any) -> Var:
    return b.reshape(tensor(b, x), shape=(product(tensor(b, x).shape),))  # type: ignore[no-any-return]


@operation("Transpose")
def transpose(b: Builder, x: Any, axes: Any = None) -> Var:
    x = tensor(b, x)
    rank = len(x.shape)
    return b.transpose(x, perm=tuple(a % rank for a in axes) if axes else tuple(reversed(range(rank))))  # type: ignore


@operation("Swapaxes")
def swapaxes(b: Builder, x: Any, axis1: int, axis2: int) -> Var:
    x = tensor(b, x)
    perm = list(range(len(x.shape)))
    perm[axis1], perm[axis2] = perm[axis2], perm[axis1]
    return b.transpose(x, perm=tuple(perm))  # type: ignore[no-any-return]


@operation("Moveaxis")
def moveaxis(b: Builder, x: Any, source: Any, destination: Any) -> Var:
    x = tensor(b, x)
    rank = len(x.shape)
    sources, targets = (tuple(a % rank for a in axes_of(v) or ()) for v in (source, destination))
    perm = [i for i in range(rank) if i not in sources]
    for to, of in sorted(zip(targets, sources)):
        perm.insert(to, of)
    return b.transpose(x, perm=tuple(perm))  # type: ignore[no-any-return]


@operation("BroadcastTo")
def broadcast_to(b: Builder, x: Any, shape: Any) -> Var:
    return b.expand(tensor(b, x), shape=_shape(shape))  # type: ignore[no-any-return]


# ---- joining and cutting --------------------------------------------------------------------------------------


@operation("Concatenate")
def concatenate(b: Builder, xs: Any, axis: int = 0) -> Var:
    return b.concat(*together(b, *xs, weak=False), axis=axis)  # type: ignore[no-any-return]


@operation("Stack")
def stack(b: Builder, x: Any, axis: int = 0) -> Var:
    x = together(b, *x)
    rank = len(x[0].shape) + 1
    return b.concat(*(b.unsqueeze(v, axes=(axis % rank,)) for v in x), axis=axis % rank)  # type: ignore[no-any-return]


@operation("Append")
def append(b: Builder, x1: Any, x2: Any, axis: int | None = None) -> Var:
    xs = together(b, x1, x2, weak=False)
    return b.concat(*(flat(b, x) for x in xs), axis=0) if axis is None else b.concat(*xs, axis=axis)  # type: ignore


@operation("Hstack")
def hstack(b: Builder, xs: Any) -> Var:
    return concatenate(b, xs, axis=0 if len(tensor(b, xs[0]).shape) == 1 else 1)


@operation("Vstack")
def vstack(b: Builder, xs: Any) -> Var:
    return concatenate(b, xs, axis=0)


@operation("Dstack")
def dstack(b: Builder, xs: Any) -> Var:
    """Joined along the third axis, which (after one in front, of vectors) is made where it lacks."""
    made = []
    for x in together(b, *xs, weak=False):
        axes = {0: (0, 1, 2), 1: (0, 2), 2: (2,)}.get(len(x.shape))
        made.append(b.unsqueeze(x, axes=axes) if axes else x)
    return b.concat(*made, axis=2)  # type: ignore[no-any-return]


def _cut(b: Builder, x: Any, indices_or_sections: Any, axis: int, uneven: bool = False) -> list[Var]:
    """In equal parts (uneven: the first ones one longer), or before the given places."""
    x = tensor(b, x)
    length = x.shape[axis]
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if uneven:
            base, more = divmod(fixed(length, "the axis"), count)
            sizes: list[Any] = [base + 1] * more + [base] * (count - more)
        else:
            sizes = [length // count] * count
    else:
        places = [0, *(int(i) for i in indices_or_sections), length]
        sizes = [after - before for before, after in pairwise(places)]
    return list(b.split(x, axis=axis, sizes=tuple(sizes)))


rows(FAMILY, {
    "Split": lambda b, x, indices_or_sections, axis=0: _cut(b, x, indices_or_sections, axis),
    "ArraySplit": lambda b, x, indices_or_sections, axis=0: _cut(b, x, indices_or_sections, axis, uneven=True),
    "Hsplit": lambda b, x, indices_or_sections: _cut(b, x, indices_or_sections, min(len(x.shape) - 1, 1)),
    "Vsplit": lambda b, x, indices_or_sections: _cut(b, x, indices_or_sections, 0),
    "Dsplit": lambda b, x, indices_or_sections: _cut(b, x, indices_or_sections, 2),
})  # fmt: skip

PAD_MODES = {"constant": "constant", "reflect": "reflect", "symmetric": "symmetric"}


@operation("Pad")
def pad(b: Builder, x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Var:
    """pad_width: one number, one pair, or a pair for each axis (or as many as fit the rank)."""
    x = tensor(b, x)
    if mode not in PAD_MODES:
        raise TypeError(f"mode {mode!r} is none of {', '.join(PAD_MODES)}")
    value = tensor(b, constant_values, x.tensor.dtype) if constant_values else None
    return b.pad(x, value, pads=_pairs(pad_width, len(x.shape)), mode=PAD_MODES[mode])  # type: ignore[no-any-return]


def _pairs(width: Any, rank: int) -> tuple[tuple[int, int], ...]:
    if isinstance(width, int):
        return ((width, width),) * rank
    rows = [as_tuple(w, 2) if isinstance(w, int) else tuple(w) for w in width]
    if len(rows) == 2 and all(isinstance(w, int) for w in width) and rank != 2:
        rows = [tuple(width)]
    rows = [(r[0], r[0]) if len(r) == 1 else r for r in rows]
    return tuple(rows * rank if len(rows) == 1 else rows)  # type: ignore[arg-type]


@operation("Tile")
def tile(b: Builder, x: Any, repeats: Any) -> Var:
    x = tensor(b, x)
    counts = _shape(repeats)
    counts = (1,) * (len(x.shape) - len(counts)) + counts
    for _ in range(len(counts) - len(x.shape)):
        x = b.unsqueeze(x, axes=(0,))
    return b.tile(x, repeats=counts)  # type: ignore[no-any-return]


@operation("Repeat")
def repeat(b: Builder, x: Any, repeats: Any, axis: int | None = None) -> Var:
    """Each element (slice) so many times: the same number for all, or one each."""
    x = tensor(b, x)
    x, axis = (flat(b, x), 0) if axis is None else (x, axis)
    if isinstance(repeats, int):
        return b.repeat(x, repeats=repeats, axis=axis)  # type: ignore[no-any-return]
    if len(repeats) == 1:
        return b.repeat(x, repeats=int(repeats[0]), axis=axis)  # type: ignore[no-any-return]
    return b.gather(x, b.constant(np.repeat(np.arange(len(repeats)), repeats)), axis=axis)  # type: ignore[no-any-return]


@operation("Roll")
def roll(b: Builder, x: Any, shift: Any, axis: Any = None) -> Var:
    """Moved around the end, of one axis or several; without an axis, as one row."""
    x = tensor(b, x)
    if axis is None:
        return b.reshape(_rolled(b, flat(b, x), int(shift), 0), shape=x.shape)  # type: ignore[no-any-return]
    axes = axes_of(axis) or ()
    for a, s in zip(axes, as_tuple(shift, len(axes))):
        x = _rolled(b, x, s, a)
    return x


def _rolled(b: Builder, x: Var, shift: int, axis: int) -> Var:
    size = x.shape[axis]
    shift = shift % size if isinstance(size, int) and size else shift
    if shift == 0 or size == 0:
        return x
    if not isinstance(size, int):  # a shift may be more than the size: by place
        places = b.range(
            np.int64(0), b.reshape(b.gather(b.shape(x), np.int64(axis % len(x.shape))), shape=()), np.int64(1)
        )
        return b.gather(x, b.mod(b.sub(places, shift), b.size(places)), axis=axis)  # type: ignore[no-any-return]
    tail = b.slice(x, starts=(-shift,), ends=(END,), axes=(axis,))
    return b.concat(tail, b.slice(x, starts=(0,), ends=(-shift,), axes=(axis,)), axis=axis)  # type: ignore[no-any-return]


@operation("Flip")
def flip(b: Builder, x: Any, axis: Any = None) -> Var:
    x = tensor(b, x)
    axes = tuple(range(len(x.shape))) if axis is None else axes_of(axis) or ()
    ones = (-1,) * len(axes)
    return b.slice(x, starts=ones, ends=(-END,) * len(axes), axes=axes, steps=ones) if axes else x  # type: ignore


rows(FAMILY, {"Fliplr": lambda b, x: flip(b, x, 1), "Flipud": lambda b, x: flip(b, x, 0)})


@operation("Rot90")
def rot90(b: Builder, x: Any, k: int = 1, axes: Any = (0, 1)) -> Var:
    """Turned by k right angles, from the first of the axes to the second."""
    x = tensor(b, x)
    first, second = axes
    k = k % 4
    if k == 2:
        return flip(b, x, (first, second))
    if k == 1:
        return swapaxes(b, flip(b, x, second), first, second)
    return flip(b, swapaxes(b, x, first, second), second) if k == 3 else x


# ---- reading and choosing -------------------------------------------------------------------------------------


@operation("GetItem")
def get_item(b: Builder, x: Any, key: Any) -> Var:
    """x[key] with numbers, slices, new axes and an ellipsis."""
    x = tensor(b, x)
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    place, left = 0, len(x.shape) - sum(k is not None and k is not Ellipsis for k in keys)
    slices: dict[int, slice] = {}
    gone, new, at = [], [], 0
    for k in keys:
        if k is None:
            new.append(at)
            at += 1
        elif k is Ellipsis:
            place, at = place + left, at + left
        elif isinstance(k, slice):
            slices[place] = k
            place, at = place + 1, at + 1
        elif isinstance(k, Var):
            x = b.gather(x, b.unsqueeze(k, axes=(0,)), axis=place)
            gone.append(place)
            place += 1
        else:
            slices[place] = slice(k, k + 1 if k != -1 else None)
            gone.append(place)
            place += 1
    x = _sliced(b, x, {a: s for a, s in slices.items() if s != slice(None)})
    x = b.squeeze(x, axes=tuple(gone)) if gone else x
    return b.unsqueeze(x, axes=tuple(new)) if new else x  # type: ignore[no-any-return]


def _sliced(b: Builder, x: Var, slices: dict[int, slice]) -> Var:
    if not slices:
        return x
    steps = tuple(1 if s.step is None else s.step for s in slices.values())
    starts = tuple((0 if step > 0 else END) if s.start is None else s.start for s, step in zip(slices.values(), steps))
    ends = tuple((END if step > 0 else -END) if s.stop is None else s.stop for s, step in zip(slices.values(), steps))
    return b.slice(x, starts=starts, ends=ends, axes=tuple(slices), steps=steps)  # type: ignore[no-any-return]


@operation("Take")
def take(b: Builder, x: Any, indices: Any, axis: int | None = None) -> Var:
    x, indices = tensor(b, x), tensor(b, indices)
    indices = indices if indices.tensor.dtype.is_integer else as_dtype(b, indices, "int32")
    return b.gather(flat(b, x) if axis is None else x, indices, axis=axis or 0)  # type: ignore[no-any-return]


@operation("TakeAlongAxis")
def take_along_axis(b: Builder, x: Any, indices: Any, axis: int | None = None) -> Var:
    """x[..., indices[..., i, ...], ...]; the other axes broadcast."""
    x, indices = tensor(b, x), tensor(b, indices, "int64")
    if axis is None:
        x, axis = flat(b, x), 0
    axis %= len(x.shape)
    shape = [i if d == 1 else d for d, i in zip(x.shape, indices.shape)]
    size, count = x.shape[axis], indices.shape[axis]
    x = b.expand(x, shape=(*shape[:axis], size, *shape[axis + 1 :]))
    return b.gather_elements(x, b.expand(indices, shape=(*shape[:axis], count, *shape[axis + 1 :])), axis=axis)  # type: ignore


@operation("Where")
def where_(b: Builder, condition: Any, x1: Any = None, x2: Any = None) -> Any:
    if x1 is None and x2 is None:
        return nonzero(b, condition)
    return b.where(tensor(b, condition, "bool"), *together(b, x1, x2))


@operation("Nonzero")
def nonzero(b: Builder, x: Any) -> list[Var]:
    """The places of what is not zero, a vector for each axis."""
    x = tensor(b, x, "bool")
    places = as_dtype(b, b.nonzero(x), "int32")
    return [b.reshape(v, shape=(-1,)) for v in b.split(places, axis=0, sizes=(1,) * len(x.shape))]


@operation("Select")
def select(b: Builder, condlist: Any, choicelist: Any, default: Any = 0) -> Var:
    """The choice of the first condition that holds."""
    *choices, value = together(b, *choicelist, default)
    for condition, choice in reversed(list(zip(condlist, choices))):
        value = b.where(tensor(b, condition, "bool"), choice, value)
    return value  # type: ignore[no-any-return]


@operation("UnravelIndex")
def unravel_index(b: Builder, indices: Any, shape: Any) -> list[Any]:
    """The places in an array of that shape of flat ones; of more than one axis, Keras lists the axes in reverse."""
    rest = Term(b, tensor(b, indices))
    vector = len(rest.shape) == 1
    found = []
    for d in reversed(shape) if vector else shape:
        found.append(rest % d)
        rest = rest // d
    return found[::-1]


@operation("Unique")
def unique(
    b: Builder, x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False,
    return_counts: bool = False, axis: int | None = None, size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    """The distinct elements (slices), in order; where each stands first, which one each is, how many there are.

    With `size` the lists are cut or filled up, as Keras does: places with 1, counts with 0.
    """
    x = tensor(b, x)
    values, first, inverse, counts = b.unique(x if axis is not None else flat(b, x), axis=axis or 0, sorted=sorted)
    first, inverse, counts = (as_dtype(b, v, "int32") for v in (first, inverse, counts))
    if size is not None:
        values = _resized(b, values, size, axis or 0, fill_value or 0)
        first, counts = _resized(b, first, size, 0, 1), _resized(b, counts, size, 0, 0)
    inverse = inverse if axis is not None else b.reshape(inverse, shape=x.shape)
    found = [values]
    found += [v for v, asked in ((first, return_index), (inverse, return_inverse), (counts, return_counts)) if asked]
    return found if len(found) > 1 else values


def _resized(b: Builder, x: Var, size: int, axis: int, value: Any) -> Var:
    """Cut or filled up to a size: filled by that much, then cut."""
    pads = tuple((0, size) if i == axis % len(x.shape) else (0, 0) for i in range(len(x.shape)))
    longer = b.pad(x, tensor(b, value, x.tensor.dtype), pads=pads)
    return b.slice(longer, starts=(0,), ends=(size,), axes=(axis,))  # type: ignore[no-any-return]


@operation("View")
def view(b: Builder, x: Any, dtype: Any = None) -> Var:
    """The same bytes as elements of another dtype; the last axis shrinks or grows."""
    x = tensor(b, x)
    old, new = x.tensor.dtype, _dtype(dtype or x.tensor.dtype)
    if old.bits >= new.bits:
        ratio = old.bits // new.bits
        if ratio == 1:
            return b.bit_cast(x, to=new)  # type: ignore[no-any-return]
        wide, part = {16: "u16", 32: "u32", 64: "u64"}[old.bits], {8: "u8", 16: "u16", 32: "u32"}[new.bits]
        bits = b.unsqueeze(b.bit_cast(x, to=wide), axes=(-1,))
        shifts = b.constant((np.arange(ratio) * new.bits).astype(_dtype(wide).numpy))
        parts = as_dtype(b, b.bit_and(b.shift_right(bits, shifts), 2**new.bits - 1), part)
        shape = (*x.shape[:-1], x.shape[-1] * ratio)
        return b.bit_cast(b.reshape(parts, shape=shape), to=new)  # type: ignore[no-any-return]
    ratio = new.bits // old.bits
    part, wide = {8: "u8", 16: "u16", 32: "u32"}[old.bits], {16: "u16", 32: "u32", 64: "u64"}[new.bits]
    bits = as_dtype(b, b.bit_cast(x, to=part), wide)
    bits = b.reshape(bits, shape=(*x.shape[:-1], x.shape[-1] // ratio, ratio))
    shifts = b.constant((np.arange(ratio) * old.bits).astype(_dtype(wide).numpy))
    pieces = b.split(b.shift_left(bits, shifts), axis=-1, sizes=(1,) * ratio)
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = b.bit_or(whole, piece)
    return b.bit_cast(b.squeeze(whole, axes=(-1,)), to=new)  # type: ignore[no-any-return]


def _dtype(of: Any) -> Any:
    return dtype(of)


@operation("Clip")
def clip(b: Builder, x: Any, x_min: Any = None, x_max: Any = None) -> Var:
    """Bounds are in the dtype of x; of booleans in int32."""
    x = tensor(b, x)
    x = as_dtype(b, x, "int32") if kind_of(x) == "bool" else x
    numbers = all(v is None or isinstance(v, (int, float)) for v in (x_min, x_max))
    if numbers and x.tensor.dtype.is_float:
        return b.clip(x, low=x_min, high=x_max)  # type: ignore[no-any-return]
    x = x if x_max is None else b.minimum(x, tensor(b, x_max, x.tensor.dtype))
    return x if x_min is None else b.maximum(x, tensor(b, x_min, x.tensor.dtype))


# ---- diagonals ------------------------------------------------------------------------------------------------


def _triangle(upper: bool) -> Function:
    return lambda b, x, k=0: b.trilu(tensor(b, x), k=k, upper=upper)


rows(FAMILY, {"Tril": _triangle(False), "Triu": _triangle(True)})


@operation("Diagonal")
def diagonal(b: Builder, x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Var:
    """The diagonals of two axes, as the last axis."""
    x = moveaxis(b, x, (axis1, axis2), (-2, -1))
    rows, columns = (fixed(d, "an axis of the matrix") for d in x.shape[-2:])
    first, right = max(-offset, 0), max(offset, 0)
    count = max(min(rows - first, columns - right), 0)
    places = (first + np.arange(count)) * columns + right + np.arange(count)
    return b.gather(b.reshape(x, shape=(*x.shape[:-2], rows * columns)), b.constant(places), axis=-1)  # type: ignore


@operation("Diag")
def diag(b: Builder, x: Any, k: int = 0) -> Var:
    """A matrix with x on diagonal k; or that diagonal of a matrix."""
    x = tensor(b, x)
    if len(x.shape) == 2:
        return diagonal(b, x, offset=k)
    size = fixed(x.shape[0], "the length of the diagonal") + abs(k)
    places = np.arange(size - abs(k))
    flat_places = (places + max(-k, 0)) * size + places + max(k, 0)
    return b.reshape(b.scatter_rows(x, b.constant(flat_places), size=size * size), shape=(size, size))  # type: ignore


@operation("Diagflat")
def diagflat(b: Builder, x: Any, k: int = 0) -> Var:
    return diag(b, ravel(b, x), k)


@operation("Trace")
def trace_(b: Builder, x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Var:
    """The sum of the diagonals.  Keras masks a matrix in which the axes are not yet last: equal if it is square."""
    x = tensor(b, x)
    return b.reduce_sum(diagonal(b, as_dtype(b, x, summable(x)), offset, axis1, axis2), axes=(-1,), keepdims=False)  # type: ignore
