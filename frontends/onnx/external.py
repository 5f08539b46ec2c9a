"""External data of tensors: memory-mapped where it can be, and only from inside the model's folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ...errors import LoadError
from .messages import TensorProto

INLINE = "inline"  # key of external data: the elements lie in the model's own file, which may be written anew


def external_bytes(
    proto: TensorProto, folder: Path | None, size: int, alignment: int = 1
) -> np.ndarray[Any, Any]:  # fmt: skip
    """The bytes of a tensor stored beside the model; `size` is what its type and shape need.

    They are mapped, but read where they lie in the model's own file, and where their place does not suit the dtype:
    such arrays would be copied whenever something is computed with them.
    LoadError if the file lies outside of the folder, is missing, or is shorter than declared.
    """
    entries = {e.key: e.value for e in proto.external_data}
    path = _inside(entries.get("location", ""), folder, proto.name)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or size)
    except ValueError:
        raise LoadError(f"tensor {proto.name!r}: offset or length of its external data is no number") from None
    if not path.is_file():
        raise LoadError(f"tensor {proto.name!r}: its external data file does not exist", file=str(path))
    stored = path.stat().st_size
    if offset < 0 or length != size or offset + length > stored:
        raise LoadError(
            f"tensor {proto.name!r} needs {size} bytes of external data; declared are {length} at {offset}, "
            f"the file holds {stored}",
            file=str(path),
        )
    if size == 0:
        return np.empty(0, np.uint8)
    try:
        if INLINE in entries or offset % alignment:
            elements = np.fromfile(path, np.uint8, size, offset=offset)
            elements.flags.writeable = False  # nobody needs a copy
            return elements
        return np.memmap(path, np.uint8, mode="r", offset=offset, shape=(size,))
    except OSError as error:
        raise LoadError(f"tensor {proto.name!r}: cannot read its external data: {error}", file=str(path)) from None


def _inside(location: str, folder: Path | None, tensor: str) -> Path:
    """The file that a location means; LoadError if it is outside of the folder."""
    if folder is None:
        raise LoadError(
            f"tensor {tensor!r} lies in an external file, but the model has no folder",
            hint="load the model by its path, or with onnx.load, which reads external data",
        )
    plain = PurePosixPath(location.replace("\\", "/"))
    outside = not location or plain.is_absolute() or PureWindowsPath(location).drive or ".." in plain.parts
    root = folder.resolve()
    path = root / plain
    if outside or not path.resolve().is_relative_to(root):
        raise LoadError(
            f"tensor {tensor!r}: external data {location!r} is outside of the model's folder",
            hint="external data has to lie beside the model, without links that lead elsewhere",
        )
    return path
