"""What a graph costs: floating point operations and bytes, from types alone.

One row per op that is more than one operation an output element; all others count their output elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir import dims
from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor, map_dims

CostRule = Callable[[Node, Callable[[Var], tuple[int, ...]]], int]


def _matmul(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[0] is not None
    return 2 * math.prod(shape(node.outputs[0])) * shape(node.inputs[0])[-1]


def _conv(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[1] is not None
    return 2 * math.prod(shape(node.outputs[0])) * math.prod(shape(node.inputs[1])[:-1])


def _conv_transpose(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[0] is not None and node.inputs[1] is not None
    kernel = shape(node.inputs[1])
    return 2 * math.prod(shape(node.inputs[0])) * math.prod(kernel[:-2]) * kernel[-1]


def _conv_weight_grad(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[1] is not None
    return 2 * math.prod(shape(node.inputs[1])) * math.prod(shape(node.outputs[0])[:-1])


def _winograd_conv(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    """Of a direct convolution, so that shares and speeds can be compared."""
    x, u = node.inputs[:2]
    assert x is not None and u is not None
    return 2 * math.prod(shape(node.outputs[0])) * math.prod(node.attrs["kernel"]) * shape(u)[1]


def _winograd_weights(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[0] is not None
    return 2 * math.prod(shape(node.outputs[0])) * math.prod(shape(node.inputs[0])[:-2])


def _pool(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    return math.prod(shape(node.outputs[0])) * int(math.prod(node.attrs["window"]))


def _pool_grad(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    *_, last = (v for v in node.inputs if v is not None)  # g, or a record of the same shape
    return math.prod(shape(last)) * int(math.prod(node.attrs["window"]))


def _recurrent(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    assert node.inputs[0] is not None and node.inputs[1] is not None and node.inputs[2] is not None
    n, time, _ = shape(node.inputs[0])
    return 2 * n * time * (math.prod(shape(node.inputs[1])) + math.prod(shape(node.inputs[2])))


def step_flops(graph: Graph, symbol_value: int = 1) -> int:
    """Floating point operations of the recurrent product in one step of a loop over time, of the largest such loop."""
    found = [node.inputs for node in graph.nodes if node.op.has("sequential")]
    pairs = [(x, r) for x, _, r, *_ in found if x is not None and r is not None]
    shapes = [(static_shape(x, symbol_value), static_shape(r, symbol_value)) for x, r in pairs]
    return max((2 * x[0] * math.prod(r) for x, r in shapes if x), default=0)


def _recurrent_grad(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    """For each product of the forward pass two, and the forward pass again where there is no record of it."""
    last = node.op.inputs[len(node.inputs) - 1]
    recorded = last.name == "record" and node.inputs[-1] is not None
    return (2 if recorded else 3) * _recurrent(node, shape)


def _attention(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    """Two products, and about ten operations for each of the scores; both halves of causal ones."""
    q, k, out = node.inputs[0], node.inputs[1], shape(node.outputs[0])
    assert q is not None and k is not None
    return math.prod(out[:-1]) * shape(k)[-2] * 2 * (shape(q)[-1] + out[-1] + 5)


def _chain(node: Node, shape: Callable[[Var], tuple[int, ...]]) -> int:
    """Nothing but what the body costs, which is counted anyway."""
    return 0


RULES: dict[str, CostRule] = {
    "attention": _attention,
    "chain": _chain,
    "matmul": _matmul,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "conv_weight_grad": _conv_weight_grad,
    "winograd_conv": _winograd_conv,
    "winograd_weight_grad": _conv_weight_grad,
    "winograd_weights": _winograd_weights,
    "max_pool": _pool,
    "max_pool_record": _pool,
    "max_pool_grad": _pool_grad,
    "max_pool_pick": _pool,
    "avg_pool": _pool,
    "avg_pool_grad": _pool_grad,
    "lstm": _recurrent,
    "lstm_record": _recurrent,
    "gru": _recurrent,
    "gru_record": _recurrent,
    "rnn": _recurrent,
    "rnn_record": _recurrent,
    "lstm_grad": _recurrent_grad,
    "gru_grad": _recurrent_grad,
    "rnn_grad": _recurrent_grad,
}


def static_shape(var: Var, symbol_value: int = 1) -> tuple[int, ...]:
    """The shape with every symbol (and every unknown dimension) set to one number."""
    t = var.type
    if not isinstance(t, Tensor) or t.shape is None:
        return ()
    if t.is_static:
        return t.static
    values = {name: symbol_value for d in t.shape for name in dims.symbols(d)}
    settled = map_dims(t, lambda d: dims.substitute(d, values))
    assert isinstance(settled, Tensor) and settled.shape is not None
    return tuple(d if isinstance(d, int) else symbol_value for d in settled.shape)


def flops(node: Node, symbol_value: int = 1) -> int:
    """Floating point operations of a node (a multiplication and an addition are two), symbols being symbol_value.

    Views cost nothing; subgraphs count once.  Where a rank is not known, nothing more is counted
    than the elements of the result that are known.
    """
    if node.op.has("view"):
        return 0
    inside = sum(flops(n, symbol_value) for g in node.graphs.values() for n in g.nodes)
    rule = RULES.get(node.op.name)

    def shape(var: Var) -> tuple[int, ...]:
        return static_shape(var, symbol_value)

    types = [v.type for v in (*node.inputs, *node.outputs) if v is not None]
    if rule is None or any(isinstance(t, Tensor) and t.shape is None for t in types):
        return inside + sum(math.prod(shape(v)) for v in node.outputs)
    return inside + rule(node, shape)


def total_flops(graph: Graph, symbol_value: int = 1) -> int:
    """Floating point operations of a run."""
    return sum(flops(node, symbol_value) for node in graph.nodes)


def working_set(graph: Graph) -> int:
    """The most bytes that one node reads and writes (constants aside), symbols being 1."""

    def size(var: Var | None) -> int:
        if var is None or var.constant is not None or not isinstance(var.type, Tensor):
            return 0
        return math.prod(static_shape(var)) * var.type.dtype.numpy.itemsize

    return max((sum(map(size, (*node.inputs, *node.outputs))) for node in graph.nodes), default=0)
