"""Milliseconds of a step of training: all engines from equal weights, in one process, in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .data import Split
from .job import Context, Record
from .machine import Others

WARM = 5  # steps of each engine before anything is timed: the first of them compiles
TURN = 0.25  # seconds of a turn, about
COLD = 2  # steps of a turn of `fit` that are not counted, beside the first
STEPS = (4, 40)  # of a turn, at least and at most
ROUNDS = 5
PAUSE = 0.12  # seconds between turns: for so long the threads of the engine before may go on spinning

Turn = Callable[[Split], list[float]]  # trains on whole batches; seconds of steps


def fitting(library: Any, model: Any, batch: int) -> Turn:
    """Steps of `fit`, from one `on_train_batch_end` to the next, but the first few: neither what an epoch costs beyond
    its steps, which is more in Keras, is counted, nor that caches are cold.
    """

    def turn(part: Split) -> list[float]:
        ends: list[float] = []

        def note(batch: int, logs: Any) -> None:
            ends.append(time.perf_counter())

        clock = library.callbacks.LambdaCallback(on_train_batch_end=note)
        model.fit(part.x, part.y, batch_size=batch, epochs=1, shuffle=False, verbose=0, callbacks=[clock])
        return [float(seconds) for seconds in np.diff(ends)[COLD:]]

    return turn


def fitting_classifier(net: Any, batch: int, classes: int) -> Turn:
    """An epoch of scikit-learn's net, divided by its steps."""

    def turn(part: Split) -> list[float]:
        start = time.perf_counter()
        net.partial_fit(part.x, part.y, classes=range(classes))
        return [(time.perf_counter() - start) * batch / len(part)]

    return turn


def in_turns(turns: Mapping[str, Turn], samples: Split, batch: int, context: Context) -> Record:
    """What a job's `time` returns: under `timing` the median milliseconds of a step by engine, and `ratio`: the median
    over the rounds of Keras / own.
    """

    def some(steps: int) -> Split:
        at = np.resize(np.arange(len(samples)), steps * batch)
        return replace(samples, x=samples.x[at], y=samples.y[at], mask=None)

    for number in range(2):  # the first time compiles, the second tells how long a step takes
        slowest = max(np.median(turn(some(WARM))) for turn in turns.values())
        context.tick("warming up", number / 2)
    least, most = STEPS
    steps = int(np.clip(TURN / slowest, least, most)) + 1 + COLD
    others, rounds = Others(), 2 if context.quick else ROUNDS
    seconds = _seconds(turns, some(steps), rounds, context)
    found: Record = {name: float(np.median(np.concatenate(each))) * 1e3 for name, each in seconds.items()}
    medians = {name: np.array([np.median(one) for one in each]) for name, each in seconds.items()}
    ratios = {name: float(np.median(medians["keras"] / each)) for name, each in medians.items()}
    return {
        "timing": {**found, "ratio": ratios["own"], "ratios": ratios, "steps": (steps - 1 - COLD) * rounds},
        "others": others(),
    }


def _seconds(turns: Mapping[str, Turn], part: Split, rounds: int, context: Context) -> dict[str, list[list[float]]]:
    """The seconds of the steps of each engine's turns."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in turns}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            context.tick("timing", number / rounds)
            for name, turn in turns.items():
                time.sleep(PAUSE)
                seconds[name].append(turn(part))
    finally:
        gc.enable()
    return seconds
