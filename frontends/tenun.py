"""`.tenun` files: a safetensors file whose metadata holds the text of the graph.

Weights are memory-mapped when read, so that a big model costs what it touches.  dtypes that safetensors does not know
(strings, 4-bit numbers, ...) are stored as bytes; the text says what they are.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LoadError, TenunError
from ..files import write_atomically
from ..ir.graph import Graph
from ..ir.text import graph_text, named_constants, parse
from ..ir.types import DTYPES, type_of

# safetensors name: ours
_DTYPES = {
    "BOOL": "bool", "U8": "u8", "I8": "i8", "U16": "u16", "I16": "i16", "U32": "u32", "I32": "i32", "U64": "u64",
    "I64": "i64", "F16": "f16", "BF16": "bf16", "F32": "f32", "F64": "f64",
}  # fmt: skip
_NAMES = {ours: theirs for theirs, ours in _DTYPES.items()}
_HEADER_LIMIT = 100 << 20


def is_tenun(head: bytes) -> bool:
    """Whether a file that starts with these bytes may be a `.tenun` file: a length, then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER_LIMIT


def write(graph: Graph, path: Path) -> None:
    """Write a graph, whole or not at all."""
    from safetensors.numpy import save

    _check_weights(graph)
    weights = {name: _stored(array) for name, array in graph.weights.items()}
    write_atomically(path, save(weights, metadata={"graph": graph_text(graph)}))


def _check_weights(graph: Graph) -> None:
    """LoadError if the elements of a constant are not at hand."""
    for name, var in named_constants(graph).items():
        if var.data is None:
            raise LoadError(f"the elements of @{name}: {var.type} are missing", hint="parse(text, weights) takes them")


def _stored(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array as safetensors can hold it: itself, or its bytes."""
    t = type_of(array)
    if t.dtype.kind == "string":
        return np.frombuffer(json.dumps(array.reshape(-1).tolist()).encode(), np.uint8)
    return np.asarray(array, order="C") if t.dtype.name in _NAMES else np.frombuffer(array.tobytes(), np.uint8)


def read(model: Any) -> Graph:
    """The graph in a `.tenun` file (path or bytes); LoadError where it is none."""
    file = None if isinstance(model, (bytes, bytearray, memoryview)) else str(model)
    raw = np.frombuffer(model, np.uint8) if file is None else np.memmap(file, np.uint8, "r")
    try:
        text, entries, start = _header(raw)
        weights = {name: _weight(raw[start:], name, entry) for name, entry in entries.items()}
        graph = parse(text, _typed(text, weights))
        _check_weights(graph)
        return graph
    except TenunError as error:
        raise error.at(file=file) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"damaged .tenun file: {error}", file=file) from None


def _header(raw: Any) -> tuple[str, dict[str, Any], int]:
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if length > min(len(raw) - 8, _HEADER_LIMIT):
        raise LoadError("truncated .tenun file: its header is longer than the file")
    header = json.loads(raw[8 : 8 + length].tobytes())
    metadata = header.pop("__metadata__", {})
    if "graph" not in metadata:
        raise LoadError("a safetensors file without a graph", hint="only files written by tenun.save hold one")
    return metadata["graph"], header, 8 + length


def _weight(data: Any, name: str, entry: dict[str, Any]) -> np.ndarray[Any, Any]:
    first, last = entry["data_offsets"]
    shape = tuple(int(d) for d in entry["shape"])
    dtype = DTYPES[_DTYPES[entry["dtype"]]].numpy
    if not 0 <= first <= last <= len(data) or math.prod(shape) * dtype.itemsize != last - first:
        raise LoadError(f"truncated .tenun file: weight {name!r} reaches beyond its end or has a wrong size")
    array = data[first:last].view(dtype).reshape(shape)
    array.flags.writeable = False
    return np.asarray(array)


def _typed(text: str, weights: dict[str, Any]) -> dict[str, Any]:
    """Weights with the dtypes that the text declares: those stored as bytes become what they are."""
    for name, var in named_constants(parse(text)).items():
        t = var.tensor
        if name in weights and t.dtype.name not in _NAMES:
            raw = weights[name].tobytes()
            if t.dtype.kind == "string":
                weights[name] = np.array(json.loads(raw), object).reshape(t.static)
            else:
                weights[name] = np.frombuffer(raw, t.dtype.numpy).reshape(t.static)
    return weights
