"""Preprocessing put together: Pipeline, FeatureSpace and what it consists of; MaxNumBoundingBoxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from .base import Layer, layer, unique_name
from .category import CategoryEncoding, Discretization, HashedCrossing, Hashing
from .input import InputLayer
from .lookup import IntegerLookup, StringLookup
from .lowering import Value
from .model import Call, Functional, Ref
from .order import keras_order
from .preprocessing import Normalization, Rescaling
from .symbolic import Input

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class Pipeline(Layer):
    """Layers one after another; as Sequential, but no model."""

    layers: list[Layer]
    autocast: ClassVar[bool] = False
    trains_by_default: ClassVar[bool] = True

    def lower(self, b: Builder, x: Any, w: Scope, mask: Any = None) -> Any:
        value: Any = Value(x, mask)
        for each in self.layers:
            value = w.call(each, value)
        return value


@layer
class MaxNumBoundingBoxes(Layer):
    """Bounding boxes cut to, or filled up to, max_number ones for each image; images, and all else, as they are.

    Takes images, or a dict of `images` and perhaps `bounding_boxes` (a dict of `boxes`, (N, B, 4), and `labels`,
    (N, B)), `labels`, `segmentation_masks`.  Keras does not save `fill_value`: read from a file it is -1.
    """

    max_number: int
    fill_value: int = -1
    bounding_box_format: str | None = None
    data_format: str | None = None

    def check(self) -> None:
        if not isinstance(self.max_number, int) or self.max_number < 0:
            self.refuse("max_number")

    def lower(self, b: Builder, x: Any, w: Scope) -> Any:
        if not isinstance(x, dict) or "bounding_boxes" not in x:
            return x
        if not self.bounding_box_format:
            raise self.invalid("takes bounding boxes only with a bounding_box_format, as Keras does")
        boxes = {key: self._fitted(b, value) for key, value in x["bounding_boxes"].items()}
        return {**x, "bounding_boxes": boxes}

    def _fitted(self, b: Builder, x: Var) -> Var:
        """x with max_number places along axis 1."""
        rest = len(x.shape) - 2
        fill = np.array(self.fill_value, x.tensor.dtype.numpy)
        filled = b.pad(x, fill, pads=((0, 0), (0, self.max_number), *((0, 0),) * rest))
        return b.slice(filled, starts=(0,), ends=(self.max_number,), axes=(1,))  # type: ignore[no-any-return]


# ---- feature spaces -------------------------------------------------------------------------------------------


@layer
class TFDIdentity(Layer):
    """x itself: the preprocessor of a plain feature."""

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return x


@layer
class TFDConcat(Layer):
    """The features one after another."""

    axis: int = -1

    def lower(self, b: Builder, x: Any, w: Scope) -> Var:
        return b.concat(*x, axis=self.axis)  # type: ignore[no-any-return]


@layer
class Feature(Layer):
    """A feature of a FeatureSpace: its dtype, what is done to it, and whether that is encoded further.

    output_mode: int or float as it is, one_hot as zeros and a one.
    """

    dtype: Any = None
    preprocessor: Layer | None = None
    output_mode: str = "float"

    def check(self) -> None:
        if self.output_mode not in ("int", "one_hot", "float"):
            self.refuse("output_mode", hint="int, one_hot or float")
        if self.preprocessor is None:
            raise self.invalid("needs a preprocessor")


@layer
class Cross(Layer):
    """Features of a FeatureSpace that are hashed together into crossing_dim places."""

    feature_names: Sequence[str]
    crossing_dim: int
    output_mode: str = "one_hot"

    def check(self) -> None:
        self.name = "_X_".join(self.feature_names)
        if self.output_mode not in ("int", "one_hot"):
            self.refuse("output_mode", hint="int or one_hot")


@layer
class FeatureSpace(Layer):
    """Features by name, each preprocessed, crossed and encoded as it says: in one vector, or in a dict.

    features: names with the names of kinds (`KINDS`, with their defaults) or what the class methods of those names
    make.  Vectors are in the order of the features' names, crosses behind them.  It takes a dict of columns, of shape
    (N) or (N, 1).  `expanded` is the model that it is.
    """

    features: dict[str, Layer]
    output_mode: str = "concat"
    crosses: list[Layer] | None = None
    crossing_dim: int = 32
    hashing_dim: int = 32
    num_discretization_bins: int = 32

    def check(self) -> None:
        if self.output_mode not in ("concat", "dict"):
            self.refuse("output_mode", hint="concat or dict")
        if not self.features:
            self.refuse("features", hint="give one or more")
        self.features = {name: self._feature(name, given) for name, given in self.features.items()}
        self.crosses = [self._cross(given) for given in self.crosses or ()]
        self._definition: tuple[Any, Functional] | None = None
        self._inputs: dict[str, Any] = {}

    def _feature(self, name: str, given: Any) -> Feature:
        if isinstance(given, Feature):
            return given
        if given not in KINDS:
            raise self.invalid(f"feature {name!r} is {given!r}; it is a feature or one of {', '.join(KINDS)}")
        sizes = {"float_discretized": self.num_discretization_bins}
        sizes.update(dict.fromkeys(("integer_hashed", "string_hashed"), self.hashing_dim))
        size = {"num_bins": sizes[given]} if given in sizes else {}
        made: Feature = KINDS[given](name=name, **size)
        return made

    def _cross(self, given: Any) -> Cross:
        cross = given if isinstance(given, Cross) else Cross(list(given), self.crossing_dim)
        unknown = sorted(set(cross.feature_names) - set(self.features))
        if unknown:
            raise self.invalid(f"the cross {cross.name!r} is of features that are not there: {', '.join(unknown)}")
        return cross

    @property
    def preprocessors(self) -> dict[str, Layer]:
        """The layer of each feature."""
        return {name: feature.preprocessor for name, feature in self.features.items()}  # type: ignore[attr-defined]

    def children(self) -> Iterator[tuple[str, Any]]:
        yield "preprocessors", list(self.preprocessors.values())

    def adapt(self, data: dict[str, Any]) -> None:
        """Let each preprocessor that can learn from the columns (arrays of shape (N) or (N, 1)).

        In the batches in which Keras does it: of 32 numbers, or of one row (keras/.../feature_space.py).
        """
        for name, each in self.preprocessors.items():
            given = getattr(each, "mean", None) is not None or getattr(each, "vocabulary", None) is not None
            fixed = getattr(each, "bin_boundaries", None) is not None and getattr(each, "num_bins", None) is None
            if hasattr(each, "adapt") and not given and not fixed:
                column = np.asarray(data[name])
                size = 32 if column.ndim == 1 else 1
                rows = column.reshape(len(column), -1)
                each.adapt([rows[i : i + size] for i in range(0, len(rows), size)])

    # ---- the model

    def lower(self, b: Builder, x: Any, w: Scope) -> Any:
        return self.expanded.lower(b, x, w)

    def get_inputs(self) -> dict[str, Any]:
        """A `tenun.Input` for each feature, to build a model on; always the same ones."""
        if not self._inputs:
            self._inputs = {n: Input((1,), dtype=f.dtype, name=n) for n, f in self.features.items()}
        return dict(self._inputs)

    def get_encoded_features(self) -> Any:
        """What the feature space makes of those inputs."""
        return self(self.get_inputs())

    @property
    def expanded(self) -> Functional:
        """The functional model of these features, with an input (N, 1) for each; the same one while nothing changes."""
        versions = [each.version for each in self.preprocessors.values()]
        if self._definition is None or self._definition[0] != versions:
            self._definition = versions, self._model()
        return self._definition[1]

    def _model(self) -> Functional:
        specs: dict[str, Any] = dict(self.features)
        inputs = [InputLayer(name=name, batch_shape=[None, 1], dtype=f.dtype) for name, f in specs.items()]
        layers: list[Layer] = [*inputs, *self.preprocessors.values()]
        calls = [Call(each.name, [Ref(name)], {}) for name, each in self.preprocessors.items()]  # type: ignore[arg-type]
        ends = {name: Ref(each.name or "") for name, each in self.preprocessors.items()}
        ranked = sorted(specs)
        for cross in sorted(self.crosses or (), key=lambda c: str(c.name)):
            crosser = HashedCrossing(cross.crossing_dim, name=cross.name)  # type: ignore[attr-defined]
            calls.append(Call(crosser.name or "", [[ends[n] for n in cross.feature_names]], {}))  # type: ignore[attr-defined]
            layers.append(crosser)
            ends[crosser.name or ""], specs[crosser.name or ""] = Ref(crosser.name or ""), cross
            ranked.append(crosser.name or "")
        by_name = {each.name: each for each in layers}
        for name in ranked:
            if specs[name].output_mode == "one_hot":
                encoder = CategoryEncoding(self._cardinality(name, by_name[ends[name].layer]), name=f"{name}_one_hot")
                layers.append(encoder)
                calls.append(Call(encoder.name or "", [ends[name]], {}))
                ends[name] = Ref(encoder.name or "")
        outputs: Any = {name: ends[name] for name in ranked}
        if self.output_mode == "concat":
            joined = TFDConcat(name=unique_name("tfd_concat"))
            layers.append(joined)
            calls.append(Call(joined.name or "", [list(outputs.values())], {}))
            outputs = Ref(joined.name or "")
        inputs_by_name = {name: Ref(name) for name in self.features}
        model = Functional(
            name=self.name, layers=layers, calls=calls, input_layers=inputs_by_name, output_layers=outputs
        )
        model.layers = keras_order(model)
        return model

    def _cardinality(self, name: str, each: Layer) -> int:
        """How many categories a layer tells apart."""
        found = getattr(each, "cardinality", getattr(each, "num_tokens", None))
        if found is None:
            raise self.invalid(f"feature {name!r}: how many categories {each.class_name} gives is not known; use 'int'")
        return int(found)


def _made(dtype: str, preprocessor: Callable[..., Layer], mode: str) -> Callable[..., Feature]:
    """A kind of feature: its arguments are those of the preprocessor, name and output_mode."""

    def make(*values: Any, name: str | None = None, output_mode: str = mode, **arguments: Any) -> Feature:
        name = name or unique_name("feature")
        made = preprocessor(*values, name=f"{name}_preprocessor", **arguments)
        return Feature(dtype=dtype, preprocessor=made, output_mode=output_mode)

    return make


# kind of feature: what makes one (keras.utils.FeatureSpace has class methods of these names)
KINDS: dict[str, Callable[..., Feature]] = {
    "float": _made("float32", TFDIdentity, "float"),
    "float_rescaled": _made("float32", lambda scale=1.0, offset=0.0, **k: Rescaling(scale, offset, **k), "float"),
    "float_normalized": _made("float32", Normalization, "float"),
    "float_discretized": _made(
        "float32",
        lambda num_bins=None, bin_boundaries=None, **k: Discretization(bin_boundaries, num_bins, **k),
        "one_hot",
    ),
    "integer_categorical": _made("int32", IntegerLookup, "one_hot"),
    "string_categorical": _made("string", StringLookup, "one_hot"),
    "integer_hashed": _made("int32", Hashing, "one_hot"),
    "string_hashed": _made("string", Hashing, "one_hot"),
}


def _cross(feature_names: Sequence[str], crossing_dim: int, output_mode: str = "one_hot") -> Cross:
    """Features that are crossed."""
    return Cross(list(feature_names), crossing_dim, output_mode)


def _feature(dtype: str, preprocessor: Layer, output_mode: str) -> Feature:
    """A feature with a preprocessor of one's own."""
    return Feature(dtype=dtype, preprocessor=preprocessor, output_mode=output_mode)


_MAKERS: dict[str, Callable[..., Any]] = {**KINDS, "cross": _cross, "feature": _feature}
for _name, _make in _MAKERS.items():
    setattr(FeatureSpace, _name, staticmethod(_make))
