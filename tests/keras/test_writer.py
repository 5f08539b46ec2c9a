"""Written files against Keras: it loads them, with the same config and weights, and predicts the same from them."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tenun.api import compile, load
from tenun.errors import LoadError, TenunError, UnsupportedError
from tenun.frontends.keras.archive import H5, Archive
from tenun.frontends.keras.config import Reader
from tenun.frontends.keras.stores import TreeStore, assign
from tenun.frontends.keras.writer import Values, archive, write, write_h5
from tenun.layers import LAYERS, Layer, Lowering
from tenun.layers.seed import SeedGenerator
from tenun.layers.whole import lower_model

from .cases import ELSEWHERE, FAMILIES
from .oracle import data, one_layer, randomise, same, saved
from .test_dialects import dense
from .test_functional import MODELS
from .test_masks import LAYERS as MASKED
from .test_masks import PRESENT, T

TOLERANCE = 1e-6
ROWS = [
    pytest.param(name, config, shape, id=f"{name}-{i}")
    for family in FAMILIES.values()
    for name, cases in family.items()
    for i, (config, shape) in enumerate(cases)
]


def layers_of(path: Path, custom: dict[str, Any] | None = None) -> tuple[Layer, Values]:
    """The layer objects of a file that Keras wrote, and a function that gives their arrays."""
    file = Archive(str(path), str(path))
    model, lowering = Reader("3", custom or {}).model(file.json("config.json")), Lowering()
    lower_model(model, lowering)
    assign(TreeStore(H5(file.read("model.weights.h5"), None)), model, lowering.parameters, None)
    return model, lambda layer: [p.data for p in lowering.parameters.get(layer, ())]  # type: ignore[misc]


def rewritten(keras: Any, built: Any, folder: Path, objects: dict[str, Any] | None = None, **more: Any) -> Any:
    """The Keras model loaded from what tenun wrote of a model that Keras saved."""
    original = saved(built, folder)
    model, values = layers_of(original, more.pop("custom", None))
    target = folder / "written.keras"
    write(model, values, target, **more)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Skipping variable")
        return keras.models.load_model(target, custom_objects=objects)


def compare(keras: Any, built: Any, again: Any, feed: Any, folder: Path) -> None:
    """The same weights, config and predictions."""
    for ours, theirs in zip(again.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if plain(again) != plain(built):  # Keras does not read all that it writes (`trainable` of a Sequential)
        again_by_keras = keras.models.load_model(folder / "model.keras")
        assert plain(again) == plain(again_by_keras)
    got = keras.tree.map_structure(keras.ops.convert_to_numpy, again(feed, training=False))
    same(keras, got, built(feed, training=False), TOLERANCE)


def plain(model: Any) -> Any:
    """The config of a model as JSON, without what is not the same from one object to the next."""

    def cut(x: Any, key: str | None = None) -> Any:
        if isinstance(x, dict):
            kept = {k: cut(v, k) for k, v in x.items() if k not in ("shared_object_id", "compile_config")}
            if "activation" in str(key) and isinstance(kept.get("config"), dict):  # called as its owner calls it
                kept["config"].pop("name", None)
                kept.pop("build_config", None)  # with the batch that was fed
            return kept
        return [cut(v) for v in x] if isinstance(x, list) else x

    return cut(json.loads(model.to_json()))


def graph(path: Path) -> Any:
    """The graph of a file, whatever version wrote it."""
    found = load(path)
    del found.metadata["keras_version"]
    return found


def feed_of(model: Any, inputs: list[Any]) -> Any:
    structure, names = getattr(model, "_inputs_struct", None), [t.name for t in model.inputs]
    if isinstance(structure, dict):
        return {k: inputs[names.index(v.name)] for k, v in structure.items()}
    return inputs[0] if len(inputs) == 1 else inputs


@pytest.mark.parametrize(("name", "config", "shape"), ROWS)
def test_layer(keras: Any, tmp_path: Path, name: str, config: dict[str, Any], shape: Any) -> None:
    built = one_layer(keras, name, config, shape)
    feed = feed_of(built, data(built, shape))
    built(feed)  # Keras builds an activation with weights only now
    compare(keras, randomise(built), rewritten(keras, built, tmp_path), feed, tmp_path)


def test_every_layer_is_written() -> None:
    """The table of cases has all layers but those of ELSEWHERE, which have tests of their own below."""
    assert {cls.__name__ for cls in LAYERS.values()} - {n for f in FAMILIES.values() for n in f} == ELSEWHERE


@pytest.mark.parametrize("name", MODELS)
def test_topology(keras: Any, tmp_path: Path, name: str) -> None:
    """Also the same graph for tenun as the file that Keras wrote."""
    built = randomise(MODELS[name](keras, keras.layers))
    compare(keras, built, rewritten(keras, built, tmp_path), feed_of(built, data(built)), tmp_path)
    assert graph(tmp_path / "written.keras") == graph(tmp_path / "model.keras")


@pytest.mark.parametrize("name", MODELS)
def test_legacy_files(keras: Any, tmp_path: Path, name: str) -> None:
    built = randomise(MODELS[name](keras, keras.layers))
    model, values = layers_of(saved(built, tmp_path))
    write_h5(model, values, tmp_path / "written.h5")
    compare(keras, built, keras.models.load_model(tmp_path / "written.h5"), feed_of(built, data(built)), tmp_path)
    assert graph(tmp_path / "written.h5") == graph(tmp_path / "model.keras")


@pytest.mark.parametrize("name", [n for n in MASKED if n != "softmax"])
def test_masked_sequences(keras: Any, tmp_path: Path, name: str) -> None:
    x = keras.Input((T, 3))
    built = randomise(keras.Model(x, MASKED[name](keras.layers)(keras.layers.Masking()(x))))
    values = np.random.default_rng(0).normal(size=(*PRESENT.shape, 3)).astype("float32") * PRESENT[:, :, None]
    compare(keras, built, rewritten(keras, built, tmp_path), values, tmp_path)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_dtype_policies(keras: Any, tmp_path: Path, policy: str) -> None:
    L = keras.layers
    x = keras.Input((8, 3))
    y = L.BatchNormalization(dtype=policy)(L.Conv1D(4, 3, activation="relu", dtype=policy)(x))
    if policy != "bfloat16":  # in which TensorFlow cannot make orthogonal kernels
        y = L.Bidirectional(L.GRU(3, return_sequences=True, dtype=policy), dtype=policy)(y)
    built = randomise(keras.Model(x, L.Dense(3, dtype="float32")(L.GlobalAveragePooling1D(dtype=policy)(y))))
    compare(keras, built, rewritten(keras, built, tmp_path), data(built)[0], tmp_path)


def test_operations_with_config(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((4, 3))
    o = keras.ops
    ys = [
        o.cast(x, "int32"), o.clip(x, -0.5, 0.5), o.reshape(x, (-1, 12)), o.softmax(x, axis=1),
        o.stack([x, x], axis=2), o.where(o.greater(x, 0.0), x, 0.1), o.rsqrt(o.square(x) + 1.0),
        x + np.array([1.0, 2.0, 3.0], "float32"), o.mean(x, axis=(1, 2)),
    ]  # fmt: skip
    built = keras.Model(x, ys)
    compare(keras, built, rewritten(keras, built, tmp_path), data(built)[0], tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_large_configs_and_half_precision_in_legacy_files(keras: Any, tmp_path: Path) -> None:
    """More than the 64 KiB that HDF5 gives to small attributes; a type that it has not."""
    L = keras.layers
    built = keras.Sequential([keras.Input((5,)), *[L.Dense(5, dtype="bfloat16") for _ in range(100)]])
    model, values = layers_of(saved(built, tmp_path))
    write_h5(model, values, tmp_path / "w.h5", compile_config={"optimizer": "sgd", "loss": ["mse"], "metrics": ["mae"]})
    with h5py.File(tmp_path / "w.h5") as file:
        assert len(file.attrs["model_config"]) > 1 << 16
    compare(keras, built, keras.models.load_model(tmp_path / "w.h5"), data(built)[0], tmp_path)


# ---- training -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_compiled_and_trained(keras: Any, tmp_path: Path, optimizer: str) -> None:
    """Keras goes on training from the file as from its own model: optimizer, its variables, loss and metrics."""
    built, more, x, y = trained(keras, optimizer)
    again = rewritten(keras, built, tmp_path, optimizer_name=optimizer, **more)
    compare(keras, built, again, x, tmp_path)
    assert again.optimizer.get_config() == built.optimizer.get_config()
    for ours, theirs in zip(again.optimizer.variables, built.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    losses = [m.fit(x, y, epochs=3, shuffle=False, verbose=0).history for m in (again, built)]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_and_trained_legacy(keras: Any, tmp_path: Path) -> None:
    """Keras trains it with a new optimizer; a file of its own, which has the optimizer's variables, it does not."""
    built, more, x, y = trained(keras, "adam")
    write_h5(*layers_of(saved(built, tmp_path)), tmp_path / "w.h5", compile_config=more["compile_config"])
    again, by_keras = (keras.models.load_model(p) for p in (tmp_path / "w.h5", saved(built, tmp_path, ".h5")))
    compare(keras, built, again, x, tmp_path)
    assert again.optimizer.get_config() == by_keras.optimizer.get_config()
    built.compile(**{**more["compile_config"], "optimizer": keras.optimizers.Adam()})
    losses = [m.fit(x, y, epochs=3, shuffle=False, verbose=0).history for m in (again, built)]
    assert losses[0] == losses[1]


def trained(keras: Any, optimizer: str) -> tuple[Any, dict[str, Any], Any, Any]:
    """A trained model, what `write` is given for its training, and its data."""
    L = keras.layers
    built = keras.Sequential(
        [keras.Input((6, 3)), L.Bidirectional(L.LSTM(4)), L.BatchNormalization(), L.Dense(3, activation="softmax")]
    )
    built.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 3)).astype("float32"), rng.integers(0, 3, 8)
    built.fit(x, y, epochs=2, verbose=0)
    compiled = json.loads(json.dumps(keras.saving.serialize_keras_object(built.get_compile_config())))
    return (
        built,
        {"compile_config": compiled, "optimizer_variables": [*map(np.asarray, built.optimizer.variables)]},
        x,
        y,
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_compiled_without_variables(keras: Any, tmp_path: Path, suffix: str) -> None:
    """An optimizer that has not run yet: Keras makes its variables."""
    built = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model, values = layers_of(saved(built, tmp_path))
    target = tmp_path / f"w{suffix}"
    (write if suffix == ".keras" else write_h5)(
        model, values, target, compile_config={"optimizer": "adam", "loss": "mse"}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = keras.models.load_model(target)
    assert np.isfinite(again.evaluate(np.zeros((2, 5)), np.zeros((2, 3)), verbose=0))


def test_seeds(keras: Any, tmp_path: Path) -> None:
    """Written where the layers have them; Keras passes them over, and tenun finds them."""
    L = keras.layers
    built = keras.Sequential([keras.Input((6, 3)), L.LSTM(4, dropout=0.2), L.Dropout(0.5), L.Dropout(0.1)])
    model, values = layers_of(saved(randomise(built), tmp_path))
    counter = iter(range(9))

    def with_seeds(layer: Layer) -> list[Any]:
        seed = isinstance(layer, SeedGenerator)
        return [np.array([next(counter), 3], np.uint32)] if seed else list(values(layer))

    write(model, with_seeds, tmp_path / "w.keras")
    compare(keras, built, keras.models.load_model(tmp_path / "w.keras"), data(built)[0], tmp_path)
    with zipfile.ZipFile(tmp_path / "w.keras") as z, h5py.File(io.BytesIO(z.read("model.weights.h5"))) as file:
        assert file["layers/dropout/seed_generator/vars/0"][()].tolist() == [1, 3]
        assert file["layers/dropout_1/seed_generator/vars/0"][()].tolist() == [2, 3]
    again, _ = layers_of(tmp_path / "w.keras")
    generators = [layer.seed_generator for layer in again.layers[2:]]  # type: ignore[attr-defined]
    lowering = Lowering()
    for generator in generators:
        lowering.declare(generator, generator.name, ())
    file = Archive(str(tmp_path / "w.keras"), None)
    assign(TreeStore(H5(file.read("model.weights.h5"), None)), again, lowering.parameters, None)
    assert [lowering.parameters[g][0].data.tolist() for g in generators] == [[1, 3], [2, 3]]  # type: ignore[union-attr]


def test_objects_in_place_of_configs(keras: Any, tmp_path: Path) -> None:
    """Initialisers, regularisers and constraints as objects, classes, names of Keras 2."""
    from tenun.training.constraints import MaxNorm
    from tenun.training.initializers import HeNormal
    from tenun.training.regularizers import L1

    given: dict[str, Any] = {
        "kernel_initializer": HeNormal(seed=3), "bias_initializer": "ones", "kernel_regularizer": L1(0.25),
        "bias_regularizer": "l1_l2", "activity_regularizer": "orthogonal", "kernel_constraint": MaxNorm,
    }  # fmt: skip
    built = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model, values = layers_of(saved(built, tmp_path))
    for key, value in given.items():
        setattr(model.layers[1], key, value)  # type: ignore[attr-defined]
    write(model, values, tmp_path / "w.keras")
    layer = keras.models.load_model(tmp_path / "w.keras").layers[0]
    assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal) and layer.kernel_initializer.seed == 3
    assert isinstance(layer.bias_initializer, keras.initializers.Ones)
    assert float(layer.kernel_regularizer.l1) == 0.25
    assert layer.bias_regularizer.get_config() == {"l1": 0.01, "l2": 0.01}
    assert isinstance(layer.activity_regularizer, keras.regularizers.OrthogonalRegularizer)
    assert isinstance(layer.kernel_constraint, keras.constraints.MaxNorm)


# ---- objects of the user's own --------------------------------------------------------------------------------------


def test_custom_objects(keras: Any, tmp_path: Path) -> None:
    """Classes and functions are written by their (registered) names."""
    from tenun.layers import Weight

    @keras.saving.register_keras_serializable("mine")
    class Affine(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.k = self.add_weight(shape=(shape[-1],), name="k")

        def call(self, x: Any) -> Any:
            return x * self.k

    def cube(x: Any) -> Any:
        return x * x * x

    class OurAffine(Layer):
        registered_name = "mine>Affine"

        def weights(self, x: Any) -> Any:
            yield Weight("k", (x.dims[-1],))

        def lower(self, b: Any, x: Any, w: Any) -> Any:
            return b.mul(x, w.k)

    def our_cube(b: Any, x: Any) -> Any:
        return b.mul(b.mul(x, x), x)

    OurAffine.__name__ = "Affine"
    our_cube.__name__ = "cube"
    x = keras.Input((5,))
    y = keras.layers.Dense(4, activation=cube)(Affine()(x))
    built = randomise(keras.Model(x, y))
    again = rewritten(keras, built, tmp_path, {"cube": cube}, custom={"Affine": OurAffine, "cube": our_cube})
    (value,) = data(built)
    same(keras, np.asarray(again(value)), built(value), TOLERANCE)
    custom = {"Affine": OurAffine, "cube": our_cube}
    same(keras, compile(load(tmp_path / "written.keras", custom_objects=custom))(value), built(value))


def test_all_that_cannot_be_written_is_listed(keras: Any, tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Twice(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    @keras.saving.register_keras_serializable("mine")
    def some(x: Any) -> Any:
        return x

    built = keras.Sequential([keras.Input((5,)), Twice(name="t"), keras.layers.Dense(3, activation=some, name="d")])
    custom: dict[str, Callable[..., Any]] = {"Twice": lambda b, x: b.mul(x, 2.0), "some": lambda b, x: x}
    model, values = layers_of(saved(built, tmp_path), custom)
    model.layers[2].bias_initializer = object()  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError) as info:
        archive(model, values)
    text = str(info.value)
    assert "3 things that Keras cannot read" in text
    assert "t: a function stands for the layer Twice" in text
    assert "d: activation is a function without a name" in text
    assert "d: a object cannot be written" in text
    with pytest.raises(UnsupportedError, match="'d' is a Dense, not a model"):
        archive(model.layers[2], values)  # type: ignore[attr-defined]


# ---- what came from Keras 1 and 2 -----------------------------------------------------------------------------------


def _old(path: Path, layers: list[Any], **ends: Any) -> Layer:
    config = {"class_name": "Functional" if ends else "Sequential", "config": {"name": "s", "layers": layers, **ends}}
    return Reader("2.4.0", {}).model(json.loads(json.dumps(config)))


def _random(model: Layer) -> Values:
    """Any weights."""
    lowering, rng = Lowering(), np.random.default_rng(0)
    lower_model(model, lowering)
    arrays = {k: [rng.normal(size=p.shape).astype("float32") for p in v] for k, v in lowering.parameters.items()}
    return lambda layer: arrays.get(layer, [])


def test_layers_of_keras_2_as_those_of_keras_3(keras: Any, tmp_path: Path) -> None:
    """ThresholdedReLU is a ReLU with a threshold; old initialisers; states beside the sequences in one list."""
    thresholded = {"class_name": "ThresholdedReLU", "config": {"name": "t", "trainable": True, "theta": 0.5}}
    model = _old(tmp_path, [dense("a", 4, batch_input_shape=[None, 5]), thresholded])
    values = _random(model)
    write(model, values, tmp_path / "t.keras")
    x = np.random.default_rng(1).normal(size=(6, 5)).astype("float32")
    kernel, bias = values(model.layers[1])  # type: ignore[attr-defined]
    y = x @ kernel + bias
    got = keras.models.load_model(tmp_path / "t.keras")(x)
    np.testing.assert_allclose(got, np.where(y > 0.5, y, 0), rtol=1e-5, atol=1e-6)

    gru = {"name": "g", "trainable": True, "dtype": "float32", "units": 4, "activation": "tanh", "reset_after": True}
    layers = [
        {"class_name": "InputLayer", "name": n, "config": {"batch_input_shape": s, "name": n}, "inbound_nodes": []}
        for n, s in (("x", [None, 6, 3]), ("h", [None, 4]))
    ]
    called = [[["x", 0, 0, {}], ["h", 0, 0, {}]]]
    layers.append({"class_name": "GRU", "name": "g", "config": gru, "inbound_nodes": called})
    model = _old(tmp_path, layers, input_layers=[["x", 0, 0], ["h", 0, 0]], output_layers=[["g", 0, 0]])
    values = _random(model)
    write(model, values, tmp_path / "g.keras")
    x, h = (np.random.default_rng(2).normal(size=s).astype("float32") for s in ((2, 6, 3), (2, 4)))
    layer = keras.layers.GRU(4)
    layer.build((None, 6, 3))
    layer.set_weights(list(values(model.layers[2])))  # type: ignore[attr-defined]
    got = keras.models.load_model(tmp_path / "g.keras")([x, h])
    np.testing.assert_allclose(np.asarray(got).reshape(2, 4), layer(x, initial_state=h), rtol=1e-5, atol=1e-6)


def test_activations_that_keras_3_has_not(tmp_path: Path) -> None:
    model = _old(tmp_path, [dense("a", 4, batch_input_shape=[None, 5], activation="hard_sigmoid")])
    with pytest.raises(UnsupportedError, match=r"a: Keras 3 has no activation 'keras2.hard_sigmoid' \(activation\)"):
        archive(model, _random(model))


def test_names_with_slashes(tmp_path: Path) -> None:
    model = _old(tmp_path, [dense("tf/a", 4, batch_input_shape=[None, 5])])
    with pytest.raises(UnsupportedError, match="tf/a: a layer's name must not contain a slash"):
        archive(model, _random(model))


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_failure_leaves_the_old_file(tmp_path: Path, keras: Any) -> None:
    built = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model, values = layers_of(saved(built, tmp_path))
    target = tmp_path / "w.keras"
    target.write_bytes(b"old")

    def broken(layer: Layer) -> Any:
        raise LoadError("no data")

    with pytest.raises(LoadError, match="no data"):
        write(model, broken, target)
    assert target.read_bytes() == b"old"
    with pytest.raises(UnsupportedError, match="config of the model cannot be written as JSON"):
        write(model, values, target, compile_config={"loss": object()})
    with pytest.raises(TenunError, match="cannot write the file"):
        write(model, values, tmp_path / "nowhere" / "w.keras")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.keras", "w.keras"]
    write(model, values, target)
    assert graph(target) == graph(tmp_path / "model.keras")


def test_a_layer_that_the_tree_has_twice(keras: Any, tmp_path: Path) -> None:
    """A layer shared by a model and one nested in it is stored once, under both paths."""
    shared = keras.layers.Dense(4, name="shared")
    i = keras.Input((4,))
    inner = keras.Model(i, shared(i), name="inner")
    x = keras.Input((4,))
    model, values = layers_of(saved(randomise(keras.Model(x, inner(keras.layers.ReLU()(x)))), tmp_path))
    model.layers.append(model.layers[2].layers[1])  # type: ignore[attr-defined]
    archive_bytes = archive(model, values)
    with zipfile.ZipFile(io.BytesIO(archive_bytes)) as z, h5py.File(io.BytesIO(z.read("model.weights.h5"))) as file:
        assert file["layers/dense/vars/0"] == file["layers/functional/layers/dense/vars/0"]
