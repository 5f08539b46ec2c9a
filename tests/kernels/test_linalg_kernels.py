"""matmul and einsum against float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenun.errors import RunError
from tenun.ir.attributes import Activation
from tenun.tests.kernels.harness import constant, layouts, random, run, run_all

SHAPES = [
    ((3, 4), (4, 5)), ((1, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 6)),
    ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((3, 4), (2, 4, 5)),
    ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((2, 0, 4), (4, 5)), ((3, 4), (4, 0)), ((900, 8), (8, 700)),
    ((2, 450, 8), (8, 700)), ((700, 1), (1, 1)),
    ((64, 512), (512, 300)), ((4, 16, 512), (512, 300)), ((300, 100), (100, 600)),  # in halves of columns
]  # fmt: skip


def activated(z, activation):
    return {"linear": lambda v: v, "relu": lambda v: np.maximum(v, 0), "tanh": np.tanh}[activation](z)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_matmul(shapes, activation):
    x, y = random(*shapes[0]), random(*shapes[1], seed=1)
    product = x.astype(np.float64) @ y
    shape = product.shape
    columns = shape[:-1] and (*shape[:-1], 1)
    biases = [None, *(random(*b, seed=2) for b in {shape[-1:], columns, shape and (1,), shape, ()})]
    for bias in biases:
        for residual in (None, random(*shape, seed=3)):
            want = product + (0 if bias is None else bias) + (0 if residual is None else residual)
            want = activated(want, activation)
            for make in (np.array, constant):
                given = [None if p is None else make(p) for p in (bias, residual)]
                got = run("matmul", x, make(y), *given, activation=Activation(activation))
                np.testing.assert_allclose(got, want, 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matmul_layouts(dtype):
    x, y = random(2, 6, 4, dtype=dtype), random(4, 5, dtype=dtype)
    residual = random(2, 6, 5, dtype=dtype).transpose(0, 2, 1).copy().transpose(0, 2, 1)
    bias = random(6, 5, dtype=dtype)
    for a in layouts(x):
        for b in layouts(y):
            np.testing.assert_allclose(run("matmul", a, b, None, residual), a @ b + residual, 1e-5, 1e-5)
            np.testing.assert_allclose(run("matmul", a, b, bias), a @ b + bias, 1e-5, 1e-5)
    vector = random(8, dtype=dtype)[::-2]
    np.testing.assert_allclose(run("matmul", vector, y), vector @ y, 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("depth", [3, 2000])
def test_integers_are_exact(dtype, depth):
    info = np.iinfo(dtype)
    generator = np.random.default_rng(0)
    x, y = (generator.integers(info.min, info.max, s, dtype, endpoint=True) for s in ((4, depth), (depth, 3)))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run("matmul", x, y), x @ y)


def test_narrow_floats_are_rounded_once():
    x, y = random(5, 300), random(300, 4, seed=1)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        a, b = x.astype(dtype), y.astype(dtype)
        want = (a.astype(np.float32) @ b.astype(np.float32) + b[0].astype(np.float32)).astype(dtype)
        np.testing.assert_allclose(run("matmul", a, b, b[0]).astype(float), want.astype(float), 8e-3, 1e-2)


EQUATIONS = [
    "ij,jk->ik", "bij,bjk->bik", "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "abc,cde->abde", "abcd,cde->abe", "ij->ji",
    "ij->", "ii->i", "i,j->ij", "ij,ij->", "ij,jk", "...ij,...jk->...ik", "bij,kj->bik", "ij,jk,kl->il", "ij,j",
    "ijk,ijk->ij", "ij,kl->jk", "ab,b->a", "b...,b->...",
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    sizes = {c: 2 + i % 4 for i, c in enumerate("abcdehijklq")}
    terms = equation.split("->")[0].split(",")
    shapes = [((2, 3) if "..." in t else ()) + tuple(sizes[c] for c in t.replace(".", "")) for t in terms]
    xs = [random(*shape, seed=i) for i, shape in enumerate(shapes)]
    if equation == "b...,b->...":
        xs[0] = xs[0].transpose(2, 0, 1)
    want = np.einsum(equation, *(x.astype(np.float64) for x in xs))
    np.testing.assert_allclose(run("einsum", *xs, equation=equation), want, 1e-4, 1e-4)
    for layout in layouts(xs[0]):
        want = np.einsum(equation, layout.astype(np.float64), *xs[1:])
        np.testing.assert_allclose(run("einsum", layout, *xs[1:], equation=equation), want, 1e-4, 1e-4)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True), st.data())
def test_einsum_of_two(a, data):
    b = data.draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    out = data.draw(st.lists(st.sampled_from(sorted({*a, *b})), unique=True))
    sizes = dict(zip("abcd", (2, 3, 1, 4)))
    x, y = random(*(sizes[c] for c in a)), random(*(sizes[c] for c in b), seed=1)
    equation = f"{''.join(a)},{''.join(b)}->{''.join(out)}"
    want = np.einsum(equation, x.astype(np.float64), y)
    np.testing.assert_allclose(run("einsum", x, y, equation=equation), want, 1e-4, 1e-4)


def test_einsum_broadcasts_and_other_dtypes():
    x, y = random(1, 4), random(3, 4)
    np.testing.assert_allclose(run("einsum", x, y, equation="ij,ij->ij"), x * y, 1e-6)
    i, j = random(3, 4, dtype=np.int32), random(4, 5, dtype=np.int32)
    np.testing.assert_array_equal(run("einsum", i, j, equation="ij,jk->ik"), i @ j)
    h = x.astype(np.float16)
    np.testing.assert_allclose(run("einsum", h, h, equation="ij,kj->ik"), h @ h.T, 2e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_inverse(dtype):
    x = (random(2, 3, 3) + 4 * np.eye(3)).astype(dtype)
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == np.float16 else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(run("inverse", x), np.linalg.inv(x.astype(float)), **close)
    with pytest.raises(RunError, match="singular"):
        run("inverse", np.zeros((2, 2), dtype))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_factors_give_the_matrix(dtype):
    x = random(2, 5, 5).astype(dtype)
    square = x @ x.swapaxes(-1, -2) + np.eye(5, dtype=dtype)
    close = {"rtol": 1e-4, "atol": 1e-4}
    lower = run("cholesky", square)
    np.testing.assert_allclose(lower @ lower.swapaxes(-1, -2), square, **close)
    q, r = run_all("qr", x)
    np.testing.assert_allclose(q @ r, x, **close)
    u, s, vt = run_all("svd", x[:, :3])
    np.testing.assert_allclose((u * s[:, None]) @ vt, x[:, :3], **close)
    w, v = run_all("eigh", square)
    np.testing.assert_allclose((v * w[:, None]) @ v.swapaxes(-1, -2), square, **close)
    w, v = run_all("eig", x)
    np.testing.assert_allclose(x @ v, v * w[:, None], **close)
    factors, rows = run_all("lu", x)
    both = (np.tril(factors, -1) + np.eye(5)) @ np.triu(factors)
    np.testing.assert_allclose(both, np.take_along_axis(x, rows[..., None], 1), **close)
    for lower in (True, False):
        y = run("triangular_solve", square, x, lower=lower)
        np.testing.assert_allclose((np.tril if lower else np.triu)(square) @ y, x, **close)
    np.testing.assert_allclose(square @ run("solve", square, x), x, **close)


def test_matrices_without_factors():
    with pytest.raises(RunError, match="not positive definite"):
        run("cholesky", -np.eye(2))
    with pytest.raises(RunError, match="singular"):
        run("solve", np.zeros((2, 2)), np.ones((2, 1)))
