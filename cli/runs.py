"""The parts of `tenun run`: inputs by name, those to make up, parts of a batch, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import RunError
from ..executable import Executable, random_inputs
from .shell import busy, tracked


def named(specs: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Files by input name, and the names of inputs to make up."""
    given: dict[str, str] = {}
    for spec in specs:
        name, equals, file = spec.partition("=")
        if not (name and equals and file):
            raise RunError(f"--input {spec!r} is not of the form NAME=FILE")
        if name in given:
            raise RunError(f"input {name!r} is given twice")
        given[name] = file
    made = {name for name, file in given.items() if file == "random"}
    return {name: file for name, file in given.items() if name not in made}, made


def with_random(
    executable: Executable, arrays: dict[str, Any], every: bool, made: set[str], batch: int | None, seed: int
) -> dict[str, Any]:
    """The arrays with those added that are to be made up; RunError where inputs are missing or unknown."""
    names = [v.name for v in executable.inputs]
    listed = ", ".join(f"{v.name}: {v.type}" for v in executable.inputs)
    unknown = made - set(names)
    if unknown:
        raise RunError(f"the model has no input {min(unknown)!r}", hint=f"inputs: {listed}")
    wanted = {n for n in names if n not in arrays and (every or n in made)}
    missing = [n for n in names if n not in arrays and n not in wanted]
    if missing:
        hint = f"give FILEs in order, --input NAME=FILE, or --random; inputs: {listed}"
        raise RunError(f"no file for input {', '.join(map(repr, missing))}", hint=hint)
    if not wanted:
        return arrays
    count = batch or max((len(a) for a in arrays.values() if getattr(a, "ndim", 0)), default=1)
    return {**arrays, **{k: v for k, v in random_inputs(executable.graph, count, seed).items() if k in wanted}}


def run_in_parts(executable: Executable, arrays: Mapping[str, Any], batch: int | None) -> dict[str, Any]:
    """Outputs by name; `batch` samples at a time where all inputs have as many."""
    lengths = {len(a) if getattr(a, "ndim", 0) else None for a in arrays.values()}
    total = lengths.pop() if len(lengths) == 1 else None
    if batch is None or total is None or total <= batch:
        with busy("running"):
            return executable.run(arrays)
    starts = range(0, total, batch)
    parts = [executable.run({k: a[i : i + batch] for k, a in arrays.items()}) for i in tracked(starts, "running")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def print_times(console: Any, executable: Executable, arrays: Mapping[str, Any], batch: int | None) -> None:
    """Tell how long the run takes: the median of some, after a first one."""
    laps: list[float] = []
    while len(laps) < 3 or (sum(laps) < 1.0 and len(laps) < 50):
        start = perf_counter()
        run_in_parts(executable, arrays, batch)
        laps.append(perf_counter() - start)
    samples = max((len(a) for a in arrays.values() if getattr(a, "ndim", 0)), default=1) or 1
    middle = median(laps)
    console.print(f"run       {1e3 * middle:10.2f} ms   (median of {len(laps)}, after a first one to warm up)")
    console.print(f"a sample  {1e3 * middle / samples:10.4f} ms   ({samples} samples)")
