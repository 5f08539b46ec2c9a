"""How far apart two values are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from ..passes.selfcheck import TOLERANCES

NUMERIC = "biufcV"  # V: the small floats of ml_dtypes
RANK = 5  # up to which orders of axes are tried
TINY = 1e-30

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Measure:
    """The distance of two values, element by element; equal NaNs and equal infinities are no distance.

    `first` is the place of the first element that differs beyond tolerance (None: none does) with both elements;
    `relative` is `absolute` as a share of the largest element; `wrong` counts the elements beyond tolerance.
    """

    shape: tuple[int, ...]
    other: tuple[int, ...]
    absolute: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0
    wrong: int = 0
    first: tuple[tuple[int, ...], Any, Any] | None = None

    @property
    def differs(self) -> bool:
        return self.wrong > 0 or self.shape != self.other

    @property
    def order(self) -> tuple[bool, float]:
        """By which measures are ranked: the worst is the largest."""
        return self.differs, self.relative if self.shape == self.other else float("inf")


def measure(a: Any, b: Any, tolerance: float | None = None, any_layout: bool = False) -> Measure:
    """Compare two values; `tolerance` is a share of the largest element (None: by the dtype of the coarser one).

    Where shapes differ by the order of axes only (channels first and last), or by axes of 1, b is brought into the
    form of a; with `any_layout` so it is too where shapes are equal by chance.
    """
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return Measure((len(a),), (len(b),), wrong=1)
        return max((measure(x, y, tolerance) for x, y in zip(a, b)), key=lambda m: m.order, default=Measure((), ()))
    x, y = np.asarray(a), np.asarray(b)
    forms = list(_forms(y, x.shape, any_layout))
    if not forms:
        return Measure(x.shape, y.shape, float("inf"), float("inf"), 0.0, x.size or 1)
    return min((_measured(x, form, tolerance) for form in forms), key=lambda m: m.order)


def fitted(value: Any, like: Any) -> Any:
    """The value in the shape of another one, axes in whatever order: the form that is nearest; None where none fits."""
    x, y = np.asarray(value), np.asarray(like)
    forms = list(_forms(x, y.shape, False))
    return min(forms, key=lambda form: _measured(y, form, None).order) if forms else None


def _forms(y: Array, shape: tuple[int, ...], any_layout: bool) -> Iterator[Array]:
    """Ways to see y in a shape."""
    if y.shape == shape:
        yield y
        if not any_layout or y.ndim < 3:
            return
    if y.ndim == len(shape) <= RANK and sorted(y.shape) == sorted(shape):
        for perm in permutations(range(y.ndim)):
            if tuple(y.shape[p] for p in perm) == shape and list(perm) != sorted(perm):
                yield y.transpose(perm)
    elif [d for d in y.shape if d != 1] == [d for d in shape if d != 1] and y.shape != shape:
        yield y.reshape(shape)


def _measured(x: Array, y: Array, tolerance: float | None) -> Measure:
    if x.dtype.kind not in NUMERIC or y.dtype.kind not in NUMERIC:
        return _of_wrong(x, y, np.asarray(x != y), x.shape)
    if tolerance is None:
        tolerance = 0.0 if x.dtype.kind in "biu" else max(usual_tolerance(x), usual_tolerance(y))
    kind = np.complex128 if "c" in (x.dtype.kind, y.dtype.kind) else np.float64
    p, q = x.astype(kind), y.astype(kind)
    with np.errstate(all="ignore"):
        same = (p == q) | (np.isnan(p) & np.isnan(q))
        distance = np.where(same, 0.0, np.abs(p - q))
        distance[np.isnan(distance)] = np.inf
        scale = max((float(np.abs(v[np.isfinite(v)]).max(initial=0)) for v in (p, q)), default=0.0)
        wrong = distance > tolerance * scale
    absolute = float(distance.max(initial=0))
    found = _of_wrong(x, y, wrong, x.shape)
    return Measure(
        x.shape, x.shape, absolute, absolute / max(scale, TINY), _cosine(p, q), found.wrong, found.first
    )  # fmt: skip


def usual_tolerance(x: Array) -> float:
    """The share of the largest element that rounding may make a difference of, by the dtype."""
    size = x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1)
    return TOLERANCES.get(size, TOLERANCES[4])


def _of_wrong(x: Array, y: Array, wrong: Array, shape: tuple[int, ...]) -> Measure:
    count = int(wrong.sum())
    if not count:
        return Measure(shape, shape)
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), shape))
    return Measure(shape, shape, np.inf, np.inf, 0.0, count, (place, x[place], y[place]))


def _cosine(p: Array, q: Array) -> float:
    """Of the finite elements of both: 1 where they point the same way."""
    fine = np.isfinite(p) & np.isfinite(q)
    u, v = p[fine], q[fine]
    size = float(np.sqrt((np.abs(u) ** 2).sum()) * np.sqrt((np.abs(v) ** 2).sum()))
    if size == 0:
        return 1.0 if not np.any(u) and not np.any(v) else 0.0
    return float(np.clip(np.real(np.vdot(u, v)) / size, -1, 1))
