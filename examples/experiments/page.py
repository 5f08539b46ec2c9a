"""The page of results in Markdown, written from the stored results."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .job import Experiment, Record, Row, at
from .plots import Results, plots
from .runner import Store

FOLDER = "experiments"  # of the plots, beside the page
BUSY = 0.2  # cores in use by other programs that make a machine a busy one

INTRODUCTION = """# The report's experiments, run again

Written by `python -m examples.experiments`; the rows are data in `examples/experiments/grids`. In each row that trains,
Keras trains a model and saves it; *its file run here* is that file in tenun, on the whole test set; *trained here* is
the same training by tenun, from the same first weights and the same batches. **Own = Keras** means: macro F1 equal to
four decimals, equal tokens of texts, and losses of the first ten steps within a thousandth; in CNNs within a
hundredth, where a relu or a maximum that flips makes rounding grow step by step.

How far a figure is from the report's (column *off by*) says little: the data are a part of the report's, the epochs
fewer, the seeds others. What has to be equal is own and Keras.

Seconds of an epoch are medians without the first epoch, which compiles; those in parentheses were measured while other
programs kept more than a fifth of a core busy, and tell nothing. *(quick)* marks rows of
`--quick`: a few hundred samples, two epochs.
"""

NOT_HERE = """## What of the report is not here

- The absolute figures: they depend on first weights, the order of samples and epochs that the report does not state.
  Its table of losses from equal weights (7.1528 3.6319 .7803 .0477 .0036 …) is here with first weights of Keras' own.
- CIFAR-10 and MNIST in full, where the data given are a part: `--data` takes `cifar10.npz` and `mnist.npz` with
  `x_train y_train x_test y_test`.
- A GPU, the first of the report's wishes: both backends of tenun compute on CPUs. The other two wishes, convolution as
  a product of matrices and backpropagation through RNN and LSTM, are the tables "One CNN, six ways" and "Sentiment".
- The report's first weights "random normal" and "random uniform" have a mean, a variance and bounds of their own; here
  they are Keras' defaults.
"""


def write(experiments: Sequence[Experiment], store: Store, folder: Path) -> Path:
    """Write experiments.md and its plots into a folder; its path."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    found = {e.name: list(store.rows(e)) for e in experiments}
    parts = [INTRODUCTION, *_overview(experiments, found)]
    for experiment in experiments:
        if found[experiment.name]:
            parts.append("\n\n".join(_section(experiment, found[experiment.name], store, folder)) + "\n")
    path = folder / "experiments.md"
    path.write_text("\n".join([*parts, NOT_HERE]), encoding="utf-8")
    return path


def _overview(experiments: Sequence[Experiment], found: dict[str, Any]) -> Iterator[str]:
    """How many rows agree, and which do not; where training takes longer than in Keras; what it was made with."""
    rows = [(f"{e.title}: {row.name}", record) for e in experiments for row, record in found[e.name]]
    wanted = sum(len(e.rows) for e in experiments)
    judged = [(name, record["agrees"]) for name, record in rows if record["agrees"] is not None]
    quick = sum(record["quick"] for _, record in rows)
    yield f"{len(rows)} of {wanted} rows have been run, {quick} of them quickly; own = Keras in"
    yield f"{sum(ok for _, ok in judged)} of the {len(judged)} rows that compare the two.\n"
    yield from (f"- **not equal**: {name}" for name, ok in judged if not ok)
    ratios = {name: r["ratio"] for name, r in rows if "ratio" in r and not busy(r)}
    slower = {name: ratio for name, ratio in ratios.items() if ratio < 1}
    if ratios:
        yield f"An epoch of training, Keras / here, was measured on a quiet machine in {len(ratios)} rows: from "
        yield f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}; below 1 in {len(slower)}.\n"
    yield from (f"- slower here: {name}, {ratio:.2f}" for name, ratio in slower.items())
    machines = {_machine(record): None for _, record in rows}
    yield "\n".join(["", *machines, ""])


def _machine(record: Record) -> str:
    facts = record["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items() if v != "none")
    limits = ", ".join(f"{k}={v}" for k, v in facts["limits"].items())
    return (
        f"Made with {versions}, backend {record['backend']}, {facts['cores']} cores{f' ({limits})' if limits else ''}."
    )


def busy(record: Record) -> bool:
    """Whether other programs ran while a row was measured."""
    return record["others"] is None or record["others"] > BUSY


def _section(experiment: Experiment, results: Results, store: Store, folder: Path) -> Iterator[str]:
    """Title, table, further tables, plots, remarks."""
    yield f"## {experiment.title}\n\n{experiment.about}"
    data = dict.fromkeys(record["data"] for _, record in results)
    seconds = sum({store.path(experiment, row): r["row_seconds"] for row, r in results}.values())
    dates = sorted({record["date"] for _, record in results})
    days = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    yield f"Data: {'; '.join(data)}. It took {seconds / 60:.1f} min, on {days}."
    yield "\n".join(_table(experiment, results))
    for row, record in results:
        if "table" in record:
            lines = [record["table"]["headings"], *record["table"]["rows"]]
            yield f"{row.name}:\n\n" + "\n".join(_markdown([[str(c) for c in line] for line in lines]))
    own = [name for _, record in results for name in record.get("plots", ())]
    for name in own:
        made, wanted = store.folder / FOLDER / name, folder / FOLDER / name
        if made.exists() and made != wanted:
            shutil.copyfile(made, wanted)
    for name in (*plots(experiment, results, folder / FOLDER), *own):
        yield f"![{name.removesuffix('.svg').replace('-', ' ')}]({FOLDER}/{name})"
    if experiment.remarks:
        yield experiment.remarks


def _table(experiment: Experiment, results: Results) -> Iterator[str]:
    """A line for each row; columns that no row fills are left out."""
    judged = any(record["agrees"] is not None for _, record in results)
    reported = any(row.report for row, _ in results)
    columns = [c for c in experiment.columns if any(at(record, c[1]) is not None for _, record in results)]
    headings = ["", *(c[0] for c in columns)]
    headings += ["the report", "off by"] * reported + ["own = Keras"] * judged
    lines = [headings]
    for row, record in results:
        cells = [f"{row.name}{' (quick)' if record['quick'] else ''}", *(cell(record, c[1], c[2]) for c in columns)]
        cells += [row.report, _off(experiment, row, record)] * reported
        cells += [{True: "yes", False: "**no**", None: ""}[record["agrees"]]] * judged
        lines.append(cells)
    yield from _markdown(lines)


def cell(record: Record, path: str, form: str) -> str:
    """A figure as text; in parentheses where it is a time of a busy machine."""
    value = at(record, path)
    if value is None:
        return ""
    text = format(value, form)
    timed = path.startswith(("epoch_seconds", "ratio", "engines", "sklearn.fit"))
    return f"({text})" if timed and busy(record) else text


def _off(experiment: Experiment, row: Row, record: Record) -> str:
    """Our figure less the report's first one."""
    number, value = re.match(r"\d*\.\d+", row.report), at(record, experiment.against[0])
    return "" if number is None or value is None else f"{value * experiment.against[1] - float(number[0]):+.4g}"


def _markdown(lines: list[list[str]]) -> Iterator[str]:
    first, *others = lines
    yield f"| {' | '.join(first)} |"
    yield "|---" * len(first) + "|"
    yield from (f"| {' | '.join(line)} |" for line in others)
