"""Products with matrices, finished in registers."""

from __future__ import annotations

from ....ir.attributes import Activation
from ...numpy.kernels.rows import as_matrix, matrix_of
from ...numpy.registry import Array, Scratch, Step, is_constant
from ..copies import copied
from ..crew import together
from ..products import (
    DEPTH,
    F32,
    FEW_ROWS,
    Panels,
    compiled_product,
    is_plain,
    is_row,
    padded_bias,
    panels,
    product_steps,
)
from ..registry import row
from ..vectors import LANES


@row
def matmul(
    x: Array, y: Array, bias: Array | None, residual: Array | None, *, activation: Activation, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """If y is a matrix (one that is no constant: of whole vectors, or for many rows), and the bias a row."""
    fits = (
        y.ndim == 2
        and x.ndim > 1
        and x.dtype == y.dtype == F32
        and is_plain(bias, residual, out)
        and out.size
        and y.size
    )
    if not fits or not out.flags.c_contiguous or not is_row(bias, y.shape[1]):
        return None
    rows, run, depth = _rows(x, y.shape[0]), compiled_product(activation), run_of(y.shape[0])
    weights, before = _panels_of(y, out.size // y.shape[1], scratch)
    added = residual
    if residual is not None:
        added = matrix_of(residual, y.shape[1]) if residual.shape == out.shape else None
    if rows is None or run is None or weights is None or (added is None) != (residual is None):
        return None
    step = rows.strides[-1] if rows.shape[1] > 1 else F32.itemsize
    branches = product_steps(
        run, rows[None, None], range(0, step * y.shape[0], step * depth), depth, weights,
        padded_bias(bias, y.shape[1]), None if added is None else added[None, None],
        as_matrix(out, y.shape[1])[None, None], scratch, 2 * out.size * y.shape[0],
    )  # fmt: skip
    return before + together(branches)


def _panels_of(y: Array, rows: int, scratch: Scratch) -> tuple[Panels | None, list[Step]]:
    """A matrix as products of so many rows read it, and the steps that copy it to where they can."""
    whole = y.shape[1] % LANES == 0
    if is_constant(y) or (is_plain(y) and whole):
        found = panels(y)
        return (None, []) if found is None else (found[0], [])
    if not whole and rows <= FEW_ROWS:
        return None, []
    wide = scratch((y.shape[0], -(-y.shape[1] // LANES) * LANES), F32)  # what is behind the columns comes to nothing
    return Panels(wide[None], y.shape[0], wide.strides[0]), copied(wide[:, : y.shape[1]], y)


def _rows(x: Array, depth: int) -> Array | None:
    """x as a matrix of rows; None where it is none without a copy."""
    return x if x.ndim == 2 else matrix_of(x, depth)


def run_of(depth: int) -> int:
    """The length of runs into which a row is cut evenly: the longest up to DEPTH, if it is long enough."""
    longest = next((n for n in range(min(depth, DEPTH), 0, -1) if depth % n == 0), depth)
    return longest if longest >= DEPTH // 4 else max(depth, 1)
