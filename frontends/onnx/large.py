"""Large ONNX files: weights are read from the file itself, once, in place of first becoming protobuf messages.

A model of 500 MB would be in memory as the bytes of the file, as a message, and as the bytes of each tensor.  Here the
file is mapped, and its bytes are gone through as protobuf lays them out: nested fields, each a tag, a length and so
many bytes.  What is parsed is a copy without the `raw_data` of large tensors; these get in its place where in the file
their elements lie, as tensors with external data have it, and the mark `INLINE`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from .external import INLINE
from .messages import TensorProto

FILE_LIMIT = 1 << 24  # bytes of a file that is worth it
TENSOR_LIMIT = 1 << 12  # bytes of a tensor that is left in the file
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields

# Where tensors may lie: message, number of the field, what that holds.
FIELDS = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {9: "elements"},
}


class MalformedError(ValueError):
    """The bytes are no protobuf message."""


def without_elements(path: Path) -> bytes | None:
    """The bytes of a model without the elements of its large tensors; None where that is not to be had.

    Files that are reached by a link are read whole: their tensors are looked for in the model's folder.
    """
    if path.stat().st_size < FILE_LIMIT or path.is_symlink() or "\\" in path.name:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return b"".join(_kept(data, 0, len(data), "model", path.name))
        except MalformedError:
            return None


def _kept(data: mmap.mmap, start: int, end: int, kind: str, file: str) -> Iterator[bytes]:
    """The fields of a message, those changed that hold large tensors."""
    place = start
    for begin, number, first, last in _fields(data, start, end):
        inside = FIELDS[kind].get(number) if last - first >= TENSOR_LIMIT else None
        if inside is None:
            continue
        yield data[place:begin]
        if inside == "elements":
            yield _reference(file, first, last - first)
        else:
            body = b"".join(_kept(data, first, last, inside, file))
            yield _varint(number << 3 | BYTES) + _varint(len(body)) + body
        place = last
    yield data[place:end]


def _reference(file: str, offset: int, length: int) -> bytes:
    proto = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length)), (INLINE, "1")):
        proto.external_data.add(key=key, value=value)
    return bytes(proto.SerializeToString())


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field: where it begins, its number, where what it holds begins and ends."""
    while place < end:
        begin = place
        tag, place = _number(data, place, end)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            first, (_, place) = place, _number(data, place, end)
        elif kind in (FIXED64, FIXED32):
            first, place = place, place + (8 if kind == FIXED64 else 4)
        elif kind == BYTES:
            length, first = _number(data, place, end)
            place = first + length
        else:
            raise MalformedError
        if place > end:
            raise MalformedError
        yield begin, number if kind == BYTES else 0, first, place


def _number(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while place < end and shift < 64:
        byte = data[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
    raise MalformedError


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
