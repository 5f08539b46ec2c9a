"""Making a graph anew, node by node: copies, specialisation to concrete shapes, and re-inference after changes.

One function serves all, so that every graph, however it came about, went through the builder's checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ..errors import GraphError, ShapeError, TenunError
from . import attributes, dims
from .builder import Builder, settle
from .dims import Dim
from .graph import Graph, Node, State, Var
from .op import infer
from .types import DType, Tensor, Type, fits, map_dims, same


def rebuild(
    graph: Graph, input_types: Mapping[str, Type] | None = None, symbols: Mapping[str, Dim] | None = None
) -> Graph:
    """A new graph with the same nodes.

    `input_types` gives inputs (by name) narrower types, `symbols` values for symbolic dimensions (those that the input
    types give need not be among them); all other types are inferred again.  Constants share their data.
    """
    types, values = input_types or {}, dict(symbols or {})
    for var in graph.inputs:
        for name, size in _sizes(var.type, types.get(var.name)):
            values.setdefault(name, size)

    def change(d: Dim) -> Dim:
        return dims.substitute(d, values)

    new = Graph(graph.name)
    new.metadata = dict(graph.metadata)
    mapping: dict[Var, Var] = {}
    for var in graph.inputs:
        given = types.get(var.name) or map_dims(var.type, change)
        mapping[var] = new.add_input(var.name, var.type if same(given, var.type) else given)
    outputs = copy_nodes(Builder(new), graph, mapping, values)
    new.set_outputs(outputs, graph.output_names)
    new.state = [State(mapping[s.input], s.output, mapping[s.first]) for s in graph.state]
    return new


def _sizes(general: Type, special: Type | None) -> Iterator[tuple[str, int]]:
    """The symbols of a type, and the numbers that stand in their places in a narrower one."""
    if isinstance(general, Tensor) and isinstance(special, Tensor) and special.shape is not None:
        for dim, size in zip(general.shape or (), special.shape):
            name = dims.as_symbol(dim)
            if name is not None and isinstance(size, int):
                yield name, size


def copy_nodes(
    builder: Builder, graph: Graph, mapping: dict[Var, Var], values: Mapping[str, Dim] | None = None
) -> list[Var]:
    """Copy constants and nodes of a graph to the builder's place, where `mapping` stands for its inputs.

    `mapping` (in which constants may stand too) is filled with every value copied; returned are the outputs.
    `values` are put in the places of symbols in attributes, those of subgraphs too.
    """
    change = partial(dims.substitute, values=values) if values else None
    for var in graph.constants:
        if var not in mapping:
            mapping[var] = builder.graph.share_constant(var)
    for node in graph.nodes:
        attrs: dict[str, Any] = attributes.substitute_dims(node.attrs, change) if change else node.attrs.copy()
        inputs = tuple([None if v is None else mapping[v] for v in node.inputs])
        copy = _twin(builder, node, inputs, attrs)
        if copy is None:
            split = len(inputs) - len(node.dynamic)
            attrs |= dict(zip(node.dynamic, inputs[split:]))
            copy = copy_node(builder, node, list(inputs[:split]), attrs, values)
        mapping.update(zip(node.outputs, copy.outputs))
    return [mapping[v] for v in graph.outputs]


def _twin(builder: Builder, node: Node, inputs: tuple[Var | None, ...], attrs: dict[str, Any]) -> Node | None:
    """A copy of a node on inputs of the same types, from which nothing else follows; None where they are others."""
    types = tuple([None if v is None else v.type for v in inputs])
    if node.graphs or attrs != node.attrs or not node.is_inferred_from(types):
        return None
    return builder.graph.insert(node.twin(inputs, attrs, node.source or builder.source), before=builder.before)


def widened(graph: Graph, kinds: Mapping[DType, DType]) -> Graph:
    """The graph computed in other dtypes: inputs, constants and casts of those in `kinds` have the ones given there."""
    new = Graph(graph.name)
    mapping = {v: new.add_input(v.name, _widened(v.type, kinds)) for v in graph.inputs}
    for var in graph.constants:
        t = _widened(var.type, kinds)
        assert isinstance(t, Tensor) and var.data is not None
        mapping[var] = new.add_constant(var.data.astype(t.dtype.numpy), var.name)
    builder = Builder(new)
    for node in graph.nodes:
        attrs = {k: kinds.get(v, v) if isinstance(v, DType) else v for k, v in node.attrs.items()}
        attrs.update(zip(node.dynamic, (mapping[v] for v in node.inputs[len(node.operands) :] if v is not None)))
        operands = [None if v is None else mapping[v] for v in node.operands]
        graphs = {k: widened(g, kinds) for k, g in node.graphs.items()}
        made = builder.node(node.op, operands, attrs, graphs=graphs or None, source=node.source)
        mapping.update(zip(node.outputs, made.outputs))
    new.set_outputs([mapping[v] for v in graph.outputs], graph.output_names)
    new.state = [State(mapping[s.input], s.output, mapping[s.first]) for s in graph.state]
    return new


def _widened(t: Type, kinds: Mapping[DType, DType]) -> Type:
    if not isinstance(t, Tensor):
        return t.of(_widened(t.element, kinds))
    return Tensor(kinds.get(t.dtype, t.dtype), t.shape)


def copy_node(
    builder: Builder, node: Node, operands: list[Var | None], attrs: dict[str, Any],
    values: Mapping[str, Dim] | None = None,
) -> Node:  # fmt: skip
    """A copy of a node on other operands; the inputs of its subgraphs take the types that those bring.

    `values` are put in the places of symbols in the subgraphs, which may stand in no type of their inputs.
    """
    graphs = node.graphs
    if graphs:
        from .ops.control import BODY_TYPES, CHOSEN

        declared = BODY_TYPES[node.op.name]([None if v is None else v.type for v in operands], attrs, graphs)
        graphs = {k: _body(g, declared[k], node.op.name in CHOSEN, values) for k, g in graphs.items()}
    names, source = [v.name for v in node.outputs], node.source or builder.source
    made = builder.node(node.op, operands, attrs, graphs=graphs, names=names, source=source)
    made.note = node.note
    return made


def _body(graph: Graph, given: list[Type], chosen: bool, values: Mapping[str, Dim] | None) -> Graph:
    """A subgraph for values of the given types.

    One that is not always run may not be meant for them (a model for several sizes of inputs chooses between branches):
    then it stays as it was, and running it is the error.
    """
    try:
        return rebuild(graph, {v.name: t for v, t in zip(graph.inputs, given)}, values)
    except ShapeError:
        if not chosen:
            raise
        return rebuild(graph)


def settle_attributes(node: Node) -> int:
    """Attributes given at run time become plain ones where their values are known by now; returns how many do."""
    if not node.dynamic:
        return 0
    givers = node.inputs[len(node.operands) :]
    left: dict[str, Var] = {}
    for name, var in zip(node.dynamic, givers):
        assert var is not None
        value = settle(node.op.attributes[name], var)
        if isinstance(value, Var):
            left[name] = var
        else:
            node.attrs[name] = value
    changes = len(givers) - len(left)
    if changes:
        assert node.graph is not None
        node.graph.set_inputs(node, (*node.operands, *left.values()), dynamic=tuple(left))
    return changes


def refine(node: Node) -> int:
    """Infer the types of a node again, if those of its inputs are others by now; returns how many have changed."""
    operands = tuple([None if v is None else v.type for v in node.inputs])
    if node.is_inferred_from(operands):
        return 0
    try:
        if node.op.canonical is not None and not node.dynamic:
            node.attrs = node.op.canonical(operands, node.attrs)  # as in a node that is made knowing this much
        types = infer(node.op, operands, node.attrs, node.dynamic)
    except TenunError as error:
        raise error.at(node=node.source or None, op=node.op.name) from None
    assert node.graph is not None
    node.inferred_from = operands
    return node.graph.set_types(node, types)


def refine_readers(var: Var) -> None:
    """Infer again what follows from a value that knows more (or other things) than the one that was read before."""
    waiting = list(var.users)
    for node in waiting:
        before = [v.type for v in node.outputs]
        if not node.graphs:
            settle_attributes(node)
            refine(node)
        waiting += [n for v, t in zip(node.outputs, before) if not same(v.type, t) for n in v.users]


def bind_symbols(graph: Graph, types: Mapping[str, Tensor]) -> dict[str, Dim]:
    """The values of the graph's symbols for inputs of the given static types.

    ShapeError, with expected and got, where an input does not fit or one symbol would need two values.
    """
    values: dict[str, Dim] = {}
    for var in graph.inputs:
        want = var.type
        if not isinstance(want, Tensor):
            continue
        got = types[var.name]
        if not fits(want, got):
            raise ShapeError(f"input {var.name!r}: expected {want}, got {got}")
        for dim, size in zip(want.shape or (), got.dims):
            name = dims.as_symbol(dim)
            if name is not None and values.setdefault(name, size) != size:
                raise ShapeError(
                    f"input {var.name!r}: expected {want} with {name} = {values[name]} (from another input), got {got}"
                )
    for var in graph.inputs:
        expected = map_dims(var.type, lambda d: dims.substitute(d, values))
        if isinstance(expected, Tensor) and not fits(expected, types[var.name]):
            raise ShapeError(f"input {var.name!r}: expected {expected}, got {types[var.name]}")
    return values


def topological(nodes: Mapping[Any, set[Any]], what: str) -> list[Any]:
    """Keys sorted so that each comes after those it depends on; GraphError names a cycle."""
    from graphlib import CycleError, TopologicalSorter

    try:
        return list(TopologicalSorter(nodes).static_order())
    except CycleError as error:
        path = " -> ".join(map(str, error.args[1]))
        raise GraphError(f"{what} has a cycle: {path}") from None
