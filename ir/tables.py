"""Tables of which no more is imported than is asked for.

Ops, kernels, layers and operators have rows by the hundred, in files by family, and a model needs a few of them: a
file is imported when a row of its is looked up, all of them when a table is walked through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")


class Table(MutableMapping[K, V]):
    """Rows by name, which modules enter while they are imported.

    `homes`: the modules of `package` that may have a row, by its name; they are imported in turn until one has it.
    `modules`: all of them.
    """

    def __init__(self, package: str, modules: Iterable[str], homes: Mapping[K, Sequence[str]]) -> None:
        self._rows: dict[K, V] = {}
        self._package, self._modules, self.homes = package, tuple(modules), homes

    def _import(self, module: str) -> None:
        import_module(f"{self._package}.{module}")

    def _all(self) -> dict[K, V]:
        for module in self._modules:
            self._import(module)
        return self._rows

    def __getitem__(self, key: K) -> V:
        if key not in self._rows:
            for module in self.homes.get(key, ()):
                self._import(module)
                if key in self._rows:
                    break
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows or self.get(cast("K", key)) is not None

    def __setitem__(self, key: K, row: V) -> None:
        self._rows[key] = row

    def __delitem__(self, key: K) -> None:
        del self._rows[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def has(self, key: K) -> bool:
        """Whether a module that is imported has entered the row: no other is imported to find it."""
        return key in self._rows


def contents(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """A table of contents, the names in each module separated by blanks, the other way round: name -> modules."""
    return {name: (module,) for module, names in table.items() for name in names.split()}
