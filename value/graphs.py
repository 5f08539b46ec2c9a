"""Graphs as expressions: gradients that can be differentiated again, models among Values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import RunError, UnsupportedError
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from ..ir.rebuild import rebuild
from ..ir.types import Tensor
from .expressions import Awaited, Operand, Source, Trace, emitted, for_graphs
from .programs import gradient_graph
from .tensor import Value, called, in_dtype, leaf, value_of


def grad(output: Value, wrt: Sequence[Value], gradient: Any = None) -> list[Value]:
    """d (sum of output * gradient) / d x for each x of wrt, as Values: to be computed with, and differentiated, again.

        (slope,) = grad((x**3).sum(), [x])      # 3 x²
        slope.sum().backward()                  # x.grad: 6 x

    gradient: of the shape of output, by default ones.  GraphError for an x on which the output does not depend.
    """
    seed = None if gradient is None else output._seed(gradient)
    found, graph = gradient_graph(output, wrt, seed is not None)
    return _replayed(graph, [*found.fed, *([seed._operand()] if seed is not None else [])])


def apply(graph: Graph, *inputs: Any) -> list[Value]:
    """The outputs of a graph for Values in the place of its inputs, in order: how a model takes part in expressions.

    Its constants are plain numbers here; weights that are to be trained have to be inputs.  ShapeError where inputs
    do not fit.
    """
    if len(inputs) != len(graph.inputs):
        expected = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
        raise RunError(f"graph {graph.name!r} takes {len(graph.inputs)} inputs ({expected}), got {len(inputs)}")
    given = [in_dtype(x, v.tensor.dtype) for x, v in zip(inputs, graph.inputs)]
    special = rebuild(graph, {v.name: x.type for x, v in zip(given, graph.inputs)})
    return _replayed(special, [x._operand() for x in given])


def recorded(b: Builder, function: Callable[..., Any], x: Any, **more: Any) -> Any:
    """What a function of Values makes of x, as Vars of the graph that b builds.

    x and what is given by name are Vars, or lists and dicts of them and of anything else; so is the result.
    """
    known: dict[int, Var] = {}

    def value(leaf: Any) -> Any:
        if not isinstance(leaf, Var):
            return leaf
        made = Value._made(Awaited(leaf.tensor), 0, leaf.tensor, False)
        known[id(made._node)] = leaf
        return made

    result = function(_mapped(value, x), **{k: _mapped(value, v) for k, v in more.items()})
    return _mapped(lambda leaf: _emitted(b, value_of(leaf), known), result)


def _emitted(b: Builder, value: Value, known: dict[int, Var]) -> Var:
    """A Value as a node of the graph; its leaves are known, or constants."""
    root = value._operand()
    trace = Trace(for_graphs).follow(root)

    def given(place: int, kind: Tensor) -> Var:
        node = trace.fed[place].node
        assert isinstance(node, Source)
        return known[id(node)] if id(node) in known else b.constant(node.array)

    made = emitted(b, trace.structure, given)
    index, result = trace.ref(root)
    return made[index][result]


def _mapped(function: Callable[[Any], Any], x: Any) -> Any:
    """Nested lists, tuples and dicts with every leaf changed."""
    if isinstance(x, dict):
        return {k: _mapped(function, v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_mapped(function, v) for v in x)
    return function(x)


def _replayed(graph: Graph, operands: Sequence[Operand]) -> list[Value]:
    """The outputs of a graph of static shapes, its nodes written down as calls on the operands."""
    made: dict[Var, Operand] = dict(zip(graph.inputs, operands))
    for var in graph.constants:
        assert var.data is not None
        made[var] = leaf(var.data, literal=var.data.size <= 1)._operand()
    for node in graph.nodes:
        static = all(isinstance(v.type, Tensor) and v.type.is_static for v in node.outputs)
        chance = node.op.has("random") and node.attrs.get("seed") is None and not any(node.inputs)
        if node.graphs or node.dynamic or chance or not static:
            why = "subgraphs, shapes that depend on data or numbers that are new at every run"
            raise UnsupportedError(
                f"op {node.op.name} cannot be part of an expression: it has {why}",
                op=node.op.name,
                node=node.source or None,
                hint="compile the graph instead (tenun.compile, Value.grad_graph)",
            )
        given = [None if v is None else made[v] for v in node.inputs]
        results = called(node.op, tuple(node.attrs.items()), given, (v.type for v in node.outputs))
        made.update(zip(node.outputs, (v._operand() for v in results)))
    return [made[v].value for v in graph.outputs]
