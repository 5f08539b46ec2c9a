"""Merging layers: a list of inputs in, one output out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from ..ir.dims import product
from .base import Layer, as_dtype, is_float, layer, layer_base

if TYPE_CHECKING:
    from .lowering import Scope


@layer_base()
class _Merge(Layer):
    """Shorter inputs get axes after the batch; the mask of the output is the union of the masks, if all have one."""

    supports_masking: ClassVar[bool] = True
    op: ClassVar[str]
    reshapes: ClassVar[bool] = True

    def lower(self, b: Builder, x: Any, w: Scope, mask: Any = None) -> Var:
        if not isinstance(x, (list, tuple)):
            raise self.invalid("a list of inputs is needed")
        xs = _same_dtype(b, list(x), self.compute_dtype)
        if self.reshapes:
            rank = max(len(v.shape) for v in xs)
            missing = [rank - len(v.shape) for v in xs]
            xs = [b.unsqueeze(v, axes=tuple(range(1, 1 + n))) if n else v for v, n in zip(xs, missing)]
        masks = list(mask) if isinstance(mask, (list, tuple)) else [None] * len(xs)
        return self.merge(b, xs, masks)

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        """The output for inputs of one rank and dtype."""
        return reduce(getattr(b, self.op), xs)

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        masks = mask if isinstance(mask, (list, tuple)) else [mask]
        if not masks or any(m is None for m in masks):
            return None
        return reduce(b.logical_or, masks)


def _same_dtype(b: Builder, xs: list[Var], compute_dtype: str) -> list[Var]:
    """Integers beside floats become floats."""
    if len({v.tensor.dtype for v in xs}) == 1:
        return xs
    wanted = next((v.tensor.dtype for v in xs if is_float(v)), compute_dtype)
    return [as_dtype(b, v, wanted) for v in xs]


@layer
class Add(_Merge):
    """x1 + x2 + ..."""

    op: ClassVar[str] = "add"


@layer
class Subtract(_Merge):
    """x1 - x2."""

    op: ClassVar[str] = "sub"

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        if len(xs) != 2:
            raise self.invalid(f"takes two inputs, got {len(xs)}")
        return super().merge(b, xs, masks)


@layer
class Average(_Merge):
    """(x1 + x2 + ...) / count."""

    op: ClassVar[str] = "add"

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        total = super().merge(b, xs, masks)
        if not is_float(total):
            total = as_dtype(b, total, self.compute_dtype)
        return b.div(total, float(len(xs)))


def _expanded(b: Builder, mask: Var) -> Var:
    return b.unsqueeze(mask, axes=(len(mask.shape),))


@layer
class Multiply(_Merge):
    """x1 * x2 * ..., masked places counting as 1; 0 where all are masked."""

    op: ClassVar[str] = "mul"

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        one = np.array(1, xs[0].tensor.dtype.numpy)
        factors = [v if m is None else b.where(_expanded(b, m), v, one) for v, m in zip(xs, masks)]
        y = super().merge(b, factors, masks)
        if any(m is None for m in masks):
            return y
        union = reduce(b.logical_or, [_expanded(b, m) for m in masks if m is not None])
        return b.where(union, y, np.array(0, y.tensor.dtype.numpy))


@layer_base()
class _Extreme(_Merge):
    """Where one side is masked the other counts alone (Keras' _apply_merge_op_and_or_mask)."""

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        op = getattr(b, self.op)
        y, so_far = xs[0], None if masks[0] is None else _expanded(b, masks[0])
        for x, m in zip(xs[1:], masks[1:]):
            mask = None if m is None else _expanded(b, m)
            if mask is not None:
                x = b.where(mask, x, y)
            if so_far is not None:
                y = b.where(so_far, y, x)
            so_far = b.logical_or(so_far, mask) if mask is not None and so_far is not None else None
            y = op(y, x)
        return y


@layer
class Maximum(_Extreme):
    """The largest of the inputs at each place."""

    op: ClassVar[str] = "maximum"


@layer
class Minimum(_Extreme):
    """The smallest of the inputs at each place."""

    op: ClassVar[str] = "minimum"


@layer
class Concatenate(_Merge):
    """The inputs one after another along an axis."""

    axis: int = -1
    reshapes: ClassVar[bool] = False

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        return b.concat(*xs, axis=self.axis)

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        """Masks spread over their inputs, concatenated as those are; a place is kept if any of its features is."""
        masks = mask if isinstance(mask, (list, tuple)) else [mask]
        if all(m is None for m in masks):
            return None
        spread = []
        for v, m in zip(x, masks):
            m = b.constant(True) if m is None else _expanded(b, m) if len(m.shape) < len(v.shape) else m
            spread.append(b.expand(m, shape=v.shape))
        return b.reduce_any(b.concat(*spread, axis=self.axis), axes=(-1,))


@layer
class Dot(_Merge):
    """The sum over one axis of each of two inputs, sample by sample; normalize: of unit vectors (cosine)."""

    axes: Any
    normalize: bool = False
    reshapes: ClassVar[bool] = False

    def merge(self, b: Builder, xs: list[Var], masks: list[Var | None]) -> Var:
        if len(xs) != 2:
            raise self.invalid(f"takes two inputs, got {len(xs)}")
        axes: Sequence[int] = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        x, y = xs
        i, j = axes[0] % len(x.shape), axes[1] % len(y.shape)
        if 0 in (i, j):
            self.refuse("axes")
        if self.normalize:
            x, y = normalized(b, x, (i,)), normalized(b, y, (j,))
        return _batch_dot(b, x, y, i, j)

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        return None


def normalized(b: Builder, x: Var, axes: Sequence[int], epsilon: float = 1e-7) -> Var:
    """x * min(1 / sqrt(sum x^2), 1 / epsilon), the sum over the axes."""
    inverse = b.rsqrt(b.reduce_sum_square(x, axes=tuple(axes), keepdims=True))
    return b.mul(x, b.minimum(inverse, 1 / epsilon))


def _batch_dot(b: Builder, x: Var, y: Var, i: int, j: int) -> Var:
    """sum_k x[n, ..., k at i, ...] * y[n, ..., k at j, ...]: the axes left of x, then those of y."""
    left, right = [a for a in range(1, len(x.shape)) if a != i], [a for a in range(1, len(y.shape)) if a != j]
    n, k = x.shape[0], x.shape[i]
    rows, columns = [x.shape[a] for a in left], [y.shape[a] for a in right]
    x = b.reshape(b.transpose(x, perm=(0, *left, i)), shape=(n, product(rows), k))
    y = b.reshape(b.transpose(y, perm=(0, j, *right)), shape=(n, k, product(columns)))
    shape = (n, *rows, *columns) if rows or columns else (n, 1)
    return b.reshape(b.matmul(x, y), shape=shape)
