"""Keeping what the forward pass knows: gradient ops read a record instead of computing it again."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError
from ..ir.builder import Builder
from ..ir.graph import Graph, Node
from ..ir.op import lookup
from ..ir.ops.recurrent import RECORDED
from .manager import Context, register

# gradient op, whose last operand may be a record: the op that it belongs to, and that which also makes the record
RECORDING = {f"{name}_grad": (name, f"{name}_record") for name in (*RECORDED, "max_pool")}


@register
def remember(graph: Graph, context: Context) -> int:
    """Let layers record what their gradient ops would compute again.

    A layer and its gradients belong together where operands and attributes are the same: common subexpressions have to
    be merged before.  The recording op takes the layer's place, if it does not refuse the attributes.
    """
    changes = 0
    found: dict[Any, list[Node]] = {}
    layers = {layer: gradient for gradient, (layer, _) in RECORDING.items()}
    for node in graph.nodes:
        changes += sum(remember(sub, context) for sub in node.graphs.values())
        gradient = layers.get(node.op.name, node.op.name)
        if gradient in RECORDING and not node.dynamic:
            found.setdefault(_key(gradient, node), []).append(node)
    return changes + sum(_recorded(graph, gradient, nodes) for (gradient, *_), nodes in found.items())


def _key(gradient: str, node: Node) -> Any:
    """What a layer and its gradients have in common; what only gradients have is as it is without being asked for."""
    layer = lookup(RECORDING[gradient][0])
    own = {k: v for k, v in node.attrs.items() if k in layer.attributes or v != node.op.attributes[k].default}
    return gradient, *map(id, node.inputs[: len(layer.inputs)]), repr(sorted(own.items()))


def _recorded(graph: Graph, gradient: str, nodes: list[Node]) -> int:
    """Let the gradients among the nodes, which are in order, read a record of the layers among them."""
    layers = [n for n in nodes if n.op.name != gradient]
    readers = [n for n in nodes if n.op.name == gradient and n.inputs[-1] is None]
    if not layers or not readers:
        return 0
    like = layers[0]
    builder = Builder(graph, before=nodes[0], source=like.source)
    try:
        made = builder.node(
            lookup(RECORDING[gradient][1]), like.inputs, like.attrs, names=[*(v.name for v in like.outputs), "record"]
        )
    except UnsupportedError:
        return 0
    for layer in layers:
        for old, new in zip(layer.outputs, made.outputs):
            graph.replace(old, new)
        graph.erase(layer)
    for reader in readers:
        graph.set_inputs(reader, [*reader.inputs[:-1], made.outputs[-1]])
    return len(readers)
