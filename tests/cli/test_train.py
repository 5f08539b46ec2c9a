"""`tenun train`: trains as Keras does, goes on where the file stands, says what is wrong before it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

Command = Any
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """100 samples of 6 features in 4 classes, under the names that are expected and under others."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 100)
    x = (rng.normal(size=(4, 6))[y] + rng.normal(size=(100, 6))).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y, features=x * 2, classes=y)
    return tmp_path / "data.npz"


def arrays(data: Path) -> tuple[Array, Array]:
    with np.load(data) as archive:
        return archive["x"], archive["y"]


def built(compiled: bool = True) -> Any:
    tenun.clear_session()
    tenun.set_random_seed(3)
    layers = [tenun.Input((6,)), tenun.layers.Dense(16, "relu"), tenun.layers.Dropout(0.3)]
    model = tenun.Sequential([*layers, tenun.layers.Dense(4, "softmax")])
    if compiled:
        model.compile(tenun.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    built().save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A model that is not compiled."""
    built(compiled=False).save(tmp_path / "bare.keras")
    return tmp_path / "bare.keras"


def figures(out: str) -> dict[str, float]:
    """The figures under the last line of progress."""
    rows = [line.split() for line in out.splitlines()]
    return {row[0]: float(row[1]) for row in rows if len(row) == 2 and row[0] not in ("Epoch", "wrote")}


def weights(file: Path) -> list[Array]:
    return tenun.load_model(file).get_weights()


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_trains_as_keras_on(tenun_command: Command, keras: Any, data: Path, tmp_path: Path, suffix: str) -> None:
    keras.utils.set_random_seed(1)
    theirs = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    x, y = arrays(data)
    theirs.fit(x, y, batch_size=100, verbose=0)
    theirs.save(tmp_path / f"model.{suffix}")
    out = tmp_path / "out.keras"
    result = tenun_command(
        "train", tmp_path / f"model.{suffix}", "--data", data, "--epochs", 3, "--batch-size", 100, "-o", out
    )
    assert result.status == 0 and "3/3" in result.out and f"wrote {out}" in result.out, result
    history = theirs.fit(x, y, batch_size=100, epochs=3, verbose=0)
    assert figures(result.out) == pytest.approx({k: v[-1] for k, v in history.history.items()}, rel=1e-4)
    back = keras.models.load_model(out)
    assert int(back.optimizer.iterations) == 4
    np.testing.assert_allclose(back.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_a_file_that_keras_compiled_and_never_trained(
    tenun_command: Command, keras: Any, data: Path, tmp_path: Path
) -> None:
    theirs = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, "softmax")])
    theirs.compile("adam", "sparse_categorical_crossentropy")
    theirs.save(tmp_path / "fresh.keras")
    assert tenun_command("train", tmp_path / "fresh.keras", "--data", data, "-o", tmp_path / "out.keras").status == 0
    assert tenun.load_model(tmp_path / "out.keras").optimizer.iterations == 4


def test_options_are_those_of_compile_and_fit(tenun_command: Command, bare: Path, data: Path, tmp_path: Path) -> None:
    options = ["--x", "features", "--y", "classes", "--optimizer", "sgd", "--learning-rate", 0.05]
    options += ["--loss", "sparse_categorical_crossentropy", "--metric", "accuracy", "--validation-split", 0.2]
    result = tenun_command("train", bare, "--data", data, *options, "--epochs", 2, "-o", tmp_path / "out.keras")
    assert result.status == 0, result
    assert set(figures(result.out)) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    trained = tenun.load_model(tmp_path / "out.keras")
    assert trained.optimizer.iterations == 2 * 3  # 80 samples, 32 at a time
    assert trained.optimizer.learning_rate == pytest.approx(0.05)
    assert type(trained.optimizer.settings).__name__ == "SGD"
    x, y = arrays(data)
    assert trained.evaluate(x[80:] * 2, y[80:], verbose=0) == pytest.approx(
        [figures(result.out)["val_loss"], figures(result.out)["val_accuracy"]], rel=1e-4
    )


def test_options_leave_the_state_of_the_optimizer(
    tenun_command: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once.keras", tmp_path / "twice.keras"
    assert tenun_command("train", model, "--data", data, "-o", once).status == 0
    options = ("--loss", "sparse_categorical_crossentropy", "--metric", "acc", "--learning-rate", 0.001)
    assert tenun_command("train", once, "--data", data, *options, "-o", twice).status == 0
    again = tenun.load_model(twice)
    assert again.optimizer.iterations == 8 and again.optimizer.learning_rate == pytest.approx(0.001)
    assert tenun_command("train", once, "--data", data, "--optimizer", "rmsprop", "-o", twice).status == 0
    assert tenun.load_model(twice).optimizer.iterations == 4


def test_a_seed_makes_it_repeatable(tenun_command: Command, model: Path, data: Path, tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((5, 5, 6)):
        out = tmp_path / f"{number}.keras"
        assert tenun_command("train", model, "--data", data, "--epochs", 2, "--seed", seed, "-o", out).status == 0
        found.append(np.concatenate([w.ravel() for w in weights(out)]))
    assert np.array_equal(found[0], found[1]) and not np.allclose(found[0], found[2])


def test_several_inputs_and_outputs(tenun_command: Command, tmp_path: Path) -> None:
    a, b = tenun.Input((3,), name="a"), tenun.Input((3,), name="b")
    h = tenun.layers.Concatenate()([a, b])
    outputs = [tenun.layers.Dense(1, name="p")(h), tenun.layers.Dense(2, name="q")(h)]
    tenun.Model([a, b], outputs).save(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    values = {"a": 3, "b": 3, "p": 1, "q": 2}
    np.savez(tmp_path / "d.npz", **{k: rng.normal(size=(40, n)).astype(np.float32) for k, n in values.items()})
    options = ("--data", tmp_path / "d.npz", "--loss", "mse", "--loss", "mae", "--metric", "mse")
    result = tenun_command("train", tmp_path / "m.keras", *options, "-o", tmp_path / "out.keras")
    assert result.status == 0, result
    assert set(figures(result.out)) >= {"loss", "p_loss", "q_loss", "p_mse", "q_mse"}
    error = tenun_command("train", tmp_path / "m.keras", *options, "--x", "a", "-o", tmp_path / "out.keras").error
    assert "--x is given 1 times, the model takes a, b" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--x", "pixels"), ("no array pixels", "it holds x, y, features, classes", "--x NAME")),
        (("--y", "labels"), ("no array labels", "it holds x, y, features, classes", "--y NAME")),
        (("--loss", "msee"), ("msee", "MeanSquaredError")),
        (("--optimizer", "adamm"), ("adamm", "Adam")),
        (("--output", "out.h5"), ("cannot write .h5 files", "use .keras")),
        (("--output", "nowhere/out.keras"), ("the folder does not exist",)),
        (("--data", "missing.npz"), ("the file does not exist", "missing.npz")),
        (("--data", "data.csv"), ("cannot read data from .csv files", "use .npz")),
    ],
)
def test_errors(
    tenun_command: Command, model: Path, data: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    error = tenun_command("train", model, "--data", data, "-o", tmp_path / "out.keras", *options).error
    assert all(word in error for word in words), error
    assert not (tmp_path / "out.keras").exists()


def test_a_model_without_a_loss_says_so(tenun_command: Command, bare: Path, data: Path, tmp_path: Path) -> None:
    error = tenun_command("train", bare, "--data", data, "-o", tmp_path / "out.keras").error
    assert "not compiled" in error and "--loss NAME" in error and "bare.keras" in error


def test_arrays_without_the_expected_names(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 6), np.float32), y=np.zeros(4, int))
    error = tenun_command("train", model, "--data", tmp_path / "d.npz", "-o", tmp_path / "out.keras").error
    assert "no array input_layer or x or x_train" in error and "it holds images, y" in error


def test_pickles_and_broken_files_are_refused(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object), y=np.zeros(1))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    for name in ("objects.npz", "broken.npz"):
        error = tenun_command("train", model, "--data", tmp_path / name, "-o", tmp_path / "out.keras").error
        assert "cannot read the .npz file" in error and name in error


def test_a_graph_cannot_be_trained(tenun_command: Command, data: Path, tmp_path: Path) -> None:
    tenun.save(built(), tmp_path / "m.tenun")
    error = tenun_command("train", tmp_path / "m.tenun", "--data", data, "-o", tmp_path / "out.keras").error
    assert "m.tenun" in error
