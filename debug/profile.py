"""Where the time of a run goes: every node and step with its seconds, operations, bytes, and how near it comes to what
this machine can do (`roofline`); what steps allocate, though they should not; a trace for a timeline viewer (`trace`).
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..backends.numpy.plan import Plan
from ..backends.numpy.shards import BLAS, ShardedProgram
from ..backends.numpy.workers import several
from ..errors import RunError
from ..ir.graph import Node
from ..passes.cost import flops
from .roofline import Machine, blas_threads, machine
from .steps import (
    calls_text,
    node_bytes,
    node_dtype,
    node_name,
    node_shapes,
    step_shapes,
    step_text,
    step_work,
)
from .summary import quantity
from .trace import Recorder, Span, write_trace

FORMAT = 1  # the version of what `to_dict` gives
TOP = 40  # rows that printing shows
LISTED = 5  # steps that are named in a note
OWN = 4096  # bytes of Python's small objects (views, tuples) in a step, which are no arrays
SMALL_BUFFER = 16  # elements: the least that NumPy takes
GROUPS = ("node", "layer", "op", "step")
NO_LAYER = "(no layer)"

Memory = tuple[list[int], list[int]]  # for each step the bytes of arrays, and of NumPy's buffers


@dataclass(frozen=True)
class Row:
    """A node, a step, or a group of nodes.

    kernel: what it calls, and how often; note: what a pass says of the node, such as why it chose an algorithm;
    seconds: the median of a run; share: of the sum over all steps; flops, bytes: None where they are not known; least:
    the seconds that this machine's roofline allows; allocated: bytes of arrays that a step of it makes, at one time;
    buffered: bytes that NumPy takes besides, for going through operands in pieces (arrays with gaps, casts); threads:
    the most that it runs on; count: the steps that it is.
    """

    name: str
    op: str
    layer: str
    kernel: str
    shapes: str
    note: str
    seconds: float
    share: float
    flops: int | None
    bytes: int | None
    least: float | None
    allocated: int
    buffered: int
    threads: int
    count: int

    @property
    def flop_rate(self) -> float | None:
        """Operations a second."""
        return None if self.flops is None or not self.seconds else self.flops / self.seconds

    @property
    def byte_rate(self) -> float | None:
        """Bytes a second."""
        return None if self.bytes is None or not self.seconds else self.bytes / self.seconds

    @property
    def intensity(self) -> float | None:
        """Operations for each byte."""
        return None if self.flops is None or not self.bytes else self.flops / self.bytes

    @property
    def roofline(self) -> float | None:
        """The share of what this machine can do: 1 is the best that is possible.

        More than 1 where fewer operations are made than the definition of the op has, or where data are in a nearer
        cache than their size tells.
        """
        return None if self.least is None or not self.seconds else self.least / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        derived = ("flop_rate", "byte_rate", "intensity", "roofline")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


@dataclass(frozen=True)
class Profile:
    """The profile of a plan.

    `nodes` and `steps` are rows in the order of running (nodes that are views have no steps and are left out);
    `node_of` is for each step the place of its node.  Of a batch that is cut into `shards`, the first one is profiled.
    run_seconds: the median of a whole call, all shards, with the copying in and out; spans: the run of median length.
    """

    name: str
    backend: str
    nodes: list[Row]
    steps: list[Row]
    node_of: list[int]
    shards: int
    threads: int
    rounds: int
    run_seconds: float
    machine: Machine
    spans: list[Span] = field(repr=False)

    @property
    def seconds(self) -> float:
        """The sum over the steps of a run, of one shard if there are several."""
        return sum(row.seconds for row in self.steps)

    @property
    def allocations(self) -> list[Row]:
        """The steps that allocate memory, most first."""
        return sorted((row for row in self.steps if row.allocated), key=lambda row: -row.allocated)

    def by_node(self) -> list[Row]:
        """A row for each node, longest first."""
        return _longest_first(self.nodes)

    def by_layer(self) -> list[Row]:
        """A row for each layer, longest first; nodes without one are one row."""
        return _longest_first(_grouped(self.nodes, lambda row: row.layer or NO_LAYER))

    def by_op(self) -> list[Row]:
        """A row for each op, longest first."""
        return _longest_first(_grouped(self.nodes, lambda row: row.op))

    def by_step(self) -> list[Row]:
        """A row for each step, longest first."""
        return _longest_first(self.steps)

    def rows(self, by: str = "node") -> list[Row]:
        """The rows by one of GROUPS, longest first."""
        ways = {"node": self.by_node, "layer": self.by_layer, "op": self.by_op, "step": self.by_step}
        if by not in ways:
            raise RunError(f"no rows by {by!r}", hint=f"one of {', '.join(GROUPS)}")
        return ways[by]()

    def trace(self, path: str | Path) -> None:
        """Write a timeline in Chrome's trace format, for chrome://tracing or https://ui.perfetto.dev."""
        write_trace(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the spans, as JSON values."""
        plain = ("name", "backend", "shards", "threads", "rounds", "seconds", "run_seconds", "node_of")
        rows = {name: [row.to_dict() for row in getattr(self, name)] for name in ("nodes", "steps")}
        about = {name: getattr(self, name) for name in plain}
        return {"format": FORMAT, **about, "machine": self.machine.to_dict(), **rows}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1)

    def notes(self) -> list[str]:
        """What stands below the table: the run, allocations, the machine."""
        return list(_notes(self))

    def text(self, by: str = "node", top: int | None = TOP) -> str:
        """The table as plain text, the `top` longest rows of it (None: all), and the notes."""
        lines = [headings(by), *(cells(row, by) for row in self._shown(by, top)), self._total(by)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        drawn = ["  ".join(_aligned(line, widths, TEXTS[by])).rstrip() for line in lines]
        return "\n".join([*drawn, *self._rest(by, top), "", *self.notes()])

    def __str__(self) -> str:
        return self.text()

    def table(self, by: str = "node", top: int | None = TOP, width: int | None = None) -> Any:
        """The table, one of rich; with fewer columns where a line has less than WIDE characters."""
        from rich.table import Table
        from rich.text import Text

        narrow = width is not None and width < WIDE
        names, total = headings(by), self._total(by)
        rows = self._shown(by, top)
        lines = [cells(row, by) for row in rows]
        shown = [i for i, name in enumerate(names) if not narrow or i == 0 or name in NARROW]
        widths = {i: max(len(line[i]) for line in (names, total, *lines)) for i in shown}
        if width is not None:
            widths = _fitted(widths, width - GAP * (len(shown) - 1), TEXTS[by])
        drawn = Table(
            header_style="bold", box=None, pad_edge=False, show_footer=True, footer_style="bold", padding=(0, GAP, 0, 0)
        )
        for i in shown:
            side: Any = "left" if i < TEXTS[by] else "right"
            drawn.add_column(names[i], Text(total[i]), justify=side, no_wrap=True, overflow="ellipsis", width=widths[i])
        for row, line in zip(rows, lines):
            drawn.add_row(*(Text(line[i]) for i in shown), style="bold" if row.share >= LOUD else "")
        return drawn

    def show(self, by: str = "node", top: int | None = TOP, console: Any = None) -> None:
        """Print the table and the notes to a console of rich (default: the terminal)."""
        from rich.console import Console

        console = console or Console(highlight=False)
        console.print(self._drawn(by, top, console.width))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield self._drawn("node", TOP, options.max_width)

    def _drawn(self, by: str, top: int | None, width: int) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(self.table(by, top, width), *map(Text, (*self._rest(by, top), "", *self.notes())))

    def _shown(self, by: str, top: int | None) -> list[Row]:
        return self.rows(by)[:top]

    def _rest(self, by: str, top: int | None) -> list[str]:
        rest = self.rows(by)[top:] if top is not None else []
        share = sum(row.share for row in rest)
        return [f"{len(rest)} more rows, {share:.1%} of the time"] if rest else []

    def _total(self, by: str) -> tuple[str, ...]:
        figures = cells(_joined("", self.nodes), by)[TEXTS[by] :]
        return ("total", *[""] * (TEXTS[by] - 1), *figures)


def _longest_first(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.seconds)


def _grouped(rows: Sequence[Row], key: Callable[[Row], str]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [_joined(name, group) for name, group in groups.items()]


def _joined(name: str, rows: Sequence[Row]) -> Row:
    """Nodes as one row: sums; of what is not known for all of them, nothing."""
    ops, layers, kernels = (list(dict.fromkeys(getattr(r, a) for r in rows)) for a in ("op", "layer", "kernel"))
    shapes, note = (rows[0].shapes, rows[0].note) if len(rows) == 1 else ("", "")
    operations, size, least = (_sum([getattr(r, a) for r in rows]) for a in ("flops", "bytes", "least"))
    seconds, share, count = (sum(getattr(r, a) for r in rows) for a in ("seconds", "share", "count"))
    most = (max((getattr(r, a) for r in rows), default=0) for a in ("allocated", "buffered", "threads"))
    allocated, buffered, threads = most
    texts = (_few(ops), _few([layer for layer in layers if layer]), _few(kernels), shapes, note)
    return Row(name, *texts, seconds, share, operations, size, least, allocated, buffered, threads, count)


def _sum(values: Sequence[Any]) -> Any:
    return None if any(v is None for v in values) else sum(values)


def _few(texts: Sequence[str], most: int = 3) -> str:
    return ", ".join([*texts[:most], *([f"{len(texts) - most} more"] if len(texts) > most else [])])


# ---- text

FIGURES = ("time", "share", "FLOP", "FLOP/s", "bytes", "bytes/s", "FLOP/B", "roofline", "allocates")
NAMES: dict[str, tuple[str, ...]] = {
    "node": ("node", "op", "layer", "kernel"),
    "layer": ("layer", "ops", "kernels"),
    "op": ("op", "layers", "kernels"),
    "step": ("step", "node", "layer", "shapes"),
}
FIELDS: dict[str, tuple[str, ...]] = {
    "node": ("name", "op", "layer", "kernel"),
    "layer": ("name", "op", "kernel"),
    "op": ("name", "layer", "kernel"),
    "step": ("kernel", "name", "layer", "shapes"),
}
NARROW = ("layer", "time", "share", "FLOP/s", "bytes/s", "roofline", "allocates")  # columns, after the first
WIDE = 140  # characters in a line of a table of all columns
GAP = 2  # characters between columns
LEAST = 8  # characters of a name
LOUD = 0.1  # the share from which on a row is printed bold
TEXTS = {by: len(names) for by, names in NAMES.items()}  # columns that are no figures


def headings(by: str) -> tuple[str, ...]:
    """The headings of a table by one of GROUPS."""
    return (*NAMES[by], *FIGURES)


def cells(row: Row, by: str) -> tuple[str, ...]:
    """A row as texts, in the order of `headings`."""
    return (
        *(getattr(row, name) for name in FIELDS[by]),
        duration(row.seconds),
        f"{row.share:.1%}",
        *(_quantity(*pair) for pair in ((row.flops, ""), (row.flop_rate, ""), (row.bytes, "B"), (row.byte_rate, "B"))),
        "" if row.intensity is None else f"{row.intensity:.3g}",
        "" if row.roofline is None else f"{row.roofline:.0%}",
        quantity(row.allocated, "B") if row.allocated else "none",
    )


def _fitted(widths: Mapping[int, int], room: int, texts: int) -> dict[int, int]:
    """Widths of columns that fit the room: the first `texts`, the longest of them first, give way to the figures."""
    found = dict(widths)
    while sum(found.values()) > room and max(found[i] for i in found if i < texts) > LEAST:
        longest = max((i for i in found if i < texts), key=lambda i: found[i])
        found[longest] -= 1
    return found


def _quantity(value: float | None, unit: str) -> str:
    return "" if value is None else quantity(value, unit)


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:{'.3g' if seconds < 999 * size else '.0f'}} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _aligned(line: Sequence[str], widths: Sequence[int], texts: int) -> list[str]:
    return [c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]


def _notes(profile: Profile) -> Iterator[str]:
    which = f", of the first of {profile.shards} shards of the batch" if profile.shards > 1 else ""
    yield (
        f"{profile.name}: {len(profile.nodes)} nodes, {len(profile.steps)} steps{which}; "
        f"{duration(profile.seconds)} in steps, {duration(profile.run_seconds)} a whole call "
        f"(medians of {profile.rounds}); backend {profile.backend}, threads {profile.threads}"
    )
    yield "allocations: " + "; ".join(_allocation_notes(profile))
    yield f"machine: {profile.machine}"


def _allocation_notes(profile: Profile) -> Iterator[str]:
    found = profile.allocations
    most = ", ".join(f"{row.name} {row.kernel} ({quantity(row.allocated, 'B')})" for row in found[:LISTED])
    more = ", ..." if len(found) > LISTED else ""
    yield f"{len(found)} steps make arrays: {most}{more}" if found else "none"
    buffered = [row.buffered for row in profile.steps if row.buffered]
    if buffered:
        yield f"NumPy's own buffers in {len(buffered)} steps, {quantity(max(buffered), 'B')} at most"


# ---- measuring


def profile(program: ShardedProgram, arrays: Sequence[Any], rounds: int = 5, backend: str = "numpy") -> Profile:
    """Profile a program on checked inputs: `rounds` runs that are timed step by step, and one that is watched for
    allocations.

    Callers of the program are not disturbed: the plan is taken from it for so long, and states that live in arrays of
    the caller are put back.  RunError where rounds are less than 1, or where the run fails.
    """
    if rounds < 1:
        raise RunError(f"rounds is {rounds}, expected at least 1")
    figures = machine()
    with _states_put_back(program):
        run_seconds = _run_seconds(program, arrays, rounds)
        looked_at = program.plan(arrays)
        parts = [_first_samples(looked_at, i, x) for i, x in enumerate(arrays)]
        shards = max([1, *(_shards(x, part) for x, part in zip(arrays, parts))])
        plan, key = program.whole.take(parts)
        try:
            with BLAS.one() if shards > 1 else program.running(plan):
                recorder = Recorder(plan)
                recorder.lap(parts)
                laps = [recorder.lap(parts) for _ in range(rounds)]
                product_threads = blas_threads()
                memory = _memory(plan, parts)
        finally:
            program.whole.give_back(key, plan)
    measured = _Measured(plan, laps, memory, figures, product_threads)
    nodes, steps, node_of = measured.rows()
    return Profile(
        program.graph.name, backend, nodes, steps, node_of, shards, program.threads, rounds, run_seconds, figures,
        _median_lap(laps),
    )  # fmt: skip


@contextmanager
def _states_put_back(program: ShardedProgram) -> Iterator[None]:
    """Resident states are afterwards as they were before."""
    kept = {name: array.copy() for name, array in program.whole.resident.items()}
    try:
        yield
    finally:
        for name, array in kept.items():
            np.copyto(program.whole.resident[name], array)


def _run_seconds(program: ShardedProgram, arrays: Sequence[Any], rounds: int) -> float:
    """The median of whole calls, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        start = perf_counter()
        program(*arrays)
        times.append(perf_counter() - start)
    return median(times[1:])


def _first_samples(plan: Plan, index: int, value: Any) -> Any:
    """What the plan takes of an input: the first shard, where the batch is cut."""
    planned = plan.arrays.get(plan.fed[index])
    return value if planned is None else value[tuple(slice(size) for size in planned.shape)]


def _shards(whole: Any, part: Any) -> int:
    if whole is part:  # perhaps a sequence, which has no shape
        return 1
    return max([1, *(ceil(n / m) for n, m in zip(np.shape(whole), np.shape(part)) if 0 < m < n)])


def _median_lap(laps: Sequence[list[Span]]) -> list[Span]:
    """The run of median length."""
    return sorted(laps, key=lambda lap: sum(s.seconds for s in lap if s.branch is None))[len(laps) // 2]


def _memory(plan: Plan, arrays: Sequence[Any]) -> Memory:
    """For each step the most bytes that it has allocated at one time: of arrays, and of buffers of NumPy's.

    NumPy tells tracemalloc of both, but not which is which: so it has hardly any buffers in one run of two.  Branches
    run one after the other here.  What BLAS takes for itself is not seen.
    """
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        with several(1):
            both = _allocated(plan, arrays)
            usual = np.setbufsize(SMALL_BUFFER)
            try:
                alone = _allocated(plan, arrays)
            finally:
                np.setbufsize(usual)
    finally:
        if not traced:
            tracemalloc.stop()
    return alone, [size if size > own else 0 for size, own in zip(both, alone)]


def _allocated(plan: Plan, arrays: Sequence[Any]) -> list[int]:
    """Bytes of each step in one run; none where it is what Python's small objects take."""
    plan.feed(arrays)
    sizes = []
    try:
        with np.errstate(all="ignore"):
            for step in plan.steps:
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                step()
                sizes.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        plan.loose.clear()
    return [size if size > OWN else 0 for size in sizes]


class _Measured:
    """Rows from what was measured of a plan: for each lap its spans, for each step the memory that it takes."""

    def __init__(
        self, plan: Plan, laps: Sequence[list[Span]], memory: Memory, figures: Machine, product_threads: int
    ) -> None:
        self.plan, self.memory, self.figures, self.product_threads = plan, memory, figures, product_threads
        times: list[list[float]] = [[] for _ in plan.steps]
        lanes: list[set[int]] = [set() for _ in plan.steps]
        for lap in laps:
            for span in lap:
                lanes[span.step].add(span.lane)
                if span.branch is None:
                    times[span.step].append(span.seconds)
        self.seconds = [median(each) for each in times]
        self.threads = [len(each) for each in lanes]
        self.total = sum(self.seconds) or 1.0

    def rows(self) -> tuple[list[Row], list[Row], list[int]]:
        """The nodes, the steps, and the place of each step's node."""
        places: dict[Node, list[int]] = {}
        for i, node in enumerate(self.plan.origin):
            places.setdefault(node, []).append(i)
        number = {node: i for i, node in enumerate(places)}
        nodes = [self._node(node, steps) for node, steps in places.items()]
        steps = [self._step(i, nodes[number[node]]) for i, node in enumerate(self.plan.origin)]
        return nodes, steps, [number[node] for node in self.plan.origin]

    def _node(self, node: Node, steps: Sequence[int]) -> Row:
        seconds, threads = sum(self.seconds[i] for i in steps), max(self.threads[i] for i in steps)
        size = node_bytes(self.plan, node)
        work = None if size is None else (flops(node), size)
        kernel = calls_text(self.plan.steps[i] for i in steps)
        texts = (node_name(node), node.op.name, node.source, kernel, node_shapes(node), node.note)
        figures = self._figures(work, node_dtype(node), threads)
        allocated, buffered = (max(each[i] for i in steps) for each in self.memory)
        return Row(*texts, seconds, seconds / self.total, *figures, allocated, buffered, threads, len(steps))

    def _step(self, i: int, node: Row) -> Row:
        step, threads = self.plan.steps[i], self.threads[i]
        alone = node.count == 1  # all that is known of the node is known of its only step
        shapes, note = (node.shapes, node.note) if alone else (step_shapes(step), "")
        texts = (node.name, node.op, node.layer, step_text(step), shapes, note)
        work = (node.flops, node.bytes) if alone else step_work(step)
        figures = self._figures(work, node_dtype(self.plan.origin[i]), threads)
        allocated, buffered = (each[i] for each in self.memory)
        return Row(*texts, self.seconds[i], self.seconds[i] / self.total, *figures, allocated, buffered, threads, 1)

    def _figures(self, work: Any, dtype: str, threads: int) -> tuple[int | None, int | None, float | None]:
        """Operations, bytes, and the least seconds; None for what is not known."""
        operations, size = work or (None, None)
        if operations is None or size is None:
            return None, None, None
        return operations, size, self.figures.least_seconds(operations, size, dtype, threads, self.product_threads)
