"""Every layer in several configurations against Keras: the table is cases.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.layers import LAYERS

from .cases import CHANNELS_FIRST, ELSEWHERE, FAMILIES
from .oracle import check, one_layer


def _rows(table: dict[str, list[Any]]) -> list[Any]:
    """(class name, config, input, whether it is the first of its class)."""
    found = []
    for name, cases in table.items():
        for i, (config, shape) in enumerate(cases):
            found.append(pytest.param(name, config, shape, i == 0, id=f"{name}-{i}"))
    return found


@pytest.mark.parametrize(
    ("name", "config", "shape", "first"), [row for table in FAMILIES.values() for row in _rows(table)]
)
def test_layer(keras: Any, tmp_path: Path, name: str, config: dict[str, Any], shape: Any, first: bool) -> None:
    model = one_layer(keras, name, config, shape)
    check(keras, model, tmp_path, shape=shape, kinds=(".keras", ".h5", "live") if first else (".keras",))


@pytest.mark.parametrize(("name", "config", "shape", "first"), _rows(CHANNELS_FIRST))
def test_channels_first(keras: Any, tmp_path: Path, name: str, config: dict[str, Any], shape: Any, first: bool) -> None:
    """The layer between two transposes is the channels-last layer."""
    from tenun.api import compile

    from .oracle import data, saved

    last = one_layer(keras, name, config, (*shape[1:], shape[0]))
    config = {**config, "data_format": "channels_first"}
    x = keras.Input(shape)
    layer = getattr(keras.layers, name)(**config)
    first_model = keras.Model(x, layer(x))
    layer.set_weights(last.get_weights())
    (value,) = data(last)
    want = np.asarray(last(value))
    got = compile(saved(first_model, tmp_path))(np.ascontiguousarray(np.moveaxis(value, -1, 1)))
    if got.ndim > 2:
        got = np.moveaxis(got, 1, -1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_adaptive_pooling_to_one_place(rank: int) -> None:
    """Of whole axes; TensorFlow's kernel for Keras' layer fails there."""
    x = tenun.Input((5, 4, 3)[:rank] + (2,))
    value = np.random.default_rng(0).normal(size=(3, *(5, 4, 3)[:rank], 2)).astype("float32")
    axes = tuple(range(1, rank + 1))
    for kind, reduced in (("Max", value.max(axes, keepdims=True)), ("Average", value.mean(axes, keepdims=True))):
        layer = LAYERS[f"Adaptive{kind}Pooling{rank}D"](1)
        np.testing.assert_allclose(tenun.Model(x, layer(x)).predict(value), reduced, rtol=1e-5)


def test_every_layer_has_a_case() -> None:
    """A layer in the table without a case in Keras is an untested claim."""
    tested = {name for table in FAMILIES.values() for name in table}
    classes = {cls.__name__ for cls in LAYERS.values()}
    assert classes - tested == ELSEWHERE
    assert tested <= classes
