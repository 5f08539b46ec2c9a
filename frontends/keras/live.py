"""Live Keras models whose only description is their code: exported to ONNX by Keras itself, and read from there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadError, TenunError
from ...ir import Graph


def is_live(source: Any) -> bool:
    """Whether this is a Keras model in memory."""
    return hasattr(source, "to_json") and hasattr(source, "layers")


def through_onnx(model: Any, error: TenunError) -> Graph:
    """The graph of a live model by way of `model.export(format="onnx")`; a warning says so.

    error: why the model could not be read by its configuration; raised, with what went wrong now, if this fails too.
    """
    import tempfile

    from ..onnx import read

    name = f"{type(model).__module__}.{type(model).__name__}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            _call_once(model)
            model.export(str(path), format="onnx", verbose=False)
            graph = read(str(path))
        except Exception as failure:  # whatever the user's code, Keras or its exporter raises
            hint = (
                f"{error.hint}; or" if error.hint else "Sequential and functional models are read as they are;"
            ) + " call the model on data once, and let model.export(path, format='onnx') work (it needs tf2onnx)"
            raise LoadError(f"{error.message}; its export to ONNX failed too: {failure}", hint=hint) from None
    graph.name = str(getattr(model, "name", None) or "model")
    graph.metadata["read_through"] = "onnx"
    warnings.warn(
        f"{name} was read through Keras' export to ONNX, as its configuration does not say what it computes "
        f"({error.message}): names of layers and weights are those of the export, and it cannot be trained here",
        stacklevel=5,
    )
    return graph


def _call_once(model: Any) -> None:
    """Keras exports no model that was never called; one that knows its inputs can be, on zeros."""
    known = getattr(model, "inputs", None)
    if known and not getattr(model, "_called", True):
        zeros = [np.zeros([1 if d is None else d for d in x.shape], str(x.dtype)) for x in known]
        model(zeros[0] if len(zeros) == 1 else zeros)
