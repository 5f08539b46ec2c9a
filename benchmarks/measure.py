"""Paired timing: peers take turns, so that a noisy machine is noisy for all of them alike.

A turn is a pause, some runs that are not timed, and one that is: what is measured is the run of an engine that is at
work, in a loop of requests or of training steps, neither the caches nor the threads that the peer before has left, nor
the processor's waking up (which costs everyone 10 to 40 % for the first 30 ms).  A run of half a second and more needs
none before it: what it loses at its start does not show.  The order changes from round to round.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, sleep
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]

TOLERANCE = 1e-3  # of the outputs' range; a wrong answer has no time
PAUSE = 0.12  # seconds between turns: for so long the thread pools of some peers go on spinning
WARM = 0.05  # seconds of runs that are not timed
LONG = 0.5  # seconds: a run that is its own warming up
PATIENCE = 4.0  # seconds that a run of a slow peer may take
SLOW_ROUNDS = 3


class UnfitError(Exception):
    """A peer takes no part, and why."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds at most, and the seconds after which there are no more than `least`."""

    rounds: int = 25
    seconds: float = float("inf")
    least: int = 5

    def enough(self, done: int, spent: float) -> bool:
        """Whether `done` rounds in `spent` seconds are all."""
        return done >= self.rounds or (done >= self.least and spent > self.seconds)


@dataclass(frozen=True)
class Timing:
    """Milliseconds a run: median and the quartiles; the largest difference from the reference outputs."""

    median: float
    low: float
    high: float
    rounds: int
    difference: float

    @classmethod
    def of(cls, seconds: Sequence[float], difference: float) -> Timing:
        """The summary of several runs."""
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else (seconds[0],) * 3
        return cls(statistics.median(seconds) * 1e3, low * 1e3, high * 1e3, len(seconds), difference)


def measure(
    runs: Mapping[str, Run], x: Array, want: Array, effort: Effort, slow: Collection[str] = ()
) -> dict[str, Timing | str]:
    """Timings of all peers on one input; a peer that fails or answers wrongly gets the reason instead."""
    found: dict[str, Timing | str] = {}
    differences: dict[str, float] = {}
    lengths: dict[str, float] = {}
    for name, run in runs.items():
        try:
            differences[name] = difference(run(x), want)
            if name not in slow:
                lengths[name] = _seconds(partial(run, x))
        except Exception as error:
            found[name] = reason(error)
            continue
        if not differences[name] <= TOLERANCE:
            found[name] = f"wrong by {differences[name]:.2g}"
    right = {name: partial(run, x) for name, run in runs.items() if name not in found}
    times = timed(right, effort, lengths, slow)
    return {**found, **{name: Timing.of(seconds, differences[name]) for name, seconds in times.items()}}


def difference(got: Any, want: Array) -> float:
    """The largest difference of two outputs, in parts of the range of those wanted."""
    got = np.asarray(got)
    if got.shape != want.shape:
        raise UnfitError(f"wrong: shape {got.shape}, not {want.shape}")
    return float(np.abs(got - want).max() / np.ptp(want))


def reason(error: Exception) -> str:
    """An exception as a few words."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:70]}".removesuffix(": ").removeprefix("UnfitError: ")


def timed(
    runs: Mapping[str, Callable[[], Any]],
    effort: Effort,
    lengths: Mapping[str, float] | None = None,
    slow: Collection[str] = (),
) -> dict[str, list[float]]:
    """Seconds of every run.  `lengths`: about how many seconds each takes, where that is known."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    known = lengths or {}
    cold = {name for name in runs if name in slow or known.get(name, 0) > LONG}  # no runs before the timed one
    shuffle = random.Random(0).shuffle
    begin, done = perf_counter(), 0
    gc.collect()
    gc.disable()
    try:
        while not effort.enough(done, perf_counter() - begin):
            turns = [name for name in times if name not in slow or _takes_part(times[name])]
            shuffle(turns)
            for name in turns:
                times[name].append(_turn(runs[name], warm=name not in cold))
            done += 1
    finally:
        gc.enable()
    return times


def _takes_part(times: Sequence[float]) -> bool:
    """Whether a slow peer has another round: three in all, or one of a second."""
    return not times or (len(times) < SLOW_ROUNDS and times[-1] < 1)


def _turn(run: Callable[[], Any], warm: bool) -> float:
    sleep(PAUSE)
    begin = perf_counter()
    while warm and perf_counter() - begin < WARM:
        run()
    return _seconds(run)


def _seconds(run: Callable[[], Any]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
