"""A Keras model, from a file or alive, as a graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...errors import LoadError, TenunError
from ...ir import Graph
from ...layers import Lowering
from ...layers.whole import lower_model
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
        lowered = lower_model(model, lowering)
    assign(store(), model, lowering.parameters, file)
    lowering.fill()
    graph = lowered.graph()
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
