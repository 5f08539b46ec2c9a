"""What every table of Keras objects is checked for: all classes, all names, the same constructor."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from tenun.training.objects import Table


def gaps(keras: Any, table: Table[Any], module: str, base: str) -> dict[str, Any]:
    """How the table differs from Keras' module: classes and names that are missing, constructors that are unlike."""
    found: dict[str, Any] = {}
    public = getattr(keras, module)
    abstract = getattr(public, base)
    classes = {v.__name__: v for v in vars(public).values() if inspect.isclass(v) and v is not abstract}
    found["classes"] = sorted(set(classes) ^ set(table.classes))
    objects = importlib.import_module(f"keras.src.{module}").ALL_OBJECTS_DICT
    found["names"] = sorted(
        name
        for name, cls in objects.items()
        if cls is not abstract and getattr(table.names.get(name), "__name__", None) != cls.__name__
    )
    found["constructors"] = {
        name: (_parameters(table.classes[name]), _parameters(cls))
        for name, cls in classes.items()
        if name in table.classes and _parameters(table.classes[name]) != _parameters(cls)
    }
    return {k: v for k, v in found.items() if v}


def _parameters(cls: type[Any]) -> list[tuple[str, Any]]:
    """Names and defaults; a class without a constructor of its own has none."""
    if cls.__init__ is object.__init__:
        return []
    return [(p.name, p.default) for p in list(inspect.signature(cls.__init__).parameters.values())[1:]]


def round_trip(keras: Any, table: Table[Any], module: str, obj: Any) -> None:
    """Keras reads what the object serialises to, and writes the same; the table reads it back."""
    written = table.serialize(obj)
    live = getattr(keras, module).deserialize(written)
    again = getattr(keras, module).serialize(live)
    assert again == written, (again, written)
    assert table.serialize(table.get(again)) == written
