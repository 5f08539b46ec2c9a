"""Convolutions: channels first in ONNX, channels last inside."""

from __future__ import annotations

from typing import Any

from ....errors import ShapeError
from ....ir import dims
from ....ir.dims import Dim
from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx

Ints = tuple[int, ...]
AUTO_PAD = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def ones(given: Ints | None, spatial: int) -> Ints:
    """Strides or dilations: 1 by default."""
    return given or (1,) * spatial


def pairs(pads: Ints | None, spatial: int) -> tuple[tuple[int, int], ...]:
    """ONNX lists all befores, then all afters."""
    pads = pads or (0,) * 2 * spatial
    if len(pads) != 2 * spatial:
        raise ShapeError(f"pads {pads} are not two for each of {spatial} spatial axes")
    return tuple(zip(pads[:spatial], pads[spatial:]))


def padding(b: Lowering, auto_pad: str, pads: Ints | None, spatial: int) -> Any:
    """The core ops' padding."""
    if auto_pad in ("NOTSET", ""):
        return pairs(pads, spatial)
    if auto_pad not in AUTO_PAD:
        raise b.refuse(f"auto_pad is {auto_pad!r}")
    return AUTO_PAD[auto_pad]


def with_kernel(b: Lowering, W: Var, declared: Ints | None) -> Var:
    """W: the attribute kernel_shape says again what its shape says, or what that leaves open."""
    kernel = W.shape[2:]
    if declared is None:
        return W
    if len(declared) != len(kernel) or not all(map(dims.compatible, declared, kernel)):
        raise ShapeError(f"kernel_shape is {declared}, but the weights have {tuple(kernel)}")
    return W if dims.is_number(kernel) else b.reshape(W, shape=b.mixed((*b.dims(W)[:2], *declared)))  # type: ignore[no-any-return]


@onnx("Conv")
def conv(
    b: Lowering, X: Var, W: Var, B: Var | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """X: (N, C, *S), W: (O, C / group, *K)."""
    spatial, X = len(W.shape) - 2, b.ranked(X, len(W.shape))
    W = with_kernel(b, W, kernel_shape)
    y = b.conv(
        b.to_last(X),
        b.transpose(W, perm=(*range(2, spatial + 2), 1, 0)),
        B,
        strides=ones(strides, spatial),
        dilations=ones(dilations, spatial),
        padding=padding(b, auto_pad, pads, spatial),
        groups=group,
    )
    return b.to_first(y)


@onnx("CausalConvWithState", since=27)
def causal_conv_with_state(
    b: Lowering, input: Var, weight: Var, bias: Var | None = None, past_state: Var | None = None, *,
    activation: str = "none",
) -> tuple[Var, Var]:  # fmt: skip
    """A depthwise convolution (N, C, T) of places up to one's own, and the last ones, which it needs the next time."""
    channels, before = weight.shape[0], weight.shape[2] - 1
    if not isinstance(channels, int) or not isinstance(before, int):
        raise b.refuse("a kernel of unknown size", "declare the shapes of the model's inputs")
    if activation not in ("none", "silu", "swish"):
        raise b.refuse(f"activation {activation!r}", "known are none, silu and swish")
    if past_state is None:
        whole = b.pad(input, b.constant(0, dtype=input.tensor.dtype.numpy), pads=((0, 0), (0, 0), (before, 0)))
    else:
        whole = b.concat(past_state, input, axis=2)
    y = conv(b, whole, weight, bias, group=channels)
    state = b.slice(whole, starts=(-before if before else 2**31 - 1,), ends=(2**31 - 1,), axes=(2,))
    return (y if activation == "none" else b.silu(y)), state


@onnx("ConvTranspose")
def conv_transpose(
    b: Lowering, X: Var, W: Var, B: Var | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, output_padding: Ints | None = None,
    output_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """X: (N, C, *S), W: (C, O / group, *K); output_shape and auto_pad choose the cropping."""
    spatial = len(W.shape) - 2
    W = with_kernel(b, W, kernel_shape)
    strides, dilations = ones(strides, spatial), ones(dilations, spatial)
    extra = list(output_padding or (0,) * spatial)
    crops: list[tuple[Any, Any]] = list(pairs(pads, spatial))
    later: dict[int, tuple[Dim, Dim]] = {}  # the pads, most often negative, of axes whose size is open
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if not dims.is_number(W.shape[2:]):
            raise b.refuse("a kernel of unknown size", "declare the shapes of the model's inputs")
        for i, (kernel, stride, dilation) in enumerate(zip(W.shape[2:], strides, dilations)):
            total = (kernel - 1) * dilation + 1 + extra[i] - stride
            if output_shape is not None:
                total += X.shape[2 + i] * stride - output_shape[i - spatial]
            cut: Any = dims.maximum(total, 0)
            small, large = cut // 2, cut - cut // 2
            before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
            if isinstance(total, int):
                crops[i], extra[i] = (before, after), extra[i] + cut - total
            else:
                crops[i], later[i] = (0, 0), (-before, cut - total - after)
    elif auto_pad == "VALID":
        crops = [(0, 0)] * spatial
    y = b.conv_transpose(
        b.to_last(X),
        b.transpose(W, perm=(*range(2, spatial + 2), 0, 1)),
        None if later else B,
        strides=strides,
        dilations=dilations,
        padding=crops,
        output_padding=extra,
        groups=group,
    )
    if later:
        y = b.pad(y, pads=[(0, 0), *(later.get(i, (0, 0)) for i in range(spatial)), (0, 0)])
        y = y if B is None else b.add(y, B)
    return b.to_first(y)
