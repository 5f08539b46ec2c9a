"""Steps side by side: what a kernel cuts into branches runs on several threads, if a program has them.

How a step is cut depends on its shapes alone, never on the number of threads, and sums are made in a fixed order: so
the results are the same bits whatever that number is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from .registry import Step

LEAST_FLOPS = 8 << 20  # of a branch: less is not worth handing to another thread
MOST = 4  # branches of a step

Branches = Sequence[Sequence[Step]]
_HERE = threading.local()  # .team: the workers that a program on this thread has


class Worker:
    """A thread that waits for steps.

    Two locks hand over in a few microseconds; the queue of an executor takes ten times that.
    """

    def __init__(self) -> None:
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._job: Branches = ()
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="tenun-step", daemon=True).start()

    def start(self, job: Branches) -> None:
        """Begin with some branches."""
        self._job = job
        self._go.release()

    def finish(self) -> BaseException | None:
        """Wait for the end; what went wrong, if something did."""
        self._done.acquire()
        error, self._error = self._error, None
        return error

    def _work(self) -> None:
        while True:
            self._go.acquire()
            try:
                with np.errstate(all="ignore"):
                    _run(self._job)
            except BaseException as error:
                self._error = error
            self._job = ()
            self._done.release()


class Idle:
    """Workers that have nothing to do; a forked child makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._workers: list[Worker] = []

    def take(self) -> Worker:
        """A worker for the caller alone."""
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._workers = os.getpid(), []
            return self._workers.pop() if self._workers else Worker()

    def give_back(self, worker: Worker) -> None:
        with self._lock:
            self._workers.append(worker)


IDLE = Idle()


class Parallel:
    """A step of several branches, none of which reads or writes what another one writes."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches

    def __call__(self) -> None:
        team: list[Worker] = getattr(_HERE, "team", [])
        threads = min(len(team) + 1, len(self.branches))
        shares = [self.branches[i::threads] for i in range(threads)]
        helpers = team[: threads - 1]
        for worker, share in zip(helpers, shares[1:]):
            worker.start(share)
        try:
            _run(shares[0])
        finally:
            errors = [worker.finish() for worker in helpers]
        for error in errors:
            if error is not None:
                raise error


def _run(branches: Branches) -> None:
    for branch in branches:
        for step in branch:
            step()


@contextmanager
def several(threads: int) -> Iterator[None]:
    """Steps inside may use so many threads."""
    before = getattr(_HERE, "team", [])
    team = _HERE.team = [IDLE.take() for _ in range(threads - 1)]
    try:
        yield
    finally:
        _HERE.team = before
        for worker in team:
            IDLE.give_back(worker)


def cuts(length: int, flops: int, most: int = MOST, unit: int = 1) -> list[slice]:
    """An axis in as many parts as the work is worth, of whole units; one where it is not worth cutting."""
    units = -(-length // unit)
    count = max(1, min(most, units, flops // LEAST_FLOPS))
    count -= count % 2 if count > 1 else 0  # an even number for two threads
    ends = [min(length, unit * (units * i // count)) for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def together(branches: Branches) -> list[Step]:
    """The branches as steps: one of them as it is."""
    return list(branches[0]) if len(branches) == 1 else [Parallel(branches)]
