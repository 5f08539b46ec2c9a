"""Estimators of scikit-learn around layers: they go into pipelines, searches and cross-validation.

    from tenun.estimators import Classifier

    search = GridSearchCV(Classifier(epochs=20, random_state=0), {"layers": [(32,), (64, 64)]})
    search.fit(X, y)

scikit-learn is imported with the first use of one of the classes, which are made then: their bases are its own.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ShapeError, UnsupportedError
from .layers import Layer
from .layers.core import Dense
from .layers.symbolic import Input
from .training.callbacks import EarlyStopping
from .training.losses import LOSSES, Loss
from .training.model import Model, Sequential, walk
from .training.optimizers import OPTIMIZERS, Optimizer
from .training.seeds import seeded

Array = np.ndarray[Any, Any]

FLOATS = [np.float64, np.float32]  # what X may be; else it becomes float64
PREDICTED_AT_ONCE = 1024

# parameter: (type, what its number has to be in words and as a test)
RULES: dict[str, tuple[type, str, Any]] = {
    "epochs": (Integral, "an integer of at least 1", lambda v: v >= 1),
    "batch_size": (Integral, "an integer of at least 1", lambda v: v >= 1),
    "patience": (Integral, "None or an integer of at least 0", lambda v: v >= 0),
    "validation_fraction": (Real, "a number in [0, 1)", lambda v: 0 <= v < 1),
}

PARAMETERS = """
    layers: what stands before the output layer: a sequence of numbers of units (Dense, with `activation`) and of
        layers, which are copied for each fit, with weights if they have some; or a function of (n_features, n_outputs)
        that returns a whole new tenun.Model.
    activation: of the layers given as numbers.
    optimizer, learning_rate: name or tenun.optimizers object; with None it keeps the rate that it has.
    loss: name, tenun.losses object or function; None: a crossentropy, or the mean squared error.
    epochs, batch_size: of `fit`; `partial_fit` goes through its data once.
    validation_fraction: the share of samples that `fit` sets apart, at random, to compute `val_loss` on.
    patience: epochs without a better loss (val_loss, if there is one) after which `fit` stops, to go back to the best
        weights; None: all epochs are made.
    callbacks: tenun.callbacks for `fit` and `partial_fit`, used as they are.
    random_state: None, an integer or a RandomState; for first weights, dropout, the order of samples, and the split.
        With an integer, the same data give the same bits.  tenun's own generator is left alone.
    verbose: 0, 1 or 2 as in Model.fit.
    class_weight (classifiers only): None, "balanced", or a dict of weights by label.

    A fitted estimator has `model_` (the tenun.Model), `history_` (figures by name, one for each epoch), `n_iter_` (the
    number of epochs), `n_features_in_`, `feature_names_in_` after data frames, and `classes_` or `n_outputs_`.

    Layers compute in float32 where X is float32, else in float64, unless they have a dtype of their own; the data
    themselves are rounded to float32, as Model.fit does.  `fit` divides weights by their mean: if a batch holds all
    samples, a weight of n is the same as n copies of a sample.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator:
    """What classifiers and regressors share; `BaseEstimator` comes with the classes made of it."""

    layers: Any = field(default=(64,), kw_only=False)
    activation: Any = "relu"
    optimizer: Any = "adam"
    learning_rate: Any = None
    loss: Any = None
    epochs: int = 50
    batch_size: int = 32
    validation_fraction: float = 0.0
    patience: int | None = None
    callbacks: Any = None
    random_state: Any = None
    verbose: Any = 0

    # ---- what subclasses define

    def _validated(self, X: Any, y: Any, partial: bool) -> tuple[Array, Array]:
        """X and y checked; y as `_targets` takes it.  What the first data tell is kept as attributes."""
        raise NotImplementedError

    def _n_outputs(self) -> int:
        """The number of outputs that a model should have."""
        raise NotImplementedError

    def _default_loss(self, columns: int) -> str:
        """The loss for a model with so many outputs; ShapeError if that number does not fit."""
        raise NotImplementedError

    def _targets(self, y: Array) -> Array:
        """The targets in the form which the loss takes."""
        raise NotImplementedError

    def _class_weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        """The weights with those of the classes in them."""
        return sample_weight

    def _groups(self, y: Array) -> Array | None:
        """What a split keeps the proportions of."""
        return None

    # ---- training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train anew on X (n_samples, n_features) and y; ValueError where they do not fit, as scikit-learn does."""
        self._check()
        X, y = self._validated(X, y, partial=False)
        weight = self._weights(X, y, sample_weight)
        seed = self._seed()
        with seeded(seed):
            self._start(X, 1.0 if weight is None else len(weight) / float(weight.sum()))
            train, held_out = self._split(X, y, weight, seed)
            self._run(train, int(self.epochs), held_out, self._early_stopping())
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._check()
        X, y = self._validated(X, y, partial=True)
        weight = self._weights(X, y, sample_weight)
        if not hasattr(self, "model_"):
            with seeded(self._seed()):
                self._start(X, 1.0)
        self._run((X, y, weight), 1)
        return self

    def _is_first(self, partial: bool) -> bool:
        """Whether a model is made, not trained further."""
        return not partial or not hasattr(self, "model_")

    def _check(self) -> None:
        for name, (kind, rule, holds) in RULES.items():
            value = getattr(self, name)
            if value is None and rule.startswith("None"):
                continue
            if not isinstance(value, kind) or isinstance(value, bool) or not holds(value):
                raise ValueError(f"{type(self).__name__}: {name}={value!r} has to be {rule}")

    def _seed(self) -> int:
        from sklearn.utils import check_random_state

        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _weights(self, X: Array, y: Array, sample_weight: Any) -> Array | None:
        """One weight a sample, with the classes' in them; None where all are 1."""
        from sklearn.utils.validation import _check_sample_weight

        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weight = self._class_weights(y, sample_weight)
        if weight is not None and not weight.any():
            raise ValueError("sample_weight is zero for all samples: at least one has to count")
        return weight

    def _split(self, X: Array, y: Array, weight: Array | None, seed: int) -> tuple[Any, Any]:
        """(X, y, weight) to train on, and to validate on or None."""
        from sklearn.model_selection import train_test_split

        if not self.validation_fraction:
            return (X, y, weight), None
        train, held_out = train_test_split(
            np.arange(len(X)), test_size=float(self.validation_fraction), random_state=seed, stratify=self._groups(y)
        )
        both = [(X[i], y[i], None if weight is None else weight[i]) for i in (train, held_out)]
        return both[0], both[1]

    def _early_stopping(self) -> list[Any]:
        if self.patience is None:
            return []
        monitor = "val_loss" if self.validation_fraction else "loss"
        return [EarlyStopping(monitor=monitor, patience=self.patience, restore_best_weights=True)]

    def _run(self, train: Any, epochs: int, held_out: Any = None, calls: Any = ()) -> None:
        """Go on for some epochs, which are counted from the first fit so that each has an order of its own."""
        X, y, weight = train
        if held_out is not None:
            held_out = (held_out[0], self._targets(held_out[1]), *([] if weight is None else [held_out[2]]))
        given = [] if self.callbacks is None else [self.callbacks]
        history = self.model_.fit(
            X, self._targets(y), sample_weight=weight, batch_size=int(self.batch_size), initial_epoch=self.n_iter_,
            epochs=self.n_iter_ + epochs, validation_data=held_out, callbacks=[*calls, *given], verbose=self.verbose,
        )  # fmt: skip
        self.n_iter_ += len(history.epoch)
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(values)

    # ---- the model

    def _start(self, X: Array, scale: float) -> None:
        """A new model for data like X, compiled; the loss is multiplied by `scale`."""
        model = self._model(X.shape[1], self._n_outputs(), X.dtype.name)
        shape = model.output_shape
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise ShapeError(f"{type(self).__name__}: the model's output has to be (samples, n), it is {shape}")
        loss = self._made_loss(self._default_loss(shape[1]), next(iter(model.outputs.values())).dtype.numpy_name)
        model.compile(self._made_optimizer(), loss, loss_weights=None if scale == 1 else [scale])
        self.model_, self._loss, self._columns, self.n_iter_ = model, loss, shape[1], 0
        self.history_: dict[str, list[Any]] = {}

    def _model(self, n_features: int, n_outputs: int, dtype: str) -> Model:
        if isinstance(self.layers, (Layer, Model)) or not (callable(self.layers) or np.iterable(self.layers or ())):
            raise TypeError(f"{type(self).__name__}: layers has to be a sequence or a function, not {self.layers!r}")
        if callable(self.layers):
            model = self.layers(n_features, n_outputs)
            if not isinstance(model, Model):
                raise TypeError(f"{type(self).__name__}: layers() has to return a tenun.Model, not {model!r}")
            if not model.knows_its_input:
                model.build((None, n_features))
            return model
        hidden = [self._layer(each, f"hidden_{i}", dtype) for i, each in enumerate(self.layers or ())]
        output = Dense(n_outputs, self._output_activation(n_outputs), name="output", dtype=dtype)
        source = Input((n_features,), dtype=dtype, name="features")
        return Sequential([source, *hidden, output], name=type(self).__name__.lower())

    def _output_activation(self, n_outputs: int) -> str:
        return "linear"

    def _layer(self, given: Any, name: str, dtype: str) -> Layer:
        """A hidden layer, which is the model's own."""
        if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and given > 0:
            return Dense(int(given), self.activation, name=name, dtype=dtype)
        made = copy.deepcopy(getattr(given, "definition", given))
        if not isinstance(made, Layer):
            raise TypeError(f"{type(self).__name__}: layers has numbers of units and layers, not {given!r}")
        for each in walk(made):
            each.dtype = dtype if each.dtype is None else each.dtype
        return made

    def _made_loss(self, default: str, dtype: str) -> Loss:
        loss = copy.copy(LOSSES.get(default if self.loss is None else self.loss))
        if loss.dtype is None and dtype == "float64":
            loss.dtype = dtype
        return loss

    def _made_optimizer(self) -> Optimizer:
        made: Any = copy.deepcopy(OPTIMIZERS.get(self.optimizer))
        return made if self.learning_rate is None else dataclasses.replace(made, learning_rate=self.learning_rate)  # type: ignore[no-any-return]

    def _wrong_columns(self, columns: int, wanted: str) -> ShapeError:
        return ShapeError(f"{type(self).__name__}: the model has {columns} outputs, it needs {wanted}")

    def _raw(self, X: Any) -> Array:
        """The model's outputs (n_samples, columns)."""
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS)
        return self.model_.predict(X, batch_size=PREDICTED_AT_ONCE, verbose=0)  # type: ignore[no-any-return]


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierPart(Estimator):
    """A neural network that tells classes apart, with scikit-learn's interface.

    The model has one output, the probability of the second class, for two classes, else one for each class.  A model
    of your own may have two for two classes, and give logits if its loss has from_logits=True.
    """

    class_weight: Any = None

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train on through X and y once; the first call needs all `classes`.  Weights count as they are."""
        from sklearn.utils.multiclass import _check_partial_fit_first_call

        if isinstance(self.class_weight, str):
            raise ValueError(f"class_weight={self.class_weight!r} needs all data at once: give partial_fit a dict")
        _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight)

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`: (n_samples, n_classes)."""
        raw = self._raw(X)
        if self._columns > 1:
            return _softmax(raw) if self._gives_logits() else raw
        p = _sigmoid(raw) if self._gives_logits() else raw
        return np.ones_like(p) if len(self.classes_) == 1 else np.hstack([1 - p, p])

    def predict(self, X: Any) -> Array:
        """The most probable class of each sample: (n_samples,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _gives_logits(self) -> bool:
        return bool(getattr(self._loss, "from_logits", False))

    def _validated(self, X: Any, y: Any, partial: bool) -> tuple[Array, Array]:
        """X, and the numbers of the classes (n_samples,)."""
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import validate_data

        X, y = validate_data(self, X, y, reset=self._is_first(partial), dtype=FLOATS)
        check_classification_targets(y)
        found, codes = np.unique(y, return_inverse=True)
        if not partial:
            self.classes_: Array = found
        unknown = np.setdiff1d(found, self.classes_)
        if unknown.size:
            raise ValueError(f"y has the classes {unknown.tolist()}, which are not among {self.classes_.tolist()}")
        return X, np.searchsorted(self.classes_, found)[codes]

    def _n_outputs(self) -> int:
        return 1 if len(self.classes_) <= 2 else len(self.classes_)

    def _output_activation(self, n_outputs: int) -> str:
        if self.loss is not None and getattr(LOSSES.get(self.loss), "from_logits", False):
            return "linear"
        return "sigmoid" if n_outputs == 1 else "softmax"

    def _default_loss(self, columns: int) -> str:
        if columns not in (self._n_outputs(), len(self.classes_)):
            raise self._wrong_columns(columns, f"{self._n_outputs()} for {len(self.classes_)} classes")
        return "binary_crossentropy" if columns == 1 else "sparse_categorical_crossentropy"

    def _targets(self, y: Array) -> Array:
        """Numbers of classes where there is one output or the loss is a sparse one, else one-hot rows."""
        if self._columns == 1:
            return y.astype(np.float32)[:, None]
        if type(self._loss).__name__.startswith("Sparse"):
            return y.astype(np.int32)
        return np.eye(self._columns, dtype=np.float32)[y]

    def _class_weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        from sklearn.utils.class_weight import compute_class_weight

        if self.class_weight is None:
            return sample_weight
        each = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[y])[y]
        return each if sample_weight is None else each * sample_weight

    def _groups(self, y: Array) -> Array | None:
        return y


@dataclass(kw_only=True, eq=False, repr=False)
class RegressorPart(Estimator):
    """A neural network that predicts numbers, one or several a sample, with scikit-learn's interface."""

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on through X and y once.  Weights count as they are."""
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The numbers: (n_samples,) or (n_samples, n_outputs), as y was in `fit`."""
        raw = self._raw(X)
        return raw[:, 0] if self._is_flat else raw

    def _validated(self, X: Any, y: Any, partial: bool) -> tuple[Array, Array]:
        """X, and y (n_samples, n_outputs)."""
        from sklearn.utils.validation import validate_data

        first = self._is_first(partial)
        X, y = validate_data(self, X, y, reset=first, dtype=FLOATS, multi_output=True, y_numeric=True)
        rows: Array = y.reshape(len(y), -1).astype(X.dtype)
        if first:
            self._is_flat, self.n_outputs_ = y.ndim == 1, rows.shape[1]
        if rows.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {rows.shape[1]} columns, in the first call it had {self.n_outputs_}")
        return X, rows

    def _n_outputs(self) -> int:
        return self.n_outputs_

    def _default_loss(self, columns: int) -> str:
        if columns != self.n_outputs_:
            raise self._wrong_columns(columns, str(self.n_outputs_))
        return "mean_squared_error"

    def _targets(self, y: Array) -> Array:
        return y


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---- the classes ------------------------------------------------------------------------------------------------

# class: its part, and the mixins of scikit-learn
_CLASSES: dict[str, tuple[type[Estimator], tuple[str, ...]]] = {
    "Classifier": (ClassifierPart, ("ClassifierMixin",)),
    "Regressor": (RegressorPart, ("MultiOutputMixin", "RegressorMixin")),
}

if TYPE_CHECKING:
    Classifier = ClassifierPart
    Regressor = RegressorPart

__all__ = ["Classifier", "Regressor"]


def __getattr__(name: str) -> Any:
    """The class called `name`, made at its first use; UnsupportedError where scikit-learn is missing or too old."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part, mixins = _CLASSES[name]
    try:
        from sklearn import base
        from sklearn.utils.validation import validate_data  # noqa: F401 - came with scikit-learn 1.6
    except ImportError:
        message = f"{__name__}.{name} needs scikit-learn 1.6 or newer"
        raise UnsupportedError(message, hint="pip install tenun[sklearn]") from None
    bases = (part, *(getattr(base, mixin) for mixin in mixins), base.BaseEstimator)
    members = {"__module__": __name__, "__doc__": f"{part.__doc__}{PARAMETERS}"}
    return globals().setdefault(name, type(name, bases, members))  # another thread may have been first


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLASSES})
