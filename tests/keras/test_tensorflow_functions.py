"""TensorFlow's functions among the layers of functional models of tf.keras (Keras 2), against tf_keras itself."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.frontends.keras.symbols import _NODES, SYMBOLS

K = pytest.importorskip("tf_keras")
tf = pytest.importorskip("tensorflow")


def images(x: Any) -> Any:
    """With one channel."""
    return tf.expand_dims(x, -1)


# f(x, y) of float32 tensors (N, 4, 3); what Keras 3 has no operation for is named in BESIDE
CASES: dict[str, Callable[[Any, Any], Any]] = {
    "operators": lambda x, y: 3.0 - (x + y * 2.0) * x / (1.0 + abs(y)) + (-x) ** 2,
    "remainders": lambda x, y: x // 0.5 + y % 0.75,
    "reshape": lambda x, y: tf.nn.relu(tf.reshape(x, (-1, 12))),
    "a shape that is a value": lambda x, y: tf.reshape(x, [tf.shape(y)[0], 12]),
    "joined": lambda x, y: tf.stack([tf.concat([x, y, x], axis=-1), tf.concat([y, x, y], -1)], axis=1),
    "parts": lambda x, y: tf.split(x, 2, axis=1)[1] * tf.split(y, [1, 2, 1], axis=1)[1],
    "unstacked": lambda x, y: tf.unstack(x, axis=1)[2],
    "slices": lambda x, y: x[..., tf.newaxis, ::2] + y[:, 1:2, :, None][..., -1:],
    "one place": lambda x, y: x[:, -1] + y[:, 0],
    "axes": lambda x, y: tf.squeeze(tf.expand_dims(tf.transpose(x, [0, 2, 1]), 1), 1),
    "cast": lambda x, y: tf.cast(x * 3, tf.int32),
    "half": lambda x, y: tf.cast(x, "float16") * 2.0,
    "sums": lambda x, y: tf.reduce_sum(x, axis=1, keepdims=True) + tf.reduce_mean(y, axis=[1, 2], keepdims=True),
    "extremes": lambda x, y: tf.reduce_max(x, -1) * tf.reduce_min(y, axis=-1) - tf.reduce_prod(x, 2),
    "logic": lambda x, y: tf.reduce_any(tf.logical_and(x > 0, y <= 0.5), axis=1),
    "spread": lambda x, y: tf.math.reduce_std(x, axis=1) + tf.math.reduce_variance(y, 1) + tf.reduce_logsumexp(x, 1),
    "moments": lambda x, y: tf.nn.moments(x, [1])[1],
    "products": lambda x, y: tf.matmul(x, tf.transpose(y, [0, 2, 1])),
    "transposed products": lambda x, y: tf.matmul(x, y, transpose_b=True),
    "a constant matrix": lambda x, y: tf.tensordot(x, tf.constant([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]), 1),
    "places": lambda x, y: tf.argmax(x, -1),
    "places of the least": lambda x, y: tf.argmin(x, axis=1, output_type=tf.int32),
    "choice": lambda x, y: tf.where(x > y, x, y * 0.5),
    "clipped": lambda x, y: tf.maximum(tf.clip_by_value(x, -0.5, 0.7), tf.minimum(y, 0.1)),
    "copies": lambda x, y: tf.tile(x, [1, 2, 1]) + tf.repeat(y, 2, axis=1),
    "as many copies as the shape says": lambda x, y: tf.tile(x, [1, tf.shape(y)[1], 1]),
    "padded": lambda x, y: tf.pad(x, [[0, 0], [1, 2], [0, 0]]) + tf.pad(y, [[0, 0], [1, 2], [0, 0]], "REFLECT"),
    "gathered": lambda x, y: tf.gather(x, [2, 0], axis=1),
    "gathered by sample": lambda x, y: tf.gather(x, tf.cast(tf.abs(y[:, :2, 0]), tf.int32), batch_dims=1),
    "gathered by place": lambda x, y: tf.gather_nd(x, tf.cast(y[:, :1, :2] * 0, tf.int32)),
    "one hot": lambda x, y: tf.one_hot(tf.cast(tf.abs(x), tf.int32), 3),
    "filled": lambda x, y: tf.fill([tf.shape(x)[0], 2], 1.5),
    "broadcast": lambda x, y: tf.broadcast_to(x[:, :1], tf.shape(y)),
    "like": lambda x, y: tf.ones_like(x) - tf.zeros_like(y, dtype=tf.float32),
    "turned": lambda x, y: tf.reverse(x, [1]) + tf.roll(y, 1, axis=1),
    "sorted": lambda x, y: tf.sort(x, axis=-1) + tf.math.top_k(y, k=3)[0],
    "added up": lambda x, y: tf.cumsum(x, axis=1) + tf.add_n([x, y, x]),
    "normalised": lambda x, y: tf.nn.l2_normalize(x, axis=-1) + K.backend.l2_normalize(y, axis=1),
    "norms": lambda x, y: tf.norm(x, axis=-1) + tf.linalg.norm(y),
    "differences": lambda x, y: tf.math.squared_difference(x, y),
    "triangles": lambda x, y: tf.linalg.band_part(x, 0, -1) + tf.linalg.band_part(y, 1, 0),
    "softmax": lambda x, y: tf.nn.softmax(x, axis=1) + tf.nn.log_softmax(y),
    "activations": lambda x, y: sum(
        f(x) for f in (tf.nn.leaky_relu, tf.nn.gelu, tf.nn.silu, tf.nn.elu, tf.nn.selu, tf.nn.relu6, tf.nn.softplus,
                       tf.nn.softsign, tf.sigmoid, tf.tanh)
    ),
    "elementary": lambda x, y: sum(
        f(tf.abs(x) + 0.1) for f in (tf.sqrt, tf.math.rsqrt, tf.exp, tf.math.log, tf.sin, tf.cos, tf.floor, tf.square,
                                     tf.math.ceil, tf.round, tf.sign, tf.math.log1p, tf.math.erf, tf.math.reciprocal)
    ),
    "resized": lambda x, y: tf.image.resize(images(x), (8, 6)),
    "resized to the nearest": lambda x, y: tf.image.resize(images(x), (3, 5), method="nearest"),
    "pooled": lambda x, y: tf.nn.max_pool2d(images(x), 2, 2, "SAME") + tf.nn.avg_pool2d(images(y), 2, 2, "SAME"),
    "blocks": lambda x, y: tf.nn.depth_to_space(tf.stack([x] * 4, -1), 2),
    "flipped": lambda x, y: tf.image.flip_left_right(images(x)),
    "of the backend": lambda x, y: K.backend.mean(x, axis=1) + K.backend.sum(K.backend.abs(x - y), axis=1),
}  # fmt: skip
ELLIPSIS = "slices"  # tf_keras cannot write one into a .keras file
BESIDE = {
    "moments",
    "a shape that is a value", "transposed products", "places", "places of the least", "gathered by sample",
    "gathered by place", "as many copies as the shape says", "filled", "broadcast", "added up", "normalised", "norms",
    "differences", "triangles",
}  # fmt: skip


def inputs() -> list[Any]:
    rng = np.random.default_rng(0)
    return [np.clip(rng.normal(size=(2, 4, 3)), -1.9, 1.9).astype(np.float32) for _ in range(2)]


def model_of(names: list[str]) -> Any:
    x, y = K.Input((4, 3), name="x"), K.Input((4, 3), name="y")
    return K.Model([x, y], [CASES[name](x, y) for name in names])


def saved(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def compare(names: list[str], got: list[Any], want: list[Any]) -> None:
    for name, a, b in zip(names, got, want, strict=True):
        b = np.asarray(b)
        assert a.dtype == b.dtype, name
        np.testing.assert_allclose(np.asarray(a, "float64"), np.asarray(b, "float64"), 1e-5, 1e-6, err_msg=name)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_functions(suffix: str, tmp_path: Path) -> None:
    names = [name for name in CASES if name != ELLIPSIS or suffix == ".h5"]
    model, values = model_of(names), inputs()
    got = tenun.compile(saved(model, tmp_path / f"model{suffix}"))(*values)
    compare(names, got, model([tf.constant(v) for v in values]))


def test_written_for_keras_3(tmp_path: Path) -> None:
    """What keras.ops has is written as its operations, and Keras 3 computes the same."""
    keras = pytest.importorskip("keras")
    names = [name for name in CASES if name not in BESIDE]
    model, values = model_of(names), inputs()
    found = tenun.load_model(saved(model, tmp_path / "model.h5"), compile=False)
    found.save(tmp_path / "written.keras")
    again = keras.models.load_model(tmp_path / "written.keras")
    tensors = [tf.constant(v) for v in values]
    compare(names, [np.asarray(v) for v in again(tensors)], model(tensors))


def test_what_keras_3_has_not_is_named(tmp_path: Path) -> None:
    path = saved(model_of(["differences"]), tmp_path / "model.h5")
    with pytest.raises(tenun.UnsupportedError, match="keras.ops has no tf.squared_difference"):
        tenun.load_model(path, compile=False).save(tmp_path / "written.keras")


def test_unknown_functions_are_named(tmp_path: Path) -> None:
    x = K.Input((4,))
    path = saved(
        K.Model(x, tf.math.polygamma(2.0, tf.cumsum(tf.math.lgamma(x), axis=1, reverse=True))), tmp_path / "m.h5"
    )
    with pytest.raises(tenun.UnsupportedError) as error:
        tenun.load(path)
    assert all(part in str(error.value) for part in ("tf.math.lgamma", "tf.math.cumsum with reverse=True", "polygamma"))


# ---- TensorFlow before 2.4 -------------------------------------------------------------------------------------

# op: tensors (x, y: (N, 4, 3)), constants by index, attributes
NODES: dict[str, tuple[list[str], dict[int, Any], dict[str, Any]]] = {
    **{op: (["x", "y"], {}, {}) for op in ("AddV2", "Sub", "Mul", "RealDiv", "Maximum", "SquaredDifference", "Less")},
    **{op: (["x"], {}, {}) for op in ("Neg", "Exp", "Tanh", "Relu", "Softmax", "Square", "Identity")},
    "Pow": (["x"], {1: np.float32(2.0)}, {}),
    "FloorMod": (["x"], {1: np.float32(0.75)}, {}),
    "Mean": (["x"], {1: np.array([1], np.int32)}, {"keep_dims": True}),
    "Sum": (["x"], {1: np.int32(-1)}, {"keep_dims": False}),
    "Reshape": (["x"], {1: np.array([-1, 12], np.int32)}, {}),
    "Transpose": (["x"], {1: np.array([0, 2, 1], np.int32)}, {}),
    "ExpandDims": (["x"], {1: np.int32(1)}, {}),
    "ConcatV2": (["x", "y"], {2: np.int32(-1)}, {}),
    "Pack": (["x", "y"], {}, {"axis": 1}),
    "Split": (["x"], {0: np.int32(1)}, {"num_split": 2}),
    "BatchMatMulV2": (["x", "y"], {}, {"adj_x": False, "adj_y": True}),
    "Cast": (["x"], {}, {"DstT": tf.int32}),
    "ArgMax": (["x"], {1: np.int32(2)}, {}),
    "Tile": (["x"], {1: np.array([1, 2, 1], np.int32)}, {}),
    "GatherV2": (["x"], {1: np.array([2, 0], np.int32), 2: np.int32(1)}, {}),
    "LeakyRelu": (["x"], {}, {"alpha": 0.3}),
    "Shape": (["x"], {}, {}),
    "StridedSlice": (
        ["x"],
        {1: np.array([0, 1, 0], np.int32), 2: np.array([0, 2, 3], np.int32), 3: np.array([1, 1, 2], np.int32)},
        {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2},
    ),
}  # fmt: skip


def node(op: str) -> Any:
    """A TensorFlowOpLayer, as TensorFlow 2.0 to 2.3 made it, applied to its inputs."""
    from google.protobuf import json_format
    from tf_keras.src.engine.base_layer import TensorFlowOpLayer

    tensors, constants, attributes = NODES[op]
    with tf.Graph().as_default():
        given: list[Any] = [tf.compat.v1.placeholder(tf.float32, (None, 4, 3)) for _ in tensors]
        for index, value in constants.items():
            given.insert(index, tf.constant(value))
        if op in ("ConcatV2", "Pack"):  # a list comes first
            given = [given[: len(tensors)], *given[len(tensors) :]]
        function = tf.raw_ops.__dict__[op]
        result = function(**dict(zip(inspect.signature(function).parameters, given)), **attributes)
        result = result[0] if isinstance(result, (list, tuple)) else result
        definition = json_format.MessageToDict(result.op.node_def)
    return TensorFlowOpLayer(definition, f"node_{op}", constants=constants)


def test_nodes_of_graphs(tmp_path: Path) -> None:
    by_name = {"x": K.Input((4, 3), name="x"), "y": K.Input((4, 3), name="y")}
    outputs = []
    for op in NODES:
        given = [by_name[name] for name in NODES[op][0]]
        made = node(op)(given if len(given) > 1 else given[0])
        outputs.append(made[1] if isinstance(made, (list, tuple)) else made)
    model, values = K.Model(list(by_name.values()), outputs), inputs()
    config = json.loads(model.to_json())
    assert sum(each["class_name"] == "TensorFlowOpLayer" for each in config["config"]["layers"]) == len(NODES)
    got = tenun.compile(saved(model, tmp_path / "model.h5"))(*values)
    compare(list(NODES), got, model([tf.constant(v) for v in values]))


def test_every_node_is_of_a_known_function() -> None:
    assert not {row.split()[0] for row in _NODES.values()} - set(SYMBOLS)
