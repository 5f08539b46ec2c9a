"""The table of ONNX operators: one row an operator and meaning.

    @onnx("Gemm", since=7)
    def gemm(b, A, B, C=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
        ...

The signature is the operator's: positional parameters are its inputs (a `Var`, or None where left out, which those may
be that have a default or are annotated so), keyword-only ones its attributes with their defaults.  `b` is a `Lowering`,
the builder of core ops.  Rows of the same name with different `since` are the operator's meanings by opset version: the
newest that is not newer than the model's counts.
A row returns a var for the only output, or a sequence with one entry for each output.

Older forms of an operator that only say the same in another way (an attribute that became an input, a default that
changed) have no row: an upgrade makes a node of such a version one of a newer version, before its row is found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any

from ...errors import GraphError, UnsupportedError
from ...ir.graph import Var
from ...ir.records import record
from ...ir.tables import Table
from .ops import CONTENTS

Lower = Callable[..., Any]
REQUIRED = inspect.Parameter.empty


@record
class Row:
    """An operator as tenun knows it, from opset version `since` on; the signature is read when it is first needed."""

    domain: str
    name: str
    since: int
    lower: Lower

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.lower).parameters.values())[1:]

    @cached_property
    def _inputs(self) -> list[inspect.Parameter]:
        return [p for p in self._parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    @cached_property
    def _variadic(self) -> bool:
        return any(p.kind is p.VAR_POSITIONAL for p in self._parameters)

    @cached_property
    def required(self) -> int:
        """How many inputs there are at least."""
        if self._variadic and not self._inputs:
            return 1
        return sum(p.default is REQUIRED for p in self._inputs)

    @cached_property
    def most(self) -> int | None:
        """How many inputs there are at most; None: any number."""
        return None if self._variadic else len(self._inputs)

    @cached_property
    def needed(self) -> tuple[int, ...]:
        """The places of inputs that cannot be left out."""
        inputs = enumerate(self._inputs)
        return tuple(i for i, p in inputs if p.default is REQUIRED and "None" not in str(p.annotation))

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes with their defaults."""
        return {p.name: p.default for p in self._parameters if p.kind is p.KEYWORD_ONLY}

    @cached_property
    def demanded(self) -> frozenset[str]:
        """The attributes that have no default."""
        return frozenset(name for name, default in self.attributes.items() if default is REQUIRED)

    def __call__(self, b: Any, operands: Sequence[Var | None], attrs: Mapping[str, Any]) -> Any:
        """Lower a node, its operands and attributes being checked against the signature."""
        if not attrs.keys() <= self.attributes.keys():
            unknown = sorted(map(str, attrs.keys() - self.attributes.keys()))
            raise UnsupportedError(
                f"{self.name} has attributes that tenun does not know: {', '.join(unknown)}",
                op=self.name,
                hint=f"it knows {', '.join(self.attributes) or 'none'}; export with another opset",
            )
        if not attrs.keys() >= self.demanded:
            missing = [k for k in self.attributes if k in self.demanded and k not in attrs]
            raise GraphError(f"{self.name} needs the attributes {', '.join(missing)}", op=self.name)
        if self.most is not None and len(operands) > self.most:
            raise GraphError(f"{self.name} takes {self.most} inputs, got {len(operands)}", op=self.name)
        if len(operands) < self.required or any(operands[i] is None for i in self.needed):
            raise GraphError(f"{self.name} needs {self.required} inputs", op=self.name)
        return self.lower(b, *operands, **attrs)


ROWS: Table[tuple[str, str], list[Row]] = Table(
    f"{__package__}.ops",
    dict.fromkeys(file for files in CONTENTS.values() for file in files),
    {(domain, name): (file,) for domain, files in CONTENTS.items() for file in files for name in files[file].split()},
)


def onnx(*names: str, since: int = 1, domain: str = "") -> Callable[[Lower], Lower]:
    """Enter the decorated function into the table, under one or several names."""

    def enter(lower: Lower) -> Lower:
        for name in names:
            _enter(domain, name, since, lower)
        return lower

    return enter


def _enter(domain: str, name: str, since: int, lower: Lower) -> None:
    if not ROWS.has((domain, name)):
        ROWS[domain, name] = []
    rows = ROWS[domain, name]
    assert all(r.since != since for r in rows), f"{name} since {since} is entered twice"
    rows.append(Row(domain, name, since, lower))
    rows.sort(key=lambda r: r.since)


@lru_cache(maxsize=1 << 10)
def find(domain: str, name: str, version: int) -> Row | None:
    """The row for an operator in a model of an opset version (upgrades being done), if there is one."""
    version = max([version, *(u.until for u in upgrades(domain, name, version))])
    rows = [r for r in ROWS.get((domain, name), ()) if r.since <= version]
    return rows[-1] if rows else None


REFUSED: dict[tuple[str, str], str] = {}  # operators that have no row, and why: full once all modules are imported


def refuse(domain: str, names: Sequence[str], reason: str) -> None:
    """Enter operators that are known by name only; models with them are refused, the reason being told."""
    REFUSED.update({(domain, name): reason for name in names})


def refusal(domain: str, name: str) -> str | None:
    """Why an operator has no row, where there is more to say than that."""
    list(ROWS)  # which imports all modules
    return REFUSED.get((domain, name))


# ---- older versions ------------------------------------------------------------------------------------------

Rewrite = Callable[[Any, list["Var | None"], dict[str, Any]], None]  # changes operands and attributes of a node


@record
class Upgrade:
    """How a node of an opset version below `until` becomes one of version `until`."""

    until: int
    rewrite: Rewrite


UPGRADES: dict[tuple[str, str], list[Upgrade]] = {}


def upgrade(names: str, until: int, rewrite: Rewrite, domain: str = "") -> None:
    """Enter an upgrade into the table, under one or several names separated by blanks."""
    for name in names.split():
        entries = UPGRADES.setdefault((domain, name), [])
        entries.append(Upgrade(until, rewrite))
        entries.sort(key=lambda u: u.until)


@lru_cache(maxsize=1 << 10)
def upgrades(domain: str, name: str, version: int) -> tuple[Upgrade, ...]:
    """The upgrades of an operator in a model of an opset version, in the order in which they are done."""
    import_module(f"{__package__}.ops.versions")
    return tuple(u for u in UPGRADES.get((domain, name), ()) if version < u.until)
