"""Models of scikit-learn, written as ONNX by skl2onnx, against scikit-learn's own predictions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tenun
from tenun.backends.base import backend
from tenun.frontends.onnx.writer import proto_of_graph

pytest.importorskip("skl2onnx")
pytest.importorskip("sklearn")

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)  # fmt: skip
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
)  # fmt: skip
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)  # fmt: skip
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

TREES = {"n_estimators": 8, "random_state": 0}
CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(),
    "sgd": SGDClassifier(random_state=0),
    "perceptron": Perceptron(),
    "linear-svc": LinearSVC(),
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(**TREES),
    "boosting": GradientBoostingClassifier(**TREES),
    "hist-boosting": HistGradientBoostingClassifier(max_iter=8),
    "adaboost": AdaBoostClassifier(n_estimators=5, random_state=0),
    "bagging": BaggingClassifier(n_estimators=4, random_state=0),
    "svc": SVC(),
    "svc-probability": SVC(probability=True, random_state=0),
    "svc-poly": SVC(kernel="poly", degree=2, coef0=1.0),
    "svc-sigmoid": SVC(kernel="sigmoid", gamma=0.1),
    "nu-svc": NuSVC(probability=True, random_state=0),
    "gaussian-bayes": GaussianNB(),
    "bernoulli-bayes": BernoulliNB(),
    "neighbors": KNeighborsClassifier(n_neighbors=3),
    "mlp": MLPClassifier(hidden_layer_sizes=(8,), max_iter=30, random_state=0),
    "one-vs-rest": OneVsRestClassifier(LogisticRegression()),
    "voting": VotingClassifier(
        [("a", LogisticRegression()), ("b", GaussianNB())], voting="soft", flatten_transform=False
    ),
    "stacking": StackingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier(random_state=0))]),
    "calibrated": CalibratedClassifierCV(GaussianNB(), cv=2),
    "scaled": make_pipeline(StandardScaler(), PCA(3), LogisticRegression()),
}
REGRESSORS: dict[str, Any] = {
    "linear": LinearRegression(),
    "ridge": Ridge(),
    "elastic": ElasticNet(alpha=0.1),
    "poisson": PoissonRegressor(),
    "tree": DecisionTreeRegressor(random_state=0),
    "forest": RandomForestRegressor(**TREES),
    "extra": ExtraTreesRegressor(**TREES),
    "boosting": GradientBoostingRegressor(**TREES),
    "hist-boosting": HistGradientBoostingRegressor(max_iter=8),
    "svr": SVR(),
    "neighbors": KNeighborsRegressor(n_neighbors=3),
    "mlp": MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0),
    "process": GaussianProcessRegressor(alpha=0.1),
}
TRANSFORMERS: dict[str, Any] = {
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "power": PowerTransformer(),
    "normalizer": Normalizer(),
    "normalizer-l1": Normalizer("l1"),
    "normalizer-max": Normalizer("max"),
    "binarizer": Binarizer(threshold=0.3),
    "bins": KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    "polynomial": PolynomialFeatures(2),
    "imputer": SimpleImputer(),
    "pca": PCA(2),
    "kmeans": KMeans(3, n_init=1, random_state=0),
    "quantile": QuantileTransformer(n_quantiles=10),
}


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """skl2onnx gives booleans for lists of integers, which newer versions of onnx refuse."""
    make = onnx.helper.make_attribute

    def with_numbers(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        mixed = isinstance(value, list) and any(isinstance(v, (bool, np.bool_)) for v in value)
        return make(key, [int(v) for v in value] if mixed else value, *args, **kwargs)

    monkeypatch.setattr(onnx.helper, "make_attribute", with_numbers)


def exported(model: Any, x: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_onnx(model, x[:1], options=options or None, target_opset={"": 21, "ai.onnx.ml": 3})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, classes: int) -> None:
    x, y = make_classification(120, 5, n_informative=4, n_redundant=1, n_classes=classes, random_state=1)
    x = x.astype(np.float32)
    model = CLASSIFIERS[name].fit(x, y)
    scores = hasattr(model, "predict_proba")
    label, shown = tenun.compile(exported(model, x, **({"zipmap": False} if scores else {})))(x)
    np.testing.assert_array_equal(label, model.predict(x))
    if scores:
        np.testing.assert_allclose(shown, model.predict_proba(x), atol=2e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str) -> None:
    x, y = make_regression(100, 4, noise=1.0, random_state=2)
    x, y = x.astype(np.float32), np.abs(y) / 50
    model = REGRESSORS[name].fit(x, y)
    expected = model.predict(x)
    got = tenun.compile(exported(model, x))(x)
    got = got[0] if isinstance(got, list) else got
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-4, atol=2e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name: str) -> None:
    x = make_regression(60, 4, random_state=3)[0].astype(np.float32)
    if name == "normalizer-max":
        x = np.abs(x)  # ONNX takes the largest element, scikit-learn the largest magnitude
    if name == "imputer":
        x[::7, 1] = np.nan
    model = TRANSFORMERS[name].fit(x)
    got = tenun.compile(exported(model, x))(x)
    got = got[-1] if isinstance(got, list) else got
    expected = model.transform(x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [17, 21])  # trees have another operator from opset 21 on
@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_written_again(name: str, opset: int) -> None:
    """What is read and written again, ONNX Runtime runs to the same."""
    if name in CLASSIFIERS:
        x, y = make_classification(80, 5, n_informative=4, n_redundant=1, n_classes=3, random_state=1)
        model = CLASSIFIERS[name]
    else:
        x, y = make_regression(80, 4, noise=1.0, random_state=2)
        model, y = REGRESSORS[name], np.abs(y) / 50
    x = x.astype(np.float32)
    options = {"zipmap": False} if hasattr(model, "predict_proba") else {}
    graph = tenun.load(exported(model.fit(x, y), x, **options))
    proto = proto_of_graph(graph, opset=opset, evaluate=backend("numpy").evaluate)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {graph.inputs[0].name: x}
    for a, b in zip(session.run(None, given), tenun.compile(graph).run(given).values(), strict=True):
        np.testing.assert_allclose(_rows(a), _rows(b), rtol=1e-4, atol=2e-5)


def _rows(result: Any) -> Any:
    """A list of maps as rows in the order of the keys."""
    return np.array([[m[k] for k in sorted(m)] for m in result]) if isinstance(result, list) else result


def test_outliers() -> None:
    x = make_regression(80, 3, random_state=4)[0].astype(np.float32)
    for model in (IsolationForest(**TREES).fit(x), OneClassSVM(nu=0.2).fit(x)):
        label, score = tenun.compile(exported(model, x))(x)
        np.testing.assert_array_equal(label.reshape(-1), model.predict(x))
        np.testing.assert_allclose(score.reshape(-1), model.decision_function(x), atol=1e-4)


def test_maps_of_probabilities() -> None:
    """By default the scores are a list of dicts."""
    x, y = make_classification(40, 4, random_state=5)
    x, names = x.astype(np.float32), np.array(["no", "yes"])[y]
    for labels in (y, names):
        model = LogisticRegression().fit(x, labels)
        label, maps = tenun.compile(exported(model, x))(x)
        np.testing.assert_array_equal(label, model.predict(x))
        rows = [[m[k] for k in model.classes_.tolist()] for m in maps]
        np.testing.assert_allclose(rows, model.predict_proba(x), atol=1e-5)


WORDS = np.array(["a cat sat", "a dog ran", "the cat ran off", "dogs and cats", "a a a", "the dog sat on the cat"])


VECTORIZERS: dict[str, Any] = {
    "tfidf": TfidfVectorizer(),
    "count": CountVectorizer(),
    "bigrams": TfidfVectorizer(ngram_range=(1, 2), token_pattern="[a-z]+"),
    "binary": CountVectorizer(binary=True),
    "characters": TfidfVectorizer(analyzer="char", ngram_range=(1, 2)),
    "stopwords": TfidfVectorizer(stop_words=["the", "on"], norm="l1"),
    "case": CountVectorizer(lowercase=False, token_pattern="[A-Za-z]+", max_features=5),
    "counts alone": TfidfVectorizer(use_idf=False, token_pattern=r"\b\w+\b"),  # logarithms it writes otherwise
    "hashes": FeatureHasher(16, input_type="string", alternate_sign=False, dtype=np.float32),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classifier", [LogisticRegression(), MultinomialNB()], ids=["logistic", "bayes"])
@pytest.mark.parametrize("name", VECTORIZERS)
def test_text(name: str, classifier: Any) -> None:
    """As scikit-learn, as ONNX Runtime, and as ONNX Runtime when it is written again."""
    words, kind = (np.array([t.split()[:2] for t in WORDS]), [None, 2]) if name == "hashes" else (WORDS, [None])
    model = make_pipeline(VECTORIZERS[name], classifier).fit(words, [0, 1, 0, 1, 0, 1])
    proto = to_onnx(model, initial_types=[("text", StringTensorType(kind))], options={"zipmap": False})
    given = words.astype(object)
    label, scores = tenun.compile(proto)(given)
    np.testing.assert_array_equal(label, model.predict(words))
    np.testing.assert_allclose(scores, model.predict_proba(words), atol=1e-5)
    graph = tenun.load(proto)
    for text in (proto, proto_of_graph(graph, opset=21, evaluate=backend("numpy").evaluate)):
        for node in text.graph.node:
            if node.op_type == "StringNormalizer":  # the default one may not be installed
                node.attribute.append(onnx.helper.make_attribute("locale", "C"))
        session = onnxruntime.InferenceSession(text.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"text": given})[1], scores, atol=5e-6)


def test_columns() -> None:
    """Numbers, categories and text side by side, each with its own encoder."""
    import pandas

    frame = pandas.DataFrame({
        "size": np.linspace(-1, 1, 6).astype(np.float32),
        "kind": ["a", "b", "a", "c", "b", "a"],
        "grade": np.int64([1, 2, 3, 1, 2, 3]),
    })  # fmt: skip
    model = make_pipeline(
        ColumnTransformer([
            ("size", StandardScaler(), ["size"]),
            ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            ("grade", OrdinalEncoder(), ["grade"]),
        ]),
        RandomForestClassifier(**TREES),
    ).fit(frame, [0, 1, 0, 1, 1, 0])  # fmt: skip
    types = [("size", FloatTensorType([None, 1])), ("kind", StringTensorType([None, 1])),
             ("grade", Int64TensorType([None, 1]))]  # fmt: skip
    proto = to_onnx(model, initial_types=types, options={"zipmap": False})
    given = {name: frame[[name]].to_numpy() for name in frame}
    found = tenun.compile(proto).run(given)
    np.testing.assert_array_equal(found["label"], model.predict(frame))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(frame), atol=1e-5)
