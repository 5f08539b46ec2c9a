"""Models as layers: Functional and Sequential.  So nesting, sharing and TimeDistributed(model) need nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import LoadError
from ..ir import Builder, Var
from .base import Layer, as_dtype, flatten, layer, map_structure
from .input import InputLayer
from .lowering import Value

if TYPE_CHECKING:
    from .lowering import Scope


class Ref(NamedTuple):
    """A tensor of a functional model: output number `output` of the `call`-th call of a layer."""

    layer: str
    call: int = 0
    output: int = 0


class Call(NamedTuple):
    """One call of a layer: its arguments, in which tensors are Refs."""

    layer: str
    args: list[Any]
    kwargs: dict[str, Any]


def arguments(layer: Layer, call: Call) -> tuple[Any, dict[str, Any]]:
    """The input of a call, and its other arguments by name."""
    if isinstance(layer, Operator):
        return {"args": call.args, "kwargs": call.kwargs}, {}
    if not call.args:
        raise LoadError(f"a call of layer {call.layer!r} has no input", node=call.layer)
    x, *more = call.args
    if len(more) > len(layer.call_arguments):
        raise layer.invalid(f"a call has {len(call.args)} positional arguments")
    return x, {**dict(zip(layer.call_arguments, more)), **call.kwargs}


class Operator(Layer):
    """A function of tensors among the layers of a model (keras.ops): takes all arguments, {"args", "kwargs"}, as x."""

    autocast: ClassVar[bool] = False


@layer
class Functional(Layer):
    """A graph of layers.  `input_layers` and `output_layers` are nested lists and dicts of Refs."""

    layers: list[Layer]
    calls: list[Call]
    input_layers: Any
    output_layers: Any
    autocast: ClassVar[bool] = False

    def children(self) -> Iterator[tuple[str, Any]]:
        yield "layers", [each for each in self.layers if not isinstance(each, Operator)]

    @property
    def inputs(self) -> list[InputLayer]:
        """The input layers in order."""
        by_name = {each.name: each for each in self.layers}
        found = [by_name.get(ref.layer) for ref in _leaves(self.input_layers)]
        if not all(isinstance(each, InputLayer) for each in found):
            raise self.invalid("an input of the model is no InputLayer")
        return found  # type: ignore[return-value]

    def lower(self, b: Builder, x: Any, w: Scope, mask: Any = None) -> Any:
        given, masks = flatten(x), flatten(mask)
        if len(given) != len(self.inputs):
            raise self.invalid(f"takes {len(self.inputs)} inputs, got {len(given)}")
        values: dict[Ref, Value] = {}
        for i, (source, var) in enumerate(zip(self.inputs, given)):
            values[Ref(source.name or "")] = Value(_as_input(b, var, source), masks[i] if i < len(masks) else None)
        self._run(w, values)
        return _look_up(self.output_layers, values)

    def _run(self, w: Scope, values: dict[Ref, Value]) -> None:
        """Make every call once its inputs are there, in the model's order where that allows."""
        by_name = {each.name: each for each in self.layers}
        numbers: dict[str, int] = {}
        pending = []
        for call in self.calls:
            pending.append((call, numbers.setdefault(call.layer, 0), _leaves([call.args, call.kwargs])))
            numbers[call.layer] += 1
        while pending:
            waiting = []
            for call, number, needs in pending:
                if any(ref not in values for ref in needs):
                    waiting.append((call, number, needs))
                    continue
                each = by_name.get(call.layer)
                if each is None:
                    raise LoadError(f"the model calls a layer {call.layer!r} that it does not have")
                x, more = arguments(each, call)
                # In training all layers do, whatever the calls say: Keras writes training=False where nobody did.
                if w.training or each.trains_by_default:
                    more.pop("training", None)
                y = w.call(each, _look_up(x, values), **_look_up(more, values))
                for index, value in enumerate(flatten(y)):
                    values[Ref(call.layer, number, index)] = value
            if len(waiting) == len(pending):
                names = ", ".join(sorted({call.layer for call, *_ in waiting}))
                raise LoadError(f"the model has a cycle or a dangling input; these layers cannot be called: {names}")
            pending = waiting


def _leaves(x: Any) -> list[Ref]:
    return [leaf for leaf in flatten(x) if isinstance(leaf, Ref)]


def _look_up(x: Any, values: dict[Ref, Value]) -> Any:
    def value(leaf: Any) -> Any:
        if isinstance(leaf, Ref) and leaf not in values:
            raise LoadError(
                f"the model refers to output {leaf.output} of call {leaf.call} of {leaf.layer!r}: there is none"
            )
        return values[leaf] if isinstance(leaf, Ref) else leaf

    return map_structure(value, x)


def _as_input(b: Builder, x: Var, source: InputLayer) -> Var:
    """Inputs of a model are cast to the dtype of its input layer."""
    return as_dtype(b, x, source.dtype or "float32")


@layer
class Sequential(Layer):
    """Layers one after the other; the first may be an InputLayer."""

    layers: list[Layer]
    build_input_shape: Any = None
    autocast: ClassVar[bool] = False

    def children(self) -> Iterator[tuple[str, Any]]:
        yield "layers", [each for each in self.layers if not isinstance(each, InputLayer)]

    def lower(self, b: Builder, x: Any, w: Scope, mask: Any = None) -> Any:
        if isinstance(x, (list, tuple)) and len(x) == 1:
            x, mask = x[0], mask[0] if isinstance(mask, (list, tuple)) else mask
        value: Any = map_structure(Value, x) if isinstance(x, (list, tuple)) else Value(x, mask)
        for each in self.layers:
            if isinstance(each, InputLayer):
                value = Value(_as_input(b, value.var, each), value.mask)
            else:
                value = w.call(each, value)
        return value
