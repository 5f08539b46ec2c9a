"""The machine that figures depend on, and who else is at work on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path

from .job import Record

LIBRARIES = ("tenun", "numpy", "keras", "tensorflow", "scikit-learn", "onnxruntime")


def machine() -> Record:
    """What the figures depend on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    limits = {k: v for k, v in sorted(os.environ.items()) if k.endswith("NUM_THREADS") or k.startswith("TF_NUM")}
    return {"cores": cores(), "system": platform.platform(), "versions": versions, "limits": limits}


def cores() -> int:
    """The cores that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """The seconds that the cores at hand have worked, for whomever; None where there is no /proc/stat."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    times = {
        words[0]: list(map(int, words[1:9])) for line in lines if (words := line.split())[:1] and "cpu" in words[0]
    }
    idle = slice(3, 5)  # idle, and waiting for a disk
    each = (sum(times[f"cpu{n}"]) - sum(times[f"cpu{n}"][idle]) for n in os.sched_getaffinity(0))
    return sum(each) / os.sysconf("SC_CLK_TCK")


class Others:
    """How many cores other programs kept busy since it was made; None where the system does not say."""

    def __init__(self) -> None:
        self._start = self._now()

    def _now(self) -> tuple[float, float, float | None]:
        return time.perf_counter(), time.process_time(), busy_seconds()

    def __call__(self) -> float | None:
        (wall, own, busy), (wall_now, own_now, busy_now) = self._start, self._now()
        if busy is None or busy_now is None:
            return None
        return max(0.0, (busy_now - busy - (own_now - own)) / max(wall_now - wall, 1e-3))
