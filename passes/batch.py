"""Analysis: which symbol is a batch, that is, an axis along which a graph's samples never meet.

Such a graph may be cut along that axis and the parts computed one by one, or side by side, with the same results.
"""

from __future__ import annotations

from ..ir import dims
from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor


def batch_symbol(graph: Graph) -> str | None:
    """The symbol that is axis 0 of every input and output, and that no node mixes; None if there is none.

    Refused: control flow, state, random ops, sequences, and every node whose op does not say which axes it mixes.
    """
    if not graph.inputs or graph.state:
        return None
    first = graph.inputs[0].type
    name = dims.as_symbol(first.shape[0]) if isinstance(first, Tensor) and first.shape else None
    if name is None:
        return None
    batch = dims.symbol(name)
    if not all(_leads(v, batch, name) for v in (*graph.inputs, *graph.outputs)):
        return None
    return name if all(_keeps_apart(node, batch, name) for node in graph.nodes) else None


def _leads(var: Var, batch: dims.Expr, name: str) -> bool:
    """Whether axis 0 is the batch and no other axis depends on it."""
    t = var.type
    return (
        isinstance(t, Tensor)
        and bool(t.shape)
        and t.dims[0] == batch
        and all(name not in dims.symbols(d) and dims.known(d) for d in t.dims[1:])
    )


def _free(var: Var, name: str) -> bool:
    """Whether the value does not depend on the batch at all."""
    t = var.type
    return isinstance(t, Tensor) and t.shape is not None and all(
        dims.known(d) and name not in dims.symbols(d) for d in t.shape
    )  # fmt: skip


def _keeps_apart(node: Node, batch: dims.Expr, name: str) -> bool:
    if node.graphs or node.dynamic or node.op.has("random") or node.op.has("effect"):
        return False
    operands = [v for v in node.inputs if v is not None]
    led = [v for v in operands if _leads(v, batch, name)]
    if not all(v in led or _free(v, name) for v in operands):
        return False
    if not all(_leads(v, batch, name) for v in node.outputs):
        # without a sample among the operands the result must not know of the batch either
        return not led and all(_free(v, name) for v in node.outputs)
    if not led:
        return False  # made from the size of the batch
    if node.op.has("elementwise"):
        return all(len(v.shape) == len(node.outputs[0].shape) for v in led)
    if node.op.mixes is None:
        return False
    leading_operand = operands[0] if node.op.variadic else node.inputs[0]
    return leading_operand not in led or 0 not in set(node.op.mixes(len(led[0].shape), **node.attrs))
