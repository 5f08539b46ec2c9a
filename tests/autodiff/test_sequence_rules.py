"""Gradients of lists of tensors against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tenun.ir import Builder, Var
from tenun.tests.autodiff.checks import check


def at(b: Builder, s: Var, *places: int) -> list[Var]:
    return [b.sequence_at(s, np.int64(i)) for i in places]


def total(b: Builder, s: Var, axis: int = 0) -> Var:
    return b.concat_from_sequence(s, axis=axis)


# (body, shapes): lists of parts of equal and of different lengths, places from both ends
CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "construct, concat": (lambda b, x, y: total(b, b.sequence_construct(x, y, x)), ((2, 3), (4, 3))),
    "concat along another axis": (lambda b, x, y: total(b, b.sequence_construct(x, y), -1), ((2, 3), (2, 1))),
    "stack": (
        lambda b, x, y: b.concat_from_sequence(b.sequence_construct(x, y), axis=-1, new_axis=True), ((2, 3), (2, 3))),
    "at": (lambda b, x, y: b.mul(*at(b, b.sequence_construct(x, b.sin(y), x), 1, -1)), ((2, 3), (2, 3))),
    "at twice": (lambda b, x, y: b.mul(*at(b, b.sequence_construct(x, y), 0, -2)), ((2, 3), (4,))),
    "insert": (lambda b, x, y: total(b, b.sequence_insert(b.sequence_construct(x, y), b.mul(x, 2.0))), ((2,), (3,))),
    "insert before": (
        lambda b, x, y: total(b, b.sequence_insert(b.sequence_construct(x, x), y, np.int64(-1))), ((2,), (3,))),
    "insert at the end": (
        lambda b, x, y: total(b, b.sequence_insert(b.sequence_construct(x, x), y, np.int64(2))), ((2,), (3,))),
    "insert into nothing": (
        lambda b, x: total(b, b.sequence_insert(b.sequence_empty(dtype="f64"), b.square(x))), ((2, 3),)),
    "erase": (lambda b, x, y: total(b, b.sequence_erase(b.sequence_construct(x, y, x))), ((2,), (3,))),
    "erase the first": (
        lambda b, x, y: total(b, b.sequence_erase(b.sequence_construct(x, y, x), np.int64(-3))), ((2,), (3,))),
    "split": (lambda b, x: b.mul(*at(b, b.split_to_sequence(x, axis=1, sizes=(2, 1, 2)), 0, 2)), ((3, 5),)),
    "split into slices": (
        lambda b, x: b.mul(*at(b, b.split_to_sequence(x, axis=1, sizes=(1, 1, 1), keepdims=False), 0, -1)), ((2, 3),)),
    "split and concat": (
        lambda b, x: total(b, b.sequence_erase(b.split_to_sequence(b.sin(x), axis=0, sizes=(2, 1)))), ((3, 2),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_lists(name: str) -> None:
    body, shapes = CASES[name]

    def weighted(b: Builder, *xs: Var) -> Any:
        """One number, whatever the shape."""
        flat = b.reshape(body(b, *xs), shape=(-1,))
        ones = b.fill(b.constant(np.float64(1)), shape=b.shape(flat))
        return b.reduce_sum(b.mul(b.sin(flat), b.cos(b.cumsum(ones, axis=0))))

    check(weighted, *shapes, order=2)
