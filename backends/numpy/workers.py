"""Work side by side: shards of a batch, and what a kernel cuts into branches, on the threads that a program has.

How work is cut depends on its shapes alone, never on the number of threads, and sums are made in a fixed order: so
the results are the same bits whatever that number is.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from typing import Any, Protocol

import numpy as np

from .registry import Array, Step

LEAST_FLOPS = 8 << 20  # of a branch: less is not worth handing to another thread
MOST = 4  # branches of a step

Task = Callable[[], Any]
Branches = Sequence[Sequence[Step]]
_HERE = threading.local()  # .team: the workers that a program on this thread has

core_of_this_thread: Callable[[], int] | None
try:
    core_of_this_thread = ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
except (AttributeError, OSError, TypeError):
    core_of_this_thread = None


class Board(Protocol):
    """Where work is laid out that a thread can take without Python, which is a hundred times as fast."""

    def serve(self, stop: Array) -> None:
        """Do what is laid out, until there has been nothing for a while, or `stop` holds something else than 0."""


class Worker:
    """A thread that waits for work.

    Two locks hand over in a few microseconds, and as long as it takes to wake a core; the queue of an executor takes
    ten times that.  Between tasks it may stand by a board.  The worker may run on every core but that of its caller: a
    virtual machine's sleeping core does not look idle to Linux, which then lets both wait for one another on one core,
    for 50 ms and more.
    """

    def __init__(self) -> None:
        self._go, self._done, self._lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._task: Task | None = None
        self._board: Board | None = None
        self._stop = np.zeros(1, np.int64)  # to be set where the worker has to come from its board
        self._awake = False
        self._error: BaseException | None = None
        self._avoided: int | None = None
        self._thread = threading.Thread(target=self._work, name="tenun-worker", daemon=True)
        self._thread.start()

    def start(self, task: Task) -> None:
        """Begin with a task."""
        with self._lock:
            self._task = task
            self._call()

    def finish(self) -> BaseException | None:
        """Wait for the end of the task; what went wrong, if something did."""
        self._done.acquire()
        error, self._error = self._error, None
        return error

    def stand_by(self, board: Board) -> None:
        """Serve a board as long as there is something to do, now and after tasks."""
        if self._board is not board:
            with self._lock:
                self._board = board
                self._call()

    def _call(self) -> None:
        """Wake the worker, or have it come from the board that it serves."""
        self._stop[0] = 1
        if not self._awake:
            self._awake = True
            if core_of_this_thread is not None and (here := core_of_this_thread()) != self._avoided:
                self._keep_off(here)
            self._go.release()

    def _keep_off(self, core: int) -> None:
        others = os.sched_getaffinity(0) - {core}
        if others and self._thread.native_id is not None:
            with suppress(OSError):  # a sandbox may forbid it, and it is only for speed
                os.sched_setaffinity(self._thread.native_id, others)
            self._avoided = core

    def _work(self) -> None:
        with np.errstate(all="ignore"):
            while True:
                self._go.acquire()
                while self._turn():
                    pass

    def _turn(self) -> bool:
        """Do the next thing; False where there is none, which lets the worker sleep."""
        with self._lock:
            task, board = self._task, self._board
            self._task = None
            self._stop[0] = 0
            self._awake = task is not None or board is not None
        if task is not None:
            try:
                task()
            except BaseException as error:
                self._error = error
            del task  # it may hold large arrays
            self._done.release()
        elif board is not None:
            board.serve(self._stop)
            with self._lock:
                if not self._stop[0] and self._board is board:
                    self._board = None
        return self._awake


class Idle:
    """Workers that have nothing to do; a forked child makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._workers: list[Worker] = []

    def take(self, count: int) -> list[Worker]:
        """Workers for the caller alone."""
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._workers = os.getpid(), []
            return [self._workers.pop() if self._workers else Worker() for _ in range(count)]

    def give_back(self, workers: Sequence[Worker]) -> None:
        with self._lock:
            self._workers += workers


IDLE = Idle()


def team() -> list[Worker]:
    """The workers that steps on this thread may start."""
    found: list[Worker] = getattr(_HERE, "team", [])
    return found


class several:  # noqa: N801 - a context, as a function would make it in three times the time
    """Work inside may use so many threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        self._before = team()
        self._taken = _HERE.team = IDLE.take(self._threads - 1) if self._threads > 1 else []

    def __exit__(self, *error: object) -> None:
        _HERE.team = self._before
        if self._taken:
            IDLE.give_back(self._taken)


def each(tasks: Sequence[Task]) -> list[Any]:
    """The results of all tasks, on this thread and those of its team: who is free takes the next one.

    Tasks have no team of their own.  Where several fail, the error of one of them is raised.
    """
    workers = team()
    helpers, results, numbers = workers[: len(tasks) - 1], [None] * len(tasks), count()

    def work() -> None:
        while (i := next(numbers)) < len(tasks):
            results[i] = tasks[i]()

    for worker in helpers:
        worker.start(work)
    _HERE.team = []
    try:
        work()
    finally:
        _HERE.team = workers
        errors = [worker.finish() for worker in helpers]
    for error in errors:
        if error is not None:
            raise error
    return results


class Threaded:
    """A step that runs on several threads, if a program has them."""


class Parallel(Threaded):
    """A step of several branches, none of which reads or writes what another one writes."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches
        self._tasks = [partial(_run, branch) for branch in branches]

    def __call__(self) -> None:
        each(self._tasks)


def _run(branch: Sequence[Step]) -> None:
    for step in branch:
        step()


def cuts(length: int, flops: int, most: int = MOST, unit: int = 1, least: int = LEAST_FLOPS) -> list[slice]:
    """An axis in as many parts as the work is worth, of whole units; one where it is not worth cutting."""
    units = -(-length // unit)
    count = max(1, min(most, units, flops // least))
    count -= count % 2 if count > 1 else 0  # an even number for two threads
    ends = [min(length, unit * (units * i // count)) for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def together(branches: Branches) -> list[Step]:
    """The branches as steps: one of them as it is."""
    return list(branches[0]) if len(branches) == 1 else [Parallel(branches)]
