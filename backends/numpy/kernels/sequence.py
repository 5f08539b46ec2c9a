"""Sequences: Python lists of arrays.  Optionals: the value itself, or None."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....errors import RunError
from ....ir.types import DType
from ..registry import Array, function

Arrays = list[Any]


def _place(position: Array, length: int, op: str) -> int:
    """A position as a place in [0, length)."""
    place = int(position.reshape(()))
    if not -length <= place < length:
        raise RunError(f"position {place} is out of range for a sequence of {length}", op=op)
    return place % length


@function
def sequence_empty(*, dtype: DType) -> Arrays:
    return []


@function
def sequence_construct(*xs: Array) -> Arrays:
    return list(xs)


@function
def sequence_at(sequence: Arrays, position: Array) -> Array:
    return sequence[_place(position, len(sequence), "sequence_at")]


@function
def sequence_insert(sequence: Arrays, x: Array, position: Array | None) -> Arrays:
    place = len(sequence)
    if position is not None and int(position.reshape(())) != place:
        place = _place(position, len(sequence), "sequence_insert")
    return [*sequence[:place], x, *sequence[place:]]


@function
def sequence_erase(sequence: Arrays, position: Array | None) -> Arrays:
    last = np.array(-1) if position is None else position
    place = _place(last, len(sequence), "sequence_erase")
    return [*sequence[:place], *sequence[place + 1 :]]


@function
def sequence_length(sequence: Arrays) -> Array:
    return np.array(len(sequence), np.int64)


@function
def sequence_sizes(sequence: Arrays, *, axis: int) -> Array:
    return np.array([x.shape[axis] for x in sequence], np.int64)


@function
def sequence_zeros(sequence: Arrays) -> Arrays:
    return [np.zeros_like(x) for x in sequence]


@function
def sequence_add(x: Arrays, y: Arrays) -> Arrays:
    return [np.asarray(a + b) for a, b in zip(x, y, strict=True)]


@function
def concat_from_sequence(sequence: Arrays, *, axis: int, new_axis: bool) -> Array:
    if not sequence:
        raise RunError("the sequence is empty: there is nothing to concatenate", op="concat_from_sequence")
    return np.stack(sequence, axis) if new_axis else np.concatenate(sequence, axis)


@function
def split_to_sequence(x: Array, *, axis: int, sizes: tuple[int, ...], keepdims: bool) -> Arrays:
    if sum(sizes) != x.shape[axis]:
        raise RunError(f"the sizes {tuple(sizes)} do not add up to {x.shape[axis]}", op="split_to_sequence")
    parts = np.split(x, np.cumsum(sizes)[:-1], axis)
    return parts if keepdims else [p.squeeze(axis) for p in parts]


@function
def optional_none(*, dtype: DType, sequence: bool) -> None:
    return None


@function
def optional_has(x: Any) -> Array:
    return np.array(x is not None)


@function
def optional_get(x: Any) -> Any:
    if x is None:
        raise RunError("the optional has no value", op="optional_get", hint="ask with OptionalHasElement before")
    return x
