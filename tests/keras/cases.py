"""The table of layer cases: class name -> [(config, input)], an oracle run in real Keras each.

config values that are functions get `keras.layers`: sub-layers.  An input is a shape without the batch, a list of
them, or `ints(shape, high)`.  Sizes are unequal on purpose.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .image_cases import AUDIO, IMAGES


class Ints(NamedTuple):
    """An integer input with values in [0, high)."""

    shape: tuple[int | None, ...]
    high: int
    dtype: str = "int32"


def ints(*shape: int | None, high: int = 7, dtype: str = "int32") -> Ints:
    return Ints(shape, high, dtype)


def per_rank(
    name: str, *configs: dict[str, Any], ranks: tuple[int, ...] = (1, 2, 3), channels: int = 4
) -> dict[str, Any]:
    """The same cases for the 1-D, 2-D and 3-D layer; a `%` in the name is the rank."""
    sizes = (9, 8, 7)
    found = {}
    for rank in ranks:
        spatial = sizes[:rank]
        rows = []
        for config in configs:
            first = config.get("data_format") == "channels_first"
            rows.append((config, (channels, *spatial) if first else (*spatial, channels)))
        found[name.replace("%", str(rank))] = rows
    return found


ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "sigmoid", "tanh",
    "tanh_shrink", "softplus", "softsign", "soft_shrink", "hard_shrink", "hard_tanh", "hard_sigmoid", "hard_silu",
    "hard_swish", "exponential", "log_sigmoid", "sparse_plus", "sparse_sigmoid", "squareplus", "softmax", "log_softmax",
    "sparsemax", "glu",
)  # fmt: skip

CORE: dict[str, list[Any]] = {
    "Dense": [
        ({"units": 5, "activation": "relu"}, (7,)),
        ({"units": 5, "use_bias": False, "activation": "softmax"}, (4, 7)),
        ({"units": 1}, (3, 2, 7)),
        ({"units": 5, "activation": lambda L: L.LeakyReLU(negative_slope=0.1)}, (7,)),
        ({"units": 5, "activation": lambda L: L.PReLU()}, (7,)),
        ({"units": 3}, ints(7)),
        ({"units": 5, "kernel_regularizer": "l2", "bias_constraint": "non_neg", "trainable": False}, (7,)),
    ],
    "Embedding": [
        ({"input_dim": 7, "output_dim": 3}, ints(5)),
        ({"input_dim": 7, "output_dim": 3, "mask_zero": True}, ints(5, 2)),
        ({"input_dim": 7, "output_dim": 3}, (5,)),
    ],
    "ReversibleEmbedding": [
        ({"input_dim": 7, "output_dim": 3}, ints(5)),
        ({"input_dim": 7, "output_dim": 3, "mask_zero": True}, ints(5)),
    ],
    "EinsumDense": [
        ({"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d"}, (4, 3)),
        ({"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y", "activation": "relu"}, (2, 4, 3)),
        ({"equation": "ab...,bc->ac...", "output_shape": 5, "bias_axes": "c"}, (4, 3, 2)),
        ({"equation": "abc,cde->abde", "output_shape": (None, 2, 5), "bias_axes": "de"}, (None, 3)),
        ({"equation": "abcd,cde->abe", "output_shape": (None, 6), "bias_axes": "e"}, (4, 3, 2)),
        ({"equation": "ab,bc->ac", "output_shape": 5}, (3,)),
        ({"equation": "abc,bd->adc", "output_shape": (5, 3), "bias_axes": "d"}, (4, 3)),
        ({"equation": "abc,cd->adb", "output_shape": (5, None), "bias_axes": "d"}, (4, 3)),
        ({"equation": "abc,bcd->abd", "output_shape": (4, 5), "bias_axes": "bd"}, (4, 3)),
        ({"equation": "...ab,bc->...ac", "output_shape": (4, 5), "bias_axes": "ac"}, (2, 4, 3)),
        ({"equation": "abc,de->abcde", "output_shape": (None, 3, 2, 2)}, (4, 3)),
        ({"equation": "abc,bde->acde", "output_shape": (3, 2, 5)}, (4, 3)),
    ],
    "Masking": [({}, (5, 3)), ({"mask_value": 1.5}, (5, 3))],
    "Identity": [({}, (5,))],
    "InputLayer": [],  # part of every model
}

CONV: dict[str, list[Any]] = {
    **per_rank(
        "Conv%D",
        {"filters": 5, "kernel_size": 3},
        {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu", "use_bias": False},
        {"filters": 6, "kernel_size": 2, "dilation_rate": 2, "padding": "same"},
        {"filters": 3, "kernel_size": 3, "padding": "valid", "strides": 3},
    ),
    **per_rank(
        "Conv%DTranspose",
        {"filters": 5, "kernel_size": 3},
        {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "tanh"},
        {"filters": 3, "kernel_size": 2, "strides": 3, "padding": "valid", "use_bias": False},
        {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same", "output_padding": 1},
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "valid", "output_padding": 1},
        {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same"},
    ),
    **per_rank(
        "DepthwiseConv%D",
        {"kernel_size": 3},
        {"kernel_size": 3, "depth_multiplier": 2, "padding": "same", "strides": 2, "activation": "relu"},
        {"kernel_size": 2, "dilation_rate": 2, "use_bias": False},
        ranks=(1, 2),
    ),
    **per_rank(
        "SeparableConv%D",
        {"filters": 5, "kernel_size": 3},
        {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "padding": "same", "strides": 2, "activation": "relu"},
        {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "use_bias": False},
        ranks=(1, 2),
    ),
}
CONV["Conv1D"] += [
    ({"filters": 5, "kernel_size": 3, "padding": "causal"}, (9, 4)),
    ({"filters": 5, "kernel_size": 2, "padding": "causal", "dilation_rate": 3}, (None, 4)),
    ({"filters": 6, "kernel_size": 3, "groups": 2}, (9, 4)),
    ({"filters": 3, "kernel_size": 1, "activation": "softmax"}, (9, 4)),
]
CONV["Conv2D"] += [
    ({"filters": 6, "kernel_size": (3, 2), "strides": (1, 2), "groups": 2}, (9, 8, 4)),
    ({"filters": 4, "kernel_size": 1, "activation": "gelu"}, (None, None, 3)),
    ({"filters": 4, "kernel_size": (1, 5), "padding": "same", "dilation_rate": (1, 2)}, (9, 8, 3)),
    ({"filters": 4, "kernel_size": 3}, (9, 8, 1)),
]
CONV["Conv2DTranspose"] += [({"filters": 3, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same"}, (None, 5, 4))]
CONV["DepthwiseConv2D"] += [({"kernel_size": (3, 2), "strides": 1, "padding": "same"}, (None, 8, 5))]

# TensorFlow on a CPU cannot run these layouts: the oracle is Keras on the transposed input (test_channels_first)
CHANNELS_FIRST: dict[str, list[Any]] = {
    **per_rank("Conv%D", {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}),
    **per_rank("Conv%DTranspose", {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
    **per_rank("DepthwiseConv%D", {"kernel_size": 3, "depth_multiplier": 2}, ranks=(1, 2)),
    **per_rank("SeparableConv%D", {"filters": 5, "kernel_size": 3}, ranks=(1, 2)),
    **per_rank("MaxPooling%D", {"pool_size": 2}),
    **per_rank("AveragePooling%D", {"pool_size": 2, "padding": "same"}),
    **per_rank("GlobalMaxPooling%D", {}),
    **per_rank("GlobalAveragePooling%D", {"keepdims": True}),
    **per_rank("UpSampling%D", {"size": 2}, ranks=(2, 3)),
    **per_rank("ZeroPadding%D", {"padding": 2}, ranks=(2, 3)),
    **per_rank("Cropping%D", {"cropping": 1}, ranks=(2, 3)),
}

_POOLS = (
    {"pool_size": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 2, "strides": 1, "padding": "valid"},
    {"pool_size": 3, "padding": "same"},
)
POOL: dict[str, list[Any]] = {
    **per_rank("MaxPooling%D", *_POOLS),
    **per_rank("AveragePooling%D", *_POOLS),
    **per_rank("GlobalMaxPooling%D", {}, {"keepdims": True}),
    **per_rank("GlobalAveragePooling%D", {}, {"keepdims": True}),
}
for _kind in ("Average", "Max"):
    POOL |= per_rank(
        f"Adaptive{_kind}Pooling%D", {"output_size": 4}, {"output_size": 3}, {"output_size": 10},
        {"output_size": 5, "data_format": "channels_first"},
    )  # fmt: skip
    POOL[f"Adaptive{_kind}Pooling2D"].append(({"output_size": (9, 3)}, (9, 8, 3)))
POOL["MaxPooling2D"] += [({"pool_size": (2, 3), "strides": (3, 1), "padding": "same"}, (None, 8, 3))]
POOL["AveragePooling2D"] += [({"pool_size": (2, 3), "strides": (3, 1), "padding": "same"}, (9, None, 3))]
POOL["GlobalAveragePooling1D"] += [({}, (None, 3)), ({"data_format": "channels_first"}, (3, 5))]
POOL["GlobalMaxPooling2D"] += [({"data_format": "channels_first"}, (3, 5, 4))]

RESHAPE: dict[str, list[Any]] = {
    "Flatten": [({}, (3, 4, 2)), ({"data_format": "channels_first"}, (3, 4, 2)), ({}, (5,)), ({}, (None, 2))],
    "Reshape": [
        ({"target_shape": (4, 3)}, (2, 6)),
        ({"target_shape": (-1, 3)}, (2, 6)),
        ({"target_shape": (-1, 2)}, (None, 4)),
    ],
    "Permute": [({"dims": (2, 1)}, (3, 4)), ({"dims": (3, 1, 2)}, (3, 4, 2))],
    "RepeatVector": [({"n": 4}, (5,))],
    "ZeroPadding1D": [({}, (5, 3)), ({"padding": (2, 0)}, (5, 3))],
    "ZeroPadding2D": [({}, (5, 4, 3)), ({"padding": ((1, 2), (0, 3))}, (5, 4, 3)), ({"padding": (2, 1)}, (None, 4, 3))],
    "ZeroPadding3D": [({}, (5, 4, 3, 2)), ({"padding": ((1, 2), (0, 3), (1, 0))}, (5, 4, 3, 2))],
    "Cropping1D": [({}, (5, 3)), ({"cropping": (2, 0)}, (5, 3)), ({"cropping": (0, 1)}, (None, 3))],
    "Cropping2D": [({"cropping": 1}, (5, 4, 3)), ({"cropping": ((1, 2), (0, 3))}, (5, 4, 3))],
    "Cropping3D": [({}, (5, 4, 3, 2)), ({"cropping": ((1, 2), (0, 3), (1, 0))}, (5, 4, 3, 2))],
    "UpSampling1D": [({}, (5, 3)), ({"size": 3}, (None, 3))],
    "UpSampling2D": [
        ({}, (5, 4, 3)),
        ({"size": (2, 3)}, (None, 4, 3)),
        ({"size": (2, 3), "interpolation": "bilinear"}, (5, 4, 3)),
        ({"size": (2, 4), "interpolation": "bicubic"}, (5, 4, 3)),
        ({"size": (3, 5), "interpolation": "bicubic"}, (5, 4, 3)),
        ({"size": 2, "interpolation": "lanczos3"}, (9, 8, 3)),
        ({"size": 2, "interpolation": "lanczos5"}, (12, 13, 2)),
        ({"size": 2, "interpolation": "bilinear"}, (None, None, 3)),
    ],
    "UpSampling3D": [({}, (5, 4, 3, 2)), ({"size": (1, 2, 3)}, (5, 4, 3, 2))],
}

NORM: dict[str, list[Any]] = {
    "BatchNormalization": [
        ({}, (5, 4)),
        ({"axis": 1, "epsilon": 1e-2}, (5, 4, 3)),
        ({"center": False}, (5, 4, 3)),
        ({"scale": False}, (5,)),
        ({"center": False, "scale": False, "axis": 2}, (5, 4, 3)),
        ({"renorm": True}, (5,)),
    ],
    "LayerNormalization": [
        ({}, (5, 4)),
        ({"axis": [1, 2]}, (5, 4, 3)),
        ({"axis": 1, "epsilon": 1e-5}, (5, 4, 3)),
        ({"axis": [1, 3], "center": False}, (5, 4, 3)),
        ({"scale": False}, (5, 4)),
        ({"rms_scaling": True}, (5, 4)),
    ],
    "RMSNormalization": [({}, (5, 4)), ({"axis": [1, 2], "epsilon": 1e-3}, (5, 4))],
    "GroupNormalization": [
        ({"groups": 2}, (5, 4)),
        ({"groups": 3}, (5, 4, 6)),
        ({"groups": -1, "center": False}, (5, 4, 6)),
        ({"groups": 2, "axis": 1, "scale": False}, (4, 5, 3)),
        ({"groups": 1}, (6,)),
    ],
    "UnitNormalization": [({}, (5, 4)), ({"axis": [1, 2]}, (5, 4))],
    "SpectralNormalization": [
        ({"layer": lambda L: L.Dense(5)}, (4,)),
        ({"layer": lambda L: L.Conv2D(3, 2, use_bias=False), "power_iterations": 3}, (5, 4, 3)),
    ],
}

ACTIVATION: dict[str, list[Any]] = {
    "Activation": [({"activation": name}, (5, 6)) for name in ACTIVATIONS],
    "ReLU": [
        ({}, (5,)), ({"max_value": 0.7}, (5,)), ({"negative_slope": 0.2}, (5,)), ({"threshold": 0.4}, (5,)),
        ({"max_value": 0.7, "negative_slope": 0.2, "threshold": 0.3}, (5,)),
        ({"max_value": 0.7, "negative_slope": 0.2}, (5,)),
    ],
    "LeakyReLU": [({}, (5,)), ({"negative_slope": 0.05}, (5, 3))],
    "PReLU": [({}, (5, 3)), ({"shared_axes": [1, 2]}, (5, 4, 3)), ({"shared_axes": [1]}, (None, 3))],
    "ELU": [({}, (5,)), ({"alpha": 0.3}, (5,))],
    "Softmax": [({}, (5, 3)), ({"axis": 1}, (5, 3)), ({"axis": [1, 2]}, (5, 4, 3))],
}  # fmt: skip

_PAIR, _TRIPLE = [(5, 3), (5, 3)], [(5, 3), (5, 3), (5, 3)]
MERGE: dict[str, list[Any]] = {
    "Add": [({}, _PAIR), ({}, _TRIPLE), ({}, [(5, 3), (3,)]), ({}, [(5, 1), (1, 3)])],
    "Subtract": [({}, _PAIR), ({}, [(5, 3), (3,)])],
    "Multiply": [({}, _TRIPLE), ({}, [(5, 3), (5, 1)])],
    "Average": [({}, _PAIR), ({}, _TRIPLE)],
    "Maximum": [({}, _PAIR), ({}, _TRIPLE)],
    "Minimum": [({}, _PAIR), ({}, _TRIPLE)],
    "Concatenate": [({}, _TRIPLE), ({"axis": 1}, [(5, 3), (2, 3)]), ({"axis": -2}, [(None, 3), (2, 3)])],
    "Dot": [
        ({"axes": 1}, [(5,), (5,)]),
        ({"axes": 1, "normalize": True}, [(5,), (5,)]),
        ({"axes": (2, 1)}, [(4, 5), (5, 3)]),
        ({"axes": -1}, [(4, 5), (3, 5)]),
        ({"axes": 2}, [(4, 5), (3, 5)]),
        ({"axes": (1, 1)}, [(5,), (5, 3)]),
        ({"axes": (2, 1), "normalize": True}, [(4, 5, 2), (5, 3)]),
    ],
}

_TWO, _THREE = [(4, 3), (6, 3)], [(4, 3), (6, 5), (6, 3)]
ATTENTION: dict[str, list[Any]] = {
    "Attention": [
        ({}, _TWO),
        ({}, _THREE),
        ({"use_scale": True, "dropout": 0.5}, _TWO),
        ({"score_mode": "concat"}, _TWO),
        ({"score_mode": "concat", "use_scale": True}, _THREE),
        ({}, [(2, 4, 3), (2, 6, 3)]),
    ],
    "AdditiveAttention": [({}, _TWO), ({}, _THREE), ({"use_scale": False, "dropout": 0.5, "seed": 1}, _TWO)],
}

REGULARIZATION: dict[str, list[Any]] = {
    "Dropout": [({"rate": 0.5}, (5,)), ({"rate": 0.5, "noise_shape": [None, 1, 3], "seed": 1}, (5, 3))],
    "AlphaDropout": [({"rate": 0.5}, (5,))],
    "GaussianDropout": [({"rate": 0.5, "seed": 3}, (5,))],
    "GaussianNoise": [({"stddev": 0.5}, (5,))],
    "SpatialDropout1D": [({"rate": 0.5}, (5, 3))],
    "SpatialDropout2D": [({"rate": 0.5}, (5, 4, 3))],
    "SpatialDropout3D": [({"rate": 0.5, "data_format": "channels_first"}, (5, 4, 3, 2))],
    "ActivityRegularization": [({"l1": 0.1, "l2": 0.2}, (5,))],
}

PREPROCESSING: dict[str, list[Any]] = {
    "Rescaling": [
        ({"scale": 1 / 255}, (5, 4, 3)),
        ({"scale": [1.0, 2.0, 3.0], "offset": [0.1, 0.2, 0.3]}, (5, 4, 3)),
        ({"scale": 0.5, "offset": -1.0}, ints(5, 4, high=255, dtype="uint8")),
    ],
    "Normalization": [
        ({}, (5, 3)),
        ({"axis": None}, (5, 3)),
        ({"axis": [1, 2]}, (5, 3)),
        ({"mean": 2.0, "variance": 3.0}, (5, 3)),
        ({"mean": [1.0, 2.0, 3.0], "variance": [0.5, 2.0, 4.0], "invert": True}, (5, 3)),
    ],
}

# what all recurrent layers are tried with
_RECURRENT: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "return_state": True},
    {"return_state": True, "go_backwards": True},
    {"return_sequences": True, "go_backwards": True, "use_bias": False},
    {"activation": "relu"},
    {"unroll": True, "dropout": 0.3, "recurrent_dropout": 0.2},
]
_GATED: list[dict[str, Any]] = [
    {"recurrent_activation": "hard_sigmoid", "activation": "softsign"},
    {"recurrent_activation": "hard_silu", "return_sequences": True},
]


def _recurrent(*configs: dict[str, Any]) -> list[Any]:
    return [({"units": 4, **c}, (6, 3)) for c in configs] + [({"units": 4, "return_sequences": True}, (None, 3))]


def _cells(*makers: Any, **more: Any) -> tuple[dict[str, Any], tuple[int, ...]]:
    return ({"cell": (lambda L: [m(L) for m in makers]) if len(makers) > 1 else makers[0], **more}, (6, 3))


RECURRENT: dict[str, list[Any]] = {
    "SimpleRNN": _recurrent(*_RECURRENT),
    "LSTM": _recurrent(*_RECURRENT, *_GATED, {"unit_forget_bias": False}),
    "GRU": _recurrent(
        *_RECURRENT, *_GATED, {"reset_after": False},
        {"reset_after": False, "use_bias": False, "return_sequences": True},
    ),
    "RNN": [
        _cells(lambda L: L.SimpleRNNCell(4), return_sequences=True),
        _cells(lambda L: L.LSTMCell(4), return_state=True),
        _cells(lambda L: L.GRUCell(4, reset_after=False), go_backwards=True, return_sequences=True),
        _cells(lambda L: L.LSTMCell(4), lambda L: L.GRUCell(5), return_sequences=True),
        _cells(lambda L: L.LSTMCell(4), lambda L: L.LSTMCell(2), lambda L: L.SimpleRNNCell(3), go_backwards=True),
    ],
    **{f"ConvLSTM{rank}D": [
        ({"filters": 4, "kernel_size": 2, **config}, shape)
        for config, shape in (
            ({}, (3, *sizes, 2)),
            ({"return_sequences": True, "strides": 2, "padding": "same"}, (None, *sizes, 2)),
            ({"return_state": True, "dilation_rate": 2, "padding": "same", "go_backwards": True}, (3, *sizes, 2)),
            ({"return_sequences": True, "go_backwards": True, "use_bias": False, "activation": "relu",
              "recurrent_activation": "hard_sigmoid"}, (3, *sizes, 2)),
            ({"data_format": "channels_first", "return_sequences": True, "return_state": True}, (3, 2, *sizes)),
            ({"unroll": True, "activation": "softmax", "dropout": 0.3, "recurrent_dropout": 0.2}, (3, *sizes, 2)),
        )
    ] for rank, sizes in ((1, (7,)), (2, (6, 5)), (3, (4, 5, 3)))},
    # cells are cases of RNN
    "SimpleRNNCell": [], "LSTMCell": [], "GRUCell": [], "StackedRNNCells": [],
}  # fmt: skip


def _both(inner: Any, **config: Any) -> tuple[dict[str, Any], tuple[int, ...]]:
    return ({"layer": inner, **config}, (6, 3))


WRAPPERS: dict[str, list[Any]] = {
    "Bidirectional": [
        *[
            _both(lambda L: L.LSTM(4, return_sequences=True), merge_mode=m)
            for m in ("concat", "sum", "mul", "ave", None)
        ],
        *[_both(lambda L: L.LSTM(4), merge_mode=m) for m in ("concat", "sum", "mul", "ave", None)],
        *[_both(lambda L: L.GRU(4, return_sequences=True, return_state=True), merge_mode=m) for m in ("concat", "ave")],
        _both(lambda L: L.LSTM(4, return_state=True), merge_mode="concat"),
        _both(lambda L: L.GRU(4, return_state=True, reset_after=False), merge_mode="sum"),
        _both(lambda L: L.SimpleRNN(4, activation="relu")),
        _both(
            lambda L: L.LSTM(4, go_backwards=True, return_sequences=True),
            backward_layer=lambda L: L.LSTM(4, return_sequences=True),
        ),
        _both(lambda L: L.GRU(4, go_backwards=True), backward_layer=lambda L: L.GRU(4), merge_mode="sum"),
        _both(
            lambda L: L.LSTM(4, return_sequences=True),
            backward_layer=lambda L: L.LSTM(4, activation="relu", go_backwards=True, return_sequences=True),
        ),
        _both(lambda L: L.LSTM(4), backward_layer=lambda L: L.GRU(5, go_backwards=True)),
        _both(lambda L: L.LSTM(4), backward_layer=lambda L: L.LSTM(4, go_backwards=True, name="other")),
        _both(lambda L: L.RNN(L.GRUCell(4), return_sequences=True)),
        _both(lambda L: L.RNN([L.GRUCell(4, reset_after=False), L.LSTMCell(2)], return_sequences=True)),
        *[
            (
                {"layer": lambda L, s=s: L.ConvLSTM2D(3, 2, return_sequences=s, return_state=True), "merge_mode": m},
                (3, 6, 5, 2),
            )
            for s in (True, False)
            for m in ("concat", "sum", None)
        ],
        ({"layer": lambda L: L.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid")}, (None, 3)),
    ],
    "TimeDistributed": [
        ({"layer": lambda L: L.Dense(5, activation="relu")}, (6, 3)),
        ({"layer": lambda L: L.Dense(5)}, (None, 3)),
        ({"layer": lambda L: L.Conv2D(3, 2, padding="same")}, (4, 6, 5, 2)),
        ({"layer": lambda L: L.LSTM(4)}, (4, 6, 3)),
        ({"layer": lambda L: L.BatchNormalization()}, (6, 3)),
        ({"layer": lambda L: L.TimeDistributed(L.Dense(2))}, (4, 6, 3)),
        ({"layer": lambda L: L.Flatten()}, (4, 6, 3)),
        ({"layer": lambda L: L.Bidirectional(L.LSTM(2, return_sequences=True))}, (4, 6, 3)),
        ({"layer": lambda L: L.ConvLSTM1D(3, 2)}, (2, 3, 6, 3)),
        ({"layer": lambda L: L.EinsumDense("abc,cd->abd", (None, 2))}, (4, 6, 3)),
    ],
}

FAMILIES: dict[str, dict[str, list[Any]]] = {
    "core": CORE, "conv": CONV, "pool": POOL, "reshape": RESHAPE, "norm": NORM, "activation": ACTIVATION,
    "merge": MERGE, "attention": ATTENTION, "regularization": REGULARIZATION,
    "preprocessing": PREPROCESSING, "recurrent": RECURRENT, "wrappers": WRAPPERS,
}  # fmt: skip

# tested elsewhere: models (test_functional.py), layers that only Keras 1 and 2 have (test_dialects.py), layers that
# take several inputs one by one (test_attention.py), those that only keras.applications have (tests/conformance), and
# those of images and sounds (test_images.py, test_audio.py)
ELSEWHERE = {
    *IMAGES, *AUDIO,
    "Functional", "Sequential", "ThresholdedReLU", "MultiHeadAttention", "GroupQueryAttention", "LayerScale",
    "StochasticDepth", "CustomScaleLayer",
    # test_preprocessing.py
    "StringLookup", "IntegerLookup", "TextVectorization", "CategoryEncoding", "Discretization", "Hashing",
    "HashedCrossing", "Pipeline", "MaxNumBoundingBoxes", "FeatureSpace", "Feature", "Cross", "TFDIdentity", "TFDConcat",
}  # fmt: skip
