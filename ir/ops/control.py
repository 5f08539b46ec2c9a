"""Control flow and chains: ops with closed subgraphs, whose bodies find what they need among the operands.

`BODY_TYPES` says, for each op, which types the inputs of its subgraphs have for given operands; `trace_*` build such
nodes from Python functions.  A value carried from one iteration to the next may change its shape, so the types of the
carried inputs are widened until the body gives back what it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dims, types
from ..attributes import Ints
from ..builder import Builder
from ..dims import UNKNOWN, Dim
from ..graph import Graph, Node, Var
from ..op import axis_of, lookup, op, require
from ..rebuild import rebuild
from ..types import Tensor, Type, boolean, fits, i64, string


def _check_inputs(graph: Graph, given: list[Type], what: str) -> None:
    require(len(graph.inputs) == len(given), f"{what} takes {len(graph.inputs)} values, given are {len(given)}")
    for var, t in zip(graph.inputs, given):
        require(fits(var.type, t), f"{what}: input {var.name!r} is {var.type}, given is {t}")


@op(name="if")
def if_(condition: Tensor, *args: Tensor, then: Graph, orelse: Graph) -> tuple[Any, ...]:
    """The outputs of `then`(args) where the condition (one boolean) holds, of `orelse`(args) otherwise."""
    for name, graph in (("then", then), ("orelse", orelse)):
        _check_inputs(graph, list(args), name)
    require(len(then.outputs) == len(orelse.outputs), "the branches differ in the number of outputs")
    return tuple(types.join(a.type, b.type) for a, b in zip(then.outputs, orelse.outputs))


@op()
def loop(trip: Tensor | None, condition: Tensor | None, *args: Tensor, carried: int, body: Graph) -> tuple[Any, ...]:
    """Run body(i, condition, carried..., captured...) -> (condition, carried..., scanned...) while the condition holds.

    At most `trip` times; the first `carried` of args are the carried values, the others are captured.  Outputs: the
    carried values at the end, then what each iteration scanned, stacked along a new first axis.
    """
    _check_inputs(body, [Tensor(i64, ()), Tensor(boolean, ()), *args], "body")
    out = body.outputs[1:]
    for var, result in zip(body.inputs[2:], out[:carried]):
        require(fits(var.type, result.type), f"carried value {var.name!r} is {var.type}, becomes {result.type}")
    count: Dim = UNKNOWN
    return (*(v.type for v in body.inputs[2 : 2 + carried]), *(_stacked(v.type, count, 0) for v in out[carried:]))


@op()
def scan(
    *args: Tensor, carried: int, scanned: int, body: Graph,
    input_axes: Ints, output_axes: Ints, input_reverse: Ints, output_reverse: Ints,
) -> tuple[Any, ...]:  # fmt: skip
    """Run body(carried..., slices..., captured...) -> (carried..., results...) over the slices of `scanned` tensors.

    args: the first `carried` values, then the scanned tensors, then what is captured.  Axis and direction (1: from
    the end) for each scanned tensor and each result.
    """
    _check_inputs(body, scan_body_types(list(args), carried, scanned, input_axes), "body")
    for var, result in zip(body.inputs, body.outputs[:carried]):
        require(fits(var.type, result.type), f"carried value {var.name!r} is {var.type}, becomes {result.type}")
    count: Dim = UNKNOWN
    for x, axis in zip(args[carried : carried + scanned], input_axes):
        count = dims.unify(count, x.dims[axis_of(axis, x.rank)])
    results = body.outputs[carried:]
    require(len(results) == len(output_axes), f"{len(results)} results, {len(output_axes)} output axes")
    return (
        *(v.type for v in body.inputs[:carried]),
        *(_stacked(v.type, count, a) for v, a in zip(results, output_axes)),
    )


def _stacked(t: Type, count: Dim, axis: int) -> Type:
    if not isinstance(t, Tensor):
        return types.Sequence(t)
    if t.shape is None:
        return t
    a = axis_of(axis, t.rank + 1)
    return Tensor(t.dtype, (*t.shape[:a], count, *t.shape[a:]))


def scan_body_types(args: list[Any], carried: int, scanned: int, axes: Ints) -> list[Type]:
    """The types of the body's inputs: scanned tensors lose their axis."""
    found = list(args[:carried])
    for x, axis in zip(args[carried : carried + scanned], axes):
        a = axis_of(axis, x.rank)
        found.append(Tensor(x.dtype, (*x.dims[:a], *x.dims[a + 1 :])))
    return found + list(args[carried + scanned :])


@op("elementwise")
def chain(*args: Tensor, body: Graph) -> tuple[Any, ...]:
    """The outputs of body(args): elementwise ops on numbers, whose results all have one shape, as one op.

    It is computed block by block: all nodes of the body on one block, while that is in cache, then on the next.
    """
    _check_inputs(body, list(args), "body")
    for node in body.nodes:
        plain = node.op.has("elementwise") and not node.graphs and not node.dynamic
        require(plain, f"the body of a chain has elementwise nodes, {node.op.name} is none")
    results = [*body.outputs, *(out for node in body.nodes for out in node.outputs)]
    require(len({v.tensor.shape for v in results}) == 1, "the results in the body of a chain differ in their shapes")
    require(all(v.tensor.dtype is not string for v in results), "a chain computes numbers, no strings")
    return tuple(v.type for v in body.outputs)


# ---- what a copy or a frontend needs to build such nodes -----------------------------------------------------


def _loop_types(operands: list[Any], attrs: dict[str, Any], graphs: dict[str, Graph]) -> dict[str, list[Type]]:
    given = [Tensor(i64, ()), Tensor(boolean, ()), *operands[2:]]
    return {"body": stable_types(graphs["body"], given, range(2, 2 + attrs["carried"]), 1)}


def _scan_types(operands: list[Any], attrs: dict[str, Any], graphs: dict[str, Graph]) -> dict[str, list[Type]]:
    carried = attrs["carried"]
    given = scan_body_types(operands, carried, attrs["scanned"], attrs["input_axes"])
    return {"body": stable_types(graphs["body"], given, range(carried), 0)}


def _if_types(operands: list[Any], attrs: dict[str, Any], graphs: dict[str, Graph]) -> dict[str, list[Type]]:
    return {name: list(operands[1:]) for name in graphs}


def _chain_types(operands: list[Any], attrs: dict[str, Any], graphs: dict[str, Graph]) -> dict[str, list[Type]]:
    return {name: list(operands) for name in graphs}


BODY_TYPES: dict[str, Callable[..., dict[str, list[Type]]]] = {
    "chain": _chain_types,
    "if": _if_types,
    "loop": _loop_types,
    "scan": _scan_types,
}

CHOSEN = frozenset({"if"})  # ops that run one of their subgraphs


def stable_types(body: Graph, given: list[Type], carried: range, first_output: int) -> list[Type]:
    """Input types under which the body's carried outputs fit its carried inputs, found by widening."""
    # What is known of the first value of a carried input does not hold in later iterations.
    found = [types.map_dims(t, lambda d: d) if i in carried else t for i, t in enumerate(given)]
    for _ in range(len(carried) + 2):
        trial = rebuild(body, {v.name: t for v, t in zip(body.inputs, found)})
        widened = list(found)
        for place, out in zip(carried, trial.outputs[first_output:]):
            if not fits(found[place], out.type) or found[place] != types.join(found[place], out.type):
                widened[place] = types.join(found[place], out.type)
        if widened == found:
            return found
        found = widened
    return [types.map_dims(t, lambda d: UNKNOWN) if i in carried else t for i, t in enumerate(found)]


def trace(name: str, body: Callable[..., list[Var]], args: list[tuple[str, Type]], source: str = "") -> Graph:
    """The graph of a Python function body(builder, *inputs) -> outputs."""
    builder = Builder(Graph(name), source=source)
    inputs = [builder.input(arg, t) for arg, t in args]
    return builder.outputs(*body(builder, *inputs))


def control_node(
    b: Builder, name: str, operands: list[Var | None], attrs: dict[str, Any], graphs: dict[str, Graph]
) -> Node:
    """An `if`, `loop` or `scan` node, its subgraphs rebuilt for the types of the operands."""
    declared = BODY_TYPES[name]([None if v is None else v.type for v in operands], attrs, graphs)
    narrowed = {k: rebuild(g, {v.name: t for v, t in zip(g.inputs, declared[k])}) for k, g in graphs.items()}
    return b.node(lookup(name), operands, attrs, graphs=narrowed)
