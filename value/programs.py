"""Structures as programs: graphs that the usual passes optimise and the backend runs; their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.base import Runnable, backend
from ..errors import GraphError
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from ..ir.op import Op
from ..ir.types import Tensor
from ..passes.autodiff.engine import gradients
from ..passes.dce import dce
from ..passes.manager import Context, PassManager, pipeline
from .expressions import Array, Ref, Structure, Trace, built, distinct, for_graphs

if TYPE_CHECKING:
    from .tensor import Value

PROGRAMS = 64  # compiled programs kept, of each kind: values, gradients


@dataclass
class Program:
    """A graph as a function on arrays: run node by node at first, compiled from the second time on.

    Expressions that change from time to time (of trees, of sentences) have structures that do not come again; to
    compile them would cost more than it brings, and plans hold memory.
    """

    graph: Graph
    passes: str
    compiled: Runnable | None = None
    fresh: bool = True
    lock: Any = field(default_factory=Lock)

    def __post_init__(self) -> None:
        dce(self.graph, Context(None))
        self.fresh = not any(node.graphs for node in self.graph.nodes)  # control flow is only run compiled

    def __call__(self, *arrays: Array) -> list[Array]:
        """The outputs: arrays that nobody else has."""
        if self.compiled is None:
            with self.lock:
                if self.fresh:
                    self.fresh = False
                    return self._evaluated(arrays)
                if self.compiled is None:
                    numpy = backend("numpy")
                    manager = PassManager(pipeline(self.passes), Context(numpy.evaluate))
                    self.compiled = numpy.program(manager.run(self.graph))
        return self.compiled(*arrays)

    def _evaluated(self, arrays: Sequence[Array]) -> list[Array]:
        evaluate, nodes = backend("numpy").evaluate, list(self.graph.nodes)
        found: dict[Var | None, Any] = {None: None, **dict(zip(self.graph.inputs, arrays))}
        found |= {v: v.data for v in self.graph.constants}
        last = {v: node for node in nodes for v in node.inputs}
        kept = {None, *self.graph.outputs}
        for node in nodes:
            with np.errstate(all="ignore"):
                results = evaluate(node.op, [found[v] for v in node.inputs], node.attrs, node.dynamic)
            found.update(zip(node.outputs, results))
            for v in {v for v in node.inputs if last[v] is node} - kept:
                del found[v]
        return [np.array(found[v]) for v in self.graph.outputs]


@lru_cache(PROGRAMS)
def value_program(structure: Structure) -> Program:
    """Inputs -> the results of the last entry."""
    b, made = built(structure)
    return Program(b.outputs(*made[-1]), "inference")


@lru_cache(PROGRAMS)
def gradient_program(structure: Structure, index: int, wrt: tuple[Ref, ...], seeded: bool) -> Program:
    """Inputs, and the gradient of the root if seeded -> the results of the last entry, then the gradients."""
    b, made = built(structure)
    root = made[-1][index]
    seeds = [b.input("gradient", root.type)] if seeded else None
    found = gradients(b, [root], [made[i][k] for i, k in wrt], seeds)
    return Program(b.outputs(*made[-1], *found), "training")


@lru_cache(4096)
def checked(op: Op, operands: tuple[Tensor | None, ...], attrs: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """Canonical attributes and the types of the results: what the builder makes of a node."""
    b = Builder(Graph())
    given = [t and b.input(f"x{i}", t) for i, t in enumerate(operands)]
    node = b.node(op, given, dict(attrs))
    return tuple(node.attrs.items()), tuple(v.type for v in node.outputs)


def gradient_graph(output: Value, wrt: Sequence[Value], seeded: bool) -> tuple[Trace, Graph]:
    """The trace of an expression and the graph of its gradients (by default to all leaves that require one)."""
    found = Trace(for_graphs).follow(output._differentiable())
    operands = [*found.operands(), output._operand()]
    if not wrt:
        wrt = list({id(o.value): o.value for o in operands if o.value.is_leaf and o.value.requires_grad}.values())
    refs = [list(dict.fromkeys(found.ref(o) for o in operands if o.value is v)) for v in wrt]
    for v, places in zip(wrt, refs):
        if not places:
            hint = "uses count from the time when it requires a gradient"
            raise GraphError(f"the output does not depend on {v.name or v!r}", hint=hint)
    b, made = built(found.structure, found.names)
    root = made[-1][output._index]
    seeds = [b.input("gradient", root.type)] if seeded else None
    flat = [made[i][k] for places in refs for i, k in places]
    each = iter(gradients(b, [root], flat, seeds))
    sums = []
    for places in refs:  # a leaf whose data changed between two uses stands at several places
        total = next(each)
        for _ in places[1:]:
            total = b.add(total, next(each))
        sums.append(total)
    inputs = dict(zip((id(o.node) for o in found.fed), found.names))
    names = [v.name or inputs.get(id(v._node)) or v._op for v in wrt]
    b.graph.set_outputs([b.identity(v) for v in sums], distinct([f"d_{n}" for n in names]))
    dce(b.graph, Context(None))
    return found, b.graph
