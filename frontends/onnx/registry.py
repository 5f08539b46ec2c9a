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
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import GraphError, UnsupportedError
from ...ir.graph import Var

Lower = Callable[..., Any]
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Row:
    """An operator as tenun knows it, from opset version `since` on."""

    domain: str
    name: str
    since: int
    lower: Lower
    required: int
    most: int | None  # None: any number
    needed: tuple[int, ...]  # places of inputs that cannot be left out
    attributes: dict[str, Any]
    demanded: frozenset[str]  # attributes that have no default

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


ROWS: dict[tuple[str, str], list[Row]] = {}


def onnx(*names: str, since: int = 1, domain: str = "") -> Callable[[Lower], Lower]:
    """Enter the decorated function into the table, under one or several names."""

    def enter(lower: Lower) -> Lower:
        for name in names:
            _enter(domain, name, since, lower)
        return lower

    return enter


def _enter(domain: str, name: str, since: int, lower: Lower) -> None:
    parameters = list(inspect.signature(lower).parameters.values())[1:]
    inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    row = Row(
        domain=domain,
        name=name,
        since=since,
        lower=lower,
        required=1 if variadic and not inputs else sum(p.default is REQUIRED for p in inputs),
        most=None if variadic else len(inputs),
        needed=tuple(i for i, p in enumerate(inputs) if p.default is REQUIRED and "None" not in str(p.annotation)),
        attributes={p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY},
        demanded=frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is REQUIRED),
    )
    rows = ROWS.setdefault((domain, name), [])
    assert all(r.since != since for r in rows), f"{name} since {since} is entered twice"
    rows.append(row)
    rows.sort(key=lambda r: r.since)


@lru_cache(maxsize=1 << 10)  # the rows are entered before the first model is read
def find(domain: str, name: str, version: int) -> Row | None:
    """The row for an operator in a model of an opset version (upgrades being done), if there is one."""
    version = max([version, *(u.until for u in upgrades(domain, name, version))])
    rows = [r for r in ROWS.get((domain, name), ()) if r.since <= version]
    return rows[-1] if rows else None


REFUSED: dict[tuple[str, str], str] = {}  # operators that have no row, and why


def refuse(domain: str, names: Sequence[str], reason: str) -> None:
    """Enter operators that are known by name only; models with them are refused, the reason being told."""
    REFUSED.update({(domain, name): reason for name in names})


# ---- older versions ------------------------------------------------------------------------------------------

Rewrite = Callable[[Any, list["Var | None"], dict[str, Any]], None]  # changes operands and attributes of a node


@dataclass(frozen=True)
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
    return tuple(u for u in UPGRADES.get((domain, name), ()) if version < u.until)
