"""Projections of weights after an update: Keras' constraints as graph ops (keras/src/constraints/constraints.py).

    CONSTRAINTS.get("max_norm")(b, w)     # the weight that is kept in place of w

`axis` is one axis or several along which the norms are taken; None: all.
"""

from __future__ import annotations

from typing import Any

from ..ir import Builder, Var
from .objects import Table

EPSILON = 1e-7  # keras.config.epsilon()


class Constraint:
    """A projection of a weight."""

    def __call__(self, b: Builder, w: Var) -> Var:
        """The projected weight: shape and dtype of w."""
        raise NotImplementedError


CONSTRAINTS: Table[Constraint] = Table("constraint", "keras.constraints")


def get(identifier: Any) -> Any:
    """What a name, class, serialised dict or object stands for: a function of (b, w).

    None is None, functions are returned as they are.
    """
    known = identifier is None or (callable(identifier) and not isinstance(identifier, type))
    return identifier if known else CONSTRAINTS.get(identifier)


def _norms(b: Builder, w: Var, axis: Any) -> Var:
    axes = (axis,) if isinstance(axis, int) else None if axis is None else tuple(axis)
    return b.sqrt(b.reduce_sum(b.square(w), axes=axes, keepdims=True))


def _scaled(b: Builder, w: Var, norms: Var, desired: Var) -> Var:
    """w with other norms; the small number keeps weights of norm 0 as they are."""
    return b.mul(w, b.div(desired, b.add(norms, EPSILON)))


@CONSTRAINTS.entry()
class MaxNorm(Constraint):
    """Norms of at most max_value."""

    max_value: float = 2
    axis: Any = 0

    def __call__(self, b: Builder, w: Var) -> Var:
        norms = _norms(b, w, self.axis)
        return _scaled(b, w, norms, b.clip(norms, low=0.0, high=float(self.max_value)))


@CONSTRAINTS.entry()
class MinMaxNorm(Constraint):
    """Norms brought to the interval from min_value to max_value: the part `rate` of the way."""

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Any = 0

    def __call__(self, b: Builder, w: Var) -> Var:
        norms = _norms(b, w, self.axis)
        inside = b.clip(norms, low=float(self.min_value), high=float(self.max_value))
        return _scaled(b, w, norms, b.add(b.mul(inside, self.rate), b.mul(norms, 1 - self.rate)))


@CONSTRAINTS.entry()
class NonNeg(Constraint):
    """max(w, 0)."""

    def __call__(self, b: Builder, w: Var) -> Var:
        return b.maximum(w, 0.0)


@CONSTRAINTS.entry()
class UnitNorm(Constraint):
    """Norms of 1."""

    axis: Any = 0

    def __call__(self, b: Builder, w: Var) -> Var:
        return b.div(w, b.add(_norms(b, w, self.axis), EPSILON))
