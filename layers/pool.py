"""Pooling and global pooling.  Core ops are channels last; `channels_first` transposes around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..ir import Builder, Var
from .base import Layer, Mask, from_last, integers, layer, layer_base, to_last

if TYPE_CHECKING:
    from .lowering import Scope


@layer_base()
class _Pooling(Layer):
    pool_size: Any = 2
    strides: Any = None
    padding: str = "valid"
    data_format: str | None = None
    rank: ClassVar[int]
    op: ClassVar[str]

    def check(self) -> None:
        self.pool_size = integers(self, "pool_size", self.rank)
        self.strides = self.pool_size if self.strides is None else integers(self, "strides", self.rank)
        self.padding = str(self.padding).lower()
        if self.padding not in ("valid", "same"):
            self.refuse("padding")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        ones = (1,) * self.rank
        x = to_last(b, x, self.data_format)
        pool = getattr(b, self.op)
        y = pool(x, window=self.pool_size, strides=self.strides, dilations=ones, padding=self.padding)
        return from_last(b, y, self.data_format)


@layer_base()
class _GlobalPooling(Layer):
    data_format: str | None = None
    keepdims: bool = False
    op: ClassVar[str]

    def axes(self, x: Var) -> tuple[int, ...]:
        """The spatial axes."""
        first = 2 if self.data_format == "channels_first" else 1
        return tuple(range(first, first + len(x.shape) - 2))

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return getattr(b, self.op)(x, axes=self.axes(x), keepdims=self.keepdims)


class _Max:
    op: ClassVar[str] = "max_pool"


class _Average:
    """The mean of the elements of x in the window: padding does not count."""

    op: ClassVar[str] = "avg_pool"


@layer("MaxPool1D")
class MaxPooling1D(_Max, _Pooling):
    """The largest element of each window."""

    rank: ClassVar[int] = 1


@layer("MaxPool2D")
class MaxPooling2D(_Max, _Pooling):
    """The largest element of each window."""

    rank: ClassVar[int] = 2


@layer("MaxPool3D")
class MaxPooling3D(_Max, _Pooling):
    """The largest element of each window."""

    rank: ClassVar[int] = 3


@layer("AvgPool1D")
class AveragePooling1D(_Average, _Pooling):
    """The mean of each window."""

    rank: ClassVar[int] = 1


@layer("AvgPool2D")
class AveragePooling2D(_Average, _Pooling):
    """The mean of each window."""

    rank: ClassVar[int] = 2


@layer("AvgPool3D")
class AveragePooling3D(_Average, _Pooling):
    """The mean of each window."""

    rank: ClassVar[int] = 3


@layer("GlobalMaxPool1D")
class GlobalMaxPooling1D(_GlobalPooling):
    """The largest element of each channel."""

    op: ClassVar[str] = "reduce_max"


@layer("GlobalMaxPool2D")
class GlobalMaxPooling2D(_GlobalPooling):
    """The largest element of each channel."""

    op: ClassVar[str] = "reduce_max"


@layer("GlobalMaxPool3D")
class GlobalMaxPooling3D(_GlobalPooling):
    """The largest element of each channel."""

    op: ClassVar[str] = "reduce_max"


@layer("GlobalAvgPool1D")
class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over the steps, masked ones left out: sum(x * mask) / sum(mask)."""

    op: ClassVar[str] = "reduce_mean"
    supports_masking: ClassVar[bool] = True

    def lower(self, b: Builder, x: Var, w: Scope, mask: Mask = None) -> Var:
        if mask is None:
            return super().lower(b, x, w)
        kept = b.unsqueeze(mask, axes=(2 if self.data_format != "channels_first" else 1,))
        zero = np.array(0, x.tensor.dtype.numpy)
        total = b.reduce_sum(b.where(kept, x, zero), axes=self.axes(x), keepdims=self.keepdims)
        count = b.reduce_sum(b.cast(kept, to=x.tensor.dtype), axes=self.axes(x), keepdims=self.keepdims)
        return b.div(total, count)

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        return None


@layer("GlobalAvgPool2D")
class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel."""

    op: ClassVar[str] = "reduce_mean"


@layer("GlobalAvgPool3D")
class GlobalAveragePooling3D(_GlobalPooling):
    """The mean of each channel."""

    op: ClassVar[str] = "reduce_mean"


@layer_base()
class _AdaptivePooling(Layer):
    """Windows that cut each axis into `output_size` parts, which may overlap by one place.

    Part i of L places goes from floor(i L / parts) to ceil((i + 1) L / parts): the windows of an axis have at most two
    sizes.  Axes are pooled one after the other, the mean being that of means.
    """

    output_size: Any
    data_format: str | None = None
    rank: ClassVar[int]
    op: ClassVar[str]

    def check(self) -> None:
        self.output_size = integers(self, "output_size", self.rank)
        if min(self.output_size) < 1:
            self.refuse("output_size")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        x = to_last(b, x, self.data_format)
        for axis, parts in enumerate(self.output_size, 1):
            x = self._pooled(b, x, axis, parts)
        return from_last(b, x, self.data_format)

    def _pooled(self, b: Builder, x: Var, axis: int, parts: int) -> Var:
        """x with `parts` windows along one axis: all windows of each size that occurs, then those that are wanted."""
        length = x.shape[axis]
        if not isinstance(length, int):
            raise ShapeError(f"layer {self.name!r} ({self.class_name}): axis {axis} of its input needs a fixed size")
        starts = [i * length // parts for i in range(parts)]
        sizes = [-(-(i + 1) * length // parts) - start for i, start in enumerate(starts)]
        ones, pool = (1,) * self.rank, getattr(b, self.op)
        offsets: dict[int, Any] = {}
        made: list[Var] = []
        for size in sorted(set(sizes)):
            offsets[size] = sum(v.shape[axis] for v in made)
            window = tuple(size if a == axis else 1 for a in range(1, self.rank + 1))
            made.append(pool(x, window=window, strides=ones, dilations=ones, padding="valid"))
        places = [offsets[size] + start for size, start in zip(sizes, starts)]
        every = made[0] if len(made) == 1 else b.concat(*made, axis=axis)
        return b.gather(every, np.array(places, np.int64), axis=axis)  # type: ignore[no-any-return]


@layer
class AdaptiveAveragePooling1D(_Average, _AdaptivePooling):
    """The mean of each part."""

    rank: ClassVar[int] = 1


@layer
class AdaptiveAveragePooling2D(_Average, _AdaptivePooling):
    """The mean of each part."""

    rank: ClassVar[int] = 2


@layer
class AdaptiveAveragePooling3D(_Average, _AdaptivePooling):
    """The mean of each part."""

    rank: ClassVar[int] = 3


@layer
class AdaptiveMaxPooling1D(_Max, _AdaptivePooling):
    """The largest element of each part."""

    rank: ClassVar[int] = 1


@layer
class AdaptiveMaxPooling2D(_Max, _AdaptivePooling):
    """The largest element of each part."""

    rank: ClassVar[int] = 2


@layer
class AdaptiveMaxPooling3D(_Max, _AdaptivePooling):
    """The largest element of each part."""

    rank: ClassVar[int] = 3
