"""Losses against Keras: values, gradients in y_pred (tf.GradientTape), weights, masks, reductions, names, configs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import ShapeError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.passes.autodiff.engine import gradients
from tenun.training import losses
from tenun.training.losses import LOSSES, REDUCTIONS, Loss, crossentropy_kind

tf = pytest.importorskip("tensorflow")

N, T, C = 6, 4, 5
Array = np.ndarray[Any, Any]
BASES = {"Loss"}  # of the classes in keras.losses, those that are no loss by themselves

# ---- data -----------------------------------------------------------------------------------------------------


def real(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def share(rng: np.random.Generator, *shape: int) -> Array:
    return rng.uniform(0.02, 0.98, shape).astype(np.float32)


def bits(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(0, 2, shape).astype(np.float32)


def signs(rng: np.random.Generator, *shape: int) -> Array:
    return bits(rng, *shape) * 2 - 1


def one_hot(rng: np.random.Generator, *shape: int) -> Array:
    return np.eye(shape[-1], dtype=np.float32)[rng.integers(0, shape[-1], shape[:-1])]


def spread(rng: np.random.Generator, *shape: int) -> Array:
    """Distributions over the last axis."""
    x = rng.uniform(0.01, 1, shape).astype(np.float32)
    return x / x.sum(-1, keepdims=True)


def number(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers for predictions of this shape."""
    return rng.integers(0, shape[-1], shape[:-1])


def few(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers of which several are equal."""
    return rng.integers(0, 2, shape[:-1])


def unit(rng: np.random.Generator, *shape: int) -> Array:
    """Embeddings of norm 1."""
    x = real(rng, *shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def words(rng: np.random.Generator, *shape: int) -> Array:
    """Label sequences (N, 3) of 0 to 2 labels with padding, some with a repetition."""
    found = rng.integers(1, shape[-1], (shape[0], 3))
    found[:, 2] = 0
    found[0, 1], found[1] = found[0, 0], 0
    return found


FLAT, TALL, ONE, BARE, IMAGE = (N, C), (N, T, C), (N, 1), (N,), (N, 3, 2, C)
Maker = Callable[..., Array]
# Class: (targets, predictions, shapes of predictions, configs).
Row = tuple[Maker, Maker, list[tuple[int, ...]], list[dict[str, Any]]]
NUMBERS = [FLAT, TALL, ONE, BARE]
CASES: dict[str, list[Row]] = {
    "MeanSquaredError": [(real, real, NUMBERS, [{}])],
    "MeanAbsoluteError": [(real, real, NUMBERS, [{}])],
    "MeanAbsolutePercentageError": [(real, real, NUMBERS, [{}])],
    "MeanSquaredLogarithmicError": [(share, real, NUMBERS, [{}])],
    "CosineSimilarity": [(real, real, [FLAT, TALL], [{}, {"axis": 1}])],
    "Huber": [(real, real, NUMBERS, [{}, {"delta": 0.3}])],
    "LogCosh": [(real, real, NUMBERS, [{}])],
    "Hinge": [(signs, real, NUMBERS, [{}]), (bits, real, [FLAT, ONE], [{}]), (real, real, [FLAT], [{}])],
    "SquaredHinge": [(signs, real, NUMBERS, [{}]), (bits, real, [FLAT, ONE], [{}])],
    "CategoricalHinge": [(one_hot, real, [FLAT, TALL], [{}])],
    "KLDivergence": [(spread, spread, [FLAT, TALL], [{}]), (one_hot, share, [FLAT], [{}])],
    "Poisson": [(share, share, NUMBERS, [{}])],
    "BinaryCrossentropy": [
        (bits, share, NUMBERS, [{}, {"label_smoothing": 0.2}]),
        (bits, real, [FLAT, TALL, ONE], [{"from_logits": True}, {"from_logits": True, "label_smoothing": 0.1}]),
        (bits, bits, [FLAT], [{}]),
        (share, share, [TALL], [{"axis": 1}, {"axis": [1, 2]}]),
    ],
    "BinaryFocalCrossentropy": [
        (bits, share, NUMBERS, [{}, {"apply_class_balancing": True}, {"alpha": 0.7, "gamma": 1.5}]),
        (bits, real, [FLAT, ONE], [{"from_logits": True}, {"from_logits": True, "label_smoothing": 0.1}]),
        (bits, share, [TALL], [{"axis": 1, "apply_class_balancing": True, "alpha": 0.8}]),
    ],
    "CategoricalCrossentropy": [
        (one_hot, spread, [FLAT, TALL, IMAGE], [{}, {"label_smoothing": 0.1}]),
        (one_hot, share, [FLAT], [{}]),  # not yet of sum 1
        (spread, real, [FLAT, TALL], [{"from_logits": True}, {"from_logits": True, "label_smoothing": 0.1}]),
        (bits, real, [FLAT], [{"from_logits": True}]),  # targets of any sum: TensorFlow's gradient is its own
        (spread, spread, [TALL], [{"axis": 1}, {"axis": 1, "from_logits": True}]),
    ],
    "CategoricalFocalCrossentropy": [
        (one_hot, spread, [FLAT, TALL], [{}, {"alpha": 0.6, "gamma": 1.0}, {"label_smoothing": 0.1}]),
        (one_hot, spread, [FLAT], [{"alpha": [0.1, 0.2, 0.3, 0.2, 0.2]}]),
        (one_hot, real, [FLAT], [{"from_logits": True}]),
        (spread, spread, [TALL], [{"axis": 1}]),
    ],
    "SparseCategoricalCrossentropy": [
        (number, spread, [FLAT, TALL, IMAGE], [{}, {"ignore_class": 1}]),
        (number, real, [FLAT, TALL], [{"from_logits": True}, {"from_logits": True, "ignore_class": 0}]),
    ],
    "CategoricalGeneralizedCrossEntropy": [(number, spread, [FLAT, TALL], [{}, {"q": 0.8}])],
    "Dice": [(bits, share, [FLAT, TALL, IMAGE], [{}]), (bits, share, [IMAGE], [{"axis": [1, 2, 3]}, {"axis": -1}])],
    "Tversky": [
        (bits, share, [FLAT, IMAGE], [{}, {"alpha": 0.3, "beta": 0.9}]),
        (bits, share, [IMAGE], [{"axis": [1, 2, 3], "alpha": 0.8}, {"axis": 1}]),
    ],
    "Circle": [(few, unit, [FLAT], [{}, {"remove_diagonal": False}, {"gamma": 8.0, "margin": 0.25}])],
    "CTC": [(words, real, [(N, 6, C)], [{}])],
}


def cases() -> Iterator[Any]:
    """All of them, the first of each loss with all settings of weights, masks and reductions."""
    for name, rows in CASES.items():
        first = True
        for i, (target, prediction, shapes, configs) in enumerate(rows):
            for shape, config in itertools.product(shapes, configs):
                text = ",".join(f"{k}={v}" for k, v in config.items())
                label = f"{name}-{i}-{'x'.join(map(str, shape))}-{text}"
                yield pytest.param(name, config, target, prediction, shape, first, id=label)
                first = False


def settings(values: tuple[int, ...], every: bool) -> Iterator[tuple[str | None, Any, Any]]:
    """Reductions, sample weights and masks for losses of this shape."""
    rng = np.random.default_rng(3)
    weights = [None, rng.uniform(0, 2, values[:1]).astype(np.float32), rng.uniform(0, 2, values).astype(np.float32)]
    mask = rng.integers(0, 2, values).astype(bool)
    masks = [None, mask, np.zeros(values, bool)]
    if not every:
        yield "none", None, None
        yield "sum_over_batch_size", weights[2], mask
        return
    for reduction in REDUCTIONS:
        yield reduction, None, None
        yield reduction, weights[2], None
        yield reduction, None, mask
        yield reduction, weights[2], mask
    for weight, m in itertools.product(weights, masks):
        if weight is None or weight.ndim == len(values):
            yield "sum_over_batch_size", weight, m


# ---- both sides -----------------------------------------------------------------------------------------------


def ours(
    loss: Loss, y_true: Array, y_pred: Array, weight: Any = None, mask: Any = None, last: Any = None
) -> tuple[Array, Array]:
    """The loss and its gradient in y_pred, for a symbolic batch size; `last` is applied to y_pred first."""
    b = Builder(Graph("loss"))
    arrays = {"y_true": y_true, "y_pred": y_pred, "weight": weight, "mask": mask}
    given = {k: v for k, v in arrays.items() if v is not None}
    v = {k: b.input(k, Tensor(dtype(a), (symbol("N"), *a.shape[1:]))) for k, a in given.items()}
    made = v["y_pred"] if last is None else last(b, v["y_pred"])
    out = loss(b, v["y_true"], made, v.get("weight"), v.get("mask"))
    (slope,) = gradients(b, [out], [v["y_pred"]])
    value, gradient = tenun.compile(b.outputs(out, slope, names=["value", "gradient"]), threads=1)(*given.values())
    return value, gradient


def theirs(loss: Any, y_true: Array, y_pred: Array, weight: Any = None, mask: Any = None) -> tuple[Array, Array]:
    """Keras' loss and tf.GradientTape's gradient, eagerly."""
    x = tf.constant(y_pred)
    if mask is not None:
        x._keras_mask = tf.constant(mask)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(tf.constant(y_true), x, sample_weight=weight)
    return value.numpy(), tf.convert_to_tensor(tape.gradient(value, x)).numpy()


def close(found: tuple[Array, Array], expected: tuple[Array, Array], why: Any) -> None:
    for what, a, e in zip(("value", "gradient"), found, expected):
        assert a.shape == e.shape and a.dtype == e.dtype, (what, why)
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=2e-6, err_msg=f"{what} {why}")


@pytest.mark.parametrize("name, config, target, prediction, shape, every", cases())
def test_as_keras(
    keras: Any, name: str, config: dict[str, Any], target: Maker, prediction: Maker, shape: tuple[int, ...], every: bool
) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = target(rng, *shape), prediction(rng, *shape)
    theirs_class, our_class = getattr(keras.losses, name), LOSSES.classes[name]
    values = theirs_class(**config, reduction=None)(y_true, y_pred)
    for reduction, weight, mask in settings(tuple(values.shape) or (N,), every):
        if name == "Circle" and mask is not None and not mask.any():
            continue  # a mean over nothing of NaN
        expected = theirs(theirs_class(**config, reduction=reduction), y_true, y_pred, weight, mask)
        found = ours(our_class(**config, reduction=reduction), y_true, y_pred, weight, mask)
        close(found, expected, (reduction, None if weight is None else weight.shape, mask))


def test_every_loss_of_keras_has_cases(keras: Any) -> None:
    """A loss that comes with a new Keras shows up here by name."""
    known = {n for n, c in vars(keras.losses).items() if inspect.isclass(c)} - BASES
    assert sorted(known - set(LOSSES.classes)) == []
    assert sorted(known - set(CASES)) == []


# ---- shapes that differ by an axis, dtypes --------------------------------------------------------------------

UNEVEN = {
    "(N) against (N, 1)": ((N,), (N, 1)),
    "(N, 1) against (N)": ((N, 1), (N,)),
    "(N, T) against (N, T, 1)": ((N, T), (N, T, 1)),
    "(N, T, 1) against (N, T)": ((N, T, 1), (N, T)),
    "(N, 1) against (N, C)": ((N, 1), (N, C)),
}


@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryCrossentropy", "Hinge", "Huber"])
@pytest.mark.parametrize("shapes", UNEVEN.values(), ids=UNEVEN)
def test_last_axes_of_size_one(keras: Any, name: str, shapes: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(1)
    y_true, y_pred = bits(rng, *shapes[0]), share(rng, *shapes[1])
    if name == "BinaryCrossentropy" and shapes[1] == (N, C):
        with pytest.raises(ShapeError, match="binary crossentropy"):
            ours(LOSSES.classes[name](), y_true, y_pred)
        return
    for weight in (None, share(rng, N), share(rng, N, 1)):
        expected = theirs(getattr(keras.losses, name)(), y_true, y_pred, weight)
        close(ours(LOSSES.classes[name](), y_true, y_pred, weight), expected, shapes)


def test_sparse_labels_with_a_last_axis_and_as_floats(keras: Any) -> None:
    rng = np.random.default_rng(1)
    labels, y_pred = number(rng, N, T, C), spread(rng, N, T, C)
    expected = theirs(keras.losses.SparseCategoricalCrossentropy(), labels, y_pred)
    for y_true in (labels[..., None], labels.astype(np.float32), labels.astype(np.uint8)):
        close(ours(LOSSES.get("sparse_categorical_crossentropy"), y_true, y_pred), expected, y_true.dtype)


def test_labels_that_are_no_class_give_nan() -> None:
    y_true, y_pred = np.array([0, -1, C, C - 1]), spread(np.random.default_rng(0), 4, C)
    value, _ = ours(LOSSES.classes["SparseCategoricalCrossentropy"](reduction=None), y_true, y_pred)
    assert np.isnan(value).tolist() == [False, True, True, False]


@pytest.mark.parametrize("policy", ["float64", "float16", "mixed_float16", "bfloat16"])
def test_dtypes(keras: Any, policy: str) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = one_hot(rng, *FLAT), spread(rng, *FLAT)
    expected, _ = theirs(keras.losses.CategoricalCrossentropy(dtype=policy), y_true, y_pred)
    found, gradient = ours(LOSSES.classes["CategoricalCrossentropy"](dtype=policy), y_true, y_pred)
    assert found.dtype == expected.dtype and gradient.dtype == np.float32
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-2 if "16" in policy else 1e-6)


def test_half_precision_predictions_are_computed_in_float32(keras: Any) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = one_hot(rng, *FLAT), spread(rng, *FLAT).astype(np.float16)
    expected, _ = theirs(keras.losses.CategoricalCrossentropy(), y_true, y_pred)
    found, _ = ours(LOSSES.get("categorical_crossentropy"), y_true, y_pred)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ctc_of_what_cannot_be_spelled(keras: Any) -> None:
    """More labels than places: TensorFlow's large number, and a gradient without NaN."""
    y_true, y_pred = np.array([[1, 1, 1], [1, 2, 3]]), real(np.random.default_rng(0), 2, 3, C)
    found, expected = (
        f(y_true, y_pred) for f in (lambda *a: ours(LOSSES.get("ctc"), *a), lambda *a: theirs(keras.losses.CTC(), *a))
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


# ---- logits instead of probabilities --------------------------------------------------------------------------

# Name: (loss, config, targets, activation, shape).
SHORTCUTS: dict[str, tuple[str, dict[str, Any], Maker, str, tuple[int, ...]]] = {
    "categorical": ("CategoricalCrossentropy", {}, one_hot, "softmax", FLAT),
    "categorical smooth": ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot, "softmax", TALL),
    "categorical from_logits": ("CategoricalCrossentropy", {"from_logits": True}, one_hot, "softmax", FLAT),
    "categorical of sigmoid": ("CategoricalCrossentropy", {}, one_hot, "sigmoid", FLAT),
    "sparse": ("SparseCategoricalCrossentropy", {}, number, "softmax", FLAT),
    "sparse tall": ("SparseCategoricalCrossentropy", {}, number, "softmax", TALL),
    "sparse ignoring": ("SparseCategoricalCrossentropy", {"ignore_class": 1}, number, "softmax", FLAT),
    "binary": ("BinaryCrossentropy", {}, bits, "sigmoid", ONE),
    "binary bare": ("BinaryCrossentropy", {}, lambda rng, *s: bits(rng, N), "sigmoid", ONE),
    "binary squeezed": ("BinaryCrossentropy", {}, lambda rng, *s: bits(rng, N, T), "sigmoid", (N, T, 1)),
    "binary smooth": ("BinaryCrossentropy", {"label_smoothing": 0.2}, bits, "sigmoid", FLAT),
    "binary of softmax": ("BinaryCrossentropy", {}, bits, "softmax", FLAT),
    "focal": ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, bits, "sigmoid", FLAT),
    "focal categorical": ("CategoricalFocalCrossentropy", {}, one_hot, "softmax", FLAT),
    "mse": ("MeanSquaredError", {}, one_hot, "softmax", FLAT),
}


@pytest.mark.filterwarnings("ignore:.*received .from_logits=True.*")
@pytest.mark.parametrize("name, config, target, activation, shape", SHORTCUTS.values(), ids=SHORTCUTS)
@pytest.mark.parametrize("scale", [1, 40])
def test_logits_of_the_last_activation(
    keras: Any, name: str, config: dict[str, Any], target: Maker, activation: str, shape: tuple[int, ...], scale: int
) -> None:
    """Of a compiled model Keras takes the logits; at scale 40 probabilities are 0 and 1, and gradients tell."""
    rng = np.random.default_rng(0)
    if shape == (N, T, 1):  # Keras has lost the logits behind the squeeze, and the clip would hang on the last bit of p
        scale = 4
    y_true, logits = target(rng, *shape), real(rng, *shape) * scale
    loss, layer = getattr(keras.losses, name)(**config), keras.layers.Activation(activation)

    @tf.function
    def run(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y_true, layer(x))
        return value, tape.gradient(value, x)

    expected = tuple(v.numpy() for v in run(tf.constant(logits)))
    found = ours(LOSSES.classes[name](**config), y_true, logits, last=lambda b, x: getattr(b, activation)(x))
    close(found, expected, (name, scale))


def test_logits_behind_a_fused_activation(keras: Any) -> None:
    """A node with the activation `sigmoid` counts as a sigmoid."""
    rng = np.random.default_rng(0)
    y_true, x, w = bits(rng, N, 1), real(rng, N, C), real(rng, C, 1) * 40
    expected = theirs(
        lambda t, x, sample_weight: keras.losses.binary_crossentropy(t, x @ w, from_logits=True), y_true, x
    )
    loss = LOSSES.classes["BinaryCrossentropy"](reduction=None)
    close(ours(loss, y_true, x, last=lambda b, v: b.matmul(v, w, activation="sigmoid")), expected, "fused")


# ---- names, configs, functions --------------------------------------------------------------------------------


def test_names_and_defaults_are_those_of_keras(keras: Any) -> None:
    from keras.src.losses import ALL_OBJECTS_DICT

    for name, found in ALL_OBJECTS_DICT.items():
        if name not in BASES:
            assert name in LOSSES.names, name
            assert LOSSES.names[name] is LOSSES.names[found.__name__], name
    for name in CASES:
        parameters = inspect.signature(getattr(keras.losses, name)).parameters
        ours_ = inspect.signature(LOSSES.classes[name]).parameters
        assert {k: p.default for k, p in parameters.items()} == {k: p.default for k, p in ours_.items()}, name
        assert list(parameters) == list(ours_), name


@pytest.mark.parametrize("name", CASES)
def test_configs_go_both_ways(keras: Any, name: str) -> None:
    theirs_class = getattr(keras.losses, name)
    config = CASES[name][-1][3][-1]
    written = keras.losses.serialize(theirs_class(**config, reduction="sum", name="x"))
    read = LOSSES.get(written)
    assert read.reduction == "sum" and read.name == "x"
    again = LOSSES.serialize(read)
    assert (again["module"], again["class_name"]) == (written["module"], written["class_name"])
    back = theirs_class.from_config(again["config"])
    assert back.get_config() == theirs_class.from_config(written["config"]).get_config()


def test_functions(keras: Any) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred, weight = real(rng, *FLAT), real(rng, *FLAT), share(rng, N)

    def cubic(b: Builder, y_true: Any, y_pred: Any) -> Any:
        return b.reduce_mean(b.pow(b.abs(b.sub(y_true, y_pred)), 3.0), axes=(-1,))

    loss = LOSSES.get(cubic)
    wrapped = keras.src.losses.losses.LossFunctionWrapper(
        lambda t, p: keras.ops.mean(keras.ops.abs(t - p) ** 3, axis=-1), name="cubic"
    )
    assert loss.name == "cubic" and LOSSES.serialize(loss)["config"] == "cubic"
    close(ours(loss, y_true, y_pred, weight), theirs(wrapped, y_true, y_pred, weight), "function")
    named = LOSSES.get({"class_name": "function", "config": "mean_squared_error", "registered_name": "function"})
    assert type(named) is losses.MeanSquaredError
    assert type(LOSSES.get("Custom>MeanSquaredError")) is LOSSES.classes["MeanSquaredError"]
    with pytest.raises(UnsupportedError, match="no loss is called 'nonsense'"):
        LOSSES.get("nonsense")
    with pytest.raises(UnsupportedError, match="reduction 'average' is not known"):
        losses.MeanSquaredError(reduction="average")


def test_refusals() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedError, match="axis=1 is not supported"):
        ours(losses.SparseCategoricalCrossentropy(axis=1), number(rng, *TALL), spread(rng, *TALL))
    with pytest.raises(UnsupportedError, match="q=2"):
        ours(losses.CategoricalGeneralizedCrossEntropy(q=2), number(rng, *FLAT), spread(rng, *FLAT))
    for loss, y_true in (("categorical_crossentropy", real(rng, N, 3)), ("bce", real(rng, N, 3))):
        with pytest.raises(ShapeError, match="have to be equal"):
            ours(LOSSES.get(loss), y_true, spread(rng, *FLAT))
    with pytest.raises(ShapeError, match="one axis less"):
        ours(LOSSES.get("sparse_categorical_crossentropy"), one_hot(rng, *FLAT), spread(rng, *FLAT))
    with pytest.raises(ShapeError, match=r"\(N, L\)"):
        ours(LOSSES.get("ctc"), number(rng, *FLAT), real(rng, *FLAT))


@pytest.mark.parametrize("shapes", [(ONE, ONE), (BARE, FLAT), (ONE, FLAT), (FLAT, FLAT), (TALL[:2], TALL), (BARE, ONE)])
def test_crossentropy_kind(keras: Any, shapes: tuple[Any, Any]) -> None:
    from keras.src.trainers.compile_utils import get_loss

    y_true, y_pred = (np.zeros(s, np.float32) for s in shapes)
    expected = get_loss("ce", y_true, y_pred).fn.__name__
    found = crossentropy_kind(*(Tensor(dtype("f32"), (symbol("N"), *s[1:])) for s in shapes))
    assert f"{found}_crossentropy" == expected
