"""Build in Keras, save, load by tenun, compare."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tenun.api import compile, load
from tenun.executable import Executable
from tenun.ir.verify import verify

from .cases import Ints

BATCH = 3
TOLERANCE = 1e-5


def randomise(model: Any, seed: int = 0) -> Any:
    """Other weights than the initial ones; variances positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "int" in str(weight.dtype):
            continue
        low, high = (0.5, 1.5) if any(s in weight.path for s in ("variance", "stddev", "gamma")) else (-0.7, 0.7)
        weight.assign(rng.uniform(low, high, shape).astype("float32"))
    for layer in model._flatten_layers() if hasattr(model, "_flatten_layers") else model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def one_layer(keras: Any, name: str, config: dict[str, Any], shape: Any) -> Any:
    """A functional model of inputs and the layer, with random weights."""
    inputs = [_input(keras, s) for s in (shape if isinstance(shape, list) else [shape])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = getattr(keras.layers, name)(**{k: v(keras.layers) if callable(v) else v for k, v in config.items()})
        y = layer(inputs if isinstance(shape, list) else inputs[0])
    return randomise(keras.Model(inputs, y))


def _input(keras: Any, shape: Any) -> Any:
    if isinstance(shape, Ints):
        return keras.Input(shape.shape, dtype=shape.dtype)
    return keras.Input(shape)


def data(model: Any, shape: Any = None, seed: int = 1, unknown: int = 6) -> list[np.ndarray[Any, Any]]:
    """Random inputs in the order of the model's; unknown dimensions get a size."""
    rng = np.random.default_rng(seed)
    found = []
    shapes = shape if isinstance(shape, list) else [shape] * len(model.inputs)
    for tensor, given in zip(model.inputs, shapes):
        size = [BATCH if i == 0 and d is None else unknown if d is None else d for i, d in enumerate(tensor.shape)]
        dtype = str(tensor.dtype)
        if "int" in dtype:
            found.append(rng.integers(0, given.high if isinstance(given, Ints) else 5, size).astype(dtype))
        else:
            x = rng.normal(size=size)
            x[..., :1, :] = 0 if x.ndim == 3 else x[..., :1, :]  # masked steps for whoever masks zeros
            found.append((np.abs(np.round(x)) % 5 if isinstance(given, Ints) else x).astype(dtype))
    return found


def same(keras: Any, got: Any, want: Any, tolerance: float = TOLERANCE) -> None:
    """Equal structure, shapes, and values within the tolerance (absolute and relative)."""
    keras.tree.assert_same_structure(keras.tree.lists_to_tuples(got), keras.tree.lists_to_tuples(want))
    for g, w in zip(keras.tree.flatten(got), keras.tree.flatten(want)):
        w = np.asarray(keras.ops.convert_to_numpy(w))
        assert g.dtype == w.dtype, (g.dtype, w.dtype)
        assert g.shape == w.shape, (g.shape, w.shape)
        np.testing.assert_allclose(g.astype(np.float64), w.astype(np.float64), rtol=tolerance, atol=tolerance)


def saved(model: Any, folder: Path, suffix: str = ".keras") -> Path:
    """The model in a file."""
    path = folder / f"model{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def check(
    keras: Any, model: Any, folder: Path, *, shape: Any = None, kinds: tuple[str, ...] = (".keras",), **more: Any
) -> Executable:
    """tenun's results from files (and alive) are Keras'."""
    inputs = data(model, shape)
    names = [t.name for t in model.inputs]
    feed = inputs[0] if len(inputs) == 1 else inputs
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict):
        feed = {k: inputs[names.index(v.name)] for k, v in structure.items()}
    want = model(feed, training=False)
    for kind in kinds:
        source = model if kind == "live" else saved(model, folder, kind)
        graph = load(source)
        verify(graph)
        executable = compile(graph)
        same(
            keras, executable(feed if isinstance(feed, dict) else [*inputs] if len(inputs) > 1 else feed), want, **more
        )
    return executable
