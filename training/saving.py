"""Models from files and into files, with what they were compiled with and the optimiser's state."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.base import backend
from ..errors import RunError, UnsupportedError
from ..frontends import WRITERS, is_keras, reader_for, writer_for
from ..frontends.keras import stores, writer
from ..frontends.keras.reader import Loaded, read_model
from ..frontends.keras.weights import open_weights
from ..ir import Graph
from ..layers import Layer, Parameter
from ..layers.graph import graph_model
from .losses import LOSSES
from .metrics import METRICS
from .model import Model
from .objects import serialized

Array = np.ndarray[Any, Any]

ARGUMENTS = ("loss", "loss_weights", "metrics", "weighted_metrics")


def load_model(
    source: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, weights: Any = None,
    trainable: Callable[[str], bool] | None = None,
) -> Model:  # fmt: skip
    """A model to train further: a `.keras` or `.h5` file (path or bytes), a live Keras model, or a graph.

    weights: a file of weights, for a source that is an architecture alone, or in place of what it has.

    With `compile`, it is compiled as the file says (where it does), and its optimiser goes on where it stood.

    A graph is an ONNX model, a `.tenun` file or a Graph: see `layers.graph`; `trainable` tells, name by name, which of
    its weights are trained.
    """
    if isinstance(source, Graph) or not is_keras(source):
        given = {} if custom_objects is None else custom_objects
        graph = source if isinstance(source, Graph) else reader_for(source)(source, given, weights, {})
        return Model.of(graph_model(graph, trainable))
    if trainable is not None:
        raise UnsupportedError("trainable= goes with graphs", hint="set `trainable` of the model's layers")
    loaded = read_model(source, custom_objects, weights)
    model = Model.of(loaded.model)
    if compile and loaded.compiled is not None and loaded.compiled.get("optimizer") is not None:
        _compile(model, loaded, dict(custom_objects or {}))
    return model


def _compile(model: Model, loaded: Loaded, custom: Mapping[str, Any]) -> None:
    assert loaded.compiled is not None
    arguments = {k: _replaced(_plain(loaded.compiled.get(k)), custom) for k in ARGUMENTS}
    model.compile(_plain(loaded.compiled["optimizer"]), **arguments)
    if not loaded.optimizer:
        return
    variables = in_our_order(loaded.optimizer, model, loaded.version)
    if variables is not None:
        model.restore_optimizer(variables)
        return
    found = ", ".join(str(np.shape(v)) for v in loaded.optimizer)
    warnings.warn(
        f"the state of the optimizer ({type(model.optimizer.settings).__name__}) stays as it is for a new model: the "
        f"variables in the file do not fit it, their shapes are {found}",
        stacklevel=4,
    )


def _plain(value: Any) -> Any:
    """Lists and tuples, wherever Keras wrapped them."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__tuple__":
            return [_plain(v) for v in value.get("items", [])]
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _replaced(value: Any, custom: Mapping[str, Any]) -> Any:
    """Names of the user's own losses and metrics replaced by what `custom_objects` gives for them."""
    if isinstance(value, str):
        return custom.get(value.rpartition(">")[2], value)
    if isinstance(value, list):
        return [_replaced(v, custom) for v in value]
    if isinstance(value, Mapping):
        names = (value.get("registered_name"), value.get("config"), value.get("class_name"))
        found = [custom[n] for n in names if isinstance(n, str) and n in custom]
        return found[0] if found and "class_name" in value else {k: _replaced(v, custom) for k, v in value.items()}
    return value


NAMED = re.compile(r"1\.|2\.0\.[0-5]$")  # versions of Keras that sort the parameters by their names


def in_our_order(given: Sequence[Array], model: Model, version: str = "3") -> list[Array | None] | None:
    """The optimiser's variables of a file in Keras 3's order; None where they are of another optimiser.

    Keras 3 has them in that order.  Keras 2 left the learning rate out (it stays as the configuration says), and some
    of its versions went parameter by parameter instead of slot by slot, or the other way round.
    """
    first = model.optimizer.settings.first_states(model.trainable_weights)
    names = list(first)
    rate = model.optimizer.settings.rate_state()
    without = [n for n in names if n != rate]
    parameters = [p.name for p in model.trainable_weights]

    def interleaved(order: Sequence[str]) -> list[str]:
        def place(name: str) -> int:
            return next((i for i, p in enumerate(parameters) if f"/{p}/" in name), -1)

        return sorted(order, key=place)

    found = [tuple(np.shape(g)) for g in given]
    if len(found) <= 2 < len(names) and not any(found):  # compiled, never trained: there are no slots yet
        return [*given, *[None] * (len(names) - len(given))]

    def by_slot(order: Sequence[str]) -> list[str]:
        slots = list(dict.fromkeys(n.rpartition("/")[2] for n in order))
        return sorted(order, key=lambda n: slots.index(n.rpartition("/")[2]))

    def by_name(order: Sequence[str], mark: str = "") -> list[str]:
        """Keras 2.0 sorted the parameters by their names, in which a layer's may have been told apart: dense_1_1."""
        parts = {n: n.replace(".", f"{mark}/").rpartition("/") for n in order}
        return sorted(order, key=lambda n: (n.count("/") > 1, *parts[n][::-1]))

    slots = [n for n in names if n.count("/") > 1]  # some optimizers of Keras 2.0 wrote no counter
    orders = [list(names), without, interleaved(names), interleaved(without), by_slot(names), by_slot(without)]
    named = [by_name(each, mark) for each in (without, slots) for mark in ("", "_1")]
    for order in [*named, *orders] if NAMED.match(version) else [*orders, *named]:
        if found == [first[n].shape for n in order]:
            values = dict(zip(order, given))
            return [values.get(n) for n in names]
    return None


# ---- writing ----------------------------------------------------------------------------------------------------


def save_model(model: Model, path: str | Path, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a model, whole or not at all.

    `.keras`, which Keras loads and trains on; `.h5` or `.hdf5`, the same without the state of the optimiser; or
    `.tenun` or `.onnx`, for inference.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise RunError("the file exists", file=str(path), hint="give overwrite=True")
    if target.suffix in WRITERS:
        writer_for(target)(model.graph(), target, backend("numpy").evaluate, {})
        return
    trained = model.settings is not None and include_optimizer
    if target.suffix in (".h5", ".hdf5"):
        told = compile_config(model) if trained else None
        writer.write_h5(model.definition, _values(model), target, compile_config=told)
        return
    if target.suffix != ".keras":
        hint = "use .keras, .h5, .onnx or .tenun"
        raise UnsupportedError(f"cannot write {target.suffix!r} files", file=str(path), hint=hint)
    writer.write(
        model.definition,
        _values(model),
        target,
        compile_config=compile_config(model) if trained else None,
        optimizer_variables=list(model.optimizer.variables.values()) if trained else None,
        optimizer_name=str(model.optimizer.settings.name) if trained else "optimizer",
    )


def compile_config(model: Model) -> dict[str, Any]:
    """The arguments of `compile` as Keras writes them."""
    settings = model.compiled()
    told = {name: serialized(_object(name, getattr(settings, name))) for name in ARGUMENTS}
    fixed = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
    return {"optimizer": serialized(settings.optimizer), **told, **fixed}


def _object(argument: str, value: Any) -> Any:
    """Losses and metrics that a file gave as dicts, as objects: Keras 2 did not say where their classes are."""
    table: Any = {"loss": LOSSES, "metrics": METRICS, "weighted_metrics": METRICS}.get(argument)
    if isinstance(value, (list, tuple)):
        return [_object(argument, v) for v in value]
    if not isinstance(value, Mapping) or table is None:
        return value
    if "class_name" not in value:
        return {k: _object(argument, v) for k, v in value.items()}
    return table.get(value) if value["class_name"] in table.names else value


def _values(model: Model) -> Any:
    """A function that gives a layer's own arrays in the order of its declaration."""
    declared = model.declared_parameters()
    return lambda layer: [p.data for p in declared.get(layer, ())]


def save_weights(
    model: Model, path: str | Path, overwrite: bool = True, max_shard_size: float | None = None
) -> None:  # fmt: skip
    """Write the weights alone, as Keras does; each file whole or not at all.

    `.weights.h5` is the file of Keras 3; any other `.h5` or `.hdf5` has a group for each layer, by its name, as Keras 2
    wrote it and all versions read it.  With max_shard_size (gigabytes), `name.weights.json` lists the files
    `name_00000.weights.h5`, ... beside it, none of which has more data than that.
    """
    from ..files import write_atomically

    target, values = Path(path), _values(model)
    if max_shard_size is not None:
        ending = next((e for e in (".weights.json", ".weights.h5") if target.name.endswith(e)), None)
        if ending is None:
            raise UnsupportedError(f"cannot write shards to {str(path)!r}", hint="the name has to end in .weights.json")
        name = target.name.removesuffix(ending)
        files = writer.shards(model.definition, values, name, max_shard_size * 2**30)
    elif target.name.endswith(".weights.h5"):
        files = {target.name: writer.weights_file(model.definition, values, None, "optimizer")}
    elif target.suffix in (".h5", ".hdf5"):
        files = {target.name: writer.legacy_weights_file(model.definition, values)}
    else:
        raise UnsupportedError(f"cannot write weights to {str(path)!r}", hint="the name has to end in .weights.h5")
    last = target.with_name([*files][-1])
    if last.exists() and not overwrite:
        raise RunError("the file exists", file=str(last), hint="give overwrite=True")
    for name, data in files.items():
        write_atomically(target.with_name(name), data)


def load_weights(model: Model, source: Any, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Take the weights from any file of weights or whole model of Keras, or from a live Keras model.

    Files: `.weights.h5`, `.weights.json` with its shards beside it, `.keras`, and `.h5` of all versions, path or bytes.
    Layers are found by their place in the model, as Keras does.  Raises LoadError with a table of what is missing,
    left over or misshapen, and what in the file is nearest to it.

    by_name: only the layers whose names are in the file (an `.h5` with a group for each layer); skip_mismatch: all
    that fits, and a warning has that table.
    """
    declared = model.declared_parameters()
    before = {p.name: p.data for p in model.weights}
    with open_weights(source, by_name) as (store, file):
        stores.assign(
            store, model.definition, declared, file, strict=True, by_name=by_name, skip_mismatch=skip_mismatch
        )
    for p in model.weights:
        if p.data is not before[p.name]:
            p.assign(p.data)  # in the model's dtype


def write_back(model: Model, keras_model: Any) -> None:
    """Give a live Keras model the weights, and the state of the optimiser if it is compiled with the same."""
    declared: Mapping[Layer, Sequence[Parameter]] = model.declared_parameters()
    stores.write_live(model.definition, keras_model, declared)
    optimizer = getattr(keras_model, "optimizer", None)
    if optimizer is not None and model.settings is not None:
        optimizer.build(keras_model.trainable_variables)
        own = list(model.optimizer.variables.values())
        theirs = list(optimizer.variables)
        if [tuple(v.shape) for v in theirs] == [a.shape for a in own]:
            for variable, array in zip(theirs, own):
                variable.assign(array)


def fit(keras_model: Any, *args: Any, **keywords: Any) -> Any:
    """Train a compiled live Keras model here, and give it the weights that it has learned; returns the History."""
    model = load_model(keras_model)
    history = model.fit(*args, **keywords)
    write_back(model, keras_model)
    return history
