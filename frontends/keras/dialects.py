"""What earlier Keras versions wrote otherwise, as tables.

`RENAMED` keys have another name now.  `DROPPED` keys are gone: they are accepted where they say what holds anyway
(the given values), or where they say nothing about results (ANY), and refused by name otherwise.
"""

from __future__ import annotations

from typing import Any

from .keras1 import from_keras_1

ANY = object()

# classes that are gone before Keras 3: the class that does the same, and what its config has to say then
GONE: dict[str, tuple[str, dict[str, Any]]] = {
    "CuDNNLSTM": ("LSTM", {}),
    "CuDNNGRU": ("GRU", {"reset_after": True}),
    "UnifiedLSTM": ("LSTM", {}),
    "UnifiedGRU": ("GRU", {}),
    "BatchNormalizationV1": ("BatchNormalization", {}),
    "BatchNormalizationV2": ("BatchNormalization", {}),
    "AtrousConvolution1D": ("Conv1D", {}),
    "AtrousConvolution2D": ("Conv2D", {}),
    "Deconvolution2D": ("Conv2DTranspose", {}),
    **{f"Convolution{rank}D": (f"Conv{rank}D", {}) for rank in (1, 2, 3)},
    "SeparableConvolution2D": ("SeparableConv2D", {}),
}

# what a key that is not there meant before Keras 3, where it means something else now
DEFAULTS_BEFORE_3: dict[str, dict[str, Any]] = {
    "GRU": {"reset_after": False},  # came with Keras 2.1.3
    "GRUCell": {"reset_after": False},
}

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
    **{
        name: {"vocabulary_size": ANY, "has_input_vocabulary": ANY, "sparse": (False,)}
        for name in ("StringLookup", "IntegerLookup", "TextVectorization")
    },
}

# activation names whose formula was another one before Keras 3
ACTIVATIONS_BEFORE_3 = {"hard_sigmoid": "keras2.hard_sigmoid"}

# classes of layers that are calls of TensorFlow's functions (symbols.py)
SYMBOL_CLASSES = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

# packages whose classes are Keras' own
PACKAGES = ("keras", "tf_keras", "tensorflow", "keras_core")

# layers that run what another framework made, which a file does not have or tenun cannot run: what to do instead
REFUSED_LAYERS = {
    "TFSMLayer": "it runs a SavedModel of TensorFlow; turn that into ONNX (python -m tf2onnx.convert --saved-model "
    "FOLDER --output m.onnx) and load m.onnx",
    "TorchModuleWrapper": "it runs a module of PyTorch; write that with torch.onnx.export and load the .onnx file",
    **dict.fromkeys(
        ("JaxLayer", "FlaxLayer"),
        "it runs a function of JAX; turn the model into ONNX (jax2tf, then tf2onnx) and load the .onnx file",
    ),
    "Wrapper": "it is the base of wrappers, which does nothing",
}

# names of a functional model in the dialects
FUNCTIONAL = ("Functional", "Model")


def translated(class_name: str, config: dict[str, Any], version: str) -> tuple[str, dict[str, Any]]:
    """A layer of Keras 1 or 2 under the class name and with the keys of Keras 3."""
    if version.startswith("1"):
        class_name, config = from_keras_1(class_name, config)
    class_name, more = GONE.get(class_name, (class_name, {}))
    return class_name, {**DEFAULTS_BEFORE_3.get(class_name, {}), **config, **more}


def droppable(class_name: str, key: str, value: Any) -> bool:
    """Whether a key that the layer does not know may be left out."""
    for table in (DROPPED.get(class_name, {}), DROPPED["*"]):
        if key in table:
            allowed = table[key]
            return allowed is ANY or any(value is v or value == v for v in allowed)
    return False
