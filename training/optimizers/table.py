"""The table of optimisers, which understands what Keras 2 wrote too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Real
from typing import Any

from ...errors import UnsupportedError
from ...layers.base import snake_case
from ..objects import C, Table
from .base import OPTIONS, Optimizer

_DROPPED = ("jit_compile", "is_legacy_optimizer")  # Keras 2: how it ran, not what it computed


class Optimizers(Table[Optimizer]):
    """The optimisers; class names are found in lower case too, and configs of Keras 2 are understood."""

    def entry(self, *aliases: str) -> Callable[[C], C]:
        """Make a class a dataclass and enter it into the table."""

        def register(cls: C) -> C:
            cls.default_name = snake_case(cls.__name__)
            return super(Optimizers, self).entry(cls.__name__.lower(), *aliases)(cls)

        return register

    def from_config(self, cls: type[Optimizer], config: Mapping[str, Any]) -> Optimizer:
        """An optimiser of a class; UnsupportedError names the keys that it does not know."""
        return super().from_config(cls, modern(cls, config))


def modern(cls: type[Optimizer], config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as Keras 3 writes it.

    Keras 2 called the learning rate `lr` and had a `decay`: lr / (1 + decay * step).  Options that a class does not
    have are dropped where they are off.
    """
    found = {k: v for k, v in config.items() if k not in _DROPPED}
    if "lr" in found:
        found.setdefault("learning_rate", found.pop("lr"))
    decay = found.pop("decay", None)
    if decay:
        rate = found.get("learning_rate", cls.learning_rate)
        if cls.__name__ == "Nadam" or not isinstance(rate, Real):
            why = "it was the speed of the momentum's schedule there" if cls.__name__ == "Nadam" else "with a schedule"
            hint = "leave the key out: Keras 3 has no such option"
            raise UnsupportedError(f"optimizer {cls.__name__}: decay={decay!r} is not supported ({why})", hint=hint)
        inverse = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        found["learning_rate"] = {"class_name": "InverseTimeDecay", "config": inverse}
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    off = [k for k in OPTIONS if k in found and k not in known and found[k] == getattr(Optimizer, k)]
    if "dynamic" not in known and found.get("dynamic") is True:  # the LossScaleOptimizer of Keras 2
        off.append("dynamic")
    return {k: v for k, v in found.items() if k not in off}


OPTIMIZERS = Optimizers("optimizer", "keras.optimizers")
