"""Algebraic simplification: rules that hold for every number, NaN, infinities and -0 included.

x + 0 is not x (-0 + 0 = 0), x - x is not 0 and x * 0 is not 0 (NaN, infinities), x / x is not 1, not(x < y) is not
x >= y (NaN), -(x - y) is not y - x (0 against -0): of floats they are left alone.  The one liberty: which of two zeros
is the larger is open, as IEEE 754 leaves it, so a bound of 0 may keep or lose the sign of a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir import dims
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import axes_of
from ..ir.ops.reduce import REDUCTIONS as REDUCTION_OPS
from ..ir.ops.reduce import reduced
from ..ir.types import DType
from .manager import Context, register
from .rewrite import Match, Rule, apply_rules, rule

Guard = Callable[[Match], bool]

# ---- guards --------------------------------------------------------------------------------------------------


def _same_type(result: str, operand: str) -> Guard:
    return lambda m: m[result].type == m[operand].type


def _both(*guards: Guard) -> Guard:
    return lambda m: all(guard(m) for guard in guards)


def _is_number(*names: str) -> Guard:
    """The values are single numbers."""
    return lambda m: all(m[name].shape == () for name in names)


def _kind(name: str, *kinds: str) -> Guard:
    """The dtype of a value is of one of these kinds."""
    return lambda m: m[name].tensor.dtype.kind in kinds


def _is_signed_zero(name: str, *, negative: bool) -> Guard:
    """Every element of a constant is the zero whose sum (negative) or difference (positive) with x is x.

    Integers have but one zero.
    """

    def guard(m: Match) -> bool:
        data = m[name].data
        if data is None or not data.size or data.dtype.kind not in "iuf" or data.any():
            return False
        return data.dtype.kind in "iu" or bool((np.signbit(data) == negative).all())

    return guard


def _varies(name: str) -> Guard:
    """The value is no constant: what is made of constants, folding computes."""
    return lambda m: m[name].data is None


def uniform(var: Var) -> Any:
    """The one number that all elements of a numeric constant are; None where there is none."""
    data = var.data
    if data is None or not data.size or data.dtype.kind not in "biuf":
        return None
    first = data.reshape(-1)[0]
    return first.item() if data.size == 1 or bool((data == first).all()) else None


def _identity_perm(m: Match) -> bool:
    perm = m.nodes["%y"].attrs["perm"]
    return bool(perm == tuple(range(len(perm))))


def _moves_only_ones(m: Match) -> bool:
    """Whether the axes that are longer than 1 keep their order: such a transpose is a reshape."""
    if not _known_shape(m):
        return False
    shape, perm = m["%x"].shape, m.nodes["%y"].attrs["perm"]
    long = [p for p in perm if shape[p] != 1]
    return long == sorted(long) and not _identity_perm(m)


def _no_padding(m: Match) -> bool:
    return all(p == (0, 0) for p in m.nodes["%y"].attrs["pads"])


def is_known(var: Var) -> bool:
    """Whether all dimensions of a tensor are numbers or symbols."""
    shape = var.tensor.shape
    return shape is not None and all(map(dims.known, shape))


def _known_shape(m: Match) -> bool:
    return is_known(m["%y"])


def _known_result(m: Match) -> bool:
    return is_known(m["%z"])


def _keeps_known_shape(m: Match) -> bool:
    return _known_shape(m) and m["%y"].type == m["%x"].type


def _flips(m: Match) -> bool:
    return any(not isinstance(s, int) or s < 0 for s in m.nodes["%y"].attrs["steps"] or ())


# ---- movements -----------------------------------------------------------------------------------------------


def _one_transpose(b: Builder, m: Match) -> Var:
    first, second = m.nodes["%y"].attrs["perm"], m.nodes["%z"].attrs["perm"]
    return b.transpose(m["%x"], perm=tuple(first[p] for p in second))  # type: ignore[no-any-return]


def _as_reshape(b: Builder, m: Match) -> Var:
    return b.reshape(m["%x"], shape=m["%y"].shape)  # type: ignore[no-any-return]


def _one_reshape(b: Builder, m: Match) -> Var:
    return b.reshape(m["%x"], shape=m["%z"].shape)  # type: ignore[no-any-return]


MOVEMENTS = [
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

# ---- neutral elements ----------------------------------------------------------------------------------------


def _neutral(pattern: str, number: float, *kinds: str) -> Rule:
    """Rules like x * 1 = x, where the result has the type of x."""
    guard = _same_type("%y", "%x") if not kinds else _both(_same_type("%y", "%x"), _kind("%x", *kinds))
    return rule(f"{pattern} with {number:g}", f"%y = {pattern}(%x, {number:g})", "%x", when=guard)


def _like(name: str, value: Any) -> Callable[[Builder, Match], Var]:
    """A constant of the dtype of an operand, with the shape of the result."""

    def make(b: Builder, m: Match) -> Var:
        scalar = b.constant(np.array(value, m[name].tensor.dtype.numpy))
        return b.expand(scalar, shape=m["%y"].shape) if m["%y"].shape else scalar

    return make


_INTEGERS = ("int", "uint")


def _broadcast_like_result(name: str) -> Callable[[Builder, Match], Var]:
    """An operand, in the shape of the result."""

    def make(b: Builder, m: Match) -> Var:
        return m[name] if m[name].type == m["%y"].type else b.expand(m[name], shape=m["%y"].shape)

    return make


def _broadcasts(name: str) -> Guard:
    return lambda m: m[name].type == m["%y"].type or _known_shape(m)


NEUTRAL = [
    *(_neutral(op, 1) for op in ("mul", "div", "pow")),
    *(_neutral(op, 0, *_INTEGERS) for op in ("bit_or", "bit_xor", "shift_left", "shift_right")),
    *(_neutral("floor_div", 1, *kinds) for kinds in [_INTEGERS]),
    *(_neutral(op, number, "bool") for op, number in (
        ("logical_and", 1), ("logical_or", 0), ("logical_xor", 0), ("equal", 1), ("not_equal", 0))),
    # x + -0 = x and x - 0 = x, but x + 0 is not x where x is -0
    *(rule(f"{op} of a zero", f"%y = {op}(%x, @c)", "%x",
           when=_both(_is_signed_zero("@c", negative=negative), _same_type("%y", "%x")))
      for op, negative in (("add", True), ("sub", False))),
    # what decides alone
    rule("and false", "%y = logical_and(%x, 0)", _like("%x", False), when=_known_shape),
    rule("or true", "%y = logical_or(%x, 1)", _like("%x", True), when=_known_shape),
    rule("xor true", "%y = logical_xor(%x, 1)", "%y = logical_not(%x)", when=_same_type("%y", "%x")),
    rule("integer mul 0", "%y = mul(%x, 0)", _like("%x", 0), when=_both(_kind("%x", *_INTEGERS), _known_shape)),
    rule("integer sub itself", "%y = sub(%x, %x)", _like("%x", 0), when=_both(_kind("%x", *_INTEGERS), _known_shape)),
    # x with itself
    *(rule(f"{op} with itself", f"%y = {op}(%x, %x)", "%x")
      for op in ("maximum", "minimum", "logical_and", "logical_or", "bit_and", "bit_or")),
    rule("mul with itself", "%y = mul(%x, %x)", "%y = square(%x)", when=_kind("%x", "float")),
    # choice
    rule("where of one", "%y = where(%c, %x, %x)", "%x", when=_same_type("%y", "%x")),
    rule("where not", "%n = logical_not(%c); %y = where(%n, %x, %z)", "%y = where(%c, %z, %x)", shared=True),
    *(rule(f"where {word}", f"%y = where({number}, %x, %z)",
           _broadcast_like_result(name), when=_broadcasts(name))
      for word, number, name in (("true", 1, "%x"), ("false", 0, "%z"))),
    # a gradient of max_pool is 0 but where %x is %y, so %y decides as %x does; there are fewer of it
    *(rule(f"max_pool_grad where {op}",
           f"%m = max_pool_grad(%x, %y, %g); %c = {op}(%x, @c); %z = where(%c, %m, @zero)",
           f"%d = {op}(%y, @c); %h = where(%d, %g, @zero); %z = max_pool_grad(%x, %y, %h)",
           when=_both(_is_signed_zero("@zero", negative=False), _is_number("@zero", "@c"), lambda m: m.used_once("%m")),
           shared=True)
      for op in ("greater", "greater_equal", "less", "less_equal")),
]  # fmt: skip

# ---- signs ---------------------------------------------------------------------------------------------------

# Results that are above 0, +0 or NaN: |x|, and max(x, 0), change nothing.
_NOT_NEGATIVE = ("abs", "square", "exp", "sigmoid", "softmax")
_FLOAT = _kind("%x", "float")  # the type rules know the products and sums of integers, but not their negatives


def _constant_negated(op: str) -> Callable[[Builder, Match], Var]:
    """op(-x, c) = op(x, -c); a constant of constants, which folding computes."""
    return lambda b, m: getattr(b, op)(m["%x"], b.neg(m["@c"]))


SIGNS = [
    *(rule(f"{op} twice", f"%y = {op}(%x); %z = {op}(%y)", f"%z = {op}(%x)", shared=True)
      for op in ("relu", "abs", "floor", "ceil", "round", "sign")),
    *(rule(f"{f} of {op}", f"%y = {op}(%x); %z = {f}(%y)", "%y", shared=True)
      for f in ("abs", "relu") for op in _NOT_NEGATIVE if f != op),
    *(rule(f"{f} of {op}", f"%y = {op}(%x); %z = {f}(%y)", f"%z = {f}(%x)", shared=True, when=_FLOAT)
      for f, op in (("abs", "neg"), ("square", "neg"), ("square", "abs"))),
    rule("neg twice", "%y = neg(%x); %z = neg(%y)", "%x", shared=True),
    rule("not twice", "%y = logical_not(%x); %z = logical_not(%y)", "%x", shared=True),
    *(rule(f"{op} by -1", f"%y = {op}(%x, -1)", "%y = neg(%x)", when=_both(_FLOAT, _same_type("%y", "%x")))
      for op in ("mul", "div")),
    rule("add of neg", "%n = neg(%z); %y = add(%x, %n)", "%y = sub(%x, %z)", when=_varies("%z"), shared=True),
    rule("sub of neg", "%n = neg(%z); %y = sub(%x, %n)", "%y = add(%x, %z)", when=_varies("%z"), shared=True),
    *(rule(f"{op} of negs", f"%n = neg(%x); %k = neg(%z); %y = {op}(%n, %k)", f"%y = {op}(%x, %z)", shared=True)
      for op in ("mul", "div")),
    *(rule(f"{op} of neg and a constant", f"%n = neg(%x); %y = {op}(%n, @c)", _constant_negated(op), shared=True,
           when=_FLOAT) for op in ("mul", "div")),
    *(rule(f"neg of {op} by a constant", f"%n = {op}(%x, @c); %y = neg(%n)", _constant_negated(op), when=_FLOAT)
      for op in ("mul", "div")),
    # x - c = x + -c: additions are what biases are made of
    rule("sub of a constant", "%y = sub(%x, @c)", _constant_negated("add"), when=_both(_FLOAT, _same_type("%y", "%x"))),
    # not(x == y); not(x < y) is x >= y for integers only
    rule("not equal", "%n = equal(%x, %z); %y = logical_not(%n)", "%y = not_equal(%x, %z)"),
    rule("not not_equal", "%n = not_equal(%x, %z); %y = logical_not(%n)", "%y = equal(%x, %z)"),
    *(rule(f"not {op}", f"%n = {op}(%x, %z); %y = logical_not(%n)", f"%y = {other}(%x, %z)",
           when=_kind("%x", *_INTEGERS))
      for op, other in (("less", "greater_equal"), ("less_equal", "greater"), ("greater", "less_equal"),
                        ("greater_equal", "less"))),
]  # fmt: skip

# ---- bounds --------------------------------------------------------------------------------------------------

_CLOSED = {"open_low": False, "open_high": False}


def _bounds(node: Node) -> dict[str, Any]:
    """A bounding node as the attributes of `clip`."""
    return {"low": 0.0, "high": None, **_CLOSED} if node.op.name == "relu" else node.attrs


def _one_clip(b: Builder, m: Match) -> Var | None:
    """min(max(min(max(x, a), b), c), d) = clip(x, clip(a, c, d), clip(b, c, d)), where a <= b and c <= d.

    A bound is open where one that it comes from is.
    """
    inner, outer = _bounds(m.nodes["%y"]), _bounds(m.nodes["%z"])
    found: dict[str, Any] = {}
    for name, default in (("low", -math.inf), ("high", math.inf)):
        low = -math.inf if outer["low"] is None else outer["low"]
        high = math.inf if outer["high"] is None else outer["high"]
        own = default if inner[name] is None else inner[name]
        value = min(max(own, low), high)
        bounds = ((own, inner[f"open_{name}"]), (low, outer["open_low"]), (high, outer["open_high"]))
        found[name] = None if value == default else value
        found[f"open_{name}"] = any(is_open for bound, is_open in bounds if bound == value)
    return b.clip(m["%x"], **found)  # type: ignore[no-any-return]


def _clipped(bound: str) -> Callable[[Builder, Match], Var]:
    return lambda b, m: b.clip(m["%x"], **{bound: float(uniform(m["@c"]))})  # type: ignore[no-any-return]


def _ordered(m: Match) -> bool:
    """Both intervals hold something."""
    pairs = [(a["low"], a["high"]) for a in (_bounds(m.nodes["%y"]), _bounds(m.nodes["%z"]))]
    return all(low is None or high is None or low <= high for low, high in pairs)


def _is_bound(m: Match) -> bool:
    """A number that bounds a float, and the result is as large as that."""
    value = uniform(m["@c"])
    usual = m["%x"].tensor.dtype.name in ("f32", "f64")
    return usual and value is not None and not math.isnan(value) and m["%y"].type == m["%x"].type


BOUNDS = [
    *(rule(f"{op} with a number", f"%y = {op}(%x, @c)",
           _clipped(bound), when=_is_bound)
      for op, bound in (("maximum", "low"), ("minimum", "high"))),
    *(rule(f"{outer} of {inner}", f"%y = {inner}(%x); %z = {outer}(%y)", _one_clip, when=_ordered, shared=True)
      for inner, outer in (("clip", "clip"), ("relu", "clip"), ("clip", "relu"))),
    rule("clip without bounds", "%y = clip(%x) {low = none, high = none}", "%x"),
]  # fmt: skip

# ---- reductions ----------------------------------------------------------------------------------------------


def one_reduction(b: Builder, m: Match) -> Var:
    """A reduction of a reduction over the axes of both."""
    inner, outer, rank = m.nodes["%y"], m.nodes["%z"], len(m["%x"].shape)
    first = axes_of(inner.attrs["axes"], rank)
    left = [i for i in range(rank) if inner.attrs["keepdims"] or i not in first]
    axes = tuple(sorted({*first, *(left[a] for a in axes_of(outer.attrs["axes"], len(left)))}))
    keep = inner.attrs["keepdims"] and outer.attrs["keepdims"]
    made = b.node(outer.op, [m["%x"]], {"axes": axes, "keepdims": keep}).output
    return made if made.type == m["%z"].type else b.reshape(made, shape=m["%z"].shape)  # type: ignore


def _loses_kept_axes(m: Match) -> bool:
    """The reshape takes away the axes of size 1 that the reduction has left, and nothing else."""
    node = m.nodes["%y"]
    return node.attrs["keepdims"] and reduced(m["%x"].tensor, node.attrs["axes"], False).shape == m["%z"].shape


def _without_kept_axes(b: Builder, m: Match) -> Var:
    return b.node(m.nodes["%y"].op, [m["%x"]], {**m.nodes["%y"].attrs, "keepdims": False}).output


def _known_operand(m: Match) -> bool:
    return is_known(m["%x"]) and is_known(m["%z"])


REDUCTIONS = [
    *(rule(f"{op} twice", f"%y = {op}(%x); %z = {op}(%y)", one_reduction, when=_known_operand)
      for op in ("reduce_max", "reduce_min", "reduce_any", "reduce_all")),
    *(rule(f"{op} and reshape", f"%y = {op}(%x); %z = reshape(%y)", _without_kept_axes,
           when=_both(_known_operand, _loses_kept_axes)) for op in REDUCTION_OPS),
]  # fmt: skip

# ---- casts ---------------------------------------------------------------------------------------------------

# Bits of the significand and, at most, of the exponent: a float holds another one if it has as many of both.
_FLOATS = {"f16": (11, 5), "bf16": (8, 8), "f32": (24, 8), "f64": (53, 11)}


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every number of a dtype is one of another dtype too."""
    if narrow.kind == "bool" or wide is narrow:
        return wide.kind in ("bool", "int", "uint") or wide.name in _FLOATS
    if narrow.kind in _INTEGERS:
        digits = narrow.bits - (narrow.kind == "int")
        if wide.kind in _INTEGERS:
            return wide.kind in ("int", narrow.kind) and digits <= wide.bits - (wide.kind == "int")
        return wide.name in _FLOATS and digits <= _FLOATS[wide.name][0]
    if narrow.name in _FLOATS and wide.name in _FLOATS:
        return all(a <= b for a, b in zip(_FLOATS[narrow.name], _FLOATS[wide.name]))
    return False


def _by_way_of_more(m: Match) -> bool:
    """The first cast loses nothing, and no float becomes a string, or an integer where it may be out of range."""
    first, second, third = (m[name].tensor.dtype for name in ("%x", "%y", "%z"))
    cut = third.kind in _INTEGERS and second.kind == "float" and not holds(third, first)
    return holds(second, first) and third.kind != "string" and not cut


CASTS = [
    rule("cast to itself", "%y = cast(%x)", "%x", when=_same_type("%y", "%x")),
    rule("cast twice", "%y = cast(%x); %z = cast(%y)", lambda b, m: b.cast(m["%x"], to=m["%z"].tensor.dtype),
         when=_by_way_of_more, shared=True),
]  # fmt: skip

RULES = [
    rule("identity", "%y = identity(%x)", "%x"),
    rule("stop_gradient", "%y = stop_gradient(%x)", "%x"),
    rule("straight_through", "%y = straight_through(%x, %v)", "%x"),
    rule("round_gradient", "%y = round_gradient(%x, %s)", "%x"),
    *NEUTRAL,
    *SIGNS,
    *BOUNDS,
    *REDUCTIONS,
    *CASTS,
    *MOVEMENTS,
]


@register
def simplify(graph: Graph, context: Context) -> int:
    """Take out what changes nothing, and merge what follows one another."""
    return apply_rules(graph, RULES)
