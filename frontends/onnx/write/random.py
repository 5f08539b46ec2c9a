"""Random numbers: ONNX prescribes the distribution, not the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.types import DTYPES, DType, Tensor, f32
from ..emitter import Emitter, Item
from ..protos import elem_code
from . import export, refuse

f16 = DTYPES["f16"]


def _drawn(w: Emitter, op_type: str, shape: Any, dtype: DType, seed: int | None, **attrs: Any) -> Item:
    """Seeds are floats in ONNX; it has no keys, so the numbers are other ones at every run."""
    if dtype.bits < 32 and dtype is not f16:
        return w.cast(_drawn(w, op_type, shape, f32, seed, **attrs), dtype)
    number = None if seed is None else float(np.uint32(seed % 2**32).view(np.float32))
    known = None if number is None or not np.isfinite(number) else number
    if not isinstance(shape, Item) and all(isinstance(d, int) for d in shape) and shape:
        return w.emit(op_type, shape=list(shape), dtype=elem_code(dtype), seed=known, result=dtype, **attrs)  # type: ignore[no-any-return]
    like = w.Expand(w.number(0, Item(Tensor(dtype, ()))), w.vector(shape))
    return w.emit(f"{op_type}Like", like, dtype=elem_code(dtype), seed=known, result=dtype, **attrs)  # type: ignore[no-any-return]


@export(dynamic=("shape",))
def random_normal(
    w: Emitter, key: Item | None = None, *, shape: Any, mean: float, scale: float, dtype: DType, seed: int | None
) -> Item:
    return _drawn(w, "RandomNormal", shape, dtype, seed, mean=mean, scale=scale)


@export(dynamic=("shape",))
def random_uniform(
    w: Emitter, key: Item | None = None, *, shape: Any, low: float, high: float, dtype: DType, seed: int | None
) -> Item:
    return _drawn(w, "RandomUniform", shape, dtype, seed, low=low, high=high)


refuse("ONNX has no such distribution", "random_beta")
