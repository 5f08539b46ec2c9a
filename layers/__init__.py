"""Keras' layers: config, weights and lowering to core ops, one class each.  `LAYERS` is the table by Keras' names.

`base.CONTENTS` says which file has which; it is imported when a layer of its is asked for.
"""

from typing import Any

from .base import CONTENTS, LAYERS, Layer, Weight, layer
from .lowering import Lowering, Parameter, Scope, Value

__all__ = ["LAYERS", "Layer", "Lowering", "Parameter", "Scope", "Value", "Weight", "layer"]
__all__ += [name for names in CONTENTS.values() for name in names.split()]


def __getattr__(name: str) -> Any:
    """A layer by Keras' name for it."""
    if name not in LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = LAYERS[name]
    return LAYERS[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
