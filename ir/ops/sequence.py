"""Sequences (lists of tensors) and optionals."""

from __future__ import annotations

from .. import types
from ..attributes import Dims
from ..dims import UNKNOWN
from ..op import UnknownDims, axis_of, op, require
from ..types import DType, Optional, Sequence, Tensor, Type, boolean, i64


def _elements(sequence: Sequence) -> Tensor:
    require(
        isinstance(sequence, Sequence) and isinstance(sequence.element, Tensor), f"{sequence} is no list of tensors"
    )
    return sequence.element  # type: ignore[return-value]


@op()
def sequence_empty(*, dtype: DType) -> Sequence:
    """A list without elements."""
    return Sequence(Tensor(dtype, None))


@op()
def sequence_construct(*xs: Tensor) -> Sequence:
    """The operands as a list."""
    element: types.Type = xs[0]
    for x in xs[1:]:
        element = types.join(element, x)
    return Sequence(types.map_dims(element, lambda d: d))


@op("opaque")
def sequence_at(sequence: Sequence, position: Tensor) -> Tensor:
    """Element number `position` (negative: from the end)."""
    return _elements(sequence)


@op()
def sequence_insert(sequence: Sequence, x: Tensor, position: Tensor | None = None) -> Sequence:
    """The list with x put in before `position` (default: at the end)."""
    element = _elements(sequence)
    return Sequence(types.join(element, x) if element.shape is not None else element)


@op()
def sequence_erase(sequence: Sequence, position: Tensor | None = None) -> Sequence:
    """The list without element number `position` (default: the last)."""
    return Sequence(_elements(sequence))


@op()
def sequence_length(sequence: Sequence) -> Tensor:
    """The number of elements: i64[]."""
    _elements(sequence)
    return Tensor(i64, ())


@op()
def sequence_sizes(sequence: Sequence, *, axis: int) -> Tensor:
    """How long each element is along an axis: i64[number of elements]."""
    _elements(sequence)
    return Tensor(i64, (UNKNOWN,))


@op()
def sequence_zeros(sequence: Sequence) -> Sequence:
    """Zeros in place of all elements."""
    return Sequence(_elements(sequence))


@op("commutes")
def sequence_add(x: Sequence, y: Sequence) -> Sequence:
    """The sums of the elements at equal places of two lists of equal length: what sums up gradients of a list."""
    return Sequence(types.join(_elements(x), _elements(y)))


@op("opaque")
def concat_from_sequence(sequence: Sequence, *, axis: int, new_axis: bool = False) -> Tensor:
    """The elements one after another along an axis, or stacked along a new one."""
    element = _elements(sequence)
    if element.shape is None:
        return element
    if new_axis:
        a = axis_of(axis, element.rank + 1)
        return Tensor(element.dtype, (*element.dims[:a], UNKNOWN, *element.dims[a:]))
    a = axis_of(axis, element.rank)
    return Tensor(element.dtype, tuple(UNKNOWN if i == a else d for i, d in enumerate(element.dims)))


@op()
def split_to_sequence(x: Tensor, *, axis: int = 0, sizes: Dims, keepdims: bool = True) -> Sequence:
    """Parts of the given sizes along an axis as a list; without keepdims (all sizes 1) the axis goes."""
    if x.shape is None:
        return Sequence(x)
    a = axis_of(axis, x.rank)
    if not keepdims:
        return Sequence(Tensor(x.dtype, (*x.dims[:a], *x.dims[a + 1 :])))
    known = not isinstance(sizes, UnknownDims) and sizes and all(s == sizes[0] for s in sizes)
    size = sizes[0] if known else UNKNOWN
    return Sequence(Tensor(x.dtype, (*x.dims[:a], size, *x.dims[a + 1 :])))


# ---- optionals -----------------------------------------------------------------------------------------------


@op()
def optional_none(*, dtype: DType, sequence: bool = False) -> Optional:
    """An absent tensor (or list of tensors); any value that is there may stand where an optional is expected."""
    element = Tensor(dtype, None)
    return Optional(Sequence(element) if sequence else element)


@op()
def optional_has(x: Type) -> Tensor:
    """Whether a value is there: bool[]."""
    return Tensor(boolean, (), None if isinstance(x, Optional) else (1,))


@op("opaque")
def optional_get(x: Type) -> Type:
    """The value of an optional that has one."""
    return x.element if isinstance(x, Optional) else x
