"""A Keras model, from a file or alive, as a graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...errors import LoadError, TenunError
from ...ir import Graph, Tensor, Var, dtype, symbol
from ...layers import Layer, Lowering, Scope, Value
from ...layers.base import flatten
from ...layers.input import InputLayer
from ...layers.model import Functional, Ref, Sequential
from .archive import H5, Archive, open_source, parse_json
from .config import Reader
from .stores import LegacyStore, LiveStore, TreeStore, WeightStore, assign

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, AssertionError)

WEIGHTS_ONLY = "save the whole model with model.save(path); a file of weights does not say what the model computes"


def read(source: Any, custom_objects: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a `.keras` or `.h5` file (path or bytes), or of a live Keras model.

    custom_objects: {class name, registered name or layer name: a subclass of tenun.layers.Layer, or a function
    f(builder, x)}; activations by their names too.
    """
    custom = dict(custom_objects or {})
    if hasattr(source, "to_json") and hasattr(source, "layers"):
        return _read_live(source, custom)
    opened, head, file = open_source(source)
    try:
        if not head:
            raise LoadError("the file is empty")
        if head.startswith(b"PK"):
            return _read_archive(opened, file, custom)
        if head.startswith(b"\x89HDF"):
            return _read_h5(opened, file, custom)
        raise LoadError(f"neither a .keras nor an HDF5 file: the first bytes are {head!r}")
    except MemoryError:
        raise LoadError("the model does not fit into memory", file=file) from None
    except TenunError as error:
        raise error.at(file=file) from None


def _read_archive(opened: Any, file: str | None, custom: Mapping[str, Any]) -> Graph:
    import io

    archive = Archive(io.BytesIO(opened) if isinstance(opened, bytes) else opened, file)
    if "config.json" not in archive.names:
        raise LoadError(f"the archive has no config.json, so it is no .keras file; it holds {archive.names[:10]}")
    config = archive.json("config.json")
    metadata = archive.json("metadata.json") if "metadata.json" in archive.names else {}
    version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"

    def store() -> WeightStore:
        return TreeStore(H5(archive.read("model.weights.h5"), file))

    return _graph(config, version, store, file, custom)


def _read_h5(opened: Any, file: str | None, custom: Mapping[str, Any]) -> Graph:
    h5 = H5(opened, file)
    try:
        root = h5.node("/")
        text = h5.attribute(root, "model_config")
        if text is None:
            raise LoadError("the file holds weights only: it has no model_config", hint=WEIGHTS_ONLY)
        weights = h5.node("model_weights")
        if weights is None:
            raise LoadError("the file has no group model_weights")
        version = str(h5.attribute(root, "keras_version") or h5.attribute(weights, "keras_version") or "1")
        config = parse_json(text, "model_config", file)
        return _graph(config, version, lambda: LegacyStore(h5, weights), file, custom)
    finally:
        h5.close()


def _read_live(model: Any, custom: Mapping[str, Any]) -> Graph:
    name = f"{type(model).__module__}.{type(model).__name__}"
    try:
        config = json.loads(model.to_json())
    except Exception as error:  # whatever the user's own classes raise
        hint = "only Sequential and functional models do"
        raise LoadError(f"the {name} has no configuration: {error}", hint=hint) from None
    version = str(config.get("keras_version") or "3")
    return _graph(config, version, lambda: LiveStore(model), None, custom)


def _graph(
    config: Any, version: str, store: Callable[[], WeightStore], file: str | None, custom: Mapping[str, Any]
) -> Graph:
    """Config to layers, layers to a graph, then the weights."""
    with _malformed(file):
        model = Reader(version, custom).model(config)
    lowering = Lowering()
    with _malformed(file):
        finish = lower_model(model, lowering)
    assign(store(), model, lowering.parameters, file)
    lowering.fill()
    graph = finish()
    graph.metadata["keras_version"] = version
    return graph


@contextmanager
def _malformed(file: str | None) -> Iterator[None]:
    """A config may be any JSON: what trips over it is the file's fault."""
    try:
        yield
    except MALFORMED as error:
        what = f"{type(error).__name__}: {error}"
        raise LoadError(f"the model's configuration is malformed: {what}", file=file) from error


# ---- a model as the whole graph ---------------------------------------------------------------------------------


def lower_model(model: Layer, lowering: Lowering) -> Callable[[], Graph]:
    """Lower a whole model; the function returned gives the graph, to be called when the weights are there."""
    if not isinstance(model, (Functional, Sequential)):
        raise LoadError(f"the file holds a {model.class_name}, not a model")
    graph = lowering.b.graph
    graph.name = model.name or "model"
    sources, refs = _inputs(model)
    used: set[str] = {"N"}
    inputs = [lowering.b.input(s.name or f"input_{i}", input_type(s, used)) for i, s in enumerate(sources)]
    scope = Scope(lowering, model, "")
    lowering.declare(model, "", [v.tensor for v in inputs])
    x: Any = inputs if isinstance(model, Functional) else inputs[0]
    y = model.lower(lowering.b, x, scope)
    names = _output_names(model, y)
    outputs: list[Var] = []
    made: list[str] = []
    structure = _named(_single(y), iter(names), outputs, made)
    graph.metadata["input_structure"] = _ref_names(_single(refs))
    graph.metadata["output_structure"] = structure
    return lambda: lowering.finish(outputs, made)


def _inputs(model: Any) -> tuple[list[InputLayer], Any]:
    """The input layers of a model in order, and the structure in which Keras takes them."""
    if isinstance(model, Functional):
        return model.inputs, model.input_layers
    first = model.layers[0] if model.layers else None
    if isinstance(first, InputLayer):
        return [first], Ref(first.name or "")
    if isinstance(first, (Functional, Sequential)):
        return _inputs(first)
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


def _named(y: Any, names: Iterator[str], outputs: list[Var], made: list[str]) -> Any:
    """y with a distinct name for every leaf; the leaves go to `outputs`, the names to `made`."""
    if isinstance(y, dict):
        return {k: _named(v, names, outputs, made) for k, v in y.items()}
    if isinstance(y, Value):
        base = name = next(names)
        i = 1
        while name in made:
            name, i = f"{base}_{i}", i + 1
        outputs.append(y.var)
        made.append(name)
        return name
    return [_named(v, names, outputs, made) for v in y]


def _ref_names(refs: Any) -> Any:
    if isinstance(refs, Ref):
        return refs.layer
    if isinstance(refs, dict):
        return {k: _ref_names(v) for k, v in refs.items()}
    return [_ref_names(v) for v in refs]
