"""Config keys: Keras' names and defaults, honoured or refused by name."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenun.api import load
from tenun.errors import UnsupportedError
from tenun.layers import LAYERS
from tenun.layers.base import config_fields

from .oracle import check, randomise, saved

CLASSES = sorted({cls.__name__ for cls in LAYERS.values()} - {"Functional", "Sequential", "ThresholdedReLU"})

# parameters of Keras' constructors that are no config keys, or of which ours is more lenient
OTHERWISE = {"args", "kwargs", "weights", "shape", "batch_size", "input_tensor", "pool_size", "use_cudnn", "autocast"}


def _normal(value: Any) -> Any:
    """One form for 2 and (2, 2), None and "linear", "Zeros" and "zeros"."""
    if isinstance(value, (tuple, list)) and len(set(map(str, value))) == 1:
        return _normal(value[0])
    if value is None or value in ("linear", "channels_last"):
        return None
    return value.lower() if isinstance(value, str) else value


@pytest.mark.parametrize("name", CLASSES)
def test_parameters_and_defaults_are_keras(keras: Any, name: str) -> None:
    if not hasattr(keras.layers, name):
        pytest.skip("a class that keras.layers does not export")
    fields = config_fields(LAYERS[name])
    for key, parameter in inspect.signature(getattr(keras.layers, name).__init__).parameters.items():
        if key == "self" or key in OTHERWISE:
            continue
        assert key in fields, f"{name} has no {key}"
        if parameter.default is inspect.Parameter.empty or key.endswith("_initializer"):
            continue
        default = fields[key].default
        assert default is not dataclasses.MISSING, f"{name}.{key} has no default"
        bool_like = {False: None, None: None}  # Keras writes either for "no"
        ours, theirs = _normal(default), _normal(parameter.default)
        assert bool_like.get(ours, ours) == bool_like.get(theirs, theirs), (name, key, default, parameter.default)


def _model(build: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def made(keras: Any) -> Any:
        x = keras.Input((6, 4))
        return keras.Model(x, build(keras.layers, x))

    return made


REFUSED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "activation over an axis in a cell": (
        _model(lambda L, x: L.LSTM(3, activation="softmax", name="r")(x)), ("r", "activation='softmax'"),
    ),
    "gate of unknown kind": (
        _model(lambda L, x: L.GRU(3, recurrent_activation="glu", name="r")(x)), ("r", "recurrent_activation='glu'"),
    ),
    "interpolation": (
        lambda keras: keras.Sequential(
            [keras.Input((6, 5, 4)), keras.layers.UpSampling2D(interpolation="area", name="up")]
        ),
        ("up", "interpolation='area'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(keras: Any, tmp_path: Path, name: str) -> None:
    build, words = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = saved(build(keras), tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        load(path)
    for word in words:
        assert word in str(caught.value)


def test_unknown_layers_inside_of_others_are_named_by_path(keras: Any, tmp_path: Path) -> None:
    L = keras.layers

    class Odd(L.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    inner = keras.Sequential([keras.Input((4,)), Odd(name="odd")], name="inner")
    x = keras.Input((6, 4))
    model = keras.Model(x, L.TimeDistributed(inner, name="td")(x))
    with pytest.raises(UnsupportedError, match="td/inner/odd: unknown layer Odd"):
        load(saved(model, tmp_path))


def test_layers_as_activations_of_cells(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((6, 3))
    L = keras.layers
    layer = L.LSTM(4, activation=L.LeakyReLU(negative_slope=0.1), recurrent_activation=L.ReLU(max_value=1.0))
    check(keras, randomise(keras.Model(x, layer(x))), tmp_path)


def test_low_rank_adaptation_is_merged_in_the_file(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((6,), dtype="int32")
    embedding, dense = L.Embedding(5, 4), L.Dense(3)
    model = keras.Model(x, dense(embedding(x)))
    embedding.enable_lora(2)
    dense.enable_lora(2)
    check(keras, randomise(model), tmp_path, kinds=(".keras", "live"))
