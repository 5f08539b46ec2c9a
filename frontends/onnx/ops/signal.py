"""Signals: Fourier transforms and the filters of speech recognition."""

from __future__ import annotations

import math

import numpy as np

from ....ir.graph import Var
from ....ir.types import f64, i64
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx


@onnx("DFT", since=17)
def dft_attribute(
    b: Lowering, input: Var, dft_length: Var | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Var:
    return b.dft(input, axis=axis, length=dft_length, inverse=inverse, onesided=onesided)


@onnx("DFT", since=20)
def dft(
    b: Lowering, input: Var, dft_length: Var | None = None, axis: Var | None = None, *, inverse: int = 0,
    onesided: int = 0,
) -> Var:  # fmt: skip
    return b.dft(input, axis=-2 if axis is None else axis, length=dft_length, inverse=inverse, onesided=onesided)


@onnx("STFT", since=17)
def stft(
    b: Lowering, signal: Var, frame_step: Var, window: Var | None = None, frame_length: Var | None = None, *,
    onesided: int = 1,
) -> Var:  # fmt: skip
    """Frames of the signal (batch, length, 1 or 2), weighted by a window, transformed: (batch, frames, places, 2)."""
    length = b.count(b.dim(signal, 1))
    size = length if window is None else b.count(b.dim(window, 0))
    size = size if frame_length is None else _scalar(b, frame_length)
    starts = b.range(np.int64(0), b.add(b.sub(length, size), np.int64(1)), _scalar(b, frame_step))
    places = b.add(b.unsqueeze(starts, axes=(1,)), b.range(np.int64(0), size, np.int64(1)))
    frames = b.gather(signal, places, axis=1)
    if window is not None:
        frames = b.mul(frames, b.unsqueeze(window, axes=(1,)))
    return b.dft(frames, axis=2, onesided=onesided)


def _scalar(b: Lowering, v: Var) -> Var:
    """A number as an i64 scalar."""
    v = b.reshape(v, shape=()) if v.shape else v
    return v if v.tensor.dtype is i64 else b.cast(v, to=i64)


@onnx("MelWeightMatrix", since=17)
def mel_weight_matrix(
    b: Lowering, num_mel_bins: Var, dft_length: Var, sample_rate: Var, lower_edge_hertz: Var, upper_edge_hertz: Var, *,
    output_datatype: int = 1,
) -> Var:  # fmt: skip
    """Triangles over the places of a spectrum, evenly spaced in mel = 2595 log10(1 + f / 700); in float64."""
    count, length = _scalar(b, num_mel_bins), _scalar(b, dft_length)
    edges = (b.reshape(b.cast(v, to=f64), shape=()) for v in (lower_edge_hertz, upper_edge_hertz))
    low, high = (b.mul(b.log1p(b.div(v, 700.0)), 2595 / math.log(10)) for v in edges)
    number = b.cast(b.range(np.int64(0), b.add(count, 2), np.int64(1)), to=f64)
    step = b.div(b.sub(high, low), b.cast(b.add(count, 2), to=f64))
    hertz = b.mul(b.expm1(b.mul(b.add(b.mul(number, step), low), math.log(10) / 2595)), 700.0)
    rate = b.reshape(b.cast(sample_rate, to=f64), shape=())
    place = b.floor(b.div(b.mul(hertz, b.cast(b.add(length, 1), to=f64)), rate))
    left, centre, right = (
        b.slice(place, starts=(i,), ends=(i - 2 if i < 2 else 2**31 - 1,), axes=(0,)) for i in range(3)
    )
    rows = b.cast(b.range(np.int64(0), b.add(b.floor_div(length, 2), 1), np.int64(1)), to=f64)
    j = b.unsqueeze(rows, axes=(1,))
    rising = b.where(b.equal(left, centre), _step(b, b.less(j, centre)), _share(b, j, left, centre))
    falling = b.where(b.equal(right, centre), _step(b, b.greater(j, centre)), _share(b, j, right, centre))
    return b.cast(b.maximum(b.minimum(rising, falling), 0.0), to=elem_type(output_datatype))


def _share(b: Lowering, j: Var, edge: Var, centre: Var) -> Var:
    """How far j is on the way from the edge to the centre; anything where they are the same."""
    way = b.sub(centre, edge)
    return b.div(b.sub(j, edge), b.where(b.equal(way, 0.0), np.ones(()), way))


def _step(b: Lowering, outside: Var) -> Var:
    """0 outside of a triangle whose edge is its centre, 1 inside."""
    return b.where(outside, np.zeros(()), np.ones(()))
