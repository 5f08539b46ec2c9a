"""The warm timings of one model, all peers in this process: `python -m benchmarks.worker TASK RECORDS`.

TASK is a Task as JSON; its records go into the file RECORDS.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .files import Files
from .measure import PATIENCE, Effort, Run, Timing, measure, reason
from .models import CASES, Array
from .peers import PEERS, oracle, threads
from .records import OURS
from .report import Report


@dataclass(frozen=True)
class Task:
    """Which model, from which folder of files, by which peers, at which batch sizes, and how long."""

    case: str
    folder: str
    peers: list[str]
    batches: list[int]
    rounds: int
    seconds: float


def work(task: Task) -> Report:
    """Measure, and print the tables."""
    report = Report(threads())
    files = Files.read(Path(task.folder))
    runs, absent = made(task.peers, files)
    slow = {name for name in runs if PEERS[name].slow}
    want, case = oracle(files), CASES[task.case]
    known: dict[str, float] = {}  # seconds a sample of the slow peers
    for batch in task.batches:
        x = case.inputs(batch)
        late = {name: known[name] * batch for name in known if known[name] * batch > PATIENCE}
        able = {name: run for name, run in runs.items() if name not in late}
        found = measure(able, x, want(x), Effort(task.rounds, task.seconds), slow)
        found |= {name: f"left out: about {seconds:.0f} s a run" for name, seconds in late.items()} | absent
        known |= {n: t.median / 1e3 / batch for n, t in found.items() if n in slow and isinstance(t, Timing)}
        report.timings("latency", task.case, batch, {name: found[name] for name in task.peers})
        if OURS in runs:
            report.figures("plan", task.case, batch, planned(runs[OURS], x))
    return report


def made(peers: list[str], files: Files) -> tuple[dict[str, Run], dict[str, Timing | str]]:
    """The peers as functions, and for those that there are not the reason."""
    runs: dict[str, Run] = {}
    absent: dict[str, Timing | str] = {}
    for name in peers:
        try:
            runs[name] = PEERS[name].make(files)
        except Exception as error:
            absent[name] = reason(error)
    return runs, absent


def planned(executable: Run, x: Array) -> Mapping[str, float | str]:
    """Megabytes of tenun's plan: its arena, what no plan can do without, and scratch."""
    from tenun.debug.memory import memory_of

    try:
        memory = memory_of(executable.plan(x))  # type: ignore[attr-defined]
    except Exception as error:
        return {"arena": reason(error)}
    return {"arena": memory.arena / 1e6, "lower bound": memory.bound / 1e6, "scratch": memory.scratch / 1e6}


if __name__ == "__main__":
    work(Task(**json.loads(sys.argv[1]))).write(Path(sys.argv[2]))
