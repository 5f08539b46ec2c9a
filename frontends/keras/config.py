"""From a Keras config (JSON) to layers: Keras 3's serialised objects and the dialects before it.

Classes are looked up in the table of layers, in the caller's `custom_objects`, and nowhere else: nothing is ever
imported by a name from a file.  All that is not supported is collected and reported at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...errors import Finding, LoadError, UnsupportedError
from ...ir import dtype as ir_dtype
from ...layers import LAYERS, Layer
from ...layers.base import config_fields
from ...layers.input import InputLayer
from ...layers.model import Call, Functional, Operator, Ref, Sequential
from ...layers.policy import policy
from .dialects import (
    ACTIVATIONS_BEFORE_3,
    FUNCTIONAL,
    PACKAGES,
    REFUSED_LAYERS,
    RENAMED,
    SYMBOL_CLASSES,
    droppable,
    translated,
)
from .functions import HINT, FunctionLayer, activation
from .policies import nearest_policies, read_policy

if TYPE_CHECKING:
    from .symbols import Symbol


class Reader:
    """Reads one model's config."""

    def __init__(self, version: str, custom_objects: Mapping[str, Any]) -> None:
        self.version, self.custom = version, custom_objects
        self.problems: list[str] = []
        self._started = False  # the outermost model has no path

    @property
    def before_3(self) -> bool:
        """Whether the config was written by Keras 1 or 2."""
        return self.version.split(".")[0] in ("1", "2")

    def model(self, config: Any) -> Layer:
        """The model of a config; UnsupportedError lists all that is not supported."""
        if not isinstance(config, dict) or "class_name" not in config:
            raise LoadError("the model's configuration has no class_name")
        found = self.layer(config, "")
        if self.problems:
            listed = "\n".join(f"    {p}" for p in self.problems)
            count = len(self.problems)
            raise UnsupportedError(
                f"the model has {count} thing{'s' * (count > 1)} that tenun does not support:\n{listed}", hint=HINT,
                findings=self.problems,
            )  # fmt: skip
        assert found is not None
        return found

    # ---- layers

    def layer(self, data: Any, path: str) -> Any:
        """The layer of a serialised object; None, and a problem noted, where it is not supported."""
        if not isinstance(data, dict) or not isinstance(data.get("class_name"), str):
            raise LoadError(f"at {path or 'the top'}: expected a serialised layer, found {type(data).__name__}")
        class_name, config = data["class_name"], data.get("config")
        if class_name == "Sequential" and isinstance(config, list):  # Keras before 2.2.3
            config = {"name": "sequential", "layers": config}
        if not isinstance(config, dict):
            raise LoadError(f"at {path or 'the top'}: the config of {class_name} is no dict")
        name = data.get("name") or config.get("name")
        if not isinstance(name, (str, type(None))):
            raise LoadError(f"at {path or 'the top'}: the name of a {class_name} is {name!r}")
        is_top = path == "" and class_name in (*FUNCTIONAL, "Sequential") and not self._started
        self._started = True
        where = "" if is_top else f"{path}/{name or class_name}".lstrip("/")
        custom = self._custom(data, name, config)
        if custom is not None:
            return self._custom_layer(custom, class_name, name, config, where)
        if class_name in SYMBOL_CLASSES:
            from .symbols import Symbol

            return Symbol(name or class_name, class_name, config)
        if self.before_3:
            class_name, config = translated(class_name, config, self.version)
            data = {**data, "class_name": class_name}
        if self._is_operation(data, config):
            from ...layers.operations import Operation

            return Operation(class_name, {**self._plain(config), "name": name})
        if class_name == "Lambda":
            hint = f"pass custom_objects={{{name!r}: function}} with a function, such as lambda x: x / 255"
            text = f"{where}: a Lambda layer holds Python code, which is never run; {hint}"
            self.problems.append(Finding(text, where, "lambda", str(name), hint))
            return None
        if not self._is_keras(data) or not (class_name in FUNCTIONAL or class_name in LAYERS):
            from ...layers.operations import REFUSED

            module = data.get("module")
            reasons = {**REFUSED, **REFUSED_LAYERS}
            why = f": {reasons[class_name]}" if class_name in reasons else ""
            text = f"{where}: unknown layer {class_name}" + (f" of {module}" if module else "") + why
            registered = str(data.get("registered_name") or "")
            self.problems.append(Finding(text, where, "layer", class_name, registered=registered))
            return None
        if class_name in FUNCTIONAL:
            return self._functional(config, name, where)
        if class_name == "Sequential":
            return self._sequential(config, name, where)
        return self._build(LAYERS[class_name], class_name, {**config, "name": name}, where)

    def _custom(self, data: dict[str, Any], name: str | None, config: dict[str, Any]) -> Any:
        """What the caller gave for a layer, its class, or the function of a Lambda."""
        registered = data.get("registered_name")
        names = [name, registered, str(registered).rpartition(">")[2], data["class_name"]]
        function = config.get("function")
        if data["class_name"] == "Lambda" and isinstance(function, dict) and isinstance(function.get("config"), str):
            names += [function["config"], function["config"].rpartition(">")[2]]
        for key in names:
            if isinstance(key, str) and key in self.custom:
                return self.custom[key]
        return None

    def _custom_layer(self, custom: Any, class_name: str, name: str | None, config: dict[str, Any], where: str) -> Any:
        if inspect.isclass(custom) and issubclass(custom, Layer):
            return self._build(custom, custom.__name__, {**config, "name": name}, where)
        if callable(custom):
            if class_name == "Lambda" and config.get("mask") is not None:
                self.problems.append(f"{where} (Lambda): a mask made by a function is not supported")
                return None
            arguments = self._plain(config.get("arguments") or {}) if class_name == "Lambda" else {}
            dtype = self._dtype(config.get("dtype"), where)
            return FunctionLayer(name or class_name, class_name, custom, dtype, arguments)
        raise UnsupportedError(f"custom object {class_name!r} is a {type(custom).__name__}", node=where, hint=HINT)

    @staticmethod
    def _is_keras(data: dict[str, Any]) -> bool:
        module = data.get("module")
        return not module or str(module).partition(".")[0] in PACKAGES

    def _is_operation(self, data: dict[str, Any], config: dict[str, Any]) -> bool:
        """keras.ops have a module of their own; legacy files leave it out, but only layers have `trainable`."""
        module = data.get("module")
        if module:
            may_be = ".ops" in str(module) and self._is_keras(data)
        else:
            may_be = "trainable" not in config and not self.before_3
        if not may_be:
            return False
        from ...layers.operations import OPERATIONS

        return data["class_name"] in OPERATIONS

    def _build(self, cls: type[Layer], class_name: str, config: dict[str, Any], where: str) -> Any:
        """An object of a layer class, every key of its config taken, dropped knowingly or refused by name."""
        fields, renamed = config_fields(cls), RENAMED.get(class_name, {})
        values: dict[str, Any] = {}
        before = len(self.problems)
        for key, value in config.items():
            key = renamed.get(key, key)
            if key == "dtype":
                values[key] = self._dtype(value, where)
            elif key in fields:
                values[key] = self._field(str(fields[key].type), value, where, key)
            elif not droppable(class_name, key, value):
                text = f"{where} ({class_name}): {key}={value!r} is not supported"
                self.problems.append(Finding(text, where, "option", f"{class_name}.{key}"))
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except UnsupportedError as error:
            text = f"{where}: {error.message}" + (f"; {error.hint}" if error.hint else "")
            self.problems.append(Finding(text, where, "option", class_name, error.hint or ""))
            return None

    def _field(self, annotation: str, value: Any, where: str, key: str) -> Any:
        if "Config" in annotation:
            return value
        if "Function" in annotation:
            return self._activation(value, where, key)
        if "Layer" in annotation and value is not None:
            if isinstance(value, list):
                return [self.layer(v, where) for v in value]
            if isinstance(value, dict) and "class_name" not in value:
                return {key: self.layer(v, where) for key, v in value.items()}
            return self.layer(value, where)
        return self._plain(value)

    def _activation(self, value: Any, where: str, key: str) -> Any:
        """An activation: a name, a layer, or a function of custom_objects."""
        if value is None:
            return "linear"
        if isinstance(value, dict):
            inner = value.get("config")
            if isinstance(inner, dict) and value.get("class_name") in LAYERS:
                return self.layer({**value, "config": {**inner, "name": key}}, where)
            registered = str(value.get("registered_name") or inner or value.get("class_name"))
            value = inner if isinstance(inner, str) else registered
            if registered in self.custom:
                return self._given_activation(registered)
        if not isinstance(value, str):
            raise LoadError(f"{where}: {key} is no activation: {value!r}")
        short = value.rpartition(">")[2]
        if value in self.custom or short in self.custom:
            return self._given_activation(value if value in self.custom else short)
        return ACTIVATIONS_BEFORE_3.get(value, value) if self.before_3 else value

    def _given_activation(self, name: str) -> Any:
        given = self.custom[name]
        return activation(given) if inspect.isfunction(given) else given

    def _dtype(self, value: Any, where: str) -> str | None:
        """The name of a dtype policy."""
        try:
            return read_policy(value, where)
        except UnsupportedError as error:
            text = f"{where}: {error.message}" + (f"; {error.hint}" if error.hint else "")
            self.problems.append(Finding(text, where, "dtype", "dtype", nearest=", ".join(nearest_policies(value))))
            return None

    def _plain(self, value: Any) -> Any:
        """Numbers, strings and lists, wherever Keras wrapped them."""
        if isinstance(value, list):
            return [self._plain(v) for v in value]
        if not isinstance(value, dict):
            return value
        kind, inner = value.get("class_name"), value.get("config")
        if kind == "__tuple__" or ("items" in value and kind == "TensorShape"):
            return [self._plain(v) for v in value.get("items", [])]
        if kind in ("__numpy__", "__tensor__") and isinstance(inner, dict):
            return inner.get("value")
        if value.get("type") == "ndarray":
            return value.get("value")
        return {k: self._plain(v) for k, v in value.items()}

    # ---- models

    def _sequential(self, config: dict[str, Any], name: str | None, where: str) -> Any:
        serialised = _list(config, "layers", where)
        layers = [self.layer(each, where) for each in serialised]
        if any(each is None for each in layers):
            return None
        if layers and not isinstance(layers[0], InputLayer) and serialised:
            shape = first_shape(serialised[0], config)
            if shape is not None and not isinstance(layers[0], (Functional, Sequential)):
                dtype = _first_dtype(serialised[0])
                layers.insert(0, InputLayer(name=f"{layers[0].name}_input", batch_shape=list(shape), dtype=dtype))
        return Sequential(name=name, layers=layers, trainable=bool(config.get("trainable", True)))

    def _functional(self, config: dict[str, Any], name: str | None, where: str) -> Any:
        serialised = _list(config, "layers", where)
        layers = []
        for each in serialised:
            layers.append(self.layer(each, where))
        if any(each is None for each in layers):
            return None
        by_name = {each.name: each for each in layers}
        if len(by_name) != len(layers):
            raise LoadError(f"{where or 'the model'}: two layers have the same name")
        calls = []
        for data, each in zip(serialised, layers):
            for node in data.get("inbound_nodes") or ():
                call = self._call(each.name, node, by_name)
                if isinstance(each, Operator) and each.class_name in SYMBOL_CLASSES:
                    call = self._of_symbol(cast("Symbol", each), call, by_name, where)
                calls.append(call)
        ends = []
        for key in ("input_layers", "output_layers"):
            if key not in config:
                raise LoadError(f"{where or 'the model'}: the configuration has no {key}")
            ends.append(self._refs(config[key], by_name))
        trainable = bool(config.get("trainable", True))
        return Functional(
            name=name, layers=list(by_name.values()), calls=calls, input_layers=ends[0], output_layers=ends[1],
            trainable=trainable,
        )  # fmt: skip

    def _of_symbol(self, symbol: Symbol, call: Call, by_name: dict[str, Layer], where: str) -> Call:
        """The call of the operation that a function of TensorFlow is; that stands in by_name from now on."""
        from ...layers.operations import Operation

        path = f"{where}/{call.layer}".lstrip("/")
        try:
            found, made = symbol.operation(call)
        except UnsupportedError as error:
            self.problems.append(f"{path}: {error.message}" + (f"; {error.hint}" if error.hint else ""))
            return call
        before = by_name[call.layer]
        if isinstance(before, Operation) and (before.operation, before.config) != (found.operation, found.config):
            self.problems.append(f"{path}: a function of TensorFlow is called again with other arguments")
        by_name[call.layer] = found
        return made

    def _call(self, name: str, node: Any, by_name: dict[str, Layer]) -> Call:
        """One inbound node: `{args, kwargs}` (Keras 3), or a list of [layer, call, index, kwargs] (Keras 2)."""
        if isinstance(node, dict) and "args" in node:
            whole = isinstance(by_name.get(name), Operator)
            args, kwargs = (self._tensors(v, whole) for v in (node["args"], node.get("kwargs") or {}))
            return Call(name, list(args), kwargs)
        kwargs = {}
        arg = self._old(node, by_name, kwargs)
        symbol = isinstance(by_name.get(name), Operator)  # of a list of one tensor, too, it takes the list
        if isinstance(arg, list) and len(arg) == 1 and not isinstance(node, dict) and not symbol:
            arg = arg[0]
        kwargs.pop("name", None)
        return Call(name, [arg], kwargs)

    def _tensors(self, value: Any, whole: bool = False) -> Any:
        """Keras 3 call arguments with `__keras_tensor__` as Refs; `whole`: arrays keep their dtype."""
        if isinstance(value, list):
            return [self._tensors(v, whole) for v in value]
        if not isinstance(value, dict):
            return value
        kind, inner = value.get("class_name"), value.get("config")
        if kind == "__keras_tensor__":
            layer, call, index = value["config"]["keras_history"]
            return Ref(str(layer), int(call), int(index))
        if kind == "__tuple__":
            return [self._tensors(v, whole) for v in value.get("items", [])]
        if kind in ("__numpy__", "__tensor__") and isinstance(inner, dict):
            return np.array(inner.get("value"), ir_dtype(inner.get("dtype")).numpy) if whole else inner.get("value")
        if kind == "__ellipsis__":
            return Ellipsis
        if kind == "__slice__" and isinstance(inner, dict):
            return slice(*(self._tensors(inner.get(k), whole) for k in ("start", "stop", "step")))
        return {k: self._tensors(v, whole) for k, v in value.items()}

    def _old(self, node: Any, by_name: dict[str, Layer], kwargs: dict[str, Any]) -> Any:
        """A Keras 2 inbound node; what it says of call arguments goes into kwargs."""
        if isinstance(node, dict):
            return {k: self._old(v, by_name, kwargs) for k, v in node.items()}
        if node and isinstance(node[0], str):
            if len(node) > 3 and isinstance(node[3], dict):
                kwargs.update({k: self._refs(v, by_name) for k, v in node[3].items()})
            return self._plain(node[2]) if node[0] == "_CONSTANT_VALUE" else self._ref(node, by_name)
        return [self._old(v, by_name, kwargs) for v in node]

    def _refs(self, value: Any, by_name: dict[str, Layer]) -> Any:
        """Nested lists and dicts with [layer, call, index] as Refs; other values stay."""
        if isinstance(value, dict):
            if value.get("class_name") == "__tuple__":
                return [self._refs(v, by_name) for v in value.get("items", [])]
            return {k: self._refs(v, by_name) for k, v in value.items()}
        if isinstance(value, list):
            is_ref = len(value) >= 3 and isinstance(value[0], str) and all(isinstance(v, int) for v in value[1:3])
            return self._ref(value, by_name) if is_ref else [self._refs(v, by_name) for v in value]
        return value

    def _ref(self, triple: Any, by_name: dict[str, Layer]) -> Ref:
        """[layer, call, index].  Nested functional models count a call that made them (Keras 2: Sequential too)."""
        name, call, index = str(triple[0]), int(triple[1]), int(triple[2])
        if name not in by_name:
            raise LoadError(f"the model refers to a layer {name!r} that it does not have")
        kinds = (Functional, Sequential) if self.before_3 else (Functional,)
        return Ref(name, max(call - 1, 0) if isinstance(by_name[name], kinds) else call, index)


def _list(config: dict[str, Any], key: str, where: str) -> list[Any]:
    value = config.get(key)
    if not isinstance(value, list):
        raise LoadError(f"{where or 'the model'}: {key} is no list")
    return value


def first_shape(data: dict[str, Any], model: dict[str, Any]) -> Any:
    """The shape (with the batch) that a Sequential without an InputLayer takes: of its first layer, or as built."""
    config = data.get("config") if isinstance(data.get("config"), dict) else {}
    assert isinstance(config, dict)
    build = data.get("build_config")
    candidates = [config.get("batch_input_shape"), config.get("batch_shape"), model.get("build_input_shape")]
    candidates.append(build.get("input_shape") if isinstance(build, dict) else None)
    found = next((c for c in candidates if c is not None), None)
    if isinstance(found, dict):  # {"class_name": "__tuple__", "items": [...]}
        found = found.get("items")
    valid = isinstance(found, list) and all(d is None or isinstance(d, int) for d in found)
    return found if valid else None


def _first_dtype(data: dict[str, Any]) -> str:
    """The dtype of that input: the compute dtype of the layer that takes it."""
    config = data.get("config") or {}
    return policy(read_policy(config.get("dtype"), str(config.get("name")))).compute
