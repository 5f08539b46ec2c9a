"""Older versions of operators, as rewrites of their nodes into newer versions: one table for all of them.

What only spells the same meaning in another way is here; where the meaning itself changed, there are two rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.graph import Var
from ..lowering import Lowering
from ..messages import TensorProto
from ..registry import Rewrite, upgrade
from .reduce import REDUCTIONS

Operands = list["Var | None"]
Attributes = dict[str, Any]


def same(b: Lowering, operands: Operands, attrs: Attributes) -> None:
    """Nothing but the number of the version, or the dtypes, changed."""


def drop(*names: str) -> Rewrite:
    """Attributes which say nothing that counts (`consumed_inputs`: memory that might be reused)."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        for name in names:
            attrs.pop(name, None)

    return rewrite


def default(**values: Any) -> Rewrite:
    """Attributes whose default has changed."""
    return lambda b, operands, attrs: attrs.update({k: v for k, v in values.items() if k not in attrs})


def rename(**names: str) -> Rewrite:
    """Attributes under new names."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        for old, new in names.items():
            if old in attrs:
                attrs[new] = attrs.pop(old)

    return rewrite


def change(name: str, by: Callable[[Any], Any]) -> Rewrite:
    """An attribute whose values are written in another way."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        if name in attrs:
            attrs[name] = by(attrs[name])

    return rewrite


def to_inputs(*names: str) -> Rewrite:
    """Attributes that became inputs, behind those that there were: integers i64, floats in the dtype of the first."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        for name in names:
            value = attrs.pop(name, None)
            if value is None:
                operands.append(None)
                continue
            first = operands[0]
            whole = np.asarray(value).dtype.kind in "iu" or not np.size(value)
            beside = np.float32 if first is None or not first.tensor.dtype.is_float else first.tensor.dtype.numpy
            operands.append(b.constant(np.asarray(value, np.int64 if whole else beside), name))
        while operands and operands[-1] is None:
            operands.pop()

    return rewrite


def chain(*rewrites: Rewrite) -> Rewrite:
    """One rewrite after another."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        for each in rewrites:
            each(b, operands, attrs)

    return rewrite


def _scales(b: Lowering, operands: Operands, attrs: Attributes) -> None:
    """Upsample 1: of height and width alone."""
    attrs["scales"] = (1.0, 1.0, attrs.pop("height_scale"), attrs.pop("width_scale"))
    attrs["mode"] = {"bilinear": "linear"}.get(attrs.get("mode", "nearest"), attrs.get("mode", "nearest"))


def _float_scales(b: Lowering, operands: Operands, attrs: Attributes) -> None:
    """Upsample 7: scales are f32 whatever X is."""
    operands.append(b.constant(np.asarray(attrs.pop("scales"), np.float32), "scales"))


def _repeats(b: Lowering, operands: Operands, attrs: Attributes) -> None:
    """Tile 1: a number of tiles along one axis."""
    x, tiles, axis = operands
    assert x is not None and tiles is not None and axis is not None
    (along,) = b.numbers(axis, "the axis")
    count = b.cast(b.reshape(tiles, shape=(1,)), to="i64")
    ones = [b.constant(np.ones(n, np.int64)) for n in (int(along), len(x.shape) - int(along) - 1)]
    operands[1:] = [b.concat(ones[0], count, ones[1], axis=0)]


def _sizes(b: Lowering, operands: Operands, attrs: Attributes) -> None:
    """Split: opset 1 takes the sizes either way."""
    if "split" in attrs:
        to_inputs("split")(b, operands, attrs)


def as_i64(place: int) -> Rewrite:
    """An input which ONNX's own definition by other operators takes as i64 only."""

    def rewrite(b: Lowering, operands: Operands, attrs: Attributes) -> None:
        given = operands[place]
        if given is not None and given.tensor.dtype.name != "i64":
            operands[place] = b.cast(given, to="i64")

    return rewrite


NEVER = 1 << 30  # no version so far
CONSUMING = (
    "Abs Add BatchNormalization Ceil Clip Div Dropout Elu Exp Floor HardSigmoid InstanceNormalization LeakyRelu Log "
    "Max Mean Min Mul Neg PRelu Reciprocal Relu Selu Sigmoid Sqrt Sub Sum Tanh"
)

upgrade(CONSUMING, 6, drop("consumed_inputs"))
upgrade("Selu", 6, default(alpha=1.6732, gamma=1.0507))
upgrade("Cast", 6, change("to", lambda name: TensorProto.DataType.Value(name.upper())))
upgrade("Gemm", 7, drop("broadcast"))  # C broadcasts as NumPy does it, if it does
upgrade("GlobalLpPool LpPool", 2, same)
upgrade("Reshape", 5, chain(drop("consumed_inputs"), to_inputs("shape")))
upgrade("Concat", 4, default(axis=1))
upgrade("LSTM GRU RNN", 7, drop("output_sequence"))  # whether all steps are wanted is seen from the outputs
upgrade("GRU LSTM RNN", 7, change("direction", lambda text: "forward" if text == "foward" else text))
upgrade("Pad", 2, rename(paddings="pads"))
upgrade("Pad", 11, to_inputs("pads", "value"))
upgrade("Tile", 6, _repeats)
upgrade("Upsample", 7, _scales)
upgrade("Upsample", 9, _float_scales)
upgrade("Clip", 11, to_inputs("min", "max"))
upgrade("TopK", 10, to_inputs("k"))
upgrade("Slice", 10, to_inputs("starts", "ends", "axes"))
upgrade("Split", 13, _sizes)
upgrade("Squeeze Unsqueeze ReduceSum", 13, to_inputs("axes"))
upgrade(" ".join(sorted({*REDUCTIONS} - {"ReduceSum"})), 18, to_inputs("axes"))
upgrade("CenterCropPad", NEVER, as_i64(1))
