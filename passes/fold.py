"""Constant and shape folding, and refinement of types."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError, TenunError
from ..ir import dims
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.ops.control import CHOSEN
from ..ir.rebuild import copy_node, copy_nodes, rebuild, refine, settle_attributes
from ..ir.types import Tensor, Type
from .manager import Context, register


@register
def fold(graph: Graph, context: Context) -> int:
    """Compute what does not depend on the inputs, and settle attributes and types that have become known.

    1. An attribute given at run time becomes a plain one if its value is known by now.
    2. Types are inferred again from what is known of the operands.
    3. A result whose elements the type rules know (shape arithmetic) becomes a constant.
    4. A pure node whose operands are all constants is computed by the backend's kernel, unless that makes more than
       `fold_limit` bytes out of less.
    5. `if` with a constant condition becomes the nodes of its branch; other subgraphs are folded inside.
    """
    changes = 0
    for node in list(graph.nodes):
        if node.graphs:
            changes += _fold_control(graph, node, context)
            continue
        changes += settle_attributes(node) + refine(node)
        changes += _fold_known(graph, node) or _fold_computed(graph, node, context)
    return changes


def _fold_known(graph: Graph, node: Node) -> int:
    """Shape arithmetic: the type rule itself knows the elements."""
    t = node.outputs[0].type if len(node.outputs) == 1 else None
    if not isinstance(t, Tensor) or t.value is None or not dims.is_number(t.value) or not t.is_static:
        return 0
    if node.op.has("random"):
        return 0
    _replace(graph, node, [_stored(np.array(t.value, t.dtype.numpy).reshape(t.static))])
    return 1


def _fold_computed(graph: Graph, node: Node, context: Context) -> int:
    if context.evaluate is None or any(v is not None and v.constant is None for v in node.inputs):
        return 0
    if node.op.has("random") or node.op.has("effect") or not all(map(_is_array, node.outputs)):
        return 0
    if any(v is not None and v.data is None for v in node.inputs):
        return 0
    if any(map(_symbolic, node.attrs.values())):
        return 0
    size = sum(_bytes(v.type) for v in node.outputs)
    if size > context.fold_limit and size > sum(v.tensor.nbytes for v in node.inputs if v is not None):
        return 0
    _replace(graph, node, _computed(node, context) if context.memo is None else context.memo(node, context))
    return 1


def _computed(node: Node, context: Context) -> list[Any]:
    """The results of a node, arrays as constants have them."""
    assert context.evaluate is not None
    try:
        with np.errstate(all="ignore"):
            results = context.evaluate(node.op, [v and v.data for v in node.inputs], node.attrs, node.dynamic)
    except TenunError as error:
        raise error.at(node=node.source or None, op=node.op.name) from None
    return [_stored(np.asarray(array)) for array in results]


class Memo:
    """What was computed from the large constants of a graph, and from that: once for all graphs that share them."""

    LEAST = 1 << 14  # bytes of a result that is worth keeping

    def __init__(self, graph: Graph) -> None:
        self._known = {id(v.data): v.data for v in graph.constants}
        self._found: dict[Any, list[Any]] = {}

    def __call__(self, node: Node, context: Context) -> list[Any]:
        """The results of a node."""
        operands = [v and id(v.data) for v in node.inputs]
        small = sum(_bytes(v.type) for v in node.outputs) < self.LEAST
        if small or not all(i is None or i in self._known for i in operands):
            return _computed(node, context)
        key = (node.op.name, repr(sorted(node.attrs.items())), node.dynamic, *operands)
        if key not in self._found:
            self._found[key] = _computed(node, context)
            for array in self._found[key]:
                array.flags.writeable = False  # constants that nobody needs to copy
                self._known[id(array)] = array
        return self._found[key]


def _symbolic(attribute: Any) -> bool:
    """Whether an attribute holds a dimension that is no number yet."""
    return isinstance(attribute, dims.Expr) or (isinstance(attribute, tuple) and any(map(_symbolic, attribute)))


def _is_array(var: Var) -> bool:
    return isinstance(var.type, Tensor)


def _bytes(t: Type) -> int:
    return t.nbytes if isinstance(t, Tensor) and t.is_static else 0


def _replace(graph: Graph, node: Node, arrays: list[Any]) -> None:
    for out, array in zip(node.outputs, arrays):
        if not graph.is_unused(out):
            name = next((v.name for v in node.inputs if v is not None and v.constant is not None), out.name)
            graph.replace(out, graph.add_constant(array, name))
    graph.erase(node)


def _stored(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in C order; a transposed matrix stays a view, which BLAS takes as it is, without a copy."""
    return array if array.ndim == 2 and array.flags.f_contiguous else np.ascontiguousarray(array).reshape(array.shape)


def _fold_control(graph: Graph, node: Node, context: Context) -> int:
    builder = Builder(graph, before=node, source=node.source)
    if node.op.name in _INLINERS and (chosen := _INLINERS[node.op.name](node)) is not None:
        args = [v for v in node.inputs[1:] if v is not None]
        results = copy_nodes(builder, chosen, dict(zip(chosen.inputs, args)))
        for old, new in zip(node.outputs, results):
            graph.replace(old, new)
        graph.erase(node)
        return 1
    if node.op.name in CHOSEN:
        changes = sum(_fold_branch(node, name, context) for name in node.graphs)
    else:
        changes = sum(fold(sub, context) for sub in node.graphs.values())
    if changes:
        copy = copy_node(builder, node, list(node.operands), dict(node.attrs))
        for old, new in zip(node.outputs, copy.outputs):
            graph.replace(old, new)
        graph.erase(node)
    return changes


def _fold_branch(node: Node, name: str, context: Context) -> int:
    """A branch that cannot be meant for values of these shapes stays as it is: running it is the error."""
    branch = rebuild(node.graphs[name])
    try:
        changes = fold(branch, context)
    except ShapeError:
        return 0
    if changes:
        node.graphs[name] = branch
    return changes


def _chosen_branch(node: Node) -> Graph | None:
    condition = node.inputs[0]
    if condition is None or condition.data is None or condition.data.size != 1:
        return None
    return node.graphs["then" if bool(condition.data.reshape(())) else "orelse"]


_INLINERS = {"if": _chosen_branch}
