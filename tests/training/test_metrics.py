"""Metrics against Keras: three batches, with and without sample weights; names, configs, what `compile` resolves."""

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
from tenun.ir.states import States
from tenun.training import losses, metrics
from tenun.training.counts import Thresholds
from tenun.training.metrics import METRICS, Metric, resolve
from tenun.training.scores import ConfusionMatrix

tf = pytest.importorskip("tensorflow")

T, C = 3, 6
BATCHES = (7, 1, 9)
Array = np.ndarray[Any, Any]
Maker = Callable[..., Array]
BASES = {"Metric"}  # of the classes in keras.metrics, those that are no metric by themselves
pytestmark = pytest.mark.filterwarnings(
    "ignore:You are passing weight as `float`", "ignore:More independent predictors"
)

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


def single(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers with a last axis of size 1."""
    return number(rng, *shape)[..., None]


def digits(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers of this shape, 0 to 3."""
    return rng.integers(0, 4, shape)


def wild(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers of this shape, some of them none."""
    return rng.integers(-2, 6, shape)


def steps(rng: np.random.Generator, *shape: int) -> Array:
    """Predictions that are thresholds themselves, and such outside of [0, 1]."""
    return (rng.integers(-1, 12, shape) / 10).astype(np.float32)


def ids(rng: np.random.Generator, *shape: int) -> Array:
    """Class numbers, the best one first."""
    return np.argsort(-rng.normal(size=shape), axis=-1).astype(np.float32)


FLAT, TALL, ONE, BARE = (C,), (T, C), (1,), ()  # without the batch
NUMBERS = [FLAT, TALL, ONE]
Row = tuple[Maker, Maker, list[tuple[int, ...]], list[dict[str, Any]]]
COUNTS: list[Row] = [
    (bits, share, [BARE, *NUMBERS], [{}, {"thresholds": 0.3}]),
    (bits, share, [ONE, TALL], [{"thresholds": [0.7, 0.2, 0.45]}, {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}]),
    (bits, steps, [FLAT], [{"thresholds": [0.0, 0.5, 1.0]}, {"thresholds": [0.1, 0.2, 0.3]}]),
]
CLASSES: list[Row] = [
    (one_hot, share, [FLAT, TALL], [{"top_k": 2}, {"class_id": 3}, {"top_k": 3, "class_id": 1}]),
    (one_hot, share, [FLAT], [{"top_k": 2, "thresholds": [0.5, 0.7]}, {"class_id": 0, "thresholds": [0.0, 0.5, 1.0]}]),
]


def best_at(key: str) -> list[Row]:
    return [
        (
            bits,
            share,
            [BARE, ONE, FLAT],
            [{key: 0.5}, {key: 0.8, "num_thresholds": 20}, {key: 0.9, "num_thresholds": 1}],
        ),
        (bits, share, [FLAT], [{key: 0.4, "class_id": 2}]),
        (bits, steps, [FLAT], [{key: 0.5, "num_thresholds": 11}]),
    ]


WEIGHTS = [0.3, 1.0, 0.1, 2.0, 0.5, 0.7]
CURVES: list[dict[str, Any]] = [
    {"curve": curve, "summation_method": method}
    for curve in ("ROC", "PR", "PRGAIN")
    for method in ("interpolation", "minoring", "majoring")
]
# Class: (targets, predictions, shapes without the batch, configs).
CASES: dict[str, list[Row]] = {
    "MeanSquaredError": [(real, real, NUMBERS, [{}])],
    "RootMeanSquaredError": [(real, real, NUMBERS, [{}])],
    "MeanAbsoluteError": [(real, real, NUMBERS, [{}])],
    "MeanAbsolutePercentageError": [(real, real, NUMBERS, [{}])],
    "MeanSquaredLogarithmicError": [(share, share, NUMBERS, [{}])],
    "LogCoshError": [(real, real, NUMBERS, [{}])],
    "CosineSimilarity": [(real, real, [FLAT, TALL], [{}, {"axis": 1}])],
    "PearsonCorrelation": [(real, real, [FLAT, TALL], [{}]), (real, real, [TALL], [{"axis": 1}])],
    "ConcordanceCorrelation": [(real, real, [FLAT, TALL], [{}]), (real, real, [TALL], [{"axis": 1}])],
    "R2Score": [
        (real, real, [ONE, FLAT], [{"class_aggregation": None}, {}]),
        (real, real, [FLAT], [{"class_aggregation": "variance_weighted_average"}, {"num_regressors": 3}]),
        (real, real, [ONE], [{"num_regressors": 40}]),
    ],
    "Hinge": [(signs, real, NUMBERS, [{}]), (bits, real, [FLAT], [{}])],
    "SquaredHinge": [(signs, real, NUMBERS, [{}])],
    "CategoricalHinge": [(one_hot, real, [FLAT, TALL], [{}])],
    "KLDivergence": [(spread, spread, [FLAT, TALL], [{}])],
    "Poisson": [(share, share, NUMBERS, [{}])],
    "BinaryCrossentropy": [
        (bits, share, NUMBERS, [{}, {"label_smoothing": 0.2}]),
        (bits, real, [ONE], [{"from_logits": True}]),
    ],
    "CategoricalCrossentropy": [
        (one_hot, spread, [FLAT, TALL], [{}, {"label_smoothing": 0.1}]),
        (one_hot, real, [FLAT], [{"from_logits": True}]),
        (one_hot, spread, [TALL], [{"axis": 1}]),
    ],
    "SparseCategoricalCrossentropy": [
        (number, spread, [FLAT, TALL], [{}, {"ignore_class": 1}]),
        (single, spread, [FLAT, TALL], [{}]),
        (number, real, [FLAT], [{"from_logits": True}]),
    ],
    "Accuracy": [(digits, digits, [BARE, *NUMBERS], [{}])],
    "BinaryAccuracy": [(bits, share, [BARE, *NUMBERS], [{}, {"threshold": 0.8}]), (bits, steps, [FLAT], [{}])],
    "CategoricalAccuracy": [(one_hot, share, [FLAT, TALL], [{}])],
    "SparseCategoricalAccuracy": [(number, share, [FLAT, TALL, (1, C)], [{}]), (single, share, [FLAT, TALL], [{}])],
    "TopKCategoricalAccuracy": [(one_hot, share, [FLAT, TALL], [{}, {"k": 2}]), (one_hot, steps, [FLAT], [{"k": 3}])],
    "SparseTopKCategoricalAccuracy": [
        (number, share, [FLAT, TALL], [{}, {"k": 2}]),
        (single, share, [FLAT], [{"k": 3}]),
        (number, ids, [FLAT], [{"k": 3, "from_sorted_ids": True}]),
    ],
    "TruePositives": COUNTS,
    "FalsePositives": COUNTS,
    "TrueNegatives": COUNTS,
    "FalseNegatives": COUNTS,
    "Precision": COUNTS + CLASSES,
    "Recall": COUNTS + CLASSES,
    "SensitivityAtSpecificity": best_at("specificity"),
    "SpecificityAtSensitivity": best_at("sensitivity"),
    "PrecisionAtRecall": best_at("recall"),
    "RecallAtPrecision": best_at("precision"),
    "AUC": [
        (bits, share, [BARE], CURVES),
        (bits, share, [ONE, FLAT, TALL], [{}, {"num_thresholds": 11, "curve": "PR"}]),
        (bits, steps, [FLAT], [{"num_thresholds": 11}, {"thresholds": [0.9, 0.1, 0.35]}, {"thresholds": [0.5]}]),
        (bits, real, [ONE], [{"from_logits": True}]),
        (bits, share, [FLAT], [{**c, "multi_label": True} for c in CURVES]),
        (
            bits,
            share,
            [FLAT],
            [
                {"label_weights": WEIGHTS},
                {"label_weights": WEIGHTS, "multi_label": True, "num_labels": C},
                {"thresholds": [0.3, 0.6, 0.7], "multi_label": True},
                {"thresholds": [0.3, 0.6, 0.7], "label_weights": WEIGHTS},
            ],
        ),
    ],
    "FBetaScore": [
        (one_hot, share, [FLAT], [{"average": a, "beta": 2.0} for a in (None, "micro", "macro", "weighted")]),
        (bits, share, [FLAT], [{"threshold": 0.4}, {"threshold": 0.4, "average": "weighted", "beta": 0.5}]),
    ],
    "F1Score": [(one_hot, share, [FLAT], [{}, {"average": "macro"}, {"threshold": 0.5, "average": "micro"}])],
    "IoU": [
        (digits, digits, [BARE, FLAT], [{"num_classes": 4, "target_class_ids": [0, 2]}]),
        (wild, wild, [FLAT], [{"num_classes": 4, "target_class_ids": [1, 3], "ignore_class": 3, "dtype": "float32"}]),
        (single, share, [FLAT], [{"num_classes": C, "target_class_ids": [0, 1], "sparse_y_pred": False}]),
    ],
    "MeanIoU": [
        (digits, digits, [BARE, FLAT, TALL], [{"num_classes": 4}, {"num_classes": 5, "ignore_class": 1}]),
        (digits, digits, [BARE], [{"num_classes": 4, "dtype": "float32"}]),
    ],
    "OneHotIoU": [(one_hot, share, [FLAT, TALL], [{"num_classes": C, "target_class_ids": [0, 2]}])],
    "OneHotMeanIoU": [
        (one_hot, share, [FLAT], [{"num_classes": C}]),
        (one_hot, lambda rng, *s: number(rng, *s), [FLAT], [{"num_classes": C, "sparse_y_pred": True}]),
    ],
    "BinaryIoU": [(bits, share, [BARE, TALL[:1]], [{}, {"threshold": 0.3, "target_class_ids": [1]}])],
}
ALONE = {"Mean", "Sum", "MeanMetricWrapper"}  # tested by themselves


def cases() -> Iterator[Any]:
    for name, rows in CASES.items():
        for i, (target, prediction, shapes, configs) in enumerate(rows):
            for shape, config in itertools.product(shapes, configs):
                text = ",".join(f"{k}={v}" for k, v in config.items()).replace(" ", "")
                label = f"{name}-{i}-{'x'.join(map(str, ('N', *shape)))}-{text}"
                yield pytest.param(name, config, target, prediction, shape, id=label)


# ---- both sides -----------------------------------------------------------------------------------------------


def type_of(array: Array) -> Tensor:
    """The type of a batch, its size a symbol."""
    return Tensor(dtype(array), (symbol("N"), *array.shape[1:]))


def ours(metric: Metric, batches: list[dict[str, Array]], last: Any = None) -> Any:
    """The result after batches, each y_true, y_pred and perhaps sample_weight and mask; a graph with states."""
    b = Builder(Graph("metric"))
    v = {k: b.input(k, type_of(a)) for k, a in batches[0].items()}
    if last is not None:
        v["y_pred"] = last(b, v["y_pred"])
    types = [v[k].tensor for k in ("y_true", "y_pred") if k in v]
    states = States(b)
    shapes = metric.variables(*types)
    state = {k: states.read(k, np.zeros(s, np.float32)) for k, s in shapes.items()}
    for k, new in metric.update(b, state, **v).items():
        assert new.shape == shapes[k] and new.tensor.dtype is dtype("f32"), k
        states.write(k, new)
    exe = tenun.compile(states.finish([b.identity(v["y_true"])], ["out"]), threads=1)
    for batch in batches:
        exe(*batch.values())
    return metric.result({k: exe.state[k] for k in shapes})


def theirs(metric: Any, batches: list[dict[str, Array]]) -> Array:
    for batch in batches:
        given = {k: tf.constant(a) for k, a in batch.items()}
        mask = given.pop("mask", None)
        if mask is not None:
            given["y_pred"]._keras_mask = mask
        metric.update_state(**given)
    return np.asarray(metric.result())


def check(metric: Metric, expected: Any, batches: list[dict[str, Array]], why: Any) -> None:
    """Equal results; a number where Keras has a scalar."""
    wanted, found = theirs(expected, batches), ours(metric, batches)
    assert isinstance(found, float) if wanted.shape == () else found.shape == wanted.shape, why
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=5e-6, err_msg=str(why))


Weights = Callable[[np.random.Generator, dict[str, Array]], Array]


def by_sample(rng: np.random.Generator, batch: dict[str, Array]) -> Array:
    return share(rng, len(batch["y_true"]))


def some(rng: np.random.Generator, batch: dict[str, Array]) -> Array:
    """Weights 0 and 1."""
    return bits(rng, len(batch["y_true"]))


def by_step(rng: np.random.Generator, batch: dict[str, Array]) -> Array:
    """A weight for each sample and step of (N, T, C)."""
    return share(rng, *batch["y_pred"].shape[:2])


def by_label(rng: np.random.Generator, batch: dict[str, Array]) -> Array:
    """A weight for each place that has a class, which integer metrics cut."""
    one_hot_given = batch["y_true"].dtype == np.float32 and batch["y_true"].shape[-1:] == (C,)
    return share(rng, *batch["y_true"].shape[: -1 if one_hot_given else None]) * 3


def batches_of(
    target: Maker, prediction: Maker, shape: tuple[int, ...], weights: Weights | None = None
) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    found = []
    for n in BATCHES:
        batch = {"y_true": target(rng, n, *shape), "y_pred": prediction(rng, n, *shape)}
        found.append(batch if weights is None else {**batch, "sample_weight": weights(rng, batch)})
    return found


def weights_of(name: str, shape: tuple[int, ...], config: dict[str, Any]) -> list[Weights | None]:
    """Sample weights that Keras' metric takes for such data."""
    cls = METRICS.classes[name]
    if issubclass(cls, ConfusionMatrix):
        return [None, by_label]
    if issubclass(cls, Thresholds):
        return [None, by_step if shape == TALL else by_sample]
    if shape == TALL and config.get("ignore_class") is not None:
        return [None, by_step]
    return [None, by_sample, some, *([by_step] if shape == TALL and config.get("axis") != 1 else [])]


@pytest.mark.parametrize("name, config, target, prediction, shape", cases())
def test_as_keras(
    keras: Any, name: str, config: dict[str, Any], target: Maker, prediction: Maker, shape: tuple[int, ...]
) -> None:
    for weights in weights_of(name, shape, config):
        expected = getattr(keras.metrics, name)(**config)
        check(
            METRICS.classes[name](**config), expected, batches_of(target, prediction, shape, weights), (config, weights)
        )


def test_every_metric_of_keras_has_cases(keras: Any) -> None:
    """A metric that comes with a new Keras shows up here by name."""
    known = {n for n, c in vars(keras.metrics).items() if inspect.isclass(c)} - BASES
    assert sorted(known - set(METRICS.classes)) == []
    assert sorted(known - set(CASES) - ALONE) == []


# ---- means of values, functions, masks ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize("shape", [BARE, FLAT, TALL])
def test_values_alone(keras: Any, name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for weighted in (False, True):
        batches = []
        expected = getattr(keras.metrics, name)()
        for n in BATCHES:
            batch = {"y_true": real(rng, n, *shape)}
            if weighted:
                batch["sample_weight"] = share(rng, n)
            expected.update_state(batch["y_true"], batch.get("sample_weight"))
            batches.append(batch)
        np.testing.assert_allclose(ours(METRICS.classes[name](), batches), float(expected.result()), rtol=1e-5)
    with pytest.raises(UnsupportedError, match="takes values alone"):
        ours(METRICS.classes[name](), batches_of(real, real, shape))


@pytest.mark.parametrize("name", ["MeanSquaredError", "CategoricalCrossentropy", "CategoricalAccuracy", "AUC"])
def test_masks(keras: Any, name: str) -> None:
    """Means leave masked places out, with and without weights; the others do not look at the mask."""
    rng = np.random.default_rng(0)
    for weights in (None, by_step):
        batches = [{**b, "mask": rng.integers(0, 2, (n, T)).astype(bool)} for b, n in zip(
            batches_of(one_hot, spread, TALL, weights), BATCHES)]  # fmt: skip
        check(METRICS.classes[name](), getattr(keras.metrics, name)(), batches, (name, weights))


def test_functions_and_losses(keras: Any) -> None:
    batches = batches_of(real, real, FLAT, by_sample)

    def cubic(b: Builder, y_true: Any, y_pred: Any) -> Any:
        return b.reduce_mean(b.pow(b.abs(b.sub(y_true, y_pred)), 3.0), axes=(-1,))

    theirs_cubic = keras.metrics.MeanMetricWrapper(lambda t, p: keras.ops.mean(keras.ops.abs(t - p) ** 3, axis=-1))
    found = METRICS.get(cubic)
    assert found.name == "cubic" and METRICS.serialize(found)["config"] == "cubic"
    check(found, theirs_cubic, batches, "function")
    huber = losses.LOSSES.get("huber")
    plain = batches_of(real, real, FLAT)
    check(METRICS.get(huber), keras.metrics.MeanMetricWrapper(keras.losses.Huber()), plain, "loss")
    assert METRICS.get(huber).name == "huber_loss"
    written = {"class_name": "function", "config": "mean_squared_error"}
    wrapper = METRICS.get(
        {"class_name": "MeanMetricWrapper", "config": {"fn": written, "name": "m", "dtype": "float32"}}
    )
    check(wrapper, keras.metrics.MeanMetricWrapper(keras.losses.mean_squared_error), batches, "by name")
    named = metrics.MeanMetricWrapper("sparse_categorical_accuracy")
    pairs = batches_of(number, share, FLAT)
    check(named, keras.metrics.SparseCategoricalAccuracy(), pairs, "by the name of a metric")


def test_logits_are_used_as_by_the_losses(keras: Any) -> None:
    """The crossentropy metric of a model that ends in softmax is that of its logits."""
    batches = batches_of(one_hot, lambda rng, *s: real(rng, *s) * 60, FLAT)
    expected = theirs(keras.metrics.CategoricalCrossentropy(from_logits=True), batches)
    found = ours(METRICS.get("categorical_crossentropy"), batches, last=lambda b, x: b.softmax(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# ---- bad data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AUC", "TopKCategoricalAccuracy", "Precision"])
def test_nan_predictions_do_not_stop_a_run(keras: Any, name: str) -> None:
    batches = batches_of(one_hot, share, FLAT)
    batches[0]["y_pred"][2, 1] = np.nan
    config = {"k": 2} if name == "TopKCategoricalAccuracy" else {}
    if name == "AUC":
        assert np.isfinite(ours(metrics.AUC(), batches))
    else:
        check(METRICS.classes[name](**config), getattr(keras.metrics, name)(**config), batches, name)


def test_refusals() -> None:
    for wrong, match in (
        (lambda: metrics.Precision(thresholds=[0.5, 2]), "thresholds"),
        (lambda: metrics.AUC(curve="DET"), "curve='DET'"),
        (lambda: metrics.AUC(summation_method="simpson"), "summation_method='simpson'"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds"),
        (lambda: metrics.AUC(num_labels=3), "multi_label"),
        (lambda: metrics.PrecisionAtRecall(1.5), "recall=1.5"),
        (lambda: metrics.RecallAtPrecision(0.5, num_thresholds=0), "num_thresholds=0"),
        (lambda: metrics.FBetaScore(average="all"), "average='all'"),
        (lambda: metrics.FBetaScore(beta=-1.0), "beta=-1.0"),
        (lambda: metrics.F1Score(threshold=2.0), "threshold=2.0"),
        (lambda: metrics.R2Score(class_aggregation="x"), "class_aggregation='x'"),
        (lambda: metrics.IoU(3, [3]), "target_class_ids"),
        (lambda: METRICS.get("nonsense"), "no metric is called 'nonsense'"),
    ):
        with pytest.raises(UnsupportedError, match=match):
            wrong()
    with pytest.raises(ShapeError, match="features"):
        ours(metrics.F1Score(), batches_of(bits, share, TALL))
    with pytest.raises(ShapeError, match="class_id"):
        ours(metrics.Recall(class_id=1), batches_of(bits, share, BARE))
    with pytest.raises(ShapeError, match="multi_label"):
        ours(metrics.AUC(multi_label=True), batches_of(bits, share, TALL))
    with pytest.raises(ShapeError, match="have to be equal"):
        ours(metrics.Precision(), batches_of(number, share, FLAT))


# ---- names, configs -------------------------------------------------------------------------------------------


def test_names_and_defaults_are_those_of_keras(keras: Any) -> None:
    from keras.src.metrics import ALL_OBJECTS_DICT

    for name, found in ALL_OBJECTS_DICT.items():
        if found.__name__ not in BASES:
            assert METRICS.names[name] is METRICS.classes[found.__name__], name
    for name in [*CASES, "Mean", "Sum"]:
        parameters = inspect.signature(getattr(keras.metrics, name)).parameters
        found = inspect.signature(METRICS.classes[name]).parameters
        assert list(found) == list(parameters), name
        assert {k: p.default for k, p in parameters.items()} == {k: p.default for k, p in found.items()}, name


@pytest.mark.parametrize("name", CASES)
def test_configs_go_both_ways(keras: Any, name: str) -> None:
    theirs_class = getattr(keras.metrics, name)
    config = {**CASES[name][-1][3][-1], "name": "x"}
    written = keras.metrics.serialize(theirs_class(**config))
    again = METRICS.serialize(METRICS.get(written))
    if name == "AUC":  # Keras writes a tensor which it does not read
        written["config"]["label_weights"] = again["config"]["label_weights"]
    assert (again["module"], again["class_name"]) == (written["module"], written["class_name"])
    back = theirs_class.from_config(again["config"]).get_config()
    wanted = theirs_class.from_config(written["config"]).get_config()
    for side in (back, wanted) if name == "AUC" else ():
        side["label_weights"] = np.asarray(side["label_weights"]).tolist()
    assert back == wanted


SHAPES = [((1,), (1,)), ((), (C,)), ((1,), (C,)), ((C,), (C,)), ((T,), (T, C)), ((), (1,)), ((), ()), ((T, 1), (T, C))]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("identifier", ["accuracy", "acc", "Accuracy", "mse", "AUC", "binary_crossentropy"])
def test_resolve(keras: Any, shapes: tuple[Any, Any], identifier: str) -> None:
    from keras.src.trainers.compile_utils import get_metric

    y_true, y_pred = (np.zeros((5, *s), np.float32) for s in shapes)
    expected = get_metric(identifier, y_true, y_pred)
    found = resolve(identifier, type_of(y_true), type_of(y_pred))
    assert (type(found).__name__, found.name) == (type(expected).__name__, expected.name)


def test_resolve_crossentropy() -> None:
    one, several = Tensor(dtype("f32"), (symbol("N"), 1)), Tensor(dtype("f32"), (symbol("N"), C))
    for y_true, y_pred, wanted in (
        (one, one, "BinaryCrossentropy"),
        (one, several, "SparseCategoricalCrossentropy"),
        (several, several, "CategoricalCrossentropy"),
    ):
        plain, logits = (resolve("ce", y_true, y_pred, loss) for loss in (None, losses.BinaryCrossentropy(True)))
        assert type(plain).__name__ == type(logits).__name__ == wanted and plain.name == "ce"
        assert (plain.from_logits, logits.from_logits) == (False, True)
