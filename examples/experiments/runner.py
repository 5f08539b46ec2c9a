"""Runs rows, whatever their job: results that are there already are kept."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .data import MissingError
from .job import Context, Experiment, Record, Row, Timed
from .machine import Others, machine

BUSY = 0.2  # cores in use by other programs that make a machine a busy one


@dataclass(frozen=True)
class Store:
    """A folder of results: `results/<quick or full>/<experiment>/<hash of the job>.json`."""

    folder: Path
    quick: bool

    def path(self, experiment: Experiment, row: Row) -> Path:
        """Rows with equal jobs share a file."""
        name = hashlib.sha256(repr(row.job).encode()).hexdigest()[:12]
        return self.folder / "results" / ("quick" if self.quick else "full") / experiment.name / f"{name}.json"

    def get(self, experiment: Experiment, row: Row) -> Record | None:
        """The result of a row, if there is one."""
        path = self.path(experiment, row)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def put(self, experiment: Experiment, row: Row, record: Record) -> None:
        """Write it: beside the file first, so that no half of one is ever found."""
        path = self.path(experiment, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(path)

    def rows(self, experiment: Experiment) -> Iterator[tuple[Row, Record]]:
        """The rows that have a result; of a full run that is not finished, else those of a quick one."""
        others = () if self.quick else (replace(self, quick=True),)
        for row in experiment.rows:
            found = next((r for store in (self, *others) if (r := store.get(experiment, row)) is not None), None)
            if found is not None:
                yield row, found


def busy(record: Record) -> bool:
    """Whether other programs ran while the times of a row were measured: apart, or else with the row."""
    others = record.get("timed", record)["others"]
    return others is None or others > BUSY


def run(experiments: Sequence[Experiment], store: Store, context: Context, again: bool = False) -> dict[str, str]:
    """Run all rows that have no result yet (or all, again); why rows failed, by name."""

    def work(experiment: Experiment, row: Row) -> Work | None:
        is_there = not again and _is_there(store, experiment, row, context)
        return None if is_there else partial(run_row, row)

    return _each(experiments, store, context, work)


def measure(experiments: Sequence[Experiment], store: Store, context: Context, again: bool = False) -> dict[str, str]:
    """Measure the times of rows that have a result, but no times of a quiet machine yet (or of all, again)."""

    def work(experiment: Experiment, row: Row) -> Work | None:
        record = store.get(experiment, row)
        if record is None or not isinstance(row.job, Timed):
            return None
        is_there = not again and not busy(record) and _suits(record.get("timed"), context)
        return None if is_there else partial(time_row, row, record)

    return _each(experiments, store, context, work)


Work = Callable[[Context], Record]


def _each(
    experiments: Sequence[Experiment],
    store: Store,
    context: Context,
    work: Callable[[Experiment, Row], Work | None],
) -> dict[str, str]:
    """Put into the store what the work on each row returns; why rows failed, by name."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    failed: dict[str, str] = {}
    todo = [(e, row) for e in experiments for row in e.rows]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    done: set[Path] = set()
    with Progress(*columns) as bars:
        whole, one = bars.add_task("all rows", total=len(todo)), bars.add_task("", total=1.0)
        for experiment, row in todo:
            path, name = store.path(experiment, row), f"{experiment.name}: {row.name}"
            wanted = None if path in done else work(experiment, row)
            if wanted is not None:
                bars.reset(one, description=name)

                def tick(what: str, share: float, name: str = name) -> None:
                    bars.update(one, description=f"{name} ({what})", completed=share)

                try:
                    store.put(experiment, row, wanted(replace(context, tick=tick)))
                except MissingError as error:
                    failed[name] = str(error)
                except Exception as error:  # the other rows can still be run; this one is tried again next time
                    failed[name] = f"{type(error).__name__}: {error}"
            done.add(path)
            bars.advance(whole)
    return failed


def _is_there(store: Store, experiment: Experiment, row: Row, context: Context) -> bool:
    """Whether a result was made with all peers that are asked now, on the same backend."""
    return _suits(store.get(experiment, row), context)


def _suits(found: Any, context: Context) -> bool:
    return found is not None and context.peers <= set(found["peers"]) and found["backend"] == context.backend


def run_row(row: Row, context: Context) -> Record:
    """The result of a row, with what it was made with and whether it agrees."""
    start, others = time.time(), Others()
    with tempfile.TemporaryDirectory() as folder:
        record = row.job.run(replace(context, folder=Path(folder)))
    about = {
        "name": row.name, "job": repr(row.job), "quick": context.quick, "peers": sorted(context.peers),
        "backend": context.backend, "date": _date(start),
        "row_seconds": time.time() - start, "others": others(), "machine": machine(),
    }  # fmt: skip
    return {**about, "agrees": row.job.agrees(record), **record}


def time_row(row: Row, record: Record, context: Context) -> Record:
    """The row's record with its times measured anew, and under which circumstances."""
    with tempfile.TemporaryDirectory() as folder:
        found = row.job.time(replace(context, folder=Path(folder)))
    about = {
        "peers": sorted(context.peers), "backend": context.backend, "date": _date(time.time()),
        "others": found.pop("others"), "machine": machine(),
    }  # fmt: skip
    return {**record, **found, "timed": about}


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
