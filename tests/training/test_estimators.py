"""The estimators against scikit-learn: its own checks, its tools, and Keras for what is computed."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.training.callbacks import EarlyStopping, LambdaCallback
from tenun.training.seeds import next_seed

pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits, make_blobs, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tenun.estimators import Classifier, Regressor

Array = np.ndarray[Any, Any]


def blobs(classes: int = 3, n: int = 120, seed: int = 0) -> tuple[Array, Array]:
    X, y = make_blobs(n, n_features=4, centers=classes, random_state=seed)
    return StandardScaler().fit_transform(X), y


def numbers(n: int = 200, outputs: int = 1) -> tuple[Array, Array]:
    X, y = make_regression(n, 6, n_informative=3, n_targets=outputs, random_state=0)
    return X, StandardScaler().fit_transform(y.reshape(n, -1)).reshape(y.shape)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([Classifier(), Regressor()])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# ---- what is computed: Keras trains the same network ---------------------------------------------------------------


def first_weights(made: Any, X: Array, y: Array) -> list[Array]:
    """The weights that training begins with: a step with a learning rate of 0 leaves them."""
    return clone(made).set_params(learning_rate=0.0, epochs=1).fit(X, y).model_.get_weights()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["binary", "classes", "regression", "regressions"])
def test_training_is_that_of_keras(keras: Any, kind: str, weighted: bool) -> None:
    outputs, last, loss = {
        "binary": (1, "sigmoid", "binary_crossentropy"),
        "classes": (3, "softmax", "sparse_categorical_crossentropy"),
        "regression": (1, "linear", "mse"),
        "regressions": (2, "linear", "mse"),
    }[kind]
    regression = kind.startswith("regression")
    X, y = numbers(40, outputs) if regression else blobs(3 if kind == "classes" else 2, 40)
    X, weight = X.astype(np.float32), np.arange(40) % 3 + 0.5 if weighted else None
    cls = Regressor if regression else Classifier
    made = cls((8,), epochs=5, batch_size=40, learning_rate=0.01, random_state=0)
    model = keras.Sequential(
        [keras.Input((X.shape[1],)), keras.layers.Dense(8, "relu"), keras.layers.Dense(outputs, last)]
    )
    model.set_weights(first_weights(made, X, y))
    model.compile(keras.optimizers.Adam(0.01), loss)
    scaled = None if weight is None else weight / weight.mean()
    history = model.fit(X, y, sample_weight=scaled, epochs=5, batch_size=40, verbose=0)
    made.fit(X, y, sample_weight=weight)
    expected = model.predict(X, verbose=0)
    got = made.predict(X) if regression else made.predict_proba(X)
    if kind == "binary":
        expected = np.hstack([1 - expected, expected])
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=2e-5)
    np.testing.assert_allclose(made.history_["loss"], history.history["loss"], rtol=1e-4)


def test_digits_are_learned() -> None:
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0)
    assert Classifier(epochs=15, random_state=0).fit(X, y).score(X_test, y_test) > 0.95


def test_several_targets_are_learned() -> None:
    X, y = numbers(300, 3)
    made = Regressor((64,), epochs=60, learning_rate=0.01, random_state=0).fit(X[:200], y[:200])
    assert made.predict(X).shape == y.shape and made.n_outputs_ == 3
    assert made.score(X[200:], y[200:]) > 0.95


# ---- the tools of scikit-learn ----------------------------------------------------------------------------------


def test_pipeline_search_and_cross_validation() -> None:
    X, y = blobs()
    pipe = make_pipeline(MinMaxScaler(), Classifier(epochs=10, learning_rate=0.05, random_state=0))
    search = GridSearchCV(pipe, {"classifier__layers": [(), (8,), (16, 8)]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9 and search.best_params_["classifier__layers"] in [(), (8,), (16, 8)]
    assert cross_val_score(pipe, X, y, cv=3).min() > 0.8
    assert is_classifier(Classifier()) and is_regressor(Regressor())


def test_other_processes_and_threads_give_the_same_scores() -> None:
    X, y = blobs(seed=3)
    made = Classifier((8,), epochs=2, random_state=0)
    alone = cross_val_score(made, X, y, cv=4)
    import joblib

    with joblib.parallel_backend("threading"):
        assert cross_val_score(made, X, y, cv=4, n_jobs=4).tolist() == alone.tolist()
    assert cross_val_score(made, X, y, cv=4, n_jobs=2).tolist() == alone.tolist()


def test_sample_weights_can_be_routed() -> None:
    import sklearn

    X, y = blobs()
    with sklearn.config_context(enable_metadata_routing=True):
        made = Classifier(epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        cross_val_score(made, X, y, params={"sample_weight": np.ones(len(X))})


def test_string_labels() -> None:
    X, y = blobs()
    names = np.array(["pear", "apple", "fig"])
    made = Classifier(epochs=20, learning_rate=0.05, random_state=0).fit(X, names[y])
    assert made.classes_.tolist() == ["apple", "fig", "pear"]
    assert made.score(X, names[y]) > 0.9
    assert (made.predict(X) == made.classes_[made.predict_proba(X).argmax(axis=1)]).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library: str) -> None:
    frames = pytest.importorskip(library)
    X, y = blobs(2)
    frame = frames.DataFrame({c: X[:, i] for i, c in enumerate("abcd")})
    made = Classifier(epochs=3, random_state=0).fit(frame, frames.Series(y))
    assert made.feature_names_in_.tolist() == list("abcd") and made.n_features_in_ == 4
    plain = Classifier(epochs=3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(made.predict_proba(frame), plain.predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        made.predict(frame[["b", "a", "c", "d"]])


def test_class_weights_act_like_sample_weights() -> None:
    X, y = blobs(3, 90)
    y = np.array(list("abc"))[y]
    settings = {"epochs": 3, "random_state": 0}
    told = Classifier(class_weight={"a": 3.0, "c": 0.5}, **settings).fit(X, y)
    given = Classifier(**settings).fit(X, y, sample_weight=np.select([y == "a", y == "c"], [3.0, 0.5], 1.0))
    np.testing.assert_array_equal(told.predict_proba(X), given.predict_proba(X))
    balanced = Classifier(class_weight="balanced", **settings).fit(X[:70], y[:70])
    from sklearn.utils.class_weight import compute_sample_weight

    same = Classifier(**settings).fit(X[:70], y[:70], sample_weight=compute_sample_weight("balanced", y[:70]))
    np.testing.assert_array_equal(balanced.predict_proba(X), same.predict_proba(X))


# ---- random numbers ---------------------------------------------------------------------------------------------


def dropped() -> list[Any]:
    return [16, tenun.layers.Dropout(0.3), tenun.layers.BatchNormalization()]


def test_one_seed_gives_the_same_bits_and_others_not() -> None:
    X, y = blobs()
    made = Classifier(dropped(), epochs=3, random_state=7, validation_fraction=0.2)
    first, second = (clone(made).fit(X, y) for _ in range(2))
    assert first.history_ == second.history_
    for a, b in zip(first.model_.get_weights(), second.model_.get_weights()):
        np.testing.assert_array_equal(a, b)
    other = clone(made).set_params(random_state=8).fit(X, y)
    assert other.history_ != first.history_
    again = clone(made).set_params(random_state=np.random.RandomState(7)).fit(X, y)
    assert again.history_ == first.history_


def test_seeds_of_the_user_are_left_alone() -> None:
    X, y = blobs()
    tenun.set_random_seed(5)
    np.random.seed(5)
    expected = next_seed(), np.random.rand()
    tenun.set_random_seed(5)
    np.random.seed(5)
    made = Classifier(dropped(), epochs=1, random_state=0).fit(X, y).partial_fit(X, y)
    pickle.loads(pickle.dumps(made)).partial_fit(X, y).predict(X)
    assert (next_seed(), np.random.rand()) == expected


# ---- going on ---------------------------------------------------------------------------------------------------


def test_partial_fits_are_the_epochs_of_a_fit() -> None:
    X, y = blobs()
    whole = Classifier(dropped(), epochs=4, random_state=0).fit(X, y)
    parts = Classifier(dropped(), random_state=0)
    for _ in range(2):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, y)
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, y)
    assert parts.n_iter_ == whole.n_iter_ == 4 and parts.history_ == whole.history_
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_goes_on_after_fit_and_fit_begins_anew() -> None:
    X, y = numbers()
    made = Regressor(epochs=2, random_state=0).fit(X, y)
    first = made.predict(X)
    made.partial_fit(X[:50], y[:50])
    assert made.n_iter_ == 3 and not np.array_equal(made.predict(X), first)
    np.testing.assert_array_equal(made.fit(X, y).predict(X), first)


def test_partial_fit_refuses_what_does_not_belong() -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match="classes"):
        Classifier().partial_fit(X, y)
    made = Classifier().partial_fit(X[y < 2], y[y < 2], classes=[0, 1])
    with pytest.raises(ValueError, match=r"\[2\], which are not among \[0, 1\]"):
        made.partial_fit(X, y)
    with pytest.raises(ValueError, match="give partial_fit a dict"):
        Classifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="2 columns, in the first call it had 1"):
        Regressor().partial_fit(X, X[:, 0]).partial_fit(X, X[:, :2])


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    X, y = numbers(60)
    seen: list[list[Array]] = []
    record = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(record.model.get_weights()))
    made = Regressor(
        epochs=200, learning_rate=0.05, validation_fraction=0.3, patience=3, callbacks=record, random_state=0
    ).fit(X, y)
    losses = made.history_["val_loss"]
    assert made.n_iter_ == len(losses) == len(seen) < 200
    assert np.argmin(losses) == len(losses) - 4
    for got, expected in zip(made.model_.get_weights(), seen[int(np.argmin(losses))]):
        np.testing.assert_array_equal(got, expected)


def test_without_validation_the_training_loss_decides() -> None:
    X, y = blobs(2)
    made = Classifier(epochs=50, learning_rate=0.0, patience=2, callbacks=[EarlyStopping("loss")]).fit(X, y)
    assert made.n_iter_ <= 3 and "val_loss" not in made.history_


# ---- copies and files -------------------------------------------------------------------------------------------


def test_parameters_are_never_changed() -> None:
    X, y = blobs()
    optimizer = tenun.optimizers.SGD(0.1, momentum=0.9)
    hidden = [tenun.layers.Dense(8, "tanh"), 4]
    made = Classifier(hidden, optimizer=optimizer, learning_rate=0.02, epochs=2, random_state=0)
    made.fit(X, y)
    assert made.layers is hidden and hidden[0].values == {} and hidden[0].dtype is None
    assert made.model_.optimizer.learning_rate == pytest.approx(0.02)
    assert optimizer.learning_rate == pytest.approx(0.1)
    again = clone(made)
    assert again.layers[0] is not hidden[0]
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), made.predict_proba(X))


def test_mapped_files_can_be_trained_further(tmp_path: Any) -> None:
    joblib = pytest.importorskip("joblib")
    X, y = blobs()
    made = Classifier(epochs=1, random_state=0).fit(X, y)
    joblib.dump(made, tmp_path / "made.joblib")
    mapped = joblib.load(tmp_path / "made.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), made.predict_proba(X))
    np.testing.assert_array_equal(mapped.partial_fit(X, y).predict_proba(X), made.partial_fit(X, y).predict_proba(X))


def test_models_pickle_with_the_state_of_training() -> None:
    X, y = blobs()
    model = tenun.Sequential([tenun.Input((4,)), *(tenun.layers.Dense(8, "relu"), tenun.layers.Dropout(0.5))])
    model.add(tenun.layers.Dense(3, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, y, epochs=2, verbose=0)
    twin = pickle.loads(pickle.dumps(model))
    for each in (model, twin):
        each.fit(X, y, epochs=4, initial_epoch=2, verbose=0)
    assert model.history.history == twin.history.history and twin.optimizer.iterations == 16
    np.testing.assert_array_equal(model.predict(X, verbose=0), twin.predict(X, verbose=0))


# ---- models of one's own ----------------------------------------------------------------------------------------


def two_outputs(n_features: int, n_outputs: int) -> Any:
    assert n_outputs == 1
    x = tenun.Input((n_features,))
    return tenun.Model(x, tenun.layers.Dense(2, "softmax")(tenun.layers.Dense(8, "relu")(x)))


def logits(n_features: int, n_outputs: int) -> Any:
    return tenun.Sequential([tenun.layers.Dense(8, "relu"), tenun.layers.Dense(n_outputs)])


def convolution() -> list[Any]:
    return [
        tenun.layers.Reshape((8, 8, 1)), tenun.layers.Conv2D(8, 3, activation="relu"), tenun.layers.Flatten(),
    ]  # fmt: skip


LOGITS = {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}
SPARSE_LOGITS = {"class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": True}}


@pytest.mark.parametrize(
    ("classes", "settings"),
    [
        (2, {"layers": two_outputs}),
        (2, {"layers": two_outputs, "loss": "categorical_crossentropy"}),
        (2, {"layers": logits, "loss": LOGITS}),
        (3, {"layers": logits, "loss": SPARSE_LOGITS}),
        (3, {"loss": SPARSE_LOGITS}),
        (3, {"loss": "categorical_focal_crossentropy", "optimizer": "rmsprop"}),
        (3, {"layers": ()}),
        (2, {"layers": None, "loss": tenun.losses.BinaryFocalCrossentropy()}),
    ],
)
def test_models_and_losses_of_ones_own(classes: int, settings: dict[str, Any]) -> None:
    X, y = blobs(classes)
    made = Classifier(**{"epochs": 30, "learning_rate": 0.05, "random_state": 0, **settings}).fit(X, y)
    p = made.predict_proba(X)
    assert p.shape == (len(X), classes) and p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert made.score(X, y) > 0.9


def test_images_through_layers() -> None:
    X, y = load_digits(return_X_y=True)
    made = Classifier(convolution(), epochs=3, learning_rate=0.005, random_state=0).fit(X[:1000] / 16, y[:1000])
    assert made.score(X[1000:] / 16, y[1000:]) > 0.85


@pytest.mark.parametrize(("dtype", "expected"), [("float64", "float64"), ("float32", "float32"), ("int64", "float64")])
def test_layers_compute_in_the_dtype_of_the_data(dtype: str, expected: str) -> None:
    X, y = numbers()
    made = Regressor([4, tenun.layers.Dense(4)], epochs=1).fit((10 * X).astype(dtype), y)
    assert {w.dtype.name for w in made.model_.get_weights()} == {expected}
    assert made.predict((10 * X).astype(dtype)).dtype == expected


def several(n_features: int, n_outputs: int) -> Any:
    x = tenun.Input((n_features,))
    return tenun.Model(x, [tenun.layers.Dense(n_outputs)(x), tenun.layers.Dense(n_outputs)(x)])


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"epochs": 0}, ValueError, "epochs=0 has to be an integer of at least 1"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"patience": -1}, ValueError, "patience=-1 has to be None or"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction=1.0"),
        ({"layers": 64}, TypeError, "has to be a sequence or a function, not 64"),
        ({"layers": tenun.layers.Dense(4)}, TypeError, "has to be a sequence or a function"),
        ({"layers": (True,)}, TypeError, "not True"),
        ({"layers": ("relu",)}, TypeError, "numbers of units and layers, not 'relu'"),
        ({"layers": lambda a, b: None}, TypeError, "has to return a tenun.Model"),
        ({"layers": lambda a, b: logits(a, b + 1)}, tenun.ShapeError, "has 2 outputs, it needs 1"),
        ({"layers": several}, tenun.ShapeError, "has to be"),
        ({"optimizer": "adamw3"}, tenun.UnsupportedError, "adamw3"),
        ({"loss": "mean"}, tenun.UnsupportedError, "mean"),
    ],
)
def test_wrong_parameters_are_named(settings: dict[str, Any], error: type[Exception], match: str) -> None:
    X, y = numbers(30)
    with pytest.raises(error, match=match):
        Regressor(**settings).fit(X, y)


def test_wrong_data_are_named() -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match="zero"):
        Classifier().fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="1d array"):
        Classifier().fit(X, np.eye(3)[y])
    with pytest.raises(NotFittedError):
        Regressor().predict(X)


def test_one_class_is_certain() -> None:
    X, _ = blobs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Classifier(epochs=1).fit(X, ["a"] * len(X))
    assert set(made.predict(X)) == {"a"} and (made.predict_proba(X) == 1).all()


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None; import tenun, tenun.estimators\n"
        "try: tenun.estimators.Classifier\n"
        "except tenun.UnsupportedError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "scikit-learn" in out.stdout and "pip install tenun[sklearn]" in out.stdout


def test_the_module_imports_no_scikit_learn() -> None:
    code = "import sys, tenun; tenun.estimators; print('sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
