"""What a layer is: a dataclass whose fields are Keras' config keys, with its weights and its lowering to core ops.

    @layer
    class Dense(Layer):
        units: int
        activation: Function = "linear"
        use_bias: bool = True
        ...
        def weights(self, x): ...              # declares them, in Keras' variable order
        def lower(self, b, x, w): ...          # Var in, Var out

`LAYERS` is the table of all layers by Keras class name; the Keras frontend, the model-building API and the writer
read it.  Field annotations tell what a key holds: `Function` (an activation) and `Layer` (or a list of them) are looked
at, keys that mean nothing at inference (`Config`: initialisers, regularisers, constraints) are only kept.

How a lowering is run (which weights are at hand, masks, dtypes) is the business of `lowering.py`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, Union

from ..errors import UnsupportedError
from ..ir import Builder, Tensor, Var, dtype
from ..ir.records import dataclass_transform, record
from ..ir.tables import Table, contents
from ..ir.types import DType, string
from .policy import policy

Config = Any  # an initialiser, regulariser or constraint: a name or Keras' serialised dict, kept as it is
Function = Any  # an activation: a name, a Layer, a function f(b, x), or None
Mask = Union[Var, None]
C = TypeVar("C", bound="type[Layer]")


@record
class Weight:
    """A declared variable of a layer.

    `initializer` is Keras' config of one, or a function (shape, dtype, generator) -> array; `adjust` changes the
    initial elements in place.  A `kept` variable changes whenever the layer runs (a seed): it is a state of every
    graph.  `.keras` files have no place for one that is not `stored`; its initialiser is a function.
    """

    name: str
    shape: tuple[Any, ...]
    initializer: Config = "zeros"
    trainable: bool = True
    regularizer: Config = None
    constraint: Config = None
    dtype: str | None = None  # by default the layer's variable dtype
    autocast: bool = True  # whether the lowering sees it in the layer's compute dtype
    adjust: Callable[[Any], None] | None = None
    kept: bool = False
    stored: bool = True


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def layer_base(*, kw_only: bool = False) -> Callable[[C], C]:
    """Make a class a dataclass: its fields only, as all share `Layer.__init__`.

    Generating an __init__ for each of a hundred classes would cost more than reading a model.
    """
    made: Any = dataclass(eq=False, repr=False, init=False, match_args=False, kw_only=kw_only)
    return made


@layer_base()
class Layer:
    """The base of all layers; see the module's text.

    A subclass overrides `weights` and `lower`, and where it has to: `check` (refuse a config by name),
    `compute_mask`, `children`.  `lower` gets the mask of its input if it has a parameter `mask`; `w.training` says
    whether the layer acts as in training.  `values` has the arrays of the layer's own variables by name, once there
    are any.
    """

    name: str | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    dtype: Any = field(default=None, kw_only=True)
    activity_regularizer: Config = field(default=None, kw_only=True)

    supports_masking: ClassVar[bool] = False  # the default `compute_mask` hands the mask on
    autocast: ClassVar[bool] = True  # floating-point inputs come in the compute dtype
    own_result: ClassVar[bool] = False  # Keras' `call` itself casts the result to the layer's own compute dtype
    computes_in: ClassVar[str | None] = None  # set by a layer around it that calls `call` and not the layer
    needs_float: ClassVar[bool] = False  # integer inputs are cast to the compute dtype too
    trains_by_default: ClassVar[bool] = False  # Keras' `call` has training=True: files say so where nobody did
    couples_samples: ClassVar[bool] = False  # in training, a sample's result depends on the others of the batch
    first_argument: ClassVar[str] = "inputs"  # the name of the input in Keras' `call`
    call_arguments: ClassVar[tuple[str, ...]] = ("mask",)  # of Keras' `call`, after the input, in its order
    stored_as: ClassVar[str | None] = None  # the class that Keras knows under `class_name`, if it is called otherwise
    store_path: ClassVar[str] = ""  # where in Keras' object tree, below the layer, its own weights are

    def __init__(self, *values: Any, **keywords: Any) -> None:
        """Fields by position (those that are not keyword-only) or by name; TypeError where they do not fit."""
        cls, known = type(self), dataclasses.fields(self)
        positional = [f.name for f in known if f.init and not f.kw_only]
        given = dict(zip(positional, values))
        wrong = sorted((set(given) | {f.name for f in known if not f.init}) & set(keywords))
        if len(values) > len(positional) or wrong or not set(keywords) <= {f.name for f in known}:
            names = ", ".join(f.name for f in known if f.init)
            raise TypeError(f"{cls.__name__} takes {names}; got {len(values)} values and {sorted(keywords)}")
        given.update(keywords)
        for f in known:
            if f.name in given:
                setattr(self, f.name, _as_config(given[f.name]))
            elif f.default is not dataclasses.MISSING:
                setattr(self, f.name, f.default)
            elif f.default_factory is not dataclasses.MISSING:
                setattr(self, f.name, f.default_factory())
            else:
                raise TypeError(f"{cls.__name__} needs {f.name!r}")
        if self.name is None:
            self.name = unique_name(snake_case(cls.__name__))
        self.values: dict[str, Any] = {}
        self.version = 0  # moved on by whoever changes the values
        self.check()

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        """The layer applied to symbolic tensors (`tenun.Input`), as one more call of a functional model."""
        from .symbolic import record

        return record(self, args, arguments)

    # ---- what subclasses override

    def check(self) -> None:
        """Normalise the fields, and refuse values that are not supported: `self.refuse(key)`."""

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        """The layer's own variables, trainable ones first, in Keras' order."""
        return iter(())

    def lower(self, *args: Any, **arguments: Any) -> Any:
        """lower(b, x, w, [mask, ...]): the layer applied to x (a Var or a list of them), as core ops."""
        raise self.invalid("the class defines no lower()")

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        """The mask of the output y; `mask` is that of the input x (a list where x is one)."""
        return mask if self.supports_masking else None

    def children(self) -> Iterator[tuple[str, Layer | Sequence[Layer]]]:
        """Sub-layers with Keras' attribute names, in the order in which Keras tracks them."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            each = value if isinstance(value, (list, tuple)) else [value]
            if each and all(isinstance(v, Layer) for v in each):
                yield f.name, value

    @property
    def expanded(self) -> Layer:
        """The layer that is lowered and written in this one's place: a model, where this is a recipe for one."""
        return self

    def more_config(self, inline: bool) -> dict[str, Any]:
        """Config keys as a file has them beside the fields or in their place.

        inline: with what goes to assets, in files that can have them.
        """
        return {}

    @property
    def activity(self) -> Config:
        """The regulariser of the layer's output."""
        return self.activity_regularizer

    @property
    def twin(self) -> Layer | None:
        """A layer whose first variable Keras stores among this one's too, as the first."""
        return None

    def as_stored(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """The arrays of the layer's variables as files have them."""
        return arrays

    # ---- what lowerings share

    def weight(self, name: str, shape: tuple[Any, ...], role: str | None = None, **more: Any) -> Weight:
        """A variable with the initialiser, regulariser and constraint of the fields `<role>_initializer`, ...

        The role is by default the name.
        """
        fields = (getattr(self, f"{role or name}_{what}") for what in ("initializer", "regularizer", "constraint"))
        initializer, regularizer, constraint = fields
        return Weight(name, shape, initializer, regularizer=regularizer, constraint=constraint, **more)

    @property
    def class_name(self) -> str:
        """The name under which Keras knows the layer."""
        return type(self).__name__

    @property
    def compute_dtype(self) -> str:
        """The dtype in which the layer computes, by its dtype policy, or by that of the layer around it."""
        return self.computes_in or policy(self.dtype).compute

    @property
    def variable_dtype(self) -> str:
        """The dtype in which the layer keeps its weights, by its dtype policy."""
        return policy(self.dtype).variable

    def refuse(self, key: str, hint: str | None = None) -> None:
        """Raise UnsupportedError that names layer, key and value."""
        message = f"layer {self.name!r} ({self.class_name}): {key}={getattr(self, key)!r} is not supported"
        raise UnsupportedError(message, node=self.name, op=self.class_name, hint=hint)

    def invalid(self, why: str) -> UnsupportedError:
        """An error that names the layer, to be raised."""
        return UnsupportedError(f"layer {self.name!r} ({self.class_name}): {why}", node=self.name, op=self.class_name)


# ---- names ----------------------------------------------------------------------------------------------------

_COUNTS: dict[str, int] = {}


def snake_case(name: str) -> str:
    """Keras' `to_snake_case`: Conv2DTranspose -> conv2d_transpose."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(base: str) -> str:
    """`dense`, `dense_1`, ...: the next name of its kind since the last `clear_session`, as Keras counts."""
    number = _COUNTS[base] = _COUNTS.get(base, -1) + 1
    return f"{base}_{number}" if number else base


def clear_session() -> None:
    """Start counting names anew."""
    _COUNTS.clear()


# ---- the table ------------------------------------------------------------------------------------------------

# file: the layers in it
CONTENTS = {
    "activation": "Activation ReLU LeakyReLU ELU ThresholdedReLU PReLU Softmax",
    "applications": "LayerScale StochasticDepth CustomScaleLayer",
    "attention": "MultiHeadAttention GroupQueryAttention GroupedQueryAttention Attention AdditiveAttention",
    "audio": "MelSpectrogram STFTSpectrogram",
    "augmentation.colour": (
        "RandomBrightness RandomContrast RandomColorDegeneration RandomHue RandomSaturation RandomGrayscale "
        "RandomInvert RandomPosterization Solarization RandomColorJitter"
    ),
    "augmentation.erasing": "RandomErasing",
    "augmentation.filters": "RandomGaussianBlur RandomSharpness",
    "augmentation.geometry": (
        "RandomFlip RandomCrop RandomRotation RandomShear RandomTranslation RandomZoom RandomPerspective "
        "RandomElasticTransform"
    ),
    "augmentation.histograms": "AutoContrast Equalization ContrastLimitedAdaptiveHistogramEqualization",
    "augmentation.mixing": "MixUp CutMix",
    "augmentation.policies": "RandAugment AugMix",
    "category": "CategoryEncoding Discretization Hashing HashedCrossing",
    "conv": (
        "Conv1D Convolution1D Conv2D Convolution2D Conv3D Convolution3D Conv1DTranspose Convolution1DTranspose "
        "Conv2DTranspose Convolution2DTranspose Conv3DTranspose Convolution3DTranspose DepthwiseConv1D "
        "DepthwiseConv2D SeparableConv1D SeparableConvolution1D SeparableConv2D SeparableConvolution2D"
    ),
    "conv_recurrent": "ConvLSTM1D ConvLSTM2D ConvLSTM3D",
    "core": "Dense Embedding ReversibleEmbedding Masking Identity",
    "einsum": "EinsumDense",
    "features": "Pipeline MaxNumBoundingBoxes TFDIdentity TFDConcat Feature Cross FeatureSpace",
    "input": "InputLayer",
    "lookup": "StringLookup IntegerLookup",
    "merge": "Add Subtract Average Multiply Maximum Minimum Concatenate Dot",
    "model": "Functional Sequential",
    "norm": "BatchNormalization LayerNormalization RMSNormalization GroupNormalization UnitNormalization",
    "pool": (
        "MaxPooling1D MaxPool1D MaxPooling2D MaxPool2D MaxPooling3D MaxPool3D AveragePooling1D AvgPool1D "
        "AveragePooling2D AvgPool2D AveragePooling3D AvgPool3D GlobalMaxPooling1D GlobalMaxPool1D "
        "GlobalMaxPooling2D GlobalMaxPool2D GlobalMaxPooling3D GlobalMaxPool3D GlobalAveragePooling1D "
        "GlobalAvgPool1D GlobalAveragePooling2D GlobalAvgPool2D GlobalAveragePooling3D GlobalAvgPool3D "
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D "
        "AdaptiveMaxPooling2D AdaptiveMaxPooling3D"
    ),
    "preprocessing": "Rescaling Normalization",
    "recurrent": "SimpleRNNCell LSTMCell GRUCell StackedRNNCells SimpleRNN LSTM GRU RNN",
    "regularization": (
        "Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D SpatialDropout3D "
        "ActivityRegularization"
    ),
    "reshape": (
        "Flatten Reshape Permute RepeatVector ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D "
        "Cropping3D UpSampling1D UpSampling2D UpSampling3D"
    ),
    "resizing": "CenterCrop Resizing",
    "spectral": "SpectralNormalization",
    "text": "TextVectorization",
    "wrappers": "Bidirectional TimeDistributed",
}
LAYERS: Table[str, type[Layer]] = Table(__package__, CONTENTS, contents(CONTENTS))


def is_of(value: Any, file: str, name: str) -> bool:
    """Whether a value is of a class of a file of layers, which is not imported for that: before, there can be none."""
    module = sys.modules.get(f"{__package__}.{file}")
    return module is not None and isinstance(value, getattr(module, name))


def _as_config(value: Any) -> Any:
    """A field as layers keep it: a model is the layer that defines it, an initialiser (or the like) its config."""
    if isinstance(value, (list, tuple)):
        return type(value)(_as_config(v) for v in value) if not hasattr(value, "_fields") else value
    table = getattr(type(value), "table", None)
    return table.serialize(value) if table is not None else getattr(value, "definition", value)


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def layer(*aliases: Any) -> Any:
    """Make a class a dataclass and enter it into LAYERS, also under Keras' other names for it."""

    def register(cls: C) -> C:
        made: Any = layer_base()(cls)
        for name in (made.__name__, *names):
            assert name not in LAYERS, f"layer {name} is registered twice"
            LAYERS[name] = made
        return made

    if len(aliases) == 1 and isinstance(aliases[0], type):
        names: tuple[str, ...] = ()
        return register(aliases[0])
    names = aliases
    return register


def config_fields(cls: type[Layer]) -> dict[str, dataclasses.Field[Any]]:
    """The config keys that a layer class knows."""
    return {f.name: f for f in dataclasses.fields(cls) if f.init}


# ---- small things that layers share ---------------------------------------------------------------------------


def integers(layer: Layer, key: str, rank: int) -> tuple[int, ...]:
    """A field given as one integer or as `rank` of them, as a tuple."""
    value = getattr(layer, key)
    if isinstance(value, int):
        return (value,) * rank
    if not isinstance(value, (list, tuple)) or len(value) != rank or not all(isinstance(v, int) for v in value):
        raise layer.invalid(f"{key}={value!r} is not one integer or {rank} of them")
    return tuple(value)


def to_last(b: Builder, x: Var, data_format: str | None) -> Var:
    """x with its channels as the last axis."""
    rank = len(x.shape)
    return b.transpose(x, perm=(0, *range(2, rank), 1)) if data_format == "channels_first" and rank > 2 else x


def from_last(b: Builder, x: Var, data_format: str | None) -> Var:
    """The inverse of `to_last`."""
    rank = len(x.shape)
    first = data_format == "channels_first" and rank > 2
    return b.transpose(x, perm=(0, rank - 1, *range(1, rank - 1))) if first else x


def channel_axis(data_format: str | None) -> int:
    """The axis of the channels in an input of a layer with `data_format`."""
    return 1 if data_format == "channels_first" else -1


def as_dtype(b: Builder, x: Var, name: Any) -> Var:
    """x in the dtype called `name`."""
    wanted = dtype(name)
    return x if x.tensor.dtype is wanted else b.cast(x, to=wanted)


def dtype_name(of: DType) -> str:
    """The name by which Keras knows a dtype."""
    return "string" if of is string else of.numpy_name


def is_float(x: Var) -> bool:
    """Whether x is a floating-point tensor."""
    return isinstance(x.type, Tensor) and x.type.dtype.is_float


def map_structure(function: Callable[..., Any], x: Any) -> Any:
    """The nested lists, tuples and dicts x with every leaf changed."""
    if isinstance(x, dict):
        return {k: map_structure(function, v) for k, v in x.items()}
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(map_structure(function, v) for v in x)
    return function(x)


def flatten(x: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts; dicts in the order of their sorted keys, as Keras does."""
    if isinstance(x, dict):
        return [leaf for key in sorted(x) for leaf in flatten(x[key])]
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return [leaf for v in x for leaf in flatten(v)]
    return [x]
