"""Sums of a gradient that only moves numbers are sums of what it moves.

    reduce_sum(max_pool_grad(x, y, g)) = reduce_sum(g)        over all places

The gradient of a bias under a pooled convolution is such a sum: over the windows, of which there are fewer by four than
places.  The numbers come in another order, so the last digits differ; and the number of a window in which NaN is the
largest, which no place gets, counts.
"""

from __future__ import annotations

from ..ir.graph import Graph
from ..ir.op import axes_of
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def _each_goes_to_one_place(m: Match) -> bool:
    """The sum is over all spatial axes, and every window has elements, one of which gets what is given to it."""
    pool, rank = m.nodes["%d"].attrs, len(m["%x"].shape)
    places = {*range(1, rank - 1)} <= {*axes_of(m.nodes["%s"].attrs["axes"], rank)}
    return places and isinstance(pool["padding"], str) and not pool["ceil_mode"] and not pool["all_ties"]


RULES = [
    rule("sum of a max_pool_grad", "%d = max_pool_grad(%x, %y, %g); %s = reduce_sum(%d)", "%s = reduce_sum(%g)",
         when=lambda m: m["%x"].tensor.shape is not None and _each_goes_to_one_place(m), shared=True),
]  # fmt: skip


@register
def sums(graph: Graph, context: Context) -> int:
    """Sum what is given to gradients of pooling, not what they make of it."""
    return apply_rules(graph, RULES)
