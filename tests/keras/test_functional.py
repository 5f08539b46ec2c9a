"""Topologies: several inputs and outputs, structures, sharing, nesting, constants in calls, operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenun.api import compile, load
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype
from tenun.layers.operations import Operation

from .oracle import check, data, randomise, same, saved

KINDS = (".keras", ".h5", "live")
MODELS: dict[str, Callable[[Any, Any], Any]] = {}


def model(build: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    MODELS[build.__name__] = build
    return build


@model
def sequential(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input((7,), name="x"), L.Dense(5, activation="relu"), L.Dropout(0.5), L.Dense(3)])


@model
def sequential_without_input_layer(k: Any, L: Any) -> Any:
    found = k.Sequential([L.Dense(5, activation="relu"), L.Dense(3)])
    found.build((None, 7))
    return found


@model
def two_inputs_two_outputs(k: Any, L: Any) -> Any:
    a, b = k.Input((5,), name="a"), k.Input((3,), name="b")
    x = L.Concatenate()([L.Dense(4)(a), L.Dense(4)(b)])
    return k.Model([a, b], [L.Dense(2, name="p")(x), L.Dense(3, name="q")(x)])


@model
def dicts(k: Any, L: Any) -> Any:
    z, a = k.Input((5,), name="z"), k.Input((3,), name="a")
    x = L.Concatenate()([z, a])
    return k.Model({"z": z, "a": a}, {"out": L.Dense(2)(x), "both": [L.Dense(3)(x), x]})


@model
def list_of_one(k: Any, L: Any) -> Any:
    x = k.Input((5,))
    return k.Model([x], [L.Dense(2)(x)])


@model
def the_same_output_twice(k: Any, L: Any) -> Any:
    x = k.Input((5,))
    y = L.Dense(2)(x)
    return k.Model(x, [y, y, L.Dense(3)(y)])


@model
def input_as_output(k: Any, L: Any) -> Any:
    x = k.Input((5,))
    return k.Model(x, [x, L.Dense(2)(x)])


@model
def shared_layers(k: Any, L: Any) -> Any:
    a, b = k.Input((6, 4)), k.Input((6, 4))
    shared, conv = L.LSTM(5), L.Conv1D(4, 3, padding="same")
    return k.Model([a, b], L.Dense(2)(L.Subtract()([shared(conv(a)), shared(conv(conv(b)))])))


@model
def nested_functional(k: Any, L: Any) -> Any:
    i = k.Input((5,), name="inside")
    y = L.Dense(4, activation="tanh")(i)
    inner = k.Model(i, [y, L.BatchNormalization()(y)], name="inner")
    x = k.Input((5,), name="x")
    p, q = inner(x)
    r, s = inner(L.Dense(5)(x))
    return k.Model(x, L.Add()([p, q, r, s]))


@model
def nested_twice(k: Any, L: Any) -> Any:
    deep = k.Sequential([k.Input((4,)), L.Dense(4, name="d"), L.BatchNormalization(name="bn")], name="deep")
    i = k.Input((5,))
    middle = k.Model(i, deep(L.Dense(4, name="d")(i)), name="middle")
    x = k.Input((5,))
    return k.Model(x, L.Dense(2, name="d")(middle(x)))


@model
def nested_with_dicts(k: Any, L: Any) -> Any:
    a, b = k.Input((5,), name="b_first"), k.Input((3,), name="a_second")
    inner = k.Model({"b_first": a, "a_second": b}, {"z": L.Dense(4)(a), "y": L.Dense(2)(b)})
    x, y = k.Input((3,), name="x"), k.Input((5,), name="y")
    out = inner({"a_second": x, "b_first": y})
    return k.Model([x, y], L.Concatenate()([out["y"], out["z"]]))


@model
def sequential_of_models(k: Any, L: Any) -> Any:
    i = k.Input((5,))
    body = k.Model(i, L.Dense(4)(i))
    return k.Sequential([body, k.Sequential([L.Dense(3), L.ReLU()]), L.Dense(2)])


@model
def time_distributed_model(k: Any, L: Any) -> Any:
    cnn = k.Sequential([k.Input((6, 5, 2)), L.Conv2D(3, 3), L.BatchNormalization(), L.GlobalAveragePooling2D()])
    x = k.Input((None, 6, 5, 2))
    return k.Model(x, L.LSTM(4)(L.TimeDistributed(cnn)(x)))


@model
def frozen_parts(k: Any, L: Any) -> Any:
    inner = k.Sequential([k.Input((5,)), L.Dense(4), L.BatchNormalization(), L.Dense(5), L.BatchNormalization()])
    inner.layers[0].trainable = False
    frozen = k.Sequential([k.Input((5,)), L.BatchNormalization(), L.Dense(5), L.BatchNormalization()])
    frozen.trainable = False
    x = k.Input((5,))
    return k.Model(x, frozen(inner(x)))


@model
def residual_net(k: Any, L: Any) -> Any:
    x = k.Input((12, 10, 3))
    y = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = L.ReLU()(L.BatchNormalization()(y))
    z = L.BatchNormalization()(L.SeparableConv2D(8, 3, padding="same")(y))
    y = L.Activation("relu")(L.Add()([y, z]))
    y = L.ZeroPadding2D(((0, 1), (1, 0)))(y)
    return k.Model(x, L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(L.MaxPooling2D(3, 2)(y))))


@model
def encoder_decoder(k: Any, L: Any) -> Any:
    a, b = k.Input((6, 3)), k.Input((4, 2))
    _, h, c = L.LSTM(5, return_state=True)(a)
    seq, *_ = L.LSTM(5, return_sequences=True, return_state=True)(b, initial_state=[h, c])
    g = L.GRU(5)(seq, initial_state=h)
    r = L.Bidirectional(L.LSTM(5, return_sequences=True))(seq, initial_state=[h, c, c, h])
    s = L.Bidirectional(L.GRU(5, return_state=True), backward_layer=L.GRU(5, go_backwards=True, return_state=True,
                        activation="relu"))(seq, initial_state=[h, c])  # fmt: skip
    cells = L.RNN([L.GRUCell(5), L.SimpleRNNCell(5)], return_state=True)(seq, initial_state=[h, c])
    return k.Model([a, b], [L.TimeDistributed(L.Dense(2))(seq), g, r, *s, *cells])


@model
def operations(k: Any, L: Any) -> Any:
    x, y = k.Input((4, 3)), k.Input((4, 3))
    o = k.ops
    z = o.relu(x) * 2.0 - y / 3.0 + o.exp(-o.square(y))
    z = o.concatenate([z, o.maximum(x, y), o.expand_dims(o.mean(x, axis=-1), -1)], axis=-1)
    z = o.transpose(z, (0, 2, 1)) + o.sum(x, axis=(1, 2), keepdims=True)
    return k.Model([x, y], [z, o.matmul(x, o.transpose(y, (0, 2, 1))), o.sqrt(o.abs(1.0 - x)), x**2.0])


@model
def integer_and_float_inputs(k: Any, L: Any) -> Any:
    t, f = k.Input((6,), dtype="int32", name="tokens"), k.Input((3,), name="features")
    e = L.GlobalMaxPooling1D()(L.Embedding(5, 4)(t))
    return k.Model([t, f], L.Dense(2)(L.Concatenate()([e, f])))


@pytest.mark.parametrize("name", MODELS)
def test_topology(keras: Any, tmp_path: Path, name: str) -> None:
    built = randomise(MODELS[name](keras, keras.layers))
    # legacy files drop the module of operations, or fail to write them
    kinds = (".keras", "live") if name == "operations" else KINDS
    check(keras, built, tmp_path, kinds=kinds)


@pytest.mark.filterwarnings("ignore")
def test_trained_and_compiled(keras: Any, tmp_path: Path) -> None:
    """Optimiser slots, metrics and losses in the file are in nobody's way; nor are the seeds of dropout."""
    L = keras.layers
    built = keras.Sequential(
        [keras.Input((6, 3)), L.GaussianNoise(0.1), L.Bidirectional(L.LSTM(4)), L.Dropout(0.5), L.BatchNormalization(),
         L.Dense(3, activation="softmax", kernel_regularizer="l2")]
    )  # fmt: skip
    built.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    built.fit(rng.normal(size=(8, 6, 3)).astype("float32"), rng.integers(0, 3, 8), epochs=2, verbose=0)
    check(keras, built, tmp_path, kinds=KINDS)


def test_names_sources_and_shared_constants(keras: Any, tmp_path: Path) -> None:
    graph = load(saved(MODELS["nested_twice"](keras, keras.layers), tmp_path))
    assert {"d.kernel", "middle/d.kernel", "middle/deep/d.kernel", "middle/deep/bn.gamma"} <= set(graph.weights)
    assert {"d", "middle/d", "middle/deep/d", "middle/deep/bn"} <= {n.source for n in graph.nodes}
    graph = load(saved(MODELS["shared_layers"](keras, keras.layers), tmp_path))
    lstms = [n for n in graph.nodes if n.op.name == "lstm"]
    assert len(lstms) == 2
    kernels = [n.inputs[1].producer.inputs[0] for n in lstms]  # type: ignore[union-attr]
    assert kernels[0] is kernels[1]


def test_one_op_for_a_bidirectional_layer(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((6, 3))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True, name="lstm"), name="bi")(x)
    graph = load(saved(keras.Model(x, y), tmp_path))
    assert [n.op.name for n in compile(graph).optimized.nodes] == ["lstm", "reshape"]
    halves = ("bi/forward_lstm", "bi/backward_lstm")
    assert set(graph.weights) == {f"{h}.{w}" for h in halves for w in ("kernel", "recurrent_kernel", "bias")}


def test_symbols_names_and_structures(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, None, 3), name="b")
    c = keras.Input((None, 2), batch_size=4, name="c")
    graph = load(saved(keras.Model({"a": a, "b": b, "c": c}, [L.ReLU(name="r")(a), {"x": b, "y": c}]), tmp_path))
    assert [str(v.type) for v in graph.inputs] == ["f32[N, T, 3]", "f32[N, H, W, 3]", "f32[4, T_1, 2]"]
    assert all(isinstance(v.type, Tensor) for v in graph.inputs)
    assert graph.metadata["input_structure"] == {"a": "a", "b": "b", "c": "c"}
    assert graph.metadata["output_structure"] == ["r", {"x": "b", "y": "c"}]
    assert graph.metadata["keras_version"] == keras.__version__


def test_batches_of_any_size(keras: Any, tmp_path: Path) -> None:
    built = randomise(MODELS["residual_net"](keras, keras.layers))
    executable = compile(saved(built, tmp_path))
    rng = np.random.default_rng(0)
    for n in (1, 5, 2):
        x = rng.normal(size=(n, 12, 10, 3)).astype("float32")
        same(keras, executable(x), built(x))


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("mixed_float16", 5e-3), ("float16", 5e-3), ("mixed_bfloat16", 5e-2), ("bfloat16", 5e-2), ("float64", 1e-9)],
)
def test_dtype_policies(keras: Any, tmp_path: Path, policy: str, tolerance: float) -> None:
    L = keras.layers
    x = keras.Input((8, 3), dtype="float32")
    y = L.Conv1D(4, 3, activation="relu", dtype=policy)(x)
    y = L.BatchNormalization(dtype=policy)(y)
    y = L.LayerNormalization(dtype=policy)(y)
    y = L.Dense(4, dtype=policy)(y)
    z = L.Dense(3, dtype="float32")(L.GlobalAveragePooling1D(dtype=policy)(y))
    check(keras, randomise(keras.Model(x, [y, z])), tmp_path, tolerance=tolerance, kinds=(".keras", "live"))


def test_recurrent_layers_in_half_precision(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((6, 3))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True, dtype="mixed_float16"), dtype="mixed_float16")(x)
    check(keras, randomise(keras.Model(x, L.GRU(3, dtype="mixed_float16")(y))), tmp_path, tolerance=5e-3)


def test_custom_objects(keras: Any, tmp_path: Path) -> None:
    """A function for a class, a layer class of tenun, a function for a Lambda by its name, an activation."""
    from tenun.layers import Layer

    @keras.saving.register_keras_serializable("mine")
    class Twice(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    @keras.saving.register_keras_serializable("mine")
    class Affine(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.k = self.add_weight(shape=(shape[-1],), name="k")

        def call(self, x: Any) -> Any:
            return x * self.k

    @keras.saving.register_keras_serializable("mine")
    def cube(x: Any) -> Any:
        return x * x * x

    class OurAffine(Layer):
        def weights(self, x: Tensor) -> Any:
            from tenun.layers import Weight

            yield Weight("k", (x.dims[-1],))

        def lower(self, b: Any, x: Any, w: Any) -> Any:
            return b.mul(x, w.k)

    OurAffine.__name__ = "Affine"
    x = keras.Input((5,))
    y = keras.layers.Dense(4, activation=cube)(Affine()(Twice()(x)))
    built = randomise(keras.Model(x, keras.layers.Lambda(lambda v: v + 1, name="plus")(y)))
    (value,) = data(built)
    objects = {
        "Twice": lambda b, x: b.mul(x, 2.0),
        "Affine": OurAffine,
        "cube": lambda b, x: b.mul(b.mul(x, x), x),
        "plus": lambda b, x: b.add(x, 1.0),
    }
    for source in (saved(built, tmp_path), built):
        same(keras, compile(load(source, custom_objects=objects))(value), built(value))


@pytest.mark.parametrize("kind", [".keras", "live"])
def test_reductions_with_all_their_keys(keras: Any, tmp_path: Path, kind: str) -> None:
    """`initial`, which Keras writes as None where nobody gives it, and `dtype`."""
    ops = keras.ops
    x, n = keras.Input((5, 3)), keras.Input((4,), dtype="int32")
    outputs = [
        ops.max(x, axis=1), ops.max(x, axis=(1, 2), keepdims=True, initial=0.7), ops.min(x, axis=-1, initial=-0.2),
        ops.max(n, axis=1, initial=2), ops.min(n, axis=1), ops.prod(n, axis=1), ops.prod(x, axis=1, dtype="float32"),
        ops.any(x, axis=1), ops.all(n, axis=1), ops.mean(x, axis=2), ops.sum(x, axis=2), ops.var(x, axis=2),
    ]  # fmt: skip
    model = keras.Model([x, n], outputs)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(4, 5, 3)).astype("float32"), rng.integers(-3, 4, (4, 4)).astype("int32")]
    source = model if kind == "live" else saved(model, tmp_path, kind)
    same(keras, compile(source)(*given), model(given))


def test_a_reduction_refuses_what_it_does_not_have() -> None:
    b = Builder(Graph("ops"))
    x = b.input("x", Tensor(dtype("float32"), (2, 3)))
    with pytest.raises(UnsupportedError, match=r"keras.ops.Sum .*argument 'initial'"):
        Operation("Sum", {"axis": 1, "initial": 2}).lower(b, {"args": [x], "kwargs": {}}, None)  # type: ignore[arg-type]
