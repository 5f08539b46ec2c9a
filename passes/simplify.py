"""Algebraic simplification: rules that hold for every number, NaN, infinities and -0 included."""

from __future__ import annotations

from typing import Any

from ..ir import dims
from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from .manager import Context, register
from .rewrite import Match, apply_rules, rule


def _same_type(result: str, operand: str) -> Any:
    return lambda m: m[result].type == m[operand].type


def _identity_perm(m: Match) -> bool:
    perm = m.nodes["%y"].attrs["perm"]
    return bool(perm == tuple(range(len(perm))))


def _one_transpose(b: Builder, m: Match) -> Var:
    first, second = m.nodes["%y"].attrs["perm"], m.nodes["%z"].attrs["perm"]
    return b.transpose(m["%x"], perm=tuple(first[p] for p in second))  # type: ignore[no-any-return]


def _moves_only_ones(m: Match) -> bool:
    """Whether the axes that are longer than 1 keep their order: such a transpose is a reshape."""
    if not _known_shape(m):
        return False
    shape, perm = m["%x"].shape, m.nodes["%y"].attrs["perm"]
    long = [p for p in perm if shape[p] != 1]
    return long == sorted(long) and not _identity_perm(m)


def _as_reshape(b: Builder, m: Match) -> Var:
    return b.reshape(m["%x"], shape=m["%y"].shape)  # type: ignore[no-any-return]


def _no_padding(m: Match) -> bool:
    return all(p == (0, 0) for p in m.nodes["%y"].attrs["pads"])


def _is_known(var: Var) -> bool:
    shape = var.tensor.shape
    return shape is not None and all(map(dims.known, shape))


def _known_shape(m: Match) -> bool:
    return _is_known(m["%y"])


def _known_result(m: Match) -> bool:
    return _is_known(m["%z"])


def _keeps_known_shape(m: Match) -> bool:
    return _known_shape(m) and m["%y"].type == m["%x"].type


def _one_reshape(b: Builder, m: Match) -> Var:
    return b.reshape(m["%x"], shape=m["%z"].shape)  # type: ignore[no-any-return]


_ACTIVATION_TWICE = [
    # max(max(x, 0), 0) = max(x, 0), and so on
    rule(f"{op} twice", f"%y = {op}(%x); %z = {op}(%y)", f"%z = {op}(%x)", shared=True)
    for op in ("relu", "abs", "floor", "ceil", "round", "sign")
]

RULES = [
    *_ACTIVATION_TWICE,
    rule("identity", "%y = identity(%x)", "%x"),
    rule("stop_gradient", "%y = stop_gradient(%x)", "%x"),
    # -(-x) = x
    rule("neg twice", "%y = neg(%x); %z = neg(%y)", "%x", shared=True),
    rule("not twice", "%y = logical_not(%x); %z = logical_not(%y)", "%x", shared=True),
    # x * 1 = x, x / 1 = x, x - 0 = x (but x + 0 is not x for x = -0)
    rule("mul by 1", "%y = mul(%x, 1)", "%x", when=_same_type("%y", "%x")),
    rule("div by 1", "%y = div(%x, 1)", "%x", when=_same_type("%y", "%x")),
    rule("sub 0", "%y = sub(%x, 0)", "%x", when=_same_type("%y", "%x")),
    rule("pow 1", "%y = pow(%x, 1)", "%x", when=_same_type("%y", "%x")),
    rule("cast to itself", "%y = cast(%x)", "%x", when=_same_type("%y", "%x")),
    # movements that move nothing
    rule("reshape to itself", "%y = reshape(%x)", "%x", when=_keeps_known_shape),
    rule("expand to itself", "%y = expand(%x)", "%x", when=_keeps_known_shape),
    rule("transpose by identity", "%y = transpose(%x)", "%x", when=_identity_perm),
    rule("concat of one", "%y = concat(%x)", "%x"),
    rule("pad by nothing", "%y = pad(%x)", "%x", when=_no_padding),
    rule("pad by nothing, with a value", "%y = pad(%x, %v)", "%x", when=_no_padding),
    rule("slice of everything", "%y = slice(%x)", "%x", when=lambda m: _keeps_known_shape(m) and not _flips(m)),
    # movements in a row
    rule("transpose twice", "%y = transpose(%x); %z = transpose(%y)", _one_transpose, shared=True),
    rule("transpose of ones", "%y = transpose(%x)", _as_reshape, when=_moves_only_ones),
    rule("reshape twice", "%y = reshape(%x); %z = reshape(%y)", _one_reshape, when=_known_result, shared=True),
    rule("squeeze", "%y = squeeze(%x)", _as_reshape, when=_known_shape),
    rule("unsqueeze", "%y = unsqueeze(%x)", _as_reshape, when=_known_shape),
]  # fmt: skip


def _flips(m: Match) -> bool:
    return any(not isinstance(s, int) or s < 0 for s in m.nodes["%y"].attrs["steps"] or ())


@register
def simplify(graph: Graph, context: Context) -> int:
    """Take out what changes nothing, and merge movements in a row."""
    return apply_rules(graph, RULES)
