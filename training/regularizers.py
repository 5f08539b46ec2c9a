"""Penalties on weights and outputs: Keras' regularisers as graph ops (keras/src/regularizers/regularizers.py).

REGULARIZERS.get("l2")(b, x)     # a scalar in the dtype of x
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir import Builder, Var
from .objects import Table

EPSILON = 1e-7  # keras.config.epsilon()


class Regularizer:
    """A penalty on a tensor; `additive`: that of several tensors together is the sum of theirs."""

    additive: ClassVar[bool] = False

    def __call__(self, b: Builder, x: Var) -> Var:
        """The penalty: a scalar in the dtype of x."""
        raise NotImplementedError

    def _check(self, key: str) -> float:
        """A factor of the config as a number that is not negative; None stands for the default."""
        value = getattr(self, key)
        value = type(self).__dict__[key] if value is None else value
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise UnsupportedError(f"regularizer {type(self).__name__}: {key}={value!r} is no number from 0 on")
        return float(value)


class _Regularizers(Table[Regularizer]):
    def get(self, identifier: Any) -> Regularizer:
        """As Table.get; "l1_l2" has both factors 0.01, as documented in Keras, the class L1L2 has 0 by default."""
        both = {"class_name": "L1L2", "config": {"l1": 0.01, "l2": 0.01}}
        return super().get(both if identifier == "l1_l2" else identifier)


REGULARIZERS: Table[Regularizer] = _Regularizers("regularizer", "keras.regularizers")


def get(identifier: Any) -> Any:
    """What a name, class, serialised dict or object stands for: a function of (b, x).

    None is None, functions are returned as they are.
    """
    known = identifier is None or (callable(identifier) and not isinstance(identifier, type))
    return identifier if known else REGULARIZERS.get(identifier)


def _l1(b: Builder, x: Var, factor: float) -> Var:
    return b.mul(b.reduce_sum(b.abs(x)), factor)


def _l2(b: Builder, x: Var, factor: float) -> Var:
    return b.mul(b.reduce_sum(b.square(x)), factor)


@REGULARIZERS.entry()
class L1(Regularizer):
    """l1 * sum |x|."""

    additive: ClassVar[bool] = True

    l1: float | None = 0.01

    def __post_init__(self) -> None:
        self.l1 = float(np.float32(self._check("l1")))  # Keras keeps this one as a float32

    def __call__(self, b: Builder, x: Var) -> Var:
        return _l1(b, x, self.l1 or 0.0)


@REGULARIZERS.entry()
class L2(Regularizer):
    """l2 * sum x^2."""

    additive: ClassVar[bool] = True

    l2: float | None = 0.01

    def __post_init__(self) -> None:
        self.l2 = self._check("l2")

    def __call__(self, b: Builder, x: Var) -> Var:
        return _l2(b, x, self.l2 or 0.0)


@REGULARIZERS.entry()
class L1L2(Regularizer):
    """l1 * sum |x| + l2 * sum x^2."""

    additive: ClassVar[bool] = True

    l1: float | None = 0.0
    l2: float | None = 0.0

    def __post_init__(self) -> None:
        self.l1, self.l2 = self._check("l1"), self._check("l2")

    def __call__(self, b: Builder, x: Var) -> Var:
        terms = [term(b, x, factor) for term, factor in ((_l1, self.l1), (_l2, self.l2)) if factor]
        if not terms:
            return b.constant(np.zeros((), x.tensor.dtype.numpy))
        return reduce(b.add, terms)


@REGULARIZERS.entry("orthogonal")
class OrthogonalRegularizer(Regularizer):
    """factor times the mean of |dot product| over the pairs of a matrix' rows (or columns), each of length 1."""

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        self.factor = float(np.float32(self._check("factor")))  # Keras keeps it as a float32
        if self.mode not in ("rows", "columns"):
            raise UnsupportedError(f"regularizer OrthogonalRegularizer: mode={self.mode!r}", hint="rows or columns")

    def __call__(self, b: Builder, x: Var) -> Var:
        if len(x.shape) != 2:
            raise ShapeError(f"OrthogonalRegularizer needs a matrix, not the shape {x.shape}")
        along = 1 if self.mode == "rows" else 0
        count = x.shape[1 - along]
        if not isinstance(count, int):
            raise ShapeError(f"OrthogonalRegularizer needs a known number of {self.mode}, not {count}")
        lengths = b.rsqrt(b.reduce_sum(b.square(x), axes=(along,), keepdims=True))
        unit = b.mul(x, b.minimum(lengths, 1 / EPSILON))
        turned = b.transpose(unit, perm=(1, 0))
        products = b.matmul(unit, turned) if self.mode == "rows" else b.matmul(turned, unit)
        apart = b.mul(products, 1 - np.eye(count, dtype=x.tensor.dtype.numpy))
        pairs = count * (count - 1) / 2
        return b.mul(b.reduce_sum(b.abs(apart)), self.factor * 0.5 / pairs if pairs else math.nan)
