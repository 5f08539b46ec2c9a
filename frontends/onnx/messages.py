"""ONNX's messages: the classes that protobuf generated, without the rest of the package onnx.

Importing that package takes four times as long as its classes, and longer than most models take to be read.  Whoever
needs more of it (schemas, shape inference, rare element types) imports it where he does; it then has these very
classes, as protobuf makes one of a name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import (
        AttributeProto,
        FunctionProto,
        GraphProto,
        ModelProto,
        NodeProto,
        SparseTensorProto,
        TensorProto,
        TypeProto,
    )
else:

    def _generated() -> Any:
        """The module of the classes, from its file; the package, if that is imported already or laid out otherwise."""
        package = find_spec("onnx") if "onnx" not in sys.modules else None
        folders = package.submodule_search_locations if package is not None else None
        file = Path(*folders, "onnx_ml_pb2.py") if folders is not None and len(folders) == 1 else None
        spec = spec_from_file_location(f"{__name__}.generated", file) if file is not None and file.is_file() else None
        if spec is None or spec.loader is None:
            return import_module("onnx")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    _classes = _generated()
    AttributeProto, FunctionProto, GraphProto = _classes.AttributeProto, _classes.FunctionProto, _classes.GraphProto
    ModelProto, NodeProto, TypeProto = _classes.ModelProto, _classes.NodeProto, _classes.TypeProto
    TensorProto, SparseTensorProto = _classes.TensorProto, _classes.SparseTensorProto

__all__ = [
    "AttributeProto",
    "FunctionProto",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "SparseTensorProto",
    "TensorProto",
    "TypeProto",
]
