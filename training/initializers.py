"""First values of weights: Keras' initialisers in NumPy.

    INITIALIZERS.get("glorot_uniform")(shape, "float32", np.random.default_rng(0))

An initialiser with a `seed` of its own leaves the caller's generator alone: with a number it gives the same values at
every call, with a serialised `keras.random.SeedGenerator` it goes on in its own sequence, as in Keras.  The numbers
drawn are NumPy's, so they are distributed as Keras' are without being equal to them.
Formulas: keras/src/initializers/random_initializers.py and constant_initializers.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir import dtype as ir_dtype
from .objects import Table

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Generator = np.random.Generator

# the deviation of a standard normal number given that it is within two deviations
TRUNCATED_DEVIATION = 0.87962566103423978
TRUNCATION = 2.0


class Initializer:
    """Makes the first elements of a weight."""

    def __call__(self, shape: Sequence[int], dtype: Any, rng: Generator) -> Array:
        """An array of the shape and dtype (a name such as "float32"); random numbers come from rng."""
        return self.values(tuple(shape), rng).astype(ir_dtype(dtype).numpy)

    def values(self, shape: Shape, rng: Generator) -> Array:
        """The elements, in float64."""
        raise NotImplementedError


INITIALIZERS: Table[Initializer] = Table("initializer", "keras.initializers")


def get(identifier: Any) -> Any:
    """What a name, class, serialised dict, array or object stands for: a function of (shape, dtype, rng).

    None is None, functions are returned as they are; an array has to have the weight's shape.
    """
    if isinstance(identifier, (np.ndarray, np.generic)):
        return _given(np.asarray(identifier))
    known = identifier is None or (callable(identifier) and not isinstance(identifier, type))
    return identifier if known else INITIALIZERS.get(identifier)


def _given(array: Array) -> Callable[..., Array]:
    def values(shape: Sequence[int], dtype: Any, rng: Generator) -> Array:
        if tuple(shape) != array.shape:
            raise ShapeError(f"a weight of shape {tuple(shape)} has an array of shape {array.shape} as initializer")
        return array.astype(ir_dtype(dtype).numpy)

    return values


# ---- constants ------------------------------------------------------------------------------------------------


@INITIALIZERS.entry("zero")
class Zeros(Initializer):
    """0 everywhere."""

    def values(self, shape: Shape, rng: Generator) -> Array:
        return np.zeros(shape)


@INITIALIZERS.entry("one")
class Ones(Initializer):
    """1 everywhere."""

    def values(self, shape: Shape, rng: Generator) -> Array:
        return np.ones(shape)


@INITIALIZERS.entry()
class Constant(Initializer):
    """A number everywhere, or an array that broadcasts to the shape."""

    value: Any = 0.0

    def __post_init__(self) -> None:
        """Arrays are kept as Keras writes them."""
        if isinstance(self.value, np.ndarray) and self.value.ndim:
            config = {"value": self.value.tolist(), "dtype": self.value.dtype.name}
            self.value = {"class_name": "__numpy__", "config": config}

    def values(self, shape: Shape, rng: Generator) -> Array:
        value = self.value["config"]["value"] if isinstance(self.value, Mapping) else self.value
        return np.broadcast_to(np.asarray(value), shape)


@INITIALIZERS.entry("IdentityInitializer")
class Identity(Initializer):
    """gain on the diagonal of a matrix, 0 elsewhere."""

    gain: float = 1.0

    def values(self, shape: Shape, rng: Generator) -> Array:
        if len(shape) != 2:
            raise ShapeError(f"initializer Identity makes matrices, not a weight of shape {shape}")
        return self.gain * np.eye(*shape)


# ---- random numbers -------------------------------------------------------------------------------------------


class Random(Initializer):
    """What draws random numbers; `seed` is None, a number, or a serialised SeedGenerator."""

    seed: Any
    _sequence: Generator | None = None

    def __call__(self, shape: Sequence[int], dtype: Any, rng: Generator) -> Array:
        if not ir_dtype(dtype).is_float:
            name = type(self).__name__
            raise UnsupportedError(f"initializer {name} makes floating-point numbers, not {dtype}", op=name)
        return super().__call__(shape, dtype, self._generator(rng))

    def _generator(self, rng: Generator) -> Generator:
        if self.seed is None:
            return rng
        if not isinstance(self.seed, Mapping):
            return np.random.default_rng(self.seed)
        if self._sequence is None:
            self._sequence = np.random.default_rng(self.seed["config"].get("seed"))
        return self._sequence


def truncated(shape: Shape, rng: Generator) -> Array:
    """Standard normal numbers; those beyond two deviations are drawn anew."""
    x = rng.standard_normal(shape)
    outside = np.abs(x) > TRUNCATION
    while outside.any():
        x[outside] = rng.standard_normal(np.count_nonzero(outside))
        outside = np.abs(x) > TRUNCATION
    return x


@INITIALIZERS.entry("normal")
class RandomNormal(Random):
    """Normal numbers."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: Any = None

    def values(self, shape: Shape, rng: Generator) -> Array:
        return self.mean + self.stddev * rng.standard_normal(shape)


@INITIALIZERS.entry()
class TruncatedNormal(Random):
    """Normal numbers within two deviations of the mean; their own deviation is smaller than stddev."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: Any = None

    def values(self, shape: Shape, rng: Generator) -> Array:
        return self.mean + self.stddev * truncated(shape, rng)


@INITIALIZERS.entry("uniform")
class RandomUniform(Random):
    """Uniform numbers in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: Any = None

    def values(self, shape: Shape, rng: Generator) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


@INITIALIZERS.entry("OrthogonalInitializer")
class Orthogonal(Random):
    """gain times a matrix with orthonormal columns (rows, where there are fewer): Q of a normal matrix.

    The axes before the last are the rows.  Columns of Q take the signs of R's diagonal, so that all orthogonal
    matrices are equally likely (Saxe et al. 2014).
    """

    gain: float = 1.0
    seed: Any = None

    def values(self, shape: Shape, rng: Generator) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"initializer Orthogonal needs at least two axes, not the shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diag(r))
        return self.gain * (q.T if rows < columns else q).reshape(shape)


# ---- variance scaling -----------------------------------------------------------------------------------------

FANS: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}

# name -> numbers of a given variance
DISTRIBUTIONS: dict[str, Callable[[Shape, Generator, float], Array]] = {
    "uniform": lambda shape, rng, variance: rng.uniform(-math.sqrt(3 * variance), math.sqrt(3 * variance), shape),
    "truncated_normal": lambda shape, rng, variance: (
        truncated(shape, rng) * (math.sqrt(variance) / TRUNCATED_DEVIATION)
    ),
    "untruncated_normal": lambda shape, rng, variance: rng.standard_normal(shape) * math.sqrt(variance),
}


def compute_fans(shape: Shape, input_axes: Any = None, output_axes: Any = None) -> tuple[int, int]:
    """How many inputs and outputs a unit of a weight has: (fan_in, fan_out).

    The last two axes are inputs and outputs, those before them (a kernel's places) multiply both; with both lists
    of axes given, the products of their sizes.
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    places = math.prod(shape[:-2])
    return shape[-2] * places, shape[-1] * places


class Scaling(Random):
    """Numbers of variance scale / n, n the fan of the mode."""

    input_axes: Any
    output_axes: Any

    def settings(self) -> tuple[float, str, str]:
        """Scale, mode and distribution."""
        raise NotImplementedError

    def values(self, shape: Shape, rng: Generator) -> Array:
        scale, mode, distribution = self.settings()
        fan = FANS[mode](*compute_fans(shape, self.input_axes, self.output_axes))
        return DISTRIBUTIONS[distribution](shape, rng, scale / max(1.0, fan))


@INITIALIZERS.entry()
class VarianceScaling(Scaling):
    """Numbers of variance scale / n, from a distribution of choice."""

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None

    def __post_init__(self) -> None:
        self.distribution = self.distribution.lower()
        if self.distribution == "normal":
            self.distribution = "truncated_normal"
        for key, known in (("mode", FANS), ("distribution", DISTRIBUTIONS)):
            if getattr(self, key) not in known:
                hint = f"one of {', '.join(known)}"
                raise UnsupportedError(f"initializer VarianceScaling: {key}={getattr(self, key)!r}", hint=hint)
        if self.scale <= 0:
            raise UnsupportedError(f"initializer VarianceScaling: scale={self.scale} is not positive")

    def settings(self) -> tuple[float, str, str]:
        return self.scale, self.mode, self.distribution


@dataclasses.dataclass(eq=False)
class _Named(Scaling):
    """Variance scaling with settings fixed by the class."""

    seed: Any = None
    input_axes: Any = None
    output_axes: Any = None
    fixed: ClassVar[tuple[float, str, str]]

    def settings(self) -> tuple[float, str, str]:
        return self.fixed


@INITIALIZERS.entry()
class GlorotUniform(_Named):
    """Uniform in ±sqrt(6 / (fan_in + fan_out)); Glorot & Bengio 2010."""

    fixed: ClassVar[tuple[float, str, str]] = (1.0, "fan_avg", "uniform")


@INITIALIZERS.entry()
class GlorotNormal(_Named):
    """Truncated normal with variance 2 / (fan_in + fan_out); Glorot & Bengio 2010."""

    fixed: ClassVar[tuple[float, str, str]] = (1.0, "fan_avg", "truncated_normal")


@INITIALIZERS.entry()
class HeUniform(_Named):
    """Uniform in ±sqrt(6 / fan_in); He et al. 2015."""

    fixed: ClassVar[tuple[float, str, str]] = (2.0, "fan_in", "uniform")


@INITIALIZERS.entry()
class HeNormal(_Named):
    """Truncated normal with variance 2 / fan_in; He et al. 2015."""

    fixed: ClassVar[tuple[float, str, str]] = (2.0, "fan_in", "truncated_normal")


@INITIALIZERS.entry()
class LecunUniform(_Named):
    """Uniform in ±sqrt(3 / fan_in); Klambauer et al. 2017."""

    fixed: ClassVar[tuple[float, str, str]] = (1.0, "fan_in", "uniform")


@INITIALIZERS.entry()
class LecunNormal(_Named):
    """Truncated normal with variance 1 / fan_in; Klambauer et al. 2017."""

    fixed: ClassVar[tuple[float, str, str]] = (1.0, "fan_in", "truncated_normal")


# ---- Fourier kernels ------------------------------------------------------------------------------------------


def _cosines(*factors: float) -> Callable[[Array, int], Array]:
    """The window sum over k of factors[k] cos(k pi t)."""
    return lambda t, size: sum(f * np.cos(k * np.pi * t) for k, f in enumerate(factors))  # type: ignore[return-value]


def _parzen(t: Array, size: int) -> Array:
    u = np.abs(t) * (size - 1) / size
    return np.where(np.abs(t) <= 0.5, 1 - 6 * u**2 + 6 * u**3, 2 * (1 - u) ** 3)


# windows by SciPy's names, as functions of t (from -1 to 1) and of their size (scipy/signal/windows/_windows.py)
WINDOWS: dict[str, Callable[[Array, int], Array]] = {
    "boxcar": _cosines(1.0),
    "hann": _cosines(0.5, 0.5),
    "hamming": _cosines(0.54, 0.46),
    "blackman": _cosines(0.42, 0.5, 0.08),
    "blackmanharris": _cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "nuttall": _cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "flattop": _cosines(0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "bartlett": lambda t, size: 1 - np.abs(t),
    "triang": lambda t, size: 1 - np.abs(t) * (size - 1) / (size + size % 2),
    "cosine": lambda t, size: np.cos(np.pi / 2 * t * (size - 1) / size),
    "barthann": lambda t, size: 0.62 - 0.24 * np.abs(t) + 0.38 * np.cos(np.pi * t),
    "bohman": lambda t, size: (1 - np.abs(t)) * np.cos(np.pi * t) + np.sin(np.pi * np.abs(t)) / np.pi,
    "lanczos": lambda t, size: np.sinc(t),
    "parzen": _parzen,
}

SCALINGS: dict[Any, Callable[[Array], Any]] = {
    None: lambda window: 1.0,
    "density": lambda window: np.sqrt(np.sum(window**2)),
    "spectrum": lambda window: np.sum(np.abs(window)),
}

SIDES: dict[str, Callable[[Array], Array]] = {"real": np.cos, "imag": np.sin}


@INITIALIZERS.entry("STFTInitializer")
class STFT(Initializer):
    """The real or imaginary part of a short-term Fourier transform as a kernel (T, 1, F / 2 + 1).

    `window` is a name of WINDOWS, T numbers, or None for no window (and then no scaling).
    """

    side: str = "real"
    window: Any = "hann"
    scaling: str | None = "density"
    periodic: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.window, np.ndarray):
            self.window = self.window.tolist()
        known: dict[str, dict[Any, Any]] = {
            "side": SIDES,
            "scaling": SCALINGS,
            **({"window": WINDOWS} if isinstance(self.window, str) else {}),
        }
        for key, values in known.items():
            if getattr(self, key) not in values:
                hint = f"one of {', '.join(map(str, values))}" + (", or a list of its values" * (key == "window"))
                raise UnsupportedError(f"initializer STFT: {key}={getattr(self, key)!r}", hint=hint)

    def values(self, shape: Shape, rng: Generator) -> Array:
        if len(shape) != 3:
            raise ShapeError(f"initializer STFT makes kernels (T, 1, F / 2 + 1), not a weight of shape {shape}")
        steps, bands = shape[0], shape[2]
        angles = -2 * np.pi * np.outer(np.arange(steps), np.arange(bands)) / (2 * (bands - 1))
        kernel = SIDES[self.side](angles)
        if self.window is not None:
            window = self._window(steps)
            kernel = kernel * window[:, None] / SCALINGS[self.scaling](window)
        return np.broadcast_to(kernel[:, None], shape)

    def _window(self, size: int) -> Array:
        """The elements of the window; a periodic one is the start of a symmetric one that is longer by 1."""
        if not isinstance(self.window, str):
            given = self.window["config"]["value"] if isinstance(self.window, Mapping) else self.window
            window = np.asarray(given, np.float64)
            if window.shape != (size,):
                raise ShapeError(f"initializer STFT: the window has the shape {window.shape}, the kernel {size} steps")
            return window
        if size == 1:
            return np.ones(1)
        whole = size + self.periodic
        return WINDOWS[self.window](np.linspace(-1, 1, whole), whole)[:size]
