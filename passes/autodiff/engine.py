"""Reverse-mode differentiation of graphs: one loop over the nodes, backwards.

The mathematics of each op is a row of `rules.RULES`.  Everything else is here, once: which nodes lie on a way from
`wrt` to `outputs`, the sum over all ways, the undoing of broadcasting and of fused activations.  Gradients are nodes
of the same graph, so that they can be differentiated again, optimised and run like all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import GraphError, UnsupportedError
from ...ir.attributes import LINEAR, Activation
from ...ir.builder import Builder
from ...ir.graph import Graph, Node, State, Var
from ...ir.text import named_constants, value_names
from ...ir.types import Container, Tensor, Unknown
from ..dce import dce
from ..manager import Context
from . import rules
from .emit import differentiable, full_like, unbroadcast, zeros


def gradients(b: Builder, outputs: Sequence[Var], wrt: Sequence[Var], seeds: Sequence[Var] | None = None) -> list[Var]:
    """d (sum of outputs * seeds) / d x for each x of wrt, appended to the builder's graph.

    Seeds are 1 by default.  The gradient with respect to a value that no output depends on is 0.
    """
    totals = _totals(b, outputs, wrt, seeds)
    return [totals[x] if x in totals else zeros(b, x) for x in wrt]


def gradients_or_none(b: Builder, outputs: Sequence[Var], wrt: Sequence[Var]) -> list[Var | None]:
    """As `gradients`, with None for each x that no gradient reaches."""
    totals = _totals(b, outputs, wrt)
    return [totals.get(x) for x in wrt]


def _totals(
    b: Builder, outputs: Sequence[Var], wrt: Sequence[Var], seeds: Sequence[Var] | None = None
) -> dict[Var, Var]:
    """The gradients of all values between wrt and outputs through which one flows."""
    path, reached = _path(b.graph, outputs, wrt)
    totals: dict[Var, Var] = {}
    for out, seed in zip(outputs, seeds or [full_like(b, v, 1) for v in outputs]):
        _accumulate(b, totals, out, seed)
    for node in reversed(path):
        above = [totals.get(v) for v in node.outputs]
        if all(g is None for g in above) or node.op.name in rules.NOT_DIFFERENTIABLE:
            continue
        with b.at(node.source):
            for operand, g in zip(node.operands, _apply(b, node, above, reached)):
                if operand is None or operand not in reached or g is None or not differentiable(operand):
                    continue
                _accumulate(b, totals, operand, _fitted(b, g, operand))
    return totals


def _path(graph: Graph, outputs: Sequence[Var], wrt: Sequence[Var]) -> tuple[list[Node], set[Var | None]]:
    """The nodes that depend on wrt and on which outputs depend, in order; and all values that depend on wrt."""
    reached: set[Var | None] = set(wrt)
    forward = []
    for node in graph.nodes:
        if any(v in reached for v in node.inputs):
            reached.update(node.outputs)
            forward.append(node)
    needed: set[Var | None] = set(outputs)
    path = []
    for node in reversed(forward):
        if any(v in needed for v in node.outputs):
            needed.update(node.inputs)
            path.append(node)
    reached.discard(None)
    return path[::-1], reached


def _apply(b: Builder, node: Node, above: list[Var | None], reached: set[Var | None]) -> Sequence[Var | None]:
    """What the op's rule gives for each operand."""
    row = rules.RULES.get(node.op.name)
    if row is None:
        raise refused(node)
    for name, var in zip(node.dynamic, node.inputs[len(node.operands) :]):
        if var in reached and var is not None and differentiable(var):
            raise refused(node, f"its attribute {name} is a value to differentiate with respect to")
    if node.op.has("epilogue") and node.attrs.get("activation"):
        node, above = _unfused(b, node, above)
    try:
        results = row(b, node, above)
    except Unknown:
        raise refused(node, f"the rank of an operand is not known: {node}") from None
    if len(results) != len(node.operands):
        raise GraphError(f"the rule of {node.op.name} gave {len(results)} gradients for {len(node.operands)} operands")
    return results


def _unfused(b: Builder, node: Node, above: list[Var | None]) -> tuple[Node, list[Var | None]]:
    """The node computed again without its activation, and the gradient of that result."""
    activation: Activation = node.attrs["activation"]
    given = dict(zip(node.dynamic, node.inputs[len(node.operands) :]))
    plain = b.node(node.op, node.operands, {**node.attrs, **given, "activation": LINEAR})
    applied = b.activation(plain.output, activation).producer
    assert applied is not None
    if activation.name in rules.NOT_DIFFERENTIABLE:
        return plain, [full_like(b, plain.output, 0)]
    row = rules.RULES.get(activation.name)
    if row is None:
        raise refused(applied)
    return plain, list(row(b, applied, above))


def refused(node: Node, why: str | None = None) -> UnsupportedError:
    """The error for a node that cannot be differentiated."""
    return UnsupportedError(
        f"op {node.op.name} has no gradient" + (f": {why}" if why else ""),
        op=node.op.name,
        node=node.source or None,
        hint=f"add a row to passes/autodiff/rules/{node.op.family}.py",
    )


def _accumulate(b: Builder, totals: dict[Var, Var], var: Var, g: Var) -> None:
    add = b.sequence_add if isinstance(var.type, Container) else b.add
    totals[var] = add(totals[var], g) if var in totals else g


def _fitted(b: Builder, g: Var, like: Var) -> Var:
    """g in the shape and dtype of the operand that it belongs to; lists of gradients are as they should be."""
    return g if isinstance(like.type, Container) else b.cast_like(unbroadcast(b, g, like), like)


# ---- whole graphs --------------------------------------------------------------------------------------------


def gradient_graph(graph: Graph, outputs: Sequence[str] | None = None, wrt: Sequence[str] | None = None) -> Graph:
    """The graph of `tenun.grad`."""
    new = graph.copy()
    states, top = {s.output for s in new.state}, set(new.constants)
    results = {n: v for i, (n, v) in enumerate(zip(new.output_names, new.outputs)) if i not in states}
    inputs = {v.name: v for v in new.inputs if v not in [s.input for s in new.state]}
    weights = {n: v for n, v in named_constants(new).items() if v in top}
    inner = value_names(new, {v: n for n, v in weights.items()})
    values = {**{n: v for v, n in inner.items()}, **weights, **inputs}
    targets = _chosen("output", results, outputs, results)
    sources = _chosen("value", values, wrt, inputs)
    b = Builder(new)
    totals = _totals(b, list(targets.values()), list(sources.values()))
    if wrt is not None:
        for name in [n for n, v in sources.items() if v not in totals]:
            _refuse_blocked(new, name, sources[name], list(targets.values()))
    found = [totals[v] if v in totals else zeros(b, v) for v in sources.values()]
    kept = [(new.output_names[s.output], new.outputs[s.output]) for s in new.state]
    names = [f"d_{n}" for n in sources] + [n for n, _ in kept]
    new.state = [State(s.input, len(found) + i, s.first) for i, s in enumerate(new.state)]
    new.set_outputs([*found, *(v for _, v in kept)], names)
    new.metadata.pop("output_structure", None)
    dce(new, Context(None))
    return new


def _refuse_blocked(graph: Graph, name: str, source: Var, targets: Sequence[Var]) -> None:
    """UnsupportedError that names the node, if outputs depend on a value, but only by ways that no gradient takes."""
    for node in reversed(_path(graph, targets, [source])[0]):
        why = rules.NOT_DIFFERENTIABLE.get(node.op.name)
        if why is None and not any(map(differentiable, node.outputs)):
            why = "its result is no float"
        if why is not None:
            where = f" ({node.source})" if node.source else ""
            raise UnsupportedError(
                f"no gradient comes to {name!r}: op {node.op.name}{where} is not differentiable, {why}",
                op=node.op.name,
                node=node.source or None,
            )


def _chosen(what: str, known: dict[str, Var], names: Sequence[str] | None, default: dict[str, Var]) -> dict[str, Var]:
    """Values by name, by default all those with a float dtype; GraphError where there is no such name or no float."""
    if names is None:
        return {n: v for n, v in default.items() if _number(v)}
    if isinstance(names, str):
        names = [names]
    missing = [n for n in names if n not in known]
    if missing:
        raise GraphError(f"the graph has no {what} called {_listed(missing)}", hint=f"{what}s: {_listed(known)}")
    wrong = [n for n in names if not _number(known[n])]
    if wrong:
        raise GraphError(f"{_listed(wrong)}: no derivative of what is no float", hint=f"it is {known[wrong[0]].type}")
    return {n: known[n] for n in names}


def _number(var: Var) -> bool:
    return isinstance(var.type, Tensor) and differentiable(var)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
