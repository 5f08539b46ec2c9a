"""Steps side by side: what a kernel cuts into branches runs on several threads, if a program has them.

How a step is cut depends on its shapes alone, never on the number of threads, and sums are made in a fixed order: so
the results are the same bits whatever that number is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from .registry import Step

LEAST_FLOPS = 8 << 20  # of a branch: less is not worth handing to another thread
MOST = 4  # branches of a step

_HERE = threading.local()  # .threads: how many a program on this thread may use


class Pool:
    """The threads of this process, made when first needed; a forked child makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._executor: ThreadPoolExecutor | None = None

    def executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._executor = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tenun-step")
            return self._executor


POOL = Pool()


class Parallel:
    """A step of several branches, none of which reads or writes what another one writes."""

    def __init__(self, branches: Sequence[Sequence[Step]]) -> None:
        self.branches = branches

    def __call__(self) -> None:
        threads = min(getattr(_HERE, "threads", 1), len(self.branches))
        if threads < 2:
            _run(self.branches)
            return
        shares = [self.branches[i::threads] for i in range(threads)]
        others = [POOL.executor().submit(_run, share) for share in shares[1:]]
        try:
            _run(shares[0])
        finally:
            failures = [f.exception() for f in others]
        for failure in failures:
            if failure is not None:
                raise failure


def _run(branches: Sequence[Sequence[Step]]) -> None:
    for branch in branches:
        for step in branch:
            step()


@contextmanager
def several(threads: int) -> Iterator[None]:
    """Steps inside may use so many threads."""
    before = getattr(_HERE, "threads", 1)
    _HERE.threads = threads
    try:
        yield
    finally:
        _HERE.threads = before


def cuts(length: int, flops: int) -> list[slice]:
    """An axis in as many parts as the work is worth; one where it is not worth cutting."""
    count = max(1, min(MOST, length, flops // LEAST_FLOPS))
    count -= count % 2 if count > 1 else 0  # an even number for two threads
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]


def together(branches: Sequence[Sequence[Step]]) -> list[Step]:
    """The branches as steps: one of them as it is."""
    return list(branches[0]) if len(branches) == 1 else [Parallel(branches)]
