"""Layers of Keras 1 (2015 to 2017) in the names and keys of Keras 2, as tables.

Source: keras 2.0, legacy/interfaces.py and legacy/layers.py, which convert the same.
"""

from __future__ import annotations

from typing import Any

# {key of Keras 1: key of Keras 2}; by class, then for all
KEYS: dict[str, dict[str, str]] = {
    "Embedding": {
        "init": "embeddings_initializer", "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint", "output_dim": "output_dim",
    },
    "UpSampling1D": {"length": "size"},
    "GaussianNoise": {"sigma": "stddev"},
    "BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    "PReLU": {"init": "alpha_initializer"},
    "SeparableConvolution2D": {"init": "depthwise_initializer"},
}  # fmt: skip
ALL_KEYS = {
    "output_dim": "units", "nb_filter": "filters", "init": "kernel_initializer", "bias": "use_bias", "p": "rate",
    "W_regularizer": "kernel_regularizer", "b_regularizer": "bias_regularizer", "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint", "U_regularizer": "recurrent_regularizer", "border_mode": "padding",
    "subsample": "strides", "subsample_length": "strides", "stride": "strides", "filter_length": "kernel_size",
    "pool_length": "pool_size", "atrous_rate": "dilation_rate", "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation", "dropout_W": "dropout", "dropout_U": "recurrent_dropout",
}  # fmt: skip
DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}
KERNEL_SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))

# keys that say how something was computed, or what Keras 2 finds out: left out with these values (none: with any)
GONE: dict[str, tuple[Any, ...]] = {
    "consume_less": (), "forget_bias_init": (), "weights": (None,), "mode": (0, 2), "output_shape": (),
}  # fmt: skip
ONLY_FOR = {"mode": "BatchNormalization", "output_shape": "Deconvolution2D"}

MERGES = {
    "sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "dot": "Dot", "cos": "Dot",
    "max": "Maximum",
}  # fmt: skip


def from_keras_1(class_name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A layer's class name and config; keys that nobody knows stay, to be refused by name."""
    if class_name == "Merge" and config.get("mode") in MERGES and not config.get("layers"):
        return MERGES[config["mode"]], _merge(config)
    keys = {**ALL_KEYS, **KEYS.get(class_name, {})}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key in GONE and ONLY_FOR.get(key, class_name) == class_name and (not GONE[key] or value in GONE[key]):
            continue
        if key == "dim_ordering" and value in (*DATA_FORMATS, None, "default"):
            found["data_format"] = DATA_FORMATS.get(str(value), "channels_last")
            continue
        found[keys.get(key, key)] = value
    for sizes in KERNEL_SIZES:
        if all(size in found for size in sizes):
            found["kernel_size"] = [found.pop(size) for size in sizes]
    return class_name, found


def _merge(config: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {k: config[k] for k in ("name", "trainable") if k in config}
    if config["mode"] == "concat":
        return {**kept, "axis": config.get("concat_axis", -1)}
    if config["mode"] in ("dot", "cos"):
        return {**kept, "axes": config.get("dot_axes", -1), "normalize": config["mode"] == "cos"}
    return kept
