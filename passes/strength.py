"""Strength reduction: the same numbers by cheaper ops.

Each rule gives what the op that it replaces gives, bit for bit, for NaN, infinities and -0 too:
- powers with an exponent for which there is an op: kernels of `pow` compute these exponents by the same functions
  (so pow(x, 0.5) is sqrt(x) also at -0 and -infinity, where C's pow has 0 and infinity);
- division by a power of two, whose reciprocal is exact; by any other number x / c and x * (1 / c) differ in a digit;
- integer division and remainder by a power of two, which shift and mask: both round down, as floor_div and mod do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Graph, Var
from .manager import Context, register
from .rewrite import Match, apply_rules, rule
from .simplify import is_known, uniform

_USUAL = ("f32", "f64")  # narrower floats are computed in float32 and rounded once, by either op


def _exponent(value: float) -> Callable[[Match], bool]:
    def guard(m: Match) -> bool:
        kept = m["%y"].type == m["%x"].type and m["%x"].tensor.dtype.name in _USUAL
        return kept and is_known(m["%y"]) and uniform(m["@c"]) == value

    return guard


def _ones(b: Builder, m: Match) -> Var:
    """x^0 = 1, of NaN too."""
    one = b.constant(np.array(1, m["%x"].tensor.dtype.numpy))
    return b.expand(one, shape=m["%y"].shape) if m["%y"].shape else one


def _power_of_two(name: str, *kinds: str) -> Callable[[Match], bool]:
    """All elements of a constant are powers of two (of either sign where floats), and the dtype is of such a kind."""

    def guard(m: Match) -> bool:
        data, dtype = m[name].data, m[name].tensor.dtype
        if data is None or dtype.kind not in kinds or (dtype.is_float and dtype.name not in _USUAL) or not data.size:
            return False
        if dtype.is_float:
            return bool(np.isin(np.frexp(data)[0], (0.5, -0.5)).all() and _is_normal(1 / data))
        return bool((data > 0).all() and (data & (data - 1) == 0).all())

    return guard


def _is_normal(data: Any) -> bool:
    info = np.finfo(data.dtype)
    return bool(((np.abs(data) >= info.tiny) & (np.abs(data) <= info.max)).all())


def _times_reciprocal(b: Builder, m: Match) -> Var:
    return b.mul(m["%x"], b.reciprocal(m["@c"]))  # type: ignore[no-any-return]


def _shifted(b: Builder, m: Match) -> Var:
    data = m["@c"].data
    assert data is not None
    digits = [int(v).bit_length() - 1 for v in data.reshape(-1)]
    return b.shift_right(m["%x"], b.constant(np.array(digits, data.dtype).reshape(data.shape)))  # type: ignore


def _masked(b: Builder, m: Match) -> Var:
    data = m["@c"].data
    assert data is not None
    return b.bit_and(m["%x"], b.constant(data - data.dtype.type(1)))  # type: ignore[no-any-return]


_INTEGER = _power_of_two("@c", "int", "uint")


def _unknown(guard: Callable[[Match], bool]) -> Callable[[Match], bool]:
    """For numbers in shape arithmetic, which the type rules follow, division stays."""
    return lambda m: m["%y"].tensor.value is None and guard(m)


def _is_float(name: str) -> Callable[[Match], bool]:
    return lambda m: m[name].tensor.dtype.name in _USUAL


RULES = [
    *(rule(f"pow {number:g}", "%y = pow(%x, @c)", f"%y = {op}(%x)", when=_exponent(number))
      for number, op in ((2, "square"), (0.5, "sqrt"), (-1, "reciprocal"), (-0.5, "rsqrt"))),
    rule("pow 0", "%y = pow(%x, @c)", _ones, when=_exponent(0)),
    rule("div by a power of two", "%y = div(%x, @c)", _times_reciprocal, when=_power_of_two("@c", "float")),
    # 1 / x: kernels of reciprocal divide; 1 / sqrt(x) is what rsqrt computes
    rule("one over", "%y = div(1, %x)", "%y = reciprocal(%x)",
         when=lambda m: _is_float("%x")(m) and m["%y"].type == m["%x"].type),
    rule("one over a root", "%r = sqrt(%x); %y = reciprocal(%r)", "%y = rsqrt(%x)", when=_is_float("%x")),
    rule("floor_div by a power of two", "%y = floor_div(%x, @c)", _shifted, when=_unknown(_INTEGER)),
    rule("unsigned div by a power of two", "%y = div(%x, @c)", _shifted, when=_unknown(_power_of_two("@c", "uint"))),
    rule("mod by a power of two", "%y = mod(%x, @c)", _masked, when=_unknown(_INTEGER)),
]  # fmt: skip


@register
def strength(graph: Graph, context: Context) -> int:
    """Compute powers, quotients and remainders by cheaper ops that give the same bits."""
    return apply_rules(graph, RULES)
