"""`tenun demo`: the whole way from a saved Keras model to predictions, shown step by step."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from .. import api
from ..debug.draw import draw
from ..debug.memory import memory_of
from ..debug.summary import memory_text
from ..executable import Executable
from ..ir.graph import Graph

HERE = Path(__file__).parent
HEAD, TAIL = 6, 3  # lines of a graph's nodes that are shown
ROUNDS = 9

Array = np.ndarray[Any, Any]


def run_demo(out: str | None, console: Any) -> bool:
    """Show both models; whether each one's macro F1 is Keras' to four decimals."""
    start = perf_counter()
    folder = drawings_folder(out)
    records = json.loads((HERE / "demo.json").read_text(encoding="utf-8"))["models"]
    agreed = [show_model(record, folder, console) for record in records]
    console.rule(style="dim")
    verdict = "the same macro F1 as Keras to four decimals" if all(agreed) else "macro F1 DIFFERS from Keras'"
    console.print(f"{len(agreed)} models, {verdict}, {perf_counter() - start:.1f} s in all", style="bold")
    return all(agreed)


def drawings_folder(out: str | None) -> Path:
    """The folder asked for, else `tenun-demo` here, else (where one may not write) a temporary one."""
    folder = Path(out if out is not None else "tenun-demo")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        if out is not None:
            raise
        folder = Path(tempfile.mkdtemp(prefix="tenun-demo-"))
    return folder


def show_model(record: dict[str, Any], folder: Path, console: Any) -> bool:
    """Load, compile, run and measure one model."""
    console.rule(f"{record['title']}: {record['file']}", align="left")
    graph, load_seconds = timed(lambda: api.load(HERE / record["file"]))
    executable, compile_seconds = timed(lambda: api.compile(graph))
    show_graph(console, f"As loaded ({1e3 * load_seconds:.0f} ms)", graph)
    show_graph(console, f"After the passes ({1e3 * compile_seconds:.0f} ms)", executable.optimized)
    console.print(pass_table(executable))
    samples, labels = test_set(record["inputs"])
    agreed = show_figures(console, record, executable, samples, labels)
    console.print(f"memory for one sample: {memory_text(memory_of(executable.plan(samples[:1])))}")
    target = folder / f"{graph.name}.svg"
    draw(executable.optimized, target)
    console.print(f"drawn graph:           {target}\n")
    return agreed


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the seconds it takes."""
    start = perf_counter()
    result = call()
    return result, perf_counter() - start


# ---- the graph


def show_graph(console: Any, title: str, graph: Graph) -> None:
    """The first and the last nodes, one a line, cut to the width of the screen."""
    lines = [line for line in str(graph).splitlines() if line.startswith("  %")]
    console.print(f"{title}: {len(graph)} nodes, {len(graph.constants)} constants", style="bold")
    for line in shortened(lines):
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    console.print()


def shortened(lines: list[str]) -> Iterator[str]:
    """The first and the last lines, with a note of what lies between."""
    hidden = len(lines) - HEAD - TAIL
    if hidden <= 1:
        yield from lines
        return
    yield from lines[:HEAD]
    yield f"  ... {hidden} more lines"
    yield from lines[-TAIL:]


def pass_table(executable: Executable) -> Any:
    """What each pass did: changes, milliseconds, nodes that are left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("pass")
    for heading in ("changes", "ms", "nodes"):
        table.add_column(heading, justify="right")
    for record in executable.records:
        table.add_row(record.name, str(record.changes), f"{1e3 * record.seconds:.2f}", str(record.nodes))
    return table


# ---- figures


def test_set(inputs: dict[str, Any]) -> tuple[Array, Array]:
    """Samples as the model wants them, and their labels."""
    with np.load(HERE / inputs["file"], allow_pickle=False) as archive:
        raw, labels = archive[inputs["samples"]], archive[inputs["labels"]]
    samples = raw.astype(inputs["dtype"]) / np.asarray(inputs["divide_by"], inputs["dtype"])
    return samples.reshape(-1, *inputs["shape"]), labels


def accuracy_of(labels: Array, predicted: Array) -> float:
    """The share of right predictions."""
    return float(np.mean(labels == predicted))


def macro_f1(labels: Array, predicted: Array) -> float:
    """The mean over the classes of 2·hits / (true + predicted), a class that nobody names counting 0."""
    scores = []
    for c in np.union1d(labels, predicted):
        hits = np.count_nonzero((labels == c) & (predicted == c))
        scores.append(2 * hits / (np.count_nonzero(labels == c) + np.count_nonzero(predicted == c)))
    return float(np.mean(scores))


def show_figures(console: Any, record: dict[str, Any], executable: Executable, samples: Array, labels: Array) -> bool:
    """Accuracy and macro F1 beside Keras', and time per sample; whether the F1 agree to four decimals."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    probabilities = executable(samples)
    predicted = probabilities.argmax(axis=1)
    keras, f1 = record["keras"], macro_f1(labels, predicted)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(f"{len(samples)} test samples")
    for heading in ("tenun", f"Keras {keras['version']} (when trained)"):
        table.add_column(heading, justify="right")
    table.add_row("accuracy", f"{accuracy_of(labels, predicted):.4f}", f"{keras['accuracy']:.4f}")
    table.add_row("macro F1", f"{f1:.4f}", f"{keras['macro_f1']:.4f}")
    console.print(table)
    first = np.asarray(record["probabilities"])
    gap = float(np.max(np.abs(probabilities[: len(first)] - first)))
    console.print(f"largest difference:    {gap:.1e} of a probability, on the first {len(first)} samples")
    for count in (len(samples), 1):
        seconds = seconds_per_sample(executable, samples[:count])
        console.print(f"time per sample:       {1e6 * seconds:.1f} µs, {count} at a time (median of {ROUNDS} runs)")
    return round(f1, 4) == round(float(keras["macro_f1"]), 4)


def seconds_per_sample(executable: Executable, samples: Array) -> float:
    """The median over several runs."""
    return median(timed(lambda: executable(samples))[1] for _ in range(ROUNDS)) / len(samples)
