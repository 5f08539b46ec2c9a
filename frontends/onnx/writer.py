"""Writing ONNX: a graph becomes a `ModelProto`.

    1. the inputs; then every node, by its row in `write/`; then the outputs, which keep their names
    2. all other values get names: the graph's own where they have some, else that of the layer they come from
    3. protobufs are made of what was written

States (of a stateful RNN, seeds) become inputs, whose initialisers are their first values, and outputs; the property
`tenun.state` of the file tells which belong together.  Weights stay one to one, if need be transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...errors import GraphError, TenunError, UnsupportedError
from ...files import write_atomically
from ...ir.graph import Graph, Var
from ...passes.manager import Context, optimize
from .emitter import Emitter, Item, Scope, Written
from .properties import DECLARED, set_fields, written
from .protos import proto_of_type
from .write import write_node

DEFAULT_OPSET = 17
OLDEST_OPSET = 13  # axes are inputs from here on
EXTERNAL_BYTES = 2**31 - 2**20  # a protobuf holds 2 GiB at most

Evaluate = Callable[..., tuple[Any, ...]]


def write(
    graph: Graph, path: str | Path, *, opset: int = DEFAULT_OPSET, external_data: bool | None = None,
    evaluate: Evaluate | None = None,
) -> None:  # fmt: skip
    """Put a graph into an `.onnx` file, whole or not at all.

    opset: the version of the operators, 13 to the newest that the package onnx knows.  external_data: weights into a
    file beside it, called `<name>.data`; by default where the model is too large for one file.  evaluate: computes
    nodes whose operands are constants (a backend's), so that weights stand in the file as ONNX wants them.
    UnsupportedError names what ONNX cannot express.
    """
    model = proto_of_graph(graph, opset=opset, evaluate=evaluate)
    outside = model.ByteSize() > EXTERNAL_BYTES if external_data is None else external_data
    if outside:
        beside = Path(path).with_name(Path(path).name + ".data")
        write_atomically(beside, _outsourced(model, beside.name))
    write_atomically(path, model.SerializeToString())


def proto_of_graph(graph: Graph, *, opset: int = DEFAULT_OPSET, evaluate: Evaluate | None = None) -> ModelProto:
    """The graph as a ModelProto, see `write`."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UnsupportedError(f"cannot write opset {opset}", hint=f"choose {OLDEST_OPSET} to {newest}")
    if evaluate is not None:
        graph = optimize(graph, ("fold", "dce"), Context(evaluate))
    w = Emitter(graph.name, opset)
    firsts = {s.input: s.first for s in graph.state}
    for var in graph.inputs:
        item = Item(var.type, var.name, fixed=var.name)
        w.scope.inputs.append(item)
        w.scope.present.add(item)
    w.bind(graph, w.scope.inputs)
    for node in graph.nodes:
        write_node(w, node)
    for name, var in zip(_output_names(graph), graph.outputs):
        item = w.result(w.values[var])
        item.fixed = item.hint = name
        w.scope.outputs.append(item)
    return _Protos(w, graph, firsts).model()


def _output_names(graph: Graph) -> list[str]:
    """The names of the outputs; a state that comes in under the same name has `.next` after it."""
    taken = {v.name for v in graph.inputs}
    return [f"{name}.next" if name in taken else name for name in graph.output_names]


def _with_ranks(model: ModelProto, declared: dict[str, list[Any]]) -> ModelProto:
    """ONNX wants the rank of every output: what is not known here, its own inference or the model's source may know."""
    unknown = [o for o in model.graph.output if o.type.HasField("tensor_type") and not _has_shape(o)]
    if not unknown:
        return model
    small = model.ByteSize() < EXTERNAL_BYTES
    inferred = {o.name: o for o in onnx.shape_inference.infer_shapes(model).graph.output} if small else {}
    for output in unknown:
        if output.name in inferred and _has_shape(inferred[output.name]):
            output.type.CopyFrom(inferred[output.name].type)
        elif output.name in declared:
            kind = helper.make_tensor_type_proto(output.type.tensor_type.elem_type, declared[output.name])
            output.type.CopyFrom(kind)
    return model


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape")


def _outsourced(model: ModelProto, location: str) -> bytes:
    """Take the weights out of the model; the bytes that belong into the file at `location`."""
    parts, offset = [], 0
    for tensor in model.graph.initializer:
        if tensor.HasField("raw_data") and len(tensor.raw_data) >= 1024:
            raw = tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", offset), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            padded = raw + bytes(-len(raw) % 4096)  # pages, so that readers can map it
            parts.append(padded)
            offset += len(padded)
    return b"".join(parts)


@dataclass
class _Protos:
    """Makes protobufs of what an emitter wrote."""

    w: Emitter
    graph: Graph
    firsts: dict[Var, Var]
    names: dict[Item, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    node_names: set[str] = field(default_factory=set)

    def model(self) -> ModelProto:
        main = self.w.scope
        self._choose_names(main)
        proto = self._graph(main, self.graph)
        for var, first in self.firsts.items():
            assert first.data is not None
            proto.initializer.append(tensor_of(first.data, var.name))
        for item in self.w.initializers:
            assert item.data is not None
            proto.initializer.append(tensor_of(item.data, self.names[item]))
        opsets = [helper.make_opsetid("", self.w.opset)]
        opsets += [helper.make_opsetid(name, version) for name, version in self.w.domains.items()]
        model = helper.make_model(proto, opset_imports=opsets, producer_name="tenun")
        model.ir_version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        names = _output_names(self.graph)
        helper.set_model_props(model, written(self.graph, {s.input.name: names[s.output] for s in self.graph.state}))
        set_fields(model, self.graph)
        return _with_ranks(model, self.graph.metadata.get(DECLARED, {}))

    # ---- names

    def _choose_names(self, main: Scope) -> None:
        items = dict.fromkeys([*self._items(main), *self.w.initializers])
        for item in items:
            if item.fixed is not None:
                self.names[item] = item.fixed
        self.taken = set(self.names.values())
        for item in items:
            if item not in self.names:
                self.names[item] = self._free(item.hint or "value")

    def _items(self, scope: Scope) -> Iterator[Item]:
        yield from scope.inputs
        yield from scope.outputs
        for node in scope.nodes:
            for value in node.attributes.values():
                if isinstance(value, Scope):
                    yield from self._items(value)
            for item in node.outputs:
                item.hint = item.hint or node.source or node.op_type.lower()
                yield item

    def _free(self, base: str) -> str:
        name, i = base, 1
        while name in self.taken:
            name, i = f"{base}_{i}", i + 1
        self.taken.add(name)
        return name

    def _node_name(self, node: Written) -> str:
        name = base = node.source or node.op_type
        if name in self.node_names:
            name = base = f"{base}/{node.op_type}" if node.source else base
        i = 1
        while name in self.node_names:
            name, i = f"{base}_{i}", i + 1
        self.node_names.add(name)
        return name

    # ---- protobufs

    def _graph(self, scope: Scope, graph: Graph | None) -> GraphProto:
        proto = GraphProto(name=scope.name or "graph")
        types = [v.type for v in graph.inputs] if graph is not None else [i.type for i in scope.inputs]
        for item, kind in zip(scope.inputs, types):
            proto.input.append(helper.make_value_info(self.names[item], proto_of_type(kind)))
        results = [v.type for v in graph.outputs] if graph is not None else [i.type for i in scope.outputs]
        for item, kind in zip(scope.outputs, results):
            proto.output.append(helper.make_value_info(self.names[item], proto_of_type(kind)))
        proto.node.extend(self._node(node) for node in scope.nodes)
        return proto

    def _node(self, node: Written) -> NodeProto:
        inputs = ["" if item is None else self._read(item, node) for item in node.inputs]
        proto = NodeProto(op_type=node.op_type, domain=node.domain, name=self._node_name(node), input=inputs)
        proto.output.extend(self.names[item] for item in node.outputs)
        for key, value in node.attributes.items():
            value = self._graph(value, None) if isinstance(value, Scope) else _plain(value)
            proto.attribute.append(helper.make_attribute(key, value))
        return proto

    def _read(self, item: Item, node: Written) -> str:
        if item not in self.names:
            raise GraphError(f"an input of {node.op_type} was never written", node=node.source or None)
        return self.names[item]


def _plain(value: Any) -> Any:
    """An attribute's value as `make_attribute` takes it."""
    if isinstance(value, np.ndarray):
        return tensor_of(value, "")
    if isinstance(value, bool):
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def tensor_of(array: np.ndarray[Any, Any], name: str) -> TensorProto:
    """An array as a TensorProto; strings as UTF-8."""
    if array.dtype == object:
        flat = [str(v).encode() for v in array.reshape(-1)]
        return helper.make_tensor(name, TensorProto.STRING, array.shape, flat)  # type: ignore[arg-type]
    try:
        return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
    except (KeyError, TypeError, ValueError) as error:
        raise TenunError(f"constant {name!r} of {array.dtype} cannot be written: {error}") from None


__all__ = ["DEFAULT_OPSET", "OLDEST_OPSET", "proto_of_graph", "tensor_of", "write"]
