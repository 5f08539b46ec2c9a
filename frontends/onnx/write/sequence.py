"""Sequences and optionals."""

from __future__ import annotations

from typing import Any

from ....ir.types import DType, Optional, Sequence, Tensor, boolean, i64
from ..emitter import Emitter, Item
from ..protos import elem_code, proto_of_type
from . import export, export_all, refuse

export_all({
    "sequence_empty": lambda w, *, dtype: w.SequenceEmpty(dtype=elem_code(dtype), result=dtype),
    "sequence_construct": lambda w, *xs: w.SequenceConstruct(*xs),
    "sequence_at": lambda w, sequence, position: w.SequenceAt(sequence, position),
    "sequence_insert": lambda w, sequence, x, position=None: w.SequenceInsert(sequence, x, position),
    "sequence_erase": lambda w, sequence, position=None: w.SequenceErase(sequence, position),
    "sequence_length": lambda w, sequence: w.SequenceLength(sequence, result=i64),
    "optional_has": lambda w, x: w.OptionalHasElement(x, result=boolean),
    "optional_get": lambda w, x: w.OptionalGetElement(x) if isinstance(x.type, Optional) else x,
})  # fmt: skip


@export()
def concat_from_sequence(w: Emitter, sequence: Item, *, axis: int, new_axis: bool) -> Item:
    return w.ConcatFromSequence(sequence, axis=axis, new_axis=int(new_axis))  # type: ignore[no-any-return]


@export(dynamic=("sizes",))
def split_to_sequence(w: Emitter, x: Item, *, axis: int, sizes: Any, keepdims: bool) -> Item:
    """Without keepdims all sizes are 1, which is ONNX's default."""
    parts = w.vector(sizes) if keepdims else None
    return w.SplitToSequence(x, parts, axis=axis, keepdims=int(keepdims))  # type: ignore[no-any-return]


@export()
def optional_none(w: Emitter, *, dtype: DType, sequence: bool) -> Item:
    element = Tensor(dtype, None)
    kind = Optional(Sequence(element) if sequence else element)
    return w.emit("Optional", type=proto_of_type(kind.element), result=dtype)  # type: ignore[no-any-return]


refuse("it belongs to a gradient", "sequence_sizes", "sequence_zeros", "sequence_add")
