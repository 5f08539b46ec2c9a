"""Products with constant weights, finished in registers."""

from __future__ import annotations

from ....ir.attributes import Activation
from ...numpy.kernels.rows import as_matrix, matrix_of
from ...numpy.registry import Array, Scratch, Step, is_constant
from ...numpy.workers import together
from ..products import DEPTH, compiled_product, is_plain, packed_once, padded_bias, product_steps
from ..registry import row


@row
def matmul(
    x: Array, y: Array, bias: Array | None, residual: Array | None, *, activation: Activation, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """If y is a constant matrix, and the bias a constant row."""
    fits = y.ndim == 2 and x.ndim > 1 and is_plain(x, y, bias, residual, out) and out.size and out.flags.c_contiguous
    if not fits or not is_constant(y) or (bias is not None and not (is_constant(bias) and bias.size == y.shape[1])):
        return None
    rows, run, depth = matrix_of(x, y.shape[0]), compiled_product(activation), run_of(y.shape[0])
    added = residual
    if residual is not None:
        added = matrix_of(residual, y.shape[1]) if residual.shape == out.shape else None
    if rows is None or run is None or (added is None) != (residual is None):
        return None
    branches = product_steps(
        run, rows[None, None], range(0, 4 * y.shape[0], 4 * depth), depth, packed_once(y)[0],
        padded_bias(bias, y.shape[1]), None if added is None else added[None, None],
        as_matrix(out, y.shape[1])[None, None], scratch, 2 * out.size * y.shape[0],
    )  # fmt: skip
    return together(branches)


def run_of(depth: int) -> int:
    """The length of runs into which a row is cut evenly: the longest up to DEPTH, if it is long enough."""
    longest = next((n for n in range(min(depth, DEPTH), 0, -1) if depth % n == 0), depth)
    return longest if longest >= DEPTH // 4 else max(depth, 1)
