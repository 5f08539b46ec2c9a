"""Ops written out in smaller ones, as exporters do that know no better, become the op again.

What these rules take away has no other reader.  They hold for real numbers: the op rounds less, and keeps from
overflowing where what was written out did not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from ..ir.op import axes_of
from .manager import Context, register
from .rewrite import Match, Rule, apply_rules, rule

Guard = Callable[[Match], bool]
CLOSE = 1e-5  # of a constant to what it stands for: exporters write as many digits as they like


def _all(*guards: Guard) -> Guard:
    return lambda m: all(guard(m) for guard in guards)


def _number(m: Match, name: str) -> float:
    """The one number that all elements of a constant are; NaN where they are not."""
    data = m[name].data
    one = data is not None and data.size and data.dtype.kind == "f" and (data == data.flat[0]).all()
    return float(data.flat[0]) if one and data is not None else math.nan


def _near(**values: float) -> Guard:
    """Constants are certain numbers, as far as float32 and their authors know them."""
    return lambda m: all(math.isclose(_number(m, f"@{k}"), v, rel_tol=CLOSE) for k, v in values.items())


def _like(name: str) -> Guard:
    """The result is a tensor of floats of the type of a value."""
    return lambda m: m["%y"].type == m[name].type and m[name].tensor.dtype.is_float


def _one(name: str) -> Guard:
    """A constant is one number."""
    return lambda m: not math.isnan(_number(m, name))


def _same_axes(*names: str) -> Guard:
    """Reductions are over the same axes."""
    return lambda m: m["%x"].tensor.shape is not None and len({_axes(m, n) for n in names}) == 1


def _axes(m: Match, name: str) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front."""
    return axes_of(m.nodes[name].attrs["axes"], len(m["%x"].shape))


def _single_axis(name: str) -> Guard:
    return lambda m: m["%x"].tensor.shape is not None and len(_axes(m, name)) == 1


def _variants(name: str, heads: Iterable[str], tails: Iterable[str], into: Any, when: Guard) -> Iterator[Rule]:
    """A rule for every way to begin with every way to go on."""
    for head in heads:
        for tail in tails:
            yield rule(name, "; ".join(filter(None, (head, tail))), into, when=when)


# ---- norms ---------------------------------------------------------------------------------------------------

_CENTRED = ("%m = reduce_mean(%x) {keepdims = true}; %d = sub(%x, %m); %q = square(%d); "
            "%v = reduce_mean(%q) {keepdims = true}; %e = add(%v, @eps)")  # fmt: skip
_SQUARED = "%q = square(%x); %v = reduce_mean(%q) {keepdims = true}; %e = add(%v, @eps)"
_ROOTS = ("%r = rsqrt(%e); %y = mul({}, %r)", "%s = sqrt(%e); %y = div({}, %s)")
# x r - m r with r = rsqrt(variance) · scale, as TensorFlow writes it, from the parts that there are
_FOLDED = [
    f"{first}; %a = mul(%x, %g); {rest}"
    for first in ("%r = rsqrt(%e); %g = mul(%r, @s)",)
    for rest in (
        "%n = neg(%m); %b = mul(%n, %g); %t = add(%b, @o); %y = add(%a, %t)",
        "%b = mul(%m, %g); %t = sub(@o, %b); %y = add(%a, %t)",
        "%n = neg(%m); %b = mul(%n, %g); %y = add(%a, %b)",
        "%b = mul(%m, %g); %y = sub(%a, %b)",
    )
]
_FOLDED += [f.replace("; %g = mul(%r, @s)", "").replace("%g", "%r") for f in _FOLDED]


def _is_row(operand: Var, x: Var, axes: tuple[int, ...]) -> bool:
    """Whether an operand varies along normalised axes only, so that it is one row for all."""
    t, rank = operand.tensor, len(x.shape)
    own = {i + rank - len(t.dims) for i, d in enumerate(t.dims) if d != 1}
    return len(t.dims) <= rank and own <= {a % rank for a in axes}


def _has_rows(m: Match) -> bool:
    return all(_is_row(m[name], m["%x"], _axes(m, "%v")) for name in ("@s", "@o") if name in m.vars)


_IS_NORM = _all(_like("%x"), _one("@eps"), _same_axes("%m", "%v"), _has_rows)
_IS_RMS = _all(_like("%x"), _one("@eps"), _same_axes("%v"), _has_rows)


def _layer_norm(b: Builder, m: Match) -> Var:
    scale, bias = m.vars.get("@s"), m.vars.get("@o")
    return b.layer_norm(m["%x"], scale, bias, axes=_axes(m, "%v"), epsilon=_number(m, "@eps"))  # type: ignore[no-any-return]


def _rms_norm(b: Builder, m: Match) -> Var:
    return b.rms_norm(m["%x"], m.vars.get("@s"), axes=_axes(m, "%v"), epsilon=_number(m, "@eps"))  # type: ignore[no-any-return]


def _follows(name: str) -> Guard:
    """A constant is one row for all that the norm before has normalised."""

    def guard(m: Match) -> bool:
        return _like("%n")(m) and _is_row(m[name], m["%n"], m.nodes["%n"].attrs["axes"])

    return guard


_NORMS = [
    *_variants("layer norm", [_CENTRED], [r.format("%d") for r in _ROOTS], _layer_norm, _IS_NORM),
    *_variants("layer norm, folded", [_CENTRED], _FOLDED, _layer_norm, _IS_NORM),
    *_variants("rms norm", [_SQUARED], [r.format("%x") for r in _ROOTS], _rms_norm, _IS_RMS),
    rule("rms norm, folded", f"{_SQUARED}; %r = rsqrt(%e); %g = mul(%r, @s); %y = mul(%x, %g)", _rms_norm,
         when=_IS_RMS),
    rule("scale of layer norm", "%n = layer_norm(%x); %y = mul(%n, @s)", "%y = layer_norm(%x, @s)",
         when=_follows("@s")),
    rule("bias of layer norm", "%n = layer_norm(%x); %y = add(%n, @o)", "%y = layer_norm(%x, _, @o)",
         when=_follows("@o")),
    rule("bias of scaled layer norm", "%n = layer_norm(%x, %s); %y = add(%n, @o)", "%y = layer_norm(%x, %s, @o)",
         when=_follows("@o")),
    rule("scale of rms norm", "%n = rms_norm(%x); %y = mul(%n, @s)", "%y = rms_norm(%x, @s)",
         when=_follows("@s")),
]  # fmt: skip

# ---- softmax -------------------------------------------------------------------------------------------------

_SHIFTED = "%m = reduce_max(%x) {keepdims = true}; %d = sub(%x, %m); %e = exp(%d)"
_TOTAL = "%s = reduce_sum(%e) {keepdims = true}"


def _along(op: str, name: str) -> Callable[[Builder, Match], Var]:
    return lambda b, m: getattr(b, op)(m["%x"], axis=_axes(m, name)[0])  # type: ignore[no-any-return]


_SOFTMAX = [
    rule("softmax", f"{_SHIFTED}; {_TOTAL}; %y = div(%e, %s)", _along("softmax", "%s"),
         when=_all(_like("%x"), _same_axes("%m", "%s"), _single_axis("%s"))),
    rule("softmax without a maximum", f"%e = exp(%x); {_TOTAL}; %y = div(%e, %s)", _along("softmax", "%s"),
         when=_all(_like("%x"), _single_axis("%s"))),
    rule("log softmax", f"{_SHIFTED}; {_TOTAL}; %l = log(%s); %y = sub(%d, %l)", _along("log_softmax", "%s"),
         when=_all(_like("%x"), _same_axes("%m", "%s"), _single_axis("%s"))),
    rule("log softmax of a sum", "%l = reduce_log_sum_exp(%x) {keepdims = true}; %y = sub(%x, %l)",
         _along("log_softmax", "%l"), when=_all(_like("%x"), _single_axis("%l"))),
    rule("log of softmax", "%s = softmax(%x); %y = log(%s)",
         lambda b, m: b.log_softmax(m["%x"], axis=m.nodes["%s"].attrs["axis"])),
]  # fmt: skip

# ---- activations ---------------------------------------------------------------------------------------------

_HALVES = [form for half in ("mul({}, 0.5)", "div({}, 2)") for form in (
    f"%h = mul(%x, %p); %y = {half.format('%h')}",
    f"%h = {half.format('%x')}; %y = mul(%h, %p)",
    f"%h = {half.format('%p')}; %y = mul(%x, %h)",
)]  # fmt: skip
_CUBES = ("%c = pow(%x, 3)", "%k = square(%x); %c = mul(%k, %x)")
_TANH_ARGUMENTS = [
    *(f"{cube}; %w = mul(%c, @c); %s = add(%x, %w); %u = mul(%s, @k)" for cube in _CUBES),
    "%k = square(%x); %w = mul(%k, @c); %s = add(%w, 1); %v = mul(%x, @k); %u = mul(%v, %s)",
    "%k = square(%x); %w = mul(%k, @c); %s = add(%w, 1); %v = mul(%x, %s); %u = mul(%v, @k)",
]
_SIXTHS = ("div({}, 6)", "mul({}, @s)")
_BOX = "%a = add(%x, 3); %c = clip(%a) {low = 0.0, high = 6.0}"


def _sixth(m: Match) -> bool:
    return "@s" not in m.vars or _near(s=1 / 6)(m)


def _op(name: str, **attrs: Any) -> Callable[[Builder, Match], Var]:
    return lambda b, m: getattr(b, name)(m["%x"], **attrs)  # type: ignore[no-any-return]


def _is_box(m: Match) -> bool:
    attrs = m.nodes["%s"].attrs
    return math.isclose(attrs["alpha"], 1 / 6, rel_tol=CLOSE) and attrs["beta"] == 0.5


_ACTIVATIONS = [
    *_variants("gelu", ["%t = mul(%x, @a); %e = erf(%t); %p = add(%e, 1)"], _HALVES, _op("gelu"),
               _all(_like("%x"), _near(a=math.sqrt(0.5)))),
    *_variants("gelu", ["%t = div(%x, @a); %e = erf(%t); %p = add(%e, 1)"], _HALVES, _op("gelu"),
               _all(_like("%x"), _near(a=math.sqrt(2)))),
    *_variants("gelu by tanh", [f"{t}; %t = tanh(%u); %p = add(%t, 1)" for t in _TANH_ARGUMENTS], _HALVES,
               _op("gelu", approximate=True), _all(_like("%x"), _near(c=0.044715, k=math.sqrt(2 / math.pi)))),
    rule("sigmoid", "%n = neg(%x); %e = exp(%n); %p = add(%e, 1); %y = reciprocal(%p)", _op("sigmoid"),
         when=_like("%x")),
    rule("sigmoid by division", "%n = neg(%x); %e = exp(%n); %p = add(%e, 1); %y = div(1, %p)", _op("sigmoid"),
         when=_like("%x")),
    rule("silu by division", "%n = neg(%x); %e = exp(%n); %p = add(%e, 1); %y = div(%x, %p)", _op("silu"),
         when=_like("%x")),
    rule("silu", "%s = sigmoid(%x); %y = mul(%x, %s)", _op("silu"), when=_like("%x")),
    rule("swish", "%t = mul(%x, @b); %s = sigmoid(%t); %y = mul(%x, %s)",
         lambda b, m: b.silu(m["%x"], beta=_number(m, "@b")), when=_all(_like("%x"), _one("@b"))),
    rule("softplus", "%e = exp(%x); %p = add(%e, 1); %y = log(%p)", _op("softplus"), when=_like("%x")),
    rule("softplus by log1p", "%e = exp(%x); %y = log1p(%e)", _op("softplus"), when=_like("%x")),
    rule("mish", "%s = softplus(%x); %t = tanh(%s); %y = mul(%x, %t)", _op("mish"), when=_like("%x")),
    *_variants("hard silu, cut after", [_BOX], [f"%v = mul(%x, %c); %y = {s.format('%v')}" for s in _SIXTHS],
               _op("hard_silu"), _all(_like("%x"), _sixth)),
    *_variants("hard sigmoid", [_BOX], [f"%y = {s.format('%c')}" for s in _SIXTHS],
               _op("hard_sigmoid", alpha=1 / 6, beta=0.5), _all(_like("%x"), _sixth)),
    rule("hard silu", "%s = hard_sigmoid(%x); %y = mul(%x, %s)", _op("hard_silu"), when=_all(_like("%x"), _is_box)),
]  # fmt: skip

# ---- others --------------------------------------------------------------------------------------------------


def _usual(m: Match) -> bool:
    return m["%y"].type == m["%x"].type and m["%x"].tensor.dtype.name in ("f32", "f64")


def _chosen(b: Builder, m: Match) -> Var:
    number = np.array(_number(m, "@c"), m["%x"].tensor.dtype.numpy)
    return b.where(m["%m"], m["%x"], number)  # type: ignore[no-any-return]


def _is_rows(m: Match) -> bool:
    """The reshapes around a product with a matrix make one axis of the leading ones, and undo it."""
    before, after, w = m["%x"].tensor.shape, m["%y"].tensor.shape, m["@w"].tensor.shape
    if before is None or after is None or w is None or len(w) != 2 or len(before) < 2:
        return False
    return m["%r"].shape[-1] == before[-1] == w[0] and after == (*before[:-1], w[1])


_OTHERS = [
    rule("square", "%y = mul(%x, %x)", "%y = square(%x)", when=_usual),
    rule("second power", "%y = pow(%x, 2)", "%y = square(%x)", when=_usual),
    rule("rsqrt", "%s = sqrt(%x); %y = reciprocal(%s)", "%y = rsqrt(%x)"),
    rule("rsqrt by division", "%s = sqrt(%x); %y = div(1, %s)", "%y = rsqrt(%x)", when=_usual),
    # x where m, else c, from a time in which there was no `Where`
    rule("choice by products", "%k = cast(%m); %a = mul(%k, %x); %n = logical_not(%m); %l = cast(%n); "
         "%b = mul(@c, %l); %y = add(%a, %b)", _chosen, when=_all(_like("%a"), _one("@c")), shared=True),
    rule("product of rows", "%r = reshape(%x); %p = matmul(%r, @w); %y = reshape(%p)", "%y = matmul(%x, @w)",
         when=_is_rows),
]  # fmt: skip

RULES = [*_OTHERS, *_NORMS, *_SOFTMAX, *_ACTIVATIONS]


@register
def recognize(graph: Graph, context: Context) -> int:
    """Find ops that were written out: norms, softmax, activations."""
    return apply_rules(graph, RULES)
