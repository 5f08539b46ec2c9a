"""Readers of foreign formats.  What a model is is decided by its content: magic bytes, then the kind of object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import LoadError, UnsupportedError
from ..ir.graph import Graph
from . import tenun

Reader = Callable[[Any, Mapping[str, Any]], Graph]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def reader_for(model: Any) -> Reader:
    """The function that turns the model into a graph; UnsupportedError where nobody reads such things."""
    if isinstance(model, (str, Path)):
        return _by_content(_head(Path(model)), str(model))
    if isinstance(model, (bytes, bytearray, memoryview)):
        return _by_content(bytes(model[:512]), None)
    module = type(model).__module__.partition(".")[0]
    if type(model).__name__ == "ModelProto" or module == "onnx":
        return _onnx
    if hasattr(model, "to_json") and hasattr(model, "layers"):
        return _keras
    raise UnsupportedError(
        f"cannot load a {type(model).__module__}.{type(model).__name__}",
        hint="give a path, bytes, a Keras model, an onnx.ModelProto or a tenun.Graph",
    )


def _head(path: Path) -> bytes:
    if not path.exists():
        raise LoadError("the file does not exist", file=str(path))
    if path.is_dir():
        raise LoadError("this is a folder, not a model file", file=str(path), hint="SavedModel folders are not read")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise LoadError(f"cannot read the file: {error.strerror}", file=str(path)) from None


def _by_content(head: bytes, file: str | None) -> Reader:
    if not head:
        raise LoadError("the file is empty", file=file)
    if head.startswith(HDF5_MAGIC):
        return _keras
    if head.startswith(b"PK"):
        return _keras
    if tenun.is_tenun(head):
        return _tenun
    if file is not None and Path(file).suffix in (".keras", ".h5", ".hdf5", ".tenun"):
        raise LoadError(f"not a {Path(file).suffix} file: its first bytes are {head[:8]!r}", file=file)
    return _onnx


def _keras(model: Any, custom_objects: Mapping[str, Any]) -> Graph:
    from .keras import read

    return read(model, custom_objects)


def _onnx(model: Any, custom_objects: Mapping[str, Any]) -> Graph:
    from .onnx import read

    return read(model)


def _tenun(model: Any, custom_objects: Mapping[str, Any]) -> Graph:
    return tenun.read(model)
