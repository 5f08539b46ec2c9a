"""What this machine can do, measured by NumPy itself: products a second, and bytes a second by how much is touched.

No step can be faster than its operations at the machine's peak, nor than its bytes at the machine's bandwidth: the
roofline (Williams, Waterman and Patterson 2009).  Measuring takes less than half a second and is done once: the figures
are kept in the user's cache folder, by processor, threads and version of NumPy.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..backends.cache import cache_folder, processor
from ..backends.numpy.shards import BLAS
from ..backends.numpy.workers import MOST, Parallel, cores, several
from ..errors import TenunError
from ..files import write_atomically

FILE = "roofline.json"
VERSION = 1  # of what is measured: figures of another one are not used
SIDE = 512  # of the matrices that are multiplied: larger ones are not faster
DTYPES = ("float32", "float64")
LEVELS = {"L2": 1 << 18, "L3": 1 << 22, "memory": 1 << 26}  # bytes that are read and written, by all threads
BUDGET = 0.015  # seconds for each figure
SLOW_START = 3  # times as long for products on several threads, which may begin by waiting for one another on one core
LEAST_TIME = 1e-4  # seconds of what is timed at once: less is the clock's


@dataclass(frozen=True)
class Machine:
    """Figures of a machine.

    peaks: float operations a second of products by dtype, on one thread and on all; bandwidths: bytes a second (read
    and written) by the level of memory, on one thread and on all; threads: how many all are.
    """

    name: str
    threads: int
    peaks: dict[str, tuple[float, float]]
    bandwidths: dict[str, tuple[float, float]]

    def peak(self, dtype: str = "float32", threads: int = 1) -> float:
        """Operations a second of products on so many threads; those of float32 where a dtype has none of its own."""
        return self._on(self.peaks.get(dtype, self.peaks["float32"]), threads)

    def bandwidth(self, size: float, threads: int = 1) -> float:
        """Bytes a second of steps that touch so many bytes, on so many threads."""
        level = next((name for name, most in LEVELS.items() if size <= most), "memory")
        return self._on(self.bandwidths[level], threads)

    def least_seconds(
        self, flops: float, size: float, dtype: str = "float32", threads: int = 1, product_threads: int = 1
    ) -> float:
        """The time that a step cannot be faster than, on so many threads, products on `product_threads` if more."""
        computing = flops / self.peak(dtype, max(threads, product_threads))
        return max(computing, size / self.bandwidth(size, threads))

    def _on(self, figures: tuple[float, float], threads: int) -> float:
        """Of so many threads: as many times one as there are, but not more than all together."""
        alone, together = figures
        return alone if threads <= 1 else min(alone * threads, together)

    def __str__(self) -> str:
        return f"{self.name}: products {_range(self.peaks['float32'], 'FLOP/s')}; copying " + ", ".join(
            f"{_range(figures, 'B/s')} in {level}" for level, figures in self.bandwidths.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def _range(figures: tuple[float, float], unit: str) -> str:
    from .summary import quantity

    return " to ".join(dict.fromkeys(quantity(f, unit) for f in figures))


def machine() -> Machine:
    """The figures of this machine: those of the cache, else measured now and kept there (if it can be written)."""
    key = _key()
    file = cache_folder() / FILE
    known = _read(file)
    found = _parsed(known.get(key))
    if found is None:
        found = measure()
        _keep(file, {**known, key: found.to_dict()})
    return found


def measure(budget: float = BUDGET) -> Machine:
    """Measure this machine, `budget` seconds for each figure."""
    count, copiers = cores(), min(cores(), MOST)
    peaks = {d: _both(_product(d, True, budget), _product(d, False, SLOW_START * budget)) for d in DTYPES}
    bandwidths = {
        level: _both(_copies(size, 1, budget), _copies(size, copiers, budget)) for level, size in LEVELS.items()
    }
    return Machine(processor(), count, peaks, bandwidths)


def _both(alone: float, together: float) -> tuple[float, float]:
    """What one thread does, and what all do: not less, for one may do it all."""
    return alone, max(alone, together)


def _product(dtype: str, alone: bool, budget: float) -> float:
    """Operations a second of a square product, BLAS on one thread or on all."""
    x = np.full((SIDE, SIDE), 0.5, dtype)
    with BLAS.one() if alone else nullcontext():
        return 2 * SIDE**3 / _best(partial(np.matmul, x, x, out=np.empty_like(x)), budget)


def _copies(size: int, threads: int, budget: float) -> float:
    """Bytes a second, read and written, of threads that copy arrays of `size` bytes in all."""
    part = size // threads // 2
    pairs = [(np.ones(part, np.uint8), np.empty(part, np.uint8)) for _ in range(threads)]
    copies = [partial(np.copyto, out, source) for source, out in pairs]
    with several(threads):
        repeats = max(1, int(LEAST_TIME / _best(copies[0], budget / 4)))
        return threads * repeats * 2 * part / _best(Parallel([[copy] * repeats for copy in copies]), budget)


def _best(call: Callable[[], Any], budget: float) -> float:
    """The seconds of the fastest call within a budget, two calls at least."""
    call()
    best, end = float("inf"), perf_counter() + budget
    while True:
        start = perf_counter()
        call()
        now = perf_counter()
        best = min(best, now - start)
        if now >= end:
            return max(best, 1e-9)


# ---- the cache


def blas_threads() -> int:
    """The threads that NumPy's BLAS has at this moment (other packages may bring their own)."""
    from threadpoolctl import threadpool_info

    found = [row for row in threadpool_info() if row["user_api"] == "blas"]
    own = [row for row in found if "numpy" in row["filepath"]]
    return max((int(row["num_threads"]) for row in own or found), default=1)


def _key() -> str:
    """What the figures depend on."""
    parts = (platform.node(), processor(), f"{cores()} threads", f"BLAS {blas_threads()}", f"NumPy {np.__version__}")
    return " | ".join((*parts, f"version {VERSION}"))


def _read(file: Path) -> dict[str, Any]:
    """What the cache holds; nothing where there is none, or a broken one."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(value: Any) -> Machine | None:
    """The figures as the cache has them; None where they are not whole."""
    try:
        peaks, bandwidths = (
            {name: (float(alone), float(together)) for name, (alone, together) in value[field].items()}
            for field in ("peaks", "bandwidths")
        )
        found = Machine(str(value["name"]), int(value["threads"]), peaks, bandwidths)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
    figures = [f for pair in (*peaks.values(), *bandwidths.values()) for f in pair]
    return found if set(LEVELS) <= set(bandwidths) and "float32" in peaks and min(figures) > 0 else None


def _keep(file: Path, content: dict[str, Any]) -> None:
    try:
        os.makedirs(file.parent, exist_ok=True)
        write_atomically(file, json.dumps(content, indent=1).encode())
    except (OSError, TenunError):  # a cache that cannot be written is none: measured again next time
        pass
