"""What all jobs share: where they run, and what a row is."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

SEED = 2025
Record = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """Where a row runs: its data, its scratch folder, that of the plots, its peers, and who hears of progress."""

    data: Path | None
    folder: Path
    plots: Path
    quick: bool = False
    peers: frozenset[str] = frozenset({"keras", "sklearn"})
    backend: str = "numpy"
    tick: Callable[[str, float], None] = lambda what, share: None  # what is done, and which part of it is


class Job(Protocol):
    """What is done for a row.  Its repr is its identity: a result is kept as long as the job reads the same."""

    def run(self, context: Context) -> Record:
        """Do it; figures as JSON values."""
        ...

    def agrees(self, record: Record) -> bool | None:
        """Whether own = Keras, or what else the row claims; None where no peer was asked."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A job whose times are measured apart from what it computes, by the command `time`."""

    def time(self, context: Context) -> Record:
        """Figures that take the place of those of the same names in the row's record; and `others`: how many cores
        other programs kept busy meanwhile.
        """
        ...


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, what is done, and the report's figure where there is one."""

    name: str
    job: Any
    report: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table: columns are (heading, where in the record, format); `bars` and `curves` are plotted.

    against: where the figure lies that the report has too, and what it is multiplied with there.
    """

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]
    columns: tuple[tuple[str, str, str], ...]
    bars: tuple[tuple[str, str], ...] = ()  # (label, where in the record)
    curves: bool = False
    remarks: str = ""
    against: tuple[str, float] = ("keras.f1", 1.0)


def at(record: Any, path: str) -> Any:
    """The value at a path such as "keras.loss.-1"; None where there is none."""
    for key in path.split("."):
        try:
            record = record[int(key) if isinstance(record, list) else key]
        except (KeyError, IndexError, TypeError):
            return None
    return record


def keras() -> Any:
    """Keras on TensorFlow, quiet, its seeds fixed, nothing left of the row before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    found = importlib.import_module("keras")
    found.utils.clear_session()
    found.utils.set_random_seed(SEED)
    return found


def relative(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to Keras' figure."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-12), initial=0.0))
