"""A model as a whole graph: inputs with types and names, its layers lowered, outputs with Keras' names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import LoadError, TenunError
from ..ir import Graph, Tensor, Var, dtype, symbol
from .base import Layer, flatten
from .input import InputLayer
from .lowering import Lowering, Scope, Value
from .model import Functional, Ref, Sequential


@dataclass
class Lowered:
    """A lowered model: its inputs, and its outputs (with their masks) by name."""

    lowering: Lowering
    inputs: list[Var]
    outputs: dict[str, Value]

    def graph(self) -> Graph:
        """The graph that computes the outputs; to be called when the weights are there."""
        return self.lowering.finish([v.var for v in self.outputs.values()], list(self.outputs))


def lower_model(model: Layer, lowering: Lowering, training: bool = False) -> Lowered:
    """Lower a whole model, as it acts in inference or in training.

    The structures of inputs and outputs go to the graph's metadata.
    """
    model = model.expanded
    if not isinstance(model, (Functional, Sequential)):
        raise LoadError(f"the file holds a {model.class_name}, not a model")
    graph = lowering.b.graph
    graph.name = model.name or "model"
    sources, refs = model_inputs(model)
    used: set[str] = {"N"}
    inputs = [lowering.b.input(s.name or f"input_{i}", input_type(s, used)) for i, s in enumerate(sources)]
    scope = Scope(lowering, model, "", training)
    lowering.declare(model, "", [v.tensor for v in inputs])
    x: Any = inputs if isinstance(model, Functional) else inputs[0]
    y = model.lower(lowering.b, x, scope)
    names = _output_names(model, y)
    outputs: dict[str, Value] = {}
    structure = _named(_single(y), iter(names), outputs)
    graph.metadata["input_structure"] = _ref_names(_single(refs))
    graph.metadata["output_structure"] = structure
    return Lowered(lowering, inputs, outputs)


def declare_model(model: Layer) -> Lowered:
    """A model in a live lowering, as it acts in training, for its interface and weights.

    As in inference (without seeds) where it cannot be trained: what it computes is known all the same.
    """
    try:
        return lower_model(model, Lowering(live=True), training=True)
    except TenunError:
        return lower_model(model, Lowering(live=True))


def model_inputs(model: Any) -> tuple[list[InputLayer], Any]:
    """The input layers of a model in order, and the structure in which Keras takes them."""
    if isinstance(model, Functional):
        return model.inputs, model.input_layers
    first = model.layers[0] if model.layers else None
    if isinstance(first, InputLayer):
        return [first], Ref(first.name or "")
    if isinstance(first, (Functional, Sequential)):
        return model_inputs(first)
    raise LoadError(
        f"the Sequential model {model.name!r} does not know its input shape",
        hint="call model.build(shape) or add keras.Input before saving",
    )


AXES = {2: "T", 3: "TC", 4: "HWC", 5: "DHWC"}


def input_type(source: InputLayer, used: set[str]) -> Tensor:
    """The type of an input: an unknown batch is N, other unknown dimensions get names of their own."""
    shape = source.batch_shape
    if shape is None:
        raise LoadError(f"input {source.name!r} has no shape", node=source.name)
    names = AXES.get(len(shape), "")
    dims: list[Any] = []
    for i, size in enumerate(shape):
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            dims.append(size)
        elif size is None:
            dims.append(symbol("N") if i == 0 else _fresh(names[i - 1] if i <= len(names) else f"A{i}", used))
        else:
            raise LoadError(f"input {source.name!r} has the dimension {size!r}", node=source.name)
    return Tensor(dtype(source.dtype or "float32"), tuple(dims))


def _fresh(name: str, used: set[str]) -> Any:
    base, i = name, 1
    while name in used:
        name, i = f"{base}_{i}", i + 1
    used.add(name)
    return symbol(name)


def _single(x: Any) -> Any:
    """A list of one is its element, as in Keras (unpack_singleton)."""
    return x[0] if isinstance(x, list) and len(x) == 1 else x


def _output_names(model: Any, y: Any) -> list[str]:
    """A name for each output leaf: that of the layer it comes from, as Keras' output_names."""
    if isinstance(model, Functional):
        return [ref.layer for ref in _in_order(model.output_layers)]
    last = model.layers[-1]
    return [last.name or "output"] * len(flatten(y))


def _in_order(x: Any) -> Iterator[Any]:
    """Leaves in the order in which they are written (`flatten` sorts dicts)."""
    if isinstance(x, dict):
        for v in x.values():
            yield from _in_order(v)
    elif isinstance(x, list):
        for v in x:
            yield from _in_order(v)
    else:
        yield x


def _named(y: Any, names: Iterator[str], outputs: dict[str, Value]) -> Any:
    """y with a distinct name in place of every leaf; the leaves go to `outputs`."""
    if isinstance(y, dict):
        return {k: _named(v, names, outputs) for k, v in y.items()}
    if isinstance(y, Value):
        base = name = next(names)
        i = 1
        while name in outputs:
            name, i = f"{base}_{i}", i + 1
        outputs[name] = y
        return name
    return [_named(v, names, outputs) for v in y]


def _ref_names(refs: Any) -> Any:
    if isinstance(refs, Ref):
        return refs.layer
    if isinstance(refs, dict):
        return {k: _ref_names(v) for k, v in refs.items()}
    return [_ref_names(v) for v in refs]
