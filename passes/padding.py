"""Padding becomes that of the convolution or pooling after it, which costs no copy of its own.

- Zeros before a convolution, whatever its own padding, if its size is known.
- Zeros before a mean that counts them.
- -infinity before a maximum; zeros too where nothing is below 0 (after a relu), as long as every window holds at least
  one element of x.
- Padding of padding with the same number.
- An activation that keeps zeros is computed before zeros are added, where it is part of the producer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.ops.conv import effective, explicit_padding
from .manager import Context, register
from .rewrite import Match, apply_rules, rule
from .simplify import uniform

Pairs = tuple[tuple[int, int], ...]


def _value(node: Node) -> float | None:
    """The number that a `pad` adds; None where it is not known, or the mode is another."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if node.attrs["mode"] != "constant":
        return None
    found = 0 if given is None else uniform(given)
    return None if found is None else float(found)


def _pads_space(node: Node) -> bool:
    """Only spatial axes are padded, and nothing is taken away."""
    pads = node.attrs["pads"]
    return len(pads) >= 3 and pads[0] == pads[-1] == (0, 0) and _only_adds(node)


def _only_adds(node: Node) -> bool:
    return all(isinstance(n, int) and n >= 0 for pair in node.attrs["pads"] for n in pair)


def _own_padding(pad: Node, node: Node) -> Pairs | None:
    """What the op itself pads, as pairs; None where that depends on sizes which are not numbers."""
    x, a = pad.output, node.attrs
    kernel = a["window"] if "window" in a else node.inputs[1].shape[:-2] if node.inputs[1] is not None else ()
    sizes = x.shape[1:-1]
    if a["padding"] in ("same", "same_lower") and not all(isinstance(d, int) for d in sizes):
        return None
    return explicit_padding(a["padding"], sizes, kernel, a["strides"], a["dilations"])  # type: ignore[return-value]


def _into_conv(m: Match) -> bool:
    pad = m.nodes["%p"]
    return _value(pad) == 0 and _pads_space(pad) and _own_padding(pad, m.nodes["%y"]) is not None


def _into_mean(m: Match) -> bool:
    """Padding that was counted is counted as padding; what the op pads besides must be too."""
    pad, node = m.nodes["%p"], m.nodes["%y"]
    own = _own_padding(pad, node) if _value(pad) == 0 and _pads_space(pad) and not node.attrs["ceil_mode"] else None
    return own is not None and (node.attrs["count_include_pad"] or not any(map(any, own)))


def _into_maximum(m: Match) -> bool:
    pad, node = m.nodes["%p"], m.nodes["%y"]
    own = _own_padding(pad, node) if _pads_space(pad) and not node.attrs["ceil_mode"] else None
    if own is None or not m["%x"].tensor.dtype.is_float:
        return False
    return _value(pad) == -math.inf or (_value(pad) == 0 and is_not_negative(m["%x"]) and _meets_elements(node, m, own))


def _meets_elements(node: Node, m: Match, own: Pairs) -> bool:
    """No window lies in the padding alone."""
    a, pads = node.attrs, m.nodes["%p"].attrs["pads"][1:-1]
    together = [p[i] + q[i] for p, q in zip(pads, own) for i in (0, 1)]
    extents = [effective(k, 1) for k in a["window"] for _ in (0, 1)]
    return set(a["dilations"]) == {1} and all(p < extent for p, extent in zip(together, extents))


_NOT_NEGATIVE = ("relu", "abs", "square", "exp", "sigmoid", "softmax", "softplus", "sqrt", "hard_sigmoid")
_KEEPING_SIGN = ("max_pool", "avg_pool", "reshape", "transpose", "slice", "identity")


def is_not_negative(var: Var) -> bool:
    """Whether an op or activation that gives nothing below 0 (but NaN perhaps) made the value."""
    node = var.producer
    if node is None:
        return False
    if node.op.name in _KEEPING_SIGN and node.inputs[0] is not None:
        return is_not_negative(node.inputs[0])
    made_by = node.attrs.get("activation")
    name, attrs = (made_by.name, dict(made_by.attrs)) if made_by is not None else (node.op.name, node.attrs)
    return name in _NOT_NEGATIVE or (name == "clip" and (attrs["low"] or 0) >= 0 and attrs["low"] is not None)


def _padded(**changed: Any) -> Callable[[Builder, Match], Var]:
    def make(b: Builder, m: Match) -> Var:
        pad, node = m.nodes["%p"], m.nodes["%y"]
        own = _own_padding(pad, node)
        assert own is not None
        both = tuple((p[0] + q[0], p[1] + q[1]) for p, q in zip(pad.attrs["pads"][1:-1], own))
        attrs = {**node.attrs, "padding": both, **changed}
        return b.node(node.op, [m["%x"], *node.inputs[1:]], attrs).output

    return make


def _one_pad(b: Builder, m: Match) -> Var:
    inner, outer = m.nodes["%p"], m.nodes["%y"]
    pads = tuple((p[0] + q[0], p[1] + q[1]) for p, q in zip(inner.attrs["pads"], outer.attrs["pads"]))
    return b.node(outer.op, [m["%x"], *outer.inputs[1:]], {**outer.attrs, "pads": pads}).output


def _same_number(m: Match) -> bool:
    """Both add the same number and take nothing away."""
    nodes = m.nodes["%p"], m.nodes["%y"]
    numbers = [_value(node) for node in nodes]
    return all(map(_only_adds, nodes)) and numbers[0] is not None and numbers[0] == numbers[1]


# Activations f with f(0) = 0 whatever their attributes.
_KEEPING_ZERO = (
    "abs", "square", "sqrt", "relu", "tanh", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "softsign", "hard_silu", "erf", "sin", "asinh", "atan",
)  # fmt: skip


def _after_producer(m: Match) -> bool:
    """The activation can become part of what is before the padding, and the padding of what is after it."""
    producer, pad, clip = m["%x"].producer, m.nodes["%p"], m.nodes["%y"].attrs
    keeps = m.nodes["%y"].op.name in _KEEPING_ZERO or (
        m.nodes["%y"].op.name == "clip" and (clip["low"] or 0) <= 0 <= (clip["high"] or 0))  # fmt: skip
    fed = producer is not None and producer.op.has("epilogue") and m.used_once("%x")
    return keeps and _value(pad) == 0 and fed


def _activated_before(b: Builder, m: Match) -> Var:
    pad, activation = m.nodes["%p"], m.nodes["%y"]
    active = b.node(activation.op, [m["%x"]], activation.attrs).output
    return b.node(pad.op, [active, *pad.inputs[1:]], pad.attrs).output


_PADS = ("%p = pad(%x)", "%p = pad(%x, %v)")
_CONVS = ("(%p, %w)", "(%p, %w, %b)", "(%p, %w, _, %r)", "(%p, %w, %b, %r)")

RULES = [
    *(rule("padding into conv", f"{pad}; %y = conv{conv}", _padded(), when=_into_conv, shared=True)
      for pad in _PADS for conv in _CONVS),
    *(rule("padding into a mean", f"{pad}; %y = avg_pool(%p)", _padded(count_include_pad=True), when=_into_mean,
           shared=True) for pad in _PADS),
    *(rule("padding into a maximum", f"{pad}; %y = max_pool(%p)", _padded(), when=_into_maximum, shared=True)
      for pad in _PADS),
    *(rule("pad twice", f"{pad}; %y = pad{outer}", _one_pad, when=_same_number)
      for pad in _PADS for outer in ("(%p)", "(%p, %u)")),
    *(rule("activation before padding", f"{pad}; %y = [activation](%p)", _activated_before, when=_after_producer)
      for pad in _PADS),
]  # fmt: skip


@register
def padding(graph: Graph, context: Context) -> int:
    """Let convolutions and pooling pad for themselves."""
    return apply_rules(graph, RULES)
