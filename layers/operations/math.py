"""The operations of keras.ops.math: segments, Fourier transforms, special functions.

Complex signals are pairs of tensors, real and imaginary part.  Formulas: keras/src/backend/tensorflow/math.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Var
from ..base import as_dtype
from .array import END, diagonal
from .common import Function, Term, axes_of, fixed, kind_of, polynomial, row, rows, tensor, where
from .core import limits
from .elementwise import as_complex, imag, real

FAMILY = "math"
operation = partial(row, FAMILY)


# ---- segments and orders --------------------------------------------------------------------------------------

# reduction of `scatter_nd`, and what an empty segment gives
SEGMENTS: dict[str, tuple[str, Any]] = {
    "SegmentSum": ("add", 0), "SegmentProd": ("mul", 1), "SegmentMax": ("max", "low"), "SegmentMin": ("min", "high"),
}  # fmt: skip


def _segments(reduction: str, empty: Any) -> Function:
    def call(b: Builder, data: Any, segment_ids: Any, num_segments: Any = None, sorted: bool = False) -> Any:
        """Rows of equal number put together.  `sorted` segments that are empty give 0 (tf.math.segment_max)."""
        x, ids = Term(b, tensor(b, data)), Term(b, tensor(b, segment_ids, "int64"))
        fixed_count = isinstance(num_segments, int)
        count = (
            Term(b, b.constant(np.array([num_segments]))) if fixed_count else (ids.reduce_max() + 1).reshape(shape=(1,))
        )
        low, high = limits(x.dtype)
        start = x.same({"low": low, "high": high}.get(empty, empty))
        tail = b.constant(np.array(x.shape[1:], np.int64))
        places = where(ids < 0, count, ids).unsqueeze(axes=(-1,))  # negative ones go to a row that is cut off

        def scattered(first: Var, values: Any, *shape: Var) -> Any:
            base = Term(b, b.fill(first, shape=b.concat(b.add(count.var, 1), *shape, axis=0)))
            found = base.scatter_nd(places, values, reduction=reduction if shape else "add")
            return found.slice(starts=(0,), ends=(-1,), axes=(0,))

        found = scattered(start, x, tail)
        if not sorted or reduction in ("add", "mul"):
            return found
        ones = b.fill(b.constant(np.int32(1)), shape=b.shape(ids.var))
        none = scattered(b.constant(np.int32(0)), ones).equal(0)
        return where(none.reshape(shape=(-1, *(1,) * (len(x.shape) - 1))), 0, found)

    return call


rows(FAMILY, {name: _segments(*how) for name, how in SEGMENTS.items()})


@operation("TopK")
def top_k(b: Builder, x: Any, k: int, sorted: bool = True) -> list[Var]:
    values, places = b.top_k(tensor(b, x), k=k, axis=-1)
    return [values, as_dtype(b, places, "int32")]


@operation("InTopK")
def in_top_k(b: Builder, targets: Any, predictions: Any, k: int) -> Any:
    """Whether fewer than k predictions are above that of the target, which has to be finite."""
    p, t = Term(b, tensor(b, predictions)), tensor(b, targets, "int64")
    classes = fixed(p.shape[-1], "the number of classes")
    inside = Term(b, t)
    valid = (inside >= 0) & (inside < classes)
    mine = p.gather_elements(inside.maximum(0).minimum(classes - 1).unsqueeze(axes=(-1,)), axis=-1)
    above = (p > mine).to("int32").reduce_sum(axes=(-1,))
    finite = ~(mine.is_nan() | mine.is_inf()).squeeze(axes=(-1,))
    return (above < k) & finite & valid


@operation("Logsumexp")
def logsumexp(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
    return b.reduce_log_sum_exp(tensor(b, x), axes=axes_of(axis), keepdims=keepdims)  # type: ignore[no-any-return]


@operation("CDist")
def cdist(b: Builder, x: Any, y: Any) -> Any:
    """The distances between the rows of x and those of y."""
    s, t = Term(b, tensor(b, x)), Term(b, tensor(b, y))
    return (s.unsqueeze(axes=(-2,)) - t.unsqueeze(axes=(-3,))).square().reduce_sum(axes=(-1,)).sqrt()


# ---- Fourier transforms ---------------------------------------------------------------------------------------


def _join(b: Builder, x: Any) -> Var:
    """(real, imaginary) as the pairs of the op `dft`."""
    return b.concat(*(b.unsqueeze(tensor(b, v), axes=(-1,)) for v in x), axis=-1)  # type: ignore[no-any-return]


def _part(b: Builder, pairs: Var) -> list[Var]:
    return [b.squeeze(v, axes=(-1,)) for v in b.split(pairs, axis=-1, sizes=(1, 1))]


def _transform(axes: tuple[int, ...], inverse: bool = False) -> Function:
    def call(b: Builder, x: Any) -> list[Var]:
        pairs = _join(b, x)
        for axis in axes:
            pairs = b.dft(pairs, axis=axis - 1, inverse=inverse)
        return _part(b, pairs)

    return call


rows(FAMILY, {"FFT": _transform((-1,)), "FFT2": _transform((-1, -2)), "IFFT2": _transform((-1, -2), inverse=True)})


@operation("RFFT")
def rfft(b: Builder, x: Any, fft_length: int | None = None) -> list[Var]:
    pairs = b.unsqueeze(tensor(b, x), axes=(-1,))
    return _part(b, b.dft(pairs, axis=-2, length=fft_length, onesided=True))


@operation("IRFFT")
def irfft(b: Builder, x: Any, fft_length: int | None = None) -> Var:
    return b.squeeze(b.dft(_join(b, x), axis=-2, length=fft_length, inverse=True, onesided=True), axes=(-1,))  # type: ignore


@operation("ExtractSequences")
def extract_sequences(b: Builder, x: Any, sequence_length: int, sequence_stride: int) -> Var:
    """Windows of the last axis, as a new last one."""
    x = tensor(b, x)
    size = fixed(x.shape[-1], "the length of the signal")
    count = max((size - sequence_length) // sequence_stride + 1, 0)
    places = np.arange(count)[:, None] * sequence_stride + np.arange(sequence_length)
    return b.gather(x, b.constant(places), axis=-1)  # type: ignore[no-any-return]


def _window(b: Builder, window: Any, length: int, fft_length: int, name: str) -> Any:
    """A window (Hann, Hamming, or its elements) in the middle of the transform's length; None for ones."""
    if window is None:
        return None
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise TypeError(f"window={window!r} is neither 'hann' nor 'hamming'")
        a = 0.5 if window == "hann" else 0.54
        period = length if length % 2 == 0 else length - 1  # tf.signal takes odd ones as not periodic
        turns = np.arange(length) / max(period, 1)
        values: Any = np.ones(1) if length == 1 else a - (1 - a) * np.cos(2 * np.pi * turns)
    else:
        values = np.asarray(window)
    left = (fft_length - length) // 2
    return np.pad(values, (left, fft_length - length - left)).astype(tensor(b, np.float32(0), name).tensor.dtype.numpy)


@operation("STFT")
def stft(
    b: Builder, x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann",
    center: bool = True,
) -> list[Var]:  # fmt: skip
    """The spectra of windows of the last axis; centre: the signal is mirrored at its ends."""
    x = tensor(b, x)
    if center:
        edge = fft_length // 2
        x = b.pad(x, pads=((0, 0),) * (len(x.shape) - 1) + ((edge, edge),), mode="reflect")
    frames = extract_sequences(b, x, fft_length, sequence_stride)
    shape = _window(b, window, sequence_length, fft_length, kind_of(x))
    return rfft(b, frames if shape is None else b.mul(frames, b.constant(shape)), fft_length)


def _overlapped(b: Builder, frames: Var, step: int) -> Var:
    """Frames (..., count, length) added up, each `step` behind the one before."""
    count, length = (fixed(d, "the number of frames") for d in frames.shape[-2:])
    total = (count - 1) * step + length
    places = (np.arange(count)[:, None] * step + np.arange(length)).reshape(-1)
    return b.scatter_rows(  # type: ignore[no-any-return]
        b.reshape(frames, shape=(*frames.shape[:-2], count * length)), b.constant(places), size=total,
        axis=len(frames.shape) - 2,
    )  # fmt: skip


@operation("ISTFT")
def istft(
    b: Builder, x: Any, sequence_length: int, sequence_stride: int, fft_length: int, length: int | None = None,
    window: Any = "hann", center: bool = True,
) -> Var:  # fmt: skip
    """The signal of which `stft` makes these spectra, the window divided out where frames overlap."""
    frames = irfft(b, x, fft_length)
    shape = _window(b, window, sequence_length, fft_length, kind_of(frames))
    if shape is not None:
        frames = b.mul(frames, b.constant(_inverse_window(shape, sequence_stride)))
    y = _overlapped(b, frames, sequence_stride)
    start = fft_length // 2 if center else 0
    end = start + length if length is not None else -(fft_length // 2) if center else END
    return b.slice(y, starts=(start,), ends=(end,), axes=(-1,))  # type: ignore[no-any-return]


def _inverse_window(window: Any, step: int) -> Any:
    """The window over the sum of the squares of all that lie over a place (tf.signal.inverse_stft_window_fn)."""
    size = len(window)
    overlaps = -(-size // step)
    squares = np.pad(window.astype(np.float64) ** 2, (0, overlaps * step - size)).reshape(overlaps, step).sum(0)
    total = np.tile(squares, overlaps)[:size]
    return (window / total).astype(window.dtype)


# ---- special functions ----------------------------------------------------------------------------------------


def _erfc(b: Builder, x: Any) -> Any:
    """1 - erf(x); away from 0 by the fit of Press et al. (erfcc), of relative error 1.2e-7."""
    t = Term(b, tensor(b, x))
    size = t.abs()
    s = (size * 0.5 + 1.0).reciprocal()
    fit = polynomial(
        s, 0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196,
        1.00002368, -1.26551223,
    )  # fmt: skip
    far = s * (fit - size.square()).exp()
    return where(size < 0.5, 1.0 - t.erf(), where(t < 0, 2.0 - far, far))


_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
           -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
         1.00167406, 2.83297682)  # fmt: skip


def _erfinv(b: Builder, x: Any) -> Any:
    """The fit of Giles 2012 ("Approximating the erfinv function"), and two steps of Newton in float64."""
    given = Term(b, tensor(b, x))
    t = given.to("float64")
    w = -((1.0 - t) * (1.0 + t)).log()
    near, far = polynomial(w - 2.5, *_CENTRE), polynomial(w.maximum(5.0).sqrt() - 3.0, *_TAIL)
    y = t * where(w < 5.0, near, far)
    for _ in range(2):
        y = y - (y.erf() - t) * (y.square().exp() * (np.sqrt(np.pi) / 2))
    edge = t.abs()
    y = where(edge.equal(1.0), t.sign() * np.inf, where(edge > 1.0, np.nan, y))
    return y.to(given.dtype)


rows(FAMILY, {
    "Rsqrt": lambda b, x: b.rsqrt(tensor(b, x)), "Erf": lambda b, x: b.erf(tensor(b, x)), "Erfc": _erfc,
    "Erfinv": _erfinv,
})  # fmt: skip


@operation("ViewAsComplex")
def view_as_complex(b: Builder, x: Any) -> Var:
    return as_complex(b, *_part(b, tensor(b, x)))


@operation("ViewAsReal")
def view_as_real(b: Builder, x: Any) -> Var:
    x = tensor(b, x)
    return _join(b, (real(b, x), imag(b, x)))


@operation("Logdet")
def logdet(b: Builder, x: Any) -> Any:
    """log det of positive definite matrices, from their Cholesky factors."""
    return _diagonal_of(Term(b, b.cholesky(tensor(b, x)))).log().reduce_sum(axes=(-1,)) * 2.0


def _diagonal_of(x: Term) -> Term:
    return Term(x.b, diagonal(x.b, x.var, 0, -2, -1))


def _parity(order: Term) -> Any:
    """-1 to the number of pairs of a permutation that stand in the wrong order."""
    size = fixed(order.shape[-1], "the size of the matrix")
    later = np.triu(np.ones((size, size), bool), 1)
    wrong = (order.unsqueeze(axes=(-1,)) > order.unsqueeze(axes=(-2,))) & later
    return 1 - (wrong.to("int32").reduce_sum(axes=(-2, -1)) % 2) * 2


def _slogdet(b: Builder, x: Any) -> list[Any]:
    """The sign of the determinant and the logarithm of its size."""
    factors, order = b.lu(tensor(b, x))
    on = _diagonal_of(Term(b, factors))
    sign = on.sign().reduce_prod(axes=(-1,)) * _parity(Term(b, order)).to(on.dtype)
    return [sign, on.abs().log().reduce_sum(axes=(-1,))]


rows("numpy", {"Slogdet": _slogdet})
