"""ai.onnx.ml: encoders, scalers, maps, linear models and support vectors (trees: see trees.py).

What ONNX leaves open (two classes with one score, ties, missing categories) is as ONNX Runtime does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.attributes import Floats, Ints, Strs
from ....ir.graph import Var
from ....ir.types import Map, Tensor, f32, f64, i64, string
from ..lowering import Lowering
from ..registry import onnx

DOMAIN = "ai.onnx.ml"


def _float(b: Lowering, x: Var, to: Any = f32) -> Var:
    return x if x.tensor.dtype is to else b.cast(x, to=to)  # type: ignore[no-any-return]


def _rows(b: Lowering, x: Var) -> Var:
    """(C) as one row, (1, C)."""
    return b.unsqueeze(x, axes=(0,)) if len(x.shape) == 1 else x  # type: ignore[no-any-return]


def column(values: Any, to: Any = np.float32) -> Any:
    """A list of numbers as a vector, texts as objects."""
    return np.asarray(values, to)


def _either(b: Lowering, what: str, *lists: Any) -> Any:
    """The only one of several lists that has entries, as a vector of its kind (integers, text, floats)."""
    given = [v for v in lists if v is not None and len(v)]
    if len(given) != 1:
        raise b.refuse(f"{len(given)} lists of {what}, one is needed")
    first = given[0][0]
    return column(given[0], object if isinstance(first, str) else np.int64 if isinstance(first, int) else np.float32)


# ---- features ------------------------------------------------------------------------------------------------


@onnx("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(b: Lowering, X: Var, Y: Var) -> Var:
    """Columns of X by number; a vector counts as one row."""
    return b.gather(_rows(b, X), b.reshape(Y, shape=(-1,)), axis=-1)


@onnx("Binarizer", domain=DOMAIN)
def binarizer(b: Lowering, X: Var, *, threshold: float = 0.0) -> Var:
    """1 where X is above the threshold, else 0."""
    limit = b.constant(threshold, dtype=np.float64 if X.tensor.dtype is f64 else np.float32)
    return b.cast(b.greater(_float(b, X, limit.tensor.dtype), limit), to=X.tensor.dtype)


@onnx("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(b: Lowering, *X: Var, inputdimensions: Ints = ()) -> Var:
    """The inputs' columns side by side, each input cut or filled up with zeros to the number that is given for it."""
    parts = [_float(b, _rows(b, x)) for x in X]
    for i, (x, width) in enumerate(zip(parts, inputdimensions)):
        have = x.shape[1]
        if have != width:
            more = max(width - have, 0) if isinstance(have, int) else width
            parts[i] = b.slice(b.pad(x, pads=((0, 0), (0, more))), starts=(0,), ends=(width,), axes=(1,))
    return b.concat(*parts, axis=1)


@onnx("Imputer", domain=DOMAIN)
def imputer(
    b: Lowering, X: Var, *, imputed_value_floats: Floats = (), imputed_value_int64s: Ints = (),
    replaced_value_float: float = 0.0, replaced_value_int64: int = 0,
) -> Var:  # fmt: skip
    """What equals the value to be replaced (NaN equals NaN) becomes the imputed one, of its column or of all."""
    kind = X.tensor.dtype
    values = _either(b, "imputed values", imputed_value_floats, imputed_value_int64s)
    replaced = replaced_value_float if kind.is_float else replaced_value_int64
    bad = b.is_nan(X) if replaced != replaced else b.equal(X, b.constant(replaced, dtype=kind.numpy))
    return b.where(bad, b.constant(values.astype(kind.numpy)), X)


@onnx("Scaler", domain=DOMAIN)
def scaler(b: Lowering, X: Var, *, offset: Floats = (), scale: Floats = ()) -> Var:
    """(X - offset) scale, as floats; one number for all columns, or one for each."""
    x = _float(b, X)
    x = b.sub(x, column(offset)) if offset else x
    return b.mul(x, column(scale)) if scale else x


@onnx("Normalizer", domain=DOMAIN)
def normalizer(b: Lowering, X: Var, *, norm: str = "MAX") -> Var:
    """Each row divided by its largest element (MAX), sum of magnitudes (L1) or length (L2), if that is not 0."""
    x = _float(b, X)
    axes = (len(x.shape) - 1,)
    if norm == "MAX":
        size = b.reduce_max(x, axes=axes, keepdims=True)
    elif norm in ("L1", "L2"):
        size = getattr(b, "reduce_" + norm.lower())(x, axes=axes, keepdims=True)
    else:
        raise b.refuse(f"norm is {norm!r}, expected 'MAX', 'L1' or 'L2'")
    return b.where(b.equal(size, 0.0), x, b.div(x, size))


# ---- tables --------------------------------------------------------------------------------------------------


def _translated(b: Lowering, X: Var, keys: Any, values: Any, default: Any) -> Var:
    """The value of each element's key; the default for what is no key."""
    keys = b.constant(column(keys, X.tensor.dtype.numpy).reshape(-1))
    values = np.asarray(values).reshape(-1)
    return b.gather(b.constant(np.append(values, np.asarray(default, values.dtype))), b.find(X, keys))  # type: ignore[no-any-return]


@onnx("LabelEncoder", domain=DOMAIN)
def label_encoder_1(
    b: Lowering, X: Var, *, classes_strings: Strs = (), default_int64: int = -1, default_string: str = "_Unused"
) -> Var:
    """Text as its place in a list, or a place as the text there."""
    return category_mapper(
        b, X, cats_int64s=tuple(range(len(classes_strings))), cats_strings=classes_strings,
        default_int64=default_int64, default_string=default_string,
    )  # fmt: skip


@onnx("CategoryMapper", domain=DOMAIN)
def category_mapper(
    b: Lowering, X: Var, *, cats_int64s: Ints = (), cats_strings: Strs = (), default_int64: int = -1,
    default_string: str = "_Unused",
) -> Var:  # fmt: skip
    """Text as integers, or integers as text."""
    words, numbers = column(cats_strings, object), column(cats_int64s, np.int64)
    if X.tensor.dtype is string:
        return _translated(b, X, words, numbers, default_int64)
    return _translated(b, X, numbers, words, default_string)


@onnx("LabelEncoder", domain=DOMAIN, since=2)
def label_encoder(
    b: Lowering, X: Var, *, default_float: float = -0.0, default_int64: int = -1, default_string: str = "_Unused",
    default_tensor: Any = None, keys_floats: Floats = (), keys_int64s: Ints = (), keys_strings: Strs = (),
    keys_tensor: Any = None, values_floats: Floats = (), values_int64s: Ints = (), values_strings: Strs = (),
    values_tensor: Any = None,
) -> Var:  # fmt: skip
    """Each element's key replaced by the key's value, of another type perhaps."""
    keys = keys_tensor if keys_tensor is not None else _either(b, "keys", keys_floats, keys_int64s, keys_strings)
    values = values_tensor
    if values is None:
        values = _either(b, "values", values_floats, values_int64s, values_strings)
    if len(keys) != len(values):
        raise b.refuse(f"{len(keys)} keys, {len(values)} values")
    by_kind = {"O": default_string, "i": default_int64, "f": default_float}
    default = by_kind[values.dtype.kind] if default_tensor is None else default_tensor.reshape(-1)[0]
    return _translated(b, X, keys, values, default)


@onnx("OneHotEncoder", domain=DOMAIN)
def one_hot_encoder(b: Lowering, X: Var, *, cats_int64s: Ints = (), cats_strings: Strs = (), zeros: int = 1) -> Var:
    """A new last axis with 1 at the place of the category; all 0 for another one, which is an error unless `zeros`."""
    keys = _either(b, "categories", cats_int64s, cats_strings)
    text = X.tensor.dtype is string
    x = X if text else b.cast(X, to=i64)
    places = b.find(x, b.constant(keys), strict=not zeros)
    return b.cast(b.equal(b.unsqueeze(places, axes=(-1,)), np.arange(len(keys))), to=f32)


# ---- maps ----------------------------------------------------------------------------------------------------


def _map_of(b: Lowering, X: Var) -> Map:
    if not isinstance(X.type, Map):
        raise b.refuse(f"the input is {X.type}, a map is needed")
    return X.type


@onnx("CastMap", domain=DOMAIN)
def cast_map(b: Lowering, X: Var, *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1) -> Var:
    """The values of a map by integers as one row: in the order of the keys, or (SPARSE) each at its key's place."""
    kinds = {"TO_FLOAT": f32, "TO_STRING": string, "TO_INT64": i64}
    if cast_to not in kinds or map_form not in ("DENSE", "SPARSE"):
        raise b.refuse(f"cast_to is {cast_to!r}, map_form {map_form!r}")
    _map_of(b, X)
    keys, values = b.map_items(X)
    values = _float(b, values, kinds[cast_to])
    if map_form == "SPARSE":
        empty = np.full(max_map, "" if cast_to == "TO_STRING" else 0, kinds[cast_to].numpy)
        values = b.scatter_elements(b.constant(empty), keys, values)
    return b.unsqueeze(values, axes=(0,))


@onnx("DictVectorizer", domain=DOMAIN)
def dict_vectorizer(b: Lowering, X: Var, *, int64_vocabulary: Ints = (), string_vocabulary: Strs = ()) -> Var:
    """One row with a column for each word of the vocabulary: the map's value for it, or nothing."""
    words = _either(b, "vocabularies", int64_vocabulary, string_vocabulary)
    element = _map_of(b, X).element
    assert isinstance(element, Tensor)
    keys, values = b.map_items(X)
    size = len(words)
    empty = np.full(size + 1, "" if element.dtype is string else 0, element.dtype.numpy)
    filled = b.scatter_elements(b.constant(empty), b.find(keys, b.constant(words)), values)
    return b.unsqueeze(b.slice(filled, starts=(0,), ends=(size,)), axes=(0,))


@onnx("ZipMap", domain=DOMAIN)
def zip_map(b: Lowering, X: Var, *, classlabels_int64s: Ints = (), classlabels_strings: Strs = ()) -> Var:
    return b.zip_map(X, words=classlabels_strings, numbers=classlabels_int64s)


# ---- scores --------------------------------------------------------------------------------------------------


def _probit(b: Lowering, x: Var) -> Var:
    """sqrt(2) erfinv(2 x - 1), by the approximation of Winitzki 2008 with a = 0.147: what ONNX's backends compute."""
    y = b.sub(b.mul(x, 2.0), 1.0)
    log = b.log(b.mul(b.sub(1.0, y), b.add(y, 1.0)))
    v = b.add(b.mul(log, 0.5), 2 / (3.14159 * 0.147))
    root = b.sqrt(b.sub(b.sqrt(b.sub(b.square(v), b.mul(log, 1 / 0.147))), v))
    return b.mul(b.mul(b.where(b.less(y, 0.0), b.neg(root), root), 1.0), 1.41421356)  # type: ignore[no-any-return]


def _softmax_zero(b: Lowering, x: Var) -> Var:
    """Softmax of the scores that are not 0; those that are stay (next to) 0."""
    most = b.reduce_max(x, axes=(1,), keepdims=True)
    zero = b.less_equal(b.abs(x), 1e-7)
    powers = b.exp(b.sub(x, most))
    kept = b.where(zero, b.mul(x, b.exp(b.neg(most))), powers)
    total = b.reduce_sum(b.where(zero, b.constant(0, dtype=x.tensor.dtype.numpy), powers), axes=(1,), keepdims=True)
    return b.div(kept, total)  # type: ignore[no-any-return]


POST: dict[str, Callable[[Lowering, Var], Any]] = {
    "NONE": lambda b, x: x,
    "LOGISTIC": lambda b, x: b.sigmoid(x),
    "SOFTMAX": lambda b, x: b.softmax(x, axis=1),
    "SOFTMAX_ZERO": _softmax_zero,
    "PROBIT": _probit,
}


def transformed(b: Lowering, scores: Var, post_transform: str) -> Var:
    """Scores, (N, K), after one of the transforms POST; a single score is changed by PROBIT only."""
    if post_transform not in POST:
        raise b.refuse(f"post_transform is {post_transform!r}, expected one of {', '.join(POST)}")
    if scores.shape[1] == 1 and post_transform != "PROBIT":
        return scores
    return POST[post_transform](b, scores)  # type: ignore[no-any-return]


def two_columns(b: Lowering, s: Var, post_transform: str, shares: bool) -> Var:
    """One score, (N, 1), as those of two classes: 1 - s and s if scores are shares of 1, else -s and s."""
    if post_transform == "PROBIT":
        return b.concat(_probit(b, b.sub(1.0, s)), _probit(b, s), axis=1)  # type: ignore[no-any-return]
    both = b.concat(b.sub(1.0, s) if shares and post_transform != "LOGISTIC" else b.neg(s), s, axis=1)
    return b.sigmoid(both) if post_transform == "LOGISTIC" else both  # type: ignore[no-any-return]


def labels_of(b: Lowering, numbers: Ints, words: Strs, count: int) -> Any:
    """The names of classes, 0, 1, ... where none are given."""
    found = column(words, object) if words else column(numbers or range(count), np.int64)
    if len(found) < count:
        raise b.refuse(f"{len(found)} labels for {count} classes")
    return found


def best(b: Lowering, scores: Var, labels: Any) -> Var:
    """The label of the largest score of each row, the first one of equals."""
    return b.gather(b.constant(labels), b.argmax(scores, axis=1, keepdims=False))  # type: ignore[no-any-return]


def chosen(b: Lowering, is_second: Var, labels: Any) -> Var:
    """The second of two labels where the condition, (N, 1), holds, else the first."""
    return b.gather(b.constant(labels[:2]), b.reshape(b.cast(is_second, to=i64), shape=(-1,)))  # type: ignore[no-any-return]


# ---- linear models -------------------------------------------------------------------------------------------


def _linear(b: Lowering, X: Var, coefficients: Floats, intercepts: Floats, targets: int) -> Var:
    if not targets or len(coefficients) % targets:
        raise b.refuse(f"{len(coefficients)} coefficients for {targets} results")
    y = b.matmul(_float(b, _rows(b, X)), b.constant(column(coefficients).reshape(targets, -1).T.copy()))
    return b.add(y, column(intercepts)) if intercepts else y  # type: ignore[no-any-return]


@onnx("LinearRegressor", domain=DOMAIN)
def linear_regressor(
    b: Lowering, X: Var, *, coefficients: Floats = (), intercepts: Floats = (), post_transform: str = "NONE",
    targets: int = 1,
) -> Var:  # fmt: skip
    """X coefficients^T + intercepts."""
    return transformed(b, _linear(b, X, coefficients, intercepts, targets), post_transform)


@onnx("LinearClassifier", domain=DOMAIN)
def linear_classifier(
    b: Lowering, X: Var, *, classlabels_ints: Ints = (), classlabels_strings: Strs = (), coefficients: Floats,
    intercepts: Floats = (), multi_class: int = 0, post_transform: str = "NONE",
) -> tuple[Var, Var]:  # fmt: skip
    """Labels and scores; one row of coefficients stands for two classes, of which the second has positive scores."""
    named = max(len(classlabels_ints), len(classlabels_strings))
    count = len(intercepts) or (1 if named <= 2 and len(coefficients) == X.shape[-1] else named)
    scores = _linear(b, X, coefficients, intercepts, count)
    if count == 1:
        labels = labels_of(b, classlabels_ints, classlabels_strings, 2)
        label = chosen(b, b.greater(scores, 0.0), labels)
        if named != 2:
            return label, transformed(b, scores, post_transform)
        return label, two_columns(b, scores, post_transform, True)
    label = best(b, scores, labels_of(b, classlabels_ints, classlabels_strings, count))
    return label, transformed(b, scores, post_transform)


# ---- support vectors -----------------------------------------------------------------------------------------


def _kernel(b: Lowering, X: Var, vectors: Any, kind: str, params: Floats) -> Var:
    """k(x, v) for each row of X and each support vector: (N, vectors), in f64."""
    gamma, coef0, degree = params or (0.0, 0.0, 0.0)
    dot = b.matmul(X, b.constant(vectors.T.copy()))
    if kind == "LINEAR":
        return dot  # type: ignore[no-any-return]
    if kind == "RBF":
        squares = b.add(b.reduce_sum(b.square(X), axes=(1,), keepdims=True), np.square(vectors).sum(1))
        return b.exp(b.mul(b.sub(squares, b.mul(dot, 2.0)), -gamma))  # type: ignore[no-any-return]
    bent = b.add(b.mul(dot, gamma), coef0)
    if kind == "POLY":
        return b.pow(bent, degree)  # type: ignore[no-any-return]
    if kind == "SIGMOID":
        return b.tanh(bent)  # type: ignore[no-any-return]
    raise b.refuse(f"kernel_type is {kind!r}, expected LINEAR, POLY, RBF or SIGMOID")


@onnx("SVMRegressor", domain=DOMAIN)
def svm_regressor(
    b: Lowering, X: Var, *, coefficients: Floats = (), kernel_params: Floats = (), kernel_type: str = "LINEAR",
    n_supports: int = 0, one_class: int = 0, post_transform: str = "NONE", rho: Floats = (),
    support_vectors: Floats = (),
) -> Var:  # fmt: skip
    """The sum of the kernels with the support vectors, weighted, + rho; one_class: its sign, 1 or -1."""
    x = _float(b, _rows(b, X), f64)
    weights = column(coefficients, np.float64)[:, None]
    if n_supports:
        x = _kernel(b, x, column(support_vectors, np.float64).reshape(n_supports, -1), kernel_type, kernel_params)
    y = b.add(b.matmul(x, b.constant(weights)), rho[0] if rho else 0.0)
    if one_class:
        return b.where(b.greater(y, 0.0), np.float32(1), np.float32(-1))
    return transformed(b, b.cast(y, to=f32), post_transform)


@onnx("SVMClassifier", domain=DOMAIN)
def svm_classifier(
    b: Lowering, X: Var, *, classlabels_ints: Ints = (), classlabels_strings: Strs = (), coefficients: Floats,
    kernel_params: Floats = (), kernel_type: str = "LINEAR", post_transform: str = "NONE", prob_a: Floats = (),
    prob_b: Floats = (), rho: Floats, support_vectors: Floats = (), vectors_per_class: Ints = (),
) -> tuple[Var, Var]:  # fmt: skip
    """Every pair of classes votes for one; with prob_a and prob_b the scores are probabilities (Platt 1999)."""
    named = max(len(classlabels_ints), len(classlabels_strings))
    x = _float(b, _rows(b, X), f64)
    if not vectors_per_class:  # one row of coefficients for each class
        labels = labels_of(b, classlabels_ints, classlabels_strings, named)
        rows = b.constant(column(coefficients, np.float64).reshape(named, -1).T.copy())
        scores = b.cast(b.add(b.matmul(x, rows), rho[0]), to=f32)
        return best(b, scores, labels), transformed(b, scores, post_transform)
    count = len(vectors_per_class)
    labels = labels_of(b, classlabels_ints, classlabels_strings, count)
    vectors = column(support_vectors, np.float64).reshape(sum(vectors_per_class), -1)
    kernels = _kernel(b, x, vectors, kernel_type, kernel_params)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    weights = _pair_weights(column(coefficients, np.float64), vectors_per_class, pairs)
    scores = b.add(b.matmul(kernels, b.constant(weights)), column(rho[: len(pairs)], np.float64))
    votes = _votes(b, scores, pairs, count)
    if prob_a:
        shares = b.cast(_probabilities(b, scores, prob_a, prob_b, pairs, count), to=f32)
        return best(b, votes, labels), transformed(b, shares, post_transform)
    scores = b.cast(scores, to=f32)
    if count == 2:
        return best(b, votes, labels), two_columns(b, scores, post_transform, post_transform != "NONE")
    return best(b, votes, labels), transformed(b, scores, post_transform)


def _pair_weights(coefficients: Any, sizes: Ints, pairs: list[tuple[int, int]]) -> Any:
    """(vectors, pairs): vectors of class i have row j - 1 of the coefficients against j > i, those of j have row i."""
    total, start = sum(sizes), np.cumsum((0, *sizes))
    rows = coefficients.reshape(-1, total)
    weights = np.zeros((total, len(pairs)))
    for p, (i, j) in enumerate(pairs):
        for own, row in ((i, j - 1), (j, i)):
            weights[start[own] : start[own + 1], p] = rows[row, start[own] : start[own + 1]]
    return weights


def _votes(b: Lowering, scores: Var, pairs: list[tuple[int, int]], count: int) -> Var:
    """How many pairs each class wins: the first of a pair if the score is above 0."""
    first, second = np.zeros((len(pairs), count)), np.zeros((len(pairs), count))
    for p, (i, j) in enumerate(pairs):
        first[p, i] = second[p, j] = 1
    won = b.cast(b.greater(scores, 0.0), to=f64)
    return b.add(b.matmul(won, b.constant(first - second)), second.sum(0))  # type: ignore[no-any-return]


def _probabilities(
    b: Lowering, scores: Var, slope: Floats, offset: Floats, pairs: list[tuple[int, int]], count: int
) -> Var:
    """The classes' probabilities, (N, K), from the pairs' scores through 1 / (1 + exp(a s + b))."""
    bent = b.neg(b.add(b.mul(scores, column(slope, np.float64)), column(offset, np.float64)))
    first = b.clip(b.sigmoid(bent), low=1e-7, high=1 - 1e-7)
    both = b.concat(first, b.sub(1.0, first), axis=1)
    places = np.zeros((count, count), np.int64)
    for p, (i, j) in enumerate(pairs):
        places[i, j], places[j, i] = p, p + len(pairs)
    return b.couple_probabilities(b.gather(both, b.constant(places), axis=1))  # type: ignore[no-any-return]
