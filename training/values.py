"""Models among Values: weights as Values that share the layers' arrays, graphs of inference as parts of expressions.

model = tenun.Sequential([tenun.Input((784,)), tenun.layers.Dense(10)])
for x, y in batches:
    loss = -(model(tenun.Value(x)).log_softmax() * y).sum(-1).mean()
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= 0.1 * p.grad
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from ..errors import UnsupportedError
from ..ir import Graph
from ..layers import Layer, Lowering, Parameter
from ..layers.whole import lower_model
from ..value import Value, apply

if TYPE_CHECKING:
    from .model import Model

Array = np.ndarray[Any, Any]

# The Values of each layer's weights by name, with their arrays: models that share a layer share them.
_VALUES: WeakKeyDictionary[Layer, dict[str, tuple[Array, Value]]] = WeakKeyDictionary()


def value_of(p: Parameter) -> Value:
    """The Value of a trained weight: it lives in the weight's array, and is made anew where that is another one."""
    assert p.data is not None
    known = _VALUES.setdefault(p.layer, {})
    array, value = known.get(p.weight.name, (None, None))
    if value is None or array is not p.data:
        value = Value.shared(p.data, True, p.name, _moves_on(p.layer))
        known[p.weight.name] = p.data, value
    return value


def _moves_on(layer: Layer) -> Callable[[], None]:
    """What tells a layer that its weights may change; it does not keep the layer alive."""
    alive = ref(layer)

    def touched() -> None:
        owner = alive()
        if owner is not None:
            owner.version += 1

    return touched


@dataclass(frozen=True)
class Recorded:
    """A model's graph of inference: weights of trainable layers are inputs, those of frozen ones constants."""

    graph: Graph
    outputs: int  # how many of the graph's outputs are the model's
    weights: dict[str, Parameter]  # by name
    frozen: frozenset[Layer]
    version: int

    @classmethod
    def of(cls, model: Model) -> Recorded:
        """The graph of a model as it is now; UnsupportedError where it keeps states from call to call."""
        weights = {p.name: p for each in model.declared_parameters().values() for p in each}
        lowering = Lowering(live=True)
        lowered = lower_model(model.definition, lowering)
        graph = lowered.graph()
        lowering.fill(copy=True)  # expressions mean the elements of now
        live = {v.name for v in graph.inputs} - {v.name for v in lowered.inputs}
        states = ", ".join(sorted(live - set(weights)))
        if states:
            why = f"the model keeps states ({states}), so it cannot be part of an expression"
            raise UnsupportedError(why, node=model.name, hint="call it on arrays, or build it with stateful=False")
        frozen = frozenset(p.layer for name, p in weights.items() if name not in live)
        return cls(graph, len(lowered.outputs), weights, frozen, _version(frozen))

    @property
    def stale(self) -> bool:
        """Whether constants have changed."""
        return self.version != _version(self.frozen)


def _version(layers: frozenset[Layer]) -> int:
    return sum(layer.version for layer in layers)


def applied(model: Model, x: Any) -> Any:
    """The model on Values, as in inference: Values in the model's own structure, differentiable in its weights."""
    if model.recorded is None or model.recorded.stale:
        model.recorded = Recorded.of(model)
    found, given = model.recorded, model.named(x)
    for name in (v.name for v in found.graph.inputs if v.name not in given):
        p = found.weights[name]
        given[name] = value_of(p) if p.trained else p.data
    outputs = apply(found.graph, *(given[v.name] for v in found.graph.inputs))
    return model.packed(dict(zip(found.graph.output_names, outputs[: found.outputs])))
