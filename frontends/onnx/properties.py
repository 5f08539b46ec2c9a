"""What a file says of itself beside the graph: the properties of the model, and the states that tenun wrote."""

from __future__ import annotations

import json
from typing import Any

from ...errors import LoadError
from ...ir.graph import Graph, State, Var
from ...ir.types import Tensor
from .messages import ModelProto

STATE_KEY = "tenun.state"
FIELDS = ("doc_string", "domain", "model_version")  # of a file, and the same in one that is written from it
DECLARED = "declared_shapes"  # of outputs whose rank inference does not know: lists of numbers, names and nulls


def written(graph: Graph, next_names: dict[str, str]) -> dict[str, str]:
    """The properties of a file; `next_names`: the output with the next value of each state."""
    own = {k: v for k, v in graph.metadata.items() if k not in (DECLARED, *FIELDS)}
    found = {k: v if isinstance(v, str) else json.dumps(v) for k, v in own.items()}
    return {**found, STATE_KEY: json.dumps(next_names)} if next_names else found


def set_fields(proto: ModelProto, graph: Graph) -> None:
    """Give a file the fields of the one that the graph was read from."""
    for key in FIELDS:
        value = graph.metadata.get(key)
        if isinstance(value, type(getattr(proto, key))):
            setattr(proto, key, value)


def metadata(proto: ModelProto) -> dict[str, Any]:
    """The properties as metadata of a graph: texts, or what JSON they hold; who wrote the file, if it says so."""
    found: dict[str, Any] = {p.key: _value(p.value) for p in proto.metadata_props if p.key != STATE_KEY}
    for key in ("producer_name", "producer_version", *FIELDS):
        if getattr(proto, key) and key not in found:
            found[key] = getattr(proto, key)
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (dict, list)) else text


def declared_states(proto: ModelProto) -> dict[str, str]:
    """The inputs that are states, each with the output that is its next value."""
    text = next((p.value for p in proto.metadata_props if p.key == STATE_KEY), None)
    if text is None:
        return {}
    try:
        pairs = json.loads(text)
    except ValueError:
        pairs = None
    if not isinstance(pairs, dict) or not all(isinstance(v, str) for v in pairs.values()):
        raise LoadError(f"the property {STATE_KEY} is no JSON object of names: {text[:80]!r}")
    initialized, outputs = {t.name for t in proto.graph.initializer}, {o.name for o in proto.graph.output}
    lost = [k for k, v in pairs.items() if k not in initialized or v not in outputs]
    if lost:
        raise LoadError(f"the property {STATE_KEY} names states that the graph does not have: {', '.join(lost)}")
    return pairs


def set_states(graph: Graph, pairs: dict[str, str], inputs: dict[str, Var], firsts: dict[str, Var]) -> None:
    """Make inputs states."""
    places = {name: i for i, name in enumerate(graph.output_names)}
    graph.state = [State(inputs[name], places[after], firsts[name]) for name, after in pairs.items()]


def keep_declared(graph: Graph, proto: ModelProto) -> None:
    """Remember the shapes that a model declares of outputs, where no more is known of them."""
    found = {}
    for value, var in zip(proto.graph.output, graph.outputs):
        tensor = value.type.tensor_type
        if isinstance(var.type, Tensor) and var.type.shape is None and tensor.HasField("shape"):
            found[value.name] = [_dim(d) for d in tensor.shape.dim]
    if found:
        graph.metadata[DECLARED] = found


def _dim(d: Any) -> int | str | None:
    return int(d.dim_value) if d.HasField("dim_value") else d.dim_param or None
