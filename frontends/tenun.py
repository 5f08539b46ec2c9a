"""`.tenun` files: a safetensors file whose metadata holds the text of the graph.

Weights are memory-mapped when read, so that a big model costs what it touches.  dtypes that safetensors does not know
(strings, 4-bit numbers, ...) are stored as bytes; the text says what they are.  Beside the weights there is a sample:
inputs, and what the graph gave for them when it was written, node by node, by which every reader can check itself.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LoadError, TenunError
from ..files import write_atomically
from ..ir.graph import Graph
from ..ir.samples import random_inputs
from ..ir.text import all_graphs, graph_text, named_constants, parse
from ..ir.types import DTYPES, type_of

if TYPE_CHECKING:
    from ..passes.interpret import Evaluate

# safetensors name: ours
_DTYPES = {
    "BOOL": "bool", "U8": "u8", "I8": "i8", "U16": "u16", "I16": "i16", "U32": "u32", "I32": "i32", "U64": "u64",
    "I64": "i64", "F16": "f16", "BF16": "bf16", "F32": "f32", "F64": "f64",
}  # fmt: skip
_NAMES = {ours: theirs for theirs, ours in _DTYPES.items()}
_HEADER_LIMIT = 100 << 20
_SAMPLE = "//sample/"  # no constant is called so
KINDS = ("input", "output")
_SAMPLE_LIMIT = 16 << 20  # bytes; larger samples are left out

Sample = tuple[dict[str, Any], dict[str, Any]]


def is_tenun(head: bytes) -> bool:
    """Whether a file that starts with these bytes may be a `.tenun` file: a length, then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER_LIMIT


def write(graph: Graph, path: Path, evaluate: Evaluate | None = None) -> None:
    """Write a graph, whole or not at all; with `evaluate`, a sample of what it gives too."""
    from safetensors.numpy import save

    _check_weights(graph)
    weights = {name: _stored(array) for name, array in graph.weights.items()}
    metadata = {"graph": graph_text(graph)}
    sample = _sampled(graph, evaluate) if evaluate is not None else None
    for kind, arrays in zip(KINDS, sample or ()):
        weights.update((f"{_SAMPLE}{kind}/{name}", np.array(a, order="C")) for name, a in arrays.items())
    write_atomically(path, save(weights, metadata=metadata))


def _sampled(graph: Graph, evaluate: Evaluate) -> Sample | None:
    """Seeded inputs by name and the outputs for them; None where that is not to be had, or not the same every time."""
    if any(node.op.has("random") for each in all_graphs(graph) for node in each.nodes):
        return None
    from ..passes.interpret import results

    try:
        inputs = random_inputs(graph)
        outputs = dict(zip(graph.output_names, results(graph, inputs, evaluate)))
    except TenunError:  # a graph that does not run for such inputs is worth keeping too
        return None
    arrays = [*inputs.values(), *outputs.values()]
    storable = all(isinstance(a, np.ndarray) and a.dtype != object and type_of(a).dtype.name in _NAMES for a in arrays)
    return (inputs, outputs) if storable and sum(a.nbytes for a in arrays) <= _SAMPLE_LIMIT else None


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
        metadata, entries, start = _header(raw)
        text = metadata["graph"]
        entries = {name: entry for name, entry in entries.items() if not name.startswith(_SAMPLE)}
        weights = {name: _weight(raw[start:], name, entry) for name, entry in entries.items()}
        graph = parse(text, _typed(text, weights))
        _check_weights(graph)
        return graph
    except TenunError as error:
        raise error.at(file=file) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"damaged .tenun file: {error}", file=file) from None


def read_sample(model: Any) -> Sample | None:
    """The inputs and outputs of the sample in a `.tenun` file (path or bytes), by name; None where it has none."""
    file = None if isinstance(model, (bytes, bytearray, memoryview)) else str(model)
    raw = np.frombuffer(model, np.uint8) if file is None else np.memmap(file, np.uint8, "r")
    try:
        _, entries, start = _header(raw)
        found: list[dict[str, Any]] = [{}, {}]
        for arrays, kind in zip(found, KINDS):
            prefix = f"{_SAMPLE}{kind}/"
            mine = {name: entry for name, entry in entries.items() if name.startswith(prefix)}
            arrays.update((name[len(prefix) :], _weight(raw[start:], name, e)) for name, e in mine.items())
        if not found[1]:
            return None
        return found[0], found[1]
    except TenunError as error:
        raise error.at(file=file) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"damaged sample in a .tenun file: {error}", file=file) from None


def _header(raw: Any) -> tuple[dict[str, str], dict[str, Any], int]:
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if length > min(len(raw) - 8, _HEADER_LIMIT):
        raise LoadError("truncated .tenun file: its header is longer than the file")
    header = json.loads(raw[8 : 8 + length].tobytes())
    metadata = header.pop("__metadata__", {})
    if "graph" not in metadata:
        raise LoadError("a safetensors file without a graph", hint="only files written by tenun.save hold one")
    end = 0
    for first, last in sorted(entry["data_offsets"] for entry in header.values()):
        if first != end or last < first:  # the format allows no holes
            raise LoadError("damaged .tenun file: its arrays do not lie one behind the other")
        end = last
    return metadata, header, 8 + length


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
