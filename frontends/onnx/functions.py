"""Operators that ONNX itself defines by other operators: bodies kept in the schemas of the onnx package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import UnsupportedError
from .messages import FunctionProto, NodeProto, TypeProto


def schema_with_function(domain: str, name: str, version: int) -> Any | None:
    """The schema of an operator that has a body, if there is one."""
    if not isinstance(name, str):  # damaged text, which protobuf gives as bytes
        return None
    import onnx.defs

    try:
        schema = onnx.defs.get_schema(name, version, domain)
    except onnx.defs.SchemaError:
        return None
    found: Any = schema
    return found if found.has_function or found.has_context_dependent_function else None


def fixed_body(schema: Any, version: int) -> FunctionProto | None:
    """The body of an operator that does not depend on types and attributes."""
    versions = [v for v in schema.function_opset_versions if v <= version] or schema.function_opset_versions[:1]
    if not schema.has_function or not versions:
        return None
    return FunctionProto.FromString(schema.get_function_with_opset_version(max(versions)))


def expanded(schema: Any, version: int, node: NodeProto, types: Sequence[TypeProto | None]) -> FunctionProto:
    """The body of an operator for a node and the types of its operands."""
    body = fixed_body(schema, version)
    if body is not None:
        return body
    versions = list(schema.context_dependent_function_opset_versions)
    chosen = max([v for v in versions if v <= version] or versions[:1])
    given = [b"" if t is None else t.SerializeToString() for t in types]
    text = schema.get_context_dependent_function_with_opset_version(chosen, node.SerializeToString(), given)
    if not text:
        raise UnsupportedError(
            f"operator {node.op_type}: ONNX gives no definition for these types", op=node.op_type,
            hint="declare the shapes of the model's inputs",
        )  # fmt: skip
    return FunctionProto.FromString(text)
