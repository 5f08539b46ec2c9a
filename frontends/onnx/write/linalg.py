"""Products of matrices."""

from __future__ import annotations

from ..emitter import Emitter, Item
from . import export, export_all, refuse


@export()
def matmul(w: Emitter, x: Item, y: Item, bias: Item | None = None, residual: Item | None = None) -> Item:
    """One Gemm where two matrices and a vector meet."""
    if bias is not None and residual is None and x.rank == y.rank == 2 and bias.rank == 1 and x.dtype.is_float:
        turned = y.root is not None
        return w.Gemm(x, y.root if turned else y, bias, transB=int(turned))  # type: ignore[no-any-return]
    product: Item = w.MatMul(x, y)
    for extra in (bias, residual):
        product = product if extra is None else w.Add(product, extra)
    return product


export_all({
    "einsum": lambda w, *xs, equation: w.Einsum(*xs, equation=equation),
    "det": lambda w, x: w.Det(x),
    "inverse": lambda w, x: w.emit("Inverse", x, domain="com.microsoft"),
})  # fmt: skip

refuse(
    "ONNX has no such operator", "cholesky", "eig", "eigh", "lu", "qr", "solve", "svd", "triangular_solve",
)  # fmt: skip
