"""Signals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dims import UNKNOWN
from ....ir.op import axis_of
from ....ir.types import boolean, i64
from ..emitter import Emitter, Item
from . import export


@export(dynamic=("length", "axis"))
def dft(w: Emitter, x: Item, *, axis: Any, length: Any, inverse: bool, onesided: bool) -> Item:
    w.need(17, "DFT")
    if inverse and onesided and not isinstance(axis, Item):  # which ONNX Runtime does not do itself
        return _real_inverse(w, x, axis, length)
    points = None if length is None else w.scalar(w.vector(length if isinstance(length, Item) else (length,)))
    attrs = {"inverse": int(inverse), "onesided": int(onesided)}
    if w.opset >= 20:
        place = w.scalar(w.cast(axis, i64)) if isinstance(axis, Item) else w.constant(axis, "axis", dtype="int64")
        return w.DFT(x, points, place, **attrs)  # type: ignore[no-any-return]
    if isinstance(axis, Item):
        raise w.refuse("an axis known at run time needs opset 20", "write opset 20")
    return w.DFT(x, points, axis=axis_of(axis, x.rank), **attrs)  # type: ignore[no-any-return]


def _real_inverse(w: Emitter, x: Item, axis: Any, length: Any) -> Item:
    """The other half of the spectrum is the conjugate of this one, backwards; of the result the real part is left."""
    a = axis_of(axis, x.rank)
    given = x.shape[a]
    count = 2 * (given - 1) if length is None else length
    if isinstance(given, int) and isinstance(count, int) and given < count // 2 + 1:  # the rest of it is zeros
        missing = [0] * x.rank
        missing[a] = count // 2 + 1 - given
        x = w.typed(
            w.Pad(x, w.ints([0] * x.rank + missing)), x.tensor.with_(shape=(*x.shape[:a], UNKNOWN, *x.shape[a + 1 :]))
        )
    size = w.scalar(w.vector(count if isinstance(count, Item) else (count,)))
    numbers = w.Range(w.constant(np.int64(0)), size, w.constant(np.int64(1)))
    conjugate = w.Greater(w.Mul(numbers, 2), size, result=boolean)
    signs = w.Where(conjugate, w.number(-1, x), w.number(1, x), result=x.dtype)
    both = w.Concat(w.Unsqueeze(w.Expand(w.number(1, x), w.Shape(numbers, result=i64)), w.ints([-1])),
                    w.Unsqueeze(signs, w.ints([-1])), axis=-1)  # fmt: skip
    factors = w.Reshape(both, w.ints([-1, *[1] * (x.rank - a - 2), 2]))
    whole = w.Mul(w.Gather(x, w.Min(numbers, w.Sub(size, numbers)), axis=a), factors)
    kind = x.tensor.with_(shape=(*x.shape[:a], UNKNOWN, *x.shape[a + 1 :]))
    y = dft(w, w.typed(whole, kind), axis=a, length=None, inverse=True, onesided=False)
    return w.Slice(y, w.ints([0]), w.ints([1]), w.ints([-1]))  # type: ignore[no-any-return]
