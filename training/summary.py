"""`Model.summary`: Keras' table of the layers, those inside of nested models indented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ir import Tensor, Var
from ..layers import Layer, Parameter
from ..layers.base import flatten
from ..layers.input import InputLayer
from ..layers.model import Functional, Sequential

if TYPE_CHECKING:
    from .model import Model


class Row(NamedTuple):
    """A layer: name and class, the shape of its output, its number of weights, the layers that it reads."""

    layer: str
    shape: str
    parameters: int
    reads: str


class Totals(NamedTuple):
    """Numbers of elements, and bytes of all weights."""

    trainable: int
    non_trainable: int
    optimizer: int
    size: int


def rows(model: Model) -> list[Row]:
    """A row for each layer, in the order of the calls; a shared layer has one."""
    lowered = model.declared()
    found = [Row(f"{v.name} (InputLayer)", _shape(v), 0, "") for v in lowered.inputs]
    reads = _reads(model.definition)
    declared, seen = model.declared_parameters(), set()
    for path, layer, y in lowered.lowering.applied:
        if layer in seen or isinstance(layer, InputLayer):
            continue
        seen.add(layer)
        depth = path.count("/")
        shapes = ", ".join(_shape(v) for v in flatten(y))
        label = "  " * depth + f"{layer.name} ({layer.class_name})"
        found.append(Row(label, shapes, count(layer, declared), reads.get(layer, "")))
    return found


def count(layer: Layer, declared: Mapping[Layer, list[Parameter]]) -> int:
    """The elements of all weights of a layer and what is inside of it."""
    from .model import walk

    own = (p for each in walk(layer) for p in declared.get(each, ()) if not p.weight.kept)
    return sum(p.data.size for p in own if p.data is not None)


def _shape(value: Any) -> str:
    value = value.var if not isinstance(value, Var) else value
    if not isinstance(value.type, Tensor):
        return str(value.type)
    return "(" + ", ".join(str(d) if isinstance(d, int) else "None" for d in value.type.dims) + ")"


def _reads(definition: Layer) -> dict[Layer, str]:
    """The layers that each layer of a functional model reads, nested models included."""
    found: dict[Layer, str] = {}
    for each in getattr(definition, "layers", ()):
        if isinstance(each, (Functional, Sequential)):
            found.update(_reads(each))
    if isinstance(definition, Functional):
        by_name = {each.name: each for each in definition.layers}
        for call in definition.calls:
            names = [ref.layer for ref in flatten([call.args, call.kwargs]) if hasattr(ref, "layer")]
            layer = by_name[call.layer]
            found[layer] = ", ".join(dict.fromkeys(filter(None, [found.get(layer), *names])))
    return found


def totals(model: Model) -> Totals:
    """The figures below the table."""
    arrays = [(p.trained, p.data) for p in model.weights if p.data is not None]
    slots = model.optimizer.variables.values() if model.settings is not None else ()
    return Totals(
        sum(a.size for trained, a in arrays if trained),
        sum(a.size for trained, a in arrays if not trained),
        sum(a.size for a in slots),
        sum(a.nbytes for _, a in arrays),
    )


def print_summary(model: Model) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    connected = isinstance(model.definition, Functional)
    table = Table(title=f'Model: "{model.name}"', title_justify="left", title_style="bold")
    table.add_column("Layer (type)")
    table.add_column("Output Shape")
    table.add_column("Param #", justify="right")
    if connected:
        table.add_column("Connected to")
    for row in rows(model):
        cells = [row.layer, row.shape, f"{row.parameters:,}", row.reads]
        table.add_row(*cells[: 4 if connected else 3])
    figures = totals(model)
    console = Console()
    console.print(table, highlight=False)
    everything = figures.trainable + figures.non_trainable
    console.print(f" Total params: {everything:,} ({figures.size / 1024:.2f} KB)", highlight=False)
    console.print(f" Trainable params: {figures.trainable:,}", highlight=False)
    console.print(f" Non-trainable params: {figures.non_trainable:,}", highlight=False)
    if figures.optimizer:
        console.print(f" Optimizer params: {figures.optimizer:,}", highlight=False)
