"""Steps that flow: a main line of many small steps, with big steps ahead of it and behind it on other threads.

A recurrent layer's time loop cannot be cut, and small NumPy calls on two threads wait for each other; but what the loop
needs (products with x) and what its results are needed for (products with gradients) are few big calls, which one
thread makes while another one loops.  Which thread computes a task depends on chance, what is computed does not: so the
results are the same bits whatever the number of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from .registry import Step
from .workers import Threaded, team


@dataclass(frozen=True)
class Task:
    """Steps that run one after another on one thread, when the tasks `after` are over; those of the main line run on
    the thread of the caller, in their order."""

    steps: Sequence[Step]
    after: tuple[int, ...]
    main: bool


class Tasks(list[Task]):
    """Tasks in an order in which one thread may run them: any other thread takes the first that can be run."""

    def enter(self, steps: Sequence[Step], after: Iterable[int], main: bool = False) -> int:
        """One task more; its number."""
        self.append(Task(steps, tuple(after), main))
        return len(self) - 1

    def as_steps(self, flowing: bool) -> list[Step]:
        """On several threads, or one after another."""
        return [Flow(self)] if flowing else [step for task in self for step in task.steps]


class Flow(Threaded):
    """A step of several tasks, each of which waits for others."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.users: list[list[int]] = [[] for _ in tasks]
        for number, task in enumerate(tasks):
            for other in task.after:
                self.users[other].append(number)

    def __call__(self) -> None:
        helpers = team()
        if not helpers:
            for task in self.tasks:
                for step in task.steps:
                    step()
            return
        run = _Run(self)
        for worker in helpers:
            worker.start(run.help)
        try:
            run.lead()
        finally:
            errors = [worker.finish() for worker in helpers]
        for error in errors:
            if error is not None:
                raise error


class _Run:
    """One run of a flow: which tasks wait, which may be taken."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._changed = threading.Condition(threading.Lock())
        self._waiting = [len(task.after) for task in flow.tasks]
        self._line = deque(i for i, task in enumerate(flow.tasks) if task.main)
        self._others = len(flow.tasks) - len(self._line)  # not taken yet
        self._ready = [i for i, task in enumerate(flow.tasks) if not task.main and not task.after]  # sorted: a heap
        self._failed = False

    def lead(self) -> None:
        """The main line, and other tasks where it has to wait."""
        self._work(True)

    def help(self) -> None:
        """Tasks that are not of the main line."""
        self._work(False)

    def _work(self, leads: bool) -> None:
        try:
            while (number := self._next(leads)) is not None:
                for step in self._flow.tasks[number].steps:
                    step()
                self._end(number)
        except BaseException:
            with self._changed:
                self._failed = True
                self._changed.notify_all()
            raise

    def _next(self, leads: bool) -> int | None:
        """A task to run, as soon as there is one; None where none is left to take."""
        with self._changed:
            while not self._failed:
                if leads and self._line and not self._waiting[self._line[0]]:
                    return self._line.popleft()
                if self._ready:
                    self._others -= 1
                    return heappop(self._ready)
                if not self._others and not (leads and self._line):
                    break
                self._changed.wait()
            return None

    def _end(self, number: int) -> None:
        """Let those that waited for a task go on."""
        with self._changed:
            for user in self._flow.users[number]:
                self._waiting[user] -= 1
                if not self._waiting[user] and not self._flow.tasks[user].main:
                    heappush(self._ready, user)
            self._changed.notify_all()
