"""Spectrograms of audio signals.  Formulas: keras/src/layers/preprocessing, keras/src/backend/tensorflow/math.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Builder, Tensor, Var
from ..ir.shapes import dim, vector
from .base import Layer, Weight, as_dtype, is_float, layer

if TYPE_CHECKING:
    from .lowering import Scope

Array = np.ndarray[Any, Any]
EPSILON = 1e-7  # keras.config.epsilon()

WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}  # of tf.signal: a - b cos(2 pi n / N)


def periodic_window(name: str, size: int) -> Array:
    """A window of tf.signal, periodic, but for odd sizes symmetric; one of a single place is 1."""
    a, b = WINDOWS[name]
    return a - b * np.cos(2 * np.pi * np.arange(size) / (size - size % 2)) if size > 1 else np.ones(1)


def mel_matrix(bins: int, places: int, rate: float, low: float, high: float) -> Array:
    """f32 (places, bins): triangles over the places of a spectrum, evenly spaced in mel = 1127 ln(1 + f / 700)."""

    def mel(hertz: Any) -> Any:
        return np.float32(1127.0) * np.log(np.float32(1) + np.float32(hertz) / np.float32(700.0))

    own = mel(np.linspace(0, rate / 2, places, dtype=np.float32)[1:, None])
    edges = np.linspace(mel(low), mel(high), bins + 2, dtype=np.float32)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    inside = np.minimum((own - left) / (centre - left), (right - own) / (right - centre))
    return np.pad(np.maximum(np.float32(0), inside), [[1, 0], [0, 0]]).astype(np.float32)


@layer
class MelSpectrogram(Layer):
    """Signals (..., T) as mel-scaled spectra (..., num_mel_bins, frames), in decibels below the loudest by default.

    Frames of sequence_length around every sequence_stride-th sample (the signal mirrored at both ends), weighted by a
    window, go through a Fourier transform of fft_length points; magnitudes to the power mag_exp are summed over mel
    bands, and power_to_db makes them 10 log10(x / ref_power), at least min_power and top_db below the largest of the
    whole batch (top_db=None: however far below; Keras 3.15 fails on it).
    """

    fft_length: int = 2048
    sequence_stride: int = 512
    sequence_length: int | None = None
    window: Any = "hann"
    sampling_rate: float = 16000
    num_mel_bins: int = 128
    min_freq: float = 20.0
    max_freq: float | None = None
    power_to_db: bool = True
    top_db: float | None = 80.0
    mag_exp: float = 2.0
    min_power: float = 1e-10
    ref_power: float = 1.0

    def check(self) -> None:
        self.sequence_length = self.sequence_length or self.fft_length
        self.max_freq = self.max_freq or int(self.sampling_rate / 2)
        if self.fft_length < self.sequence_length:
            raise self.invalid(f"fft_length={self.fft_length} is less than sequence_length={self.sequence_length}")
        if isinstance(self.window, str) and self.window not in WINDOWS:
            self.refuse("window", f"one of {', '.join(WINDOWS)}, a list of numbers, or None")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        wide = as_dtype(b, x, "float64" if self.compute_dtype == "float64" else "float32")
        spectrum = b.dft(b.unsqueeze(self._frames(b, wide), axes=(-1,)), axis=-2, onesided=True)
        magnitude = b.sqrt(b.reduce_sum(b.square(spectrum), axes=(-1,)))
        assert self.max_freq is not None
        matrix = mel_matrix(
            self.num_mel_bins, self.fft_length // 2 + 1, self.sampling_rate, self.min_freq, self.max_freq
        )
        y = b.matmul(b.pow(magnitude, self.mag_exp), b.constant(matrix, dtype=wide.tensor.dtype.numpy))
        return as_dtype(b, b.swap(self._decibels(b, y) if self.power_to_db else y), self.compute_dtype)

    def _frames(self, b: Builder, x: Var) -> Var:
        """(..., frames, fft_length): pieces of the mirrored signal, times the window in their middle."""
        size, half, last = self.fft_length, self.fft_length // 2, len(x.shape) - 1
        x = b.pad(x, pads=((0, 0),) * last + ((half, half),), mode="reflect")
        limit = b.sub(b.gather(b.shape(x), np.int64(last)), np.int64(size - 1))
        starts = b.range(np.int64(0), limit, np.int64(self.sequence_stride))
        frames = b.gather(x, b.add(b.unsqueeze(starts, axes=(1,)), np.arange(size, dtype=np.int64)), axis=last)
        return frames if self.window is None else b.mul(frames, self._window().astype(x.tensor.dtype.numpy))

    def _window(self) -> Array:
        """fft_length numbers, zeros around those of the window."""
        assert self.sequence_length is not None
        window = np.asarray(self.window, np.float64) if not isinstance(self.window, str) else None
        window = periodic_window(self.window, self.sequence_length) if window is None else window
        if window.shape != (self.sequence_length,):
            raise self.invalid(f"the window has the shape {window.shape}, sequence_length is {self.sequence_length}")
        before = (self.fft_length - self.sequence_length) // 2
        return np.pad(window, (before, self.fft_length - self.sequence_length - before))

    def _decibels(self, b: Builder, x: Var) -> Var:
        reference = 10 * math.log10(max(abs(self.ref_power), self.min_power))
        level = b.affine(b.log(b.maximum(x, self.min_power)), alpha=10 / math.log(10), beta=-reference)
        if self.top_db is None:
            return level  # type: ignore[no-any-return]
        return b.maximum(level, b.sub(b.reduce_max(level), self.top_db))  # type: ignore[no-any-return]


MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


@layer
class STFTSpectrogram(Layer):
    """Signals (N, T, C) as spectra of frames, computed as convolutions whose kernels are trained like others.

    The result is (N, frames, C * bands), with expand_dims (N, frames, bands, C); by data_format channels_first, of
    (N, C, T), (N, C * bands, frames) or (N, C, frames, bands).
    """

    mode: str = "log"
    frame_length: int = 256
    frame_step: int | None = None
    fft_length: int | None = None
    window: Any = "hann"
    periodic: bool = False
    scaling: str | None = "density"
    padding: str = "valid"
    expand_dims: bool = False
    data_format: str | None = None

    def check(self) -> None:
        for key, values in (
            ("mode", MODES), ("padding", ("valid", "same")), ("scaling", (None, "density", "spectrum")),
        ):  # fmt: skip
            if getattr(self, key) not in values:
                self.refuse(key, f"one of {', '.join(map(str, values))}")
        if self.frame_step is not None and not 1 <= self.frame_step <= self.frame_length:
            self.refuse("frame_step", "an integer from 1 to frame_length")
        if self.fft_length is not None and self.fft_length < self.frame_length:
            self.refuse("fft_length", "an integer that is not less than frame_length")

    @property
    def bands(self) -> int:
        """The number of frequencies: half of the transform's length, and one."""
        length = self.fft_length or 2 ** math.ceil(math.log2(self.frame_length))
        return length // 2 + 1

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        for side, unused in (("real", "imag"), ("imag", "real")):
            if self.mode != unused:
                config = {"window": self.window, "scaling": self.scaling, "periodic": self.periodic}
                made = {"module": "keras.initializers", "class_name": "STFT", "config": {"side": side, **config}}
                yield Weight(f"{side}_kernel", (self.frame_length, 1, self.bands), made)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if len(x.shape) != 3 or not is_float(x):
            raise self.invalid(f"expected floats (N, T, C) or (N, C, T), got {x.type}")
        signal = x if self.data_format == "channels_first" else b.swap(x)
        parts = [self._convolved(b, signal, getattr(w, p.name)) for p in self.weights()]
        return self._arranged(b, self._result(b, parts))

    def _convolved(self, b: Builder, x: Var, kernel: Var) -> Var:
        """(N, C, T) -> (N, C, frames, bands): each channel for itself."""
        n, count, size = (dim(b, x, i) for i in range(3))
        step = self.frame_step or self.frame_length // 2
        flat = b.reshape(x, shape=vector(b, (-1, size, 1)))
        y = b.conv(flat, kernel, strides=(step,), dilations=(1,), padding=self.padding)
        return b.reshape(y, shape=vector(b, (n, count, dim(b, y, 1), self.bands)))  # type: ignore[no-any-return]

    def _result(self, b: Builder, parts: list[Var]) -> Var:
        """What the mode asks for, of the real and the imaginary part (N, C, frames, bands)."""
        if self.mode in ("real", "imag"):
            return parts[0]
        real, imag = parts
        if self.mode == "angle":
            return b.atan2(imag, real)  # type: ignore[no-any-return]
        if self.mode == "stft":
            return b.concat(real, imag, axis=3)  # type: ignore[no-any-return]
        power = b.add(b.square(real), b.square(imag))
        if self.mode == "psd":  # all bands but the first and the last stand for two
            inner = b.slice(power, starts=(1,), ends=(self.bands - 1,), axes=(3,))
            return b.add(power, b.pad(inner, pads=((0, 0), (0, 0), (0, 0), (1, 1))))  # type: ignore[no-any-return]
        magnitude = b.sqrt(b.maximum(power, EPSILON))
        return b.log(b.maximum(magnitude, EPSILON)) if self.mode == "log" else magnitude  # type: ignore[no-any-return]

    def _arranged(self, b: Builder, y: Var) -> Var:
        """(N, C, frames, bands) in the layout asked for."""
        if self.expand_dims:
            return y if self.data_format == "channels_first" else b.transpose(y, perm=(0, 2, 3, 1))
        y = b.reshape(b.swap(y), shape=vector(b, (dim(b, y, 0), -1, dim(b, y, 2))))
        return y if self.data_format == "channels_first" else b.swap(y)
