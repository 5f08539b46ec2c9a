"""The parts of `tenun compare` and `tenun diff`: the two sides, their inputs, what is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..backends.base import backend
from ..debug import report
from ..debug.compare import Comparison, Subject, compare, difference
from ..errors import RunError, TenunError
from ..files import write_atomically
from ..ir.graph import Graph
from ..ir.samples import random_inputs
from ..passes.manager import Context, PassManager, pipeline, up_to
from .inputs import gather

RAW = "raw"  # the graph as loaded, as if it were a pass
LAST = "all"  # after all passes


def evaluate() -> Any:
    """What computes a node."""
    return backend("numpy").evaluate


def subjects(
    a: str, b: str | None, graphs: Mapping[str, Graph], after: Sequence[str], engines: Sequence[str]
) -> tuple[Subject, Subject]:
    """Both sides: one engine is that of the second, two are of both in order; so are the passes of `after`."""
    files = (a, b or a)
    if len(after) > 2 or len(engines) > 2:
        raise RunError("there are two sides: --after and --with go twice at most")
    stages = [RAW, *after][-2:] if after else [RAW, RAW]
    runs = ["tenun", *engines][-2:] if engines else ["tenun", "tenun"]
    if b is None and stages[0] == stages[1] and runs[0] == runs[1]:
        raise RunError("a model is the same as itself", hint="give a second file, --after PASS, or --with ENGINE")
    sides = []
    for file, stage, runs_with in zip(files, stages, runs):
        graph = _staged(graphs[file], stage)
        if runs_with != "tenun" and stage != RAW:
            raise RunError(f"--after {stage} and --with {runs_with} exclude each other on one side")
        sides.append(Subject(file, graph, runs_with, stage if after else ""))
    return sides[0], sides[1]


def _staged(graph: Graph, stage: str) -> Graph:
    """The graph after a pass of the pipeline; PASS:2 after its second turn."""
    if stage == RAW:
        return graph
    names = pipeline("inference") if stage == LAST else up_to(stage)
    return PassManager(names, Context(evaluate())).run(graph.copy())


def given_inputs(graph: Graph, files: Sequence[str], batch: int, seeds: int) -> list[dict[str, Any]]:
    """Inputs out of files, each .npz a set of its own; without any, made up for each seed."""
    states = {s.input.name for s in graph.state}
    wanted = [v for v in graph.inputs if v.name not in states]
    if not files:
        return [random_inputs(graph, batch, seed) for seed in range(seeds)]
    if all(Path(f).suffix.lower() == ".npz" for f in files):
        return [dict(gather(wanted, [file], {})) for file in files]
    return [dict(gather(wanted, list(files), {}))]


def run(sides: tuple[Subject, Subject], inputs: Sequence[Mapping[str, Any]], tolerance: float | None) -> Comparison:
    """The comparison."""
    return compare(*sides, evaluate(), inputs=inputs, tolerance=tolerance)


def bisect(graph: Graph, inputs: Iterable[Mapping[str, Any]]) -> str:
    """The first pass that changes a result on one of the sets of inputs, with the node; empty where none does."""
    for each in inputs:
        manager = PassManager(pipeline("inference"), Context(evaluate()), "numbers", sample=each)
        try:
            manager.run(graph.copy())
        except TenunError as error:
            return str(error)
    return ""


def write(found: Comparison, file: str) -> None:
    """All figures of a comparison as JSON."""
    write_atomically(file, report.as_json(report.comparison_record(found)).encode())


def diff(sides: tuple[Subject, Subject], json: bool, page: str | None) -> tuple[str, bool]:
    """The difference as text (or JSON), and whether there is none; `page`: a file for the HTML."""
    alignment, changes = difference(*sides, evaluate())
    names = sides[0].title, sides[1].title
    if page:
        write_atomically(page, report.diff_html(*names, alignment, changes).encode())
    if json:
        return report.as_json(report.diff_record(*names, changes)), not changes
    return "\n".join(report.diff_lines(*names, changes)) + "\n", not changes


def table(found: Comparison, every: bool, only_differing: bool) -> Any:
    """The rows for the screen."""
    return report.comparison_table(found, not every, only_differing)


def lines(found: Comparison) -> Iterator[str]:
    """What stands below the table."""
    yield from report.comparison_lines(found)
