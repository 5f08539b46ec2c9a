"""Convolutions: channels first in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir import dims
from ....ir.ops.conv import explicit_padding
from ..emitter import Emitter, Item
from . import export, refuse

AUTO_PAD = {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def padded(
    padding: Any, sizes: Sequence[Any], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """The attributes `pads` or `auto_pad` for a padding of the core ops; nothing where there is none."""
    pairs = explicit_padding(padding, tuple(sizes), tuple(kernel), tuple(strides), tuple(dilations))
    flat = [before for before, _ in pairs] + [after for _, after in pairs]
    if not dims.is_number(flat):
        return {"auto_pad": AUTO_PAD[padding]}
    return {"pads": flat} if any(flat) else {}


@export(first=("x", "residual"))
def conv(
    w: Emitter, x: Item, kernel: Item, bias: Item | None = None, residual: Item | None = None, *,
    strides: Sequence[int], dilations: Sequence[int], padding: Any, groups: int,
) -> Item:  # fmt: skip
    """The kernel (*K, C / groups, O) as (O, C / groups, *K)."""
    spatial = kernel.rank - 2
    size = [int(d) for d in kernel.shape[:spatial]]  # type: ignore[arg-type]
    turned = w.transpose(kernel, (spatial + 1, spatial, *range(spatial)))
    y: Item = w.Conv(
        x, turned, bias, kernel_shape=size, strides=strides, dilations=dilations, group=groups,
        **padded(padding, x.shape[2:], size, strides, dilations),
    )  # fmt: skip
    return y if residual is None else w.Add(y, residual)


@export(first=("x",))
def conv_transpose(
    w: Emitter, x: Item, kernel: Item, bias: Item | None = None, *,
    strides: Sequence[int], dilations: Sequence[int], padding: Any, output_padding: Sequence[int], groups: int,
) -> Item:  # fmt: skip
    """The kernel (*K, C, O / groups) as (C, O / groups, *K).

    output_padding takes from what is cropped at the end; where more is asked for than there is, zeros are added, and
    the bias after them.
    """
    spatial = kernel.rank - 2
    size = [int(d) for d in kernel.shape[:spatial]]  # type: ignore[arg-type]
    pairs = ((0, 0),) * spatial if isinstance(padding, str) else padding
    crops = [before for before, _ in pairs] + [after - extra for (_, after), extra in zip(pairs, output_padding)]
    turned, missing = w.transpose(kernel, (spatial, spatial + 1, *range(spatial))), any(c < 0 for c in crops)
    y: Item = w.ConvTranspose(
        x, turned, None if missing else bias, kernel_shape=size, strides=strides, dilations=dilations, group=groups,
        pads=[max(c, 0) for c in crops],
    )  # fmt: skip
    if not missing:
        return y
    added = [max(-c, 0) for c in crops]
    y = w.Pad(y, w.ints([0, 0, *added[:spatial], 0, 0, *added[spatial:]]))
    if bias is None:
        return y
    return w.Add(y, w.Unsqueeze(bias, w.ints(range(1, spatial + 1))))  # type: ignore[no-any-return]


refuse("it belongs to a gradient", "conv_weight_grad")
refuse(
    "it is the NumPy backend's form of a convolution; write the graph as it was before the pass `algorithms`",
    "winograd_weights", "winograd_conv", "winograd_weight_grad",
)  # fmt: skip
