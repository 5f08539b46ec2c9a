"""Figures as flat records, kept in a JSON file; peers are compared within one measurement only."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OURS = "tenun"  # what ratios are to
PACKAGES = ("numpy", "numba", "keras", "tensorflow-cpu", "onnxruntime", "onnx", "scikit-learn")

# what is measured: heading, unit, decimals
SECTIONS: dict[str, tuple[str, str, int]] = {
    "latency": ("A call of a warm engine", "ms", 2),
    "first call": ("From the start of a fresh process to the first result", "s", 2),
    "memory": ("Peak memory of a fresh process, over the interpreter with NumPy", "MB", 0),
    "plan": ("tenun's plan", "MB", 2),
    "training": ("A step of training", "ms", 2),
    "node suite": ("All cases loaded, compiled and run once", "ms", 0),
    "training memory": ("Peak memory of a process that trains", "MB", 1),
}


@dataclass(frozen=True)
class Record:
    """One figure (in its section's unit, with quartiles where there are several runs), or a note why there is none.

    `threads`: what all peers were told to use; 0: their own default.
    """

    section: str
    model: str
    batch: int
    threads: int
    peer: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    difference: float | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What is measured."""
        return self.section, self.model, self.batch, self.threads, self.peer


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


@dataclass
class Results:
    """Records by what they measure, in the order in which they came."""

    records: dict[tuple[str, str, int, int, str], Record] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Take records in."""
        self.records |= {record.key: record for record in records}

    def replace(self, records: Iterable[Record]) -> None:
        """Take in a measurement: it takes the place of an earlier one of the same things, peers that are in that one
        only included, for figures of two runs make no ratio.
        """
        new = {record.key: record for record in records}
        again = {key[:4] for key in new}
        self.records = {key: record for key, record in self.records.items() if key[:4] not in again} | new

    def select(self, **values: Any) -> Iterator[Record]:
        """The records whose fields are these."""
        for record in self.records.values():
            if all(getattr(record, name) == value for name, value in values.items()):
                yield record

    def values(self, name: str, **values: Any) -> list[Any]:
        """What a field is in the records whose other fields are these, each value once."""
        return list(dict.fromkeys(getattr(record, name) for record in self.select(**values)))

    def value(self, section: str, model: str, batch: int, threads: int, peer: str) -> float | None:
        """One figure, if there is one."""
        record = self.records.get((section, model, batch, threads, peer))
        return record.value if record else None

    def ratio(self, section: str, model: str, batch: int, threads: int, peer: str, ours: str) -> float | None:
        """A peer's figure as a multiple of ours, if there are both."""
        theirs, own = (self.value(section, model, batch, threads, name) for name in (peer, ours))
        return theirs / own if theirs is not None and own else None

    @classmethod
    def read(cls, path: Path) -> Results:
        """The records of a file; none where it is not there."""
        results = cls()
        if path.exists():
            results.add(Record(**fields) for fields in json.loads(path.read_text())["records"])
        return results

    def write(self, path: Path) -> None:
        """All records as JSON."""
        content = {"machine": machine(), "records": [asdict(record) for record in self.records.values()]}
        path.write_text(json.dumps(content, indent=1) + "\n")
