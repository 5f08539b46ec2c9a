"""Paired timing: peers take turns, so that a noisy machine is noisy for all of them alike.

A turn is a pause, some runs that are not timed, and one that is: what is measured is the run of an engine that is at
work, in a loop of requests or of training steps, neither the caches nor the threads that the peer before has left, nor
the processor's waking up (which costs everyone 10 to 40 % for the first 30 ms).  The order changes from round to round.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, sleep
from typing import Any

import numpy as np

from .peers import SLOW, Run

TOLERANCE = 1e-3  # a wrong answer has no time
PAUSE = 0.02  # seconds between turns: thread pools of the peer before go on spinning for a while
WARM = 0.05  # seconds of runs that are not timed


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


def measure(runs: Mapping[str, Run], x: np.ndarray[Any, Any], rounds: int, reference: str) -> dict[str, Timing | str]:
    """Timings of all peers on one input; a peer that fails or answers wrongly gets the reason instead."""
    found: dict[str, Timing | str] = {}
    want = np.asarray(runs[reference](x))
    differences: dict[str, float] = {}
    for name, run in runs.items():
        try:
            differences[name] = float(np.abs(np.asarray(run(x)) - want).max())
            run(x)
        except Exception as error:
            found[name] = f"fails: {type(error).__name__}"
            continue
        if not differences[name] <= TOLERANCE:
            found[name] = f"wrong by {differences[name]:.2g}"
    times = timed({name: partial(run, x) for name, run in runs.items() if name not in found}, rounds)
    return {**found, **{name: Timing.of(seconds, differences[name]) for name, seconds in times.items()}}


def timed(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        for i in range(rounds):
            turns = [name for name in times if i < SLOW.get(name, rounds)]
            shuffle(turns)
            for name in turns:
                sleep(PAUSE)
                begin = perf_counter()
                while name not in SLOW and perf_counter() - begin < WARM:
                    runs[name]()
                start = perf_counter()
                runs[name]()
                times[name].append(perf_counter() - start)
    finally:
        gc.enable()
    return times
