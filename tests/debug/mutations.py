"""Models as tables of layers or of ONNX nodes, and faults: ways to break one thing in a table or in the weights.

A model is a table, so that a fault is a change of the table (an option, a layer removed, two swapped) or of the
weights.  Weights are seeded by the names of their layers: what a fault does not touch stays as it was.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import tenun
from tenun import layers as L  # noqa: N812

if TYPE_CHECKING:
    from onnx import ModelProto

Array = np.ndarray[Any, Any]
Change = Callable[[Array], Array]


@dataclass
class Spec:
    """A row: a layer's name, its class, its options, and what it reads (by default the row before).

    `call`: what it is called with beside its inputs; `weights`: of an ONNX node, shapes (seeded) or arrays by name.
    """

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    call: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


Table = list[Spec]
Weights = dict[str, Array]
Model = Any  # tenun.Model or ModelProto


def row(name: str, kind: str, *reads: str, call: Mapping[str, Any] = {}, **options: Any) -> Spec:
    return Spec(name, kind, options, reads, dict(call))


def node(name: str, kind: str, *reads: str, weights: Mapping[str, Any] = {}, **attributes: Any) -> Spec:
    """A node of an ONNX graph; its weights are its last operands."""
    return Spec(name, kind, attributes, reads, weights=dict(weights))


def reads_of(table: Table, place: int) -> tuple[str, ...]:
    return table[place].reads or ((table[place - 1].name,) if place else ())


# ---- models


def build(table: Table, change: Callable[[Weights], None] | None = None) -> tenun.Model:
    """The model of a table of layers; `change` may change its weights."""
    model = assembled(table, "model")
    found = {p.name: seeded(p.name, p.shape) for p in model.weights}
    if change is not None:
        change(found)
    for parameter in model.weights:
        parameter.assign(found[parameter.name])
    return model


def assembled(table: Table, name: str) -> tenun.Model:
    made: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    inputs = []
    for place, each in enumerate(table):
        if each.kind == "Input":
            made[each.name] = tenun.Input(name=each.name, **each.options)
            inputs.append(made[each.name])
            continue
        values = [made[r] for r in reads_of(table, place)]
        layer = layers[each.name] = layers[each.options["layer"]] if each.kind == "Call" else layer_of(each)
        several = each.kind == "MultiHeadAttention" or len(values) == 1
        made[each.name] = layer(*values, **each.call) if several else layer(values, **each.call)
    return tenun.Model(inputs if len(inputs) > 1 else inputs[0], made[table[-1].name], name=name)


def layer_of(spec: Spec) -> Any:
    if spec.kind == "Model":
        return assembled(spec.options["table"], spec.name)
    options = {key: layer_of(v) if isinstance(v, Spec) else v for key, v in spec.options.items()}
    return getattr(L, spec.kind)(name=spec.name, **options)


def build_onnx(table: Table, change: Callable[[Weights], None] | None = None) -> ModelProto:
    """The ONNX graph of a table of nodes."""
    from onnx import TensorProto, helper, numpy_helper

    found = {
        f"{each.name}.{key}": seeded(f"{each.name}.{key}", given) if isinstance(given, tuple) else given
        for each in table
        for key, given in each.weights.items()
    }
    if change is not None:
        change(found)
    nodes = []
    for place, each in enumerate(table[1:], 1):
        operands = [*reads_of(table, place), *(f"{each.name}.{key}" for key in each.weights)]
        nodes.append(helper.make_node(each.kind, operands, [each.name], each.name, **each.options))
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(table[0].name, TensorProto.FLOAT, table[0].options["shape"])],
        [helper.make_tensor_value_info(table[-1].name, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(data, name) for name, data in found.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="pytorch", ir_version=9)


def seeded(name: str, shape: tuple[int, ...]) -> Array:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith(("variance", "gamma")):
        return generator.uniform(0.3, 1.2, shape).astype(np.float32)
    fan = max(1, int(np.prod(shape[:-1])))
    return (generator.standard_normal(shape) / np.sqrt(fan if len(shape) > 1 else 4)).astype(np.float32)


# ---- faults


@dataclass(frozen=True)
class Fault:
    """A model, what is done to it, the layer to be named (or the two), and the kind of change (or those allowed)."""

    model: str
    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    what: str
    change: Callable[[Table], None] | None = None
    weights: Callable[[Weights], None] | None = None

    def broken(self, models: Mapping[str, Table]) -> Model:
        table = copy.deepcopy(models[self.model])
        if self.change is not None:
            self.change(table)
        return made(table, self.weights)

    def __str__(self) -> str:
        return f"{self.model}-{self.layers[0]}-{self.what}".replace(" ", "_").replace("/", ".")


def made(table: Table, change: Callable[[Weights], None] | None = None) -> Model:
    """The model of a table, of layers or of ONNX nodes."""
    return (build_onnx if any(r.weights for r in table) else build)(table, change)


def find(table: Table, path: str) -> tuple[Table, int]:
    """The table and the place in it of a row: `encoder/dense` is in the table of `encoder`."""
    name, _, rest = path.partition("/")
    place = next(i for i, r in enumerate(table) if r.name == name)
    if not rest:
        return table, place
    options = table[place].options
    return find(options["table"] if "table" in options else [options["layer"]], rest)


def option(model: str, layer: str, named: str = "", kinds: tuple[str, ...] = ("option",), **options: Any) -> Fault:
    def change(table: Table) -> None:
        rows, place = find(table, layer)
        rows[place].options.update(options)

    return Fault(model, (named or layer,), kinds, "=".join(map(str, next(iter(options.items())))), change)


def called(model: str, layer: str, **options: Any) -> Fault:
    """A layer is called with other options."""

    def change(table: Table) -> None:
        rows, place = find(table, layer)
        rows[place].call.update(options)

    return Fault(model, (layer,), ("option",), "=".join(map(str, next(iter(options.items())))), change)


def replaced(model: str, layer: str, kind: str) -> Fault:
    """A layer of another class under the same name."""

    def change(table: Table) -> None:
        rows, place = find(table, layer)
        rows[place].kind = kind

    return Fault(model, (layer,), ("option",), f"is {kind}", change)


def removed(model: str, layer: str) -> Fault:
    def change(table: Table) -> None:
        rows, place = find(table, layer)
        before = reads_of(rows, place)
        after = [list(reads_of(rows, i)) for i in range(len(rows))]
        for each, reads in zip(rows, after):
            if rows[place].name in reads:
                each.reads = tuple(before[0] if name == rows[place].name else name for name in reads)
        del rows[place]

    return Fault(model, (layer,), ("removed",), "removed", change)


def added(model: str, layer: str, after: str, kind: str, **options: Any) -> Fault:
    def change(table: Table) -> None:
        rows, place = find(table, after)
        rows.insert(1 + place, row(layer, kind, **options))

    return Fault(model, (layer,), ("added",), "added", change)


def swapped(model: str, one: str, two: str) -> Fault:
    """Two layers that follow each other change places: one of the two has moved."""

    def change(table: Table) -> None:
        i, j = (next(k for k, r in enumerate(table) if r.name == name) for name in (one, two))
        table[i], table[j] = table[j], table[i]

    return Fault(model, (one,), ("moved",), f"swapped with {two}", change)


def rewired(model: str, layer: str, *reads: str) -> Fault:
    def change(table: Table) -> None:
        rows, place = find(table, layer)
        rows[place].reads = reads

    return Fault(model, (layer,), ("moved",), "rewired", change)


def weights(model: str, layer: str, weight: str, what: str, change: Change, named: str = "") -> Fault:
    def apply(found: Weights) -> None:
        name = f"{layer}.{weight}"
        found[name] = np.asarray(change(found[name]), order="C")

    return Fault(model, (named or layer,), ("weights",), f"{weight} {what}", None, apply)


def exchanged(model: str, one: str, two: str, *named: str) -> Fault:
    """Two weights, `layer.weight` each, change places."""

    def apply(found: Weights) -> None:
        found[one], found[two] = found[two], found[one]

    return Fault(model, named, ("weights",), f"{one} with {two}", None, apply)


def one_element(w: Array) -> Array:
    out = w.copy()
    out.reshape(-1)[w.size // 2] += 0.5
    return out


def noise(w: Array) -> Array:
    return w + 0.05 * np.random.default_rng(5).standard_normal(w.shape).astype(np.float32)


def gates(*order: int) -> Change:
    def change(w: Array) -> Array:
        blocks = np.split(w, len(order), -1)
        return np.concatenate([blocks[i] for i in order], -1)

    return change
