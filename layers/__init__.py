"""Keras' layers: config, weights and lowering to core ops, one class each.  `LAYERS` is the table by Keras' names."""

from . import (  # noqa: F401 - importing a family enters its layers into the table
    activation,
    applications,
    attention,
    audio,
    augmentation,
    category,
    conv,
    conv_recurrent,
    core,
    einsum,
    features,
    input,
    lookup,
    merge,
    model,
    norm,
    pool,
    preprocessing,
    recurrent,
    regularization,
    reshape,
    resizing,
    spectral,
    text,
    wrappers,
)
from .base import LAYERS, Layer, Weight, layer
from .lowering import Lowering, Parameter, Scope, Value

__all__ = ["LAYERS", "Layer", "Lowering", "Parameter", "Scope", "Value", "Weight", "layer"]

globals().update(LAYERS)
__all__ += list(LAYERS)
