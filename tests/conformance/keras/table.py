"""What the sweep tries: candidate values by argument name, and one row for each class of keras.layers.

A class is tried with its own signature: every argument takes its values from the class' row, else from VALUES, else
(initialisers, regularisers, constraints) from SUFFIXES.  A first value is what Keras does by default, or the plainest.
Sizes are awkward on purpose: odd, 1, smaller than the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sub:
    """A sub-layer, made anew for each configuration."""

    name: str
    config: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"


def sub(name: str, **config: Any) -> Sub:
    return Sub(name, config)


@dataclass(frozen=True)
class In:
    """An input without the batch (None: unknown; 5 when run) and what is in it: see `make.FILLS`."""

    shape: tuple[int | None, ...]
    kind: str = "float"
    high: int = 7

    def __repr__(self) -> str:
        return f"{self.kind}{list(self.shape)}"


def shapes(*each: tuple[int | None, ...], kind: str = "float") -> tuple[In, ...]:
    return tuple(In(shape, kind) for shape in each)


HALVES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
POLICIES = ("float32", *HALVES, "float64")


def _always(config: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    """How a class is tried.

    `inputs`: alternatives, each an In or a list of them; `values`: of arguments, where they are others than usual, and
    of keywords that the signature does not name; `fits`: what (parts of) configurations make sense; `calls`: values of
    call arguments; `apart`: inputs are arguments of their own, not a list; `inside`: the layer that the class is for
    (cells); `masks`: also behind Masking; `channels`: the axis of channels_first; `empty`: also with no samples,
    unless that kills TensorFlow; `random`: training changes the input by chance.
    """

    inputs: tuple[Any, ...]
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fits: Callable[[Mapping[str, Any]], bool] = _always
    calls: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    apart: bool = False
    inside: Callable[[Sub], Sub] | None = None
    masks: bool = False
    channels: int = 1
    empty: bool = True
    random: bool = False
    policies: tuple[str, ...] = POLICIES


IGNORED = {
    "name", "dtype", "kwargs", "args", "weights",  # of every layer; initial weights are no part of a saved config
    "quantization_config", "gptq_unpacked_column_size",  # of quantised layers: tests of their own
    "input_tensor",  # a live tensor
}  # fmt: skip

SUFFIXES: dict[str, tuple[Any, ...]] = {
    "_initializer": ("zeros", "ones"), "_regularizer": (None, "l2"), "_constraint": (None, "non_neg"),
}  # fmt: skip

ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "sigmoid", "tanh",
    "tanh_shrink", "softplus", "softsign", "soft_shrink", "hard_shrink", "hard_tanh", "hard_sigmoid", "hard_silu",
    "hard_swish", "exponential", "log_sigmoid", "sparse_plus", "sparse_sigmoid", "squareplus", "softmax", "log_softmax",
    "sparsemax", "glu", "threshold",
)  # fmt: skip

VALUES: dict[str, tuple[Any, ...]] = {
    "units": (4, 1),
    "filters": (6, 2),
    "activation": (None, "relu", "gelu", "softmax"),
    "recurrent_activation": ("sigmoid", "hard_sigmoid", "tanh"),
    "use_bias": (True, False),
    "padding": ("valid", "same"),
    "data_format": (None, "channels_last", "channels_first"),
    "groups": (1, 2),
    "depth_multiplier": (1, 2),
    "keepdims": (False, True),
    "trainable": (True, False),
    "lora_rank": (None, 2),
    "lora_alpha": (None, 3),
    "unit_forget_bias": (True, False),
    "dropout": (0.0, 0.3),
    "recurrent_dropout": (0.0, 0.2),
    "seed": (None, 7),
    "return_sequences": (False, True),
    "return_state": (False, True),
    "go_backwards": (False, True),
    "stateful": (False, True),
    "unroll": (False, True),
    "reset_after": (True, False),
    "zero_output_for_mask": (False, True),
    "use_cudnn": ("auto", False),
    "flash_attention": (None, False),
    "center": (True, False),
    "scale": (True, False),
    "epsilon": (1e-3, 1e-5, 0.1),
    "momentum": (0.99, 0.5),
    "renorm": (False, True),
    "renorm_clipping": (None, {"rmax": 2.0, "rmin": 0.5, "dmax": 1.0}),
    "renorm_momentum": (0.99, 0.5),
    "synchronized": (False,),
    "rate": (0.5, 0.0, 0.25),
    "stddev": (0.5, 0.0),
    "noise_shape": (None,),
    "l1": (0.0, 0.1),
    "l2": (0.0, 0.2),
    "use_scale": (False, True),
    "use_gate": (False, True),
    "sliding_window": (None, 2),
    "interpolation": ("nearest", "bilinear"),
    "fill_mode": ("constant", "reflect", "nearest", "wrap"),
    "fill_value": (0.0, 3.5),
    "value_range": ((0, 255), (0.0, 1.0)),
    "factor": (0.5, (0.1, 0.3)),
    "sparse": (False,),
    "ragged": (False,),
    "num_bins": (5, 1),
    "salt": (None, 11, (133, 137)),
    "mask_value": (None,),
    "max_tokens": (None,),
    "num_oov_indices": (1, 0, 2),
    "mask_token": (None,),
    "idf_weights": (None,),
    "invert": (False, True),
    "oov_method": ("floormod", "farmhash"),
    "pad_to_max_tokens": (False, True),
    "encoding": ("utf-8",),
    "output_mode": ("int", "multi_hot", "count", "one_hot"),
    "mask_zero": (False, True),
}

_RANKS = (1, 2, 3)


def _per_rank(name: str, make: Callable[[int], Row], ranks: tuple[int, ...] = _RANKS) -> dict[str, Row]:
    """A row for the 1-D, 2-D and 3-D class; `%` in the name is the rank."""
    return {name.replace("%", str(rank)): make(rank) for rank in ranks}


def _spatial(rank: int, channels: int = 4) -> tuple[In, ...]:
    """Odd, 1 beside 2, of unknown size."""
    sizes = ((9, 8, 7), (1, 5, 2), (None, 6, 5))
    return tuple(In((*each[:rank], channels)) for each in sizes)


def _per_axis(*each: Any) -> Callable[[int], tuple[Any, ...]]:
    """Values of an argument that is one number or one for each axis: tuples are cut to the rank."""
    return lambda rank: tuple(v[:rank] if isinstance(v, tuple) else v for v in each)


_KERNELS = _per_axis(3, 1, 2, (2, 3, 1))
_STRIDES = _per_axis(1, 2, (2, 1, 3))
_DILATIONS = _per_axis(1, 2, (1, 3, 2))


def _several(value: Any) -> bool:
    return max(value) > 1 if isinstance(value, tuple) else value > 1


def never(*together: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """Fits where none of the combinations is there; a value that is a tuple stands for any of its elements."""

    def has(config: Mapping[str, Any], key: str, value: Any) -> bool:
        return key in config and (config[key] in value if isinstance(value, tuple) else config[key] == value)

    return lambda config: not any(all(has(config, k, v) for k, v in each.items()) for each in together)


def _strides_or_dilation(config: Mapping[str, Any]) -> bool:
    """Keras takes no strides together with dilation."""
    return not (_several(config.get("strides", 1)) and _several(config.get("dilation_rate", 1)))


def _sliding(rank: int, **values: tuple[Any, ...]) -> Row:
    common = {"kernel_size": _KERNELS(rank), "strides": _STRIDES(rank), "dilation_rate": _DILATIONS(rank)}
    return Row(_spatial(rank), {**common, **values}, _strides_or_dilation, masks=rank == 1)


def _transposed(rank: int) -> Row:
    return _sliding(rank, output_padding=(None, 0, 1))


def _with_dilation(rank: int) -> Row:
    return _sliding(rank)


_CAUSAL = ("valid", "same", "causal")
CONV = {
    **_per_rank("Conv%D", lambda r: _sliding(r, padding=_CAUSAL[: 3 if r == 1 else 2])),
    **_per_rank("Conv%DTranspose", _transposed),
    **_per_rank("DepthwiseConv%D", _with_dilation, (1, 2)),
    **_per_rank("SeparableConv%D", _with_dilation, (1, 2)),
}


def _pooled(rank: int) -> Row:
    values = {"pool_size": _per_axis(2, 3, (1, 3, 2))(rank), "strides": _per_axis(None, 1, 3, (2, 1, 2))(rank)}
    return Row(_spatial(rank, 3), values, masks=rank == 1)


def _pooled_whole(rank: int) -> Row:
    return Row(_spatial(rank, 3), masks=rank == 1)


def _adaptive(rank: int) -> Row:
    return Row(_spatial(rank, 3)[:2], {"output_size": _per_axis(2, 1, 5, (3, 2, 1))(rank)})


def _adaptive_max(rank: int) -> Row:
    """Not of no samples, nor where Keras pools with a window (ceil(old / new) + 1) that is wider than the input.

    TensorFlow's kernels divide by zero then, which ends Python.
    """
    sizes = _per_axis(2, 5, (3, 2, 4))(rank)
    return Row(shapes((9, 8, 7)[:rank] + (3,), (5, 6, 5)[:rank] + (3,)), {"output_size": sizes}, empty=False)


POOL = {
    **_per_rank("MaxPooling%D", _pooled),
    **_per_rank("AveragePooling%D", _pooled),
    **_per_rank("GlobalMaxPooling%D", _pooled_whole),
    **_per_rank("GlobalAveragePooling%D", _pooled_whole),
    **_per_rank("AdaptiveAveragePooling%D", _adaptive),
    **_per_rank("AdaptiveMaxPooling%D", _adaptive_max),
}

_PADS = {1: (1, 0, (2, 0)), 2: (1, (0, 2), ((1, 0), (0, 3))), 3: (1, (0, 2, 1), ((1, 0), (0, 1), (1, 1)))}
RESHAPE = {
    "Flatten": Row(shapes((3, 4, 2), (5,), (None, 2), (1, 1, 3)), masks=True),
    "Reshape": Row(shapes((2, 6), (12,)), {"target_shape": ((4, 3), (-1, 3), (12,), (2, -1, 2))}, masks=True),
    "Permute": Row(shapes((3, 4, 2), (1, 5, 3)), {"dims": ((2, 1, 3), (3, 1, 2), (1, 2, 3))}, masks=True),
    "RepeatVector": Row(shapes((5,), (1,)), {"n": (4, 1)}),
    **_per_rank("ZeroPadding%D", lambda r: Row(_spatial(r, 3), {"padding": _PADS[r]}, masks=r == 1)),
    **_per_rank(
        "Cropping%D",
        lambda r: Row(shapes((9, 8, 7)[:r] + (3,), (3, 5, 4)[:r] + (2,)), {"cropping": _PADS[r]}, masks=r == 1),
    ),
    "UpSampling1D": Row(_spatial(1), {"size": (2, 3, 1)}, masks=True),
    "UpSampling2D": Row(
        _spatial(2),
        {"size": (2, (2, 3), 1), "interpolation": ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")},
    ),
    "UpSampling3D": Row(_spatial(3), {"size": (2, (1, 2, 3), 1)}),
}

_MATRIX = shapes((5, 4), (3, 1, 4), (4,))
_IMAGE = shapes((5, 4, 6), (1, 3, 6))
NORM = {
    "BatchNormalization": Row(_MATRIX, {"axis": (-1, 1)}, masks=True),
    "LayerNormalization": Row(_IMAGE, {"axis": (-1, 1, [1, 2], [-1, -2]), "rms_scaling": (False, True)}, masks=True),
    "RMSNormalization": Row(_IMAGE, {"axis": (-1, [1, 2])}, masks=True),
    "GroupNormalization": Row(_IMAGE, {"axis": (-1, 3), "groups": (2, 1, 3, -1)}, masks=True),
    "UnitNormalization": Row(_IMAGE, {"axis": (-1, [1, 2], 2)}, masks=True),
    "SpectralNormalization": Row(
        shapes((5, 4)),
        {
            "layer": (sub("Dense", units=3), sub("Conv1D", filters=3, kernel_size=2)),
            "power_iterations": (1, 3),
        },
    ),
}

ACTIVATION = {
    "Activation": Row(shapes((5, 6), (1, 4)), {"activation": ACTIVATIONS}, masks=True),
    "ReLU": Row(
        shapes((5, 3), (1,)),
        {"max_value": (None, 0.7, 6.0), "negative_slope": (0.0, 0.2), "threshold": (0.0, 0.4, -0.3)},
        masks=True,
    ),
    "LeakyReLU": Row(shapes((5, 3), (1,)), {"negative_slope": (0.3, 0.05, 0)}, masks=True),
    "PReLU": Row(shapes((5, 4, 3), (1, 1, 2)), {"shared_axes": (None, [1, 2], [1], [-1])}),
    "ELU": Row(shapes((5, 3), (1,)), {"alpha": (1.0, 0.3)}, masks=True),
    "Softmax": Row(shapes((5, 4, 3), (1, 1, 2)), {"axis": (-1, 1, [1, 2], (-1, 1))}),
}

_ALIKE = ([In((5, 3)), In((5, 3))], [In((5, 3)), In((5, 3)), In((5, 3))], [In((5, 1)), In((1, 3))])
_PAIRS = ([In((5, 3)), In((5, 3))], [In((5, 3)), In((3,))])
MERGE = {
    **{name: Row(_ALIKE, masks=True) for name in ("Add", "Average", "Maximum", "Minimum", "Multiply")},
    "Subtract": Row(_PAIRS, masks=True),
    "Concatenate": Row(
        ([In((5, 3)), In((5, 3))], [In((5, 3)), In((5, 3)), In((5, 3))]), {"axis": (-1, 1, -2, 2)}, masks=True
    ),
    "Dot": Row(
        ([In((4, 5)), In((4, 5))], [In((5,)), In((5,))], [In((5, 4)), In((4, 5))]),
        {"axes": (1, -1, (2, 1), (1, 2)), "normalize": (False, True)},
    ),
}

_ATTEND = (
    [In((4, 3)), In((6, 3))], [In((4, 3)), In((6, 5)), In((6, 3))], [In((1, 2)), In((5, 2))],
)  # fmt: skip
_SEEN = {"return_attention_scores": (False, True), "use_causal_mask": (False, True)}
# Keras on TensorFlow adds a bias of one long axis along axis 1 where that is as long: not as many steps as heads
_HEADS = ([In((5, 6)), In((7, 6))], [In((5, 6)), In((7, 6)), In((7, 3))], [In((6, 4)), In((8, 4))])
ATTENTION = {
    "Attention": Row(_ATTEND, {"score_mode": ("dot", "concat")}, calls=_SEEN, masks=True),
    "AdditiveAttention": Row(
        ([In((4, 3)), In((6, 3))], [In((4, 3)), In((6, 5)), In((6, 3))]), calls=_SEEN, masks=True
    ),
    "MultiHeadAttention": Row(
        _HEADS,
        {
            "num_heads": (2, 1, 3), "key_dim": (3, 1), "value_dim": (None, 5), "output_shape": (None, 7, (2, 3)),
            "attention_axes": (None, (1,)), "dropout": (0.0, 0.3),
        },
        calls=_SEEN, apart=True, masks=True,
    ),
    "GroupQueryAttention": Row(
        _HEADS,
        {"head_dim": (3, 1), "num_query_heads": (4, 2), "num_key_value_heads": (2, 1)},
        calls=_SEEN, apart=True, masks=True,
    ),
}  # fmt: skip

_ANY = shapes((5, 3), (1, 4))
# SpatialDropout's config has the dtype of variables in place of its policy: Keras itself reads another layer
_UNMIXED = tuple(p for p in POLICIES if not p.startswith("mixed_"))
REGULARIZATION = {
    "Dropout": Row(
        _ANY,
        {"noise_shape": (None, (None, 1, 3))},
        never({"noise_shape": ((None, 1, 3),), "input": _ANY[1]}),
        masks=True,
    ),
    "AlphaDropout": Row(_ANY, masks=True),
    "GaussianDropout": Row(_ANY, masks=True),
    "GaussianNoise": Row(_ANY, masks=True),
    "SpatialDropout1D": Row(_ANY, masks=True, policies=_UNMIXED),
    "SpatialDropout2D": Row(shapes((5, 4, 3), (1, 1, 2)), policies=_UNMIXED),
    "SpatialDropout3D": Row(shapes((5, 4, 3, 2), (1, 1, 2, 3)), policies=_UNMIXED),
    "ActivityRegularization": Row(_ANY, masks=True),
}

_SIDE = sub("LeakyReLU", negative_slope=0.1)
_TOKENS = (In((5,), "int"), In((3, 2), "int"), In((None,), "int"))
CORE = {
    "Dense": Row(
        (*shapes((7,), (4, 1, 7), (1,)), In((7,), "int")),
        {"activation": (None, "relu", "softmax", _SIDE, sub("PReLU"))}, masks=True,
    ),
    "EinsumDense": Row(
        shapes((5, 4), (1, 4)),
        {
            "equation": ("abc,cd->abd", "...x,xy->...y"), "output_shape": ((None, 6), (None, 3)),
            "bias_axes": (None, "d", "y", "bd"),
        },
        lambda c: not c.get("bias_axes") or "equation" not in c or set(c["bias_axes"]) <= set(c["equation"][-4:]),
    ),
    "Embedding": Row(_TOKENS, {"input_dim": (7, 9), "output_dim": (3, 1)}),
    "ReversibleEmbedding": Row(
        _TOKENS,
        {
            "input_dim": (7, 9), "output_dim": (3, 1), "tie_weights": (True, False), "reverse_dtype": (None, "float32"),
            "logit_soft_cap": (None, 2.0),
        },
    ),
    "Masking": Row(shapes((5, 3), (1, 1, 2)), {"mask_value": (0.0, 1.5)}, masks=True),
    "Identity": Row(_ANY, masks=True),
}  # fmt: skip

_SEQUENCE = shapes((6, 3), (1, 2), (None, 3))
_RNN = {"activation": ("tanh", "relu", "softsign"), "zero_output_for_mask": (False, True), "trainable": (True, False)}


def _in_rnn(cell: Sub) -> Sub:
    return sub("RNN", cell=cell, return_sequences=True, return_state=True)


_unrolled = never({"unroll": True, "input": _SEQUENCE[2]})  # Keras has to know how many steps there are

_CELLS = (
    sub("SimpleRNNCell", units=4), sub("LSTMCell", units=3), sub("GRUCell", units=4, reset_after=False),
    [sub("LSTMCell", units=4), sub("GRUCell", units=2)], [sub("SimpleRNNCell", units=2, activation="relu")],
)  # fmt: skip
_FRAMES = {1: shapes((3, 7, 2), (1, 4, 1)), 2: shapes((2, 5, 6, 2), (1, 3, 4, 1)), 3: shapes((2, 3, 4, 3, 2))}


def _conv_lstm(rank: int) -> Row:
    values = {
        "filters": (3, 1), "kernel_size": _per_axis(3, 1, (2, 3, 1))(rank), "strides": _per_axis(1, 2)(rank),
        "dilation_rate": _per_axis(1, 2)(rank), "activation": ("tanh", "relu"), "stateful": (False,),
    }  # fmt: skip
    return Row(_FRAMES[rank], values, _strides_or_dilation, channels=2)


RECURRENT = {
    "SimpleRNN": Row(_SEQUENCE, _RNN, _unrolled, masks=True),
    "LSTM": Row(_SEQUENCE, _RNN, _unrolled, masks=True),
    "GRU": Row(_SEQUENCE, _RNN, _unrolled, masks=True),
    "RNN": Row(_SEQUENCE, {"cell": _CELLS}, _unrolled, masks=True),
    "SimpleRNNCell": Row(_SEQUENCE, {"activation": ("tanh", "relu")}, inside=_in_rnn, masks=True),
    "LSTMCell": Row(_SEQUENCE, {"activation": ("tanh", "relu")}, inside=_in_rnn, masks=True),
    "GRUCell": Row(_SEQUENCE, {"activation": ("tanh", "relu")}, inside=_in_rnn, masks=True),
    "StackedRNNCells": Row(_SEQUENCE, {"cells": tuple(c for c in _CELLS if isinstance(c, list))}, inside=_in_rnn),
    **_per_rank("ConvLSTM%D", _conv_lstm),
}


def _same_form(config: Mapping[str, Any]) -> bool:
    """Both directions return the same; what is unrolled knows how many steps there are."""
    first, second = config.get("layer"), config.get("backward_layer")
    if first is not None and first.config.get("unroll") and config.get("input") == _SEQUENCE[2]:
        return False
    alike = ("return_sequences", "return_state")
    return first is None or second is None or all(first.config.get(k) == second.config.get(k) for k in alike)


WRAPPERS = {
    "Bidirectional": Row(
        _SEQUENCE,
        {
            "layer": (
                sub("LSTM", units=4, return_sequences=True), sub("LSTM", units=3), sub("SimpleRNN", units=4),
                sub("GRU", units=4, return_sequences=True, return_state=True), sub("GRU", units=2, reset_after=False),
                sub("RNN", cell=sub("LSTMCell", units=3)), sub("LSTM", units=4, activation="relu", dropout=0.2),
                sub("GRU", units=3, return_sequences=True, unroll=True), sub("SimpleRNN", units=2, unroll=True),
            ),
            "merge_mode": ("concat", "sum", "mul", "ave", None),
            "backward_layer": (
                None, sub("GRU", units=4, go_backwards=True), sub("LSTM", units=4, go_backwards=True),
                sub("LSTM", units=4, go_backwards=True, return_sequences=True),
            ),
        },
        _same_form, masks=True,
    ),
    "Bidirectional (ConvLSTM2D)": Row(
        _FRAMES[2],
        {
            "layer": (
                sub("ConvLSTM2D", filters=2, kernel_size=2, padding="same", return_sequences=True),
                sub("ConvLSTM2D", filters=3, kernel_size=3, padding="same"),
            ),
            "merge_mode": ("concat", "sum", "mul", "ave", None), "backward_layer": (None,),
        },
    ),
    # the statistics of an unknown number of steps: tenun refuses to train them, by name
    "TimeDistributed": Row(
        shapes((4, 6, 3), (1, 5, 2), (None, 6, 3)),
        {
            "layer": (
                sub("Dense", units=5, activation="relu"), sub("Conv1D", filters=3, kernel_size=2),
                sub("LSTM", units=4), sub("BatchNormalization"), sub("Flatten"), sub("Dropout", rate=0.3),
                sub("TimeDistributed", layer=sub("Dense", units=2)), sub("MaxPooling1D", pool_size=2),
                sub("Bidirectional", layer=sub("GRU", units=2, return_sequences=True)),
            ),
        },
        never({"layer": sub("BatchNormalization"), "input": In((None, 6, 3))}), masks=True,
    ),
}  # fmt: skip

_PICTURES = (In((7, 6, 3), "image"), In((5, 9, 3), "image"))
_GREY = (*_PICTURES, In((4, 5, 1), "image"))
_FLOATS = {"policies": ("float32", "mixed_float16", "float64")}
_WARP = {"interpolation": ("bilinear", "nearest"), "fill_mode": VALUES["fill_mode"]}


def _random(**values: tuple[Any, ...]) -> Row:
    """A layer that changes images in training only."""
    return Row(_PICTURES, values, random=True, **_FLOATS)  # type: ignore[arg-type]


IMAGE = {
    "Rescaling": Row(
        (In((5, 4, 3)), In((1, 3), "image"), In((2, 3), "int")),
        {"scale": (0.5, 1 / 255, [1.0, 2.0, 3.0]), "offset": (0.0, -1.0, [0.1, 0.2, 0.3])},
    ),
    "Resizing": Row(
        _GREY,
        {
            "height": (5, 12, 1), "width": (4, 11), "interpolation": (
                "bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area",
            ),
            "crop_to_aspect_ratio": (False, True), "pad_to_aspect_ratio": (False, True), "fill_mode": ("constant",),
            "antialias": (False, True),
        },
        lambda c: not (c.get("crop_to_aspect_ratio") and c.get("pad_to_aspect_ratio")), **_FLOATS,  # type: ignore[arg-type]
    ),
    "CenterCrop": Row(_GREY, {"height": (3, 4, 9), "width": (3, 2, 8)}, **_FLOATS),  # type: ignore[arg-type]
    "RandomFlip": _random(mode=("horizontal_and_vertical", "horizontal", "vertical")),
    "RandomRotation": _random(**_WARP),
    "RandomTranslation": _random(height_factor=(0.2, (-0.1, 0.3)), width_factor=(0.2, (-0.1, 0.3)), **_WARP),
    "RandomZoom": _random(height_factor=(0.2, (-0.1, 0.3)), width_factor=(None, 0.2), **_WARP),
    "RandomShear": _random(x_factor=(0.2, 0.0), y_factor=(0.0, 0.3), **_WARP),
    "RandomPerspective": _random(scale=(1.0, 0.5), interpolation=_WARP["interpolation"]),
    "RandomElasticTransform": _random(scale=(1.0, 0.5), **_WARP),
    "RandomCrop": _random(height=(4, 5), width=(4, 6)),
    "RandomContrast": _random(),
    "RandomBrightness": _random(),
    "RandomHue": _random(),
    "RandomSaturation": _random(),
    "RandomSharpness": _random(),
    "RandomColorDegeneration": _random(),
    "RandomColorJitter": _random(
        brightness_factor=(None, 0.2), contrast_factor=(0.3, None), saturation_factor=(None, (0.1, 0.3)),
        hue_factor=(None, 0.1),
    ),
    "RandomGrayscale": _random(),
    "RandomPosterization": _random(factor=(4, 8)),
    "RandomInvert": _random(),
    "RandomErasing": _random(scale=((0.02, 0.33), (0.1, 0.2)), fill_value=(None, 7.0)),
    "RandomGaussianBlur": _random(kernel_size=(3, (3, 5)), sigma=(1.0, (0.5, 1.0))),
    "RandAugment": _random(num_ops=(2, 1)),
    "AugMix": _random(num_chains=(3, 2), chain_depth=(3, 1), alpha=(1.0, 0.5), all_ops=(True, False)),
    "MixUp": _random(alpha=(0.2, 1.0)),
    "CutMix": _random(),
    "AutoContrast": _random(),
    "Equalization": _random(bins=(256, 16)),
    "Solarization": _random(addition_factor=(0.0, 0.2), threshold_factor=(0.0, 0.5)),
    "ContrastLimitedAdaptiveHistogramEqualization": _random(clip_limit=(4.0, 2.0), tile_grid_size=((2, 2), (8, 8))),
}  # fmt: skip

_SOUND = shapes((300,), (513,), (2, 300))
AUDIO = {
    "MelSpectrogram": Row(
        _SOUND[:2],
        {
            "fft_length": (128, 64), "sequence_stride": (64, 31), "sequence_length": (None, 60),
            "window": ("hann", "hamming", None), "sampling_rate": (16000, 8000), "num_mel_bins": (16, 8),
            "min_freq": (20.0, 0.0), "max_freq": (None, 3000), "power_to_db": (True, False), "top_db": (80.0, None),
            "mag_exp": (2.0, 1.0), "min_power": (1e-10, 1e-5), "ref_power": (1.0, 2.0),
        },
        policies=("float32", "float64"),
    ),
    "STFTSpectrogram": Row(
        (In((300, 1)), In((257, 2))),
        {
            "mode": ("log", "magnitude", "psd", "real", "imag", "angle", "stft"), "frame_length": (64, 33),
            "frame_step": (None, 20), "fft_length": (None, 128), "window": ("hann", "hamming", None),
            "periodic": (False, True), "scaling": ("density", "spectrum", None), "expand_dims": (False, True),
        },
        policies=("float32", "float64"),
    ),
}  # fmt: skip

_WORDS = ("lion", "tiger", "bear", "häuser")
_CATEGORIES = (In((4,), "int"), In((1,), "int"), In((3, 2), "int"))
_TEXT = (In((4,), "string"), In((1,), "string"))
_ONE = ("float32",)
_INTEGERS: dict[str, tuple[Any, ...]] = {
    "vocabulary": ([3, 1, 5], [2, 4, 6, 9, 11]), "oov_token": (-1,), "mask_token": (None, 0),
    "vocabulary_dtype": ("int64",), "max_tokens": (None, 12), "num_oov_indices": (1, 2), "salt": (None, 11),
}  # fmt: skip
_STRINGS: dict[str, tuple[Any, ...]] = {
    "vocabulary": (list(_WORDS), list(_WORDS[:2])), "oov_token": ("[UNK]", "?"), "mask_token": (None, "", "bear"),
    "max_tokens": (None, 12), "num_oov_indices": (1, 2), "salt": (None, 11),
}  # fmt: skip
_lookup = never(
    {"pad_to_max_tokens": True, "max_tokens": None}, {"pad_to_max_tokens": True, "output_mode": "int"},
    {"salt": 11, "oov_method": "floormod"}, {"num_oov_indices": 2, "invert": True},
)  # fmt: skip
PREPROCESSING = {
    "Normalization": Row(
        shapes((5, 3), (1, 3)),
        {
            "axis": (-1, None, [1, 2]), "mean": (None, 2.0, [1.0, 2.0, 3.0]), "variance": (None, 3.0, [0.5, 2.0, 4.0]),
        },
        lambda c: ("mean" not in c or "variance" not in c or type(c["mean"]) is type(c["variance"]))
        and (c.get("axis", -1) == -1 or not isinstance(c.get("mean"), list)),
    ),
    "CategoryEncoding": Row(
        (*_CATEGORIES[:2], In((5,), "int")),
        {"num_tokens": (7, 9), "output_mode": ("multi_hot", "one_hot", "count")}, policies=_ONE,
    ),
    "Discretization": Row(
        (In((5,)), In((1, 3)), In((2,), "int")),
        {
            "bin_boundaries": ([-0.5, 0.1, 1.0], [0.0]), "num_bins": (None,), "epsilon": (0.01,),
            "output_mode": VALUES["output_mode"],
        },
        policies=_ONE,
    ),
    "Hashing": Row(
        (*_CATEGORIES[:2], *_TEXT), {"mask_value": (None, 3), "output_mode": VALUES["output_mode"]}, policies=_ONE
    ),
    "HashedCrossing": Row(
        ([In((1,), "int"), In((1,), "string")], [In((1,), "string"), In((1,), "string")]),
        {"output_mode": ("int", "one_hot")}, policies=_ONE,
    ),
    "IntegerLookup": Row(_CATEGORIES, {**_INTEGERS, "invert": (False,)}, _lookup, policies=_ONE),
    "IntegerLookup (invert)": Row(
        _CATEGORIES, {**_INTEGERS, "invert": (True,), "output_mode": ("int",)}, _lookup, policies=_ONE
    ),
    "StringLookup": Row(_TEXT, {**_STRINGS, "invert": (False,)}, _lookup, policies=_ONE),
    "StringLookup (invert)": Row(
        _CATEGORIES, {**_STRINGS, "invert": (True,), "output_mode": ("int",)}, _lookup, policies=_ONE
    ),
    "StringLookup (tf_idf)": Row(
        _TEXT,
        {
            **_STRINGS, "invert": (False,), "vocabulary": (list(_WORDS),), "idf_weights": ([0.3, 0.5, 1.0, 2.0],),
            "output_mode": ("tf_idf",),
        },
        _lookup, policies=_ONE,
    ),
    "TextVectorization": Row(
        (In((1,), "text"), In((), "text")),
        {
            "standardize": ("lower_and_strip_punctuation", None, "lower", "strip_punctuation"),
            "split": ("whitespace", "character", None), "ngrams": (None, 2, (1, 3)), "max_tokens": (None, 12),
            "output_mode": ("int", "multi_hot", "count"), "output_sequence_length": (None, 4),
            "vocabulary": (list(_WORDS), ["the", "big", "the big"]),
        },
        never(
            {"pad_to_max_tokens": True, "max_tokens": None}, {"pad_to_max_tokens": True, "output_mode": "int"},
            {"output_sequence_length": 4, "output_mode": ("multi_hot", "count")},
        ),
        policies=_ONE,
    ),
}  # fmt: skip

FAMILIES: dict[str, dict[str, Row]] = {
    "core": CORE, "convolution": CONV, "pooling": POOL, "reshaping": RESHAPE, "normalization": NORM,
    "activation": ACTIVATION, "merging": MERGE, "attention": ATTENTION, "regularization": REGULARIZATION,
    "recurrent": RECURRENT, "wrappers": WRAPPERS, "preprocessing": PREPROCESSING, "image": IMAGE, "audio": AUDIO,
}  # fmt: skip
TABLE: dict[str, Row] = {name: row for family in FAMILIES.values() for name, row in family.items()}

# What keras.layers exports and no row is about, with the reason.
APART: dict[str, str] = {
    "InputLayer": "part of every model",
    "InputSpec": "no layer: what a layer asks of its input",
    "Layer": "the base class",
    "Wrapper": "a base class",
    "Lambda": "code: only with custom_objects, tested by functional models",
    "Pipeline": "preprocessing layers in a row, tested with them",
    "MaxNumBoundingBoxes": "takes labelled images: a structure of bounding boxes, no tensor",
    "FlaxLayer": "wraps code of another library",
    "JaxLayer": "wraps code of another library",
    "TorchModuleWrapper": "wraps code of another library",
    "TFSMLayer": "wraps a SavedModel folder",
}


def class_of(row: str) -> str:
    """The class that a row is about: its name up to a remark in brackets."""
    return row.split(" ")[0]
