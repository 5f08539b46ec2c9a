"""What was measured, on the screen and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .measure import Timing

PACKAGES = ("numpy", "keras", "tensorflow-cpu", "onnxruntime", "onnx")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


class Report:
    """Tables, printed as they come, and kept for the JSON file."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {"machine": machine(), "results": {}}
        print(" ".join(f"{k} {v}" for k, v in self.content["machine"].items()))

    def timings(self, key: str, title: str, results: Mapping[str, Timing | str]) -> None:
        """One table: milliseconds and the ratio to tenun (above 1: tenun is faster)."""
        self.content["results"][key] = {k: asdict(v) if isinstance(v, Timing) else v for k, v in results.items()}
        ours = results["tenun"]
        print(f"\n{title}\n{'':<18}{'median ms':>11}{'quartiles':>19}{'ratio':>8}{'max diff':>10}")
        for name, result in results.items():
            if isinstance(result, str):
                print(f"{name:<18}{result:>11}")
                continue
            ratio = f"{result.median / ours.median:.2f}" if isinstance(ours, Timing) else "-"
            spread = f"{result.low:.2f}-{result.high:.2f}"
            print(f"{name:<18}{result.median:>11.2f}{spread:>19}{ratio:>8}{result.difference:>10.1e}", flush=True)

    def figures(self, key: str, title: str, values: Mapping[str, float], form: str) -> None:
        """Names and numbers, one a line."""
        self.content["results"][key] = dict(values)
        print(f"\n{title}")
        for name, value in values.items():
            print(f"{name:<28}{value:>{form}}", flush=True)

    def write(self, path: Path | None) -> None:
        """All of it as JSON, where that is wanted."""
        if path:
            path.write_text(json.dumps(self.content, indent=2) + "\n")
