"""Running lowerings: paths, weights as constants or states, masks beside values, dtype policies.

A `Lowering` builds one graph.  A `Scope` is a layer's view of it: `w.kernel` is the value of a declared weight,
`w.call(child, x)` applies a sub-layer.  Weights are constants, which get their data at the end (`Lowering.fill`), when
all declarations are known and can be compared with what a file holds, at once and before anything big is read.  In
a `live` lowering (that of a model in training) the weights of trainable layers are states instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import LoadError
from ..ir import Builder, Graph, Tensor, Var, dtype
from ..ir.states import States
from .base import Layer, Weight, as_dtype, flatten, is_float, map_structure
from .seed import next_seed

Array = np.ndarray[Any, Any]


class Value(NamedTuple):
    """A value as Keras passes it between layers: with its mask, if it has one."""

    var: Var
    mask: Var | None = None


@dataclass
class Parameter:
    """A declared weight of one layer, under the path that the layer has in a model; its data lives on the layer."""

    layer: Layer
    path: str
    weight: Weight
    dtype: str
    trained: bool = True  # the weight is trainable, and so are the layer and all around it

    @property
    def name(self) -> str:
        """The name in the graph: `outer/inner/dense.kernel`."""
        return f"{self.path}.{self.weight.name}" if self.path else self.weight.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def data(self) -> Array | None:
        """The elements, once somebody has given them to the layer."""
        return self.layer.values.get(self.weight.name)

    @data.setter
    def data(self, value: Array) -> None:
        self.layer.values[self.weight.name] = value
        self.layer.version += 1

    @property
    def type(self) -> Tensor:
        return Tensor(dtype(self.dtype), self.shape)

    @property
    def trainable(self) -> bool:
        """Whether training changes it by its gradient."""
        return self.trained

    def numpy(self) -> Array:
        """The elements (a copy)."""
        return np.array(self.data)

    def assign(self, value: Any) -> None:
        """Change the elements in place; LoadError where the shape is another."""
        array, own = np.asarray(value), self.data
        if array.shape != self.shape:
            raise LoadError(f"weight {self.name} has the shape {self.shape}, given is {array.shape}", node=self.path)
        if own is None or not own.flags.writeable or own.dtype != self.type.dtype.numpy:
            self.data = np.array(array, self.type.dtype.numpy, order="C")
        else:
            np.copyto(own, array, casting="unsafe")
            self.layer.version += 1


def needed(parameter: Parameter) -> bool:
    """Whether a file has to hold the parameter; it need not hold a seed."""
    return parameter.weight.stored and not parameter.weight.kept


class Activity(NamedTuple):
    """An output of a layer that has an activity regulariser; None where it is not at hand, within an op.

    `steps`: how many axes after the first one are steps, each of which is an output of its own.
    """

    layer: Layer
    output: Var | None
    steps: int = 0


@dataclass
class Lowering:
    """A graph in the making.

    `applied` lists the calls of layers: path, layer, and what it gave; `activities` what regularisers need for the
    loss.
    """

    b: Builder = field(default_factory=lambda: Builder(Graph("model")))
    live: bool = False
    parameters: dict[Layer, list[Parameter]] = field(default_factory=dict)
    applied: list[tuple[str, Layer, Any]] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    forbid_state: str | None = None  # why a stateful layer cannot be here, if so
    _paths: dict[Layer, str] = field(default_factory=dict)
    _constants: dict[str, tuple[Var, Parameter]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = States(self.b)

    def declare(self, layer: Layer, path: str, types: Sequence[Tensor], trainable: bool = True) -> None:
        """Enter a layer's weights, at its first call; a shared layer keeps its first path."""
        if layer in self.parameters:
            return
        self.parameters[layer] = [
            Parameter(layer, path, w, w.dtype or layer.variable_dtype, w.trainable and trainable)
            for w in layer.weights(*types)
        ]
        for parameter in self.parameters[layer]:
            if not all(isinstance(d, int) for d in parameter.shape):
                why = "a dimension of the input has to be fixed"
                raise LoadError(f"weight {parameter.name} has the shape {parameter.shape}: {why}", node=path)

    def path_of(self, layer: Layer, path: str) -> str:
        """The path under which a layer was first called."""
        return self._paths.setdefault(layer, path)

    def value(self, parameter: Parameter, live: bool) -> Var:
        """The newest value of a weight: of a state, or a constant whose elements come at the end."""
        name = parameter.name
        if name in self.states:
            return self.states.read(name, None)
        if name not in self._constants:
            first = f"{name}.first" if live else name
            self._constants[name] = (self.b.graph.add_constant(None, first, type=parameter.type), parameter)
        var = self._constants[name][0]
        return self.states.declare(name, var) if live else var

    def fill(self, copy: bool = False) -> None:
        """Give all constants their elements, which every parameter has by now; a copy of them where asked to."""
        for var, parameter in self._constants.values():
            if parameter.data is None and not needed(parameter):
                parameter.data = parameter.weight.initializer(parameter.shape, parameter.dtype, np.random.default_rng())
            if parameter.data is None:
                raise LoadError(f"there is no data for the weight {parameter.name}")
            array = np.array(parameter.data, var.tensor.dtype.numpy, order="C", copy=copy or None)
            array = array.reshape(var.tensor.static).view()
            array.flags.writeable = False
            assert var.constant is not None
            var.constant.data = array

    def state(self, name: str, shape: tuple[int, ...], dtype_name: str) -> Var:
        """The current value of a state that starts with zeros: an input, or what an earlier call made of it."""
        return self.states.read(name, np.zeros(shape, dtype(dtype_name).numpy))

    def finish(self, outputs: Sequence[Var], names: Sequence[str]) -> Graph:
        """The graph, with its outputs and state."""
        return self.states.finish(outputs, names)


def parameters_of(cls: type[Layer]) -> frozenset[str]:
    """The names of the arguments that a layer class' `lower` takes."""
    found = inspect.signature(cls.lower).parameters
    return frozenset(found) - {"self", "b", "x", "w"}


class Scope:
    """A layer's place in the model: its path, its weights, and calls of its sub-layers.

    `training`: whether the layer acts as in training; `trainable`: whether it and all layers around it are.
    """

    def __init__(
        self, lowering: Lowering, layer: Layer, path: str, training: bool = False, trainable: bool = True
    ) -> None:
        self._lowering, self._layer, self._path = lowering, layer, path
        self.training, self.trainable = training, trainable and layer.trainable

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
        live = self._lowering.live and self.trainable
        var = self._lowering.value(parameter, live or parameter.weight.kept)
        wanted = parameter.weight.autocast and self._layer.autocast and is_float(var)
        return as_dtype(self.b, var, self._layer.compute_dtype) if wanted else var

    def parameter(self, name: str) -> Parameter:
        """The declaration of the weight called `name`."""
        for parameter in self._lowering.parameters.get(self._layer, ()):
            if parameter.weight.name == name:
                return parameter
        raise AttributeError(f"{type(self._layer).__name__} declares no weight {name!r}")

    def assign(self, name: str, value: Var) -> None:
        """Give a weight a new value, from now on and after the run; without effect where it is a constant."""
        parameter = self.parameter(name)
        if parameter.name in self._lowering.states:
            self._lowering.states.write(parameter.name, as_dtype(self.b, value, parameter.dtype))

    def random_seed(self) -> Var:
        """A seed u32[2] for one random op of this layer; the next call gives another one."""
        return next_seed(self)

    # ---- sub-layers

    def _where(self, layer: Layer, name: str | None = None) -> str:
        """The path of a sub-layer; a shared one keeps the path of its first call."""
        name = name or layer.name or layer.class_name.lower()
        return self._lowering.path_of(layer, f"{self._path}/{name}" if self._path else name)

    def child(self, layer: Layer, *inputs: Tensor, name: str | None = None) -> Scope:
        """The scope of a sub-layer which the layer lowers itself; declares its weights for inputs of given types."""
        where = self._where(layer, name)
        self._lowering.declare(layer, where, inputs, self.trainable and layer.trainable)
        return Scope(self._lowering, layer, where, self.training, self.trainable)

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
        given, training = arguments.pop("mask", None), arguments.pop("training", None)
        mask = map_structure(_var if given is not None else _mask, x if given is None else given)
        alone = not any(isinstance(v, Value) for v in flatten(arguments))
        keywords = {**_masks(layer, {layer.first_argument: x, **arguments}), **self._keywords(layer, arguments)}
        if "mask" in parameters_of(type(layer)) and (given is not None or alone):
            keywords["mask"] = mask
        own = map_structure(lambda v: self._input(layer, v), x)
        types = [v.tensor for v in flatten(own) if isinstance(v, Var)]
        self._lowering.declare(layer, where, types, self.trainable and layer.trainable)
        scope = Scope(
            self._lowering, layer, where, self.training if training is None else bool(training), self.trainable
        )
        place = len(self._lowering.applied)
        y = layer.lower(self.b, own, scope, **keywords)
        self._lowering.applied.insert(place, (where, layer, map_structure(_var, y)))
        if layer.activity is not None:
            self._lowering.activities += [Activity(layer, _var(v)) for v in flatten(y)]
        if any(isinstance(v, Value) for v in flatten(y)):  # a model: its layers have made the masks
            return y
        masks = iter(flatten(layer.compute_mask(self.b, own, mask, y)))
        return map_structure(lambda v: Value(v, next(masks, None)), y)

    def _keywords(self, layer: Layer, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call arguments beside the input and the mask, none of them unknown to the layer."""
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


def _masks(layer: Layer, values: dict[str, Any]) -> dict[str, Any]:
    """Masks of arguments that the layer takes as arguments of their own: `query_mask` of `query`."""
    wanted = parameters_of(type(layer))
    found = {f"{name}_mask": _mask(value) for name, value in values.items() if f"{name}_mask" in wanted}
    return {name: mask for name, mask in found.items() if mask is not None}


def _mask(value: Any) -> Var | None:
    return value.mask if isinstance(value, Value) else None
