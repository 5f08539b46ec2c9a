"""Gradients of lists of tensors: the gradient of a list is the list of the gradients of its elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.builder import Builder
from ....ir.graph import Var
from ..emit import shape_of
from . import rule


@rule
def sequence_construct(b: Builder, xs: list[Var], g: Var) -> Any:
    return [_read(b, g, b.constant(np.int64(i)), x) for i, x in enumerate(xs)]


def _read(b: Builder, g: Var, place: Var, like: Var) -> Var:
    """An element of a list of gradients, in the shape of what it belongs to."""
    return b.reshape(b.sequence_at(g, place), shape=shape_of(b, like))  # type: ignore[no-any-return]


@rule
def sequence_at(b: Builder, sequence: Var, position: Var, g: Var) -> tuple[Var | None, ...]:
    """Zeros, but for g in the place that was read."""
    others = b.sequence_erase(b.sequence_zeros(sequence), position)
    return b.sequence_insert(others, g, _place(b, position, sequence)), None


@rule
def sequence_insert(b: Builder, sequence: Var, x: Var, position: Var | None, g: Var) -> tuple[Var | None, ...]:
    place = b.constant(np.int64(-1)) if position is None else _place(b, position, sequence)
    return b.sequence_erase(g, place), _read(b, g, place, x), None


@rule
def sequence_erase(b: Builder, sequence: Var, position: Var | None, g: Var) -> tuple[Var | None, ...]:
    """Zeros for what was taken out."""
    position = b.constant(np.int64(-1)) if position is None else position
    gone = b.sequence_at(b.sequence_zeros(sequence), position)
    return b.sequence_insert(g, gone, _place(b, position, sequence)), None


def _place(b: Builder, position: Var, sequence: Var) -> Var:
    """A position as a place from the front: what counts from the end would count in another list."""
    position = b.reshape(b.cast(position, to="i64"), shape=())
    return b.where(b.less(position, 0), b.add(position, b.sequence_length(sequence)), position)  # type: ignore[no-any-return]


@rule
def sequence_add(b: Builder, x: Var, y: Var, g: Var) -> tuple[Var, Var]:
    return g, g


@rule
def concat_from_sequence(b: Builder, sequence: Var, g: Var, *, axis: int, new_axis: bool) -> Any:
    """The parts of g that came from the elements."""
    if new_axis:
        sizes = b.fill(b.constant(np.int64(1)), shape=b.reshape(b.sequence_length(sequence), shape=(1,)))
        return b.split_to_sequence(g, axis=axis, sizes=sizes, keepdims=False)
    return b.split_to_sequence(g, axis=axis, sizes=b.sequence_sizes(sequence, axis=axis))


@rule
def split_to_sequence(b: Builder, x: Var, g: Var, *, axis: int, keepdims: bool) -> Any:
    return b.reshape(b.concat_from_sequence(g, axis=axis, new_axis=not keepdims), shape=shape_of(b, x))
