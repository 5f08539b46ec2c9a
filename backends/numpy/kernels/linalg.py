"""Products of matrices: BLAS calls with bias, residual and activation applied while the result is in cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ....errors import RunError
from ....ir.attributes import LINEAR, Activation
from ....ir.ops.linalg import _letters as spelled_terms
from ..copies import copy
from ..registry import Array, Scratch, Step, function, is_constant, kernel
from ..workers import cuts, together
from .elementwise import activate
from .products import matrix_product, shared_product
from .rows import Row, as_matrix, converted, packed, wide_dtype

CHUNK_BYTES = 1 << 21  # of the result: smaller ones cost the product more than they save the epilogue
CHUNK_ROWS = 192  # products of fewer rows are slow
FEW = 1 << 13  # elements up to which calls cost more than what they compute


# ---- matmul --------------------------------------------------------------------------------------------------


@kernel
def matmul(
    x: Array,
    y: Array,
    bias: Array | None,
    residual: Array | None,
    *,
    activation: Activation,
    out: Array,
    scratch: Scratch,
) -> list[Step]:
    """activation(x @ y + bias + residual), in float32 for narrower floats, exactly for integers."""
    if out.size == 0:
        return []
    wide = product_dtype(out.dtype, x.shape[-1])
    steps: list[Step] = []
    x, y = (blas_operand(a, wide, steps, scratch) for a in (x, y))
    bias, residual = (None if a is None else converted(a, wide, steps, scratch) for a in (bias, residual))
    result = out if out.dtype == wide and out.flags.c_contiguous else scratch(out.shape, wide)
    steps += _product(x, y, result, Epilogue(bias, residual, activation, scratch))
    if result is not out:
        steps += narrowing(result, out, scratch)
    return steps


def product_dtype(dtype: np.dtype[Any], depth: int) -> np.dtype[Any]:
    """The dtype in which to multiply matrices with inner dimension `depth`.

    Integers are exact in a float as long as every sum of products is below 2^24 or 2^53; that is so for all operands
    of 8 bits, and keeps BLAS.  Where it cannot be told, NumPy's slow loops over integers remain.
    """
    if dtype.kind in "iu":
        largest = max(-int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) ** 2 * max(depth, 1)
        return np.dtype(np.float32 if largest < 2**24 else np.float64) if largest < 2**53 else dtype
    if (dtype.kind in "fc" and dtype.itemsize >= 4) or dtype.kind in "bO":
        return dtype
    return np.dtype(np.float32)


def blas_operand(x: Array, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch) -> Array:
    """x in a dtype and so laid out that BLAS takes it (rows or columns contiguous), which NumPy is slow without."""
    if x.dtype == dtype and _blas_layout(x):
        return x
    return packed(x, dtype, steps, scratch)


def _blas_layout(x: Array) -> bool:
    if x.dtype.kind not in "fc" or x.size == 0:
        return True
    if x.ndim == 1:
        return x.strides[0] > 0
    (m, n), (row, column), unit = x.shape[-2:], x.strides[-2:], x.itemsize
    rows = (column == unit or n == 1) and (row >= n * unit or m == 1)
    columns = (row == unit or m == 1) and (column >= m * unit or n == 1)
    return bool(rows or columns)


def narrowing(result: Array, out: Array, scratch: Scratch) -> list[Step]:
    """Steps that bring a result into the dtype of out; integers wrap around as they would have."""
    if out.dtype.kind in "iu" and result.dtype.kind == "f":
        whole = scratch(result.shape, np.int64)
        return [
            partial(np.copyto, whole, result, casting="unsafe"),
            partial(np.copyto, out, whole, casting="unsafe"),
        ]
    return [partial(np.copyto, out, result, casting="unsafe")]


def _product(x: Array, y: Array, out: Array, epilogue: Epilogue) -> list[Step]:
    """Steps for out = epilogue(x @ y): a single product of matrices where that is possible."""
    if y.ndim == 2 and x.ndim > 2:
        flat = _as_rows(x)
        if flat is not None:
            x, out, epilogue = flat, as_matrix(out, out.shape[-1]), epilogue.flattened(out)
    if y.ndim == 2 and x.ndim == 2:
        whole = isinstance(epilogue, _WholeEpilogue)
        return _chunks(x, y, out, epilogue) if whole else _side_by_side(x, y, out, epilogue)
    return [*matrix_product(x, y, out, epilogue.scratch), *epilogue.steps(out, ...)]


def _side_by_side(x: Array, y: Array, out: Array, epilogue: Epilogue) -> list[Step]:
    """A product that is work enough in two halves: of its rows with what follows, or without."""
    rows, columns = out.shape
    halves = cuts(rows, 2 * x.size * columns, most=2, unit=16) if rows >= columns and out.dtype.kind == "f" else []
    if len(halves) > 1:
        return together([_chunks(x[n], y, out[n], epilogue.of(n, rows)) for n in halves])
    if _is_cut(out, epilogue):
        return _chunks(x, y, out, epilogue)
    return [*shared_product(x, y, out, epilogue.scratch), *epilogue.steps(out, ...)]


def _as_rows(x: Array) -> Array | None:
    """x as one matrix, if it can be seen so."""
    try:
        return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]), copy=False)
    except ValueError:
        return None


def _is_cut(out: Array, epilogue: Epilogue) -> bool:
    """Whether the result is so large that the epilogue would not find it in the cache."""
    return bool(epilogue) and out.nbytes > 2 * CHUNK_BYTES and len(out) > 2 * CHUNK_ROWS


def _chunks(x: Array, y: Array, out: Array, epilogue: Epilogue) -> list[Step]:
    """Row by row chunks, so that the epilogue finds the result in cache; whole if there is none."""
    rows = len(out)
    if _is_cut(out, epilogue):
        rows = max(CHUNK_ROWS, CHUNK_BYTES // max(1, out.shape[-1] * out.itemsize))
    steps: list[Step] = []
    for start in range(0, len(out), max(rows, 1)):
        part = slice(start, min(start + rows, len(out)))
        steps += matrix_product(x[part], y, out[part], epilogue.scratch)
        steps += epilogue.steps(out[part], part)
    return steps


class Epilogue:
    """What follows a product: bias, residual, activation, on parts of the result along its first axis."""

    def __init__(self, bias: Array | None, residual: Array | None, activation: Activation, scratch: Scratch) -> None:
        self.bias, self.residual, self.activation, self.scratch = bias, residual, activation, scratch
        self._activate = activate(activation)
        self._row: Row | None = None  # of the first part, which is the longest

    def __bool__(self) -> bool:
        return self.bias is not None or self.residual is not None or self._activate is not None

    def flattened(self, out: Array) -> Epilogue:
        """The same for out as one matrix."""
        shape = (math.prod(out.shape[:-1]), out.shape[-1])
        bias, residual = self.bias, self.residual
        if bias is not None and math.prod(bias.shape[:-1]) > 1:
            bias = np.broadcast_to(bias, out.shape).reshape(shape)
            if not is_constant(self.bias):  # the reshape copied what the run will change
                return _WholeEpilogue(self, out)
        elif bias is not None:
            bias = bias.reshape(bias.shape[-1:])
        if residual is not None:
            try:
                residual = residual.reshape(shape, copy=False)
            except ValueError:
                return _WholeEpilogue(self, out)
        return Epilogue(bias, residual, self.activation, self.scratch)

    def of(self, rows: slice, count: int) -> Epilogue:
        """The same for some of the `count` rows alone."""
        bias, residual = (a[rows] if a is not None and a.ndim == 2 and len(a) == count else a
                          for a in (self.bias, self.residual))  # fmt: skip
        return Epilogue(bias, residual, self.activation, self.scratch)

    def steps(self, part: Array, place: Any) -> list[Step]:
        """Steps for a part of the result that stands at `place` of the first axis."""
        steps = [] if self.bias is None else self._add_bias(part, place)
        if self.residual is not None:
            steps.append(partial(np.add, part, self.residual[place], out=part))
        if self._activate is not None:
            steps.append(self._activated(part, self._activate))
        return steps

    def _activated(self, part: Array, activate: Callable[[Array], None]) -> Step:
        """The activation as a step; relu of a few numbers as the one ufunc that takes the least time to start."""
        if self.activation.name == "relu" and not self.activation.attrs and part.size <= FEW:
            return partial(np.maximum, part, np.zeros_like(part), out=part)
        return partial(activate, part)

    def _add_bias(self, part: Array, place: Any) -> list[Step]:
        bias = self.bias
        assert bias is not None
        if 0 < bias.ndim == part.ndim and bias.shape[0] != 1:
            bias = bias[place]
        if part.ndim != 2 or bias.shape != part.shape[1:]:
            return [partial(np.add, part, bias, out=part)]
        steps: list[Step] = []
        if self._row is None:
            self._row = Row(bias, len(part), part.dtype, steps, self.scratch)
        return steps + self._row.steps(np.add, part, part)


class _WholeEpilogue(Epilogue):
    """The epilogue in the original shape, after the last chunk: for a bias that does not cut into rows."""

    def __init__(self, epilogue: Epilogue, out: Array) -> None:
        self.epilogue, self.out, self.scratch = epilogue, out, epilogue.scratch
        self.last = math.prod(out.shape[:-1])

    def __bool__(self) -> bool:
        return False  # no chunks

    def steps(self, part: Array, place: Any) -> list[Step]:
        return self.epilogue.steps(self.out, ...) if place.stop == self.last else []


# ---- einsum --------------------------------------------------------------------------------------------------


@kernel
def einsum(*xs: Array, equation: str, out: Array, scratch: Scratch) -> list[Step]:
    """Two operands become one batched product of matrices where they can, anything else np.einsum."""
    wide = product_dtype(out.dtype, 1 << 20) if out.dtype.kind not in "iu" else out.dtype
    terms, result = spelled_terms(equation, [x.ndim for x in xs])
    steps: list[Step] = []
    xs = tuple(converted(x, wide, steps, scratch) for x in xs)
    target = out if out.dtype == wide else scratch(out.shape, wide)
    if len(xs) == 2 and wide.kind in "fc" and _is_product(xs, terms, result):
        steps += _as_matmul(xs[0], xs[1], terms[0], terms[1], result, target, scratch)
    else:
        spelled = f"{','.join(terms)}->{result}"
        path = np.einsum_path(spelled, *xs, optimize="greedy")[0] if len(xs) > 1 else False
        steps.append(partial(np.einsum, spelled, *xs, out=target, optimize=path))
    return steps if target is out else [*steps, partial(np.copyto, out, target, casting="unsafe")]


def _is_product(xs: tuple[Array, ...], terms: list[str], result: str) -> bool:
    """Whether letters stand once a term, agree in size, and none is summed within one operand alone."""
    a, b = terms
    sizes = [dict(zip(t, x.shape)) for t, x in zip(terms, xs)]
    once = all(len(set(t)) == len(t) for t in (a, b, result))
    agree = all(sizes[0][c] == sizes[1][c] for c in set(a) & set(b))
    return once and agree and set(a) ^ set(b) <= set(result) and all(x.size for x in xs)


def _as_matmul(x: Array, y: Array, a: str, b: str, result: str, out: Array, scratch: Scratch) -> list[Step]:
    """x (batch, left, inner) @ y (batch, inner, right), transposed into the order of the result."""
    batch = "".join(c for c in result if c in a and c in b)
    inner = "".join(c for c in a if c in b and c not in result)
    left = "".join(c for c in result if c in a and c not in b)
    right = "".join(c for c in result if c in b and c not in a)
    sizes = {**dict(zip(a, x.shape)), **dict(zip(b, y.shape))}
    groups = [[sizes[c] for c in group] for group in (batch, left, right)]
    steps: list[Step] = []
    first = _matrices(x, a, batch, left, inner, steps, scratch)
    second = _matrices(y, b, batch, inner, right, steps, scratch)
    order = batch + left + right
    if order == result and out.flags.c_contiguous:
        product = out.reshape([math.prod(g) for g in groups])
        return [*steps, *_batched(first, second, product, scratch)]
    product = scratch([math.prod(g) for g in groups], out.dtype)
    ordered = product.reshape([n for g in groups for n in g]).transpose([order.index(c) for c in result])
    return [*steps, *_batched(first, second, product, scratch), copy(out, ordered)]


def _batched(x: Array, y: Array, out: Array, scratch: Scratch) -> list[Step]:
    if len(out) == 1:
        x, y, out = x[0], y[0], out[0]
    return _product(x, y, out, Epilogue(None, None, LINEAR, scratch))


def _matrices(x: Array, term: str, batch: str, rows: str, columns: str, steps: list[Step], scratch: Scratch) -> Array:
    """x as (batch, rows, columns): a view if that suits BLAS, otherwise a copy."""
    ordered = x.transpose([term.index(c) for c in batch + rows + columns])
    cut = len(batch), len(batch) + len(rows)
    shape = [math.prod(s) for s in (ordered.shape[: cut[0]], ordered.shape[cut[0] : cut[1]], ordered.shape[cut[1] :])]
    try:
        matrices = ordered.reshape(shape, copy=False)
    except ValueError:
        return packed(ordered, x.dtype, steps, scratch).reshape(shape)
    return matrices if _blas_layout(matrices) else packed(matrices, x.dtype, steps, scratch)


@function
def det(x: Array) -> Array:
    return np.asarray(np.linalg.det(x.astype(wide_dtype(x.dtype), copy=False))).astype(x.dtype)


@function
def inverse(x: Array) -> Array:
    try:
        return np.linalg.inv(x.astype(wide_dtype(x.dtype), copy=False)).astype(x.dtype)
    except np.linalg.LinAlgError:
        raise RunError("a matrix is singular: it has no inverse", op="inverse") from None


# ---- factors -------------------------------------------------------------------------------------------------


def _wide(x: Array) -> Array:
    return x.astype(wide_dtype(x.dtype), copy=False)


@function
def cholesky(x: Array) -> Array:
    try:
        return np.linalg.cholesky(_wide(x)).astype(x.dtype, copy=False)
    except np.linalg.LinAlgError:
        raise RunError("a matrix is not positive definite: it has no Cholesky factor", op="cholesky") from None


@function
def qr(x: Array, *, complete: bool) -> list[Array]:
    return [v.astype(x.dtype, copy=False) for v in np.linalg.qr(_wide(x), "complete" if complete else "reduced")]


@function
def svd(x: Array, *, full: bool) -> list[Array]:
    return [v.astype(x.dtype, copy=False) for v in np.linalg.svd(_wide(x), full_matrices=full)]


@function
def eigh(x: Array) -> list[Array]:
    return [v.astype(x.dtype, copy=False) for v in np.linalg.eigh(_wide(x))]


@function
def eig(x: Array) -> list[Array]:
    kind = np.complex128 if x.dtype == np.float64 else np.complex64
    return [v.astype(kind, copy=False) for v in np.linalg.eig(_wide(x))]


@function
def lu(x: Array) -> list[Array]:
    """Gauss with partial pivoting, all matrices at once: a step eliminates one column."""
    found = _wide(x).copy()
    size = found.shape[-1]
    flat = found.reshape(-1, size, size)
    rows = np.tile(np.arange(size, dtype=np.int32), (len(flat), 1))
    every = np.arange(len(flat))
    for k in range(size - 1):
        pivot = k + np.abs(flat[:, k:, k]).argmax(1)
        for table in (flat, rows):
            table[every, k], table[every, pivot] = table[every, pivot].copy(), table[every, k].copy()
        head = flat[:, k, k, None]
        factor = np.divide(flat[:, k + 1 :, k], head, out=np.zeros_like(flat[:, k + 1 :, k]), where=head != 0)
        flat[:, k + 1 :, k] = factor
        flat[:, k + 1 :, k + 1 :] -= factor[:, :, None] * flat[:, k, None, k + 1 :]
    return [found.astype(x.dtype, copy=False), rows.reshape(x.shape[:-1])]


@function
def solve(a: Array, y: Array) -> Array:
    try:
        return np.linalg.solve(_wide(a), _wide(y)).astype(a.dtype, copy=False)
    except np.linalg.LinAlgError:
        raise RunError("a matrix is singular: its equations have no one solution", op="solve") from None


@function
def triangular_solve(a: Array, y: Array, *, lower: bool) -> Array:
    """Row by row, of all matrices at once."""
    a = _wide(a)
    if not lower:  # upside down and mirrored, it is a lower one
        found = triangular_solve(a[..., ::-1, ::-1], y[..., ::-1, :], lower=True)
        return found[..., ::-1, :]
    size = a.shape[-1]
    lead = np.broadcast_shapes(a.shape[:-2], y.shape[:-2])
    found = np.array(np.broadcast_to(_wide(y), (*lead, *y.shape[-2:])))
    for i in range(size):
        found[..., i, :] -= np.matmul(a[..., i, None, :i], found[..., :i, :])[..., 0, :]
        found[..., i, :] /= a[..., i, i, None]
    return found.astype(y.dtype, copy=False)
