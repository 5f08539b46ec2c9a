"""Keras objects: dataclasses whose fields are Keras' config keys, found by name, written back as Keras writes them.

LOSSES = Table[Loss]("loss", "keras.losses")

@LOSSES.entry("mse", "MSE")
class MeanSquaredError(Loss):
    ...

LOSSES.get("mse"), LOSSES.get({"class_name": "MeanSquaredError", "config": {}}), LOSSES.get(MeanSquaredError())
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import UnsupportedError
from ..layers.base import snake_case

T = TypeVar("T")
C = TypeVar("C", bound="type[Any]")


def config_of(obj: Any) -> dict[str, Any]:
    """The fields of a dataclass as a config, nested objects serialised."""
    return {f.name: serialized(getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.init}


def serialized(value: Any) -> Any:
    """A value as Keras writes it into JSON."""
    table = getattr(type(value), "table", None)
    if isinstance(table, Table):
        return table.serialize(value)
    if isinstance(value, (list, tuple)):
        return [serialized(v) for v in value]
    if isinstance(value, Mapping):
        return {k: serialized(v) for k, v in value.items()}
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


class Table(Generic[T]):
    """All objects of a kind, by Keras' class name, by its snake_case form, and by short names."""

    def __init__(self, what: str, module: str) -> None:
        self.what, self.module = what, module
        self.classes: dict[str, type[T]] = {}  # by class name
        self.names: dict[str, type[T]] = {}  # by any name

    def entry(self, *aliases: str) -> Callable[[C], C]:
        """Make a class a dataclass and enter it into the table."""

        def register(cls: C) -> C:
            made: Any = dataclasses.dataclass(eq=False)(cls)
            made.table = self
            self.classes[made.__name__] = made
            for name in (made.__name__, snake_case(made.__name__), *aliases):
                assert name not in self.names or self.names[name] is made, f"{self.what} {name} is there twice"
                self.names[name] = made
            return made

        return register

    def get(self, identifier: Any) -> T:
        """The object that a name, a class, a serialised dict or an object stands for.

        UnsupportedError, listing the names there are, for anything else; a function is left to the caller.
        """
        if isinstance(identifier, type) and identifier in self.classes.values():
            return identifier()  # type: ignore[no-any-return]
        if isinstance(getattr(type(identifier), "table", None), Table):
            return identifier  # type: ignore[no-any-return]
        if isinstance(identifier, Mapping):
            return self._deserialized(identifier)
        if isinstance(identifier, str) and identifier.rpartition(">")[2] in self.names:
            return self.names[identifier.rpartition(">")[2]]()
        raise self.unknown(identifier)

    def _deserialized(self, data: Mapping[str, Any]) -> T:
        name, config = data.get("class_name"), data.get("config")
        if name == "function" and isinstance(config, str):
            return self.get(config)
        cls = self.names.get(str(name))
        if cls is None or not isinstance(config, Mapping):
            raise self.unknown(name)
        return self.from_config(cls, config)

    def from_config(self, cls: type[T], config: Mapping[str, Any]) -> T:
        """An object of a class; UnsupportedError names the keys that it does not know."""
        fields = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
        wrong = sorted(k for k, v in config.items() if k not in fields and v is not None)
        if wrong:
            raise UnsupportedError(f"{self.what} {cls.__name__}: {', '.join(wrong)} not supported", op=cls.__name__)
        return cls(**{k: v for k, v in config.items() if k in fields})

    def serialize(self, obj: T) -> dict[str, Any]:
        """The object as Keras writes it."""
        name = type(obj).__name__
        return {"module": self.module, "class_name": name, "config": config_of(obj), "registered_name": None}

    def unknown(self, identifier: Any, more: Iterable[str] = ()) -> UnsupportedError:
        """The error for what is not in the table."""
        known = ", ".join(sorted({*self.classes, *more}))
        return UnsupportedError(f"no {self.what} is called {identifier!r}", hint=f"{self.what}s: {known}")
