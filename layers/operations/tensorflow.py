"""TensorFlow's functions of tensors that keras.ops has nothing for: functional models of tf.keras hold calls of them.

The names are those of tf.*, the parameters TensorFlow's own, without those that say nothing of results.  What can be
said by operations of keras.ops is said so by the reader (frontends/keras/symbols.py).
"""

from __future__ import annotations

from functools import reduce as fold
from typing import Any

from ...ir import Builder, Var
from ..base import as_dtype
from .array import swapaxes
from .common import Function, tensor, together
from .linalg import norm
from .reduce import argmax, argmin

TENSORFLOW: dict[str, Function] = {"tf.norm": norm}


def _function(name: str) -> Any:
    """Enter a function under its name in TensorFlow."""

    def declare(function: Function) -> Function:
        TENSORFLOW[name] = function
        return function

    return declare


@_function("tf.shape")
def shape(b: Builder, x: Var, out_type: str = "int32") -> Var:
    """The shape as a vector."""
    return as_dtype(b, b.shape(x), out_type)


@_function("tf.matmul")
def matmul(b: Builder, x: Any, y: Any, transpose_a: bool = False, transpose_b: bool = False) -> Var:
    """The product of matrices, of which either may be transposed first."""
    x, y = (swapaxes(b, v, -1, -2) if turned else v for v, turned in ((x, transpose_a), (y, transpose_b)))
    return b.matmul(*together(b, x, y))  # type: ignore[no-any-return]


@_function("tf.argmax")
def place_of_largest(b: Builder, x: Var, axis: int = 0, output_type: str = "int64") -> Var:
    """Where the largest element is."""
    return as_dtype(b, argmax(b, x, axis=axis), output_type)


@_function("tf.argmin")
def place_of_smallest(b: Builder, x: Var, axis: int = 0, output_type: str = "int64") -> Var:
    """Where the smallest element is."""
    return as_dtype(b, argmin(b, x, axis=axis), output_type)


@_function("tf.squared_difference")
def squared_difference(b: Builder, x: Any, y: Any) -> Var:
    """(x - y)²."""
    return b.square(b.sub(*together(b, x, y)))  # type: ignore[no-any-return]


@_function("tf.add_n")
def add_n(b: Builder, inputs: Any) -> Var:
    """The sum of tensors of one shape."""
    return fold(b.add, together(b, *inputs))


@_function("tf.l2_normalize")
def l2_normalize(b: Builder, x: Var, axis: Any = None, epsilon: float = 1e-12) -> Var:
    """x / sqrt(max(sum x², epsilon))."""
    axes = None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    total = b.reduce_sum(b.square(x), axes=axes, keepdims=True)
    return b.mul(x, b.rsqrt(b.maximum(total, epsilon)))  # type: ignore[no-any-return]


@_function("tf.gather")
def gather(b: Builder, params: Any, indices: Any, axis: int | None = None, batch_dims: int = 0) -> Var:
    """Slices along an axis, by default the first after `batch_dims` axes, which params and indices share."""
    if axis not in (None, batch_dims):
        raise TypeError(f"batch_dims={batch_dims} with axis={axis}")
    return gather_nd(b, params, b.unsqueeze(tensor(b, indices), axes=(-1,)), batch_dims)


@_function("tf.gather_nd")
def gather_nd(b: Builder, params: Any, indices: Any, batch_dims: int = 0) -> Var:
    """Elements or slices at places (..., K) along the first K axes (after `batch_dims`)."""
    places = as_dtype(b, tensor(b, indices), "int64")
    return b.gather_nd(tensor(b, params), places, batch_dims=batch_dims)  # type: ignore[no-any-return]


@_function("tf.bias_add")
def bias_add(b: Builder, value: Any, bias: Any) -> Var:
    """A vector added along the last axis."""
    return b.add(*together(b, value, bias))  # type: ignore[no-any-return]


@_function("tf.band_part")
def band_part(b: Builder, x: Var, num_lower: int, num_upper: int) -> Var:
    """Matrices with zeros below the num_lower-th and above the num_upper-th diagonal; a negative number: none."""
    if num_lower >= 0:
        x = b.trilu(x, k=-num_lower, upper=True)
    return b.trilu(x, k=num_upper, upper=False) if num_upper >= 0 else x


# ---- shapes that are values, or that have values in them -------------------------------------------------------


def _sizes(b: Builder, given: Any) -> Var:
    """A shape as i64 (rank): of a vector, or of numbers and scalars."""
    if isinstance(given, Var):
        return as_dtype(b, given, "int64")
    return b.concat(*(b.reshape(tensor(b, d, "int64"), shape=(1,)) for d in given), axis=0)  # type: ignore[no-any-return]


TENSORFLOW |= {
    "tf.reshape": lambda b, x, shape: b.reshape(tensor(b, x), shape=_sizes(b, shape)),
    "tf.broadcast_to": lambda b, x, shape: b.expand(tensor(b, x), shape=_sizes(b, shape)),
    "tf.tile": lambda b, x, multiples: b.tile(tensor(b, x), repeats=_sizes(b, multiples)),
    "tf.fill": lambda b, dims, value: b.fill(tensor(b, value), shape=_sizes(b, dims)),
}
