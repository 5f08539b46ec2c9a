"""What a weight is like: least and largest element, mean, deviation, and how its elements are spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CHUNK = 1 << 18  # elements looked at together: what is needed besides the weight itself stays small
BINS = 32

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Statistics:
    """Figures of the finite elements (None where there is none of them), and how many are zero, NaN, infinite.

    `histogram` counts the finite elements in BINS bins of equal width between `min` and `max`.
    """

    size: int
    min: float | None
    mean: float | None
    max: float | None
    std: float | None
    zeros: int
    nans: int
    infinities: int
    histogram: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {**asdict(self), "histogram": list(self.histogram)}

    def __str__(self) -> str:
        shown = {name: getattr(self, name) for name in ("min", "mean", "max", "std")}
        texts = [f"{name} {value:.6g}" for name, value in shown.items() if value is not None]
        texts += [f"{n} {name}" for n, name in ((self.nans, "NaN"), (self.infinities, "infinite")) if n]
        return "  ".join(texts) or "no numbers"


def statistics(data: Array | None) -> Statistics | None:
    """The statistics of an array, in float64; None where its elements are no real numbers, or are not at hand."""
    if data is None or not (data.dtype.kind in "biuf" or _is_narrow(data.dtype)):
        return None
    sums = np.zeros(2)
    counts = np.zeros(4, np.int64)  # finite, zero, NaN, infinite
    low, high = np.inf, -np.inf
    for part in _chunks(data):
        finite = part[np.isfinite(part)]
        nans = int(np.isnan(part).sum())
        counts += (finite.size, part.size - np.count_nonzero(part), nans, part.size - finite.size - nans)
        if finite.size:
            low, high = min(low, finite.min()), max(high, finite.max())
            sums[0] += finite.sum()
    count, zeros, nans, infinities = (int(n) for n in counts)
    if not count:
        return Statistics(data.size, None, None, None, None, zeros, nans, infinities, ())
    mean = sums[0] / count
    bins = np.zeros(BINS, np.int64)
    for part in _chunks(data):
        finite = part[np.isfinite(part)]
        sums[1] += np.square(finite - mean).sum()
        bins += np.histogram(finite, BINS, (low, high))[0]
    deviation = float(np.sqrt(sums[1] / count))
    spread = tuple(int(n) for n in bins)
    return Statistics(data.size, float(low), float(mean), float(high), deviation, zeros, nans, infinities, spread)


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is a number of ml_dtypes' (bfloat16, int4, ...), which NumPy takes for raw bytes."""
    return dtype.kind == "V" and dtype.names is None and dtype.name != f"void{8 * dtype.itemsize}"


def _chunks(data: Array) -> Iterator[Array]:
    flat = data.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK].astype(np.float64)
