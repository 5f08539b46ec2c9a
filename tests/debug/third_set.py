"""Three more models and their faults: a third set, made up without a look at what finds them."""

from __future__ import annotations

import numpy as np

from .mutations import (
    Array,
    Fault,
    Table,
    Weights,
    added,
    called,
    exchanged,
    gates,
    node,
    option,
    removed,
    replaced,
    rewired,
    row,
    weights,
)


def block(n: int, reads: str) -> Table:
    """A block of ConvNeXt: a wide depthwise convolution, a norm over the channels, two products, what came in."""
    return [
        row(f"deep_{n}", "DepthwiseConv2D", reads, kernel_size=5, padding="same"),
        row(f"norm_{n}", "LayerNormalization", epsilon=1e-6),
        row(f"wide_{n}", "Dense", units=12, activation="gelu"),
        row(f"narrow_{n}", "Dense", units=6),
        row(f"add_{n}", "Add", reads, f"narrow_{n}"),
    ]


MODELS: dict[str, Table] = {
    "reader": [
        row("tokens", "Input", shape=(10,), dtype="int32"),
        row("words", "Embedding", input_dim=6, output_dim=6, mask_zero=True),
        row("both", "Bidirectional", layer=row("lstm", "LSTM", units=4, return_sequences=True), merge_mode="concat"),
        row("query", "Dense", "both", units=8, activation="tanh"),
        row("attend", "Attention", "query", "both", use_scale=True),
        row("norm", "LayerNormalization", epsilon=1e-3),
        row("join", "Concatenate", "both", "norm"),
        row("look", "MultiHeadAttention", "join", "query", num_heads=2, key_dim=3),
        row("mean", "GlobalAveragePooling1D"),
        row("mlp", "Dense", units=16, activation="selu"),
        row("out", "Dense", units=3, activation="softmax"),
    ],
    "convnext": [
        row("image", "Input", shape=(12, 8, 3)),
        row("stem", "Conv2D", filters=6, kernel_size=2, strides=2),
        row("stem_norm", "LayerNormalization", epsilon=1e-6),
        *block(1, "stem_norm"),
        *block(2, "add_1"),
        row("down_norm", "LayerNormalization", epsilon=1e-6),
        row("down", "Conv2D", filters=6, kernel_size=2, strides=2),
        *block(3, "down"),
        row("gap", "GlobalAveragePooling2D"),
        row("last_norm", "LayerNormalization", epsilon=1e-6),
        row("head", "Dense", units=6),
    ],
}

ONNX: dict[str, Table] = {
    "shuffle": [
        node("x", "Input", shape=(2, 3, 8, 6)),
        node("stem", "Conv", weights={"W": (6, 3, 3, 3), "b": (6,)}, pads=[1, 1, 1, 1]),
        node("clip", "Clip", weights={"low": np.array(0, np.float32), "high": np.array(2, np.float32)}),
        node("group_1", "Conv", weights={"W": (6, 2, 3, 3), "b": (6,)}, pads=[1, 1, 1, 1], group=3),
        node("apart", "Reshape", weights={"to": np.int64([0, 3, 2, 8, 6])}),
        node("shuffle", "Transpose", perm=[0, 2, 1, 3, 4]),
        node("together", "Reshape", weights={"to": np.int64([0, 6, 8, 6])}),
        node("group_2", "Conv", weights={"W": (6, 2, 3, 3), "b": (6,)}, pads=[1, 1, 1, 1], group=3),
        node("inst", "InstanceNormalization", weights={"scale": (6,), "b": (6,)}, epsilon=1e-4),
        node("add", "Add", "clip", "inst"),
        node("relu", "Relu"),
        node("squeeze", "ReduceMean", axes=[2, 3], keepdims=1),
        node("reduce", "Conv", weights={"W": (3, 6, 1, 1), "b": (3,)}),
        node("selu", "Elu", alpha=0.8),
        node("expand", "Conv", weights={"W": (6, 3, 1, 1), "b": (6,)}),
        node("gate", "HardSigmoid", alpha=1 / 6),
        node("excite", "Mul", "relu", "gate"),
        node("pad", "Pad", weights={"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}, mode="reflect"),
        node("wide", "Conv", weights={"W": (6, 6, 3, 3), "b": (6,)}, strides=[2, 2]),
        node("pool", "MaxPool", "excite", kernel_shape=[2, 2], strides=[2, 2]),
        node("concat", "Concat", "wide", "pool", axis=1),
        node("mean", "ReduceMean", axes=[2, 3], keepdims=0),
        node("fc", "Gemm", weights={"W": (12, 5), "b": (5,)}, alpha=0.5),
        node("out", "Softmax", axis=-1),
    ],
}  # fmt: skip


def halves(w: Array) -> Array:
    """The numbers as a conversion to bfloat16 and back leaves them."""
    return (np.ascontiguousarray(w).view(np.uint32) & 0xFFFF0000).view(np.float32)


def rescaled(found: Weights) -> None:
    found["attend.scale"] = found["attend.scale"] + 0.5


def lower(found: Weights) -> None:
    found["clip.high"] = found["clip.high"] / 2


FAULTS = [
    weights("reader", "words", "embeddings", "rolled", lambda w: np.roll(w, 1, 0)),
    weights("reader", "both/backward_lstm", "recurrent_kernel", "gates swapped", gates(0, 2, 1, 3), named="both"),
    option("reader", "both/lstm", named="both", recurrent_activation="hard_sigmoid"),
    exchanged("reader", "both/forward_lstm.bias", "both/backward_lstm.bias", "both"),
    Fault("reader", ("attend",), ("weights", "option"), "scale other", None, rescaled),
    option("reader", "attend", use_scale=False, kinds=("option", "weights")),
    rewired("reader", "attend", "both", "query"),
    weights("reader", "look/query", "bias", "zeroed", np.zeros_like, named="look"),
    called("reader", "look", use_causal_mask=True),
    replaced("reader", "mean", "GlobalMaxPooling1D"),
    option("reader", "mlp", activation="elu"),
    removed("reader", "norm"),
    weights("convnext", "deep_2", "kernel", "off by one", lambda w: np.roll(w, 1, 1)),
    option("convnext", "norm_2", epsilon=1e-2),
    option("convnext", "wide_3", activation="silu"),
    exchanged("convnext", "norm_1.gamma", "norm_2.gamma", "norm_1", "norm_2"),
    exchanged("convnext", "deep_1.kernel", "deep_3.kernel", "deep_1", "deep_3"),
    rewired("convnext", "add_2", "stem_norm", "narrow_2"),
    rewired("convnext", "add_1", "narrow_1", "narrow_1"),
    removed("convnext", "down_norm"),
    added("convnext", "damp", "last_norm", "Rescaling", scale=0.9),
    weights("convnext", "narrow_1", "kernel", "bfloat16", halves),
    weights("convnext", "down", "kernel", "transposed", lambda w: w.transpose(1, 0, 2, 3)),
    weights("convnext", "head", "kernel", "negated", np.negative),
    weights("shuffle", "group_1", "W", "shuffled", lambda w: w.reshape(3, 2, 2, 3, 3).swapaxes(0, 1).reshape(w.shape)),
    exchanged("shuffle", "group_1.W", "group_2.W", "group_1", "group_2"),
    option("shuffle", "group_2", dilations=[2, 2], pads=[2, 2, 2, 2]),
    option("shuffle", "shuffle", perm=[0, 1, 2, 3, 4], kinds=("option", "removed")),
    Fault("shuffle", ("clip",), ("option",), "high other", None, lower),
    exchanged("shuffle", "inst.scale", "inst.b", "inst"),
    option("shuffle", "inst", epsilon=1e-1),
    rewired("shuffle", "add", "group_1", "inst"),
    replaced("shuffle", "relu", "Abs"),
    option("shuffle", "selu", alpha=1.0),
    option("shuffle", "gate", alpha=0.2),
    option("shuffle", "pad", mode="edge"),
    rewired("shuffle", "concat", "pool", "wide"),
    option("shuffle", "fc", alpha=1.0),
    removed("shuffle", "gate"),
]
