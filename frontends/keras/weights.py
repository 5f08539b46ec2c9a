"""Files of weights: `.weights.h5`, its shards, `.h5` by layers, whole models, and live models, as stores."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...errors import LoadError, UnsupportedError
from .archive import H5, Archive, open_source, parse_json, read_text
from .live import is_live
from .stores import LegacyStore, LiveStore, TreeStore, WeightStore
from .tensorflow import refuse_tensorflow

WHOLE, SHARDS = "model.weights.h5", "model.weights.json"


def archived(archive: Archive) -> Callable[[], list[H5]]:
    """A function that opens the weights of a `.keras` archive, when first called: one file, or several shards."""
    opened: list[H5] = []

    def files() -> list[H5]:
        if not opened:
            names = [WHOLE]
            if SHARDS in archive.names:
                names = shard_names(archive.json(SHARDS), archive.file)
            opened.extend(H5(archive.read(name), archive.file) for name in names)
        return opened

    return files


def shard_names(config: Any, file: str | None) -> list[str]:
    """The files that a `.weights.json` spreads the weights over; they lie in its own folder."""
    found: dict[str, None] = {}
    weight_map = config.get("weight_map") if isinstance(config, dict) else None
    if not isinstance(weight_map, dict):
        raise LoadError("the list of shards has no weight_map", file=file)
    for names in weight_map.values():
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
                raise LoadError(f"the list of shards names {name!r}, which is no file beside it", file=file)
            found[name] = None
    return list(found)


@contextmanager
def open_weights(source: Any, by_name: bool = False) -> Iterator[tuple[WeightStore, str | None]]:
    """What holds weights, and its file's name: a path or bytes of any file of Keras', or a live model.

    UnsupportedError where layers are to be found by name in a file which has none.
    """
    with ExitStack() as stack:
        store: WeightStore
        if is_live(source):
            store, file = LiveStore(source), None
        else:
            opened, head, file = open_source(source)
            store = _store(opened, head, file, by_name, stack)
        if by_name and not isinstance(store, LegacyStore):
            hint = "only .h5 files with one group a layer have names; others go by the place in the model"
            raise UnsupportedError("by_name: the weights are not stored by the names of layers", file=file, hint=hint)
        yield store, file


def _store(opened: Any, head: bytes, file: str | None, by_name: bool, stack: ExitStack) -> WeightStore:
    def keep(files: Sequence[H5]) -> Sequence[H5]:
        for h5 in files:
            stack.callback(h5.close)
        return files

    if head.startswith(b"PK"):
        archive = Archive(io.BytesIO(opened) if isinstance(opened, bytes) else opened, file)
        refuse_tensorflow(archive.names, file)
        return TreeStore(*keep(archived(archive)()))
    if head.lstrip().startswith(b"{"):
        if file is None:
            raise LoadError("the bytes list shards, which have to lie beside them: give a path")
        names = shard_names(parse_json(read_text(opened), "the list of shards", file), file)
        paths = [str(Path(file).with_name(name)) for name in names]
        return TreeStore(*[h5 for path in paths for h5 in keep([_shard(path)])])
    if not head.startswith(b"\x89HDF"):
        raise LoadError(f"not a file of weights: the first bytes are {head!r}", file=file)
    (h5,) = keep([H5(opened, file)])
    root = h5.node("/")
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return LegacyStore(h5, root, by_name)
    group = h5.node("model_weights")
    return TreeStore(h5) if group is None else LegacyStore(h5, group, by_name)


def _shard(path: str) -> H5:
    if not Path(path).is_file():
        raise LoadError("the file of weights is one of several, and this one is missing", file=path)
    return H5(path, path)
