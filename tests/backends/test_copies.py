"""Copies run by run: the same elements as NumPy's own copy, wherever both arrays lie."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.copies import LONGEST, copy, in_runs

SHAPES: list[tuple[int, ...]] = [(), (0, 3), (4, 3), (1, 5, 1), (2, 3, 4, 3), (3, 1, 2, 1, 2)]


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """x, every second element of a larger array, rows of one, column by column, backwards, and the first row alone."""
    apart = np.zeros([2 * n for n in x.shape], x.dtype)[tuple(slice(None, None, 2) for _ in x.shape)]
    found = [x]
    if x.ndim:
        apart[...] = x
        found.append(apart)
    if x.ndim > 1:
        wide = np.zeros((*x.shape[:-2], x.shape[-2] + 2, x.shape[-1]), x.dtype)
        wide[..., 1:-1, :] = x
        found += [wide[..., 1:-1, :], np.asfortranarray(x), np.flip(x, 0), np.flip(x, -1), x[:1]]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_, object])
@pytest.mark.parametrize("shape", SHAPES)
def test_elements(shape: tuple[int, ...], dtype: Any) -> None:
    x = np.arange(np.prod(shape), dtype=np.int64).reshape(shape).astype(dtype)
    for source, out in product(layouts(x), [a for a in layouts(np.ones(shape, dtype)) if a.shape == shape]):
        copy(out, source)()
        np.testing.assert_array_equal(out, np.broadcast_to(source, shape))


def test_another_dtype_is_cast() -> None:
    out = np.zeros((4, 6), np.float16)[:, ::2]
    copy(out, np.arange(12.0).reshape(4, 3))()
    np.testing.assert_array_equal(out, np.arange(12).reshape(4, 3))


@pytest.mark.parametrize("channels, fits", [(1, False), (3, True), (LONGEST // 4, True), (LONGEST // 4 + 1, False)])
def test_neighbours_are_one_element(channels: int, fits: bool) -> None:
    x, out = np.zeros((2, 8, channels), np.float32)[:, ::2], np.zeros((2, 4, channels), np.float32)
    target, source = in_runs(out, x)
    assert target.shape == source.shape == ((2, 4) if fits else (2, 4, channels))
    assert target.itemsize == (4 * channels if fits else 4)
