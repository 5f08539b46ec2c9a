"""Batch normalisation with constant statistics, folded into its neighbours.

    scale' = scale / sqrt(variance + epsilon),  shift = bias - mean * scale'
    conv(x, w, b) * scale' + shift = conv(x, w * scale', b * scale' + shift)

The products are emitted as ops on constants, which constant folding then computes.
"""

from __future__ import annotations

from ..ir.attributes import LINEAR
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def scale_and_shift(b: Builder, node: Node) -> tuple[Var, Var]:
    """The batch normalisation as y = x * scale + shift."""
    _, scale, bias, mean, variance = node.inputs
    assert mean is not None and variance is not None
    factor = b.rsqrt(b.add(variance, node.attrs["epsilon"]))
    if scale is not None:
        factor = b.mul(factor, scale)
    shift = b.neg(b.mul(mean, factor)) if bias is None else b.sub(bias, b.mul(mean, factor))
    return factor, shift


def _is_last_axis(m: Match) -> bool:
    return bool(m.nodes["%y"].attrs["axis"] in (-1, len(m["%y"].shape) - 1))


def _statistics_constant(m: Match) -> bool:
    return all(v is None or v.data is not None for v in m.nodes["%y"].inputs[1:])


def _into_producer(m: Match) -> bool:
    """The weight is a constant whose last axis is the channels, and nothing stands between product and norm."""
    producer = m.nodes["%c"]
    w, bias, residual = (*producer.inputs[1:], None, None)[:3]
    groups = producer.attrs.get("groups", 1)
    return (
        producer.attrs["activation"] == LINEAR
        and residual is None
        and w is not None
        and w.data is not None
        and len(w.shape) >= 2
        and (bias is None or (bias.data is not None and len(bias.shape) == 1))
        and w.shape[-1] == m["%c"].shape[-1]
        and (groups == 1 or not producer.attrs.get("output_padding"))
        and _is_last_axis(m)
        and _statistics_constant(m)
    )


def _fold_after(b: Builder, m: Match) -> Var:
    producer = m.nodes["%c"]
    scale, shift = scale_and_shift(b, m.nodes["%y"])
    x, w, *rest = producer.inputs
    bias = rest[0] if rest else None
    bias = shift if bias is None else b.add(b.mul(bias, scale), shift)
    return b.node(producer.op, [x, b.mul(w, scale), bias, *rest[1:]], producer.attrs).output


def _before_consumer(m: Match) -> bool:
    """conv(x * s + t, w) = conv(x, w * s) + sum(w * t): only without padding, which would not be shifted."""
    consumer = m.nodes["%c"]
    w, bias = (*consumer.inputs[1:], None)[:2]
    padding = consumer.attrs.get("padding", "valid")
    unpadded = padding == "valid" or (not isinstance(padding, str) and all(p == (0, 0) for p in padding))
    return (
        unpadded
        and consumer.attrs.get("groups", 1) == 1
        and "output_padding" not in consumer.attrs
        and w is not None
        and w.data is not None
        and len(w.shape) >= 2
        and (len(w.shape) == 2 or "strides" in consumer.attrs)
        and (bias is None or bias.data is not None)
        and bool(m.nodes["%y"].attrs["axis"] in (-1, len(m["%y"].shape) - 1))
        and _statistics_constant(m)
    )


def _fold_before(b: Builder, m: Match) -> Var:
    consumer = m.nodes["%c"]
    scale, shift = scale_and_shift(b, m.nodes["%y"])
    _, w, *rest = consumer.inputs
    assert w is not None
    column = b.reshape(scale, shape=(-1, 1))
    taps = b.reshape(b.mul(w, b.reshape(shift, shape=(-1, 1))), shape=(-1, w.shape[-1]))
    shifted = b.reduce_sum(taps, axes=(0,))
    bias = shifted if not rest or rest[0] is None else b.add(rest[0], shifted)
    return b.node(consumer.op, [m["%x"], b.mul(w, column), bias, *rest[1:]], consumer.attrs).output


_NORM = "%y = batch_norm({x}, {scale}, {bias}, %mean, %variance)"
_CASES = [("%s", "%t"), ("_", "%t"), ("%s", "_"), ("_", "_")]


def _rules() -> list[object]:
    rules = []
    for scale, bias in _CASES:
        after = _NORM.format(x="%c", scale=scale, bias=bias)
        before = _NORM.format(x="%x", scale=scale, bias=bias)
        for head in ("%c = [epilogue](%x, %w)", "%c = [epilogue](%x, %w, %b)"):
            rules.append(rule("norm into producer", f"{head}; {after}", _fold_after, when=_into_producer))
            tail = head.replace("%x", "%y", 1)
            rules.append(rule("norm into consumer", f"{before}; {tail}", _fold_before, when=_before_consumer))
    return rules  # type: ignore[return-value]


RULES = _rules()


@register
def batchnorm(graph: Graph, context: Context) -> int:
    """Fold batch normalisation into the weights of the convolution or product before it, else after it."""
    return apply_rules(graph, RULES)  # type: ignore[arg-type]
