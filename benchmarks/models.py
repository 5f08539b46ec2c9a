"""The models that are measured: one row each in CASES.

Keras builds them with random weights and a fixed seed; batch-norm statistics are random and positive, biases are not
zero.  SqueezeNet and ShuffleNet come with the onnx package, as structures whose weights are filled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .light import Fill, onnx_light, scale, shift

Array = np.ndarray[Any, Any]
Inputs = Callable[[int], Array]

SEED = 1
TOKENS, STEPS = 5000, 100  # of a vocabulary, of a sequence
CELLS = 8  # along each side of an image
SEEN = 8  # samples from which batch normalisation has its statistics
SMALL, MIDDLE, LARGE = (1, 8, 64, 256), (1, 8, 64), (1, 8)  # batch sizes that are measured where none are asked for


@dataclass(frozen=True)
class Case:
    """A model to measure: its family (for targets and plots), how to build it, inputs for a batch, its batch sizes, and
    what is built: a `keras` model or an `onnx` ModelProto.
    """

    name: str
    family: str
    build: Callable[[], Any]
    inputs: Inputs
    batches: Sequence[int] = SMALL
    source: str = "keras"

    def make(self) -> Any:
        """The model with its weights, the same every time."""
        if self.source == "onnx":
            return self.build()
        import keras

        keras.utils.set_random_seed(SEED)
        return randomised(self.build(), self.inputs(SEEN))


# ---- inputs


@dataclass(frozen=True)
class Uniform:
    """Floats from 0 to 1, always the same."""

    size: int

    def __call__(self, batch: int) -> Array:
        return np.random.default_rng(0).random((batch, self.size), np.float32)


@dataclass(frozen=True)
class Images:
    """Squares of three colours from 0 to `high`, always the same; channels last, or `first`.

    Coarse cells in the colours of the image, and noise: what is noise only looks all the same to a deep net, whose
    outputs would tell little about an error.
    """

    side: int
    high: float = 1.0
    first: bool = False

    def __call__(self, batch: int) -> Array:
        generator = np.random.default_rng(0)
        times = -(-self.side // CELLS)
        cells = generator.random((batch, CELLS, CELLS, 3)) * generator.random((batch, 1, 1, 3))
        coarse = cells.repeat(times, 1).repeat(times, 2)[:, : self.side, : self.side]
        x = (self.high * (0.8 * coarse + 0.2 * generator.random(coarse.shape))).astype(np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.first else x


@dataclass(frozen=True)
class Tokens:
    """Integers below TOKENS, always the same."""

    length: int

    def __call__(self, batch: int) -> Array:
        return np.random.default_rng(0).integers(0, TOKENS, (batch, self.length)).astype(np.int32)


# ---- Keras models


def mlp() -> Any:
    """784-512-512-10."""
    import keras
    from keras import layers

    hidden = [layers.Dense(512, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10, activation="softmax")])


def cnn(blocks: Sequence[Sequence[int]], dense: int) -> Any:
    """Blocks of 3×3 convolutions and a pooling, then two dense layers, on 32×32×3."""
    import keras
    from keras import layers

    parts: list[Any] = [keras.Input((32, 32, 3))]
    for block in blocks:
        parts += [layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in block]
        parts.append(layers.MaxPooling2D())
    parts += [layers.Flatten(), layers.Dense(dense, activation="relu"), layers.Dense(10, activation="softmax")]
    return keras.Sequential(parts)


def recurrent(layer: str, units: int, bidirectional: bool = False) -> Any:
    """Embedding(100), a recurrent layer over STEPS steps, Dense."""
    import keras
    from keras import layers

    inner = getattr(layers, layer)(units)
    source = keras.Input((STEPS,), dtype="int32")
    middle = layers.Bidirectional(inner) if bidirectional else inner
    return keras.Sequential([source, layers.Embedding(TOKENS, 100), middle, layers.Dense(3, activation="softmax")])


def transformer(blocks: int = 4, steps: int = 128, width: int = 256, heads: int = 8) -> Any:
    """An encoder: self-attention and a feed-forward net of four times the width in each block, normalised after.

    Attention is written out in `keras.ops`, for all peers alike.
    """
    import keras
    from keras import layers, ops

    def projected(x: Any) -> Any:
        return ops.transpose(ops.reshape(layers.Dense(width)(x), (-1, steps, heads, width // heads)), (0, 2, 1, 3))

    def attention(x: Any) -> Any:
        query, key, value = (projected(x) for _ in range(3))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * (width // heads) ** -0.5
        mixed = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
        return layers.Dense(width)(ops.reshape(mixed, (-1, steps, width)))

    source = keras.Input((steps,), dtype="int32")
    x = layers.Embedding(TOKENS, width)(source)
    for _ in range(blocks):
        x = layers.LayerNormalization(epsilon=1e-6)(x + attention(x))
        inner = layers.Dense(width)(layers.Dense(4 * width, activation="relu")(x))
        x = layers.LayerNormalization(epsilon=1e-6)(x + inner)
    return keras.Model(source, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def unet(size: int = 128, widths: Sequence[int] = (16, 32, 64, 128)) -> Any:
    """Two normalised convolutions a level, pooling on the way down and transposed convolutions on the way up."""
    import keras
    from keras import layers

    def level(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    x = source = keras.Input((size, size, 3))
    kept = []
    for filters in widths[:-1]:
        x = level(x, filters)
        kept.append(x)
        x = layers.MaxPooling2D()(x)
    x = level(x, widths[-1])
    for filters, beside in zip(widths[-2::-1], reversed(kept)):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = level(layers.Concatenate()([x, beside]), filters)
    return keras.Model(source, layers.Conv2D(1, 1, activation="sigmoid")(x))


def application(name: str) -> Any:
    """A model of `keras.applications` for 1000 classes."""
    from keras import applications

    return getattr(applications, name)(weights=None)


# ---- weights

FILL: dict[str, Fill] = {"gamma": scale, "beta": shift, "bias": shift}  # by the name of the variable


def randomised(live: Any, x: Array) -> Any:
    """The Keras model with random numbers where Keras puts zeros and ones, and statistics for inputs like x."""
    generator = np.random.default_rng(SEED)
    for variable in live.variables:
        if variable.name in FILL:
            variable.assign(FILL[variable.name](generator, tuple(variable.shape)))
    _gather_statistics(live, x)
    return live


def _gather_statistics(live: Any, x: Array) -> None:
    """Batch normalisation gets the mean and variance of what it sees; else deep nets forget their inputs on the way."""
    layers = [layer for layer in live._flatten_layers() if hasattr(layer, "moving_variance")]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    if layers:
        live(x, training=True)
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum


# ---- the table

FAMILIES = {
    "cnn": "The report's CNNs",
    "recurrent": "Recurrent nets over 100 steps",
    "dense": "MLP and Transformer",
    "large": "Large CNNs",
    "other": "U-Net, SqueezeNet, ShuffleNet",
}

_32, _224, _299 = (Images(side) for side in (32, 224, 299))
_224_FIRST = Images(224, first=True)
_WORDS = Tokens(STEPS)

CASES = {
    case.name: case
    for case in (
        Case("mlp", "dense", mlp, Uniform(784)),
        Case("transformer", "dense", transformer, Tokens(128), MIDDLE),
        Case("default_cnn", "cnn", partial(cnn, ((32,), (64,)), 64), _32),
        Case("final_cnn", "cnn", partial(cnn, ((64, 64), (128, 128), (256, 256)), 512), _32),
        *(
            Case(f"{name}{units}", "recurrent", partial(recurrent, layer, units, name == "bilstm"), _WORDS)
            for units in (32, 128)
            for name, layer in {"rnn": "SimpleRNN", "lstm": "LSTM", "bilstm": "LSTM", "gru": "GRU"}.items()
        ),
        Case("mobilenet_v2", "large", partial(application, "MobileNetV2"), _224, LARGE),
        Case("resnet50", "large", partial(application, "ResNet50"), _224, LARGE),
        Case("densenet121", "large", partial(application, "DenseNet121"), _224, LARGE),
        Case("efficientnet_b0", "large", partial(application, "EfficientNetB0"), Images(224, 255.0), LARGE),
        Case("vgg16", "large", partial(application, "VGG16"), _224, LARGE),
        Case("inception_v3", "large", partial(application, "InceptionV3"), _299, LARGE),
        Case("unet", "other", unet, Images(128), LARGE),
        Case("squeezenet", "other", partial(onnx_light, "squeezenet", SEED), _224_FIRST, LARGE, "onnx"),
        Case("shufflenet", "other", partial(onnx_light, "shufflenet", SEED), _224_FIRST, LARGE, "onnx"),
    )
}

QUICK = ("mlp", "default_cnn", "bilstm32", "squeezenet")  # one of every kind

# what is trained: a case, its batch sizes, its number of classes
TRAINED = {
    name: (CASES[name], batches, classes)
    for name, batches, classes in (
        ("final_cnn", (32, 64), 10),
        ("default_cnn", (64,), 10),
        ("bilstm32", (32, 64), 3),
        ("gru32", (32, 64), 3),
        ("mlp", (128,), 10),
    )
}
