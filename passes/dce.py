"""Dead code elimination."""

from __future__ import annotations

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from .bodies import FRAMES, Bodies, Result
from .manager import Context, register


@register
def dce(graph: Graph, context: Context) -> int:
    """Take out nodes whose results nobody uses, and constants that nobody reads.

    Kept are ops with the trait `effect`, and all inputs: they are the interface.  Subgraphs are cleaned too: what they
    compute for an unused output of their node goes, with the values carried for that alone, and arguments that no
    body reads; a value that is carried unchanged becomes a captured one.  A split of which one part is used is a
    slice.  (Unused outputs of other ops cost nothing: a plan gives them no memory, and kernels leave them out.)
    """
    changes = 0
    for node in reversed(list(graph.nodes)):
        if not node.op.has("effect") and all(graph.is_unused(v) for v in node.outputs):
            graph.erase(node)
            changes += 1
        elif node.op.name in FRAMES:
            changes += _prune(graph, node, context)
        elif node.op.name == "split":
            changes += _split_to_slice(graph, node)
    for var in graph.constants:
        if graph.is_unused(var):
            graph.erase_constant(var)
            changes += 1
    return changes


def _split_to_slice(graph: Graph, node: Node) -> int:
    used = [v for v in node.outputs if not graph.is_unused(v)]
    sizes = node.attrs.get("sizes", ())
    if len(used) != 1 or node.dynamic or not all(isinstance(n, int) for n in sizes):
        return 0
    (var,) = used
    start = sum(sizes[: var.index])
    place = {"starts": (start,), "ends": (start + sizes[var.index],), "axes": (node.attrs["axis"],)}
    part = Builder(graph, before=node, source=node.source).slice(node.inputs[0], **place)
    if part.type != var.type:
        graph.erase(part.producer)
        return 0
    part.name = var.name
    graph.replace(var, part)
    graph.erase(node)
    return 1


# ---- nodes with subgraphs ------------------------------------------------------------------------------------


def _prune(graph: Graph, node: Node, context: Context) -> int:
    """Take out of a node and its subgraphs what no used output needs."""
    b = Bodies(graph, node)
    before = len(b.arguments), len(b.results)
    unchanged = _uncarry(b)
    live = _live(b)
    if not all(live) and any(live):
        kept = [a for a, r in zip(b.of_kind("carried"), _carried(b)) if live[b.results.index(r)]]
        b.arguments = kept + [a for a in b.arguments if a.kind != "carried"]
        b.results = [r for r, needed in zip(b.results, live) if needed]
    if unchanged or len(b.results) != before[1]:
        node = b.rebuild()
    changes = unchanged + before[1] - len(b.results)
    changes += sum(dce(body, context) for body in node.graphs.values())
    return changes + _drop_unread(graph, node)


def _carried(b: Bodies) -> list[Result]:
    return [r for r in b.results if r.kind == "carried"]


def _uncarry(b: Bodies) -> int:
    """Values that every iteration passes on as they are become captured ones."""
    same = [(a, r) for a, r in zip(b.of_kind("carried"), _carried(b)) if a.inputs == r.values]
    for argument, result in same:
        assert result.output is not None
        if result.output.type != argument.operand.type and result.output in b.graph.outputs:
            continue
        b.graph.replace(result.output, argument.operand)
        b.results.remove(result)
        b.arguments.remove(argument)
        argument.kind = "captured"
        b.arguments.append(argument)
    return len([1 for argument, _ in same if argument.kind == "captured"])


def _live(b: Bodies) -> list[bool]:
    """Of each result, whether somebody uses it, or a result (or the condition of the loop) that depends on it."""
    carried = {v: i for i, a in enumerate(b.of_kind("carried")) for v in a.inputs}
    live = [r.output is not None and not b.graph.is_unused(r.output) for r in b.results]
    roots = [v for body in b.bodies for v in body.outputs[: b.frame.outputs]]
    roots += [v for r, needed in zip(b.results, live) if needed for v in r.values]
    roots += [v for body in b.bodies for node in body.nodes if node.op.has("effect") for v in node.outputs]
    seen: set[Var] = set()
    while roots:
        var = roots.pop()
        if var in seen:
            continue
        seen.add(var)
        if var in carried and not live[carried[var]]:
            live[carried[var]] = True
            roots += b.results[carried[var]].values
        if var.producer is not None:
            roots += [v for v in var.producer.inputs if v is not None]
    return live


def _drop_unread(graph: Graph, node: Node) -> int:
    """Take out arguments that no body reads, as long as the number of iterations can still be told."""
    b = Bodies(graph, node)
    scanned = b.of_kind("scanned")
    unread = [
        a for a in b.arguments
        if a.kind != "carried" and all(body.is_unused(v) for body, v in zip(b.bodies, a.inputs))
    ]  # fmt: skip
    lengths = {a.operand.shape[a.extra[0]] if a.operand.tensor.shape else None for a in scanned}
    if len(lengths) > 1 or lengths & {None}:
        unread = [a for a in unread if a.kind == "captured"]
    elif scanned and all(a in unread for a in scanned):
        unread.remove(scanned[0])
    if not unread or (node.op.name == "chain" and len(unread) == len(b.arguments)):
        return 0
    b.arguments = [a for a in b.arguments if a not in unread]
    b.rebuild()
    return len(unread)
