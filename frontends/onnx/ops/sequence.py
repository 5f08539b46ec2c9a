"""Sequences and optionals."""

from __future__ import annotations

import numpy as np

from ....ir.graph import Var
from ....ir.op import axis_of
from ....ir.types import Optional, Sequence, Tensor, i64
from ..lowering import Lowering
from ..messages import TypeProto
from ..protos import elem_type, type_of_proto
from ..registry import onnx


@onnx("SequenceEmpty")
def sequence_empty(b: Lowering, *, dtype: int = 1) -> Var:
    return b.sequence_empty(dtype=elem_type(dtype))


@onnx("SequenceConstruct")
def sequence_construct(b: Lowering, *inputs: Var) -> Var:
    return b.sequence_construct(*inputs)


@onnx("SequenceAt")
def sequence_at(b: Lowering, input_sequence: Var, position: Var) -> Var:
    return b.sequence_at(input_sequence, position)


@onnx("SequenceInsert")
def sequence_insert(b: Lowering, input_sequence: Var, tensor: Var, position: Var | None = None) -> Var:
    return b.sequence_insert(input_sequence, tensor, position)


@onnx("SequenceErase")
def sequence_erase(b: Lowering, input_sequence: Var, position: Var | None = None) -> Var:
    return b.sequence_erase(input_sequence, position)


@onnx("SequenceLength")
def sequence_length(b: Lowering, input_sequence: Var) -> Var:
    return b.sequence_length(input_sequence)


@onnx("ConcatFromSequence")
def concat_from_sequence(b: Lowering, input_sequence: Var, *, axis: int, new_axis: int = 0) -> Var:
    return b.concat_from_sequence(input_sequence, axis=axis, new_axis=new_axis)


@onnx("SplitToSequence")
def split_to_sequence(b: Lowering, input: Var, split: Var | None = None, *, axis: int = 0, keepdims: int = 1) -> Var:
    """Without sizes: slices of length 1; one number: parts of that length, the last one shorter if need be."""
    total = b.dim(input, axis_of(axis, len(input.shape)))
    if split is None:
        sizes = (1,) * total if isinstance(total, int) else b.fill(np.int64(1), shape=b.vector([total]))
        return b.split_to_sequence(input, axis=axis, sizes=sizes, keepdims=keepdims)
    if split.shape:
        return b.split_to_sequence(input, axis=axis, sizes=split)
    count = b.gather(b.shape(input), np.int64(axis))
    size = b.cast(split, to=i64)
    sizes = b.minimum(b.sub(count, b.range(np.int64(0), count, size)), size)
    return b.split_to_sequence(input, axis=axis, sizes=sizes)


@onnx("Optional")
def optional(b: Lowering, input: Var | None = None, *, type: TypeProto | None = None) -> Var:
    """A value that is there is an optional as it is; without one, an optional of the type that has none."""
    if input is not None:
        return input
    if type is None:
        raise b.refuse("neither a value nor a type")
    kind = type_of_proto(type, b.model.symbols, "optional")
    element = kind.element if isinstance(kind, Sequence) else kind
    if not isinstance(element, Tensor):
        raise b.refuse(f"an optional of {kind}")
    return b.optional_none(dtype=element.dtype, sequence=isinstance(kind, Sequence))


@onnx("OptionalHasElement")
def optional_has_element(b: Lowering, input: Var | None = None) -> Var:
    if input is not None and isinstance(input.type, Optional):
        return b.optional_has(input)
    return b.constant(np.array(input is not None))


@onnx("OptionalGetElement")
def optional_get_element(b: Lowering, input: Var) -> Var:
    return b.optional_get(input) if isinstance(input.type, Optional) else input
