"""The operations of keras.ops.numpy that multiply matrices, vectors and signals.

Formulas and dtypes: keras/src/backend/tensorflow/numpy.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...ir import Builder, Var
from ...ir.dims import product
from ..base import as_dtype
from .array import is_float_name, moveaxis, ravel, stack
from .common import Term, axes_of, fixed, kind_of, row, tensor, together
from .promotion import result_type

operation = partial(row, "numpy")


def _product(b: Builder, xs: list[Any], multiply: Callable[..., Any]) -> Var:
    """In the operands' floating-point dtype, the result in their common dtype: as Keras multiplies integers."""
    kinds = [kind_of(tensor(b, x)) for x in xs]
    name, inner = result_type(*kinds), result_type(*kinds, "float")
    return as_dtype(b, multiply(*(tensor(b, x, inner) for x in xs)), name)


@operation("Matmul")
def matmul(b: Builder, x1: Any, x2: Any) -> Var:
    """Of two int8 matrices in int32."""
    xs = [tensor(b, x) for x in (x1, x2)]
    if all(kind_of(x) == "int8" and len(x.shape) > 1 for x in xs):
        return b.matmul(*(as_dtype(b, x, "int32") for x in xs))  # type: ignore[no-any-return]
    return _product(b, xs, b.matmul)


def _contract(b: Builder, x: Var, y: Var, left: list[int], right: list[int]) -> Var:
    """The sums over pairs of axes: as a product of matrices."""
    rest_x = [i for i in range(len(x.shape)) if i not in left]
    rest_y = [i for i in range(len(y.shape)) if i not in right]
    outer_x, outer_y = [x.shape[i] for i in rest_x], [y.shape[i] for i in rest_y]
    inner = product(y.shape[i] for i in right)
    rows = b.reshape(b.transpose(x, perm=(*rest_x, *left)), shape=(product(outer_x), inner))
    columns = b.reshape(b.transpose(y, perm=(*right, *rest_y)), shape=(inner, product(outer_y)))
    return b.reshape(b.matmul(rows, columns), shape=(*outer_x, *outer_y))  # type: ignore[no-any-return]


@operation("Tensordot")
def tensordot(b: Builder, x1: Any, x2: Any, axes: Any = 2) -> Var:
    """axes: how many last axes of x1 meet the first ones of x2, or the two lists of them."""
    x, y = tensor(b, x1), tensor(b, x2)
    ranks = len(x.shape), len(y.shape)
    if isinstance(axes, int):
        left, right = list(range(ranks[0] - axes, ranks[0])), list(range(axes))
    else:
        left, right = ([a % rank for a in axes_of(v) or ()] for v, rank in zip(axes, ranks))
    return _product(b, [x, y], lambda x, y: _contract(b, x, y, left, right))


def _dot(b: Builder, x: Var, y: Var, inner: int) -> Var:
    if not x.shape or not y.shape:
        return b.mul(x, y)  # type: ignore[no-any-return]
    return _contract(b, x, y, [len(x.shape) - 1], [max(len(y.shape) + inner, 0)])


@operation("Dot")
def dot(b: Builder, x1: Any, x2: Any) -> Var:
    """The last axis of x1 with the last but one of x2 (the only one of a vector)."""
    return _product(b, [x1, x2], lambda x, y: _dot(b, x, y, -2))


@operation("Inner")
def inner(b: Builder, x1: Any, x2: Any) -> Var:
    return _product(b, [x1, x2], lambda x, y: _dot(b, x, y, -1))


@operation("Vdot")
def vdot(b: Builder, x1: Any, x2: Any) -> Var:
    return _product(b, [x1, x2], lambda x, y: b.reduce_sum(b.mul(ravel(b, x), ravel(b, y)), keepdims=False))


@operation("Outer")
def outer(b: Builder, x1: Any, x2: Any) -> Var:
    x, y = (ravel(b, v) for v in together(b, x1, x2, weak=False))
    return b.mul(b.unsqueeze(x, axes=(1,)), y)  # type: ignore[no-any-return]


@operation("Kron")
def kron(b: Builder, x1: Any, x2: Any) -> Var:
    """Every element of x1 times all of x2."""
    x, y = together(b, x1, x2, weak=False)
    rank = max(len(x.shape), len(y.shape))
    shapes = [(1,) * (rank - len(v.shape)) + tuple(v.shape) for v in (x, y)]
    rows = b.reshape(x, shape=tuple(d for s in shapes[0] for d in (s, 1)))
    blocks = b.reshape(y, shape=tuple(d for s in shapes[1] for d in (1, s)))
    return b.reshape(b.mul(rows, blocks), shape=tuple(s * t for s, t in zip(*shapes)))  # type: ignore[no-any-return]


@operation("Cross")
def cross(
    b: Builder, x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The vector product; vectors of two are in the plane, and the product of two such is a number."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = (moveaxis(b, v, a, -1) for v, a in zip(together(b, x1, x2, weak=False), (axisa, axisb)))
    flat_ones = x.shape[-1] == 2 and y.shape[-1] == 2
    (p, q, r), (s, t, u) = (_components(b, v) for v in (x, y))
    if flat_ones:
        return p * t - q * s
    parts = [q * u - r * t, r * s - p * u, p * t - q * s]
    return moveaxis(b, stack(b, [v.var for v in parts], -1), -1, axisc)


def _components(b: Builder, x: Var) -> list[Term]:
    parts = [Term(b, b.squeeze(v, axes=(-1,))) for v in b.split(x, axis=-1, sizes=(1,) * x.shape[-1])]
    return [*parts, parts[0] * 0] if len(parts) == 2 else parts


@operation("Einsum")
def einsum(b: Builder, *operands: Any, subscripts: str) -> Var:
    """Of int8 alone in int32; of other integers in float32, and back."""
    xs = [tensor(b, x) for x in operands]
    kinds = {kind_of(x) for x in xs}
    if kinds == {"int8"}:
        return b.einsum(*(as_dtype(b, x, "int32") for x in xs), equation=subscripts)  # type: ignore[no-any-return]
    name = result_type(*kinds)
    inner = "float32" if "int" in name else name
    return as_dtype(b, b.einsum(*(as_dtype(b, x, inner) for x in xs), equation=subscripts), name)


@operation("Correlate")
def correlate(b: Builder, x1: Any, x2: Any, mode: str = "valid") -> Any:
    """y[k] = sum over n of x1[n + k] x2[n], without (valid), half with (same) or with all ends (full)."""
    name = result_type(kind_of(x1), kind_of(x2))
    name = "float64" if name == "int64" else name if is_float_name(name) else "float32"
    x, kernel = tensor(b, x1, name), tensor(b, x2, name)
    size = fixed(kernel.shape[0], "the length of the second operand")
    edge = 0 if mode == "valid" else size - 1
    signal = b.unsqueeze(x, axes=(0, 2))
    y = b.conv(signal, b.unsqueeze(kernel, axes=(1, 2)), strides=(1,), dilations=(1,), padding=((edge, edge),))
    y = b.squeeze(y, axes=(0, 2))
    if mode != "same":
        return y
    length = fixed(x.shape[0], "the length of the first operand")
    start = (length + size - 1 - max(length, size)) // 2
    return b.slice(y, starts=(start,), ends=(start + max(length, size),), axes=(0,))
