"""What earlier Keras versions wrote otherwise, as tables.

`RENAMED` keys have another name now.  `DROPPED` keys are gone: they are accepted where they say what holds anyway
(the given values), or where they say nothing about results (ANY), and refused by name otherwise.
"""

from __future__ import annotations

from typing import Any

ANY = object()

# class name ("*": all): {old key: new key}
RENAMED: dict[str, dict[str, str]] = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}

# class name ("*": all): {key: values that may be dropped}
DROPPED: dict[str, dict[str, Any]] = {
    "*": {
        "batch_input_shape": ANY,  # of the first layer of a Sequential: read by `config.first_input`
        "batch_shape": ANY,
        "input_shape": ANY,
        "input_dim": ANY,
        "input_dtype": ANY,
        "input_length": ANY,
        "implementation": ANY,  # how Keras runs a recurrent step
        "time_major": (False, None),
        "autocast": (True, None),
        "dynamic": (False, None),
        "experimental_autocast": (True, None),
        "quantization_mode": (None,),
        "kernel_initializer": ANY,  # of depthwise and separable convolutions, which have their own
        "kernel_regularizer": ANY,
        "kernel_constraint": ANY,
        "batch_size": ANY,
        "lora_rank": (None,),
        "lora_alpha": (None,),
    },
    "BatchNormalization": {"virtual_batch_size": (None,), "fused": ANY, "adjustment": (None,)},
    "Conv2DTranspose": {"groups": (1,)},
    "Conv1DTranspose": {"groups": (1,)},
    "Conv3DTranspose": {"groups": (1,)},
    "DepthwiseConv1D": {"groups": (1,), "filters": (None,)},
    "DepthwiseConv2D": {"groups": (1,), "filters": (None,)},
    "SeparableConv1D": {"groups": (1,)},
    "SeparableConv2D": {"groups": (1,)},
    "Embedding": {"sparse": (False,), "weights": (None,)},
    "InputLayer": {"shape": ANY, "type_spec": (None,), "trainable": ANY},
    "Cropping1D": {"data_format": (None, "channels_last")},
    "ZeroPadding1D": {"data_format": (None, "channels_last")},
    "UpSampling1D": {"data_format": (None, "channels_last")},
    "Bidirectional": {"weights": (None,)},
}

# activation names whose formula was another one before Keras 3
ACTIVATIONS_BEFORE_3 = {"hard_sigmoid": "keras2.hard_sigmoid"}

# packages whose classes are Keras' own
PACKAGES = ("keras", "tf_keras", "tensorflow", "keras_core")

# names of a functional model in the dialects
FUNCTIONAL = ("Functional", "Model")


def droppable(class_name: str, key: str, value: Any) -> bool:
    """Whether a key that the layer does not know may be left out."""
    for table in (DROPPED.get(class_name, {}), DROPPED["*"]):
        if key in table:
            allowed = table[key]
            return allowed is ANY or any(value is v or value == v for v in allowed)
    return False
