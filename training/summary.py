"""`Model.summary`: Keras' table of the layers, on request those inside of nested models, indented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ir import Tensor, Var
from ..layers import Layer, Parameter
from ..layers.base import flatten
from ..layers.input import InputLayer
from ..layers.model import Functional, Sequential

if TYPE_CHECKING:
    from .model import Model

ALL_COLUMNS = ("Layer (type)", "Output Shape", "Param #", "Trainable", "Connected to")


class Row(NamedTuple):
    """A layer: name and class, how many models it is in, the shape of its output, its number of weights, whether they
    are trained (`-`: it has none), the layers that it reads."""

    layer: str
    depth: int
    shape: str
    parameters: int
    trained: str
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
    found = [Row(f"{v.name} (InputLayer)", 0, _shape(v), 0, "-", "") for v in lowered.inputs]
    reads = _reads(model.definition)
    declared, seen = model.declared_parameters(), set()
    for path, layer, y in lowered.lowering.applied:
        if layer in seen or isinstance(layer, InputLayer):
            continue
        seen.add(layer)
        shapes = ", ".join(_shape(v) for v in flatten(y))
        elements = count(layer, declared)
        trained = "-" if not elements else "Y" if layer.trainable else "N"
        label = f"{layer.name} ({layer.class_name})"
        found.append(Row(label, path.count("/"), shapes, elements, trained, reads.get(layer, "")))
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


def print_summary(
    model: Model,
    line_length: int | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
) -> None:
    """Print the table; arguments as `Model.summary`'s."""
    from rich.console import Console
    from rich.table import Table

    columns = {"Layer (type)": "left", "Output Shape": "left", "Param #": "right"}
    columns |= {"Trainable": "center"} if show_trainable else {}
    columns |= {"Connected to": "left"} if isinstance(model.definition, Functional) else {}
    table = Table(title=f'Model: "{model.name}"', title_justify="left", title_style="bold")
    for name, side in columns.items():
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for row in rows(model):
        if row.depth and not expand_nested:
            continue
        cells = ["  " * row.depth + row.layer, row.shape, f"{row.parameters:,}", row.trained, row.reads]
        table.add_row(*(cell for name, cell in zip(ALL_COLUMNS, cells) if name in columns))
    console = Console(width=line_length, highlight=False)
    with console.capture() as captured:
        console.print(table)
        for line in _lines(totals(model)):
            console.print(line)
    if print_fn is not None:
        print_fn(captured.get())
    else:
        console.file.write(captured.get())


def _lines(figures: Totals) -> Iterator[str]:
    """What stands below the table."""
    everything = figures.trainable + figures.non_trainable
    yield f" Total params: {everything:,} ({figures.size / 1024:.2f} KB)"
    yield f" Trainable params: {figures.trainable:,}"
    yield f" Non-trainable params: {figures.non_trainable:,}"
    if figures.optimizer:
        yield f" Optimizer params: {figures.optimizer:,}"
