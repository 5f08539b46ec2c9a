"""Gradients of the factors of matrices against central differences, and through operations against TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, Var, dtype
from tenun.passes.autodiff.engine import gradients

F64 = dtype("f64")


def positive(b: Builder, a: Var) -> Var:
    """A symmetric positive definite matrix of a."""
    size = a.shape[-1]
    return b.add(b.matmul(a, b.swap(a)), b.constant(np.eye(size)))


def steep(b: Builder, a: Var) -> Var:
    """A matrix whose triangles can be solved."""
    return b.add(a, b.constant(4 * np.eye(a.shape[-1])))


FACTORS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "cholesky": (lambda b, a: [b.cholesky(positive(b, a))], ((2, 3, 3),)),
    "eigh": (lambda b, a: b.eigh(positive(b, a)), ((2, 3, 3),)),
    "eigh values": (lambda b, a: b.eigh(positive(b, a))[:1], ((3, 3),)),
    "svd": (lambda b, a: b.svd(a), ((2, 4, 3),)),
    "svd of wide": (lambda b, a: b.svd(a), ((2, 3),)),
    "svd values": (lambda b, a: [b.svd(a, full=True)[1]], ((2, 3),)),
    "svd vectors": (lambda b, a: b.svd(a)[::2], ((3, 3),)),
    "qr": (lambda b, a: b.qr(a), ((2, 4, 3),)),
    "qr of square": (lambda b, a: b.qr(a, complete=True), ((3, 3),)),
    "solve": (lambda b, a, y: [b.solve(steep(b, a), y)], ((2, 3, 3), (3, 2))),
    "lower": (lambda b, a, y: [b.triangular_solve(steep(b, a), y)], ((2, 3, 3), (2, 3, 2))),
    "upper": (lambda b, a, y: [b.triangular_solve(steep(b, a), y, lower=False)], ((3, 3), (3, 2))),
}


@pytest.mark.parametrize("name", FACTORS)
def test_factors(name: str) -> None:
    call, shapes = FACTORS[name]
    b = Builder(Graph("g"))
    xs = [b.input(f"x{i}", Tensor(F64, s)) for i, s in enumerate(shapes)]
    total = b.constant(np.float64(0))
    for y in call(b, *xs):
        weights = np.cos(np.arange(1, 1 + int(np.prod(y.shape)))).reshape(y.shape)
        total = b.add(total, b.reduce_sum(b.mul(b.add(y, b.mul(b.sin(y), 0.3)), b.constant(weights))))
    f = tenun.compile(b.outputs(total, *gradients(b, [total], xs)), threads=1)
    rng = np.random.default_rng(0)
    values, directions = ([rng.standard_normal(s) for s in shapes] for _ in range(2))
    _, *found = f(*values)
    h = 1e-6
    above, below = (f(*(x + t * u for x, u in zip(values, directions)))[0] for t in (h, -h))
    got = sum((g * u).sum() for g, u in zip(found, directions))
    np.testing.assert_allclose(got, (above - below) / (2 * h), rtol=1e-5)


def test_what_has_no_gradient_says_so() -> None:
    for call in (lambda b, x: b.svd(x, full=True)[0], lambda b, x: b.qr(x)[0]):
        b = Builder(Graph("g"))
        x = b.input("x", Tensor(F64, (2, 3)))
        with pytest.raises(UnsupportedError, match="svd|qr"):
            gradients(b, [b.reduce_sum(call(b, x))], [x])
