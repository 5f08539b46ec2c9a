"""Writing what Keras 3 reads: layers as a `.keras` file, the inverse of `config.py` and `stores.py`.

Keras makes every layer from its config and then calls it as the file says, which builds its weights; a `build_config`
is needed only where a layer is not called in this (an activation with weights).  Of a tensor in a call only the history
(layer, call, output) is looked at; shape and dtype are there for other readers.  Weights are found by their place in
the tree of objects alone.  Seeds (`seed_generator/vars/0`) are left unread by Keras and read back by tenun.

`write_h5` puts the same config into a legacy `.h5` file, whose layers Keras reads like those of a `.keras` file.
"""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...files import write_atomically
from ...ir import Tensor
from ...layers import LAYERS, Layer, Lowering
from ...layers.activation import ELEMENTWISE, FUNCTIONS, ReLU, ThresholdedReLU
from ...layers.base import config_fields, dtype_name, flatten, map_structure, snake_case
from ...layers.graph import GraphModel
from ...layers.input import InputLayer
from ...layers.model import Call, Functional, Ref, Sequential
from ...layers.operations import FAMILIES, Operation, TensorFlowOperation
from ...layers.recurrent import Recurrent
from ...layers.seed import SeedGenerator
from ...layers.whole import lower_model
from ...layers.wrappers import Bidirectional
from .assets import assets_of, write_factors
from .dialects import ANY
from .functions import FunctionLayer
from .policies import write_policy
from .stores import Declared, legacy_order

Array = np.ndarray[Any, Any]
Values = Callable[[Layer], Sequence[Array]]

KERAS_VERSION = "3.8.0"  # whose configs these are: later versions read them too

# keys that not every version of Keras 3 knows: left out where they have their default
LATER = (
    "activity_regularizer", "lora_rank", "lora_alpha", "quantization_config", "ragged", "optional", "renorm",
    "renorm_clipping", "renorm_momentum", "rms_scaling", "use_gate", "sliding_window",
)  # fmt: skip

# keys that a class of Keras 3 does not take, with the values of which that is no loss
UNKNOWN: dict[str, dict[str, Any]] = {
    "InputLayer": {"trainable": ANY},
    **{name: {"trainable": ANY} for name in ("Discretization", "HashedCrossing")},
    "Pipeline": {"trainable": ANY, "dtype": ANY},
    "MaxNumBoundingBoxes": {"fill_value": ANY},  # taken, but lost whenever Keras writes it
    **{name: {"flash_attention": ANY} for name in ("MultiHeadAttention", "GroupQueryAttention")},
    **{name: {"data_format": (None, "channels_last")} for name in ("Cropping1D", "UpSampling1D")},
    **{f"SpatialDropout{rank}D": {"trainable": ANY, "noise_shape": ANY} for rank in (1, 2, 3)},
}

# keys of 1-D layers that Keras wants as the one entry that they have
UNWRAPPED = {"ZeroPadding1D": "padding", "Cropping1D": "cropping", "UpSampling1D": "size"}

# layers that keras.layers does not name: the module of their class
MODULES = {
    **dict.fromkeys(("TFDConcat", "TFDIdentity"), "keras.src.layers.preprocessing.feature_space"),
    **dict.fromkeys(("LayerScale", "StochasticDepth"), "keras.src.applications.convnext"),
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}

# names of regularisers that Keras 3 does not know, as what they stand for
REGULARIZERS = {
    "l1_l2": {
        "module": "keras.regularizers", "class_name": "L1L2", "config": {"l1": 0.01, "l2": 0.01},
        "registered_name": None,
    },
    "orthogonal": "orthogonal_regularizer",
}  # fmt: skip


# losses and metrics whose short names Keras does not read from a legacy file
IN_FULL = {
    "mse": "mean_squared_error", "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error", "bce": "binary_crossentropy", "kld": "kl_divergence",
}  # fmt: skip


def write(
    model: Layer, values: Values, path: str | Path, *, compile_config: Mapping[str, Any] | None = None,
    optimizer_variables: Sequence[Array] | None = None, optimizer_name: str = "optimizer",
) -> None:  # fmt: skip
    """Put a Functional or Sequential model into a `.keras` file, whole or not at all.

    `values(layer)` gives the arrays of a layer's own variables in the order of `Layer.weights`.  `compile_config` is
    what Keras compiles the model with (its serialised optimizer, loss, metrics, ...), `optimizer_variables` are those
    of that optimizer in Keras' order.  A layer class or function of the user's own is written under its attribute
    `registered_name`, by default its name, and Keras has to be given it as a custom object.
    UnsupportedError lists all that Keras could not read.
    """
    write_atomically(path, archive(model, values, compile_config, optimizer_variables, optimizer_name))


def archive(
    model: Layer, values: Values, compile_config: Mapping[str, Any] | None = None,
    optimizer_variables: Sequence[Array] | None = None, optimizer_name: str = "optimizer",
) -> bytes:  # fmt: skip
    """The bytes of the `.keras` file that `write` writes."""
    config = Writer().model(model)
    if compile_config is not None:
        config["compile_config"] = compile_config
    date = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    members: dict[str, str | bytes] = {
        "metadata.json": _json({"keras_version": KERAS_VERSION, "date_saved": date}, "metadata"),
        "config.json": _json(config, "config"),
        "model.weights.h5": weights_file(model, values, optimizer_variables, optimizer_name),
        **assets_of(tree(model, "")),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def _json(value: Any, what: str) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"the {what} of the model cannot be written as JSON: {error}") from None


# ---- weights ----------------------------------------------------------------------------------------------------


def weights_file(model: Layer, values: Values, optimizer_variables: Sequence[Array] | None, optimizer: str) -> bytes:
    """`model.weights.h5`: a group for each object in the tree, its variables numbered below `vars`.

    An object that the tree has twice is stored once, under all of its paths.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        stored: dict[Layer, str] = {}
        for layer, path in tree(model, ""):
            group = f"{path}/vars"
            if layer in stored:
                file[group] = file[stored[layer]]
                continue
            arrays = _own_variables(layer, values)
            if len(arrays) or not isinstance(layer, SeedGenerator):
                _variables(file, group, layer.name or "", arrays)
                write_factors(file[group], layer)
                stored[layer] = group
        if optimizer_variables is not None:
            _variables(file, "optimizer/vars", optimizer, optimizer_variables)
    return buffer.getvalue()


def _own_variables(layer: Layer, values: Values) -> list[Array]:
    """The variables of a layer itself, as Keras stores them."""
    return [*([] if layer.twin is None else values(layer.twin)[:1]), *layer.as_stored(values(layer))]


def shards(model: Layer, values: Values, name: str, limit: float) -> dict[str, bytes]:
    """`weights_file` in parts of at most `limit` bytes of data: files by name, the last one `name.weights.json`.

    That one says which group lies where, and in which parts if in several (saving_lib.ShardedH5IOStore).
    UnsupportedError where a variable is larger than the limit.
    """
    import h5py

    first: dict[Layer, str] = {}  # Keras visits what the tree has twice once
    for layer, path in tree(model, ""):
        first.setdefault(layer, path)
    placed: list[list[tuple[str, Layer, int, Array]]] = [[]]
    total = size = 0
    for layer, path in first.items():
        for i, array in enumerate(_own_variables(layer, values)):
            if array.nbytes > limit:
                raise UnsupportedError(f"a weight of {layer.name!r} has {array.nbytes} bytes, a shard {int(limit)}")
            total, size = total + array.nbytes, size + array.nbytes
            if size > limit:
                placed.append([])
                size = array.nbytes
            placed[-1].append((f"{path}/vars".lstrip("/"), layer, i, array))
    found: dict[str, bytes] = {}
    where: dict[str, list[str]] = {}
    for number, members in enumerate(placed):
        buffer, file_name = io.BytesIO(), f"{name}_{number:05}.weights.h5"
        with h5py.File(buffer, "w") as file:
            for path, layer, i, array in members:
                _variable(_group(file, path, layer.name or ""), i, array)
                if i == 0:
                    write_factors(file[path], layer)
                if file_name not in where.setdefault(f"/{path}", []):
                    where[f"/{path}"].append(file_name)
        found[file_name] = buffer.getvalue()
    weight_map = {path: names[0] if len(names) == 1 else names for path, names in where.items()}
    found[f"{name}.weights.json"] = _json(
        {"metadata": {"total_size": total}, "weight_map": weight_map}, "list of shards"
    )
    return found


def tree(layer: Layer, path: str) -> Iterator[tuple[Layer, str]]:
    """Every layer with the group where Keras stores its variables.

    Groups follow attributes; members of a list are called by their class, numbered (saving_lib._save_container_state).
    """
    layer = layer.expanded
    here = "/".join(filter(None, (path, layer.store_path)))
    yield layer, here
    for attribute, child in layer.children():
        if isinstance(child, Layer):
            yield from tree(child, f"{here}/{attribute}".lstrip("/"))
            continue
        used: dict[str, int] = {}
        for each in (member.expanded for member in child):
            base = snake_case(each.stored_as or each.class_name)
            number = used[base] = used.get(base, -1) + 1
            name = f"{base}_{number}" if number else base
            yield from tree(each, f"{here}/{attribute}/{name}".lstrip("/"))


def _variables(file: Any, path: str, name: str, arrays: Sequence[Array]) -> None:
    group = _group(file, path, name)
    for i, array in enumerate(arrays):
        _variable(group, i, np.asarray(array))


def _group(file: Any, path: str, name: str) -> Any:
    group = file.require_group(path.lstrip("/"))
    group.attrs["name"] = name
    return group


def _variable(group: Any, i: int, array: Array) -> None:
    dataset = group.create_dataset(str(i), data=array)
    if array.dtype.name == "bfloat16":  # HDF5 has no such type: as opaque bytes, marked as Keras marks them
        dataset.attrs["dtype"] = "bfloat16"


# ---- legacy files -----------------------------------------------------------------------------------------------


def write_h5(
    model: Layer, values: Values, path: str | Path, *, compile_config: Mapping[str, Any] | None = None
) -> None:
    """As `write`, for a whole-model `.h5` file (keras/src/legacy/saving/legacy_h5_format.py).

    Without seeds and without variables of the optimizer: Keras 3 cannot train a model read from a file that has them.
    """
    import h5py

    writer = Writer(inline=True)
    config, declared = writer.model(model), writer.lowering.parameters
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _legacy_attributes(file, config, compile_config)
        _legacy_weights(file.create_group("model_weights"), model, values, declared)
    write_atomically(path, buffer.getvalue())


def legacy_weights_file(model: Layer, values: Values) -> bytes:
    """An `.h5` file of the weights alone, a group for each layer by its name: what Keras 2 wrote."""
    import h5py

    lowering = Lowering()
    lower_model(model.expanded, lowering)
    if lowering.parameters.get(model):
        raise model.invalid("weights of no layer have no place in such a file: use the suffix .weights.h5")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = KERAS_VERSION, "tensorflow"
        _legacy_weights(file, model, values, lowering.parameters)
    return buffer.getvalue()


def _legacy_weights(group: Any, model: Layer, values: Values, declared: Declared) -> None:
    """The layers below the model, each with the weights of all that is inside in one list."""
    arrays = {p.name: a for layer, ps in declared.items() for p, a in zip(ps, values(layer))}
    (_, layers), *_ = model.expanded.children()
    _names(group, "layer_names", [each.name for each in layers])  # type: ignore[union-attr]
    for each in layers:  # type: ignore[union-attr]
        order = legacy_order(each, declared)
        _listed(group.create_group(each.name), {p.name.replace(".", "/"): arrays[p.name] for p in order})
    _listed(group.create_group("top_level_model_weights"), {})


def _legacy_attributes(file: Any, config: dict[str, Any], compile_config: Mapping[str, Any] | None) -> None:
    """Version, config, and what the model is compiled with: the optimizer apart from the rest, as a dict."""
    file.attrs["keras_version"], file.attrs["backend"] = KERAS_VERSION, "tensorflow"
    file.attrs["model_config"] = _json(config, "config")
    if compile_config is not None:
        keys = ("loss", "metrics", "weighted_metrics", "loss_weights")
        optimizer = compile_config["optimizer"]
        named = {"class_name": optimizer, "config": {}} if isinstance(optimizer, str) else optimizer
        settings = {k: _in_full(compile_config.get(k)) for k in keys}
        training = {**settings, "optimizer_config": named}
        file.attrs["training_config"] = _json(training, "config")


def _in_full(value: Any) -> Any:
    """Nested losses or metrics with their names in full; serialised ones as they are."""
    if isinstance(value, Mapping):
        return value if "class_name" in value else {k: _in_full(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_full(v) for v in value]
    return IN_FULL.get(value.lower(), value) if isinstance(value, str) else value


def _listed(group: Any, arrays: Mapping[str, Array]) -> None:
    """Datasets, and an attribute with their names in order."""
    _names(group, "weight_names", list(arrays))
    for name, array in arrays.items():
        group[name] = array.astype("float32") if array.dtype.name == "bfloat16" else array


def _names(group: Any, attribute: str, names: list[Any]) -> None:
    import h5py

    group.attrs.create(attribute, names, shape=(len(names),), dtype=h5py.string_dtype())


# ---- configs ----------------------------------------------------------------------------------------------------


class Writer:
    """Serialises one model; `problems` are the things in it that Keras could not read.

    `lowering` has the model's weights as declared; `inline` tells that the file has no place for assets.
    """

    def __init__(self, inline: bool = False) -> None:
        self.inline = inline
        self.problems: list[str] = []
        self.lowering = _Building()

    def model(self, model: Layer) -> dict[str, Any]:
        """The model as Keras' config.json says it; UnsupportedError lists all that is not supported."""
        model = model.expanded
        if not isinstance(model, (Functional, Sequential)):
            raise UnsupportedError(f"{model.name!r} is a {model.class_name}, not a model", op=model.class_name)
        lower_model(model, self.lowering)
        found = self.layer(model, "")
        if self.problems:
            listed = "\n".join(f"    {p}" for p in self.problems)
            count = len(self.problems)
            raise UnsupportedError(f"the model has {count} thing{'s' * (count > 1)} that Keras cannot read:\n{listed}")
        return found

    def layer(self, layer: Layer, path: str) -> dict[str, Any]:
        """A layer as Keras serialises it: module, class, config."""
        layer = layer.expanded
        where = f"{path}/{layer.name}".lstrip("/")
        if "/" in (layer.name or ""):
            self.problems.append(f"{where}: a layer's name must not contain a slash in Keras 3")
        if isinstance(layer, GraphModel):
            raise layer.invalid("a graph has no form in Keras' files: use the suffix .onnx or .tenun")
        if isinstance(layer, Functional):
            return _object("keras.src.models.functional", "Functional", self._functional(layer, path), "Functional")
        if isinstance(layer, Sequential):
            return _object("keras", "Sequential", self._sequential(layer, path))
        if isinstance(layer, TensorFlowOperation):
            self.problems.append(f"{where}: keras.ops has no {layer.operation}, so Keras 3 cannot read it from a file")
        elif isinstance(layer, Operation):
            module = f"keras.src.ops.{FAMILIES[layer.operation]}"
            config = {"name": layer.name, **self._plain(layer.config, where)}
            return _object(module, layer.operation, config, layer.operation)
        if isinstance(layer, FunctionLayer):
            self.problems.append(f"{where}: a function stands for the layer {layer.class_name}, whose config is lost")
        if isinstance(layer, ThresholdedReLU):  # gone from Keras 3, where ReLU can do the same
            layer = ReLU(name=layer.name, trainable=layer.trainable, dtype=layer.dtype, threshold=layer.theta)
        config = self._config(layer, where)
        if layer.class_name in MODULES:
            return _object(MODULES[layer.class_name], layer.class_name, config, layer.class_name)
        if LAYERS.get(layer.class_name) is type(layer):
            return _object("keras.layers", layer.class_name, config)
        registered = getattr(layer, "registered_name", layer.class_name)
        return {**_object(None, layer.class_name, config, registered), **self.lowering.config(layer)}

    def _config(self, layer: Layer, where: str) -> dict[str, Any]:
        """The fields of a layer by Keras' names."""
        config: dict[str, Any] = {}
        unknown = UNKNOWN.get(layer.class_name, {})
        for key, field in config_fields(type(layer)).items():
            value = getattr(layer, key)
            if key in LATER and (value is None or value is field.default):
                continue
            if key in unknown:
                if unknown[key] is not ANY and value not in unknown[key]:
                    self.problems.append(f"{where}: {layer.class_name} has no {key}={value!r} in Keras 3")
            elif key == "dtype":
                config[key] = value or "float32" if isinstance(layer, InputLayer) else write_policy(value)
            else:
                value = value[0] if UNWRAPPED.get(layer.class_name) == key else value
                config[key] = self._field(str(field.type), key, value, where)
        return {**config, **self._plain(layer.more_config(self.inline), where)}

    def _field(self, annotation: str, key: str, value: Any, where: str) -> Any:
        if "Config" in annotation:
            return self._kept(key, value, where)
        if "Function" in annotation:
            return self._activation(key, value, where)
        if "Layer" in annotation and value is not None:
            return [self.layer(v, where) for v in value] if isinstance(value, list) else self.layer(value, where)
        return self._plain(value, where)

    def _kept(self, key: str, value: Any, where: str) -> Any:
        """An initialiser, regulariser or constraint: a name, a serialised dict, an object with a table, a function."""
        value = value() if isinstance(value, type) else value
        if isinstance(value, str):
            return REGULARIZERS.get(value, value) if key.endswith("regularizer") else value
        if hasattr(type(value), "table"):
            return self._plain(value.table.serialize(value), where)
        return self._function(key, value, where) if callable(value) else self._plain(value, where)

    def _activation(self, key: str, value: Any, where: str) -> Any:
        """An activation: a name that Keras 3 knows, a layer, or a function with a name."""
        if isinstance(value, Layer):
            return {**self.layer(value, where), **self.lowering.config(value)}
        if callable(value):
            return self._function(key, value, where)
        if value is not None and (value not in {**ELEMENTWISE, **FUNCTIONS} or "." in value):
            self.problems.append(f"{where}: Keras 3 has no activation {value!r} ({key})")
        return value or "linear"

    def _function(self, key: str, function: Any, where: str) -> Any:
        """A function by the name under which Keras finds it among its custom objects."""
        name = getattr(function, "registered_name", getattr(function, "__name__", "<lambda>"))
        if name == "<lambda>":
            self.problems.append(f"{where}: {key} is a function without a name under which Keras could find it")
        return _object("builtins", "function", name, name)

    def _plain(self, value: Any, where: str) -> Any:
        """Numbers, strings, lists and dicts, as JSON has them; references between objects of a file are cut."""
        if isinstance(value, Mapping):
            return {str(k): self._plain(v, where) for k, v in value.items() if k != "shared_object_id"}
        if isinstance(value, (list, tuple)):
            return [self._plain(v, where) for v in value]
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        if not isinstance(value, (str, int, float, type(None))):
            self.problems.append(f"{where}: a {type(value).__name__} cannot be written: {value!r}")
        return value

    # ---- models

    def _sequential(self, model: Sequential, path: str) -> dict[str, Any]:
        where = f"{path}/{model.name}" if path else ""
        config = {"name": model.name, "trainable": model.trainable, "dtype": write_policy(model.dtype)}
        first = model.layers[0] if model.layers else None
        shape = first.batch_shape if isinstance(first, InputLayer) else model.build_input_shape
        layers = [self.layer(each, where) for each in model.layers]
        return {**config, "layers": layers, **({"build_input_shape": list(shape)} if shape is not None else {})}

    def _functional(self, model: Functional, path: str) -> dict[str, Any]:
        where = f"{path}/{model.name}" if path else ""
        by_name, types = {each.name: each for each in model.layers}, tensor_types(model)
        nodes: dict[str | None, list[Any]] = {}
        for call in model.calls:
            nodes.setdefault(call.layer, []).append(self._node(by_name[call.layer], call, types, where))
        layers = [
            {**self.layer(each, where), "name": each.name, "inbound_nodes": nodes.get(each.name, [])}
            for each in model.layers
        ]

        def end(ref: Ref) -> list[Any]:
            """A nested functional model counts a call that made it."""
            return [ref.layer, ref.call + isinstance(by_name[ref.layer], Functional), ref.output]

        ends = {key: map_structure(end, getattr(model, key)) for key in ("input_layers", "output_layers")}
        return {"name": model.name, "trainable": model.trainable, "layers": layers, **ends}

    def _node(self, layer: Layer, call: Call, types: Mapping[Ref, Tensor], where: str) -> dict[str, Any]:
        """A call with its arguments."""
        args, kwargs = list(call.args), dict(call.kwargs)
        if isinstance(layer, (Recurrent, Bidirectional)) and isinstance(args[0], list):  # as Keras 2 gave states
            args[0], *states = args[0]
            kwargs = {"initial_state": states, **kwargs} if states else kwargs

        def argument(value: Any) -> Any:
            if isinstance(value, Ref):
                return _tensor(value, types[value])
            return _constant(value) if isinstance(layer, Operation) else self._plain(value, where)

        return {"args": map_structure(argument, args), "kwargs": map_structure(argument, kwargs)}


def _object(module: str | None, class_name: str, config: Any, registered: str | None = None) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def _shape(type: Tensor) -> list[int | None]:
    return [d if isinstance(d, int) else None for d in type.dims]


def _tensor(ref: Ref, type: Tensor) -> dict[str, Any]:
    config = {"shape": _shape(type), "dtype": dtype_name(type.dtype), "keras_history": list(ref)}
    return {"class_name": "__keras_tensor__", "config": config}


def _constant(value: Any) -> Any:
    """An argument of an operation that is no tensor: arrays with their dtype, parts of keys."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return {"class_name": "__numpy__", "config": {"value": array.tolist(), "dtype": array.dtype.name}}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, slice):
        return {"class_name": "__slice__", "config": {"start": value.start, "stop": value.stop, "step": value.step}}
    return value


class _Building(Lowering):
    """A lowering that remembers for what inputs the layers are built."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[Layer, Sequence[Tensor]] = {}

    def declare(self, layer: Layer, path: str, types: Sequence[Tensor], trainable: bool = True) -> None:
        self.inputs.setdefault(layer, types)
        super().declare(layer, path, types, trainable)

    def config(self, layer: Layer) -> dict[str, Any]:
        """The `build_config` of a layer that has weights."""
        types = self.inputs.get(layer, ())
        if not self.parameters.get(layer) or len(types) != 1:
            return {}
        return {"build_config": {"input_shape": _shape(types[0])}}


def tensor_types(model: Functional) -> dict[Ref, Tensor]:
    """The types of the tensors that the model's calls take: those of its graph if they were its outputs."""
    taken = sorted({ref for call in model.calls for ref in flatten([call.args, call.kwargs]) if isinstance(ref, Ref)})
    if not taken:
        return {}
    ends: dict[str, Any] = {"input_layers": model.input_layers, "output_layers": taken}
    probe = Functional(name=model.name, layers=model.layers, calls=model.calls, **ends)
    lowered = lower_model(probe, Lowering())
    return {ref: value.var.tensor for ref, value in zip(taken, lowered.outputs.values())}
