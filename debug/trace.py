"""Recording when the steps of a plan run, on which thread, and writing that as a trace for a timeline viewer.

The file is Chrome's trace format, which `chrome://tracing` and https://ui.perfetto.dev open: one lane a thread; nodes
as spans, the steps of a node of several below it, and the branches of a step on the lanes of the threads that ran them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.numpy.flow import Flow, Task
from ..backends.numpy.plan import Plan
from ..backends.numpy.registry import Step
from ..backends.numpy.workers import Parallel
from ..files import write_atomically

if TYPE_CHECKING:
    from .profile import Profile, Row

PROCESS = 1  # the number of the process in a trace
MICROSECOND = 1e6


@dataclass(frozen=True)
class Span:
    """One step of a run, or one branch of a step: seconds since the run began, and the thread's lane (0: ours)."""

    step: int
    branch: int | None
    lane: int
    start: float
    seconds: float


class Recorder:
    """The steps of a plan, each noting when it ran; `lap` runs them once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._noted: list[tuple[int, int | None, int, float, float]] = []
        self._steps = [self._noting(i, step) for i, step in enumerate(plan.steps)]

    def lap(self, arrays: Sequence[Any]) -> list[Span]:
        """One run on inputs of exactly the plan's types, without copying the results out: a span for each step, and
        for each branch of those that have several."""
        self._noted.clear()
        self._plan.feed(arrays)
        try:
            with np.errstate(all="ignore"):
                origin = perf_counter()
                for step in self._steps:
                    step()
        finally:
            self._plan.loose.clear()
        lanes = {threading.get_ident(): 0}
        noted = sorted(self._noted, key=lambda row: row[3])
        return [
            Span(i, b, lanes.setdefault(t, len(lanes)), start - origin, end - start) for i, b, t, start, end in noted
        ]

    def _noting(self, number: int, step: Step) -> Step:
        if isinstance(step, Parallel):
            step = Parallel([[partial(self._branch, number, i, branch)] for i, branch in enumerate(step.branches)])
        if isinstance(step, Flow):
            noting = [[partial(self._branch, number, i, task.steps)] for i, task in enumerate(step.tasks)]
            step = Flow([Task(steps, task.after, task.main) for steps, task in zip(noting, step.tasks)])
        return partial(self._step, number, step)

    def _step(self, number: int, step: Step) -> None:
        start = perf_counter()
        step()
        self._noted.append((number, None, threading.get_ident(), start, perf_counter()))

    def _branch(self, number: int, branch: int, steps: Sequence[Step]) -> None:
        start = perf_counter()
        for step in steps:
            step()
        self._noted.append((number, branch, threading.get_ident(), start, perf_counter()))


def write_trace(profile: Profile, path: str | Path) -> None:
    """Write the trace, whole or not at all."""
    write_atomically(path, json.dumps(chrome_trace(profile)).encode())


def chrome_trace(profile: Profile) -> dict[str, Any]:
    """The run of median length as JSON values in Chrome's trace format."""
    events = [*_names(profile), *_spans(profile)]
    about = {
        "model": profile.name, "backend": profile.backend, "threads": profile.threads, "shards": profile.shards,
        "machine": profile.machine.name, "numpy": np.__version__,
    }  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def _names(profile: Profile) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": PROCESS, "args": {"name": f"tenun: {profile.name}"}}
    for lane in sorted({0, *(span.lane for span in profile.spans)}):
        name = "main" if lane == 0 else f"worker {lane}"
        yield {"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": lane, "args": {"name": name}}


def _spans(profile: Profile) -> Iterator[dict[str, Any]]:
    """The nodes, the steps of those that have several, the branches of steps; outer spans first."""
    steps = [span for span in profile.spans if span.branch is None]
    for number, of_node in groupby(steps, key=lambda span: profile.node_of[span.step]):
        spans, node = list(of_node), profile.nodes[number]
        length = spans[-1].start + spans[-1].seconds - spans[0].start
        yield _event(node.name, node, spans[0].lane, spans[0].start, length)
        if len(spans) > 1:
            for span in spans:
                row = profile.steps[span.step]
                yield _event(row.kernel, row, span.lane, span.start, span.seconds)
    for span in profile.spans:
        if span.branch is not None:
            row = profile.steps[span.step]
            node = profile.nodes[profile.node_of[span.step]]
            yield _event(f"{node.name} branch {span.branch}", row, span.lane, span.start, span.seconds)


def _event(name: str, row: Row, lane: int, start: float, seconds: float) -> dict[str, Any]:
    known = {name: getattr(row, name) for name in ("layer", "kernel", "note", "shapes", "flops", "bytes")}
    return {
        "ph": "X", "name": name, "cat": row.op, "pid": PROCESS, "tid": lane,
        "ts": start * MICROSECOND, "dur": seconds * MICROSECOND,
        "args": {key: value for key, value in known.items() if value not in ("", None)},
    }  # fmt: skip
