"""Frozen dataclasses that are made fast.

`dataclasses` writes the source of six methods for a frozen class and compiles it, which takes as long as importing a
small module; dozens of such classes would be much of the time to a first result.  All that a record has written for
itself is `__init__`; the others are the same functions for all records.  It is a dataclass for whoever looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

C = TypeVar("C", bound=type)

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform as dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """What type checkers read (typing.dataclass_transform, from Python 3.11)."""
        return lambda function: function


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: C) -> C:
    """A dataclass whose fields are set once; equal and hashed by them (but those with compare=False), shown with them.

    As frozen dataclasses have it, FrozenInstanceError is raised for later changes.
    """
    made: Any = dataclass(repr=False, eq=False)(cls)
    made.__setattr__, made.__delattr__ = _set_once, _keep
    key = attrgetter(*(f.name for f in fields(made) if f.compare))
    for name, method in (("__eq__", _equal(key)), ("__hash__", lambda self: hash(key(self))), ("__repr__", _shown)):
        if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(made, name, method)
    return made


def _set_once(self: Any, name: str, value: Any) -> None:
    if name in self.__dict__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _keep(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _equal(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: key(self) == key(other) if type(other) is type(self) else NotImplemented


def _shown(self: Any) -> str:
    inside = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({inside})"
