"""Layout: the transposes that a channels-first model brings sink through the graph until they meet and cancel.

ONNX convolutions come as transpose -> conv -> transpose back.  Here
1. elementwise ops whose operands all come from the same transpose are computed before it;
2. so are ops with the trait `permutes`, their axes renumbered;
3. so is a reshape that splits axes, or joins those that lie side by side before the transpose too;
4. so is a product with a matrix, if the transpose leaves the last axis where it is;
5. two transposes in a row become one (simplify), and none if they cancel;
6. a transpose, flattened, before a product with a constant matrix: the rows of the matrix are permuted instead.
What is left are transposes at the inputs and outputs of the model, and where an op really needs the order.  A transpose
is a view: before a product, the exchange of the last two axes costs nothing, as BLAS reads either order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir.builder import Builder
from ..ir.dims import Dim
from ..ir.graph import Graph, Node, Var
from ..ir.op import lookup
from ..ir.permutations import Perm, inverse, remaining, renumbered
from .manager import Context, register
from .rewrite import Match, Rule, apply_rules, erase_dead, rule
from .simplify import MOVEMENTS, is_known


def _transposed_by(var: Var | None) -> Perm | None:
    """The permutation of the transpose that makes the value, if one does."""
    if var is None or var.producer is None or var.producer.op.name != "transpose":
        return None
    return tuple(var.producer.attrs["perm"])


def _source(var: Var) -> Var:
    """What is transposed into the value."""
    assert var.producer is not None and var.producer.inputs[0] is not None
    return var.producer.inputs[0]


def _untransposed(b: Builder, var: Var, perm: Perm) -> Var | None:
    """The value as it is before the transpose: its source, or a constant (or small thing) turned back."""
    if _transposed_by(var) == perm:
        return _source(var)
    t = var.tensor
    if t.shape is None or len(t.shape) > len(perm):
        return None
    if all(d == 1 for d in t.shape):
        return b.reshape(var, shape=()) if t.shape and var.data is not None else var if not t.shape else None
    if var.data is None:
        return None
    full = (1,) * (len(perm) - len(t.shape)) + tuple(t.shape)
    return b.transpose(b.reshape(var, shape=full), perm=inverse(perm))  # type: ignore[no-any-return]


def sink(graph: Graph, node: Node) -> bool:
    """Compute a node before the transpose of its operands; False where that cannot be done."""
    perms = [p for p in map(_transposed_by, node.operands) if p is not None]
    if not perms or node.dynamic or node.graphs or node.op.has("string"):
        return False
    perm = perms[0]
    if not _worth(graph, node, perm):
        return False
    if node.op.has("elementwise"):
        return all(len(v.shape) == len(perm) for v in node.outputs) and _sink_elementwise(graph, node, perm)
    if node.op.name in SINKS:
        return SINKS[node.op.name](graph, node, perm)
    return node.op.has("permutes") and _sink_permuting(graph, node, perm)


def _worth(graph: Graph, node: Node, perm: Perm) -> bool:
    """Every other full-size operand comes from the same transpose: then no transpose is added."""
    others = [v for v in node.operands if v is not None and v.data is None and v.tensor.shape != ()]
    return node.op.name in SINKS or all(_transposed_by(v) == perm for v in others)


def _sink_elementwise(graph: Graph, node: Node, perm: Perm) -> bool:
    b = Builder(graph, before=node, source=node.source)
    operands = [None if v is None else _untransposed(b, v, perm) for v in node.operands]
    if any(new is None and old is not None for new, old in zip(operands, node.operands)):
        return False
    _finish(graph, node, b, b.node(node.op, operands, node.attrs), [perm] * len(node.outputs))
    return True


def _sink_permuting(graph: Graph, node: Node, perm: Perm) -> bool:
    moved = node.operands if node.op.variadic else node.operands[:1]
    if any(_transposed_by(v) != perm for v in moved):
        return False
    b = Builder(graph, before=node, source=node.source)
    operands = [None if v is None else _source(v) if v in moved else v for v in node.operands]
    copy = b.node(node.op, operands, renumbered(node.attrs, perm))
    after = [perm if len(v.shape) == len(perm) else remaining(perm, node.attrs) for v in node.outputs]
    _finish(graph, node, b, copy, after)
    return True


def _finish(graph: Graph, node: Node, b: Builder, copy: Node, perms: list[Perm]) -> None:
    """Transpose the results of the copy and let them take the node's place."""
    for old, new, perm in zip(node.outputs, copy.outputs, perms):
        new.name = old.name
        graph.replace(old, b.transpose(new, perm=perm))
    erase_dead(graph, [node, *(v.producer for v in node.inputs if v is not None and v.producer is not None)])


# ---- reshapes and products -----------------------------------------------------------------------------------

Block = tuple[range, range]  # axes before and after a reshape that hold the same elements


def blocks(before: Sequence[Dim], after: Sequence[Dim]) -> list[Block] | None:
    """The smallest groups of axes that a reshape leaves apart; None where sizes do not tell, or there is no axis."""
    found: list[Block] = []
    i = j = 0
    while i < len(before) and j < len(after):
        a, b, left, right = i + 1, j + 1, before[i], after[j]
        while left != right:
            if not isinstance(left, int) or not isinstance(right, int) or 0 in (left, right):
                return None
            grow_left = left < right
            if (a if grow_left else b) == len(before if grow_left else after):
                return None
            left, right = (left * before[a], right) if grow_left else (left, right * after[b])
            a, b = a + grow_left, b + (not grow_left)
        found.append((range(i, a), range(j, b)))
        i, j = a, b
    if not found or any(d != 1 for d in (*before[i:], *after[j:])):
        return None
    found[-1] = range(found[-1][0].start, len(before)), range(found[-1][1].start, len(after))
    return found


def _sink_reshape(graph: Graph, node: Node, perm: Perm) -> bool:
    """Reshape before the transpose: every group of axes that becomes another has to lie side by side there too.

    If one is in another order there, that order is made before the reshape, and the rest of the transpose after.
    """
    x = node.inputs[0]
    assert x is not None
    groups = blocks(x.shape, node.output.shape) if is_known(x) and is_known(node.output) else None
    if groups is None:
        return False
    places = [[perm[i] for i in old] for old, _ in groups]
    if any(sorted(p) != list(range(min(p), min(p) + len(p))) for p in places):
        return False
    ordered = sorted(zip(places, (new for _, new in groups)))
    order = tuple(axis for _, new in ordered for axis in new)
    within = tuple(axis for old, _ in ordered for axis in old)
    if list(order) == sorted(order) and list(within) != sorted(within):
        return False  # nothing would be left to come after
    b = Builder(graph, before=node, source=node.source)
    source = _source(x) if list(within) == sorted(within) else b.transpose(_source(x), perm=within)
    copy = b.node(lookup("reshape"), [source], {"shape": tuple(node.output.shape[axis] for axis in order)})
    _finish(graph, node, b, copy, [inverse(order)])
    return True


def _sink_product(graph: Graph, node: Node, perm: Perm) -> bool:
    """Multiply before the transpose, which changes the order of the rows only."""
    x, w, bias, residual = (*node.inputs, None, None)[:4]
    rows = perm[-1] == len(perm) - 1 and w is not None and len(w.shape) == 2 and _transposed_by(x) == perm
    if not rows or (bias is not None and len(bias.shape) > 1) or _transposed_by(residual) not in (None, perm):
        return False
    if residual is not None and _transposed_by(residual) is None:
        return False
    b = Builder(graph, before=node, source=node.source)
    operands = [_source(v) if v is not None and v in (x, residual) else v for v in node.inputs]
    _finish(graph, node, b, b.node(node.op, operands, node.attrs), [perm])
    return True


# op: how it is computed before a transpose, beyond what its traits tell
SINKS: dict[str, Callable[[Graph, Node, Perm], bool]] = {
    "reshape": _sink_reshape,
    "squeeze": _sink_reshape,
    "unsqueeze": _sink_reshape,
    "matmul": _sink_product,
}

# ---- flatten after transpose ---------------------------------------------------------------------------------


def _flattens(m: Match) -> bool:
    """transpose keeps the batch first, and the reshape keeps it and joins all the others."""
    perm, before, after = m.nodes["%t"].attrs["perm"], m["%t"].shape, m["%f"].shape
    w = m["@w"]
    return bool(
        perm[0] == 0 and len(after) == 2 and after[0] == before[0] and len(w.shape) == 2
        and all(isinstance(d, int) for d in before[1:])
    )  # fmt: skip


def _permute_rows(b: Builder, m: Match) -> Var:
    product, perm = m.nodes["%y"], m.nodes["%t"].attrs["perm"]
    w, sizes = m["@w"], m["%t"].shape[1:]
    places = np.arange(w.shape[0]).reshape(sizes).transpose([p - 1 for p in inverse(perm)[1:]]).reshape(-1)
    rows = b.gather(w, b.constant(places), axis=0)
    flat = b.reshape(m["%x"], shape=(m["%x"].shape[0], -1))
    return b.node(product.op, [flat, rows, *product.inputs[2:]], product.attrs).output


def _flatten_rules() -> list[Rule]:
    heads = ("(%f, @w)", "(%f, @w, %b)")
    return [
        rule(
            "flatten of a transpose",
            f"%t = transpose(%x); %f = reshape(%t); %y = matmul{head}",
            _permute_rows,
            when=_flattens,
        )
        for head in heads
    ]


FLATTENING = _flatten_rules()
RULES = [*MOVEMENTS, *FLATTENING]

ROUNDS = 20  # each sinks transposes past one more op that joins branches; a bound, not a wish


@register
def layout(graph: Graph, context: Context) -> int:
    """Sink transposes until they cancel, and fold those that are left before a product into its weights."""
    changes = apply_rules(graph, MOVEMENTS)
    for _ in range(ROUNDS):
        sunk = sum(sink(graph, node) for node in graph.nodes)
        if not sunk:
            break
        changes += sunk + apply_rules(graph, MOVEMENTS)
    flat = apply_rules(graph, FLATTENING)  # the weights last: a transpose that sinks down may cancel the other
    changes += flat + (apply_rules(graph, RULES) if flat else 0)
    for sub in graph.subgraphs:
        changes += layout(sub, context)
    return changes
