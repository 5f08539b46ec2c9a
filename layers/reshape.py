"""Layers that move elements: Flatten, Reshape, Permute, RepeatVector, padding, cropping, upsampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Var
from ..ir.dims import product
from ..ir.ops.shape import BIG
from .base import Layer, from_last, integers, layer, layer_base, to_last

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class Flatten(Layer):
    """All axes but the first as one, channels last."""

    data_format: str | None = None

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        x = to_last(b, x, self.data_format)
        return b.reshape(x, shape=(x.shape[0], product(x.shape[1:])))


@layer
class Reshape(Layer):
    """Another shape of each sample; one entry may be -1."""

    target_shape: Any

    def check(self) -> None:
        self.target_shape = tuple(self.target_shape)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        shape = [-1 if d is None else d for d in self.target_shape]
        if -1 in shape:  # solved here: the batch may be symbolic too
            rest = product(d for d in shape if d != -1)
            shape[shape.index(-1)] = product(x.shape[1:]) // rest if rest else 0
        return b.reshape(x, shape=(x.shape[0], *shape))


@layer
class Permute(Layer):
    """Axis i + 1 of the result is axis dims[i] of x."""

    dims: Any

    def check(self) -> None:
        self.dims = tuple(self.dims)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return b.transpose(x, perm=(0, *self.dims))


@layer
class RepeatVector(Layer):
    """x (N, F) as each of n steps: (N, n, F)."""

    n: int

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return b.repeat(b.unsqueeze(x, axes=(1,)), repeats=self.n, axis=1)


def _pairs(layer: Layer, key: str, rank: int) -> tuple[tuple[int, int], ...]:
    """Padding or cropping: an integer, one for each axis, or a (before, after) pair for each axis."""
    value = getattr(layer, key)
    if isinstance(value, int):
        return ((value, value),) * rank
    if rank == 1 and len(value) == 2 and all(isinstance(v, int) for v in value):
        return ((value[0], value[1]),)
    pairs = tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)
    if len(pairs) != rank or any(len(p) != 2 for p in pairs):
        raise layer.invalid(f"{key}={value!r} does not fit {rank} axes")
    return pairs  # type: ignore[return-value]


@layer_base()
class _ZeroPadding(Layer):
    padding: Any = 1
    data_format: str | None = None
    rank: ClassVar[int]

    def check(self) -> None:
        self.padding = _pairs(self, "padding", self.rank)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        none = (0, 0)
        first = self.data_format == "channels_first"
        pads = (none, none, *self.padding) if first else (none, *self.padding, none)
        return b.pad(x, pads=pads)


@layer
class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps."""

    rank: ClassVar[int] = 1


@layer
class ZeroPadding2D(_ZeroPadding):
    """Zeros around the image."""

    rank: ClassVar[int] = 2


@layer
class ZeroPadding3D(_ZeroPadding):
    """Zeros around the volume."""

    rank: ClassVar[int] = 3


@layer_base()
class _Cropping(Layer):
    cropping: Any = 1
    data_format: str | None = None
    rank: ClassVar[int]

    def check(self) -> None:
        self.cropping = _pairs(self, "cropping", self.rank)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        first = 2 if self.data_format == "channels_first" else 1
        starts, ends = zip(*((before, -after if after else BIG) for before, after in self.cropping))
        return b.slice(x, starts=starts, ends=ends, axes=tuple(range(first, first + self.rank)))


@layer
class Cropping1D(_Cropping):
    """Leave out the first and last steps."""

    rank: ClassVar[int] = 1


@layer
class Cropping2D(_Cropping):
    """Leave out the rim of the image."""

    cropping: Any = 0
    rank: ClassVar[int] = 2


@layer
class Cropping3D(_Cropping):
    """Leave out the rim of the volume."""

    rank: ClassVar[int] = 3


@layer_base()
class _UpSampling(Layer):
    size: Any = 2
    data_format: str | None = None
    rank: ClassVar[int]

    def check(self) -> None:
        self.size = integers(self, "size", self.rank)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        first = 2 if self.data_format == "channels_first" else 1
        for axis, times in enumerate(self.size, first):
            if times != 1:
                x = b.repeat(x, repeats=times, axis=axis)
        return x


@layer
class UpSampling1D(_UpSampling):
    """Every step `size` times."""

    rank: ClassVar[int] = 1


# Keras' names (tf.image.resize, no antialiasing) as attributes of the core op `resize`
INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coefficient": -0.5, "exclude_outside": True, "fraction_steps": 1024},
    "lanczos3": {"mode": "lanczos3", "exclude_outside": True},
    "lanczos5": {"mode": "lanczos5", "exclude_outside": True},
}


@layer
class UpSampling2D(_UpSampling):
    """Every pixel size[0] x size[1] times (nearest), or interpolated between pixel centres."""

    interpolation: str = "nearest"
    rank: ClassVar[int] = 2

    def check(self) -> None:
        super().check()
        self.interpolation = str(self.interpolation).lower()
        if self.interpolation not in ("nearest", *INTERPOLATIONS):
            self.refuse("interpolation")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if self.interpolation == "nearest":
            return super().lower(b, x, w)
        x = to_last(b, x, self.data_format)
        sizes = tuple(d * times for d, times in zip(x.shape[1:-1], self.size))
        y = b.resize(x, sizes=sizes, axes=(1, 2), coordinates="half_pixel", **INTERPOLATIONS[self.interpolation])
        return from_last(b, y, self.data_format)


@layer
class UpSampling3D(_UpSampling):
    """Every voxel size[0] x size[1] x size[2] times."""

    rank: ClassVar[int] = 3
