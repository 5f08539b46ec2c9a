"""Functions of several Values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.types import boolean
from .tensor import Value, aligned, in_dtype, leaf, record, value_of


def concat(values: Sequence[Any], axis: int = 0) -> Value:
    """The Values one after another along an axis; all other dimensions are the same."""
    return record("concat", *aligned(*_some(values)), axis=axis)


def stack(values: Sequence[Any], axis: int = 0) -> Value:
    """The Values, all of one shape, along a new axis."""
    return record("concat", *(v.unsqueeze(axis) for v in aligned(*_some(values))), axis=axis)


def _some(values: Sequence[Any]) -> list[Any]:
    if not len(values):
        raise ShapeError("there are no Values to put together")
    return list(values)


def where(condition: Any, x: Any, y: Any) -> Value:
    """x where the condition (booleans) holds, else y; shapes broadcast."""
    return record("where", in_dtype(value_of(condition), boolean), *aligned(x, y))


def maximum(x: Any, y: Any) -> Value:
    """The larger of x and y; shapes broadcast.  Where both are equal, the gradient goes to x."""
    return record("maximum", *aligned(x, y))


def minimum(x: Any, y: Any) -> Value:
    """The smaller of x and y; shapes broadcast.  Where both are equal, the gradient goes to x."""
    return record("minimum", *aligned(x, y))


def conv2d(x: Any, w: Any, b: Any = None, strides: Any = 1, padding: Any = "valid", dilations: Any = 1) -> Value:
    """x * w + b, channels last.  x: (N, H, W, C), w: (h, w, C, filters), b: (filters) -> (N, H', W', filters).

    strides, dilations: an int or a pair; padding: "valid", "same" (as Keras) or ((top, bottom), (left, right)).
    """
    operands = aligned(x, w, b, floats=True)
    return record("conv", *operands, strides=_pair(strides), dilations=_pair(dilations), padding=_padding(padding))


def _pool2d(op: str, x: Any, pool_size: Any, strides: Any, padding: Any) -> Value:
    (x,) = aligned(value_of(x), floats=True)
    window = _pair(pool_size)
    steps = window if strides is None else _pair(strides)
    return record(op, x, window=window, strides=steps, dilations=(1, 1), padding=_padding(padding))


def max_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> Value:
    """The largest element of each window, to the first of which the gradient goes.  (N, H, W, C) -> (N, H', W', C).

    pool_size, strides (default: pool_size): an int or a pair; padding: "valid" or "same", as Keras.
    """
    return _pool2d("max_pool", x, pool_size, strides, padding)


def avg_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> Value:
    """The mean of each window, padding not counted; arguments as those of `max_pool2d`."""
    return _pool2d("avg_pool", x, pool_size, strides, padding)


def _pair(sizes: Any) -> tuple[int, ...]:
    return (int(sizes),) * 2 if isinstance(sizes, (int, np.integer)) else tuple(sizes)


def _padding(padding: Any) -> Any:
    return padding.lower() if isinstance(padding, str) else tuple(map(tuple, padding))


def embedding(table: Any, indices: Any) -> Value:
    """Rows of a table (V, E) for integer indices of any shape: (*indices, E)."""
    return record("gather", value_of(table), value_of(indices), axis=0)


def one_hot(indices: Any, depth: int, dtype: Any = np.float32) -> Value:
    """1 where the place along a new last axis of size `depth` is the index, else 0: (*indices, depth)."""
    on, off = (leaf(np.array(k, dtype), literal=True) for k in (1, 0))
    return record("one_hot", value_of(indices), on, off, depth=depth)


def lstm(
    x: Any,
    kernel: Any,
    recurrent: Any,
    bias: Any = None,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
) -> tuple[Value, Value, Value]:
    """Long short-term memory in Keras' layout: the sequence (N, T, H), the last h (N, H) and the last c (N, H).

    x: (N, T, E), kernel: (E, 4H), recurrent: (H, 4H), bias: (4H), gates in the order input, forget, candidate, output.
    initial_state: (h, c), each (N, H), by default zeros; mask: (N, T) booleans, false: the step keeps the state.
    """
    states = (None, None) if initial_state is None else tuple(initial_state)
    operands = [x, kernel, recurrent, bias, *states]
    places = [None, 0, 0, 0, 1, 1]  # of the axis of directions
    fitted = iter(aligned(*operands, floats=True))
    found = [None if o is None else next(fitted) for o in operands]
    x, *rest = [v if v is None or axis is None else v.unsqueeze(axis) for v, axis in zip(found, places)]
    masked = None if mask is None else in_dtype(value_of(mask), boolean)
    sequence, h, c = record(
        "lstm", x, *rest[:3], masked, *rest[3:],
        activation=activation, recurrent_activation=recurrent_activation, output_activation=activation,
    )  # fmt: skip
    return sequence.squeeze(2), h.squeeze(1), c.squeeze(1)
