"""The report of `tenun check`: what wrote a file, all that is wrong with it, and how far it gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Finding
from ..executable import Executable
from ..passes.selfcheck import apart

ORDER = ("file", "layer", "lambda", "option", "operator", "dtype", "weights")
TITLES = {
    "file": "the file",
    "layer": "layers that tenun does not know",
    "lambda": "layers of Python code, which is never run",
    "option": "options",
    "operator": "operators",
    "dtype": "dtypes that do not fit, or that tenun does not know",
    "weights": "weights",
}


@dataclass
class Report:
    """What was found out about a file: facts, findings, steps passed; and notes, which are nothing to mend."""

    file: str
    facts: Mapping[str, str]
    findings: list[Finding] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)
    notes: list[Finding] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return not self.findings

    @property
    def needs(self) -> list[str]:
        """What has to be given as custom_objects."""
        keys = [f.detail.get("registered") or f.name for f in self.findings if f.kind == "layer"]
        return list(dict.fromkeys([*keys, *(f.name for f in self.findings if f.kind == "lambda")]))

    def lines(self) -> Iterator[str]:
        """The report as text."""
        for key, value in self.facts.items():
            yield f"{key:<11} {value}"
        for step, text in self.steps.items():
            yield f"{step:<11} {text}"
        for kind in ORDER:
            mine = [f for f in self.findings if f.kind == kind]
            if mine:
                yield f"{TITLES[kind]}:"
                yield from (f"  {line}" for f in mine for line in _told(f))
        if self.notes:
            yield "to know of its dtypes:"
            yield from (f"  {note}" for note in self.notes)
        if self.needs:
            yield f"needs       custom_objects for {', '.join(self.needs)}"
        count = len(self.findings)
        yield "fine" if self.fine else f"{count} thing{'s' if count > 1 else ''} to mend"

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "fine": self.fine,
            "facts": dict(self.facts),
            "steps": self.steps,
            "needs": self.needs,
            "findings": [_record(f) for f in self.findings],
            "notes": [_record(f) for f in self.notes],
        }


def _record(f: Finding) -> dict[str, str]:
    return {"kind": f.kind, "where": f.where, "name": f.name, "text": str(f), "hint": f.hint, **f.detail}


def _told(finding: Finding) -> Iterator[str]:
    first, *rest = str(finding).splitlines()
    yield first
    yield from (f"  {line.strip()}" for line in rest)
    if finding.detail.get("location"):
        yield f"  in the file: {finding.detail['location']}"
    if finding.detail.get("nearest") and finding.kind != "weights":
        yield f"  nearest: {finding.detail['nearest']}"
    if finding.hint and finding.hint not in str(finding):
        yield f"  hint: {finding.hint}"
    yield from (f"    {line}" for line in finding.detail.get("snippet", "").splitlines())


def sample_difference(executable: Executable, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
    """How the outputs for a sample's inputs differ from those that it has; empty where they do not."""
    executable.reset_state()
    found = executable.run(inputs)
    executable.reset_state()
    for name, value in found.items():
        difference = apart(outputs.get(name), value)
        if difference:
            return f"output {name!r}: {difference}"
    return ""
