"""Large batches: cut into shards that fit the cache, run on several threads with one BLAS thread each.

The cut depends on the model and the batch only, never on the number of threads, so the results are the same bits
whatever that number is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from ...errors import RunError
from ...ir.graph import Graph
from ...passes.batch import batch_axis, batch_symbol
from ...passes.cost import step_flops, total_flops, working_set
from ..base import DEFAULT, Options
from .blas import libraries
from .plan import Plan
from .program import Program
from .registry import NUMPY, Kernels
from .storage import Resident
from .workers import cores, each, several

SHARD_BYTES = 16 << 20  # what the largest step of a shard may read and write
REUSE = 100  # operations for each byte of weights: every shard reads all of them, and memory is what threads share
REUSE_IN_CACHE, CACHED = 24, 2 << 20  # the same where the weights, up to so many bytes, stay in the caches of a core
SHARD_FLOPS = 2 << 20  # less work than this is not worth handing to another thread
SEQUENTIAL_FLOPS = 2 << 20  # the same of a single step of a loop over time: smaller steps wait for each other


class BlasThreads:
    """Sets the number of BLAS threads while somebody needs it, and restores it after the last one has gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._libraries: list[Any] | None = None
        self._before: list[int] = []

    def one(self) -> BlasThreads:
        """One BLAS thread inside."""
        return self

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = [library.get_num_threads() for library in self._found()]
                self._set([1] * len(self._before))

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._set(self._before)

    def _set(self, numbers: Sequence[int]) -> None:
        for library, number, before in zip(self._found(), numbers, self._before):
            if before != 1:  # which nothing has to change
                library.set_num_threads(number)

    def _found(self) -> list[Any]:
        """The libraries, called without threadpoolctl's own contexts, which take 15 µs."""
        if self._libraries is None:
            self._libraries = libraries()
        return self._libraries


BLAS = BlasThreads()


def default_threads() -> int:
    """What the environment variable TENUN_THREADS says, or the number of cores; RunError where it is no number."""
    given = os.environ.get("TENUN_THREADS", "").strip()
    if not given:
        return cores()
    if not given.isdigit() or not int(given):
        raise RunError(f"TENUN_THREADS is {given!r}", hint="set it to a number of threads, 1 or more")
    return int(given)


class ShardedProgram:
    """A program that cuts its batch; with one thread it is the program itself, BLAS on one thread too."""

    def __init__(
        self, graph: Graph, options: Options = DEFAULT, resident: Resident | None = None, kernels: Kernels = NUMPY
    ) -> None:
        self.graph = graph
        self.threads = options.threads if options.threads is not None else default_threads()
        self.whole = Program(graph, options, resident, kernels=kernels)
        sequential = any(node.op.has("sequential") for node in graph.nodes)
        # the results of BLAS depend on its threads; a training has to give the same bits at any number of them
        self._one_blas_thread = self.threads == 1 or sequential or bool(resident)
        symbol = batch_symbol(graph)
        self._axes = [batch_axis(v, symbol) or 0 for v in graph.inputs] if symbol else None
        self._output_axes = [batch_axis(v, symbol) or 0 for v in graph.outputs] if symbol else []
        if symbol:
            self._weigh(graph, sequential)

    def _weigh(self, graph: Graph, sequential: bool) -> None:
        """How much work a sample is, and how many samples should be in a shard."""
        self._flops = max(total_flops(graph), 1)
        weights = sum(v.tensor.nbytes for v in graph.constants)
        steps = self._flops / max(step_flops(graph), 1)
        shared = max(SHARD_FLOPS, (REUSE if weights > CACHED else REUSE_IN_CACHE) * weights)
        self._least = ceil(SEQUENTIAL_FLOPS * steps) if sequential else shared
        # samples in a shard: as many as fit the cache, enough to be worth a thread
        self._shard = max(SHARD_BYTES // max(working_set(graph), 1), -(-self._least // self._flops), 1)

    def plan(self, inputs: Sequence[Any]) -> Plan:
        """The plan for one run (of one shard, where the batch is cut)."""
        return self.whole.plan(next(self._parts(inputs, self._cut(inputs))))

    def _cut(self, inputs: Sequence[Any]) -> int:
        """The shard size for these inputs; 0 where they are not cut."""
        if self._axes is None:
            return 0
        batch = inputs[0].shape[self._axes[0]]
        if len(inputs) > 1 and any(x.shape[axis] != batch for x, axis in zip(inputs, self._axes)):
            return 0
        # an even number of equal parts, two at least if each is work enough: a small batch still uses two cores
        parts = 2 * max(1, ceil(batch / (2 * self._shard)))
        size = ceil(batch / parts)
        return size if size * self._flops >= self._least and size < batch else 0

    def _parts(self, inputs: Sequence[Any], size: int) -> Iterator[list[Any]]:
        if not size:
            yield list(inputs)
            return
        assert self._axes is not None
        for start in range(0, inputs[0].shape[self._axes[0]], size):
            yield [x[(slice(None),) * axis + (slice(start, start + size),)] for x, axis in zip(inputs, self._axes)]

    def __call__(self, *inputs: Any) -> list[Any]:
        """The outputs, fresh arrays."""
        size = self._cut(inputs)
        if not size:
            plan, key = self.whole.take(inputs)
            try:
                with self.running(plan):
                    return plan.run(inputs)
            finally:
                self.whole.give_back(key, plan)
        with BLAS.one(), several(self.threads):
            results = each([partial(self.whole, *part) for part in self._parts(inputs, size)])
        return [np.concatenate(column, axis) for column, axis in zip(zip(*results), self._output_axes)]

    def running(self, plan: Plan) -> AbstractContextManager[None]:
        """What runs of a plan are inside of: the threads that it may use."""
        workers = several(self.threads if plan.is_parallel else 1, plan.is_branched)
        alone = (self._one_blas_thread or plan.is_parallel) and not plan.is_native
        return _Both(workers, BLAS) if alone else workers


class _Both:
    """Two contexts, one in the other, without the time that a generator takes."""

    def __init__(self, outer: AbstractContextManager[None], inner: AbstractContextManager[None]) -> None:
        self._outer, self._inner = outer, inner

    def __enter__(self) -> None:
        self._outer.__enter__()
        self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)
        self._outer.__exit__(*error)
