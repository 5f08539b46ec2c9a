"""Fusion of what follows a convolution or product into its epilogue: bias, residual, activation.

A kernel that applies them while the result is in cache saves a pass over memory for each.
"""

from __future__ import annotations

from ..ir.attributes import LINEAR, Activation
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def _linear(m: Match) -> bool:
    return bool(m.nodes["%c"].attrs["activation"] == LINEAR)


def _per_channel(m: Match) -> bool:
    """The addend is one constant number for each channel of the result."""
    addend, result = m["@b"], m["%y"]
    channels = m["%c"].shape[-1]
    return (
        _linear(m)
        and result.type == m["%c"].type
        and len(addend.shape) <= len(result.shape)
        and addend.data is not None
        and addend.data.size == channels
        and addend.shape[-1:] == (channels,)
    )


def _add_bias(b: Builder, m: Match) -> Var:
    producer = m.nodes["%c"]
    x, w, *rest = producer.inputs
    bias = b.reshape(m["@b"], shape=(-1,))
    if rest and rest[0] is not None:
        bias = b.add(rest[0], bias)
    return b.node(producer.op, [x, w, bias, *rest[1:]], producer.attrs).output


def _has_residual_slot(m: Match) -> bool:
    return (
        _linear(m)
        and any(i.name == "residual" for i in m.nodes["%c"].op.inputs)
        and m["%r"].type == m["%c"].type
        and m["%r"].constant is None
    )


def _add_residual(b: Builder, m: Match) -> Var:
    producer = m.nodes["%c"]
    return b.node(producer.op, [*producer.inputs[:3], m["%r"]], producer.attrs).output


def _activates(b: Builder, m: Match) -> Var:
    producer, activation = m.nodes["%c"], m.nodes["%y"]
    attrs = {**producer.attrs, "activation": as_activation(activation.op.name, activation.attrs)}
    return b.node(producer.op, producer.inputs, attrs).output


def as_activation(name: str, attrs: dict[str, object]) -> Activation:
    """An elementwise node as an attribute."""
    return Activation(name, tuple(attrs.items()))


# Operands of the producer, and what the name of a rule says of them.  Without a residual:
_PLAIN = {"(%x, %w)": "", "(%x, %w, %a)": " with bias"}
_ALL = {**_PLAIN, "(%x, %w, _, %s)": " with residual", "(%x, %w, %a, %s)": " with bias and residual"}

RULES = [
    *(rule(f"bias{what}", f"%c = [epilogue]{head}; %y = add(%c, @b)", _add_bias, when=_per_channel)
      for head, what in _PLAIN.items()),
    *(rule(f"residual{what}", f"%c = [epilogue]{head}; %y = add(%c, %r)", _add_residual, when=_has_residual_slot)
      for head, what in _PLAIN.items()),
    *(rule(f"activation{what}", f"%c = [epilogue]{head}; %y = [activation](%c)", _activates, when=_linear)
      for head, what in _ALL.items()),
]  # fmt: skip


@register
def fuse(graph: Graph, context: Context) -> int:
    """Put bias, residual and activation into the op that makes their operand."""
    return apply_rules(graph, RULES)
