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
from time import perf_counter, thread_time
from typing import Any, Protocol

import numpy as np

from .registry import Array, Step

LEAST_FLOPS = 8 << 20  # of a branch: less is not worth handing to another thread
ALONE = 2 << 20  # the same of a branch that is one call: several wait for one another's Python
MOST = 4  # branches of a step
JUDGED = 4  # every so many tasks of a worker that watches, one is judged, which takes it a microsecond

Task = Callable[[], Any]
Branches = Sequence[Sequence[Step]]
_HERE = threading.local()  # .team: the workers that a program on this thread has


def cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


core_of_this_thread: Callable[[], int] | None


def _c_library(kind: Any) -> Any:
    """The C library, if it has spin locks and a linear search."""
    try:
        library, at = kind(None), ctypes.c_void_p
        for name in ("init", "lock", "unlock"):
            getattr(library, f"pthread_spin_{name}").argtypes = [at, ctypes.c_int][: 1 + (name == "init")]
        library.lfind.argtypes, library.lfind.restype = [at, at, at, ctypes.c_size_t, at], at
        library.try_lock = ctypes.cast(library.pthread_spin_trylock, at)
    except (AttributeError, OSError, TypeError):
        return None
    return library


try:
    core_of_this_thread = ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
except (AttributeError, OSError, TypeError):
    core_of_this_thread = None


class Board(Protocol):
    """Where work is laid out that a thread can take without Python, which is a hundred times as fast."""

    def serve(self, stop: Array) -> None:
        """Do what is laid out, until there has been nothing for a while, or `stop` holds something else than 0."""


class Gate:
    """A thread waits at it without sleeping until another one opens it: C's spin lock, which other C libraries lack.

    That hands over in three microseconds; it takes forty to wake a core that sleeps.
    """

    AWAY = 512  # numbers; ufuncs let go of the GIL for 500 and more
    # Neighbours in Fibonacci's sequence: Euclid's algorithm takes longest for them, here 8 µs in all (5 do not suffice)
    SLOW = (34, 21)
    LOOKS = ctypes.c_size_t(1 << 18)  # of who waits for a while, which is about a millisecond

    def __init__(self) -> None:
        self._words = np.zeros(self.AWAY, np.int32)  # the lock, and what only takes time to write
        self._at = self._words.ctypes.data
        _SPIN.pthread_spin_init(self._at, 0)
        opened = self._words[0]  # 1 or 0, as the C library likes it
        self._long, self._short = (np.full(self.AWAY, number, np.int32) for number in self.SLOW)
        self._long[0] = self._short[0] = opened  # which is then their greatest common divisor, too
        # "Find a lock that can be had": the only wait of a C library that ends by itself, without sleep or the GIL
        self._look = partial(_SPIN.lfind, self._at, self._at, ctypes.addressof(self.LOOKS), 0, _SPIN.try_lock)
        self.wait()

    def wait(self) -> None:
        """Come back when it has been opened since the last time; without the GIL meanwhile."""
        _SPIN.pthread_spin_lock(self._at)

    def wait_a_while(self) -> bool:
        """The same for a millisecond; whether it has been opened."""
        return self._look() is not None

    def open(self) -> None:
        """Let the one who waits go on, or the next who comes."""
        _OPEN.pthread_spin_unlock(self._at)

    def let_in(self) -> None:
        """Open it, and stay without the GIL for as long as the one who comes through needs it to begin.

        Who asks for the GIL while it is held sleeps, and takes thirty microseconds to wake.
        """
        np.gcd(self._long, self._short, self._words)

    def pass_on(self, other: Gate) -> bool:
        """Open the other one, and wait a while at this: with so little between that who waits there finds the GIL
        free."""
        look, unlock = self._look, _SPIN.pthread_spin_unlock
        unlock(other._at)
        return look() is not None


_SPIN, _OPEN = (_c_library(kind) for kind in (ctypes.CDLL, ctypes.PyDLL))
GATES = _SPIN is not None and _OPEN is not None


class Patience:
    """Whether to wait without sleeping: not for a while, where a task has lost its core to somebody else.

    Who waits would keep the core from what it waits for.  The longer, the more often it happens.
    """

    LOST = 2e-3  # seconds of a task in which it did not run, and
    SHARE = 0.25  # of all its seconds
    LEAST, MOST = 1 << 4, 1 << 12  # tasks to be handed over with sleep after a loss
    LESS = 4  # of them for each task that had none

    def __init__(self) -> None:
        self._sleeping, self._next = 0, self.LEAST

    def lasts(self) -> bool:
        """Whether to wait so for the next task."""
        if self._sleeping:
            self._sleeping -= 1
            return False
        return True

    def judge(self, seconds: float, running: float) -> None:
        """A task took so many seconds, for so many of which it ran."""
        lost = seconds - running
        if lost > self.LOST and lost > self.SHARE * seconds:
            self._sleeping, self._next = self._next, min(2 * self._next, self.MOST)
        elif not self._sleeping:
            self._next = max(self._next - self.LESS, self.LEAST)


PATIENCE = Patience()


class Worker:
    """A thread that waits for work: asleep, at a lock; or alert, at a gate, for a millisecond after a task or since it
    was told to expect one.  Between tasks it may stand by a board.

    wakeful: whether it may become alert, by a task that many short ones follow.

    The worker may run on every core but that of its caller: a virtual machine's sleeping core does not look idle to
    Linux, which then lets both wait for one another on one core, for 50 ms and more.
    """

    def __init__(self) -> None:
        self._go, self._done, self._lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._called = Gate() if GATES else None
        self._finished = Gate() if GATES else None
        self._task: Task | None = None
        self._board: Board | None = None
        self._stop = np.zeros(1, np.int64)  # to be set where the worker has to come from its board
        self.wakeful = self._alert = self._awake = False
        self._gated = False  # whether the end of the task opens a gate
        self._watched = 0  # tasks, so far
        self._error: BaseException | None = None
        self._avoided: int | None = None
        self._thread = threading.Thread(target=self._work, name="tenun-worker", daemon=True)
        self._thread.start()

    def start(self, task: Task, alert: bool = False) -> None:
        """Begin with a task; stay alert after it, if that may be."""
        with self._lock:
            self._task, self._alert = task, alert and self.wakeful and PATIENCE.lasts()
            self._gated = self._alert
        self._call(Gate.let_in)

    def finish(self) -> BaseException | None:
        """Wait for the end of the task; what went wrong, if something did."""
        if self._gated and self._finished is not None:
            self._finished.wait()
        else:
            self._done.acquire()
        error, self._error = self._error, None
        return error

    def stand_by(self, board: Board) -> None:
        """Serve a board as long as there is something to do, now and after tasks."""
        if self._board is not board:
            with self._lock:
                self._board = board
            self._call(Gate.open)

    def expect(self) -> None:
        """Be alert for a while, if that may be, for a task that is to come soon."""
        if self.wakeful and PATIENCE.lasts():
            with self._lock:
                self._alert = True
            self._call()

    def _call(self, opening: Callable[[Gate], None] | None = None) -> None:
        """Wake the worker, or have it come from where it stands, which may be a gate to be opened."""
        self._stop[0] = 1
        if core_of_this_thread is not None and (here := core_of_this_thread()) != self._avoided:
            self._keep_off(here)
        with self._lock:
            sleeps, self._awake = not self._awake, True
        if sleeps:
            self._go.release()
        elif opening is not None and self._called is not None:
            opening(self._called)

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
            waits, board, alert = self._task is not None, self._board, self._alert
            self._stop[0] = 0
            self._awake = waits or board is not None or alert
        if waits and not self._gated:
            self._try(self._taken())
            self._done.release()
        elif board is not None and not waits:
            board.serve(self._stop)
            with self._lock:
                if not self._stop[0] and self._board is board:
                    self._board = None
        elif waits or alert:
            self._watch()
        return self._awake

    def _watch(self) -> None:
        """Do tasks as they come through the gate; as little as may be stands between the gate and a task."""
        called, finished = self._called, self._finished
        assert called is not None and finished is not None
        opened = self._task is not None or called.wait_a_while()
        while self._task is not None and self._gated:
            self._watched += 1
            if self._watched % JUDGED:
                self._try(self._taken())
            else:
                self._judge(self._taken())
            opened = called.pass_on(finished)
        with self._lock:
            self._alert = self._alert and (opened or self._task is not None)

    def _taken(self) -> Task:
        """The task that waits.  Nobody else may hold it when it ends, as it may hold large arrays."""
        task, self._task = self._task, None
        assert task is not None
        return task

    def _try(self, task: Task) -> None:
        try:
            task()
        except BaseException as error:
            self._error = error

    def _judge(self, task: Task) -> None:
        begun, ran = perf_counter(), thread_time()
        self._try(task)
        PATIENCE.judge(perf_counter() - begun, thread_time() - ran)


class Idle:
    """Workers that have nothing to do; a forked child makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._workers: list[Worker] = []
        self._wakeful: set[Worker] = set()

    def take(self, count: int) -> list[Worker]:
        """Workers for the caller alone; as many may be alert as have cores of their own."""
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._workers, self._wakeful = os.getpid(), [], set()
            taken = [self._workers.pop() if self._workers else Worker() for _ in range(count)]
            wakeful = taken[: max(cores() - 1 - len(self._wakeful), 0)] if GATES else []
            self._wakeful.update(wakeful)
        for worker in wakeful:
            worker.wakeful = True
        return taken

    def give_back(self, workers: Sequence[Worker]) -> None:
        """They may sleep, as soon as nothing comes."""
        for worker in workers:
            worker.wakeful = False
        with self._lock:
            self._wakeful.difference_update(workers)
            self._workers += workers


IDLE = Idle()


def team() -> list[Worker]:
    """The workers that steps on this thread may start."""
    found: list[Worker] = getattr(_HERE, "team", [])
    return found


class several:  # noqa: N801 - a context, as a function would make it in three times the time
    """Work inside may use so many threads, `soon` if it begins with tasks for them."""

    def __init__(self, threads: int, soon: bool = False) -> None:
        self._threads, self._soon = threads, soon

    def __enter__(self) -> None:
        self._before = team()
        self._taken = _HERE.team = IDLE.take(self._threads - 1) if self._threads > 1 else []
        if self._soon:
            for worker in self._taken:
                worker.expect()

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
        worker.start(work, alert=True)
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
        self._tasks = [branch[0] if len(branch) == 1 else partial(_run, branch) for branch in branches]

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
