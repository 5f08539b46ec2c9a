"""Convolutions.  Core ops are channels last; `channels_first` transposes around."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Tensor, Var
from .activation import activate, check_activation
from .adapted import Adapted
from .base import Config, Function, Layer, Weight, channel_axis, from_last, integers, layer, layer_base, to_last

if TYPE_CHECKING:
    from .lowering import Scope


class _Convolution(Layer):
    """What all convolutions share: the checks, and layout, bias and activation around the op."""

    # what the subclasses declare as fields, each in Keras' order
    kernel_size: Any
    strides: Any
    padding: str
    data_format: str | None
    dilation_rate: Any
    activation: Function
    use_bias: bool
    bias_initializer: Config
    bias_regularizer: Config

    rank: ClassVar[int]
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")
    needs_float: ClassVar[bool] = True

    def check(self) -> None:
        for key in ("kernel_size", "strides", "dilation_rate"):
            setattr(self, key, integers(self, key, self.rank))
        self.padding = str(self.padding).lower()
        if self.padding not in self.paddings:
            self.refuse("padding")
        if self.data_format not in (None, "channels_last", "channels_first"):
            self.refuse("data_format")
        check_activation(self)

    @property
    def steps(self) -> dict[str, Any]:
        """The attributes of the op that say where the kernel goes."""
        return {"strides": self.strides, "dilations": self.dilation_rate}

    def channels(self, x: Tensor) -> Any:
        """The number of input channels."""
        return x.dims[channel_axis(self.data_format)]

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        y = self.convolve(b, to_last(b, x, self.data_format), w, w.bias if self.use_bias else None)
        return activate(b, from_last(b, y, self.data_format), self.activation, w)

    def convolve(self, b: Builder, x: Var, w: Scope, bias: Var | None) -> Var:
        """The op on a channels-last input."""
        raise NotImplementedError

    def bias_weight(self, filters: Any) -> Iterator[Weight]:
        """The declaration of the bias, if there is one."""
        if self.use_bias:
            yield self.weight("bias", (filters,))


@layer_base()
class _Conv(_Convolution, Adapted):
    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    groups: int = 1
    activation: Function = "linear"
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None
    lora_rank: int | None = None
    lora_alpha: float | None = None

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (*self.kernel_size, self.channels(inputs[0]) // self.groups, self.filters)
        yield self.frozen(self.weight("kernel", shape))
        yield from self.bias_weight(self.filters)
        yield from self.adaptation(shape)

    def convolve(self, b: Builder, x: Var, w: Scope, bias: Var | None) -> Var:
        return b.conv(x, self.adapted(b, w), bias, padding=self.padding, groups=self.groups, **self.steps)


@layer_base()
class _ConvTranspose(_Convolution):
    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    output_padding: Any = None
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Function = "linear"
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None

    def check(self) -> None:
        super().check()
        if self.output_padding is not None:
            self.output_padding = integers(self, "output_padding", self.rank)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (*self.kernel_size, self.filters, self.channels(inputs[0]))
        yield self.weight("kernel", shape)
        yield from self.bias_weight(self.filters)

    def convolve(self, b: Builder, x: Var, w: Scope, bias: Var | None) -> Var:
        crops, extra = zip(*map(self._edges, range(self.rank)))
        return b.conv_transpose(x, b.swap(w.kernel), bias, padding=crops, output_padding=extra, **self.steps)

    def _edges(self, axis: int) -> tuple[tuple[int, int], int]:
        """Along an axis: how much of the full result (S - 1)·stride + K is cropped (before, after), or added after.

        Keras fixes the length (compute_conv_transpose_output_shape); TensorFlow crops half of the surplus before.
        """
        stride = self.strides[axis]
        kernel = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
        added = None if self.output_padding is None else self.output_padding[axis]
        if self.padding == "valid":
            surplus = -(max(kernel, stride) - kernel if added is None else added)
        else:
            surplus = kernel - stride if added is None else kernel - kernel % 2 - added
        crop = max(surplus, 0)
        return (crop // 2, crop - crop // 2), max(-surplus, 0)


@layer_base()
class _DepthwiseConv(_Convolution):
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    depth_multiplier: int = 1
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Function = "linear"
    use_bias: bool = True
    depthwise_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    depthwise_regularizer: Config = None
    bias_regularizer: Config = None
    depthwise_constraint: Config = None
    bias_constraint: Config = None

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        channels = self.channels(inputs[0])
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        yield self.weight("kernel", shape, "depthwise")
        yield from self.bias_weight(channels * self.depth_multiplier)

    def convolve(self, b: Builder, x: Var, w: Scope, bias: Var | None) -> Var:
        return depthwise(b, x, w.kernel, bias, self)


@layer_base()
class _SeparableConv(_Convolution):
    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    depth_multiplier: int = 1
    activation: Function = "linear"
    use_bias: bool = True
    depthwise_initializer: Config = "glorot_uniform"
    pointwise_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    depthwise_regularizer: Config = None
    pointwise_regularizer: Config = None
    bias_regularizer: Config = None
    depthwise_constraint: Config = None
    pointwise_constraint: Config = None
    bias_constraint: Config = None

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        channels = self.channels(inputs[0])
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        yield self.weight("depthwise_kernel", shape, "depthwise")
        shape = (*[1] * self.rank, channels * self.depth_multiplier, self.filters)
        yield self.weight("pointwise_kernel", shape, "pointwise")
        yield from self.bias_weight(self.filters)

    def convolve(self, b: Builder, x: Var, w: Scope, bias: Var | None) -> Var:
        ones = (1,) * self.rank
        y = depthwise(b, x, w.depthwise_kernel, None, self)
        return b.conv(y, w.pointwise_kernel, bias, strides=ones, dilations=ones)


def depthwise(b: Builder, x: Var, kernel: Var, bias: Var | None, config: _Convolution) -> Var:
    """Each channel with its own `depth_multiplier` filters: Keras' kernel (*K, C, M) is a grouped one (*K, 1, C·M)."""
    *size, channels, multiplier = kernel.shape
    grouped = b.reshape(kernel, shape=(*size, 1, channels * multiplier))
    return b.conv(x, grouped, bias, padding=config.padding, groups=channels, **config.steps)


# ---- the layers: a rank each ----------------------------------------------------------------------------------


@layer("Convolution1D")
class Conv1D(_Conv):
    """1-D convolution; padding may be causal."""

    rank: ClassVar[int] = 1
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same", "causal")


@layer("Convolution2D")
class Conv2D(_Conv):
    """2-D convolution."""

    rank: ClassVar[int] = 2


@layer("Convolution3D")
class Conv3D(_Conv):
    """3-D convolution."""

    rank: ClassVar[int] = 3


@layer("Convolution1DTranspose")
class Conv1DTranspose(_ConvTranspose):
    """1-D transposed convolution."""

    rank: ClassVar[int] = 1


@layer("Convolution2DTranspose")
class Conv2DTranspose(_ConvTranspose):
    """2-D transposed convolution."""

    rank: ClassVar[int] = 2


@layer("Convolution3DTranspose")
class Conv3DTranspose(_ConvTranspose):
    """3-D transposed convolution."""

    rank: ClassVar[int] = 3


@layer
class DepthwiseConv1D(_DepthwiseConv):
    """1-D depthwise convolution."""

    rank: ClassVar[int] = 1


@layer
class DepthwiseConv2D(_DepthwiseConv):
    """2-D depthwise convolution."""

    rank: ClassVar[int] = 2


@layer("SeparableConvolution1D")
class SeparableConv1D(_SeparableConv):
    """1-D depthwise convolution, then a pointwise one; padding may be causal (Keras 2)."""

    rank: ClassVar[int] = 1
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same", "causal")


@layer("SeparableConvolution2D")
class SeparableConv2D(_SeparableConv):
    """2-D depthwise convolution, then a pointwise one."""

    rank: ClassVar[int] = 2
