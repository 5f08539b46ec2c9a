"""Runs rows, whatever their job: results that are there already are kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .data import MissingError
from .job import Context, Experiment, Record, Row

LIBRARIES = ("tenun", "numpy", "keras", "tensorflow", "scikit-learn", "onnxruntime")


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


def machine() -> Record:
    """What the figures depend on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    limits = {k: v for k, v in sorted(os.environ.items()) if k.endswith("NUM_THREADS") or k.startswith("TF_NUM")}
    return {"cores": cores(), "system": platform.platform(), "versions": versions, "limits": limits}


def cores() -> int:
    """The cores that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """The seconds that the cores at hand have worked, for whomever; None where there is no /proc/stat."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    times = {
        words[0]: list(map(int, words[1:9])) for line in lines if (words := line.split())[:1] and "cpu" in words[0]
    }
    idle = slice(3, 5)  # idle, and waiting for a disk
    each = (sum(times[f"cpu{n}"]) - sum(times[f"cpu{n}"][idle]) for n in os.sched_getaffinity(0))
    return sum(each) / os.sysconf("SC_CLK_TCK")


class Others:
    """How many cores other programs kept busy since it was made; None where the system does not say."""

    def __init__(self) -> None:
        self._start = self._now()

    def _now(self) -> tuple[float, float, float | None]:
        return time.perf_counter(), time.process_time(), busy_seconds()

    def __call__(self) -> float | None:
        (wall, own, busy), (wall_now, own_now, busy_now) = self._start, self._now()
        if busy is None or busy_now is None:
            return None
        return max(0.0, (busy_now - busy - (own_now - own)) / max(wall_now - wall, 1e-3))


def run(experiments: Sequence[Experiment], store: Store, context: Context, again: bool = False) -> dict[str, str]:
    """Run all rows that have no result yet (or all, again); why rows failed, by name."""
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
            if path not in done and (again or not _is_there(store, experiment, row, context)):
                bars.reset(one, description=name)

                def tick(what: str, share: float, name: str = name) -> None:
                    bars.update(one, description=f"{name} ({what})", completed=share)

                try:
                    store.put(experiment, row, run_row(row, replace(context, tick=tick)))
                except MissingError as error:
                    failed[name] = str(error)
                except Exception as error:  # the other rows can still be run; this one is tried again next time
                    failed[name] = f"{type(error).__name__}: {error}"
            done.add(path)
            bars.advance(whole)
    return failed


def _is_there(store: Store, experiment: Experiment, row: Row, context: Context) -> bool:
    """Whether a result was made with all peers that are asked now, on the same backend."""
    found: Any = store.get(experiment, row)
    return found is not None and context.peers <= set(found["peers"]) and found["backend"] == context.backend


def run_row(row: Row, context: Context) -> Record:
    """The result of a row, with what it was made with and whether it agrees."""
    start, others = time.time(), Others()
    with tempfile.TemporaryDirectory() as folder:
        record = row.job.run(replace(context, folder=Path(folder)))
    about = {
        "name": row.name, "job": repr(row.job), "quick": context.quick, "peers": sorted(context.peers),
        "backend": context.backend, "date": time.strftime("%Y-%m-%d", time.gmtime(start)),
        "row_seconds": time.time() - start, "others": others(), "machine": machine(),
    }  # fmt: skip
    return {**about, "agrees": row.job.agrees(record), **record}
