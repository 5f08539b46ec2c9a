"""Statistics of weights against NumPy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tenun.debug import weights
from tenun.debug.weights import BINS, statistics


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint16", "bool", "bfloat16", "int4"])
@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_figures_are_numpys(dtype: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CHUNK", chunk)
    known = np.dtype(getattr(ml_dtypes, dtype)) if dtype in ("bfloat16", "int4") else np.dtype(dtype)
    data = (np.random.default_rng(0).standard_normal((5, 20)) * 3).astype(np.float32).clip(0 if "u" in dtype else -7, 7)
    data = data.astype(known)
    found, wide = statistics(data), data.astype(np.float64)
    assert found is not None and found.size == 100
    expected = (wide.min(), wide.mean(), wide.max(), wide.std())
    np.testing.assert_allclose((found.min, found.mean, found.max, found.std), expected, rtol=1e-12)
    assert found.zeros == int((wide == 0).sum())
    assert found.histogram == tuple(np.histogram(wide, BINS)[0])


def test_what_is_not_finite_is_counted_apart() -> None:
    found = statistics(np.array([1.0, np.nan, np.inf, -np.inf, 3.0, 0.0]))
    assert found is not None
    assert (found.min, found.max, found.nans, found.infinities, found.zeros) == (0.0, 3.0, 1, 2, 1)
    assert str(found).endswith("1 NaN  2 infinite")
    only = statistics(np.array([np.nan]))
    assert only is not None and only.mean is None and only.histogram == () and str(only) == "1 NaN"


def test_there_are_no_figures_where_there_are_no_numbers() -> None:
    assert statistics(None) is None
    assert statistics(np.array(["a"], object)) is None
    assert statistics(np.zeros(2, np.complex64)) is None
    empty = statistics(np.zeros((0, 3), np.float32))
    assert empty is not None and empty.min is None and str(empty) == "no numbers"
    constant = statistics(np.full(5, 2.0))
    assert constant is not None and constant.std == 0 and sum(constant.histogram) == 5
