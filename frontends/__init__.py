"""Readers of foreign formats.  What a model is is decided by its content: magic bytes, then the kind of object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import LoadError, TenunError, UnsupportedError
from ..ir.graph import Graph
from . import tenun

Reader = Callable[[Any, Mapping[str, Any], Any, Mapping[Any, Any]], Graph]

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


def is_keras(model: Any) -> bool:
    """Whether what `reader_for` takes is a Keras model, or a file of one."""
    return reader_for(model) is _keras


def _head(path: Path) -> bytes:
    if not path.is_file() or re.search(r"\.(pb|index|data-\d+-of-\d+)$", path.name):
        from .keras.tensorflow import refuse_tensorflow

        refuse_tensorflow(path)
    if not path.exists():
        raise LoadError("the file does not exist", file=str(path))
    if path.is_dir():
        raise LoadError("this is a folder, not a model file", file=str(path))
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
    if head.lstrip().startswith(b"{"):  # an architecture
        return _keras
    if file is not None and Path(file).suffix in (".keras", ".h5", ".hdf5", ".tenun"):
        raise LoadError(f"not a {Path(file).suffix} file: its first bytes are {head[:8]!r}", file=file)
    return _onnx


def _keras(model: Any, custom_objects: Mapping[str, Any], weights: Any, custom_ops: Mapping[Any, Any]) -> Graph:
    from .keras import read

    _refuse_custom_ops(custom_ops, "a Keras model")
    return read(model, custom_objects, weights)


def _onnx(model: Any, custom_objects: Mapping[str, Any], weights: Any, custom_ops: Mapping[Any, Any]) -> Graph:
    from .onnx import read

    _refuse_weights(weights, "an ONNX model")
    return read(model, custom_ops)


def _tenun(model: Any, custom_objects: Mapping[str, Any], weights: Any, custom_ops: Mapping[Any, Any]) -> Graph:
    _refuse_custom_ops(custom_ops, "a .tenun file")
    _refuse_weights(weights, "a .tenun file")
    return tenun.read(model)


def _refuse_weights(weights: Any, what: str) -> None:
    if weights is not None:
        raise UnsupportedError(f"{what} takes no weights of another file", hint="weights= goes with Keras' models")


def _refuse_custom_ops(custom_ops: Mapping[Any, Any], what: str) -> None:
    if custom_ops:
        raise UnsupportedError(f"{what} has no custom_ops", hint="they go with ONNX models; see custom_objects")


def sample_in(model: Any) -> tenun.Sample | None:
    """The sample that a `.tenun` file (path or bytes) has: inputs and outputs by name; None for other models."""
    if isinstance(model, (str, Path)):
        return tenun.read_sample(str(model)) if tenun.is_tenun(_head(Path(model))) else None
    is_bytes = isinstance(model, (bytes, bytearray, memoryview))
    return tenun.read_sample(model) if is_bytes and tenun.is_tenun(bytes(model[:512])) else None


# ---- writers -------------------------------------------------------------------------------------------------

Writer = Callable[[Graph, Path, Callable[..., Any], Mapping[str, Any]], None]


def writer_for(path: str | Path) -> Writer:
    """The function that writes a graph (graph, path, evaluate, options), by the suffix; UnsupportedError for others."""
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        hint = f"use the suffix {' or '.join(WRITERS)}"
        if suffix in (".keras", ".h5"):
            hint += ", or save a tenun.Model (tenun.load_model)"
        raise UnsupportedError(f"cannot write {suffix!r} files of a graph", file=str(path), hint=hint)
    return WRITERS[suffix]


def _write_tenun(graph: Graph, path: Path, evaluate: Callable[..., Any], options: Mapping[str, Any]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UnsupportedError(f"a .tenun file has no {given[0]}", file=str(path), hint="it goes with .onnx")
    tenun.write(graph, path, evaluate)


def _write_onnx(graph: Graph, path: Path, evaluate: Callable[..., Any], options: Mapping[str, Any]) -> None:
    from .onnx.writer import write

    try:
        write(graph, path, evaluate=evaluate, **{k: v for k, v in options.items() if v is not None})
    except TenunError as error:
        raise error.at(file=str(path)) from None


WRITERS: dict[str, Writer] = {".tenun": _write_tenun, ".onnx": _write_onnx}
