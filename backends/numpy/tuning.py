"""Measuring candidates of algorithms on this machine, and remembering what was found.

The file is a cache: it may be deleted, shared or read-only, and what cannot be read in it is measured again.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import numpy as np

from ...ir.builder import Builder
from ...ir.graph import Graph, Node, Var
from ...ir.rebuild import copy_node
from ...passes.algorithms import Emit
from ..cache import cache_folder, processor
from .evaluate import evaluate
from .registry import NUMPY, Array, Kernels

ROUNDS = 5
SECONDS = 0.3  # at most, for one candidate


def cache_file() -> Path:
    """Where times are kept: TENUN_CACHE, or the user's cache folder."""
    return cache_folder() / "tuning.json"


class Times:
    """Seconds by key, in a file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Path, dict[str, float]] = {}

    def get(self, key: str) -> float | None:
        """What was found before."""
        with self._lock:
            return self._of(cache_file()).get(key)

    def put(self, key: str, seconds: float) -> None:
        """Remember, in the file too if it can be written: as a whole, under another name first."""
        path = cache_file()
        with self._lock:
            found = self._of(path)
            found[key] = seconds
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".json", delete=False) as file:
                    json.dump(found, file, indent=0, sort_keys=True)
                os.replace(file.name, path)
            except OSError:  # then it is measured again next time
                pass

    def _of(self, path: Path) -> dict[str, float]:
        if path not in self._found:
            try:
                read = json.loads(path.read_text())
                self._found[path] = {str(k): float(v) for k, v in read.items()}
            except (OSError, ValueError, AttributeError, TypeError):
                self._found[path] = {}
        return self._found[path]


TIMES = Times()


def measured(node: Node, name: str, emit: Emit | None, kernels: Kernels = NUMPY) -> float:
    """Seconds of a node on one thread, or of what `emit` makes of it, once its constants are folded."""
    key = f"{_machine()} {kernels.name} | {name} | {_signature(node)}"
    seconds = TIMES.get(key)
    if seconds is None:
        seconds = _time(node, emit, kernels)
        TIMES.put(key, seconds)
    return seconds


def _machine() -> str:
    try:
        own = version("tenun")
    except PackageNotFoundError:
        own = "unknown"
    return f"{platform.machine()} {processor()} numpy {np.__version__} tenun {own}"


def _signature(node: Node) -> str:
    operands = ", ".join("_" if v is None else str(v.type) for v in node.inputs)
    attrs = ", ".join(f"{k} = {v}" for k, v in sorted(node.attrs.items()))
    return f"{node.op.name}({operands}) {{{attrs}}}"


def _time(node: Node, emit: Emit | None, kernels: Kernels) -> float:
    from .plan import Plan  # which needs what this module is part of
    from .program import Program
    from .shards import BLAS

    generator = np.random.default_rng(0)
    arrays = [
        None if v is None else generator.standard_normal(v.tensor.static).astype(v.tensor.dtype.numpy)
        for v in node.inputs
    ]
    graph = _alone(node, emit, arrays)
    plan = Plan(graph, Program, kernels=kernels)
    given = [a for v, a in zip(node.inputs, arrays) if v is not None and v.data is None]
    laps: list[float] = []
    with BLAS.one():
        plan.run(given)
        while len(laps) < ROUNDS and (not laps or sum(laps) < SECONDS):
            start = perf_counter()
            plan.run(given)
            laps.append(perf_counter() - start)
    return min(laps)


def _alone(node: Node, emit: Emit | None, arrays: list[Array | None]) -> Graph:
    """The node in a graph of its own, whose constants are those of the node, with other elements."""
    from ...passes.manager import Context, PassManager

    graph = Graph("candidate")
    operands: list[Var | None] = []
    for i, (var, array) in enumerate(zip(node.inputs, arrays)):
        constant = var is not None and var.data is not None
        made = graph.add_constant(array) if constant else var and graph.add_input(f"x{i}", var.type)
        operands.append(made)
    b = Builder(graph)
    copy = copy_node(b, node, operands, dict(node.attrs))
    result = emit(b, copy) if emit else copy.output
    graph.set_outputs([result], ["y"])
    return PassManager(("dce", "fold"), Context(evaluate)).run(graph)
