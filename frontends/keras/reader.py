"""A Keras model, from a file or alive, as a graph."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LoadError, TenunError
from ...ir import Graph
from ...layers import Layer, Lowering
from ...layers.whole import Lowered, lower_model
from .archive import H5, Archive, open_source, parse_json
from .config import Reader
from .optimizer import compile_arguments, listed, numbered
from .stores import LegacyStore, LiveStore, TreeStore, WeightStore, assign

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, AssertionError)

WEIGHTS_ONLY = "save the whole model with model.save(path); a file of weights does not say what the model computes"


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


def read(source: Any, custom_objects: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a `.keras` or `.h5` file (path or bytes), or of a live Keras model.

    custom_objects: {class name, registered name or layer name: a subclass of tenun.layers.Layer, or a function
    f(builder, x)}; activations by their names too.
    """
    loaded, lowered = _load(source, custom_objects, Lowering(), training=False)
    loaded.lowering.fill()
    graph = lowered.graph()
    graph.metadata["keras_version"] = loaded.version
    return graph


def read_model(source: Any, custom_objects: Mapping[str, Any] | None = None) -> Loaded:
    """The layers of a `.keras` or `.h5` file (path or bytes), or of a live Keras model, to be trained further."""
    return _load(source, custom_objects, Lowering(live=True), training=True)[0]


def _load(
    source: Any, custom_objects: Mapping[str, Any] | None, lowering: Lowering, training: bool
) -> tuple[Loaded, Lowered]:
    custom = dict(custom_objects or {})
    with _opened(source) as (parts, file):
        with _malformed(file):
            model = Reader(parts.version, custom).model(parts.config)
            lowered = lower_model(model, lowering, training)
        assign(parts.store(), model, lowering.parameters, file)
        optimizer = parts.optimizer() if training else []
        return Loaded(model, parts.version, parts.compiled, optimizer, lowering), lowered


@dataclass
class Parts:
    """What a model consists of, before anything is made of it; weights are read when asked for."""

    config: Any
    version: str
    store: Callable[[], WeightStore]
    compiled: dict[str, Any] | None
    optimizer: Callable[[], list[Any]]


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Parts, str | None]]:
    """The parts of a model, and the file's name; errors name the file."""
    if hasattr(source, "to_json") and hasattr(source, "layers"):
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
        else:
            raise LoadError(f"neither a .keras nor an HDF5 file: the first bytes are {head!r}")
    except MemoryError:
        raise LoadError("the model does not fit into memory", file=file) from None
    except TenunError as error:
        raise error.at(file=file) from None


def _archive_parts(opened: Any, file: str | None) -> Parts:
    archive = Archive(io.BytesIO(opened) if isinstance(opened, bytes) else opened, file)
    if "config.json" not in archive.names:
        raise LoadError(f"the archive has no config.json, so it is no .keras file; it holds {archive.names[:10]}")
    config = archive.json("config.json")
    metadata = archive.json("metadata.json") if "metadata.json" in archive.names else {}
    version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"
    opened_h5: list[H5] = []

    def h5() -> H5:
        if not opened_h5:
            opened_h5.append(H5(archive.read("model.weights.h5"), file))
        return opened_h5[0]

    compiled = config.get("compile_config") if isinstance(config, dict) else None
    return Parts(config, version, lambda: TreeStore(h5()), _dict(compiled), lambda: numbered(h5(), "optimizer/vars"))


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


def _live_parts(model: Any) -> Parts:
    name = f"{type(model).__module__}.{type(model).__name__}"
    try:
        config = json.loads(model.to_json())
    except Exception as error:  # whatever the user's own classes raise
        hint = "only Sequential and functional models do"
        raise LoadError(f"the {name} has no configuration: {error}", hint=hint) from None
    version = str(config.get("keras_version") or "3")
    compiled = model.get_compile_config() if getattr(model, "compiled", False) else None
    optimizer = getattr(model, "optimizer", None)

    def variables() -> list[Any]:
        if optimizer is None or not getattr(optimizer, "built", True):
            return []
        return [np.array(v) for v in optimizer.variables]

    return Parts(config, version, lambda: LiveStore(model), _dict(compiled), variables)


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
