"""fit, evaluate, predict, train_on_batch: the same figures as Keras, for every kind of data."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import GraphError, LoadError, RunError, ShapeError, TenunError, UnsupportedError

L = tenun.layers
Array = np.ndarray[Any, Any]


def data(n: int = 100, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    return (rng.normal(size=(4, 6))[y] + rng.normal(size=(n, 6))).astype(np.float32), y


def theirs(keras: Any, **compiled: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(),
         keras.layers.Dense(4, "softmax")]
    )  # fmt: skip
    settings = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled}
    model.compile(**settings)
    return model


def same_history(got: Any, want: Any) -> None:
    assert set(got.history) == set(want.history)
    for name, values in want.history.items():
        np.testing.assert_allclose(got.history[name], values, rtol=2e-5, atol=1e-6, err_msg=name)
    assert got.epoch == want.epoch


FITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "validation_split": {"validation_split": 0.25},
    "validation_data": {"validation_data": data(37, 1), "validation_batch_size": 10, "validation_freq": 2},
    "class_weight": {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.5}},
    "sample_weight": {"sample_weight": np.linspace(0, 2, 100)},
    "initial_epoch": {"initial_epoch": 1},
    "steps": {"steps_per_epoch": 2},
}


@pytest.mark.parametrize("name", FITS)
def test_history_is_that_of_keras(keras: Any, name: str) -> None:
    x, y = data()
    model = theirs(keras, weighted_metrics=["accuracy"])
    own = tenun.load_model(model)
    options = {"batch_size": 32, "epochs": 3, "shuffle": False, "verbose": 0, **FITS[name]}
    same_history(own.fit(x, y, **options), model.fit(x, y, **options))
    got, want = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (own, model))
    assert got == pytest.approx(want, rel=2e-5)
    np.testing.assert_allclose(own.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    for ours, other in zip(own.get_weights(), model.get_weights()):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)


def batches(x: Array, y: Array, size: int = 20) -> Iterator[tuple[Array, Array]]:
    while True:
        for i in range(0, len(x), size):
            yield x[i : i + size], y[i : i + size]


class Rows:
    """What a keras.utils.Sequence or a torch Dataset offers."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        if i >= len(self):
            raise IndexError
        return self.x[i * 20 : i * 20 + 20], self.y[i * 20 : i * 20 + 20]


class Loader:
    """What a torch DataLoader offers."""

    def __init__(self, x: Array, y: Array) -> None:
        self.rows = Rows(x, y)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self.rows[i] for i in range(5))


@pytest.mark.parametrize("kind", ["generator", "sequence", "loader", "frame", "one output in a list"])
def test_kinds_of_data(keras: Any, kind: str) -> None:
    x, y = data()
    model = theirs(keras)
    own = tenun.load_model(model)
    want = model.fit(x, y, batch_size=20, epochs=2, shuffle=False, verbose=0)
    more: dict[str, Any] = {"epochs": 2, "verbose": 0}
    if kind == "generator":
        got = own.fit(batches(x, y), steps_per_epoch=5, **more)
    elif kind == "sequence":
        got = own.fit(Rows(x, y), shuffle=False, **more)
    elif kind == "loader":
        got = own.fit(Loader(x, y), **more)
    elif kind == "frame":
        pandas = pytest.importorskip("pandas")
        got = own.fit(pandas.DataFrame(x), pandas.Series(y), batch_size=20, shuffle=False, **more)
    else:
        got = own.fit([x], [y], batch_size=20, shuffle=False, **more)
    same_history(got, want)


def test_several_inputs_and_outputs(keras: Any) -> None:
    K = keras.layers
    keras.utils.set_random_seed(2)
    a, b = keras.Input((6,), name="a"), keras.Input((3,), name="b")
    h = K.Dense(5, "tanh")(K.Concatenate()([a, b]))
    model = keras.Model({"a": a, "b": b}, {"p": K.Dense(4, "softmax", name="p")(h), "q": K.Dense(2, name="q")(h)})
    model.compile(
        "sgd", {"p": "sparse_categorical_crossentropy", "q": "mae"}, loss_weights={"p": 0.7, "q": 2.0},
        metrics={"p": ["accuracy"], "q": ["mse", "mae"]},
    )  # fmt: skip
    own = tenun.load_model(model)
    x, y = data()
    feed = {"a": x, "b": x[:, :3]}
    want = {"p": y, "q": x[:, 2:4]}
    options = {"batch_size": 32, "epochs": 2, "shuffle": False, "verbose": 0, "validation_split": 0.2}
    same_history(own.fit(feed, want, **options), model.fit(feed, want, **options))
    got, expected = (
        own.evaluate(feed, want, verbose=0, return_dict=True),
        model.evaluate(feed, want, verbose=0, return_dict=True),
    )
    assert set(got) == set(expected)
    for name in got:
        assert got[name] == pytest.approx(expected[name], rel=2e-5), name
    results = own.predict(feed, verbose=0)
    assert set(results) == {"p", "q"} and results["q"].shape == (100, 2)


def test_masks_reach_losses_and_weighted_metrics(keras: Any) -> None:
    K = keras.layers
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [K.Input((7,), dtype="int32"), K.Embedding(20, 6, mask_zero=True), K.LSTM(5, return_sequences=True),
         K.Dense(3, "softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    own = tenun.load_model(model)
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (40, 7))
    x[np.arange(7) >= rng.integers(1, 7, 40)[:, None]] = 0
    y, weights = rng.integers(0, 3, (40, 7)), rng.uniform(0.5, 1.5, (40, 7)).astype(np.float32)
    options = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0, "sample_weight": weights}
    same_history(own.fit(x, y, **options), model.fit(x, y, **options))


def test_frozen_layers_stay(keras: Any) -> None:
    model = theirs(keras)
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    own = tenun.load_model(model)
    x, y = data()
    before = own.get_weights()
    options = {"batch_size": 32, "epochs": 2, "shuffle": False, "verbose": 0}
    same_history(own.fit(x, y, **options), model.fit(x, y, **options))
    changed = [not np.array_equal(a, b) for a, b in zip(before, own.get_weights())]
    assert changed == [False] * 6 + [True] * 2
    assert len(own.trainable_weights) == 2


def test_steps_on_single_batches(keras: Any) -> None:
    model = theirs(keras)
    own = tenun.load_model(model)
    x, y = data(32)
    for _ in range(3):
        np.testing.assert_allclose(own.train_on_batch(x, y), model.train_on_batch(x, y), rtol=2e-5)
    np.testing.assert_allclose(own.test_on_batch(x, y), model.test_on_batch(x, y), rtol=2e-5)
    assert own.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(model.train_on_batch(x, y)[0], rel=2e-5)
    assert own.predict_on_batch(x).shape == (32, 4)


def test_stateful_layers_keep_their_state_until_reset(keras: Any) -> None:
    K = keras.layers
    keras.utils.set_random_seed(4)
    model = keras.Sequential([K.Input(batch_shape=(4, 5, 3)), K.LSTM(6, stateful=True), K.Dense(2)])
    model.compile("sgd", "mse")
    own = tenun.load_model(model)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 5, 3)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    for _ in range(2):
        options = {"batch_size": 4, "epochs": 1, "shuffle": False, "verbose": 0}
        same_history(own.fit(x, y, **options), model.fit(x, y, **options))
    np.testing.assert_allclose(own.predict(x[:4], verbose=0), model.predict(x[:4], batch_size=4, verbose=0), rtol=1e-4)
    own.reset_states()
    model.layers[0].reset_states()
    np.testing.assert_allclose(
        own.predict(x, batch_size=4, verbose=0), model.predict(x, batch_size=4, verbose=0), rtol=1e-4, atol=1e-6
    )


# ---- repeatability ----------------------------------------------------------------------------------------------


def own_model(seed: int = 7, threads: int | None = None) -> Any:
    tenun.clear_session()
    tenun.set_random_seed(seed)
    model = tenun.Sequential(
        [tenun.Input((6,)), L.Dense(64, "relu"), L.Dropout(0.3), L.BatchNormalization(), L.Dense(4, "softmax")]
    )
    model.compile(tenun.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], threads=threads)
    return model


def bits(model: Any) -> list[bytes]:
    return [v.tobytes() for v in model.training_state().values()]


def test_same_seed_same_bits_at_any_number_of_threads() -> None:
    x, y = data(300)
    found = []
    for threads in (1, 2, 1):
        model = own_model(threads=threads)
        history = model.fit(x, y, batch_size=100, epochs=3, verbose=0)
        found.append((bits(model), history.history))
    assert found[0] == found[1] == found[2]
    other = own_model(seed=8)
    other.fit(x, y, batch_size=100, epochs=3, verbose=0)
    assert bits(other) != found[0][0]


WIDE: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": (lambda: [L.Dense(512, "relu"), L.Dense(256, "relu")], (784,)),
    "convolutions": (lambda: [L.Conv2D(32, 3, activation="relu"), L.Conv2D(32, 3), L.Flatten()], (18, 18, 16)),
    "recurrent": (lambda: [L.Bidirectional(L.LSTM(48, return_sequences=True)), L.GRU(48)], (40, 64)),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_layers_have_the_same_bits_at_any_number_of_threads(name: str) -> None:
    """Products large enough for BLAS and for the kernels to use several threads."""
    make, shape = WIDE[name]
    x = np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32)
    found = []
    for threads in (1, 2):
        tenun.clear_session()
        tenun.set_random_seed(3)
        model = tenun.Sequential([tenun.Input(shape), *make(), L.Dense(4, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", threads=threads)
        model.fit(x, np.arange(64) % 4, batch_size=32, epochs=2, verbose=0)
        found.append(bits(model))
    assert found[0] == found[1]


class Stop(tenun.callbacks.Callback):
    """Breaks off, as a killed process does, before a step."""

    def __init__(self, left: int) -> None:
        self.left = left

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_interrupted_and_resumed_training_has_the_same_bits(tmp_path: Path, save_freq: Any) -> None:
    x, y = data(300)
    want = own_model()
    options: dict[str, Any] = {"batch_size": 50, "epochs": 4, "verbose": 0}
    expected = want.fit(x, y, callbacks=[tenun.callbacks.BackupAndRestore(tmp_path / "a")], **options)
    broken = own_model()
    with pytest.raises(KeyboardInterrupt):
        broken.fit(x, y, callbacks=[tenun.callbacks.BackupAndRestore(tmp_path / "b", save_freq), Stop(15)], **options)
    again = own_model(seed=99)
    got = again.fit(x, y, callbacks=[tenun.callbacks.BackupAndRestore(tmp_path / "b", save_freq)], **options)
    assert bits(again) == bits(want)
    assert got.history == expected.history


def test_control_c_waits_for_the_end_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    x, y = data(100)
    model = own_model()
    run = type(model).run_step

    def interrupted(self: Any, *args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return run(self, *args)

    monkeypatch.setattr(type(model), "run_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0)
    monkeypatch.undo()
    assert model.optimizer.iterations == 1
    assert np.isfinite(model.evaluate(x, y, verbose=0)[0])


def test_pickled_models_go_on_alike() -> None:
    x, y = data(100)
    model = own_model()
    model.fit(x, y, epochs=1, verbose=0)
    twin = pickle.loads(pickle.dumps(model))
    histories = [m.fit(x, y, epochs=2, verbose=0).history for m in (model, twin)]
    assert histories[0] == histories[1] and bits(model) == bits(twin)


# ---- files ------------------------------------------------------------------------------------------------------


def test_training_goes_on_across_files_and_engines(keras: Any, tmp_path: Path) -> None:
    x, y = data(100)
    options = {"batch_size": 25, "epochs": 2, "shuffle": False, "verbose": 0}
    model = theirs(keras)
    model.fit(x, y, **options)
    model.save(tmp_path / "keras.keras")
    own = tenun.load_model(tmp_path / "keras.keras")
    assert own.optimizer.iterations == 8
    same_history(own.fit(x, y, **options), model.fit(x, y, **options))
    own.save(tmp_path / "own.keras")
    back = keras.models.load_model(tmp_path / "own.keras")
    np.testing.assert_allclose(back.predict(x, verbose=0), own.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    assert int(back.optimizer.iterations) == 16
    same_history(own.fit(x, y, **options), back.fit(x, y, **options))
    own.save_weights(tmp_path / "w.weights.h5")
    other = theirs(keras)
    other.load_weights(tmp_path / "w.weights.h5")
    for a, b in zip(own.get_weights(), other.get_weights()):
        assert np.array_equal(a, b)
    fresh = tenun.load_model(theirs(keras))
    fresh.load_weights(tmp_path / "w.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(own.get_weights(), fresh.get_weights()))


def test_a_live_keras_model_is_trained_here(keras: Any) -> None:
    x, y = data(100)
    model, twin = theirs(keras), theirs(keras)
    options = {"batch_size": 25, "epochs": 2, "shuffle": False, "verbose": 0}
    history = tenun.fit(model, x, y, **options)
    same_history(history, twin.fit(x, y, **options))
    for a, b in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    same_history(model.fit(x, y, **options), twin.fit(x, y, **options))


def test_models_written_here_are_files_of_graphs_too(tmp_path: Path) -> None:
    x, _ = data(10)
    model = own_model()
    for name in ("m.keras", "m.tenun"):
        tenun.save(model, tmp_path / name)
        np.testing.assert_allclose(tenun.compile_and_run(tmp_path / name, x), model(x), rtol=1e-6)
    np.testing.assert_allclose(tenun.compile_and_run(model, x), model(x), rtol=1e-6)


# ---- building ---------------------------------------------------------------------------------------------------


def test_names_shapes_and_summary_are_those_of_keras(keras: Any) -> None:
    def build(layers: Any, input_: Any, model: Any) -> Any:
        x = input_((8, 8, 3), name="image")
        h = layers.Conv2D(4, 3, activation="relu")(x)
        h = layers.Conv2D(4, 3, padding="same")(h)
        h = layers.Add()([h, layers.Conv2D(4, 1)(h)])
        h = layers.Bidirectional(layers.LSTM(5))(layers.Reshape((-1, 4))(h))
        return model(x, [layers.Dense(2)(h), layers.Dense(3)(h)])

    keras.utils.clear_session()
    tenun.clear_session()
    want = build(keras.layers, keras.Input, keras.Model)
    own = build(L, tenun.Input, tenun.Model)
    assert [layer.name for layer in own.layers] == [layer.name for layer in want.layers]
    assert [p.shape for p in own.weights] == [tuple(w.shape) for w in want.weights]
    assert own.count_params() == want.count_params()
    assert own.output_shape == {"dense": (None, 2), "dense_1": (None, 3)}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        own.summary()
    for line in ("bidirectional", "(None, 10)", f"Total params: {want.count_params():,}", "conv2d_1"):
        assert line in out.getvalue()


def test_a_summary_opens_nested_models_and_tells_what_is_trained() -> None:
    base = tenun.Sequential([tenun.Input((6,)), L.Dense(4, name="inner"), L.ReLU(name="act")], name="base")
    x = tenun.Input((6,))
    model = tenun.Model(x, L.Dense(2, name="head")(base(L.Dense(6, name="first")(x))))
    model.layers[1].trainable = False
    texts: list[str] = []
    model.summary(print_fn=texts.append)
    model.summary(print_fn=texts.append, expand_nested=True, show_trainable=True, line_length=100)
    short, long = texts
    assert "base (Sequential)" in short and "inner" not in short and "Trainable │" not in short
    cells = [[c.strip() for c in line.strip("│ ").split("│")] for line in long.splitlines() if line.startswith("│")]
    flags = {line[0].split()[0]: line[3] for line in cells}
    assert {k: flags[k] for k in ("first", "base", "inner", "act", "head")} == {
        "first": "N", "base": "Y", "inner": "Y", "act": "-", "head": "Y",
    }  # fmt: skip
    assert "Total params: 80" in short and max(map(len, long.splitlines())) <= 100


def test_a_notebook_shows_a_model_that_has_not_seen_its_inputs() -> None:
    html = tenun.Sequential([L.Dense(3)])._repr_html_()
    assert html.startswith("<pre>") and "does not know its input shape" in html


def test_models_inside_of_models_share_their_weights() -> None:
    base = tenun.Sequential([tenun.Input((6,)), L.Dense(4, "relu", name="inner")], name="base")
    x = tenun.Input((6,))
    head = tenun.Model(x, L.Dense(2)(base(x)))
    base.trainable = False
    head.compile("sgd", "mse")
    rows, _ = data(20)
    before, frozen = head.predict(rows, verbose=0), base.get_weights()
    head.fit(rows, np.ones((20, 2)), verbose=0)
    assert not np.allclose(before, head.predict(rows, verbose=0))
    assert all(np.array_equal(a, b) for a, b in zip(frozen, base.get_weights()))
    base.set_weights([w * 0 for w in frozen])
    assert np.ptp(head.predict(rows, verbose=0), axis=0).max() == 0
    wrapped = tenun.Sequential([tenun.Input((3, 6)), L.TimeDistributed(base), L.Flatten()])
    assert wrapped.output_shape == (None, 12)


def test_a_sequential_waits_for_its_first_batch() -> None:
    rows, labels = data(40)
    model = tenun.Sequential([L.Dense(5, "relu"), L.Dense(4, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(rows, labels, verbose=0)
    assert model.input_shape == (None, 6) and model.count_params() == 6 * 5 + 5 + 5 * 4 + 4


def test_verbose_zero_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    rows, labels = data(40)
    model = own_model()
    model.fit(rows, labels, verbose=0)
    model.evaluate(rows, labels, verbose=0)
    model.predict(rows, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(rows, labels, verbose=2)
    assert "accuracy" in capsys.readouterr().out


def test_training_mode_in_a_call_is_kept(keras: Any, tmp_path: Path) -> None:
    """Dropout(training=True) draws in inference too: new numbers at each run, from a seed that is a state."""
    x = keras.Input((200,))
    model = keras.Model(x, keras.layers.Dropout(0.4, seed=3, name="mc")(x, training=True))
    model.save(tmp_path / "mc.keras")
    exe = tenun.compile(tmp_path / "mc.keras")
    first, second = (exe(np.ones((50, 200), np.float32)) for _ in range(2))
    assert not np.array_equal(first, second)
    assert np.mean(first == 0) == pytest.approx(0.4, abs=0.02)
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.6)}


def test_a_functional_model_trains_in_training_mode(keras: Any) -> None:
    """Keras writes training=False into every call of a layer; in training all layers, inner ones too, get True."""
    k = keras.layers
    x, z = keras.Input((6,)), keras.Input((5,))
    inner = keras.Model(z, k.BatchNormalization(momentum=0.5)(k.Dense(5)(z)))
    y = k.BatchNormalization(momentum=0.5)(k.Dense(5)(x))
    model = keras.Model(x, k.Dense(1)(inner(k.BatchNormalization(momentum=0.5)(y, training=False), training=False)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    own = tenun.load_model(model)
    rows = data(32)[0]
    for _ in range(3):
        np.testing.assert_allclose(own.train_on_batch(rows, rows[:, :1]), model.train_on_batch(rows, rows[:, :1]), 1e-4)
    want = model.evaluate(rows, rows[:, :1], verbose=0)
    np.testing.assert_allclose(own.evaluate(rows, rows[:, :1], verbose=0), want, 1e-4)
    for got, want in zip(own.get_weights(), model.get_weights()):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [".keras", "live"])
def test_dropout_of_a_keras_model(keras: Any, tmp_path: Path, kind: str) -> None:
    """It draws in training; a live model's generators go on where Keras' stand, files do not hold them."""
    k = keras.layers
    x = keras.Input((7, 200))
    y = k.LSTM(3, dropout=0.2, recurrent_dropout=0.3, seed=5, name="lstm")(k.Dropout(0.4, seed=3, name="drop")(x))
    model = keras.Model(x, y)
    model(np.ones((2, 7, 200), np.float32), training=True)
    model.compile("sgd", "mse")
    model.save(tmp_path / "drop.keras")
    own = tenun.load_model(model if kind == "live" else tmp_path / "drop.keras")
    declared = [p for found in own.declared().lowering.parameters.values() for p in found]
    states = {p.name: p.numpy() for p in declared if p.weight.kept}
    cells = {"drop": model.get_layer("drop"), "lstm": model.get_layer("lstm").cell}
    for name, owner in cells.items():
        want = owner.seed_generator.state.numpy() * (1 if kind == "live" else (1, 0))
        np.testing.assert_array_equal(states[f"{name}/seed_generator.seed_generator_state"], want)
    rows = np.random.default_rng(0).normal(size=(16, 7, 200)).astype(np.float32)
    losses = [own.train_on_batch(rows, np.zeros((16, 3), np.float32)) for _ in range(2)]
    assert losses[0] != pytest.approx(own.evaluate(rows, np.zeros((16, 3)), verbose=0), rel=1e-3)


# ---- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda m, x, y: m.fit(x[:, :5], y, verbose=0), ShapeError, ("input_layer", "6")),
        (lambda m, x, y: m.fit(x, y[:-1], verbose=0), RunError, ("100", "99")),
        (lambda m, x, y: m.fit(x, verbose=0), TenunError, ("dense_1",)),
        (lambda m, x, y: m.compile("adamm", "mse"), UnsupportedError, ("adamm", "Adam")),
        (lambda m, x, y: m.compile("adam", {"nobody": "mse"}) or m.fit(x, y, verbose=0), UnsupportedError, ("nobody",)),
        (lambda m, x, y: m.set_weights([]), LoadError, ("8",)),
        (lambda m, x, y: m.get_layer("nobody"), GraphError, ("nobody", "dense")),
        (lambda m, x, y: m.save("model.pkl"), UnsupportedError, (".pkl", ".keras")),
        (lambda m, x, y: m.load_weights(__file__), LoadError, ("test_fit.py",)),
        (lambda m, x, y: L.Dense(3)(np.ones(3)), GraphError, ("Input",)),
    ],
)
def test_errors_say_what_is_wrong(act: Any, kind: type[Exception], words: tuple[str, ...]) -> None:
    x, y = data(100)
    model = own_model()
    with pytest.raises(kind) as caught:
        act(model, x, y)
    for word in words:
        assert word in str(caught.value)


def test_a_model_that_is_not_compiled_says_so() -> None:
    x, y = data(10)
    model = tenun.Sequential([tenun.Input((6,)), L.Dense(4)])
    with pytest.raises(RunError, match="compile"):
        model.fit(x, y, verbose=0)
