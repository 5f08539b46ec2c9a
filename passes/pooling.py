"""Means before products: what is computed for each place alone, and averaged then, is computed for the means instead.

    avg_pool(conv(x, w, b)) = conv(avg_pool(x), w, b)        w of one element, stride 1
    reduce_mean(x @ w + b) = reduce_mean(x) @ w + b          over places, not channels

There are fewer means than places, by four in the transitions of a DenseNet.  Sums come in another order, so the last
digits differ.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..ir.attributes import LINEAR
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from ..ir.op import axes_of
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def _is_pointwise(m: Match) -> bool:
    """Each place of the result comes from the same place of x, by the same weights; no activation follows."""
    node = m.nodes["%c"]
    w, bias, residual = (*node.inputs[1:], None, None)[:3]
    if node.attrs["activation"] != LINEAR or residual is not None or w is None or "output_padding" in node.attrs:
        return False
    if bias is not None and len(bias.shape) != 1:
        return False
    if "strides" not in node.attrs:
        return len(w.shape) == 2
    padding = node.attrs["padding"]
    unpadded = isinstance(padding, str) or not any(map(any, padding))  # of one element every named padding is none
    return set(w.shape[:-2]) == {1} and set(node.attrs["strides"]) == {1} and unpadded


def _pool_shrinks(m: Match) -> bool:
    """There are fewer windows than places, and what is added to all places is added to their mean."""
    a, bias = m.nodes["%y"].attrs, (*m.nodes["%c"].inputs[2:], None)[0]
    padded = a["padding"] != "valid" if isinstance(a["padding"], str) else any(map(any, a["padding"]))
    counts = a["count_include_pad"] and padded
    return _is_pointwise(m) and prod(a["strides"]) > 1 and (bias is None or not counts) and _not_much_wider(m)


def _not_much_wider(m: Match) -> bool:
    """Averaging x is no more work than what is saved: a product costs much less for each number than a mean."""
    before, after = m["%x"].shape[-1], m["%y"].shape[-1]
    return isinstance(before, int) and isinstance(after, int) and before <= 8 * after


def _mean_of_places(m: Match) -> bool:
    """The mean is over axes that the product keeps apart, and leaves a matrix, or as many axes as there were."""
    node, x = m.nodes["%y"], m["%x"]
    rank = len(m["%c"].shape)
    axes = axes_of(node.attrs["axes"], rank)
    leaves = node.attrs["keepdims"] or ("strides" not in m.nodes["%c"].attrs and rank - len(axes) >= 2)
    return bool(axes) and rank - 1 not in axes and len(x.shape) == rank and leaves and _is_pointwise(m)


def _with_mean(when: Callable[[Match], bool]) -> Callable[[Match], bool]:
    """Guards look at shapes: all have to be there."""
    return lambda m: all(m[name].tensor.shape is not None for name in ("%x", "%c", "%y")) and when(m)


def _mean_first(b: Builder, m: Match) -> Var:
    product, mean = m.nodes["%c"], m.nodes["%y"]
    fewer = b.node(mean.op, [m["%x"]], mean.attrs).output
    return b.node(product.op, [fewer, *product.inputs[1:]], product.attrs).output


RULES = [
    rule(f"{op} before a product", f"%c = [epilogue]{head}; %y = {op}(%c)", _mean_first, when=_with_mean(when))
    for op, when in (("avg_pool", _pool_shrinks), ("reduce_mean", _mean_of_places))
    for head in ("(%x, %w)", "(%x, %w, %b)")
]


@register
def pooling(graph: Graph, context: Context) -> int:
    """Average before a product of each place, not after it."""
    return apply_rules(graph, RULES)
