"""Run configurations in Keras and here, and count: `python -m tests.conformance.keras.sweep [row ...]`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from tenun.layers import LAYERS

from .checks import CHECKS, Subject
from .compare import RefusedError, brief
from .make import Case, cases
from .table import TABLE, class_of


@dataclass
class Tally:
    """What came of the configurations of a row under one check."""

    tried: int = 0
    equal: int = 0
    refused: list[tuple[Case, str]] = field(default_factory=list)  # by Keras
    wrong: list[tuple[Case, str]] = field(default_factory=list)
    worst: tuple[float, str] = (0.0, "")  # error over tolerance, of those that are equal

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.tried + other.tried, self.equal + other.equal, self.refused + other.refused, self.wrong + other.wrong,
            max(self.worst, other.worst),
        )  # fmt: skip

    def __str__(self) -> str:
        counts = (
            f"{self.tried} tried, {self.equal} equal, {len(self.refused)} refused by Keras, {len(self.wrong)} wrong"
        )
        return f"{counts}; worst {self.worst[0]:.2g} of the tolerance" + (f": {self.worst[1]}" if self.worst[1] else "")


Tallies = dict[str, Tally]


def tally(tried: Iterable[Case], checks: Iterable[str] = CHECKS) -> Tallies:
    """Run configurations; one that Keras refuses in another dtype counts in float32 too."""
    found = {check: Tally() for check in checks}
    with tempfile.TemporaryDirectory() as folder:
        for case in tried:
            if not _count(found, case, Path(folder)) and case.policy != "float32":
                _count(found, replace(case, policy="float32"), Path(folder))
    keras.backend.clear_session()
    return found


def sweep(row: str) -> Tallies:
    """All checks of a row; gradients on configurations of their own, as they are compared in float32 alone."""
    return {**tally(cases(row), ("read", "written")), **tally(cases(row, ("float32",)), ("trained",))}


def _count(found: Tallies, case: Case, folder: Path) -> bool:
    """Whether Keras takes the configuration."""
    taken = True
    try:
        subject = Subject.of(case, folder)
        _ = subject.wanted
    except RefusedError as e:
        refusal, taken = str(e), False
    for check, into in found.items():
        into.tried += 1
        try:
            if not taken:
                raise RefusedError(refusal)
            share = CHECKS[check](subject)
        except RefusedError as e:
            into.refused.append((case, str(e)))
        except Exception as e:
            into.wrong.append((case, brief(e)))
        else:
            into.equal += 1
            into.worst = max(into.worst, (share, str(case)))
    return taken


def known(row: str) -> bool:
    """Whether Keras and tenun have the class of a row."""
    return class_of(row) in LAYERS and hasattr(keras.layers, class_of(row))


def main(names: list[str]) -> None:
    """Print a line for each row and check, the wrong configurations, and the sums."""
    total = {check: Tally() for check in CHECKS}
    for name in names or [n for n in TABLE if known(n)]:
        start = time.perf_counter()
        for check, found in sweep(name).items():
            total[check] += found
            print(f"{name}, {check}: {found}", flush=True)
            for case, why in found.wrong:
                print(f"    {case}\n        {why}")
        for why in sorted({w for _, w in found.refused})[:4]:
            print(f"    refused: {why[:150]}")
        print(f"    {time.perf_counter() - start:.1f} s", flush=True)
    for check, found in total.items():
        print(f"all rows, {check}: {found}")


if __name__ == "__main__":
    main(sys.argv[1:])
