"""Signals: NumPy's Fourier transforms."""

from __future__ import annotations

import numpy as np

from ....ir.ops.signal import dft_length
from ..registry import Array, function
from .rows import wide_dtype


@function
def dft(x: Array, *, axis: int, length: int | None, inverse: bool, onesided: bool) -> Array:
    axis %= x.ndim
    n: int = dft_length(x.shape[axis], length, inverse, onesided)  # type: ignore[assignment]
    wide = x.astype(wide_dtype(x.dtype), copy=False)
    real = wide[..., 0]
    signal = real + 1j * wide[..., 1] if x.shape[-1] == 2 else real
    if onesided and inverse:
        return np.fft.irfft(signal, n, axis)[..., None].astype(x.dtype, copy=False)
    if onesided and np.isrealobj(signal):
        y = np.fft.rfft(signal, n, axis)
    else:
        y = (np.fft.ifft if inverse else np.fft.fft)(signal, n, axis)
    if onesided and y.shape[axis] != n // 2 + 1:
        y = np.take(y, range(n // 2 + 1), axis)
    return np.stack((y.real, y.imag), -1).astype(x.dtype, copy=False)
