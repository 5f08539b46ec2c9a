"""Batch normalisation with constant statistics, folded into its neighbours.

    scale' = scale / sqrt(variance + epsilon),  shift = bias - mean * scale'
    conv(x, w, b) * scale' + shift = conv(x, w * scale', b * scale' + shift)

A constant factor for each channel, as older converters write it after the normalisation, is folded likewise.

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
    return all(v is None or _is_constant(v) for v in m.nodes["%y"].inputs[1:])


def _is_constant(var: Var) -> bool:
    """Whether a value is a constant, or one of the products of constants that this pass has emitted."""
    if var.producer is None:
        return var.data is not None
    return var.producer.op.has("elementwise") and all(v is None or _is_constant(v) for v in var.producer.inputs)


def _takes_scale(m: Match) -> bool:
    """The producer's weight is a constant whose last axis is the channels, and nothing follows the product yet."""
    producer = m.nodes["%c"]
    w, bias, residual = (*producer.inputs[1:], None, None)[:3]
    groups = producer.attrs.get("groups", 1)
    return (
        producer.attrs["activation"] == LINEAR
        and residual is None
        and w is not None
        and _is_constant(w)
        and len(w.shape) >= 2
        and (bias is None or (_is_constant(bias) and len(bias.shape) == 1))
        and w.shape[-1] == m["%c"].shape[-1]
        and (groups == 1 or not producer.attrs.get("output_padding"))
    )


def _into_producer(m: Match) -> bool:
    return _takes_scale(m) and _is_last_axis(m) and _statistics_constant(m)


def _fold_after(b: Builder, m: Match) -> Var:
    scale, shift = scale_and_shift(b, m.nodes["%y"])
    return _scaled(b, m.nodes["%c"], scale, shift)


def _scaled(b: Builder, producer: Node, scale: Var, shift: Var | None) -> Var:
    """The producer with its result times scale plus shift."""
    x, w, *rest = producer.inputs
    bias = rest[0] if rest else None
    if bias is not None:
        bias = b.mul(bias, scale)
    if shift is not None:
        bias = shift if bias is None else b.add(bias, shift)
    return b.node(producer.op, [x, b.mul(w, scale), bias, *rest[1:]], producer.attrs).output


def _factor_per_channel(m: Match) -> bool:
    factor, channels = m["@s"], m["%c"].shape[-1]
    return (
        _takes_scale(m)
        and m["%y"].type == m["%c"].type
        and factor.shape[-1:] == (channels,)
        and factor.data is not None
        and factor.data.size == channels
    )


def _fold_factor(b: Builder, m: Match) -> Var:
    return _scaled(b, m.nodes["%c"], b.reshape(m["@s"], shape=(-1,)), None)


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


def _beside_norm(m: Match) -> bool:
    """The other operand is one constant number for each place of the norm's axis, which is the last."""
    constant, channels = m["@s"], m["%y"].shape[-1]
    return (
        _is_last_axis(m)
        and m["%z"].type == m["%y"].type
        and constant.data is not None
        and constant.data.size == channels
        and constant.shape[-1:] == (channels,)
    )


def _norm_times(b: Builder, m: Match) -> Var:
    """norm(x) * s = norm(x) with scale * s and bias * s."""
    norm, factor = m.nodes["%y"], b.reshape(m["@s"], shape=(-1,))
    x, scale, bias, *statistics = norm.inputs
    scale = factor if scale is None else b.mul(scale, factor)
    bias = None if bias is None else b.mul(bias, factor)
    return b.node(norm.op, [x, scale, bias, *statistics], norm.attrs).output


def _norm_plus(b: Builder, m: Match) -> Var:
    """norm(x) + s = norm(x) with bias + s."""
    norm, addend = m.nodes["%y"], b.reshape(m["@s"], shape=(-1,))
    x, scale, bias, *statistics = norm.inputs
    bias = addend if bias is None else b.add(bias, addend)
    return b.node(norm.op, [x, scale, bias, *statistics], norm.attrs).output


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
        rules.append(rule("factor into norm", f"{before}; %z = mul(%y, @s)", _norm_times, when=_beside_norm))
        rules.append(rule("addend into norm", f"{before}; %z = add(%y, @s)", _norm_plus, when=_beside_norm))
    for head in ("%c = [epilogue](%x, %w)", "%c = [epilogue](%x, %w, %b)"):
        rules.append(rule("factor into producer", f"{head}; %y = mul(%c, @s)", _fold_factor, when=_factor_per_channel))
    return rules  # type: ignore[return-value]


RULES = _rules()


@register
def batchnorm(graph: Graph, context: Context) -> int:
    """Fold batch normalisation into the weights of the convolution or product before it, else after it."""
    return apply_rules(graph, RULES)  # type: ignore[arg-type]
