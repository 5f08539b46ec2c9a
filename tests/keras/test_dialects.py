"""What Keras 1 and 2 wrote: configs made by hand in their form, with the results of Keras 3 or of NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import tenun
from tenun.api import compile, load
from tenun.errors import UnsupportedError
from tenun.frontends.keras.layouts import Entry, todays

from .eras import Parts
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


# ---- files of Keras 2, turned into those of older versions ------------------------------------------------------


def first_layer_tells_the_shape(parts: Parts) -> None:
    """No InputLayer: `batch_input_shape` and `dtype` on the first layer."""
    layers = parts.config["config"]["layers"]
    source = layers.pop(0)["config"]
    layers[0]["config"]["batch_input_shape"] = source["batch_input_shape"]
    parts.weights = {k: v for k, v in parts.weights.items() if k != source["name"]}


def embedding_knows_its_length(parts: Parts) -> None:
    first_layer_tells_the_shape(parts)
    config = parts.config["config"]["layers"][0]["config"]
    config.update(input_length=config["batch_input_shape"][1], input_dtype="int32", dropout=0.0, dtype="float32")
    del config["dropout"]


def bare_list(parts: Parts) -> None:
    """Sequential before 2.2.3."""
    first_layer_tells_the_shape(parts)
    parts.config["config"] = parts.config["config"]["layers"]
    parts.version = "2.2.2"


def gone_keys(parts: Parts) -> None:
    for layer in parts.layers():
        if layer["class_name"] in ("LSTM", "GRU", "SimpleRNN"):
            layer["config"].update(implementation=1, time_major=False, unroll=False, input_dim=None)
    parts.change("InputLayer", lambda layer: layer["config"].update(sparse=False, ragged=False))


def older_names(parts: Parts) -> None:
    """Keras 2.0 called the weights of `lstm` `lstm/kernel:0`, where later ones say `lstm/lstm_cell_1/kernel:0`."""
    for layer, arrays in parts.weights.items():
        parts.weights[layer] = {f"{layer}_1/{i}/{n.rpartition('/')[2]}": a for i, (n, a) in enumerate(arrays.items())}
    parts.version = "2.0.4"


def no_reset_after(parts: Parts) -> None:
    """The key came with Keras 2.1.3."""
    parts.change("GRU", lambda layer: layer["config"].pop("reset_after"))
    parts.version = "2.1.2"


def cudnn(class_name: str) -> Any:
    def change(parts: Parts) -> None:
        """The same layer as cuDNN's: tf_keras itself converts its weights."""
        from tf_keras.src.saving.legacy.hdf5_format import _convert_rnn_weights

        target = type(f"CuDNN{class_name}", (), {})()

        def to_cudnn(arrays: list[Any]) -> list[Any]:
            halves = [arrays[i : i + 3] for i in range(0, len(arrays), 3)]
            return [a for half in halves for a in _convert_rnn_weights(target, half)]

        def rename(layer: dict[str, Any]) -> None:
            layer["class_name"] = f"CuDNN{class_name}"
            for key in ("activation", "recurrent_activation", "dropout", "recurrent_dropout", "implementation",
                        "use_bias", "unroll", "reset_after", "time_major"):  # fmt: skip
                layer["config"].pop(key, None)

        parts.change(class_name, rename)
        for name, arrays in parts.weights.items():
            if arrays and "rnn" in name:
                parts.reweigh(name, to_cudnn)
        parts.version = "2.2.4"

    return change


def theano(parts: Parts) -> None:
    """Theano convolves with kernels turned by 180 degrees."""
    parts.backend = "theano"
    parts.version = "2.1.6"
    for name, arrays in parts.weights.items():
        if arrays and "conv" in name:
            parts.reweigh(name, lambda a: [np.flip(a[0], tuple(range(a[0].ndim - 2))), *a[1:]])


KERAS_1 = {
    "Conv2D": ("Convolution2D", {"filters": "nb_filter", "padding": "border_mode", "strides": "subsample",
                                 "use_bias": "bias", "kernel_initializer": "init"}),
    "Conv1D": ("Convolution1D", {"filters": "nb_filter", "padding": "border_mode", "use_bias": "bias"}),
    "Dense": ("Dense", {"units": "output_dim", "kernel_initializer": "init", "use_bias": "bias"}),
    "LSTM": ("LSTM", {"units": "output_dim", "recurrent_activation": "inner_activation",
                      "recurrent_initializer": "inner_init", "dropout": "dropout_W", "recurrent_dropout": "dropout_U"}),
    "GRU": ("GRU", {"units": "output_dim", "recurrent_activation": "inner_activation"}),
    "Dropout": ("Dropout", {"rate": "p"}),
    "MaxPooling2D": ("MaxPooling2D", {"padding": "border_mode"}),
}  # fmt: skip
KEPT = {"name", "trainable", "activation", "return_sequences", "go_backwards", "pool_size", "strides", "layers", "axis",
        "epsilon", "momentum", "input_dim", "batch_input_shape", "mask_zero"}  # fmt: skip


def keras_1(parts: Parts) -> None:
    """Names and keys of Keras 1, one array for each gate, kernels (rows, columns, in, out)."""
    for layer in parts.layers():
        if layer["class_name"] in KERAS_1:
            layer["class_name"], keys = KERAS_1[layer["class_name"]]
            config = layer["config"]
            size = config.get("kernel_size")
            layer["config"] = {keys.get(k, k): v for k, v in config.items() if k in keys or k in KEPT}
            if size is not None and len(size) == 2:
                layer["config"].update(nb_row=size[0], nb_col=size[1], dim_ordering="tf")
            elif size is not None:
                layer["config"].update(filter_length=size[0], subsample_length=1)
            if layer["class_name"] in ("LSTM", "GRU"):
                layer["config"].update(consume_less="cpu", forget_bias_init="one", U_regularizer=None)
    for name, arrays in parts.weights.items():
        if arrays and "rnn" in name:
            parts.reweigh(name, lambda a: _by_gates(a))
        if arrays and "conv1" in name:
            parts.reweigh(name, lambda a: [a[0][:, None], *a[1:]])
    parts.version = "1.2.2"


def _by_gates(arrays: list[Any]) -> list[Any]:
    """kernel, recurrent kernel, bias of each gate in turn: i c f o, or z r h."""
    gates = arrays[0].shape[1] // arrays[1].shape[0]
    order = (0, 2, 1, 3) if gates == 4 else (0, 1, 2)
    split = [np.split(a, gates, axis=-1) for a in arrays]
    return [part[g] for g in order for part in split]


def sequential(shape: Any, *layers: Any, dtype: str = "float32") -> Any:
    def build() -> Any:
        K = pytest.importorskip("tf_keras")
        return K.Sequential([K.Input(shape, dtype=dtype), *(make(K.layers) for make in layers)])

    return build


def texts() -> Any:
    """A functional model: tokens, a mask, both directions, a nested model called twice."""
    K = pytest.importorskip("tf_keras")
    L = K.layers
    inner = K.Sequential([K.Input((4,)), L.Dense(3, activation="hard_sigmoid"), L.BatchNormalization()], name="inner")
    a, b = K.Input((6,), name="a", dtype="int32"), K.Input((6,), name="b", dtype="int32")
    embedding = L.Embedding(9, 5, mask_zero=True)
    rnn = L.Bidirectional(L.LSTM(2, name="rnn"), name="both_rnn")
    halves = [inner(rnn(embedding(x))) for x in (a, b)]
    return K.Model([a, b], L.Dense(2, activation="softmax")(L.Concatenate()(halves)))


IMAGES = sequential(
    (8, 7, 2),
    lambda L: L.Conv2D(3, (3, 2), name="conv", activation="relu"),
    lambda L: L.MaxPooling2D(2),
    lambda L: L.Dropout(0.5),
    lambda L: L.Flatten(),
    lambda L: L.Dense(3, activation="hard_sigmoid"),
)
SIGNALS = sequential((9, 2), lambda L: L.Conv1D(4, 3, name="conv1"), lambda L: L.GRU(3, name="rnn", reset_after=False))
LSTM = sequential(
    (5, 3),
    lambda L: L.LSTM(4, return_sequences=True, go_backwards=True, name="rnn_a"),
    lambda L: L.LSTM(2, name="rnn_b", recurrent_activation="hard_sigmoid"),
)
CUDNN_LSTM = sequential(
    (5, 3),
    lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True), name="both_rnn"),
    lambda L: L.LSTM(3, name="rnn", return_sequences=True),
    lambda L: L.TimeDistributed(L.Dense(2)),
)
CUDNN_GRU = sequential((5, 3), lambda L: L.GRU(4, name="rnn"), lambda L: L.Dense(2))
GRU = sequential((5, 3), lambda L: L.GRU(4, name="rnn", reset_after=False))
TOKENS = sequential((6,), lambda L: L.Embedding(9, 4), lambda L: L.SimpleRNN(3, name="rnn"), dtype="int32")

ERAS: dict[str, tuple[Any, Any]] = {
    "bare list": (IMAGES, bare_list),
    "shape on the first layer": (LSTM, first_layer_tells_the_shape),
    "embedding with its length": (TOKENS, embedding_knows_its_length),
    "keys that are gone": (LSTM, gone_keys),
    "keys that are gone, nested": (texts, gone_keys),
    "older names of weights": (texts, older_names),
    "GRU without reset_after": (GRU, no_reset_after),
    "CuDNNLSTM": (CUDNN_LSTM, cudnn("LSTM")),
    "CuDNNGRU": (CUDNN_GRU, cudnn("GRU")),
    "Theano, 2-D": (IMAGES, theano),
    "Theano, 1-D": (SIGNALS, theano),
    "Keras 1, images": (IMAGES, keras_1),
    "Keras 1, signals": (SIGNALS, keras_1),
    "Keras 1, LSTM": (LSTM, keras_1),
}


@pytest.mark.parametrize("era", ERAS)
def test_the_same_model_as_older_versions_wrote_it(era: str, tmp_path: Path) -> None:
    """Outputs are those of tf_keras (Keras 2) for the model before it was turned into the older form."""
    build, change = ERAS[era]
    model = build()
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0.0, 0.4, w.shape) ** (2 if "variance" in w.name else 1) for w in model.weights])
    inputs = []
    for t in model.inputs:
        shape = (3, *t.shape[1:])
        ids = "int" in t.dtype.name or "Embedding" in type(model.layers[0]).__name__
        inputs.append(rng.integers(0, 9, shape).astype("int32") if ids else rng.normal(size=shape).astype("float32"))
    want = np.asarray(model(inputs if len(inputs) > 1 else inputs[0]))
    parts = Parts.of(model, tmp_path)
    change(parts)
    np.testing.assert_allclose(compile(parts.write(tmp_path / "old.h5"))(*inputs), want, rtol=1e-5, atol=1e-6)
    architecture = json.dumps({**parts.config, "keras_version": parts.version}).encode()
    weights = parts.write(tmp_path / "weights.h5", weights_only=True)
    np.testing.assert_allclose(compile(architecture, weights=weights)(*inputs), want, rtol=1e-5, atol=1e-6)


KERNELS = [
    (f"Conv{rank}D{kind}", order)
    for rank, kind in ((1, ""), (2, ""), (3, ""), (2, "Transpose"))
    for order in (("channels_last", "channels_first") if rank > 1 else ("channels_last",))
]


@pytest.mark.parametrize(("class_name", "data_format"), KERNELS)
def test_kernels_of_keras_1(class_name: str, data_format: str) -> None:
    """As tf_keras itself converts them."""
    K = pytest.importorskip("tf_keras")
    from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

    rank = int(class_name[4])
    size, filters, channels = (3, 2, 5)[:rank], 4, 6
    shape = (channels, *[9] * rank) if data_format == "channels_first" else (*[9] * rank, channels)
    theirs = getattr(K.layers, class_name)(filters, size, data_format=data_format)
    theirs.build((None, *shape))
    old = {
        ("Conv1D", "channels_last"): (3, 1, 6, 4), ("Conv2D", "channels_first"): (4, 6, 3, 2),
        ("Conv3D", "channels_first"): (4, 6, 3, 2, 5), ("Conv2DTranspose", "channels_last"): (3, 2, 6, 4),
        ("Conv2DTranspose", "channels_first"): (4, 6, 3, 2),
    }  # fmt: skip
    (kernel,) = arrays(old.get((class_name, data_format), tuple(theirs.kernel.shape)))
    want = preprocess_weights_for_loading(theirs, [kernel, np.zeros(filters)], "1", "tensorflow")[0]
    ours = tenun.layers.LAYERS[class_name](filters, size, data_format=data_format)
    got, _ = todays(ours, [Entry(a.shape, lambda a=a: a) for a in (kernel, np.zeros(filters))], "1.2.2", "tensorflow")  # type: ignore[misc]
    assert got.shape == want.shape == tuple(theirs.kernel.shape)
    np.testing.assert_array_equal(got.read(), want)


def test_meanings_that_differ_are_told_apart(tmp_path: Path) -> None:
    """The same config and weights, said to be of Keras 3: another hard_sigmoid; of a GRU: another recurrence."""
    layers = [dense("a", 3, batch_input_shape=[None, 4], activation="hard_sigmoid")]
    (k, kb, x) = arrays((4, 3), (3,), (5, 4))
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    results = [
        compile(write_h5(tmp_path / f"{version}.h5", config, {"a": {"kernel": k, "bias": kb}}, version))(x)
        for version in ("2.15.0", "3.0.0")
    ]
    z = x @ k + kb
    np.testing.assert_allclose(results[0], np.clip(0.2 * z + 0.5, 0, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(results[1], np.clip(z + 3, 0, 6) / 6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mul", "concat", "ave", "max"])
def test_merge_of_keras_1(mode: str, tmp_path: Path) -> None:
    layers = [
        {"class_name": "InputLayer", "name": n, "inbound_nodes": [],
         "config": {"batch_input_shape": [None, 5], "input_dtype": "float32", "sparse": False, "name": n}}
        for n in ("x", "y")
    ] + [
        {"class_name": "Merge", "name": "m", "inbound_nodes": [[["x", 0, 0], ["y", 0, 0]]],
         "config": {"name": "m", "mode": mode, "mode_type": "raw", "concat_axis": -1, "dot_axes": -1,
                    "output_shape": None, "output_shape_type": "raw", "arguments": {}, "output_mask": None,
                    "output_mask_type": "raw"}},
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["m", 0, 0]]}
    config = {"class_name": "Model", "config": {"name": "m", "layers": layers, **ends}}
    path = write_h5(tmp_path / "m.h5", config, {"x": {}, "y": {}, "m": {}}, "1.2.0")
    x, y = arrays((2, 5), (2, 5))
    want = {"sum": x + y, "mul": x * y, "concat": np.concatenate([x, y], -1), "ave": (x + y) / 2,
            "max": np.maximum(x, y)}[mode]  # fmt: skip
    np.testing.assert_allclose(compile(path)(x, y), want, rtol=1e-6)
