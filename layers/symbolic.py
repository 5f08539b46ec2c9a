"""Building functional models: symbolic tensors, which remember the calls of layers that made them.

x = Input((28, 28, 1))
y = Dense(10)(Flatten()(Conv2D(8, 3)(x)))
functional(x, y)                             # the layers.model.Functional which the Keras reader makes too
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from ..errors import GraphError, ShapeError, TenunError
from ..ir import Tensor
from ..ir.types import Type
from .base import Layer, dtype_name, flatten, map_structure, unique_name
from .input import InputLayer
from .lowering import Lowering, Scope, Value
from .model import Call, Functional, Ref, Sequential, arguments
from .operations import Operation
from .order import keras_order
from .whole import input_type


@dataclass(eq=False)
class Record:
    """One call of a layer: its arguments, with symbolic tensors in them."""

    layer: Layer
    args: tuple[Any, ...]
    arguments: dict[str, Any]

    @property
    def needs(self) -> list[SymbolicTensor]:
        """The tensors that the call reads."""
        return _tensors([list(self.args), self.arguments])


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    """An operation of keras.ops as an operator of Python."""

    def apply(self: Any, *others: Any) -> Any:
        args = (*others, self) if swapped else (self, *others)
        return record(Operation(name, {"name": unique_name(name.lower())}), args, {})

    return apply


class SymbolicTensor:
    """A tensor of a model in the making: output number `output` of a recorded call, with its type."""

    def __init__(self, source: Record, output: int, type: Type) -> None:
        self.source, self.output, self.type = source, output, type

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape with the batch, None for what is not fixed."""
        assert isinstance(self.type, Tensor)
        return tuple(d if isinstance(d, int) else None for d in self.type.dims)

    @property
    def dtype(self) -> str:
        """The name of the dtype, as Keras says it."""
        assert isinstance(self.type, Tensor)
        return dtype_name(self.type.dtype)

    def __repr__(self) -> str:
        return f"<symbolic {self.type} of {self.source.layer.name}>"

    __add__, __radd__ = _operator("Add"), _operator("Add", True)
    __sub__, __rsub__ = _operator("Subtract"), _operator("Subtract", True)
    __mul__, __rmul__ = _operator("Multiply"), _operator("Multiply", True)
    __truediv__, __rtruediv__ = _operator("Divide"), _operator("Divide", True)
    __pow__, __matmul__ = _operator("Power"), _operator("Matmul")
    __neg__, __abs__ = _operator("Negative"), _operator("Absolute")
    __lt__, __le__ = _operator("Less"), _operator("LessEqual")
    __gt__, __ge__ = _operator("Greater"), _operator("GreaterEqual")


def Input(  # noqa: N802 - Keras' name
    shape: Any = None, batch_size: int | None = None, dtype: Any = None, name: str | None = None,
    batch_shape: Any = None, sparse: bool = False, ragged: bool = False,
) -> SymbolicTensor:  # fmt: skip
    """The input of a model: shape without the batch (None: any size), or `batch_shape` with it."""
    if batch_shape is None:
        batch_shape = (batch_size, *(shape or ()))
    layer = InputLayer(name=name, batch_shape=list(batch_shape), dtype=dtype or "float32", sparse=sparse, ragged=ragged)
    return SymbolicTensor(Record(layer, (), {}), 0, input_type(layer, {"N"}))


def _tensors(x: Any) -> list[SymbolicTensor]:
    return [leaf for leaf in flatten(x) if isinstance(leaf, SymbolicTensor)]


def record(layer: Layer, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """The outputs of a layer called with symbolic tensors; ShapeError or UnsupportedError where it does not fit."""
    made = Record(layer, args, keywords)
    if not made.needs:
        raise GraphError(
            f"layer {layer.name!r} is called with {[type(a).__name__ for a in args]}",
            node=layer.name,
            hint="layers are called with tenun.Input tensors; to run a layer on arrays, put it into a tenun.Sequential",
        )
    return _numbered(made, _infer(made), count())


def _numbered(made: Record, types: Any, numbers: Iterator[int]) -> Any:
    """Symbolic tensors in place of types, numbered in the order of `flatten`."""
    if isinstance(types, dict):
        tensors = {k: _numbered(made, types[k], numbers) for k in sorted(types)}
        return {k: tensors[k] for k in types}
    if isinstance(types, (list, tuple)):
        return type(types)(_numbered(made, t, numbers) for t in types)
    return SymbolicTensor(made, next(numbers), types)


def _infer(made: Record) -> Any:
    """The types of a call's outputs: what the lowering of this one layer gives."""
    lowering = Lowering()
    values: dict[int, Value] = {}
    for i, tensor in enumerate(made.needs):
        values.setdefault(id(tensor), Value(lowering.b.input(f"x{i}", tensor.type)))

    def value(leaf: Any) -> Any:
        return values[id(leaf)] if isinstance(leaf, SymbolicTensor) else leaf

    call = Call(made.layer.name or "", list(made.args), made.arguments)
    x, more = arguments(made.layer, call)
    scope = Scope(lowering, Sequential(name="", layers=[]), "")
    try:
        y = scope.call(made.layer, map_structure(value, x), **map_structure(value, more))
    except TenunError as error:
        raise error.at(node=made.layer.name) from None
    except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        shapes = ", ".join(str(t.type) for t in made.needs)
        raise ShapeError(f"layer {made.layer.name!r} does not take {shapes}: {error}", node=made.layer.name) from error
    return map_structure(lambda v: v.var.type, y)


# ---- models -----------------------------------------------------------------------------------------------------


def functional(inputs: Any, outputs: Any, name: str | None = None) -> Functional:
    """The model between symbolic inputs and outputs (nested lists and dicts of them).

    GraphError where an output depends on an input that is not among the inputs, or two layers share a name.
    """
    calls = _calls(inputs, outputs)
    layers = list(dict.fromkeys(r.layer for r in calls))
    names = [each.name for each in layers]
    twice = sorted({str(n) for n in names if names.count(n) > 1})
    if twice:
        raise GraphError(f"two layers are called {', '.join(twice)}", hint="give layers distinct names")
    numbers: dict[Record, int] = {}
    for layer in layers:
        numbers.update({r: i for i, r in enumerate(r for r in calls if r.layer is layer)})

    def ref(leaf: Any) -> Any:
        if not isinstance(leaf, SymbolicTensor):
            return leaf
        return Ref(leaf.source.layer.name or "", numbers[leaf.source], leaf.output)

    made = [
        Call(r.layer.name or "", [map_structure(ref, a) for a in r.args], map_structure(ref, r.arguments))
        for r in calls
        if not isinstance(r.layer, InputLayer)
    ]
    ends = map_structure(ref, _listed(inputs)), map_structure(ref, outputs)
    model = Functional(
        name=name or unique_name("functional"), layers=layers, calls=made, input_layers=ends[0], output_layers=ends[1]
    )
    model.layers = keras_order(model)
    return model


def _listed(inputs: Any) -> Any:
    return list(inputs) if isinstance(inputs, tuple) else inputs


def _calls(inputs: Any, outputs: Any) -> list[Record]:
    """The calls between inputs and outputs, each after those it needs; inputs first."""
    given = [t.source for t in _tensors(inputs)]
    if not given or not all(isinstance(r.layer, InputLayer) for r in given):
        raise GraphError("the inputs of a model have to be tenun.Input tensors")
    if not _tensors(outputs):
        raise GraphError("the outputs of a model have to be symbolic tensors")
    order: dict[Record, None] = dict.fromkeys(given)
    stack: list[tuple[Record, Iterator[SymbolicTensor]]] = []
    for end in _tensors(outputs):
        stack.append((end.source, iter(end.source.needs)))
        while stack:
            current, needs = stack[-1]
            following = next((t.source for t in needs if t.source not in order), None)
            if current in order:
                stack.pop()
            elif following is not None:
                stack.append((following, iter(following.needs)))
            else:
                _refuse_stranger(current)
                order[current] = None
                stack.pop()
    return list(order)


def _refuse_stranger(current: Record) -> None:
    if isinstance(current.layer, InputLayer):
        raise GraphError(f"the outputs depend on {current.layer.name!r}, which is not among the model's inputs")


__all__ = ["Input", "SymbolicTensor", "functional", "record"]
