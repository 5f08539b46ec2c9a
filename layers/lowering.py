"""Running lowerings: paths, weights as constants, masks beside values, dtype policies, state.

A `Lowering` builds one graph.  A `Scope` is a layer's view of it: `w.kernel` is the constant of a declared weight,
`w.call(child, x)` applies a sub-layer.  Constants get their data at the end (`Lowering.fill`), when all declarations
are known and can be compared with what a file holds, at once and before anything big is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import LoadError
from ..ir import Builder, Graph, State, Tensor, Var, dtype
from .base import Layer, Weight, as_dtype, flatten, is_float, map_structure

Array = np.ndarray[Any, Any]


class Value(NamedTuple):
    """A value as Keras passes it between layers: with its mask, if it has one."""

    var: Var
    mask: Var | None = None


@dataclass
class Parameter:
    """A declared weight of one layer of the model; `data` is set by who knows the weights."""

    layer: Layer
    path: str
    weight: Weight
    dtype: str
    data: Array | None = None
    var: Var | None = None

    @property
    def name(self) -> str:
        """The name of the graph's constant: `outer/inner/dense.kernel`."""
        return f"{self.path}.{self.weight.name}" if self.path else self.weight.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape


@dataclass
class Lowering:
    """A graph in the making."""

    b: Builder = field(default_factory=lambda: Builder(Graph("model")))
    parameters: dict[Layer, list[Parameter]] = field(default_factory=dict)
    states: dict[str, tuple[Var, Var, Var]] = field(default_factory=dict)  # name: (input, newest value, first)
    forbid_state: str | None = None  # why a stateful layer cannot be here, if so
    _paths: dict[Layer, str] = field(default_factory=dict)
    _derived: dict[Any, Var] = field(default_factory=dict)
    _pending: list[tuple[Var, Callable[[], Array]]] = field(default_factory=list)

    def declare(self, layer: Layer, path: str, types: Sequence[Tensor]) -> None:
        """Enter a layer's weights, at its first call; a shared layer keeps its first path."""
        if layer in self.parameters:
            return
        self.parameters[layer] = [
            Parameter(layer, path, w, w.dtype or layer.variable_dtype) for w in layer.weights(*types)
        ]
        for parameter in self.parameters[layer]:
            if not all(isinstance(d, int) for d in parameter.shape):
                why = "a dimension of the input has to be fixed"
                raise LoadError(f"weight {parameter.name} has the shape {parameter.shape}: {why}", node=path)

    def path_of(self, layer: Layer, path: str) -> str:
        """The path under which a layer was first called."""
        return self._paths.setdefault(layer, path)

    def constant(self, name: str, type: Tensor, data: Callable[[], Array]) -> Var:
        """A constant whose elements are computed at the end."""
        var = self.b.graph.add_constant(None, name, type=type)
        self._pending.append((var, data))
        return var

    def fill(self) -> None:
        """Give all constants their elements; every parameter has its data by now."""
        for var, data in self._pending:
            array = np.ascontiguousarray(data(), dtype=var.tensor.dtype.numpy).reshape(var.tensor.static)
            array = array.view() if array.flags.writeable else array
            array.flags.writeable = False
            assert var.constant is not None
            var.constant.data = array
        self._pending.clear()

    def state(self, name: str, shape: tuple[int, ...], dtype_name: str) -> Var:
        """The current value of a state: the graph's input called `name`, or what an earlier call made of it."""
        if name not in self.states:
            type = Tensor(dtype(dtype_name), shape)
            var = self.b.input(name, type)
            first = self.b.constant(np.zeros(shape, type.dtype.numpy), f"{name}.first")
            self.states[name] = (var, var, first)
        return self.states[name][1]

    def set_state(self, name: str, value: Var) -> None:
        """The value that a state has after the run."""
        var, _, first = self.states[name]
        self.states[name] = (var, value, first)

    def finish(self, outputs: Sequence[Var], names: Sequence[str]) -> Graph:
        """The graph, with its outputs and state."""
        graph = self.b.graph
        made: list[str] = []
        for name in [*names, *self.states]:
            while name in made:
                name += "_1"
            made.append(name)
        graph.set_outputs([*outputs, *(value for _, value, _ in self.states.values())], made)
        graph.state = [State(var, len(outputs) + i, first) for i, (var, _, first) in enumerate(self.states.values())]
        return graph


def parameters_of(cls: type[Layer]) -> frozenset[str]:
    """The names of the arguments that a layer class' `lower` takes."""
    found = inspect.signature(cls.lower).parameters
    return frozenset(found) - {"self", "b", "x", "w"}


class Scope:
    """A layer's place in the model: its path, its weights, and calls of its sub-layers."""

    def __init__(self, lowering: Lowering, layer: Layer, path: str) -> None:
        self._lowering, self._layer, self._path = lowering, layer, path

    @property
    def path(self) -> str:
        return self._path

    @property
    def lowering(self) -> Lowering:
        return self._lowering

    @property
    def b(self) -> Builder:
        return self._lowering.b

    # ---- weights

    def __getattr__(self, name: str) -> Var:
        """The weight called `name`, in the layer's compute dtype."""
        parameter = self.parameter(name)
        if parameter.var is None:
            type = Tensor(dtype(parameter.dtype), parameter.shape)
            parameter.var = self._lowering.constant(parameter.name, type, lambda: _data(parameter))
        return self._cast(parameter.var, parameter.weight)

    def _cast(self, var: Var, weight: Weight) -> Var:
        wanted = weight.autocast and self._layer.autocast and is_float(var)
        return as_dtype(self.b, var, self._layer.compute_dtype) if wanted else var

    def parameter(self, name: str) -> Parameter:
        """The declaration of the weight called `name`."""
        for parameter in self._lowering.parameters.get(self._layer, ()):
            if parameter.weight.name == name:
                return parameter
        raise AttributeError(f"{type(self._layer).__name__} declares no weight {name!r}")

    def derived(
        self, name: str, shape: tuple[int, ...], sources: Sequence[Parameter], make: Callable[..., Array]
    ) -> Var:
        """The constant make(*data of the sources), computed when the model is loaded; a second call shares it."""
        key = (self._path, name, *(p.name for p in sources))
        if key not in self._lowering._derived:
            full = f"{self._path}.{name}" if self._path else name
            type = Tensor(dtype(sources[0].dtype), shape)
            var = self._lowering.constant(full, type, lambda: make(*(_data(p) for p in sources)))
            self._lowering._derived[key] = var
        return self._cast(self._lowering._derived[key], sources[0].weight)

    # ---- sub-layers

    def _where(self, layer: Layer, name: str | None = None) -> str:
        """The path of a sub-layer; a shared one keeps the path of its first call."""
        name = name or layer.name or layer.class_name.lower()
        return self._lowering.path_of(layer, f"{self._path}/{name}" if self._path else name)

    def child(self, layer: Layer, *inputs: Tensor, name: str | None = None) -> Scope:
        """The scope of a sub-layer which the layer lowers itself; declares its weights for inputs of given types."""
        where = self._where(layer, name)
        self._lowering.declare(layer, where, inputs)
        return Scope(self._lowering, layer, where)

    def call(self, layer: Layer, x: Any, **arguments: Any) -> Any:
        """Apply a sub-layer to Values in any structure, as Keras' `Layer.__call__` does: returns Values.

        1. Floating-point inputs are cast to the layer's compute dtype (if it autocasts).
        2. The mask is an argument given by the caller, else (if the only tensors are in x) that attached to x.
        3. The output's mask is what `compute_mask` makes of it.
        """
        where = self._where(layer)
        with self.b.at(where):
            return self._call(layer, where, x, arguments)

    def _call(self, layer: Layer, where: str, x: Any, arguments: dict[str, Any]) -> Any:
        given = arguments.pop("mask", None)
        mask = map_structure(_var if given is not None else _mask, x if given is None else given)
        alone = not any(isinstance(v, Value) for v in flatten(arguments))
        keywords = self._keywords(layer, arguments)
        if "mask" in parameters_of(type(layer)) and (given is not None or alone):
            keywords["mask"] = mask
        own = map_structure(lambda v: self._input(layer, v), x)
        self._lowering.declare(layer, where, [v.tensor for v in flatten(own) if isinstance(v, Var)])
        y = layer.lower(self.b, own, Scope(self._lowering, layer, where), **keywords)
        if any(isinstance(v, Value) for v in flatten(y)):  # a model: its layers have made the masks
            return y
        masks = iter(flatten(layer.compute_mask(self.b, own, mask, y)))
        return map_structure(lambda v: Value(v, next(masks, None)), y)

    def _keywords(self, layer: Layer, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call arguments beside the input and the mask, none of them unknown to the layer."""
        if arguments.pop("training", None):
            raise layer.invalid("a call with training=True is not supported")
        found = {k: map_structure(lambda v: self._input(layer, v), v) for k, v in arguments.items() if v is not None}
        accepted = parameters_of(type(layer))
        for key in found:
            if key not in accepted and "options" not in accepted:
                raise layer.invalid(f"call argument {key!r} is not supported")
        return found

    def _input(self, layer: Layer, value: Any) -> Any:
        """A value as the layer sees it, by its dtype policy; anything but a Value as it is."""
        if not isinstance(value, Value):
            return value
        if (layer.autocast and is_float(value.var)) or layer.needs_float:
            return as_dtype(self.b, value.var, layer.compute_dtype)
        return value.var


def _var(value: Any) -> Any:
    return value.var if isinstance(value, Value) else value


def _mask(value: Any) -> Var | None:
    return value.mask if isinstance(value, Value) else None


def _data(parameter: Parameter) -> Array:
    if parameter.data is None:
        raise LoadError(f"there is no data for the weight {parameter.name}")
    return parameter.data
