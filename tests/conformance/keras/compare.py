"""Keras' results and ours as arrays, and how far they are apart."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class RefusedError(Exception):
    """Keras cannot build, run or save the configuration, or a check has nothing to compare."""


class DifferentError(Exception):
    """A result is another than Keras'."""


def arrays(outputs: Any) -> Any:
    """A Keras result as NumPy arrays; strings as objects of str."""

    def plain(x: Any) -> Any:
        x = np.asarray(x.numpy() if hasattr(x, "numpy") else keras.ops.convert_to_numpy(x))
        if x.dtype != object:
            return x
        return np.vectorize(lambda s: s.decode() if isinstance(s, bytes) else s, otypes=[object])(x)

    return keras.tree.map_structure(plain, outputs)


def fed(values: list[Any]) -> Any:
    """Inputs as tensors, the one or a list of them."""
    given = [tf.constant(v.tolist(), tf.string, v.shape) if v.dtype == object else tf.constant(v) for v in values]
    return given if len(given) > 1 else given[0]


def error(got: Any, want: Any, absolute: float = 1.0) -> float:
    """The largest |got - want| / (absolute + |want|).

    Raises DifferentError for other structures, shapes, dtypes or strings, and for what is finite in one of them only.
    """
    ours, theirs = keras.tree.flatten(got), keras.tree.flatten(want)
    if len(ours) != len(theirs):
        raise DifferentError(f"{len(ours)} outputs instead of {len(theirs)}")
    return max([0.0, *(_error(np.asarray(g), w, absolute) for g, w in zip(ours, theirs))])


def _error(got: Any, want: Any, absolute: float) -> float:
    if got.shape != want.shape or got.dtype != want.dtype:
        raise DifferentError(f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}")
    if want.dtype == object:
        if not np.array_equal(got, want):
            raise DifferentError(f"{got!r} instead of {want!r}")
        return 0.0
    if np.iscomplexobj(want):
        got, want = (np.stack([v.real, v.imag]) for v in (got, want))
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        raise DifferentError(f"{got[~finite][:3]} instead of {want[~finite][:3]}: not finite in both")
    return float(np.max(np.abs(got - want)[finite] / (absolute + np.abs(want[finite])), initial=0))


def brief(e: Exception) -> str:
    """An exception in one line."""
    return f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"
