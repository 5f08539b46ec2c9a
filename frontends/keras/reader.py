"""A Keras model, from a file or alive, as a graph."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LoadError, TenunError, UnsupportedError
from ...ir import Graph
from ...layers import Layer, Lowering
from ...layers.whole import Lowered, declare_model, lower_model
from .archive import H5, Archive, open_source, parse_json, read_text
from .assets import copy_live, load_assets
from .config import Reader
from .live import is_live, through_onnx
from .optimizer import compile_arguments, listed, numbered
from .stores import LegacyStore, LiveStore, TreeStore, WeightStore, assign
from .tensorflow import refuse_tensorflow
from .weights import archived, open_weights

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, AssertionError)

WEIGHTS_ONLY = (
    "save the whole model with model.save(path), or give what it computes too: the text of model.to_json() in a file, "
    "tenun.load('model.json', weights=path), or a tenun.Model, model.load_weights(path)"
)
NO_WEIGHTS = "give the file of weights too: tenun.load('model.json', weights='model.weights.h5')"


@dataclass
class Loaded:
    """A Keras model as it was written: its layers with their weights, and what it was trained with, if it says so.

    `compiled`: the arguments of `compile` as Keras writes them; `optimizer`: the optimiser's variables in its order.
    """

    model: Layer
    version: str
    compiled: dict[str, Any] | None
    optimizer: list[Any]
    lowering: Lowering


def read(source: Any, custom_objects: Mapping[str, Any] | None = None, weights: Any = None) -> Graph:
    """The graph of a `.keras` or `.h5` file, of a JSON with the architecture (paths or bytes), or of a live model.

    custom_objects: {class name, registered name or layer name: a subclass of tenun.layers.Layer, or a function
    f(builder, x)}; activations by their names too.  weights: a file of weights in place of those in the source.
    A live model whose code is its only description is exported to ONNX by Keras, and that is read (see `live`).
    """
    try:
        loaded, lowered = _load(source, custom_objects, False, weights)
    except UnsupportedError as error:
        if not is_live(source) or weights is not None:
            raise
        return through_onnx(source, error)
    loaded.lowering.fill()
    graph = lowered.graph()
    graph.metadata["keras_version"] = loaded.version
    return graph


def read_model(source: Any, custom_objects: Mapping[str, Any] | None = None, weights: Any = None) -> Loaded:
    """The layers of what `read` takes, to be trained further."""
    return _load(source, custom_objects, True, weights)[0]


def _load(
    source: Any, custom_objects: Mapping[str, Any] | None, training: bool, weights: Any
) -> tuple[Loaded, Lowered]:
    custom = dict(custom_objects or {})
    with _opened(source) as (parts, file):
        with _malformed(file):
            model = Reader(parts.version, custom).model(parts.config)
            parts.assets(model)
            lowered = declare_model(model) if training else lower_model(model, Lowering())
        lowering = lowered.lowering
        if weights is None:
            assign(parts.store(), model, lowering.parameters, file)
        else:
            with open_weights(weights) as (store, weights_file):
                assign(store, model, lowering.parameters, weights_file, strict=True)
        optimizer = parts.optimizer() if training else []
        return Loaded(model.expanded, parts.version, parts.compiled, optimizer, lowering), lowered


@dataclass
class Parts:
    """What a model consists of, before anything is made of it; weights are read when asked for.

    `assets` gives the model's layers what is no config and no weights: vocabularies.
    """

    config: Any
    version: str
    store: Callable[[], WeightStore]
    compiled: dict[str, Any] | None
    optimizer: Callable[[], list[Any]]
    assets: Callable[[Layer], None] = lambda model: None


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Parts, str | None]]:
    """The parts of a model, and the file's name; errors name the file."""
    if is_live(source):
        yield _live_parts(source), None
        return
    opened, head, file = open_source(source)
    try:
        if not head:
            raise LoadError("the file is empty")
        if head.startswith(b"PK"):
            yield _archive_parts(opened, file), file
        elif head.startswith(b"\x89HDF"):
            h5 = H5(opened, file)
            try:
                yield _h5_parts(h5, file), file
            finally:
                h5.close()
        elif head.lstrip().startswith(b"{"):
            yield _json_parts(read_text(opened), file), file
        else:
            raise LoadError(f"neither a .keras nor an HDF5 file nor JSON: the first bytes are {head!r}")
    except MemoryError:
        raise LoadError("the model does not fit into memory", file=file) from None
    except TenunError as error:
        raise error.at(file=file) from None


def _archive_parts(opened: Any, file: str | None) -> Parts:
    archive = Archive(io.BytesIO(opened) if isinstance(opened, bytes) else opened, file)
    refuse_tensorflow(archive.names, file)
    if "config.json" not in archive.names:
        raise LoadError(f"the archive has no config.json, so it is no .keras file; it holds {archive.names[:10]}")
    config = archive.json("config.json")
    metadata = archive.json("metadata.json") if "metadata.json" in archive.names else {}
    version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"
    compiled = config.get("compile_config") if isinstance(config, dict) else None
    h5 = archived(archive)

    def optimizer() -> list[Any]:
        return numbered(h5()[0], "optimizer/vars")

    def assets(model: Layer) -> None:
        load_assets(archive, h5, model)

    return Parts(config, version, lambda: TreeStore(*h5()), _dict(compiled), optimizer, assets)


def _h5_parts(h5: H5, file: str | None) -> Parts:
    root = h5.node("/")
    text = h5.attribute(root, "model_config")
    if text is None:
        raise LoadError("the file holds weights only: it has no model_config", hint=WEIGHTS_ONLY)
    weights = h5.node("model_weights")
    if weights is None:
        raise LoadError("the file has no group model_weights")
    version = str(h5.attribute(root, "keras_version") or h5.attribute(weights, "keras_version") or "1")
    config = parse_json(text, "model_config", file)
    trained = h5.attribute(root, "training_config")
    compiled = parse_json(trained, "training_config", file) if trained is not None else None
    return Parts(config, version, lambda: LegacyStore(h5, weights), compile_arguments(compiled), lambda: listed(h5))


def _json_parts(text: bytes, file: str | None) -> Parts:
    """What `model.to_json()` gives: Keras 1 and 2 say their version, Keras 3 names the modules of its classes."""
    config = parse_json(text, "the architecture", file)
    if "weight_map" in config:
        raise LoadError("the file lists shards of weights: it does not say what the model computes", hint=WEIGHTS_ONLY)
    version = str(config.get("keras_version") or ("3" if "module" in config else "1"))

    def store() -> WeightStore:
        raise LoadError("the file holds an architecture only, without weights", hint=NO_WEIGHTS)

    return Parts(config, version, store, None, list)


def _live_parts(model: Any) -> Parts:
    name = f"{type(model).__module__}.{type(model).__name__}"
    try:
        config = json.loads(model.to_json())
    except Exception as error:  # whatever the user's own classes raise
        hint = "only Sequential and functional models do"
        raise UnsupportedError(f"the {name} has no configuration: {error}", hint=hint) from None
    version = str(config.get("keras_version") or "3")
    compiled = model.get_compile_config() if getattr(model, "compiled", False) else None
    optimizer = getattr(model, "optimizer", None)

    def variables() -> list[Any]:
        if optimizer is None or not getattr(optimizer, "built", True):
            return []
        return [np.array(v) for v in optimizer.variables]

    def assets(layers: Layer) -> None:
        copy_live(layers, model)

    return Parts(config, version, lambda: LiveStore(model), _dict(compiled), variables, assets)


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


@contextmanager
def _malformed(file: str | None) -> Iterator[None]:
    """A config may be any JSON: what trips over it is the file's fault."""
    try:
        yield
    except MALFORMED as error:
        what = f"{type(error).__name__}: {error}"
        raise LoadError(f"the model's configuration is malformed: {what}", file=file) from error
