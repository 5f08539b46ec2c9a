"""Constant factors and addends, one for each channel or one for all, folded into the weights beside them.

A batch normalisation with constant statistics is such a pair, and so are the `mul`, `add`, `sub`, `div` and `neg` that
stand for one in files of older converters:

    scale' = scale / sqrt(variance + epsilon),  shift = bias - mean * scale'
    after:   conv(x, w, b) * scale' + shift = conv(x, w * scale', b * scale' + shift)
    before:  conv(x * scale' + shift, w, b) = conv(x, w * scale', b + sum of w * shift)

Before a convolution that pads, or a transposed one, a shift cannot be folded: the padding would not be shifted.  A
factor can, and a shift that follows a factor changes places with it: x s + t = (x + t / s) s.

Between the two may stand what commutes with both: reshapes and transposes that keep the channels, means over places,
concatenation along the channels (`PASSES_ON`).  The rows of an embedding count as weights too.  Everything rounds
otherwise than before, but not more often.

The products are emitted as ops on constants, which constant folding then computes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..ir.attributes import LINEAR
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import axes_of, axis_of
from .bodies import is_pure
from .manager import Context, register
from .rewrite import Match, Rule, apply_rules, erase_dead, merge_sources, rule

LARGEST_TABLE = 1 << 26  # bytes: a copy of a table costs more than a product for each row that is looked up


class Affine(NamedTuple):
    """y = x * scale + shift along the last axis: vectors, or scalars; None: 1 and 0."""

    scale: Var | None
    shift: Var | None


class Kind(NamedTuple):
    """What has to be known of an affine map before it is made: whether it shifts, and whether by one number for all."""

    shifts: bool
    scalar: bool


# ---- reading -------------------------------------------------------------------------------------------------


def scale_and_shift(b: Builder, node: Node) -> tuple[Var, Var]:
    """The batch normalisation as y = x * scale + shift."""
    _, scale, bias, mean, variance = node.inputs
    assert mean is not None and variance is not None
    factor = b.rsqrt(b.add(variance, node.attrs["epsilon"]))
    if scale is not None:
        factor = b.mul(factor, scale)
    shift = b.neg(b.mul(mean, factor)) if bias is None else b.sub(bias, b.mul(mean, factor))
    return factor, shift


def is_constant(var: Var) -> bool:
    """Whether a value is a constant, or one of the products of constants that this pass has emitted."""
    above, seen = [var], {var}  # no recursion: networks are deeper than Python's stack
    while above:
        value = above.pop()
        if value.producer is None:
            if value.data is None:
                return False
        elif not is_pure(value.producer):
            return False
        else:
            new = {v for v in value.producer.inputs if v is not None} - seen
            seen |= new
            above += new
    return True


def _norm(node: Node) -> tuple[Var, Kind] | None:
    x, *statistics = node.inputs
    assert x is not None
    if axis_of(node.attrs["axis"], len(x.shape)) != len(x.shape) - 1:
        return None
    if not all(v is None or is_constant(v) for v in statistics):
        return None
    return x, Kind(not _is_zero(statistics[1]) or not _is_zero(statistics[2]), False)


def _is_zero(var: Var | None) -> bool:
    return var is None or (var.data is not None and not var.data.any())


def _norm_affine(b: Builder, node: Node) -> Affine:
    scale, shift = scale_and_shift(b, node)
    found = _norm(node)
    return Affine(scale, shift if found is None or found[1].shifts else None)


def _places(node: Node) -> tuple[Var, Var] | None:
    """The operand of an arithmetic op, and the constant beside it: the second, or either where the op commutes."""
    x, c = node.inputs
    if x is not None and node.op.has("commutes") and is_constant(x):
        x, c = c, x
    return (x, c) if x is not None and c is not None and is_constant(c) and not is_constant(x) else None


def _arithmetic(shifts: bool) -> Callable[[Node], tuple[Var, Kind] | None]:
    def read(node: Node) -> tuple[Var, Kind] | None:
        found = _places(node)
        if found is None or found[0].type != node.output.type or not found[0].tensor.dtype.is_float:
            return None
        x, c = found
        size = prod(c.shape)
        if size != 1 and (not x.shape or size != x.shape[-1] or c.shape[-1] != size):
            return None
        if c.data is not None and not (np.isfinite(c.data).all() and (node.op.name != "div" or c.data.all())):
            return None
        return x, Kind(shifts, size == 1)

    return read


def _row(b: Builder, node: Node) -> Var:
    """The constant operand as a vector or scalar."""
    found = _places(node)
    assert found is not None
    shape = () if prod(found[1].shape) == 1 else (-1,)
    return found[1] if len(found[1].shape) == len(shape) else b.reshape(found[1], shape=shape)


def _negation(node: Node) -> tuple[Var, Kind] | None:
    (x,) = node.inputs
    return (x, Kind(False, True)) if x is not None and x.tensor.dtype.is_float else None


# op: what is mapped and how, if it is such a map; and the map
Reader = Callable[[Node], "tuple[Var, Kind] | None"]
AFFINE: dict[str, tuple[Reader, Callable[[Builder, Node], Affine]]] = {
    "batch_norm": (_norm, _norm_affine),
    "mul": (_arithmetic(False), lambda b, node: Affine(_row(b, node), None)),
    "div": (_arithmetic(False), lambda b, node: Affine(b.reciprocal(_row(b, node)), None)),
    "add": (_arithmetic(True), lambda b, node: Affine(None, _row(b, node))),
    "sub": (_arithmetic(True), lambda b, node: Affine(None, b.neg(_row(b, node)))),
    "neg": (_negation, lambda b, node: Affine(b.constant(np.array(-1, node.output.tensor.dtype.numpy)), None)),
}


def read(node: Node) -> tuple[Var, Kind] | None:
    """What a node maps, and how, if it is an affine map along the last axis of a tensor of known rank."""
    known = all(v is None or getattr(v.type, "shape", None) is not None for v in (*node.inputs, *node.outputs))
    return AFFINE[node.op.name][0](node) if node.op.name in AFFINE and known and not node.dynamic else None


# ---- what passes a map on ------------------------------------------------------------------------------------


def _keeps_last(node: Node, kind: Kind) -> bool:
    return kind.scalar or node.attrs["perm"][-1] == len(node.attrs["perm"]) - 1


def _regroups(node: Node, kind: Kind) -> bool:
    """The channels stay innermost: the last axis after is that before, or a multiple or part of it."""
    x = node.inputs[0]
    assert x is not None
    if kind.scalar:
        return True
    before, after = (v.shape[-1] if v.shape else 0 for v in (x, node.output))
    return before == after or (_is_multiple(before, after) or _is_multiple(after, before))


def _is_multiple(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and b > 0 and a % b == 0


def _averages_places(node: Node, kind: Kind) -> bool:
    """The mean of a constant is that constant, if padding does not count."""
    padding = node.attrs["padding"]
    unpadded = padding == "valid" or (not isinstance(padding, str) and all(p == (0, 0) for p in padding))
    return not kind.shifts or not node.attrs["count_include_pad"] or unpadded


def _reduces_places(node: Node, kind: Kind) -> bool:
    rank = len(node.inputs[0].shape) if node.inputs[0] is not None else 0
    return rank - 1 not in axes_of(node.attrs["axes"], rank)


def _pads_zeros(node: Node, kind: Kind) -> bool:
    value = node.inputs[1] if len(node.inputs) > 1 else None
    return not kind.shifts and node.attrs["mode"] == "constant" and _is_zero(value) and (
        kind.scalar or node.attrs["pads"][-1] == (0, 0))  # fmt: skip


# op: whether f(x * scale + shift) = f(x) * scale + shift
PASSES_ON: dict[str, Callable[[Node, Kind], bool]] = {
    "transpose": _keeps_last,
    "reshape": _regroups,
    "squeeze": _regroups,
    "unsqueeze": _regroups,
    "avg_pool": _averages_places,
    "reduce_mean": _reduces_places,
    "pad": _pads_zeros,
}


def _passes_on(node: Node, kind: Kind) -> bool:
    """Whether the map may stand on the other side of a node; never between channels and a part of them."""
    return node.op.name in PASSES_ON and not node.dynamic and PASSES_ON[node.op.name](node, kind)


def _repeated(b: Builder, row: Var | None, size: Any) -> Var | None:
    """A vector put together from copies, so that it is as long as an axis that holds several rounds of channels."""
    if row is None or not row.shape or row.shape[0] == size:
        return row
    rounds = b.expand(b.reshape(row, shape=(1, -1)), shape=(size // row.shape[0], row.shape[0]))
    return b.reshape(rounds, shape=(-1,))  # type: ignore[no-any-return]


# ---- into what comes before ----------------------------------------------------------------------------------


def _takes(graph: Graph, var: Var, kind: Kind) -> bool:
    """Whether what makes the value, for this reader alone, can make it scaled and shifted."""
    node = var.producer
    if node is None or not graph.used_once(var) or node.dynamic:
        return False
    if node.op.has("epilogue"):
        return _weights_take(node)
    if node.op.name == "gather":
        return _rows_take(graph, node)
    if node.op.name == "concat":
        axis = axis_of(node.attrs["axis"], len(var.shape))
        apart = kind.scalar or (axis == len(var.shape) - 1 and all(isinstance(v.shape[-1], int) for v in _given(node)))
        return (apart or axis != len(var.shape) - 1) and all(_takes(graph, v, kind) for v in _given(node))
    x = node.inputs[0]
    if x is None or not _passes_on(node, kind) or (node.op.has("regroups") and not _holds_rounds(x, var, kind)):
        return False
    return _takes(graph, x, kind)


def _given(node: Node) -> list[Var]:
    return [v for v in node.operands if v is not None]


def _holds_rounds(longer: Var, shorter: Var, kind: Kind) -> bool:
    """A vector along the last axis of one value is, repeated, one along that of the other."""
    return kind.scalar or longer.shape[-1] == shorter.shape[-1] or _is_multiple(longer.shape[-1], shorter.shape[-1])


def _weights_take(node: Node) -> bool:
    """The weight is a constant whose last axis is the channels of the result, and nothing follows the product yet."""
    w, bias, residual = (*node.inputs[1:], None, None)[:3]
    if node.attrs["activation"] != LINEAR or residual is not None or w is None or not is_constant(w):
        return False
    groups = node.attrs.get("groups", 1) if "output_padding" in node.attrs else 1
    return (
        len(w.shape) >= 2
        and (bias is None or (is_constant(bias) and len(bias.shape) == 1))
        and isinstance(w.shape[-1], int)
        and w.shape[-1] * groups == node.output.shape[-1]
    )


def _rows_take(graph: Graph, node: Node) -> bool:
    """A table that only this look-up reads, and whose last axis comes out last."""
    table, indices = node.inputs
    return (
        table is not None
        and indices is not None
        and is_constant(table)
        and indices.data is None
        and table.tensor.is_static
        and table.tensor.nbytes <= LARGEST_TABLE
        and graph.used_once(table)
        and axis_of(node.attrs["axis"], len(table.shape)) < len(table.shape) - 1
    )


def _made(b: Builder, var: Var, affine: Affine) -> Var:
    """The value, which `_takes` it, scaled and shifted."""
    node = var.producer
    assert node is not None
    if node.op.has("epilogue"):
        return _scaled(b, node, affine)
    if node.op.name == "gather":
        table, indices = node.inputs
        return b.node(node.op, [_mapped(b, table, affine), indices], node.attrs).output
    if node.op.name == "concat":
        return b.node(node.op, _made_apart(b, node, affine), node.attrs).output
    x, *rest = node.inputs
    assert x is not None
    repeated = Affine(*(_repeated(b, row, x.shape[-1]) for row in affine)) if node.op.has("regroups") else affine
    return b.node(node.op, [_made(b, x, repeated), *rest], node.attrs).output


def _made_apart(b: Builder, concat: Node, affine: Affine) -> list[Var]:
    """The operands of a concatenation, each with its own part of the map."""
    last = axis_of(concat.attrs["axis"], len(concat.output.shape)) == len(concat.output.shape) - 1
    made, start = [], 0
    for var in _given(concat):
        part = affine
        if last and any(row is not None and row.shape for row in affine):
            ends = {"starts": (start,), "ends": (start + var.shape[-1],), "axes": (0,)}
            part = Affine(*(row if row is None or not row.shape else b.slice(row, **ends) for row in affine))
            start += var.shape[-1]
        made.append(_made(b, var, part))
    return made


def _mapped(b: Builder, x: Var | None, affine: Affine) -> Any:
    scaled = x if affine.scale is None else b.mul(x, affine.scale)
    return scaled if affine.shift is None else b.add(scaled, affine.shift)


def _scaled(b: Builder, node: Node, affine: Affine) -> Var:
    """The product with its result times scale plus shift."""
    x, w, *rest = node.inputs
    assert w is not None
    scale, shift, channels = *affine, node.output.shape[-1]
    bias = rest[0] if rest else None
    if shift is not None and not shift.shape:
        shift = b.expand(b.reshape(shift, shape=(1,)), shape=(channels,))
    if scale is not None:
        bias = None if bias is None else b.mul(bias, scale)
        w = b.mul(w, _output_channels(b, node, scale))
    if shift is not None:
        bias = shift if bias is None else b.add(bias, shift)
    return b.node(node.op, [x, w, bias, *rest[1:]], node.attrs).output


def _output_channels(b: Builder, node: Node, scale: Var) -> Var:
    """The scale as it meets the weight (..., C, O): of transposed convolutions in groups, a row for each of C."""
    w, groups = node.inputs[1], node.attrs.get("groups", 1)
    if w is None or not scale.shape or groups == 1 or "output_padding" not in node.attrs:
        return scale
    return b.repeat(b.reshape(scale, shape=(groups, -1)), repeats=w.shape[-2] // groups, axis=0)  # type: ignore


# ---- into what comes after -----------------------------------------------------------------------------------


def _all_take(graph: Graph, var: Var, kind: Kind) -> bool:
    """Whether all that read the value multiply it by constant weights, and so can scale and shift it themselves."""
    if graph.is_output(var) or not var.uses:
        return False
    return all(use.place == 0 and _reader_takes(graph, use.node, var, kind) for use in var.uses)


def _reader_takes(graph: Graph, node: Node, var: Var, kind: Kind) -> bool:
    if node.dynamic or any(v is var for v in node.inputs[1:]):
        return False
    if node.op.has("epilogue"):
        return _weights_take_before(node, kind)
    if not _passes_on(node, kind) or (node.op.has("regroups") and not _holds_rounds(node.output, var, kind)):
        return False
    return _all_take(graph, node.output, kind)


def _weights_take_before(node: Node, kind: Kind) -> bool:
    w, bias = (*node.inputs[1:], None)[:2]
    padding = node.attrs.get("padding", "valid")
    padded = padding != "valid" if isinstance(padding, str) else any(map(any, padding))
    return (
        w is not None
        and is_constant(w)
        and len(w.shape) >= 2
        and (len(w.shape) == 2 or "strides" in node.attrs)
        and all(isinstance(d, int) for d in w.shape)
        and (bias is None or is_constant(bias))
        and not (kind.shifts and (padded or "output_padding" in node.attrs))
    )


def _feed(b: Builder, reader: Node, x: Var, affine: Affine) -> None:
    """Let a reader, which takes the map, read x instead."""
    graph = b.graph
    at = Builder(graph, before=reader, source=merge_sources((b.source, reader.source)))
    if reader.op.has("epilogue"):
        graph.replace(reader.output, _shifted(at, reader, x, affine))
        return
    copy = at.node(reader.op, [x, *reader.inputs[1:]], reader.attrs, names=[reader.output.name])
    rows = [_repeated(at, row, copy.output.shape[-1]) if reader.op.has("regroups") else row for row in affine]
    for node in reader.output.users:
        _feed(at, node, copy.output, Affine(*rows))


def _shifted(b: Builder, node: Node, x: Var, affine: Affine) -> Var:
    """The product of x * scale + shift."""
    _, w, *rest = node.inputs
    assert w is not None
    bias, weights = rest[0] if rest else None, w
    if affine.shift is not None:
        column = _input_channels(b, node, affine.shift)
        taps = b.reduce_sum(b.reshape(b.mul(w, column), shape=(-1, w.shape[-1])), axes=(0,))
        bias = taps if bias is None else b.add(bias, taps)
    if affine.scale is not None:
        weights = b.mul(w, _input_channels(b, node, affine.scale))
    made = b.node(node.op, [x, weights, bias, *rest[1:]], node.attrs, names=[node.output.name])
    return made.output


def _input_channels(b: Builder, node: Node, row: Var) -> Var:
    """A vector over the channels of x as it meets the weight (..., C / groups, O): a column has its group's."""
    w, groups = node.inputs[1], node.attrs.get("groups", 1)
    assert w is not None
    if not row.shape:
        return row
    if groups == 1 or "output_padding" in node.attrs:
        return b.reshape(row, shape=(-1, 1))  # type: ignore[no-any-return]
    columns = b.transpose(b.reshape(row, shape=(groups, -1)), perm=(1, 0))
    return b.repeat(columns, repeats=w.shape[-1] // groups, axis=1)  # type: ignore[no-any-return]


# ---- the pass ------------------------------------------------------------------------------------------------


def _fold(graph: Graph, node: Node) -> bool:
    """Fold an affine map into what makes its operand, or into all that read its result."""
    found = read(node)
    if found is None:
        return False
    x, kind = found
    b = Builder(graph, before=node, source=node.source)
    if _takes(graph, x, kind):
        b.source = merge_sources((x.producer.source if x.producer else "", node.source))
        made = _made(b, x, AFFINE[node.op.name][1](b, node))
        made.name = node.output.name
        graph.replace(node.output, made)
    elif _all_take(graph, node.output, kind):
        affine = AFFINE[node.op.name][1](b, node)
        for reader in node.output.users:
            _feed(b, reader, x, affine)
    else:
        return False
    _erase(graph, node)
    return True


def _erase(graph: Graph, node: Node) -> None:
    """Take out a node that nobody needs any more, with those that only read it and those that only it read."""
    for reader in [user for v in node.outputs for user in v.users]:
        _erase(graph, reader)
    if node.graph is not graph or node.op.has("effect") or not all(map(graph.is_unused, node.outputs)):
        return
    producers = [v.producer for v in node.inputs if v is not None and v.producer is not None]
    graph.erase(node)
    for producer in producers:
        if all(map(graph.is_unused, producer.outputs)):
            _erase(graph, producer)


def _swap(graph: Graph, node: Node) -> bool:
    """x s + t becomes (x + t / s) s where the readers can take s, but not t, and nothing before can take either."""
    found = read(node)
    inner = found[0].producer if found is not None else None
    before = read(inner) if inner is not None and found is not None and found[1].shifts else None
    if found is None or inner is None or before is None or before[1].shifts or not graph.used_once(found[0]):
        return False
    scales = [v.data for v in inner.inputs if v is not None and v.data is not None]
    if inner.op.name not in ("mul", "div") or node.op.name not in ("add", "sub") or len(scales) != 1:
        return False
    usual = scales[0] is not None and bool(np.isfinite(scales[0]).all() and (np.abs(scales[0]) > 1e-30).all())
    if not usual or not _all_take(graph, node.output, before[1]):
        return False
    b = Builder(graph, before=node, source=merge_sources((inner.source, node.source)))
    scale, shift = AFFINE[inner.op.name][1](b, inner).scale, AFFINE[node.op.name][1](b, node).shift
    graph.replace(node.output, b.mul(b.add(before[0], b.div(shift, scale)), scale))
    erase_dead(graph, [node, inner])
    return True


# ---- factors and addends that a normalisation takes ----------------------------------------------------------


def _beside_norm(m: Match) -> bool:
    """The other operand is one constant number for each place of the norm's axis, which is the last."""
    constant, channels = m["@s"], m["%y"].shape[-1]
    return (
        m.nodes["%y"].attrs["axis"] in (-1, len(m["%y"].shape) - 1)
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


def _rules() -> list[Rule]:
    rules = []
    for scale, bias in (("%s", "%t"), ("_", "%t"), ("%s", "_"), ("_", "_")):
        norm = f"%y = batch_norm(%x, {scale}, {bias}, %mean, %variance)"
        rules.append(rule("factor into norm", f"{norm}; %z = mul(%y, @s)", _norm_times, when=_beside_norm))
        rules.append(rule("addend into norm", f"{norm}; %z = add(%y, @s)", _norm_plus, when=_beside_norm))
    return rules


RULES = _rules()


@register
def batchnorm(graph: Graph, context: Context) -> int:
    """Fold normalisations, factors and addends into the weights of the products before them, else after them."""
    changes = apply_rules(graph, RULES)
    while True:
        applied = sum(node.graph is graph and _fold(graph, node) for node in list(graph.nodes))
        applied += sum(node.graph is graph and _swap(graph, node) for node in list(graph.nodes))
        if not applied:
            break
        changes += applied
    for sub in graph.subgraphs:
        changes += batchnorm(sub, context)
    return changes
