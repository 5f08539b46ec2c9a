"""Zero padding before a convolution becomes the convolution's own padding, which costs no copy of its own."""

from __future__ import annotations

from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def _pads_space_with_zeros(m: Match) -> bool:
    """Only spatial axes are padded, nothing is taken away, and the convolution's own padding is explicit."""
    pads, own = m.nodes["%p"].attrs["pads"], m.nodes["%y"].attrs["padding"]
    return (
        m.nodes["%p"].attrs["mode"] == "constant"
        and pads[0] == pads[-1] == (0, 0)
        and all(isinstance(n, int) and n >= 0 for pair in pads for n in pair)
        and (own == "valid" or not isinstance(own, str))
    )


def _padded_conv(b: Builder, m: Match) -> Var:
    conv, pads = m.nodes["%y"], m.nodes["%p"].attrs["pads"][1:-1]
    own = conv.attrs["padding"]
    inner = ((0, 0),) * len(pads) if isinstance(own, str) else own
    both = tuple((p[0] + q[0], p[1] + q[1]) for p, q in zip(pads, inner))
    return b.node(conv.op, [m["%x"], *conv.inputs[1:]], {**conv.attrs, "padding": both}).output


_PADS = ("%p = pad(%x)", "%p = pad(%x, 0)")
_CONVS = ("(%p, %w)", "(%p, %w, %b)", "(%p, %w, _, %r)", "(%p, %w, %b, %r)")

RULES = [
    rule("padding into conv", f"{pad}; %y = conv{conv}", _padded_conv, when=_pads_space_with_zeros, shared=True)
    for pad in _PADS
    for conv in _CONVS
]


@register
def padding(graph: Graph, context: Context) -> int:
    """Let convolutions pad for themselves."""
    return apply_rules(graph, RULES)
