"""Quantised layers against Keras: what `model.quantize` makes and saves, and the policies that say so."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.api import compile, load
from tenun.errors import UnsupportedError
from tenun.frontends.keras.policies import read_policy, write_policy
from tenun.frontends.keras.reader import read_model
from tenun.frontends.keras.writer import write
from tenun.layers.policy import policy

from .cases import ints
from .oracle import check, data, one_layer, randomise, same, saved

HALF = {"mixed_bfloat16": 3e-2, "mixed_float16": 5e-3, "float64": 1e-9}

# name: (class, config, input)
LAYERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "dense": ("Dense", {"units": 5, "activation": "tanh"}, (7,)),
    "dense of a sequence": ("Dense", {"units": 4, "use_bias": False}, (None, 3)),
    "wide": ("Dense", {"units": 3}, (1100,)),
    "einsum": ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 3, 5), "bias_axes": "de"}, (4, 6)),
    "einsum back": (
        "EinsumDense", {"equation": "abcd,cde->abe", "output_shape": (None, 7), "bias_axes": "e"}, (4, 3, 2)
    ),
    "einsum turned": (
        "EinsumDense", {"equation": "abc,cd->adb", "output_shape": (5, None), "activation": "relu"}, (4, 3)
    ),
    "einsum with shared axis": ("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": (4, 5)}, (4, 3)),
    "embedding": ("Embedding", {"input_dim": 7, "output_dim": 5}, ints(6)),
    "embedding with mask": ("Embedding", {"input_dim": 7, "output_dim": 4, "mask_zero": True}, ints(6)),
    "reversible": ("ReversibleEmbedding", {"input_dim": 7, "output_dim": 5}, ints(6)),
}  # fmt: skip


def _int8(keras: Any, **more: Any) -> Any:
    return keras.quantizers.Int8QuantizationConfig(**more)


def _int4(keras: Any, block_size: Any = None, inputs: bool = False) -> Any:
    quantizer = keras.quantizers.AbsMaxQuantizer(value_range=(-100, 100), epsilon=1e-3) if inputs else None
    return keras.quantizers.Int4QuantizationConfig(activation_quantizer=quantizer, block_size=block_size)


MODES: dict[str, Callable[[Any], Any]] = {
    "int8": lambda k: "int8",
    "int8 weights only": lambda k: _int8(k, activation_quantizer=None),
    "int4 in blocks": lambda k: _int4(k, 2),
    "int4 in default blocks": lambda k: "int4",
    "int4 by channel": lambda k: _int4(k),
    "int4 by channel, inputs too": lambda k: _int4(k, -1, inputs=True),
    "float8": lambda k: "float8",
}


def quantized(keras: Any, model: Any, how: Any) -> Any:
    """The model after `quantize`; float8 with scales that matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize(**({"mode": how} if isinstance(how, str) else {"config": how}))
    for weight in model.weights:
        if weight.path.endswith(("inputs_scale", "outputs_grad_scale")):
            weight.assign(0.013)
        elif weight.path.endswith("kernel_scale") and how == "float8":
            weight.assign(0.0017)
    return model


def rewritten(keras: Any, model: Any, folder: Path) -> Any:
    from .test_writer import rewritten as through_tenun

    return through_tenun(keras, model, folder)


def built(keras: Any, name: str, how: str) -> Any:
    cls, config, shape = LAYERS[name]
    return quantized(keras, one_layer(keras, cls, config, shape), MODES[how](keras))


ROWS = [
    (name, how)
    for name, (cls, *_) in LAYERS.items()
    for how in MODES
    if not (how == "float8" and "Embedding" in cls) and not ("default" in how and name != "dense")
]


@pytest.mark.parametrize(("name", "how"), ROWS)
def test_layer(keras: Any, tmp_path: Path, name: str, how: str) -> None:
    check(keras, built(keras, name, how), tmp_path, shape=LAYERS[name][2], kinds=(".keras", "live"))


@pytest.mark.parametrize("name", ["dense", "embedding", "einsum"])
@pytest.mark.parametrize("how", ["int8", "int4 in blocks"])
def test_legacy_files(keras: Any, tmp_path: Path, name: str, how: str) -> None:
    check(keras, built(keras, name, how), tmp_path, shape=LAYERS[name][2], kinds=(".h5",))


@pytest.mark.parametrize(("name", "how"), [row for row in ROWS if row[0] in ("dense", "einsum back", "reversible")])
def test_written(keras: Any, tmp_path: Path, name: str, how: str) -> None:
    """Keras reads what tenun writes: the same policies, variables and results."""
    model = built(keras, name, how)
    again = rewritten(keras, model, tmp_path)
    ours, theirs = ({v.path: np.asarray(v) for v in each.weights} for each in (again, model))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        np.testing.assert_array_equal(value, theirs[path])
    assert again.layers[-1].dtype_policy == model.layers[-1].dtype_policy
    feed = data(model, LAYERS[name][2])[0]
    np.testing.assert_array_equal(np.asarray(again(feed)), np.asarray(model(feed)))


@pytest.mark.parametrize("source", HALF)
@pytest.mark.parametrize(("name", "how"), [("dense", "int8"), ("dense", "int4 in blocks"), ("dense", "float8"),
                                           ("einsum", "int8"), ("embedding", "int8"), ("embedding", "int4 in blocks"),
                                           ("reversible", "int4 in blocks")])  # fmt: skip
def test_other_dtypes(keras: Any, tmp_path: Path, name: str, how: str, source: str) -> None:
    if how == "int8" and source == "mixed_float16":
        pytest.skip("Keras has no int8 in float16")
    cls, config, shape = LAYERS[name]
    model = quantized(keras, one_layer(keras, cls, {**config, "dtype": source}, shape), MODES[how](keras))
    check(keras, model, tmp_path, shape=shape, tolerance=HALF[source])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("how", [None, "int8", "int8 weights only", "int4 in blocks", "int4 by channel",
                                 "int4 by channel, inputs too"])  # fmt: skip
def test_embedding_and_back(keras: Any, tmp_path: Path, tied: bool, how: str | None) -> None:
    L = keras.layers
    x = keras.Input((6,), dtype="int32")
    table = L.ReversibleEmbedding(7, 5, tie_weights=tied, logit_soft_cap=3.0, mask_zero=True)
    model = randomise(keras.Model(x, table(L.Dense(5, activation="tanh")(table(x)), reverse=True)))
    if how is not None:
        quantized(keras, model, MODES[how](keras))
    check(keras, model, tmp_path, shape=ints(6), kinds=(".keras", "live"))


def test_a_model_of_several(keras: Any, tmp_path: Path) -> None:
    """Layers that cannot be quantised stay what they are; nested models have quantised parts.

    (TimeDistributed does not scale the kernel of a quantised layer in Keras 3.15: it bypasses its `quantized_call`.)
    """
    L = keras.layers
    x = keras.Input((6,), dtype="int32")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="relu"), L.Dense(4)])
    y = L.Dense(4)(L.LSTM(4, return_sequences=True)(L.Embedding(7, 4)(x)))
    model = randomise(keras.Model(x, inner(L.GlobalAveragePooling1D()(L.LayerNormalization()(y)))))
    check(keras, quantized(keras, model, "int8"), tmp_path, shape=ints(6), kinds=(".keras", "live"))


# ---- GPTQ and AWQ: Keras finds their numbers by data; here they are drawn -------------------------------------
# Keras 3.15 writes them without zero points, and cannot read that; it reads what tenun writes.

CALIBRATED = ["gptq/4/-1", "gptq/4/2", "gptq/8/3", "gptq/2/-1", "gptq/3/2", "awq/4/-1", "awq/4/2"]


def calibrated(keras: Any, cls: str, config: dict[str, Any], shape: Any, mode: str) -> Any:
    """A model with such a layer, its variables drawn."""
    x = keras.Input(shape)
    layer = getattr(keras.layers, cls)(**config, dtype=f"{mode}_from_float32")
    layer.build((None, *shape))
    kind, bits, _ = mode.split("/")
    setattr(layer, f"is_{kind}_calibrated", True)
    rng = np.random.default_rng(0)
    groups = layer.kernel_scale.shape[-1]
    layer.g_idx.assign(np.arange(layer.g_idx.shape[0]) * groups // layer.g_idx.shape[0])
    high = 256 if bits == "4" else 2 ** int(bits)
    layer.quantized_kernel.assign(rng.integers(0, high, layer.quantized_kernel.shape))
    layer.kernel_zero.assign(rng.integers(0, 2 ** int(bits), layer.kernel_zero.shape))
    layer.kernel_scale.assign(rng.uniform(0.01, 0.2, layer.kernel_scale.shape))
    if kind == "awq":
        layer.awq_scales.assign(rng.uniform(0.5, 2, layer.awq_scales.shape))
    return keras.Model(x, layer(x))


@pytest.mark.parametrize("mode", CALIBRATED)
@pytest.mark.parametrize("name", ["dense", "einsum", "einsum back"])
def test_calibrated(keras: Any, tmp_path: Path, name: str, mode: str) -> None:
    cls, config, shape = LAYERS[name]
    model = calibrated(keras, cls, config, shape, mode)
    check(keras, model, tmp_path, shape=shape, kinds=("live",))
    loaded = read_model(model)
    write(loaded.model, lambda each: [p.data for p in loaded.lowering.parameters.get(each, ())], tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    feed = data(model, shape)[0]
    np.testing.assert_array_equal(np.asarray(again(feed)), np.asarray(model(feed)))
    same(keras, compile(load(tmp_path / "m.keras"))(feed), model(feed))


# ---- gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("name", ["dense", "dense of a sequence", "einsum", "einsum turned", "einsum with shared axis"])
def test_gradients(keras: Any, name: str, how: str) -> None:
    """Those of the input, kernel and bias: rounding is gone through, and float8 rounds the gradient too."""
    tf = pytest.importorskip("tensorflow")
    model = built(keras, name, how)
    x = data(model, LAYERS[name][2])[0]
    given = tf.constant(x)
    trained = [v for v in model.trainable_weights if v.name in ("kernel", "bias")]
    seed = np.random.default_rng(2).normal(size=model(x).shape).astype("float32")

    @tf.function  # eagerly, Keras' own gradient of float8 fails
    def gradients(given: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(model(given) * seed)
        return tape.gradient(total, [given, *(v.value for v in trained)])

    want = gradients(given)
    graph = load(model)
    b = tenun.ir.Builder(graph := graph.copy())
    b.outputs(b.reduce_sum(b.mul(graph.outputs[0], seed)), names=["total"])
    graph.metadata.clear()
    names = [graph.inputs[0].name, *(f"{model.layers[-1].name}.{v.name}" for v in trained)]
    found = compile(tenun.grad(graph, ["total"], names))(x)
    for ours, theirs in zip(found if len(names) > 1 else [found], want, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-4, atol=1e-4)


# ---- low-rank adaptation ----------------------------------------------------------------------------------------

ADAPTED: dict[str, tuple[str, dict[str, Any], Any]] = {
    **{name: LAYERS[name] for name in ("dense", "einsum", "einsum back", "embedding")},
    "conv": ("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2}, (5, 4, 6)),
    "reversible": ("ReversibleEmbedding", {"input_dim": 7, "output_dim": 5}, ints(6)),
}


def adapted(keras: Any, name: str, how: str | None = None) -> Any:
    """A model whose layer has an adaptation that is not zero."""
    cls, config, shape = ADAPTED[name]
    model = one_layer(keras, cls, config, shape)
    if how is not None:
        quantized(keras, model, MODES[how](keras))
    model.layers[-1].enable_lora(2, lora_alpha=3.0)
    for i, weight in enumerate(w for w in model.weights if "lora" in w.path):
        weight.assign(np.random.default_rng(i).uniform(-0.5, 0.5, weight.shape))
    return model


@pytest.mark.parametrize("name", ADAPTED)
def test_adaptations(keras: Any, tmp_path: Path, name: str) -> None:
    """Of a live model, merged in a file, and beside the kernel in a legacy file."""
    model = adapted(keras, name)
    check(keras, model, tmp_path, shape=ADAPTED[name][2], kinds=("live", ".keras", ".h5"))
    feed = data(model, ADAPTED[name][2])[0]
    np.testing.assert_allclose(np.asarray(rewritten(keras, model, tmp_path)(feed)), np.asarray(model(feed)), atol=1e-6)


@pytest.mark.parametrize("how", ["int8", "int8 weights only", "int4 in blocks", "int4 by channel"])
@pytest.mark.parametrize("name", ["dense", "einsum", "embedding"])
def test_adaptations_of_quantised_layers(keras: Any, tmp_path: Path, name: str, how: str) -> None:
    model = adapted(keras, name, how)
    check(keras, model, tmp_path, shape=ADAPTED[name][2], kinds=("live",))
    path = saved(model, tmp_path)  # the sum, quantised again
    again = keras.models.load_model(path)
    feed = data(model, ADAPTED[name][2])[0]
    same(keras, compile(load(path))(feed), again(feed))


@pytest.mark.parametrize("name", ADAPTED)
def test_adaptations_alone_are_trained(keras: Any, name: str) -> None:
    """Gradients of a, b and the bias against the tape; the kernel is no trainable weight."""
    tf = pytest.importorskip("tensorflow")
    model = adapted(keras, name)
    loaded = read_model(model)
    trained = {p.name: p for ps in loaded.lowering.parameters.values() for p in ps if p.trained}
    assert {n.split(".")[-1] for n in trained} == {v.name for v in model.trainable_weights}
    feed = data(model, ADAPTED[name][2])[0]
    seed = np.random.default_rng(2).normal(size=model(feed).shape).astype("float32")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(feed) * seed)
    want = tape.gradient(total, [v.value for v in model.trainable_weights])
    graph = load(model).copy()
    b = tenun.ir.Builder(graph)
    b.outputs(b.reduce_sum(b.mul(graph.outputs[0], seed)), names=["total"])
    graph.metadata.clear()
    names = [f"{model.layers[-1].name}.{v.name}" for v in model.trainable_weights]
    for ours, theirs in zip(compile(tenun.grad(graph, ["total"], names))(feed), want, strict=True):
        np.testing.assert_allclose(ours, np.asarray(tf.convert_to_tensor(theirs)), rtol=1e-4, atol=1e-4)


# ---- policies ---------------------------------------------------------------------------------------------------

POLICIES = ["float32", "float64", "mixed_float16", "int8_from_float32", "int8_from_mixed_bfloat16",
            "int4/128_from_float32", "int4/-1_from_bfloat16", "gptq/4/32_from_float32", "awq/4/-1_from_mixed_bfloat16",
            "float8_from_mixed_bfloat16"]  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_named_as_in_keras(keras: Any, name: str) -> None:
    theirs = keras.dtype_policies.get(name)
    ours = policy(name)
    assert (ours.name, ours.compute, ours.variable, ours.mode) == (
        name, theirs.compute_dtype, theirs.variable_dtype, theirs.quantization_mode,
    )  # fmt: skip
    serialised = keras.dtype_policies.serialize(theirs)
    assert read_policy(json.loads(json.dumps(serialised)), "") == name
    assert keras.dtype_policies.deserialize(write_policy(name)) == theirs


def test_a_history_of_another_length(keras: Any, tmp_path: Path) -> None:
    dtype = keras.dtype_policies.QuantizedFloat8DTypePolicy("float8", "float32", amax_history_length=3)
    model = one_layer(keras, "Dense", {"units": 2, "dtype": dtype}, (4,))
    for weight in model.weights:
        if "scale" in weight.path:
            weight.assign(0.01)
    check(keras, model, tmp_path)
    assert rewritten(keras, model, tmp_path).layers[-1].dtype_policy == dtype


def test_a_map_of_policies(keras: Any, tmp_path: Path) -> None:
    """Each layer takes what the map has for its path, else the default."""
    policies = keras.dtype_policies
    table = policies.DTypePolicyMap("float32", {"first": policies.DTypePolicy("mixed_bfloat16"),
                                                "se.*": policies.DTypePolicy("float64")})  # fmt: skip
    x = keras.Input((4,))
    first, second, third = (keras.layers.Dense(3, name=n, dtype=table) for n in ("first", "second", "third"))
    model = randomise(keras.Model(x, [first(x), second(x), third(x)]))
    inputs = data(model)[0]
    want = model(inputs)
    got = compile(load(saved(model, tmp_path)))(inputs)
    same(keras, got[:1], want[:1], 3e-2)
    same(keras, got[1:], want[1:])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mode": ({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int2", "source_name": "float32"}}, "int2"),
    "pattern": (
        {"class_name": "DTypePolicyMap", "config": {"default_policy": None, "policy_map": {"(a+)+b": "float32"}}},
        "not supported",
    ),
    "part": (
        {"class_name": "DTypePolicyMap", "config": {"default_policy": None, "policy_map": {"d/kernel": "float32"}}},
        "a part of the layer 'd'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_policies(name: str) -> None:
    value, words = REFUSED[name]
    with pytest.raises(UnsupportedError, match=words):
        read_policy(value, "d")


def test_refused_modes_and_quantizers() -> None:
    with pytest.raises(UnsupportedError, match="int8, int4"):
        tenun.layers.Embedding(3, 2, dtype="float8_from_float32")
    config = {"class_name": "Int8QuantizationConfig", "config": {"activation_quantizer": {"class_name": "Mine"}}}
    with pytest.raises(UnsupportedError, match="AbsMaxQuantizer"):
        tenun.layers.Dense(3, dtype="int8_from_float32", quantization_config=config)
