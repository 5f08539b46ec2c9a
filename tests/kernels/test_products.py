"""Products in pieces: whatever the shapes and layouts, they are what NumPy's matmul gives."""

from __future__ import annotations

import numpy as np
import pytest

from tenun.backends.numpy.kernels import products
from tenun.backends.numpy.kernels.products import SMALL, in_pieces, matrix_product, shared_product
from tenun.backends.numpy.workers import Parallel, several

RNG = np.random.default_rng(0)

# (leading axes of x, of y, rows, inner, columns)
SHAPES = [
    ((), (), 8, 784, 512),
    ((), (), 7, 1280, 1008),  # a rest of columns
    ((), (), 49, 960, 160),  # of rows
    ((), (), 107, 300, 208),  # of both
    ((), (), 169, 512, 64),  # one row too many
    ((), (), 100, 300, 203),  # no whole vectors
    ((), (), 3, 4096, 300),
    ((), (), 100, 2500, 40),  # too deep for pieces of many rows
    ((), (), 1, 4096, 512),
    ((), (), 5, 7, 3),
    ((), (), 0, 7, 3),
    ((), (), 5, 0, 3),
    ((4,), (4,), 64, 128, 192),
    ((3,), (), 64, 128, 192),
    ((), (3,), 64, 128, 192),
    ((2, 1), (1, 3), 40, 200, 208),
]


@pytest.fixture(autouse=True)
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if NumPy's BLAS read operands in place, so that pieces are made on any machine."""
    monkeypatch.setattr(products, "_reads_in_place", lambda: True)


def laid_out(shape: tuple[int, ...], by_column: bool) -> np.ndarray:
    """Random numbers, their last two axes in one order or the other."""
    if by_column:
        return RNG.standard_normal((*shape[:-2], shape[-1], shape[-2]), dtype=np.float32).swapaxes(-1, -2)
    return RNG.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("turned", ["", "x", "y", "xy"])
@pytest.mark.parametrize("lead_x, lead_y, m, k, n", SHAPES)
def test_pieces_make_the_product(
    lead_x: tuple[int, ...], lead_y: tuple[int, ...], m: int, k: int, n: int, turned: str
) -> None:
    x, y = laid_out((*lead_x, m, k), "x" in turned), laid_out((*lead_y, k, n), "y" in turned)
    want = np.matmul(x.astype(np.float64), y.astype(np.float64))
    out = np.full(want.shape, np.nan, np.float32)
    for step in matrix_product(x, y, out):
        step()
    assert np.allclose(out, want, rtol=1e-4, atol=1e-6 * k)


def test_pieces_write_into_a_part_of_a_larger_array() -> None:
    x, y = laid_out((64, 300), False), laid_out((300, 256), False)
    whole = np.zeros((64, 300), np.float32)
    for step in matrix_product(x, y, whole[:, 20:276]):
        step()
    assert np.allclose(whole[:, 20:276], x @ y, atol=1e-4)
    assert not whole[:, :20].any() and not whole[:, 276:].any()


@pytest.mark.parametrize("lead_x, lead_y, m, k, n", SHAPES)
def test_no_piece_is_too_large_to_be_read_in_place(
    lead_x: tuple[int, ...], lead_y: tuple[int, ...], m: int, k: int, n: int
) -> None:
    x, y = laid_out((*lead_x, m, k), False), laid_out((*lead_y, k, n), False)
    steps = matrix_product(x, y, np.zeros(np.matmul(x, y).shape, np.float32))
    largest = max((s.args[0].shape[-2] * s.args[0].shape[-1] * s.args[1].shape[-1] for s in steps), default=0)
    assert largest <= SMALL or k > products.DEEP or n % products.VECTOR


def test_one_step_where_pieces_fit_and_none_where_they_do_not() -> None:
    x, h, out = laid_out((512, 128), False), laid_out((128, 64), False), np.zeros((512, 64), np.float32)
    step = in_pieces(x, h, out)
    assert step is not None
    step()
    assert np.allclose(out, x @ h, atol=1e-4)
    assert in_pieces(x[:509], h, out[:509]) is None
    assert in_pieces(x[:16], h, out[:16]) is None  # small as it is
    doubles = [a.astype(np.float64) for a in (x, h, out)]
    assert in_pieces(*doubles) is None


def test_without_such_a_blas_a_product_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_reads_in_place", lambda: False)
    x, y = laid_out((64, 784), False), laid_out((784, 512), False)
    (step,) = matrix_product(x, y, np.zeros((64, 512), np.float32))
    assert [a.shape for a in step.args] == [x.shape, y.shape]


@pytest.mark.parametrize("m, k, n", [(64, 64, 1000), (169, 512, 1000), (169, 512, 64), (8, 4096, 176), (13, 784, 512)])
def test_pieces_treat_equal_columns_and_rows_alike(m: int, k: int, n: int) -> None:
    """A net with equal weights has equal results where BLAS makes them so: onnx's test of SqueezeNet is such."""
    x, y = (np.zeros(shape, np.float32) for shape in ((m, k), (k, n)))
    rows, columns = products._piece(x, y, np.zeros((m, n), np.float32))
    assert (rows, columns) == (m, n) or (columns % products.VECTOR == 0 == n % products.VECTOR and m % rows != 1)


@pytest.mark.parametrize(
    "m, k, n, halves",
    [
        (8, 784, 512, "columns"),
        (49, 160, 960, "columns"),
        (512, 784, 16, "rows"),
        (64, 256, 1000, "rows"),  # whose columns are no whole vectors
        (17, 512, 1000, None),
        (8, 256, 512, None),  # little work
        (1, 8192, 512, None),  # so few results that NumPy would keep the GIL
    ],
)
def test_a_product_is_shared_where_it_is_worth_it(m: int, k: int, n: int, halves: str | None) -> None:
    x, y = laid_out((m, k), False), laid_out((k, n), False)
    out = np.full((m, n), np.nan, np.float32)
    steps = shared_product(x, y, out)
    shared = [step for step in steps if isinstance(step, Parallel)]
    assert len(shared) == (halves is not None)
    for step in shared:
        first = step.branches[0][0].args[1]
        assert (first.size < y.size) == (halves == "columns")
    with several(2):
        for step in steps:
            step()
    assert np.allclose(out, np.matmul(x.astype(np.float64), y), rtol=1e-4, atol=1e-6 * k)
