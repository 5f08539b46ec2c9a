"""What a model file says of itself, before anything is made of it; and all that cannot be read of it, at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import Finding, TenunError, UnsupportedError
from ..ir.graph import Graph
from . import HDF5_MAGIC, tenun

SHOWN = 3  # names that are nearest to one that is not known
DTYPES = re.compile(r"\bdtypes?\b|element type")  # in the text of an error that is of dtypes
CAST = "put a Cast before the node, or let it have operands of one dtype"
LIMIT = 64  # rounds of reading, each of which gets past what the one before stumbled over


def kind_of(file: str) -> str:
    """keras, h5, json, tenun or onnx, by the content."""
    with Path(file).open("rb") as stream:
        head = stream.read(512)
    for kind, fits in (
        ("h5", head.startswith(HDF5_MAGIC)), ("keras", head.startswith(b"PK")), ("tenun", tenun.is_tenun(head)),
        ("json", head.lstrip().startswith(b"{")),
    ):  # fmt: skip
        if fits:
            return kind
    return "onnx"


def facts(file: str) -> dict[str, str]:
    """Which programs and versions wrote a file, as far as it says so."""
    kind = kind_of(file)
    found = FACTS[kind](file) if kind in FACTS else {}
    return {"format": kind, **{key: str(value) for key, value in found.items() if value not in (None, "")}}


def _of_keras(file: str) -> dict[str, Any]:
    from .keras.archive import Archive

    archive = Archive(file, file)
    metadata = archive.json("metadata.json") if "metadata.json" in archive.names else {}
    return {key: metadata.get(key) for key in ("keras_version", "date_saved")} if isinstance(metadata, dict) else {}


def _of_h5(file: str) -> dict[str, Any]:
    from .keras.archive import H5

    h5 = H5(file, file)
    try:
        root = h5.node("/")
        return {key: h5.attribute(root, key) for key in ("keras_version", "backend")}
    finally:
        h5.close()


def _of_onnx(file: str) -> dict[str, Any]:
    from .onnx.reader import _parsed

    proto = _parsed(file, file)
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in proto.opset_import)
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return {"producer": producer, "ir_version": proto.ir_version, "opsets": opsets}


def _of_tenun(file: str) -> dict[str, Any]:
    sample = tenun.read_sample(file)
    return {"sample": "none" if sample is None else f"{len(sample[0])} inputs, {len(sample[1])} outputs"}


FACTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "keras": _of_keras, "h5": _of_h5, "onnx": _of_onnx, "tenun": _of_tenun,
}  # fmt: skip


# ---- everything that is wrong


def findings(file: str, custom_objects: dict[str, Any] | None = None) -> tuple[Graph | None, list[Finding]]:
    """All that cannot be read of a file, with stand-ins in its place, and the graph where nothing is wrong."""
    if kind_of(file) == "onnx":
        return _onnx_findings(file)
    return _keras_findings(file, dict(custom_objects or {}))


def _onnx_findings(file: str) -> tuple[Graph | None, list[Finding]]:
    from .onnx.reader import failures

    graph, found = failures(file)
    places = _nodes_in(file) if found else {}
    return (None if found else graph), [_onnx_finding(error, places) for error in found]


def _nodes_in(file: str) -> dict[str, str]:
    """Where the nodes of an ONNX file stand, by their names: `graph.node[3]`."""
    from .onnx.reader import _parsed

    try:
        proto = _parsed(file, file)
    except TenunError:
        return {}
    return {node.name: f"graph.node[{i}]" for i, node in reversed(list(enumerate(proto.graph.node))) if node.name}


def _onnx_finding(error: TenunError, places: Mapping[str, str]) -> Finding:
    from .onnx.registry import ROWS

    name = error.op or ""
    known = sorted({op for _, op in ROWS})
    unknown = isinstance(error, UnsupportedError) and bool(name) and name not in known
    nearest = ", ".join(difflib.get_close_matches(name, known, SHOWN)) if unknown else ""
    text = f"{error.node}: {error.message}" if error.node else error.message
    kind = "dtype" if DTYPES.search(error.message) else "operator" if name else "file"
    hint = error.hint or (CAST if kind == "dtype" and name else "")
    return Finding(text, error.node or "", kind, name, hint, nearest=nearest, location=places.get(error.node or "", ""))


def _keras_findings(file: str, custom: dict[str, Any]) -> tuple[Graph | None, list[Finding]]:
    """Read again and again, with a stand-in for every layer that was the matter."""
    from . import reader_for

    found: list[Finding] = []
    shapes, places = _shapes_in(file), _layers_in(file)
    stand_ins: dict[str, Any] = {}
    graph = None
    for _ in range(LIMIT):
        try:
            graph = reader_for(file)(file, {**custom, **stand_ins}, None, {})
            break
        except TenunError as error:
            new = error.findings or [Finding(error.message, error.node or "", "file", error.op or "", error.hint or "")]
            new = [f for f in new if str(f) not in {str(g) for g in found} and _is_sure(f, stand_ins, shapes)]
            found += new
            names = {f.where.rpartition("/")[2] for f in new if f.kind in ("layer", "lambda", "option")}
            names -= {*custom, *stand_ins}
            if not names:
                break
            stand_ins.update((name, _stand_in(name, shapes, stand_ins)) for name in names)
    return (None if found else graph), [_told(f, shapes, places) for f in found]


def _is_sure(finding: Finding, stand_ins: Container[str], shapes: Mapping[str, Any]) -> bool:
    """Whether a finding is no consequence of stand-ins: they have no weights, and not always the right shape."""
    if finding.kind != "weights":
        return True
    guessed = any(name in stand_ins and after is None for name, (_, after) in shapes.items())
    return not guessed and finding.where.rpartition("/")[2] not in stand_ins


def _told(finding: Finding, shapes: Mapping[str, Any], places: Mapping[str, str]) -> Finding:
    """With its place in the file, the nearest class that is known, and for a Lambda what to write in its place."""
    from ..layers import LAYERS

    name = finding.where.rpartition("/")[2]
    detail = dict(finding.detail)
    known = next((p for p in _upwards(finding.where) if p in places), None)
    inside = detail.get("location")  # of the weights
    if known is not None:
        detail["location"] = "; ".join(filter(None, (places[known], inside)))
    if finding.kind == "layer":
        detail["nearest"] = ", ".join(difflib.get_close_matches(finding.name, LAYERS, SHOWN))
    if finding.kind in ("layer", "lambda"):
        before, after = (_text(s) for s in shapes.get(name, (None, None)))
        detail["shapes"] = f"{before} -> {after}"
        key = name if finding.kind == "lambda" else detail.get("registered") or finding.name
        detail["snippet"] = (
            f"def {_identifier(name)}(x):  # {before} -> {after}\n    return x  # what the layer computes\n\n"
            f'model = tenun.load(PATH, custom_objects={{"{key}": {_identifier(name)}}})'
        )
    return Finding(str(finding), finding.where, finding.kind, finding.name, finding.hint, **detail)


def _identifier(name: str) -> str:
    text = "".join(c if c.isalnum() else "_" for c in name)
    return text if text.isidentifier() else f"layer_{text}"


def _text(shape: Any) -> str:
    return "?" if shape is None else "(" + ", ".join("None" if d is None else str(d) for d in shape) + ")"


def _stand_in(name: str, shapes: dict[str, Any], others: Container[str]) -> Callable[..., Any]:
    """A function in the place of a layer: an input of the shape that the layer gives, or what it gets itself.

    What it gets it enters into `shapes`, if the file does not tell, and no other stand-in has guessed what it gives.
    """
    from ..ir.types import Tensor
    from ..ir.types import dtype as ir_dtype

    before, after = shapes.get(name, (None, None))
    shapes[name] = before, after

    def stand_in(b: Any, x: Any) -> Any:
        first = x[0] if isinstance(x, (list, tuple)) else x
        guessed = any(n in others and n != name and given is None for n, (_, given) in shapes.items())
        if before is None and first is x and not guessed and isinstance(x.type, Tensor) and x.type.shape:
            shapes[name] = [d if isinstance(d, int) else None for d in x.type.shape], after
        if after is None:
            return first
        batch = first.shape[0] if first.shape else 1
        sizes = tuple(batch if i == 0 else 8 if d is None else d for i, d in enumerate(after))
        return b.graph.add_input(f"stand_in_{len(b.graph.inputs)}", Tensor(ir_dtype("float32"), sizes))

    return stand_in


def _shapes_in(file: str) -> dict[str, Any]:
    """Shapes that a Keras config tells of layers: (input, output) by name."""
    try:
        config = _config(file)
    except TenunError:
        return {}
    found: dict[str, list[Any]] = {}
    for model in _models(config):
        layers = model.get("config", {}).get("layers", ())
        names = [_name(layer) for layer in layers]
        for layer, name in zip(layers, names):
            built = layer.get("build_config")
            shape = built.get("input_shape") if isinstance(built, dict) else None
            found.setdefault(name, [None, None])[0] = shape if isinstance(shape, list) else None
        if model.get("class_name") == "Sequential":
            for before, after in pairwise(names):
                found[before][1] = found[after][0]
        for layer, name in zip(layers, names):
            for shape, source in _tensors(layer.get("inbound_nodes")):
                found.setdefault(source, [None, None])[1] = shape
                found[name][0] = found[name][0] or shape
    return {name: tuple(shapes) for name, shapes in found.items()}


def _layers_in(file: str) -> dict[str, str]:
    """Where the layers of a Keras file stand, by their names: `config.json: config.layers[3]`."""
    try:
        config = _config(file)
    except TenunError:
        return {}
    kind = kind_of(file)
    part = {"keras": "config.json: ", "h5": "model_config: "}.get(kind, "")
    return {name: f"{part}{path}" for name, path in _placed(config, "config.layers")}


def _placed(data: Any, place: str, path: str = "") -> Iterator[tuple[str, str]]:
    """The paths of the layers of a serialised model, and of those inside, with their places."""
    inside = data.get("config") if isinstance(data, dict) else None
    layers = inside.get("layers") if isinstance(inside, dict) else None
    for i, layer in enumerate(layers if isinstance(layers, list) else ()):
        mine = f"{path}{_name(layer)}"
        yield mine, f"{place}[{i}]"
        yield from _placed(layer, f"{place}[{i}].config.layers", f"{mine}/")


def _upwards(path: str) -> Iterator[str]:
    """A path, and those that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _config(file: str) -> Any:
    from .keras.archive import H5, Archive, parse_json, read_text

    kind = kind_of(file)
    if kind == "keras":
        return Archive(file, file).json("config.json")
    if kind == "json":
        return parse_json(read_text(file), "the architecture", file)
    h5 = H5(file, file)
    try:
        return parse_json(h5.attribute(h5.node("/"), "model_config"), "model_config", file)
    finally:
        h5.close()


def _models(data: Any) -> Iterator[dict[str, Any]]:
    """A serialised model and those inside of it."""
    inside = data.get("config") if isinstance(data, dict) else None
    if isinstance(inside, dict) and isinstance(inside.get("layers"), list):
        yield data
        for layer in inside["layers"]:
            yield from _models(layer)


def _name(layer: Any) -> str:
    config = layer.get("config") if isinstance(layer, dict) else None
    return str((layer.get("name") if isinstance(layer, dict) else "") or (config or {}).get("name") or "")


def _tensors(value: Any) -> Iterator[tuple[Any, str]]:
    """The shapes of tensors among call arguments, with the layers that they come from."""
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(config, dict):
            history = config.get("keras_history") or [""]
            yield config.get("shape"), str(history[0])
            return
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _tensors(each)
