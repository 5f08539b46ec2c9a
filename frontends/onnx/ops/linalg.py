"""Products of matrices."""

from __future__ import annotations

from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx


@onnx("MatMul")
def matmul(b: Lowering, A: Var, B: Var) -> Var:
    return b.matmul(A, B)


@onnx("Gemm")
def gemm(
    b: Lowering, A: Var, B: Var, C: Var | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Var:  # fmt: skip
    """alpha * A' @ B' + beta * C."""
    A, B = (b.transpose(v, perm=(1, 0)) if swapped else v for v, swapped in ((A, transA), (B, transB)))
    y = b.matmul(A, B)
    y = y if alpha == 1 else b.mul(y, _number(y, alpha))
    if C is None or beta == 0:
        return y
    return b.add(y, C if beta == 1 else b.mul(C, _number(C, beta)))


def _number(beside: Var, value: float) -> float | int:
    return value if beside.tensor.dtype.is_float else int(value)


@onnx("Einsum")
def einsum(b: Lowering, *Inputs: Var, equation: str) -> Var:
    return b.einsum(*Inputs, equation=equation)


@onnx("Det", since=11)
def det(b: Lowering, X: Var) -> Var:
    return b.det(X)
