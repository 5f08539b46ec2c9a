"""Models as data: a layer is its name and arguments, a model a sequence of layers, for Keras and tenun alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, init=False, repr=False)
class L:
    """A layer: `L("Conv2D", 32, 3, padding="same")`; arguments may be layers too, as a wrapper's are."""

    name: str
    args: tuple[Any, ...]
    more: dict[str, Any] = field(hash=False)

    def __init__(self, name: str, /, *args: Any, **more: Any) -> None:
        for key, value in {"name": name, "args": args, "more": more}.items():
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        arguments = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.more.items())]
        return f"{self.name}({', '.join(arguments)})"


def make(library: Any, layer: Any) -> Any:
    """The layer of `library` (keras or tenun) that an L describes; what is no L stays as it is."""
    if not isinstance(layer, L):
        return layer
    more = {k: make(library, v) for k, v in layer.more.items()}
    return getattr(library.layers, layer.name)(*(make(library, a) for a in layer.args), **more)


def sequential(library: Any, shape: Sequence[int | None], dtype: str, layers: Sequence[Any]) -> Any:
    """A Sequential of `library` for inputs of a shape and dtype; layers may be Ls or layers."""
    return library.Sequential([library.Input(tuple(shape), dtype=dtype), *(make(library, each) for each in layers)])


def cnn(*blocks: Sequence[int], kernel: int = 3, pooling: str = "MaxPooling2D", dense: int = 64) -> tuple[L, ...]:
    """Blocks of convolutions (their numbers of filters), each with a pooling, then two dense layers: 10 classes."""
    layers: list[L] = []
    for block in blocks:
        layers += [L("Conv2D", filters, kernel, padding="same", activation="relu") for filters in block]
        layers.append(L(pooling, 2))
    return (*layers, L("Flatten"), L("Dense", dense, activation="relu"), L("Dense", 10, activation="softmax"))


def recurrent(cell: str, *units: int, both: bool = False, mask: bool = False, words: int = 2000) -> tuple[L, ...]:
    """Embedding, one recurrent layer for each number of cells, Dense: three classes."""
    layers = [L("Embedding", words, 32, mask_zero=mask)]
    for number, cells in enumerate(units, 1):
        layer = L(cell, cells, return_sequences=number < len(units))
        layers.append(L("Bidirectional", layer) if both else layer)
    return (*layers, L("Dense", 3, activation="softmax"))


def mlp(*units: int, activation: str = "relu", **more: Any) -> tuple[L, ...]:
    """Dense layers with these numbers of units, all with `more`, and one for 10 classes; its last layer is plain."""
    hidden = (L("Dense", n, activation=activation, **more) for n in units)
    return (*hidden, L("Dense", 10, activation="softmax"))
