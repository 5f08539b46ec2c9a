"""Where backends keep what they have measured and compiled on this machine, and what they call the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what was measured on this machine, by TENUN_CACHE or in the user's cache; it may not exist yet."""
    told = os.environ.get("TENUN_CACHE")
    return Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenun"


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "unknown processor"
