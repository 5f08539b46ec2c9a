"""A graph run node by node: no plan, no pass, every value there to be looked at.

Slow and plain, on the kernels of the backend that is handed in.  It is what graphs are compared with: before and after
a pass, and with one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..errors import RunError, TenunError
from ..ir import dims
from ..ir.attributes import substitute_dims
from ..ir.dims import Dim
from ..ir.graph import Graph, Node, Var
from ..ir.records import record
from ..ir.types import Tensor, Type, map_dims

Evaluate = Callable[..., tuple[Any, ...]]
Values = dict[Var, Any]


@record
class Body:
    """A subgraph as a function on arrays, as kernels of control flow want it."""

    graph: Graph
    evaluate: Evaluate
    sizes: Mapping[str, Dim]

    @property
    def output_types(self) -> tuple[Type, ...]:
        """The types of the outputs, with the sizes that are known."""
        return tuple(map_dims(v.type, partial(dims.substitute, values=self.sizes)) for v in self.graph.outputs)

    def __call__(self, *arrays: Any) -> list[Any]:
        return results(self.graph, dict(zip((v.name for v in self.graph.inputs), arrays)), self.evaluate, self.sizes)


def steps(
    graph: Graph, inputs: Mapping[str, Any], evaluate: Evaluate, sizes: Mapping[str, Dim] | None = None
) -> Iterator[tuple[Node, list[Any]]]:
    """Every node in order with its results, inputs being given by name (states may be left out).

    Whoever asks may put others in the place of results, which later nodes then read.  Values are forgotten after their
    last reader, so the caller decides what is kept.  `sizes`: of symbols that the inputs do not tell.
    """
    values = _given(graph, inputs)
    sizes = {**(sizes or {}), **_sizes(values)}
    change = partial(dims.substitute, values=sizes)
    last = _last_readers(graph)
    for node in graph.nodes:
        operands = [None if v is None else _value(v, values) for v in node.inputs]
        graphs = {name: Body(sub, evaluate, sizes) for name, sub in node.graphs.items()}
        attrs = substitute_dims(node.attrs, change) if sizes else node.attrs
        try:
            results = list(evaluate(node.op, operands, attrs, node.dynamic, graphs))
        except TenunError as error:
            raise error.at(node=node.source or None, op=node.op.name) from None
        del operands
        yield node, results
        values.update(zip(node.outputs, results))
        for var in last.get(node, ()):
            values.pop(var, None)


def results(
    graph: Graph, inputs: Mapping[str, Any], evaluate: Evaluate, sizes: Mapping[str, Dim] | None = None
) -> list[Any]:
    """The outputs of a graph in order."""
    values = _given(graph, inputs)
    wanted = set(graph.outputs)
    for node, found in steps(graph, inputs, evaluate, sizes):
        values.update((v, value) for v, value in zip(node.outputs, found) if v in wanted)
    return [_value(v, values) for v in graph.outputs]


def _given(graph: Graph, inputs: Mapping[str, Any]) -> Values:
    firsts = {s.input: s.first.data for s in graph.state}
    missing = [v.name for v in graph.inputs if v.name not in inputs and v not in firsts]
    if missing:
        raise RunError(f"no value is given for input {', '.join(map(repr, missing))}")
    return {v: inputs[v.name] if v.name in inputs else firsts[v] for v in graph.inputs}


def _value(var: Var, values: Values) -> Any:
    return var.data if var.constant is not None else values[var]


def _sizes(values: Values) -> dict[str, Dim]:
    """What the arrays that are given tell of the symbols in the types of inputs."""
    found: dict[str, Dim] = {}
    for var, value in values.items():
        shape = var.type.shape if isinstance(var.type, Tensor) else None
        for dim, size in zip(shape or (), getattr(value, "shape", ())):
            name = dims.as_symbol(dim)
            if name is not None:
                found.setdefault(name, size)
    return found


def _last_readers(graph: Graph) -> dict[Node, list[Var]]:
    """For each node the values that nobody needs after it."""
    last: dict[Var, Node] = {}
    for node in graph.nodes:
        last.update((v, node) for v in (*node.outputs, *node.inputs) if v is not None and v.constant is None)
    found: dict[Node, list[Var]] = {}
    for var, node in last.items():
        found.setdefault(node, []).append(var)
    return found
