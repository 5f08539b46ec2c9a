"""Gradients of signals."""

from __future__ import annotations

from typing import Any

from ....ir.attributes import Dim
from ....ir.builder import Builder
from ....ir.graph import Var
from ..emit import count, dim, full_like, vector
from . import rule


@rule
def dft(
    b: Builder, x: Var, g: Var, *, out: Var, axis: int, length: Dim | Var | None, inverse: bool, onesided: bool
) -> Any:
    """The transform with the other sign; N times the inverse one, or a transform over N.

    Half a spectrum that is computed is a whole one with zeros behind.  One that is given stands for a whole one: its
    entries count twice, but for the first and (N even) the last.
    """
    a = axis % len(x.shape)
    if inverse:
        dx = b.dft(g, axis=a, onesided=onesided)
        dx = b.div(dx, count(b, out, (a,)))
        dx = b.mul(dx, _twice(b, dx, out, a)) if onesided else dx
    else:
        points = dim(b, x, a) if length is None else length
        dx = b.dft(g, axis=a, inverse=True, length=points)
        dx = b.mul(dx, count(b, dx, (a,)))
    if x.shape[-1] != 2:
        dx = b.slice(dx, starts=(0,), ends=vector(b, [dim(b, x, -1)]), axes=(-1,))
    if length is None:
        return dx
    long = b.concat(dx, full_like(b, x, 0), axis=a)  # what was cut off has no gradient, what was filled up goes
    return b.slice(long, starts=(0,), ends=vector(b, [dim(b, x, a)]), axes=(a,))


def _twice(b: Builder, spectrum: Var, out: Var, axis: int) -> Var:
    """2, but 1 for the first entry, and for the last one where the length N is even: 2 for 0 < 2 k < N."""
    ones = full_like(b, spectrum, 1)
    place = b.cumsum(ones, axis=axis, exclusive=True)
    inside = b.logical_and(b.greater(place, 0), b.less(b.mul(place, 2), count(b, out, (axis,))))
    return b.where(inside, full_like(b, spectrum, 2), ones)
