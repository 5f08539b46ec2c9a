"""The page of results in Markdown, written from the stored results."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .grids.report import LINES, Line
from .job import Experiment, Record, Row, at
from .plots import Results, plots
from .runner import Store, busy

FOLDER = "experiments"  # of the plots, beside the page

INTRODUCTION = """# The report's experiments, run again

Written by `python -m examples.experiments`; the rows are data in `examples/experiments/grids`. In each row that trains,
Keras trains a model and saves it; *its file run here* is that file in tenun, on the whole test set; *trained here* is
the same training by tenun, from the same first weights and the same batches. **Own = Keras** means: macro F1 equal to
four decimals, equal tokens of texts, and losses of the first ten steps within a thousandth; in CNNs within a
hundredth, where a relu or a maximum that flips makes rounding grow step by step.

How far a figure is from the report's (column *off by*) says little: the data are a part of the report's, the epochs
fewer, the seeds others. What has to be equal is own and Keras.

Times are measured apart from that, by `python -m examples.experiments time`: here and in Keras from equal weights, in
one process, in turns of some steps of `fit`, after both have compiled; medians of steps. What `fit` costs once an epoch
is left out; it is more in Keras. Times in parentheses were measured while other programs kept more than a fifth of a
core busy, and tell little. *(quick)* marks rows of `--quick`: a few hundred samples, two epochs.
"""

REPORT = """## The report, line by line

The rows here that are a line's counterparts, those of them that were run, and in how many of these own = Keras.

The absolute figures depend on first weights, the order of samples and numbers of epochs that the report does not state,
and on how much of the data is at hand: `--data` takes the full sets, `cifar10.npz` and `mnist.npz` with
`x_train y_train x_test y_test`.
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
    path.write_text("\n".join([*parts, REPORT, *_lines(experiments, found), ""]), encoding="utf-8")
    return path


def _lines(experiments: Sequence[Experiment], found: dict[str, Any]) -> Iterator[str]:
    """A line of a table for each of the report."""
    lines = [["the report", "here", "run", "own = Keras", ""]]
    titles = {e.name: e.title for e in experiments}
    for part, each in LINES.items():
        lines.append([f"**{part}**", "", "", "", ""])
        for line in each:
            rows = [row for e in experiments for row in counterparts(line, e)]
            names = {row.name for row in rows}
            records = [r for name in line.rows for row, r in found.get(name, ()) if row.name in names]
            judged = [r["agrees"] for r in records if r["agrees"] is not None]
            counts = [f"{len(records)} of {len(rows)}", f"{sum(judged)} of {len(judged)}"] if rows else ["", ""]
            lines.append([line.what, ", ".join(titles[n] for n in line.rows if n in titles), *counts, line.note])
    yield from _markdown(lines)


def counterparts(line: Line, experiment: Experiment) -> list[Row]:
    """The rows of an experiment that are a line of the report."""
    patterns = line.rows.get(experiment.name, ())
    return [row for row in experiment.rows if any(fnmatchcase(row.name, pattern) for pattern in patterns)]


def _overview(experiments: Sequence[Experiment], found: dict[str, Any]) -> Iterator[str]:
    """How many rows agree, and which do not; where training takes longer than in Keras; what it was made with."""
    rows = [(f"{e.title}: {row.name}", record) for e in experiments for row, record in found[e.name]]
    wanted = sum(len(e.rows) for e in experiments)
    judged = [(name, record["agrees"]) for name, record in rows if record["agrees"] is not None]
    quick = sum(record["quick"] for _, record in rows)
    yield f"{len(rows)} of {wanted} rows have been run, {quick} of them quickly; own = Keras in"
    yield f"{sum(ok for _, ok in judged)} of the {len(judged)} rows that compare the two.\n"
    yield from (f"- **not equal**: {name}" for name, ok in judged if not ok)
    for experiment in experiments:
        there = {row.name for row, _ in found[experiment.name]}
        if missing := [row.name for row in experiment.rows if row.name not in there]:
            yield f"- not run: {experiment.title}: {', '.join(missing)}"
    yield from _ratios({name: r["timing"]["ratios"] for name, r in rows if "timing" in r and not busy(r)})
    machines = {_machine(record): None for _, record in rows}
    yield "\n".join(["", *machines, ""])


def _ratios(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """How many times as long a step takes in Keras, by row and engine."""
    ratios = {name: each["own"] for name, each in found.items()}
    if not ratios:
        return
    least, most = min(ratios.values()), max(ratios.values())
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    slower = [name for name, ratio in ratios.items() if ratio < 1]
    yield f"\nA step of training, Keras / here, was measured on a quiet machine in {len(ratios)} rows:"
    yield f"from {least:.2f} to {most:.2f}, {mean:.2f} in the geometric mean; below 1 in {len(slower)}.\n"
    for name in slower:
        beside = f"; {found[name]['numba']:.2f} by the backend numba" if "numba" in found[name] else ""
        yield f"- slower here: {name}, {ratios[name]:.2f}{beside}"


def _machine(record: Record) -> str:
    facts = record.get("timed", record)["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items() if v != "none")
    limits = ", ".join(f"{k}={v}" for k, v in facts["limits"].items())
    return (
        f"Made with {versions}, backend {record['backend']}, {facts['cores']} cores{f' ({limits})' if limits else ''}."
    )


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
    timed = path.startswith(("timing", "engines"))
    return f"({text})" if timed and busy(record) else text


def _off(experiment: Experiment, row: Row, record: Record) -> str:
    """Our figure less the report's first one; nothing of a quick run, which learns little."""
    number, value = re.match(r"\d*\.\d+", row.report), at(record, experiment.against[0])
    return (
        ""
        if number is None or value is None or record["quick"]
        else f"{value * experiment.against[1] - float(number[0]):+.4g}"
    )


def _markdown(lines: list[list[str]]) -> Iterator[str]:
    first, *others = lines
    yield f"| {' | '.join(first)} |"
    yield "|---" * len(first) + "|"
    yield from (f"| {' | '.join(line)} |" for line in others)
