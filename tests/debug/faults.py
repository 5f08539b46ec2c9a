"""Eight good models, and forty ways to break one thing in them.

A model is a table of layers, so that a fault is a change of the table (an option, a layer removed, two swapped) or of
the weights.  Weights are seeded by the names of their layers: what a fault does not touch stays as it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tenun
from tenun import layers as L  # noqa: N812

Array = np.ndarray[Any, Any]


@dataclass
class Spec:
    """A row: a layer's name, its class, its options, and what it reads (by default the row before)."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()


Table = list[Spec]
Weights = dict[str, Array]


def row(name: str, kind: str, *reads: str, **options: Any) -> Spec:
    return Spec(name, kind, options, reads)


def image(name: str = "image") -> Spec:
    return row(name, "Input", shape=(10, 12, 3))


MODELS: dict[str, Table] = {
    "mlp": [
        row("x", "Input", shape=(9,)),
        row("first", "Dense", units=7, activation="relu"),
        row("second", "Dense", units=7, activation="tanh"),
        row("third", "Dense", units=7, activation="elu"),
        row("last", "Dense", units=4, activation="softmax"),
    ],
    "cnn": [
        image(),
        row("conv_1", "Conv2D", filters=6, kernel_size=3, padding="same", use_bias=False),
        row("norm_1", "BatchNormalization"),
        row("relu_1", "ReLU"),
        row("pool", "MaxPooling2D", pool_size=2),
        row("conv_2", "Conv2D", filters=8, kernel_size=3, padding="same"),
        row("norm_2", "BatchNormalization"),
        row("relu_2", "ReLU", max_value=6.0),
        row("gap", "GlobalAveragePooling2D"),
        row("head", "Dense", units=5),
    ],
    "residual": [
        image(),
        row("stem", "Conv2D", filters=6, kernel_size=3, padding="same", activation="relu"),
        row("left", "Conv2D", filters=6, kernel_size=3, padding="same", activation="relu"),
        row("right", "Conv2D", filters=6, kernel_size=3, padding="same"),
        row("join", "Add", "stem", "right"),
        row("act", "LeakyReLU", negative_slope=0.2),
        row("flat", "Flatten"),
        row("out", "Dense", units=3),
    ],
    "mobile": [
        image(),
        row("wide", "SeparableConv2D", filters=6, kernel_size=3, padding="same"),
        row("deep", "DepthwiseConv2D", kernel_size=3, padding="same"),
        row("act", "Activation", activation="swish"),
        row("down", "AveragePooling2D", pool_size=2),
        row("crop", "Cropping2D", cropping=((1, 0), (0, 1))),
        row("gap", "GlobalMaxPooling2D"),
        row("head", "Dense", units=4, activation="sigmoid"),
    ],
    "text": [
        row("tokens", "Input", shape=(11,), dtype="int32"),
        row("words", "Embedding", input_dim=23, output_dim=6),
        row("memory", "LSTM", units=5, return_sequences=True),
        row("more", "LSTM", units=5),
        row("scores", "Dense", units=3),
    ],
    "series": [
        row("x", "Input", shape=(8, 4)),
        row("gru", "GRU", units=6, return_sequences=True),
        row("norm", "LayerNormalization"),
        row("conv", "Conv1D", filters=6, kernel_size=3, padding="causal"),
        row("mean", "GlobalAveragePooling1D"),
        row("out", "Dense", units=2),
    ],
    "attention": [
        row("x", "Input", shape=(7, 8)),
        row("look", "MultiHeadAttention", "x", "x", num_heads=2, key_dim=4),
        row("add", "Add", "x", "look"),
        row("norm", "LayerNormalization", epsilon=1e-3),
        row("wide", "Dense", units=16, activation="gelu"),
        row("narrow", "Dense", units=8),
        row("scale", "Rescaling", scale=0.5),
        row("out", "Add", "scale", "norm"),
    ],
    "pair": [
        row("one", "Input", shape=(6,)),
        row("two", "Input", shape=(6,)),
        row("a", "Dense", "one", units=5, activation="relu"),
        row("b", "Dense", "two", units=5, activation="relu"),
        row("both", "Concatenate", "a", "b"),
        row("out", "Dense", units=3),
    ],
}


def build(table: Table, weights: Callable[[Weights], None] | None = None) -> tenun.Model:
    """The model of a table; `weights` may change them."""
    made: dict[str, Any] = {}
    inputs = []
    for before, each in zip([None, *table], table):
        if each.kind == "Input":
            made[each.name] = tenun.Input(name=each.name, **each.options)
            inputs.append(made[each.name])
            continue
        reads = each.reads or ((before.name,) if before else ())
        values = [made[r] for r in reads]
        layer = getattr(L, each.kind)(name=each.name, **each.options)
        call = each.kind == "MultiHeadAttention"
        made[each.name] = layer(*values) if call or len(values) == 1 else layer(values)
    model = tenun.Model(inputs if len(inputs) > 1 else inputs[0], made[table[-1].name], name="model")
    found = {p.name: seeded(p.name, p.shape) for p in model.weights}
    if weights is not None:
        weights(found)
    for parameter in model.weights:
        parameter.assign(found[parameter.name])
    return model


def seeded(name: str, shape: tuple[int, ...]) -> Array:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith(("variance", "gamma")):
        return generator.uniform(0.3, 1.2, shape).astype(np.float32)
    fan = max(1, int(np.prod(shape[:-1])))
    return (generator.standard_normal(shape) / np.sqrt(fan if len(shape) > 1 else 4)).astype(np.float32)


# ---- faults


@dataclass(frozen=True)
class Fault:
    """A model, what is done to it, the layer to be named (or the two), and the kind of change."""

    model: str
    layers: tuple[str, ...]
    kind: str
    what: str
    change: Callable[[Table], None] | None = None
    weights: Callable[[Weights], None] | None = None

    def broken(self) -> tenun.Model:
        table = [Spec(r.name, r.kind, dict(r.options), r.reads) for r in MODELS[self.model]]
        if self.change is not None:
            self.change(table)
        return build(table, self.weights)

    def __str__(self) -> str:
        return f"{self.model}-{self.layers[0]}-{self.what}".replace(" ", "_")


def option(model: str, layer: str, **options: Any) -> Fault:
    def change(table: Table) -> None:
        next(r for r in table if r.name == layer).options.update(options)

    return Fault(model, (layer,), "option", "=".join(map(str, next(iter(options.items())))), change)


def removed(model: str, layer: str) -> Fault:
    def change(table: Table) -> None:
        place = next(i for i, r in enumerate(table) if r.name == layer)
        before = table[place].reads or (table[place - 1].name,)
        del table[place]
        for each in table:
            each.reads = tuple(before[0] if name == layer else name for name in each.reads)

    return Fault(model, (layer,), "removed", "removed", change)


def added(model: str, layer: str, after: str, kind: str, **options: Any) -> Fault:
    def change(table: Table) -> None:
        table.insert(1 + next(i for i, r in enumerate(table) if r.name == after), row(layer, kind, **options))

    return Fault(model, (layer,), "added", "added", change)


def swapped(model: str, one: str, two: str) -> Fault:
    """Two layers that follow each other change places."""

    def change(table: Table) -> None:
        i, j = (next(k for k, r in enumerate(table) if r.name == name) for name in (one, two))
        table[i], table[j] = table[j], table[i]

    return Fault(model, (one,), "moved", f"swapped with {two}", change)


def rewired(model: str, layer: str, *reads: str) -> Fault:
    def change(table: Table) -> None:
        next(r for r in table if r.name == layer).reads = reads

    return Fault(model, (layer,), "moved", "rewired", change)


def weights(model: str, layer: str, weight: str, what: str, change: Callable[[Array], Array]) -> Fault:
    def apply(found: Weights) -> None:
        name = f"{layer}.{weight}"
        found[name] = np.ascontiguousarray(change(found[name]))

    return Fault(model, (layer,), "weights", f"{weight} {what}", None, apply)


def exchanged(model: str, one: str, two: str, weight: str) -> Fault:
    """Two layers get each other's weights."""

    def apply(found: Weights) -> None:
        a, b = f"{one}.{weight}", f"{two}.{weight}"
        found[a], found[b] = found[b], found[a]

    return Fault(model, (one, two), "weights", f"{weight} of {two}", None, apply)


def one_element(w: Array) -> Array:
    out = w.copy()
    out.reshape(-1)[w.size // 2] += 0.5
    return out


def noise(w: Array) -> Array:
    return w + 0.05 * np.random.default_rng(5).standard_normal(w.shape).astype(np.float32)


def gates(*order: int) -> Callable[[Array], Array]:
    def change(w: Array) -> Array:
        blocks = np.split(w, len(order), -1)
        return np.concatenate([blocks[i] for i in order], -1)

    return change


FAULTS = [
    weights("mlp", "second", "kernel", "perturbed", noise),
    weights("mlp", "second", "kernel", "transposed", np.transpose),
    weights("mlp", "last", "bias", "one element", one_element),
    exchanged("mlp", "second", "third", "kernel"),
    option("mlp", "third", activation="selu"),
    option("mlp", "first", activation="linear"),
    removed("mlp", "third"),
    swapped("mlp", "second", "third"),
    weights("cnn", "conv_2", "kernel", "transposed", lambda w: w.transpose(1, 0, 2, 3)),
    weights("cnn", "norm_1", "moving_mean", "stale", np.zeros_like),
    weights("cnn", "norm_2", "moving_variance", "stale", np.ones_like),
    option("cnn", "norm_1", epsilon=1e-2),
    option("cnn", "norm_2", epsilon=1e-5),
    option("cnn", "conv_1", strides=2),
    option("cnn", "conv_2", padding="valid"),
    option("cnn", "relu_2", max_value=1.0),
    removed("cnn", "relu_1"),
    removed("cnn", "norm_2"),
    added("cnn", "extra", "relu_1", "ReLU", max_value=0.5),
    option("residual", "act", negative_slope=0.3),
    option("residual", "right", dilation_rate=2),
    removed("residual", "act"),
    rewired("residual", "join", "left", "right"),
    weights("residual", "left", "bias", "zeroed", np.zeros_like),
    weights("mobile", "wide", "pointwise_kernel", "flipped", lambda w: w[..., ::-1]),
    weights("mobile", "deep", "kernel", "flipped", lambda w: w[::-1]),
    option("mobile", "crop", cropping=((0, 1), (0, 1))),
    option("mobile", "act", activation="hard_sigmoid"),
    option("mobile", "head", activation="tanh"),
    weights("text", "memory", "kernel", "gates swapped", gates(0, 1, 3, 2)),
    weights("text", "words", "embeddings", "one element", one_element),
    option("text", "more", recurrent_activation="hard_sigmoid"),
    option("text", "memory", activation="relu"),
    weights("series", "gru", "recurrent_kernel", "gates swapped", gates(1, 0, 2)),
    option("series", "norm", epsilon=0.05),
    option("series", "conv", padding="same"),
    removed("attention", "scale"),
    option("attention", "wide", activation="relu"),
    exchanged("pair", "a", "b", "kernel"),
    rewired("pair", "both", "b", "a"),
]
