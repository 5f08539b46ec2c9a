"""Signals.  Complex numbers are pairs along the last axis: [..., 1] is real, [..., 2] real and imaginary part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..attributes import Dim
from ..op import axis_of, op, require
from ..types import Tensor


def dft_length(size: Dim, length: Dim | None, inverse: bool, onesided: bool) -> Dim:
    """The number of points of a transform: by default all of the axis, or what a half spectrum stands for."""
    if length is not None:
        return length
    return 2 * (size - 1) if inverse and onesided else size


def _mixes(rank: int, *, axis: int, **_: Any) -> Iterable[int]:
    return (axis % rank, rank - 1)


@op(mixes=_mixes)
def dft(
    x: Tensor, *, axis: int = -2, length: Dim | None = None, inverse: bool = False, onesided: bool = False
) -> Tensor:
    """The discrete Fourier transform along an axis: y[k] = sum over n of exp(-2 pi i k n / N) x[n].

    inverse: with the other sign, divided by N.  x is cut or filled up with zeros to `length` N.  onesided: only the
    first N // 2 + 1 places of a real signal's spectrum are computed, or (inverse) given (numpy.fft.rfft, irfft).
    """
    a = axis_of(axis, x.rank)
    require(x.rank >= 2 and a != x.rank - 1, f"axis {axis} of {x} is not one of the signal")
    require(x.dims[-1] in (1, 2) or not isinstance(x.dims[-1], int), f"the last axis of {x} is no complex number")
    n = dft_length(x.dims[a], length, inverse, onesided)
    shape = list(x.dims)
    shape[a] = n // 2 + 1 if onesided and not inverse else n
    shape[-1] = 1 if onesided and inverse else 2
    return Tensor(x.dtype, tuple(shape))
