"""Vocabularies beside the config: `assets/<path>/vocabulary.txt` of a `.keras` file, and the idf weights with them.

Keras keeps the factors of output mode tf_idf among the variables of a layer, under a name in place of a number
(`vars/idf_weights`): they are part of the vocabulary, and no weights of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ...errors import LoadError
from ...layers import Layer
from ...layers.base import is_of
from .archive import H5, MAX_CONFIG, Archive
from .stores import TreeStore, live_layers

if TYPE_CHECKING:
    from ...layers.lookup import IndexLookup

FACTORS = "idf_weights"


def _is_lookup(layer: Any) -> TypeGuard[IndexLookup]:
    return is_of(layer, "lookup", "IndexLookup")


def load_assets(archive: Archive, weights: Callable[[], list[H5]], model: Layer) -> None:
    """Give the lookups of a model the vocabularies and factors that the file has beside its config."""
    if not any(_is_lookup(layer) for layer, _ in TreeStore().paths(model, "")):
        return
    files = weights()
    for layer, path in TreeStore(*files).paths(model, ""):
        if _is_lookup(layer):
            name = f"assets/{path}/vocabulary.txt".replace("//", "/")
            text = _text(archive, name) if name in archive.names and layer.vocabulary is None else None
            layer.load_vocabulary(text, _factors(files, f"{path}/vars/{FACTORS}", layer))


def _text(archive: Archive, name: str) -> str:
    try:
        return archive.read(name, MAX_CONFIG).decode("utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{name} is no UTF-8: {error}", file=archive.file) from None


def _factors(files: list[H5], path: str, layer: Layer) -> Any:
    for h5 in files:
        dataset = h5.dataset(path)
        if dataset is not None:
            shape = h5.shape(dataset)
            if len(shape) != 1 or shape[0] > MAX_CONFIG:
                raise LoadError(f"the {FACTORS} of {layer.name!r} have the shape {shape}", file=h5.file)
            return np.asarray(h5.array(dataset), np.float32)
    return None


def copy_live(model: Layer, live_model: Any) -> None:
    """Give the lookups of a model what those of a Keras model in memory have learnt."""
    for layer, live in live_layers(model, live_model):
        if _is_lookup(layer) and layer.vocabulary is None and live.lookup_table.size() > 0:
            factors = None if layer.output_mode != "tf_idf" else np.asarray(live.idf_weights_const)
            layer.take_vocabulary(live.get_vocabulary(), factors)


# ---- writing ----------------------------------------------------------------------------------------------------


def assets_of(layers: Iterator[tuple[Layer, str]]) -> dict[str, str]:
    """The members of an archive for layers with their paths: a TextVectorization and its lookup have one each."""
    found = {}
    for layer, path in layers:
        lookup = getattr(layer, "lookup", None)
        text = lookup.vocabulary_text() if _is_lookup(lookup) else None
        if text is not None:
            found[f"assets/{path}/vocabulary.txt"] = text
    return found


def write_factors(group: Any, layer: Layer) -> None:
    """Put the factors of a layer, if it has any, among its variables."""
    lookup = getattr(layer, "lookup", None)
    if _is_lookup(lookup) and lookup.factors is not None:
        group.create_dataset(FACTORS, data=lookup.factors)
