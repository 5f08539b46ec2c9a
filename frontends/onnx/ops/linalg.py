"""Products of matrices."""

from __future__ import annotations

from ....ir.graph import Var
from ....ir.types import i32
from ..lowering import Lowering
from ..registry import onnx


@onnx("MatMul")
def matmul(b: Lowering, A: Var, B: Var) -> Var:
    return b.matmul(A, B)


@onnx("Gemm", since=6)
def gemm_broadcast(
    b: Lowering, A: Var, B: Var, C: Var, *, alpha: float = 1.0, beta: float = 1.0, broadcast: int = 0, transA: int = 0,
    transB: int = 0,
) -> Var:  # fmt: skip
    return gemm(b, A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)


@onnx("Gemm", since=7)
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


@onnx("MatMulInteger")
def matmul_integer(
    b: Lowering, A: Var, B: Var, a_zero_point: Var | None = None, b_zero_point: Var | None = None
) -> Var:
    """(A - a_zero_point) @ (B - b_zero_point) in 32-bit integers; zero points: one, or one a row of A, column of B."""
    left, right = b.cast(A, to=i32), b.cast(B, to=i32)
    if a_zero_point is not None:
        zero = b.cast(a_zero_point, to=i32)
        left = b.sub(left, b.unsqueeze(zero, axes=(-1,)) if len(zero.shape) == 1 and zero.shape != (1,) else zero)
    if b_zero_point is not None:
        right = b.sub(right, b.cast(b_zero_point, to=i32))
    return b.matmul(left, right)
