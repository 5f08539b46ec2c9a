"""Protobuf objects as values of Python and of the IR: types, tensors, attributes.

No row of the table of operators enters this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadError, UnsupportedError
from ...ir import dims
from ...ir.dims import Dim
from ...ir.types import DType, Map, Optional, Sequence, Tensor, Type, dtype
from .external import external_bytes
from .messages import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TypeProto

# TensorProto.DataType: the dtypes that NumPy has itself; onnx.helper knows the others
PLAIN = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "object", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
}  # fmt: skip
SPARSE_LIMIT = 1 << 31  # bytes of a sparse initialiser made dense


@lru_cache
def elem_type(code: int) -> DType:
    """The dtype of a `TensorProto.DataType`."""
    if code in PLAIN:
        return dtype(np.dtype(PLAIN[code]))
    from onnx import helper

    try:
        return dtype(helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, TypeError):
        raise LoadError(f"there is no tensor element type {code}") from None


def elem_code(of: DType) -> int:
    """The `TensorProto.DataType` of a dtype."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(of.numpy))


class Symbols:
    """Names of dimensions: `dim_param` made identifiers, and new names for dimensions that have none."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def named(self, parameter: str) -> Dim:
        """The symbol of a `dim_param`; equal texts are equal dimensions."""
        if parameter not in self._names:
            self._names[parameter] = self._free("".join(c if c.isalnum() or c == "_" else "_" for c in parameter))
        return dims.symbol(self._names[parameter])

    def fresh(self, hint: str) -> Dim:
        """A symbol of its own for a dimension about which the model says nothing."""
        return self.named(f"{hint}\0{len(self._names)}") if hint in self._names else self.named(hint)

    def _free(self, text: str) -> str:
        text = text.strip("_") or "d"
        name = base = text if text.isascii() and text.isidentifier() else f"d{text}" if text.isascii() else "d"
        i = 1
        while name in self._names.values():
            name, i = f"{base}_{i}", i + 1
        return name


def type_of_proto(proto: TypeProto, symbols: Symbols, name: str) -> Type:
    """The type that a model declares for the value called name."""
    kind = proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):  # inside, all tensors are dense
        tensor = getattr(proto, kind)
        element = elem_type(tensor.elem_type)
        if not tensor.HasField("shape"):
            return Tensor(element, None)
        return Tensor(element, tuple(_dim(d, symbols, f"{name}_{i}") for i, d in enumerate(tensor.shape.dim)))
    if kind == "sequence_type":
        return Sequence(type_of_proto(proto.sequence_type.elem_type, symbols, name))
    if kind == "optional_type":
        return Optional(type_of_proto(proto.optional_type.elem_type, symbols, name))
    if kind == "map_type":
        key = elem_type(proto.map_type.key_type)
        return Map(type_of_proto(proto.map_type.value_type, symbols, name), key)
    raise UnsupportedError(
        f"value {name!r} has a type that tenun does not know: {kind}", hint="tensors, sequences, maps and optionals"
    )


def _dim(dim: Any, symbols: Symbols, hint: str) -> Dim:
    if dim.HasField("dim_value"):
        if dim.dim_value < 0:
            return symbols.fresh(hint)
        return int(dim.dim_value)
    return symbols.named(dim.dim_param) if dim.dim_param else symbols.fresh(hint)


def proto_of_type(t: Type) -> TypeProto:
    """A type as ONNX writes it."""
    from onnx import helper

    if isinstance(t, Sequence):
        return helper.make_sequence_type_proto(proto_of_type(t.element))
    if isinstance(t, Optional):
        return helper.make_optional_type_proto(proto_of_type(t.element))
    if isinstance(t, Map):
        return helper.make_map_type_proto(elem_code(t.key), proto_of_type(t.element))
    assert isinstance(t, Tensor)
    shape = (
        None if t.shape is None else [d if isinstance(d, int) else str(d) if dims.known(d) else None for d in t.shape]
    )
    return helper.make_tensor_type_proto(elem_code(t.dtype), shape)


# ---- tensors -------------------------------------------------------------------------------------------------


def array_of(proto: TensorProto, folder: Path | None) -> np.ndarray[Any, Any]:
    """The elements of a tensor; external data is memory-mapped from the model's folder.

    LoadError where the elements stored do not fit the shape declared.
    """
    name, shape = proto.name, tuple(proto.dims)
    element = elem_type(proto.data_type)
    if any(d < 0 for d in shape):
        raise LoadError(f"tensor {name!r} has a negative dimension: {shape}")
    if proto.data_location == TensorProto.EXTERNAL:
        raw = external_bytes(proto, folder, _stored_bytes(element, math.prod(shape)), element.numpy.alignment)
        if element.bits >= 8:
            return raw.view(element.numpy).reshape(shape)
        proto = TensorProto(data_type=proto.data_type, dims=shape, raw_data=raw.tobytes())
    if proto.HasField("raw_data") and len(proto.raw_data) != _stored_bytes(element, math.prod(shape)):
        raise LoadError(f"tensor {name!r} of {element}{list(shape)} holds {len(proto.raw_data)} bytes")
    try:
        array = _elements(proto, element).reshape(shape)
    except (ValueError, TypeError, KeyError) as error:
        raise LoadError(f"tensor {name!r} of {element}{list(shape)} cannot be read: {error}") from None
    if array.dtype == object:
        array = np.array([v.decode() if isinstance(v, bytes) else v for v in array.reshape(-1)], object).reshape(shape)
    return array


def _elements(proto: TensorProto, element: DType) -> np.ndarray[Any, Any]:
    """The elements of a tensor: most lie there as NumPy has them, the package onnx reads the others."""
    if proto.data_type in PLAIN and proto.HasField("raw_data") and not proto.HasField("segment"):
        raw = np.frombuffer(proto.raw_data, element.numpy.newbyteorder("<"))
        return raw.astype(element.numpy, copy=False)
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(proto))


def _stored_bytes(element: DType, count: int) -> int:
    return -(-count * element.bits // 8) if element.bits < 8 else count * element.numpy.itemsize


def dense_of(proto: SparseTensorProto, folder: Path | None) -> np.ndarray[Any, Any]:
    """A sparse tensor made dense; its indices are places in the flattened tensor, or one row of coordinates each."""
    values, indices = array_of(proto.values, folder), array_of(proto.indices, folder)
    name, shape = proto.values.name, tuple(proto.dims)
    if math.prod(shape) * values.dtype.itemsize > SPARSE_LIMIT:
        raise LoadError(f"sparse tensor {name!r} of shape {shape} would take more than {SPARSE_LIMIT} bytes")
    try:
        if indices.ndim == 2:
            indices = np.ravel_multi_index(tuple(indices.T), shape)
        dense = np.full(math.prod(shape), "" if values.dtype == object else 0, values.dtype)
        if indices.shape != values.shape or (indices.size and indices.min() < 0):
            raise ValueError("indices do not fit the values")
        dense[indices] = values
    except (ValueError, IndexError) as error:
        raise LoadError(f"sparse tensor {name!r} of shape {shape}: {error}") from None
    return dense.reshape(shape)


# ---- attributes ----------------------------------------------------------------------------------------------

A = AttributeProto
_READ: dict[int, Callable[[AttributeProto], Any]] = {
    A.FLOAT: lambda a: float(a.f),
    A.INT: lambda a: int(a.i),
    A.STRING: lambda a: a.s.decode(),
    A.FLOATS: lambda a: tuple(map(float, a.floats)),
    A.INTS: lambda a: tuple(map(int, a.ints)),
    A.STRINGS: lambda a: tuple(s.decode() for s in a.strings),
    A.GRAPH: lambda a: a.g,
    A.GRAPHS: lambda a: tuple(a.graphs),
    A.TYPE_PROTO: lambda a: a.tp,
}


def attribute_value(a: AttributeProto, folder: Path | None) -> Any:
    """The value of an attribute: number, text, tuple, array or GraphProto."""
    kind = a.type
    if kind == A.TENSOR:
        return array_of(a.t, folder)
    if kind == A.TENSORS:
        return tuple(array_of(t, folder) for t in a.tensors)
    if kind == A.SPARSE_TENSOR:
        return dense_of(a.sparse_tensor, folder)
    if kind not in _READ:
        raise UnsupportedError(f"attribute {a.name!r} is of kind {kind}, which tenun does not know")
    try:
        return _READ[kind](a)
    except UnicodeDecodeError:
        raise LoadError(f"attribute {a.name!r} is no UTF-8 text") from None


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The graphs among the attributes of a node."""
    found: list[GraphProto] = []
    for a in node.attribute:
        if a.type == A.GRAPH:
            found.append(a.g)
        elif a.type == A.GRAPHS:
            found += a.graphs
    return found
