"""Reductions over axes, places of extremes, running sums.

Sums and means of narrow floats are taken in float32.  Integers stay integers: sums wrap around, means and roots are
cut towards zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from .elementwise import compute_dtype
from .rows import converted, wide_dtype

LONG_ROW = 1 << 12  # elements


class Reduction:
    """What a reduction's steps need: the operand in the dtype of computing, axes, the count, and reduced arrays."""

    def __init__(self, x: Array, axes: tuple[int, ...] | None, out: Array, scratch: Scratch, *, floating: bool) -> None:
        self.dtype = compute_dtype(x.dtype) if floating else wide_dtype(x.dtype)
        self.steps: list[Step] = []
        self.scratch = scratch
        self.x = converted(x, self.dtype, self.steps, scratch)
        self.axes = tuple(range(x.ndim)) if axes is None else tuple(a % x.ndim for a in axes)
        self.kept = tuple(1 if i in self.axes else n for i, n in enumerate(x.shape))
        self.count = math.prod(x.shape[a] for a in self.axes)
        self.out = out.reshape(self.kept, copy=False)
        self.result = self.out if self.dtype == out.dtype else scratch(self.kept, self.dtype)

    def reduce(self, ufunc: np.ufunc, x: Array, into: Array | None = None, **given: Any) -> None:
        into = self.result if into is None else into
        self.steps.append(partial(ufunc.reduce, x, axis=self.axes, dtype=into.dtype, out=into, keepdims=True, **given))

    def apply(self, call: Callable[..., Any], *operands: Any) -> None:
        """A step that computes a function of the result in place."""
        self.steps.append(partial(call, *(operands or (self.result,)), out=self.result))

    def temporary(self) -> Array:
        return self.scratch(self.x.shape, self.dtype)

    def mean(self, x: Array, into: Array) -> None:
        self.reduce(np.add, x, into)
        self.steps.append(partial(np.divide, into, self.count, out=into))

    def finish(self) -> list[Step]:
        if self.result is not self.out:
            self.steps.append(partial(np.copyto, self.out, self.result, casting="unsafe"))
        return self.steps


# Each function appends the steps; `floating` reductions compute in floats even of integers.


def _sum(r: Reduction) -> None:
    together = _rows_together(r)
    if together < 2:
        r.reduce(np.add, r.x)
        return
    width = r.x.size // r.count
    sums = r.scratch((together, width), r.dtype)
    long = r.x.reshape(-1, together * width)
    r.steps += [_sum_of_rows(long, sums.reshape(-1)), _sum_of_rows(sums, r.result.reshape(width))]


def _sum_of_rows(x: Array, out: Array) -> Step:
    """By BLAS, which is faster, where it knows the dtype."""
    if x.dtype.char not in "fd":
        return partial(np.add.reduce, x, axis=0, dtype=x.dtype, out=out)
    return partial(np.dot, np.ones(len(x), x.dtype), x, out=out)


def _rows_together(r: Reduction) -> int:
    """Of many short rows that are to be summed, how many to take as one long row: NumPy adds row by row."""
    leading = sorted(r.axes) == list(range(len(r.axes))) and r.x.flags.c_contiguous and r.result.flags.c_contiguous
    width = r.x.size // max(r.count, 1)
    if not leading or not width:
        return 1
    return next((k for k in range(LONG_ROW // width, 1, -1) if r.count % k == 0), 1)


def _mean(r: Reduction) -> None:
    r.mean(r.x, r.result)


def _extreme(r: Reduction, ufunc: np.ufunc) -> None:
    if r.count:
        r.reduce(ufunc, r.x)
    else:
        r.steps.append(partial(r.result.fill, extreme_value(r.dtype, lowest=ufunc is np.maximum)))


def extreme_value(dtype: np.dtype[Any], *, lowest: bool) -> Any:
    """The smallest or the largest value of a dtype."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if lowest else np.iinfo(dtype).max
    return not lowest if dtype.kind == "b" else -math.inf if lowest else math.inf


def _prod(r: Reduction) -> None:
    r.reduce(np.multiply, r.x)


def _variance(r: Reduction) -> None:
    """sum (x - mean)^2 / count, in two passes: one pass would cancel."""
    t = r.temporary()
    r.mean(r.x, r.result)
    r.steps += [partial(np.subtract, r.x, r.result, out=t), partial(np.square, t, out=t)]
    r.mean(t, r.result)


def _l1(r: Reduction) -> None:
    t = r.temporary()
    r.steps.append(partial(np.absolute, r.x, out=t))
    r.reduce(np.add, t)


def _sum_square(r: Reduction) -> None:
    t = r.temporary()
    r.steps.append(partial(np.square, r.x, out=t))
    r.reduce(np.add, t)


def _l2(r: Reduction) -> None:
    _sum_square(r)
    r.apply(np.sqrt)


def _log_sum(r: Reduction) -> None:
    r.reduce(np.add, r.x)
    r.apply(np.log)


def _log_sum_exp(r: Reduction) -> None:
    """m + log(sum exp(x - m)), m the largest x, or 0 where that is infinite."""
    m, t = r.scratch(r.kept, r.dtype), r.temporary()
    if r.count:
        r.reduce(np.maximum, r.x, m)
    r.steps.append(partial(_finite_or_zero, m) if r.count else partial(m.fill, 0))
    r.steps += [partial(np.subtract, r.x, m, out=t), partial(np.exp, t, out=t)]
    r.reduce(np.add, t)
    r.apply(np.log)
    r.apply(np.add, r.result, m)


def _finite_or_zero(m: Array) -> None:
    np.copyto(m, 0, where=np.isinf(m))


# name: (what appends the steps, whether integers are computed in floats)
_REDUCTIONS: dict[str, tuple[Callable[[Reduction], None], bool]] = {
    "reduce_sum": (_sum, False),
    "reduce_mean": (_mean, True),
    "reduce_max": (partial(_extreme, ufunc=np.maximum), False),
    "reduce_min": (partial(_extreme, ufunc=np.minimum), False),
    "reduce_prod": (_prod, False),
    "reduce_variance": (_variance, True),
    "reduce_l1": (_l1, False),
    "reduce_l2": (_l2, True),
    "reduce_sum_square": (_sum_square, False),
    "reduce_log_sum": (_log_sum, True),
    "reduce_log_sum_exp": (_log_sum_exp, True),
    "reduce_any": (lambda r: r.reduce(np.logical_or, r.x), False),
    "reduce_all": (lambda r: r.reduce(np.logical_and, r.x), False),
}


def _bind(
    build: Callable[[Reduction], None], floating: bool, x: Array, *,
    axes: tuple[int, ...] | None, keepdims: bool, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    reduction = Reduction(x, axes, out, scratch, floating=floating)
    build(reduction)
    return reduction.finish()


for _name, (_build, _floating) in _REDUCTIONS.items():
    kernel(partial(_bind, _build, _floating), _name)


@kernel
def sum_like(x: Array, like: Array, *, out: Array, scratch: Scratch) -> list[Step]:
    """The sum over the axes that `like` lacks, and those that it has with size 1 alone."""
    extra = x.ndim - like.ndim
    axes = tuple(i for i, n in enumerate(x.shape) if i < extra or (like.shape[i - extra] == 1 and n != 1))
    kept = out.reshape((1,) * extra + out.shape, copy=False)
    return _bind(_sum, False, x, axes=axes, keepdims=True, out=kept, scratch=scratch)


# ---- places of extremes --------------------------------------------------------------------------------------


def _place(
    find: Callable[..., Any], x: Array, *, axis: int, keepdims: bool, last: bool, out: Array, scratch: Scratch
) -> list[Step]:
    """np.argmax or np.argmin; the last of equals is the first from the end."""
    steps: list[Step] = []
    x = converted(x, wide_dtype(x.dtype), steps, scratch)
    if not x.ndim:
        return [partial(out.fill, 0)]
    along = np.flip(x, axis) if last else x
    steps.append(partial(find, along, axis=axis, out=out, keepdims=keepdims))
    if last:
        steps.append(partial(np.subtract, x.shape[axis] - 1, out, out=out))
    return steps


kernel(partial(_place, np.argmax), "argmax")
kernel(partial(_place, np.argmin), "argmin")


# ---- running sums --------------------------------------------------------------------------------------------


def _running(
    ufunc: np.ufunc, x: Array, *, axis: int, exclusive: bool, reverse: bool, out: Array, scratch: Scratch
) -> list[Step]:
    """ufunc.accumulate, on flipped views for `reverse`, one place further for `exclusive`."""
    steps: list[Step] = []
    x = converted(x, wide_dtype(x.dtype), steps, scratch)
    result = out if out.dtype == x.dtype else scratch(out.shape, x.dtype)
    if not x.ndim:
        steps.append(partial(result.fill, ufunc.identity) if exclusive else partial(np.copyto, result, x))
    else:
        source, target = (np.flip(a, axis) if reverse else a for a in (x, result))
        source, target = np.moveaxis(source, axis, 0), np.moveaxis(target, axis, 0)
        if exclusive:
            steps.append(partial(target[:1].fill, ufunc.identity))
            source, target = source[:-1], target[1:]
        steps.append(partial(ufunc.accumulate, source, axis=0, dtype=x.dtype, out=target))
    return steps if result is out else [*steps, partial(np.copyto, out, result, casting="unsafe")]


kernel(partial(_running, np.add), "cumsum")
kernel(partial(_running, np.multiply), "cumprod")
