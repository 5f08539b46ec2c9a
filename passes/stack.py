"""Products of the slices of a `scan` become one product of all slices, before it.

    scan: y_t = x_t @ w + b, ... h_t ...        becomes        y = x @ w + b,  scan: ... y_t ... h_t ...

BLAS is several times faster on one large product than on many small ones, and the loop has fewer steps.  Moved are the
products with a matrix that is the same for all iterations, and the elementwise nodes on the way to and from them, if
they depend on slices and captured values alone.  BLAS may sum in another order, so the last digits can differ.
"""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import axis_of
from ..ir.rebuild import copy_node
from .bodies import Argument, Bodies
from .hoist import may_move, runs
from .manager import Context, register


@register
def stack(graph: Graph, context: Context) -> int:
    """Multiply all slices of a scan at once."""
    changes = 0
    for node in graph.nodes:
        for sub in node.graphs.values():
            changes += stack(sub, context)
        if node.op.name == "scan":
            changes += _stack(graph, node)
    return changes


class _Stacker:
    """Which values of the body of a scan can be there for all iterations at once, and their making."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node, self.bodies = graph, node, Bodies(graph, node)
        (self.body,) = self.bodies.bodies
        self.slices = {a.inputs[0]: a for a in self.bodies.of_kind("scanned")}
        self.fixed = {a.inputs[0]: a.operand for a in self.bodies.of_kind("captured")}
        self.constants = set(self.body.constants)
        self.direction: dict[Var, int] = {v: a.extra[1] for v, a in self.slices.items()}
        self.builder = Builder(graph, before=node)

    def found(self) -> list[Node]:
        """The nodes to be moved, in order: none if there is no product among them."""
        sure = runs(self.node)
        candidates = []
        for node in self.body.nodes:
            if not node.dynamic and may_move(node, sure) and self._stackable(node):
                candidates.append(node)
                reads = next(self.direction[v] for v in node.inputs if v in self.direction)
                self.direction.update((out, reads) for out in node.outputs)
        return _around_products(candidates)

    def _is_fixed(self, var: Var) -> bool:
        return var in self.fixed or var in self.constants

    def _stackable(self, node: Node) -> bool:
        given = [v for v in node.inputs if v is not None]
        stacked = [v for v in given if v in self.direction]
        if not stacked or len({self.direction[v] for v in stacked}) != 1 or len(node.outputs) != 1:
            return False
        if not all(v in self.direction or self._is_fixed(v) for v in given):
            return False
        if any(v.tensor.shape is None for v in (*given, node.output)):
            return False
        rank = len(node.output.shape)
        if node.op.has("elementwise"):
            return all(len(v.shape) == rank if v in self.direction else len(v.shape) <= rank for v in given)
        return _is_product(node) and self._rows_alone(node)

    def _rows_alone(self, node: Node) -> bool:
        """Only rows (and what is added to the result) are stacked, not the matrix."""
        x, w, bias, residual = (*node.inputs, None, None)[:4]
        rows = x in self.direction and w is not None and self._is_fixed(w) and len(w.shape) == 2
        plain = bias is None or (self._is_fixed(bias) and len(bias.shape) <= 1)
        return rows and plain and (residual is None or residual in self.direction)

    def make(self, nodes: list[Node]) -> None:
        """Compute the nodes for all iterations, and let the body read slices of the results."""
        outside: dict[Var, Var] = {}
        for node in nodes:
            operands = [None if v is None else outside.setdefault(v, self._outer(v, outside)) for v in node.inputs]
            outside[node.output] = copy_node(self.builder, node, operands, dict(node.attrs)).output
        moved = set(nodes)
        for node in nodes:
            var = node.output
            if self.body.is_output(var) or any(user not in moved for user in var.users):
                extra = (0, self.direction[var])
                made = self.bodies.add(outside[var], var.type, "scanned", var.name, extra)
                self.bodies.replace(0, var, made.inputs[0])
        for node in reversed(nodes):
            self.body.erase(node)
        self.bodies.rebuild()

    def _outer(self, var: Var, outside: dict[Var, Var]) -> Var:
        if var in outside:
            return outside[var]
        if var in self.fixed:
            return self.fixed[var]
        if var in self.constants:
            return self.graph.share_constant(var)
        return _axis_first(self.builder, self.slices[var])


def _axis_first(b: Builder, argument: Argument) -> Var:
    rank = len(argument.operand.shape)
    axis = axis_of(argument.extra[0], rank)
    perm = (axis, *(i for i in range(rank) if i != axis))
    return b.transpose(argument.operand, perm=perm) if axis else argument.operand  # type: ignore[no-any-return]


def _is_product(node: Node) -> bool:
    """A product of matrices: an op with an epilogue that knows no places."""
    return node.op.has("epilogue") and "strides" not in node.attrs and "tile" not in node.attrs


def _around_products(candidates: list[Node]) -> list[Node]:
    """Those candidates that a product needs, and that need a product."""
    before: set[Any] = set()
    for node in reversed(candidates):
        if _is_product(node) or node in before:
            before.add(node)
            before.update(v.producer for v in node.inputs if v is not None)
    after: set[Any] = set()
    for node in candidates:
        if _is_product(node) or any(v is not None and v.producer in after for v in node.inputs):
            after.add(node)
    moved = set(before)
    for node in candidates:  # what follows a product comes along, if that brings all that it reads
        makers = {v.producer for v in node.inputs if v is not None} & set(candidates)
        if node in after and makers <= moved:
            moved.add(node)
    return [n for n in candidates if n in moved]


def _stack(graph: Graph, node: Node) -> int:
    stacker = _Stacker(graph, node)
    nodes = stacker.found()
    if nodes:
        stacker.make(nodes)
    return len(nodes)
