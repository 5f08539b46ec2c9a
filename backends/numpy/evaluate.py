"""Computing one node from arrays: what folding, values of unknown shape and control flow run on.

The same kernels serve here and in plans: one semantics per op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import RunError, TenunError, UnsupportedError
from ...ir import types
from ...ir.attributes import check
from ...ir.op import Op, infer
from ...ir.types import Tensor, Type
from .registry import NUMPY, Array, Kernel, Kernels, Step


def kernel_of(op: Op, table: Kernels = NUMPY) -> Kernel:
    """The row of a table of kernels; UnsupportedError where there is none."""
    if op.name not in table.rows:
        raise UnsupportedError(
            f"op {op.name} has no NumPy kernel", op=op.name, hint="add a row in backends/numpy/kernels"
        )
    return table.rows[op.name]


def kernel_attributes(op: Op, attrs: Mapping[str, Any], operand_types: Sequence[Any]) -> dict[str, Any]:
    """The attributes as kernels see them, all shapes being known."""
    return dict(attrs) if op.concrete is None else op.concrete(operand_types, dict(attrs))


def flat_steps(steps: Any) -> list[Step]:
    """What a bound kernel returned, as a list of steps."""
    return list(steps) if isinstance(steps, (list, tuple)) else [steps]


def run_time_type(value: Any) -> Type:
    """The type of a value at run time: an array, a list (sequence) or a dict (map)."""
    if isinstance(value, dict):
        key = types.string if any(isinstance(k, str) for k in value) else types.i64
        return types.Map(run_time_type(next(iter(value.values()), np.float32(0))), key)
    if isinstance(value, list):
        elements = [run_time_type(v) for v in value]
        joined = elements[0] if elements else Tensor(types.f32, None)
        for t in elements[1:]:
            joined = types.join(joined, t)
        return types.Sequence(joined)
    return types.type_of(value, values=True)


def evaluate(
    op: Op,
    operands: Sequence[Any],
    attrs: Mapping[str, Any],
    dynamic: tuple[str, ...] = (),
    graphs: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Any, ...]:
    """The outputs of an op for given arrays (None: left out).

    The last len(dynamic) operands give attributes; `graphs` are the subgraphs as functions on arrays.  RunError where
    the kernel fails on them.
    """
    try:
        return _evaluate(op, operands, attrs, dynamic, graphs)
    except TenunError as error:
        raise error.at(op=op.name) from None
    except Exception as error:
        raise RunError(f"{type(error).__name__} in the kernel of {op.name}: {error}", op=op.name) from error


def _evaluate(
    op: Op,
    operands: Sequence[Any],
    attrs: Mapping[str, Any],
    dynamic: tuple[str, ...],
    graphs: Mapping[str, Callable[..., Any]] | None,
) -> tuple[Any, ...]:
    split = len(operands) - len(dynamic)
    arrays = operands[:split]
    given = {k: _attribute_value(op, k, v) for k, v in zip(dynamic, operands[split:])}
    attributes = {**attrs, **given}
    row = kernel_of(op)
    if row.form == "kernel" and graphs:  # a chain, of which the blocks are one of the ways to compute its body
        (body,) = graphs.values()
        return tuple(body(*arrays))
    if row.form == "kernel":
        return _evaluate_bound(op, row, arrays, attributes)
    if op.concrete is not None:
        attributes = kernel_attributes(op, attributes, [None if a is None else run_time_type(a) for a in arrays])
    if row.form == "view":
        results = call_view(row, arrays, attributes)
    else:
        results = row.call(*arrays, **attributes, **(graphs or {}))
    return tuple(results) if op.many else (results,)


def call_view(row: Kernel, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """The result of a view kernel, on a contiguous copy where the elements do not lie as needed."""
    try:
        return row.call(*arrays, **attrs)
    except ValueError:
        return row.call(np.array(arrays[0], order="C"), *arrays[1:], **attrs)


def _attribute_value(op: Op, name: str, value: Array) -> Any:
    attribute = op.attributes[name]
    flat = np.asarray(value).reshape(-1).tolist()
    try:
        if attribute.kind in ("int", "float", "Dim"):
            (flat,) = flat
        return check(attribute, flat)
    except (TypeError, ValueError):
        raise RunError(f"attribute {name} of {op.name} got {flat} at run time", op=op.name) from None


def _evaluate_bound(op: Op, row: Kernel, arrays: Sequence[Any], attributes: dict[str, Any]) -> tuple[Any, ...]:
    operand_types = tuple(None if a is None else run_time_type(a) for a in arrays)
    results = infer(op, operand_types, attributes)
    outs = tuple(np.empty(_tensor(t).static, _tensor(t).dtype.numpy) for t in results)
    concrete = kernel_attributes(op, attributes, operand_types)
    bound = row.call(*arrays, **concrete, out=outs if op.many else outs[0], scratch=np.empty)
    for step in flat_steps(bound):
        step()
    return outs


def _tensor(t: Type) -> Tensor:
    assert isinstance(t, Tensor)
    return t


def detached(value: Any, owners: Iterable[Array]) -> Any:
    """The value without memory shared with any of the owners, who will overwrite it."""
    if isinstance(value, list):
        return [detached(v, owners) for v in value]
    if isinstance(value, np.ndarray) and any(np.may_share_memory(value, o) for o in owners):
        return value.copy()
    return value
