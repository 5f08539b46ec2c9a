"""What Keras 1 and 2 wrote: configs made by hand in their form, with the results of Keras 3 or of NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tenun.api import compile, load
from tenun.errors import UnsupportedError

from .oracle import same

RNG = np.random.default_rng(0)


def write_h5(
    path: Path, config: Any, weights: dict[str, dict[str, np.ndarray[Any, Any]]], version: str = "2.4.0"
) -> Path:
    """A whole-model file as Keras 2 wrote it."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            sub = group.create_group(layer)
            sub.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                sub[f"{layer}/{name}:0"] = array
    return path


def dense(name: str, units: int, **more: Any) -> dict[str, Any]:
    config = {
        "name": name, "trainable": True, "dtype": "float32", "units": units, "activation": "linear", "use_bias": True,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "bias_initializer": {"class_name": "Zeros", "config": {}}, "kernel_regularizer": None, "bias_regularizer": None,
        "activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None,
    }  # fmt: skip
    return {"class_name": "Dense", "config": {**config, **more}}


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    return [RNG.normal(size=s).astype("float32") for s in shapes]


@pytest.mark.parametrize("bare_list", [True, False])
def test_sequential(tmp_path: Path, bare_list: bool) -> None:
    """`batch_input_shape` in the first layer; before 2.2.3 the config is a bare list; hard_sigmoid is 0.2 x + 0.5."""
    layers = [dense("a", 4, batch_input_shape=[None, 5], activation="hard_sigmoid"), dense("b", 3)]
    config = {"class_name": "Sequential", "config": layers if bare_list else {"name": "s", "layers": layers}}
    k, kb, m, mb = arrays((5, 4), (4,), (4, 3), (3,))
    path = write_h5(
        tmp_path / "s.h5", config, {"a": {"kernel": k, "bias": kb}, "b": {"kernel": m, "bias": mb}}, "2.2.2"
    )
    (x,) = arrays((2, 5))
    want = np.clip(0.2 * (x @ k + kb) + 0.5, 0, 1) @ m + mb
    np.testing.assert_allclose(compile(path)(x), want, rtol=1e-5, atol=1e-6)


def node(*triples: tuple[Any, ...]) -> list[Any]:
    return [[*t, {}] if len(t) == 3 else list(t) for t in triples]


def test_functional_with_nested_models_and_old_nodes(tmp_path: Path) -> None:
    """inbound_nodes as lists; nested models count a call of their own; a list with the states is an RNN's input."""
    common = {"trainable": True, "dtype": "float32"}
    inner = {
        "class_name": "Sequential",
        "name": "inner",
        "config": {"name": "inner", "layers": [dense("i", 4, batch_input_shape=[None, 5])]},
        "inbound_nodes": [node(("x", 0, 0)), node(("y", 0, 0))],
    }
    layers = [
        {"class_name": "InputLayer", "name": n, "inbound_nodes": [],
         "config": {"batch_input_shape": [None, 5], "dtype": "float32", "sparse": False, "ragged": False, "name": n}}
        for n in ("x", "y")
    ] + [
        inner,
        {"class_name": "Concatenate", "name": "c", "config": {**common, "name": "c", "axis": -1},
         "inbound_nodes": [node(("inner", 1, 0), ("inner", 2, 0))]},
        {"class_name": "LeakyReLU", "name": "l", "config": {**common, "name": "l", "alpha": 0.25},
         "inbound_nodes": [["c", 0, 0, {}]]},
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["l", 0, 0]]}
    config = {"class_name": "Model", "config": {"name": "m", "layers": layers, **ends}}
    k, kb, x, y = arrays((5, 4), (4,), (2, 5), (2, 5))
    path = write_h5(
        tmp_path / "f.h5", config, {"x": {}, "y": {}, "inner": {"i/kernel": k, "i/bias": kb}, "c": {}, "l": {}}
    )
    z = np.concatenate([x @ k + kb, y @ k + kb], axis=-1)
    np.testing.assert_allclose(compile(path)(x, y), np.where(z > 0, z, 0.25 * z), rtol=1e-5, atol=1e-6)


def test_recurrent_layers_with_old_keys(keras: Any, tmp_path: Path) -> None:
    """`implementation`, `time_major`; initial states in the list of inputs; weights below `<layer>/lstm_cell_3`."""
    common = {"trainable": True, "dtype": "float32"}
    lstm = {
        **common, "name": "lstm", "return_sequences": False, "return_state": False, "go_backwards": False,
        "stateful": False, "unroll": False, "time_major": False, "units": 4, "activation": "tanh",
        "recurrent_activation": "sigmoid", "use_bias": True, "unit_forget_bias": True, "dropout": 0.0,
        "recurrent_dropout": 0.0, "implementation": 2,
    }  # fmt: skip
    layers = [
        {"class_name": "InputLayer", "name": name, "inbound_nodes": [],
         "config": {"sparse": False, "ragged": False, "dtype": "float32", "batch_input_shape": shape, "name": name}}
        for name, shape in (("x", [None, 6, 3]), ("h", [None, 4]))
    ]  # fmt: skip
    called = [node(("x", 0, 0), ("h", 0, 0), ("h", 0, 0))]
    layers.append({"class_name": "LSTM", "name": "lstm", "config": lstm, "inbound_nodes": called})
    ends = {"input_layers": [["x", 0, 0], ["h", 0, 0]], "output_layers": [["lstm", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}
    k, r, bias, x, h = arrays((3, 16), (4, 16), (16,), (2, 6, 3), (2, 4))
    names = {f"lstm_cell_3/{n}": v for n, v in (("kernel", k), ("recurrent_kernel", r), ("bias", bias))}
    path = write_h5(tmp_path / "r.h5", config, {"x": {}, "h": {}, "lstm": names})
    layer = keras.layers.LSTM(4)
    layer.build((None, 6, 3))
    layer.set_weights([k, r, bias])
    same(keras, compile(path)(x, h), layer(x, initial_state=[h, h]))
    lstm["time_major"] = True
    with pytest.raises(UnsupportedError, match="time_major=True"):
        load(write_h5(tmp_path / "t.h5", config, {"lstm": names}))


def test_layers_that_are_gone(tmp_path: Path) -> None:
    """ThresholdedReLU; BatchNormalization with a list as axis and `fused`; depthwise with `groups`; a policy dict."""
    policy = {"class_name": "Policy", "config": {"name": "float32"}}
    common = {"trainable": True, "dtype": policy}
    norm = {"axis": [3], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True, "fused": True}
    conv = {
        "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "data_format": "channels_last",
        "dilation_rate": [1, 1], "groups": 1, "activation": "linear", "use_bias": False, "depth_multiplier": 1,
        "kernel_initializer": None, "batch_input_shape": [None, 4, 4, 2],
    }  # fmt: skip
    layers = [
        {"class_name": "DepthwiseConv2D", "config": {**common, **conv, "name": "dw"}},
        {"class_name": "BatchNormalization", "config": {**common, **norm, "name": "bn"}},
        {"class_name": "ThresholdedReLU", "config": {**common, "name": "t", "theta": 0.5}},
    ]
    gamma, beta, mean = arrays((2,), (2,), (2,))
    variance = np.array([0.5, 2.0], "float32")
    kernel = np.zeros((3, 3, 2, 1), "float32")
    kernel[1, 1] = 1
    weights = {
        "dw": {"depthwise_kernel": kernel},
        "bn": {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance},
        "t": {},
    }
    path = write_h5(tmp_path / "g.h5", {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, weights)
    (x,) = arrays((2, 4, 4, 2))
    y = (x - mean) / np.sqrt(variance + 0.001) * gamma + beta
    np.testing.assert_allclose(compile(path)(x), np.where(y > 0.5, y, 0), rtol=1e-4, atol=1e-5)


def test_weights_are_found_by_position_too(tmp_path: Path) -> None:
    """Keras matches groups to layers in order: names may differ."""
    layers = [dense("a", 4, batch_input_shape=[None, 5]), dense("b", 4)]
    k, kb, m, mb, x = arrays((5, 4), (4,), (4, 4), (4,), (2, 5))
    weights = {"dense_7": {"kernel": k, "bias": kb}, "dense_8": {"kernel": m, "bias": mb}}
    path = write_h5(tmp_path / "p.h5", {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, weights)
    np.testing.assert_allclose(compile(path)(x), (x @ k + kb) @ m + mb, rtol=1e-5, atol=1e-6)


def test_list_of_layers_by_its_keras_2_13_name(keras: Any, tmp_path: Path) -> None:
    """`_layer_checkpoint_dependencies` in place of `layers`."""
    import io
    import zipfile

    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as z:
        members = {n: z.read(n) for n in z.namelist()}
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    members["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as z:
        for name, content in members.items():
            z.writestr(name, content)
    assert load(tmp_path / "old.keras") == load(tmp_path / "new.keras")
