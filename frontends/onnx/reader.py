"""Reading ONNX: a path, bytes or a `ModelProto` becomes a graph.

    1. the protobuf is parsed and looked over: opsets, functions, depth, operators that nobody knows (all at once)
    2. inputs, initialisers and nodes are lowered, in an order that respects their edges
    3. what the model declares of its outputs is compared with what inference found

Initialisers that are inputs too (IR version 3 lists them so) are constants: no caller may override them.  Anything
wrong with a model is a TenunError naming file and node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ...errors import GraphError, LoadError, ShapeError, TenunError, UnsupportedError
from ...ir import dims
from ...ir.graph import Graph, Var
from ...ir.types import Optional, Tensor, Type
from .custom import HINT, Function, Key, checked
from .functions import fixed_body, schema_with_function
from .large import without_elements
from .lowering import Lowering, Model, drop_unused_constants, label, plain
from .messages import FunctionProto, GraphProto, ModelProto, NodeProto
from .properties import declared_states, keep_declared, metadata, set_states
from .protos import subgraphs, type_of_proto
from .registry import ROWS, find, refusal

DEPTH_LIMIT = 32  # of subgraphs in subgraphs
CALL_LIMIT = 64  # of functions calling functions
KNOWN_OPSET = 22  # of the oldest onnx that tenun takes: only newer models ask which one is there


def read(model: Any, custom_ops: Mapping[Any, Any] | None = None) -> Graph:
    """The graph of an ONNX model: path, bytes or ModelProto; `custom_ops`: see `custom`.

    LoadError, UnsupportedError, GraphError or ShapeError where that cannot be, naming file and node.
    """
    file = str(model) if isinstance(model, (str, Path)) else None
    try:
        proto = model if isinstance(model, ModelProto) else _parsed(model, file)
        return _read(proto, file, checked(custom_ops))
    except TenunError as error:
        raise error.at(file=file) from None
    except RecursionError:
        raise GraphError("the model is nested too deep", file=file) from None
    except Exception as error:  # protobuf gives damaged text as bytes, among other surprises
        text = f"the model is damaged: {type(error).__name__}: {error}"
        raise LoadError(text, file=file, hint="check it with onnx.checker.check_model") from error


def failures(model: Any) -> tuple[Graph | None, list[TenunError]]:
    """What of an ONNX model cannot be read, every node by itself, and the graph with inputs in the place of those.

    None in the place of the graph where something else stops the reading, which is then the last failure.
    """
    file = str(model) if isinstance(model, (str, Path)) else None
    found: list[TenunError] = []
    try:
        proto = model if isinstance(model, ModelProto) else _parsed(model, file)
        return _read(proto, file, {}, found), found
    except TenunError as error:
        return None, [*found, error]
    except Exception as error:
        return None, [*found, LoadError(f"the model is damaged: {type(error).__name__}: {error}")]


def _declared(proto: ModelProto, model: Model) -> dict[str, Type]:
    """The types that the model or ONNX's own inference tells of values."""
    import onnx.shape_inference

    try:
        inferred = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # an operator that nobody knows, or more than protobuf can hold
        inferred = proto.graph
    values = [*inferred.value_info, *inferred.output]
    return {v.name: type_of_proto(v.type, model.symbols, v.name) for v in values if v.type.WhichOneof("value")}


def _parsed(model: Any, file: str | None) -> ModelProto:
    try:
        data = bytes(model) if file is None else without_elements(Path(model)) or Path(model).read_bytes()
    except OSError as error:
        raise LoadError(f"cannot read the file: {error.strerror}") from None
    if not data:
        raise LoadError("the file is empty")
    try:
        return ModelProto.FromString(data)
    except DecodeError:
        raise LoadError("not an ONNX model, or a truncated one: the protobuf cannot be decoded") from None


def _read(
    proto: ModelProto, file: str | None, custom: dict[Key, Function], failures: list[TenunError] | None = None
) -> Graph:
    if not proto.HasField("graph"):
        raise LoadError("not an ONNX model, or a truncated one: it holds no graph")
    opsets = {plain(o.domain): o.version for o in proto.opset_import} or ({"": 1} if proto.ir_version < 3 else {})
    if not opsets:
        raise LoadError("the model imports no opset", hint="the file may be truncated")
    functions = {(plain(f.domain), f.name, f.overload): f for f in proto.functions}
    model = Model(file, Path(file).absolute().parent if file is not None else None, opsets, functions, custom)
    if failures is None:
        _check_operators(proto, model)
    else:
        model.failures, model.declared = failures, _declared(proto, model)
    graph = Graph(proto.graph.name or "graph")
    b = Lowering(graph, model, opsets)
    states = declared_states(proto)
    constants = {t.name for t in proto.graph.initializer} | {s.values.name for s in proto.graph.sparse_initializer}
    constants -= set(states)
    for value in proto.graph.input:
        if value.name not in constants:
            b.define(value.name, b.input(value.name, type_of_proto(value.type, model.symbols, value.name)))
    firsts = b.define_initializers(proto.graph, states)
    b.lower(proto.graph.node)
    outputs = b.resolve(o.name for o in proto.graph.output)
    for i, value in enumerate(proto.graph.output):
        if value.type.WhichOneof("value") is not None:
            declared = type_of_proto(value.type, model.symbols, value.name)
            if isinstance(outputs[i].type, Optional) and not isinstance(declared, Optional):
                outputs[i] = b.optional_get(outputs[i])  # the model says that it is there
            _check_output(outputs[i], declared, value.name)
    graph.set_outputs(outputs, [o.name for o in proto.graph.output])
    set_states(graph, states, {v.name: v for v in graph.inputs}, firsts)
    drop_unused_constants(graph)
    graph.metadata.update(metadata(proto))
    keep_declared(graph, proto)
    return graph


def _check_output(var: Var, declared: Type, name: str) -> None:
    """ShapeError if what the model declares contradicts what inference found."""
    found = var.type
    if not isinstance(declared, Tensor) or not isinstance(found, Tensor):
        fits = type(declared) is type(found) or isinstance(declared, Optional)
    elif declared.dtype is not found.dtype:
        fits = False
    elif declared.shape is None or found.shape is None:
        fits = True
    else:
        fits = len(declared.shape) == len(found.shape) and all(map(dims.compatible, declared.shape, found.shape))
    if not fits:
        node = var.producer.source if var.producer is not None else None
        raise ShapeError(f"output {name!r} is declared as {declared}, but is {found}", node=node)


# ---- looking over --------------------------------------------------------------------------------------------


def _check_operators(proto: ModelProto, model: Model) -> None:
    """Name all operators that cannot be lowered, with the nodes where they stand, in one error."""
    _check_opset(model.opsets.get("", 0))
    missing: dict[tuple[str, str, int], list[str]] = {}
    seen: set[tuple[str, str, str]] = set()
    for node, opsets in _all_nodes(proto.graph, model.opsets, 0):
        _check_node(node, opsets, model, missing, seen, ())
    if missing:
        lines = [_missing_line(*key, nodes) for key, nodes in missing.items()]
        first = next(iter(missing.values()))[0]
        raise UnsupportedError(
            "operators that tenun does not know:" + "".join(f"\n    {line}" for line in lines),
            node=first,
            op=next(iter(missing))[1],
            hint=f"export with another opset, or without these operators; or {HINT}",
        )


def _check_opset(version: int) -> None:
    """UnsupportedError for an opset that the package onnx does not have."""
    if version <= KNOWN_OPSET:
        return
    import onnx.defs

    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise UnsupportedError(
            f"the model uses opset {version}, the newest known is {newest}",
            hint="update the package onnx, or export with an older opset",
        )


def _missing_line(domain: str, name: str, version: int, nodes: list[str]) -> str:
    full, known = f"{domain}.{name}" if domain else name, ROWS.get((domain, name))
    where = f"nodes {', '.join(nodes[:3])}{', ...' if len(nodes) > 3 else ''}"
    why = f"opset {version}; known from {known[0].since} on" if known else f"opset {version}"
    reason = refusal(domain, name)
    return f"{full} ({why}): {where}{f'; {reason}' if reason else ''}"


def _check_node(
    node: NodeProto, opsets: dict[str, int], model: Model, missing: dict[tuple[str, str, int], list[str]],
    seen: set[tuple[str, str, str]], calls: tuple[tuple[str, str, str], ...],
) -> None:  # fmt: skip
    domain = plain(node.domain)
    if domain not in opsets:
        raise GraphError(
            f"the model imports no opset of domain {domain or 'ai.onnx'!r}", op=node.op_type, node=label(node)
        )
    version, key = opsets[domain], (domain, node.op_type, node.overload)
    function: FunctionProto | None = model.functions.get(key)
    if function is None and (domain, node.op_type) in model.custom:
        return
    if function is None and find(domain, node.op_type, version) is None:
        schema = schema_with_function(domain, node.op_type, version)
        if schema is None:
            missing.setdefault((domain, node.op_type, version), []).append(label(node))
            return
        function = fixed_body(schema, version)
    if function is None:
        return
    if key in calls or len(calls) > CALL_LIMIT:
        raise GraphError(f"function {node.op_type} calls itself", op=node.op_type, node=label(node))
    if key in seen:
        return
    inner = {**opsets, **{plain(o.domain): o.version for o in function.opset_import}}
    for part, versions in _all_nodes(function, inner, 0):
        _check_node(part, versions, model, missing, seen, (*calls, key))
    seen.add(key)


def _all_nodes(
    graph: GraphProto | FunctionProto, opsets: dict[str, int], depth: int
) -> Iterator[tuple[NodeProto, dict[str, int]]]:
    """The nodes of a graph and of its subgraphs; GraphError where they are nested too deep."""
    if depth > DEPTH_LIMIT:
        raise GraphError(f"subgraphs are nested deeper than {DEPTH_LIMIT}")
    for node in graph.node:
        yield node, opsets
        for sub in subgraphs(node):
            yield from _all_nodes(sub, opsets, depth + 1)
