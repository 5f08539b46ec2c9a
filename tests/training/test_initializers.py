"""Initialisers against Keras: distributions by their moments and by the Kolmogorov-Smirnov distance, others exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tenun.errors import ShapeError, UnsupportedError
from tenun.training import initializers
from tenun.training.initializers import INITIALIZERS, WINDOWS, compute_fans

from .tables import gaps, round_trip

SCALED = ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal")
MODES = [(mode, d) for mode in ("fan_in", "fan_out", "fan_avg") for d in ("uniform", "normal", "untruncated_normal")]

# class name -> configs; every class of the table has one
RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 2.0}),
    ("TruncatedNormal", {}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 0.5}),
    ("RandomUniform", {}),
    ("RandomUniform", {"minval": 1.0, "maxval": 3.0}),
    *[(name, {}) for name in SCALED],
    ("HeNormal", {"input_axes": [0], "output_axes": [1, 2]}),
    *[("VarianceScaling", {"scale": 0.7, "mode": mode, "distribution": d}) for mode, d in MODES],
]
EXACT: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("Zeros", {}, (3, 2)),
    ("Ones", {}, (3, 2)),
    ("Constant", {}, (3,)),
    ("Constant", {"value": 0.3}, (3, 2)),
    ("Constant", {"value": np.arange(3.0)}, (2, 3)),
    ("Identity", {"gain": 2.5}, (3, 4)),
    *[("STFT", {"side": s, "scaling": c}, (8, 1, 9)) for s in ("real", "imag") for c in ("density", "spectrum", None)],
    *[("STFT", {"window": w, "periodic": p}, (n, 1, 5)) for w in WINDOWS for n, p in ((8, True), (9, False))],
    ("STFT", {"window": None}, (5, 1, 4)),
    ("STFT", {"window": [0.1, 0.5, 1.0, 0.2]}, (4, 1, 4)),
]
SHAPE = (4, 60, 500)


def of(name: str, config: dict[str, Any]) -> Any:
    return INITIALIZERS.classes[name](**config)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_initializer_of_keras(keras: Any) -> None:
    assert gaps(keras, INITIALIZERS, "initializers", "Initializer") == {}
    tested = {name for name, *_ in (*RANDOM, *EXACT)} | {"Orthogonal"}
    assert set(INITIALIZERS.classes) == tested


@pytest.mark.parametrize(("name", "config"), RANDOM)
def test_distribution(keras: Any, name: str, config: dict[str, Any]) -> None:
    """120 000 numbers of each: means and deviations within 5 standard errors, distance below the 0.1 % quantile."""
    ours = of(name, config)(SHAPE, "float32", rng())
    theirs = np.asarray(getattr(keras.initializers, name)(**config, seed=1)(SHAPE))
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    x, y = np.sort(ours.ravel()), np.sort(theirs.ravel())
    n, deviation = len(x), theirs.std()
    assert abs(x.mean() - y.mean()) < 5 * deviation * np.sqrt(2 / n)
    assert abs(x.std() / deviation - 1) < 5 / np.sqrt(n)
    places = np.concatenate([x, y])
    distance = np.abs(np.searchsorted(x, places, "right") - np.searchsorted(y, places, "right")).max() / n
    assert distance < 1.95 * np.sqrt(2 / n)
    if "untruncated" not in str(config) and name != "RandomNormal":  # bounded: by the same bounds
        np.testing.assert_allclose([x[0], x[-1]], [y[0], y[-1]], atol=2e-3 * deviation)


@pytest.mark.parametrize(("name", "config", "shape"), EXACT)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values(keras: Any, name: str, config: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
    ours = of(name, config)(shape, dtype, rng())
    theirs = np.asarray(getattr(keras.initializers, name)(**config)(shape, dtype=dtype))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(np.broadcast_to(theirs, shape), ours, atol=2e-6 if dtype == "float32" else 5e-3)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (3, 2, 5), (2, 3, 9), (1, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    x = of("Orthogonal", {"gain": 1.5})(shape, "float32", rng()).reshape(-1, shape[-1])
    square = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    np.testing.assert_allclose(square, 1.5**2 * np.eye(len(square)), atol=1e-5)


def test_orthogonal_matrices_are_equally_likely(keras: Any) -> None:
    """The distribution of a matrix does not change under a rotation: rows of ours, against Keras'."""
    init, generator = of("Orthogonal", {}), rng()
    ours = np.stack([init((3, 3), "float32", generator) for _ in range(3000)])
    seed = keras.random.SeedGenerator(1)
    theirs = np.stack([keras.initializers.Orthogonal(seed=seed)((3, 3)) for _ in range(3000)])
    for x in (ours, theirs):
        np.testing.assert_allclose(x.mean(0), 0, atol=5 * np.sqrt(1 / 3 / 3000))
        np.testing.assert_allclose((x**2).mean(0), 1 / 3, atol=5 * 0.3 / np.sqrt(3000))
    assert abs(np.linalg.det(ours).mean() - np.linalg.det(theirs).mean()) < 5 * np.sqrt(2 / 3000)


@pytest.mark.parametrize("shape", [(), (5,), (5, 4), (3, 5, 4), (2, 3, 5, 4)])
def test_fans(keras: Any, shape: tuple[int, ...]) -> None:
    from keras.src.initializers.random_initializers import compute_fans as theirs

    assert compute_fans(shape) == theirs(shape)
    if len(shape) > 2:
        assert compute_fans(shape, [0], [1, 2]) == theirs(shape, [0], [1, 2])
        assert compute_fans(shape, [0]) == theirs(shape, [0])


@pytest.mark.parametrize(("name", "config"), [*RANDOM, ("Orthogonal", {})])
def test_seeds(name: str, config: dict[str, Any]) -> None:
    """The caller's generator goes on; a number repeats itself; a SeedGenerator has a sequence of its own."""
    shape, generator = (4, 3, 2), rng()
    free = of(name, config)
    first, second = free(shape, "float32", generator), free(shape, "float32", generator)
    assert (first != second).any()
    np.testing.assert_array_equal(first, free(shape, "float32", rng()))
    fixed, state = of(name, {**config, "seed": 7}), generator.bit_generator.state
    np.testing.assert_array_equal(fixed(shape, "float32", generator), fixed(shape, "float32", generator))
    assert generator.bit_generator.state == state
    seed = {"module": "keras.random", "class_name": "SeedGenerator", "config": {"seed": 3}, "registered_name": None}
    sequence, again = (of(name, {**config, "seed": seed}) for _ in range(2))
    one = sequence(shape, "float32", generator)
    assert (one != sequence(shape, "float32", generator)).any()
    np.testing.assert_array_equal(one, again(shape, "float32", generator))


@pytest.mark.parametrize(
    ("name", "config"),
    [*RANDOM, *[(n, c) for n, c, _ in EXACT if n != "Identity"], ("Orthogonal", {"gain": 2.0})],
)
def test_serialized(keras: Any, name: str, config: dict[str, Any]) -> None:
    round_trip(keras, INITIALIZERS, "initializers", of(name, config))


def test_identity_keeps_its_gain(keras: Any) -> None:
    """Keras leaves the gain out of what it writes, but reads it."""
    written = INITIALIZERS.serialize(of("Identity", {"gain": 2.5}))
    np.testing.assert_array_equal(keras.initializers.deserialize(written)((2, 2)), 2.5 * np.eye(2))


def test_dtypes() -> None:
    for name in ("float16", "bfloat16", "float64"):
        assert str(INITIALIZERS.get("he_normal")((3, 2), name, rng()).dtype) == name
    assert INITIALIZERS.get("ones")((2,), "int32", rng()).dtype == np.int32


def test_get() -> None:
    """Names, arrays, functions, nothing."""
    own: Callable[..., Any] = lambda shape, dtype, rng: np.zeros(shape, dtype)  # noqa: E731
    assert initializers.get(None) is None and initializers.get(own) is own
    assert type(initializers.get("uniform")).__name__ == "RandomUniform"
    assert type(initializers.get(initializers.Ones)).__name__ == "Ones"
    given = initializers.get(np.arange(3.0))
    np.testing.assert_array_equal(given((3,), "float32", rng()), [0, 1, 2])
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        given((4,), "float32", rng())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: INITIALIZERS.get("nothing"), UnsupportedError, "'nothing'"),
        (lambda: of("Identity", {})((2, 3, 4), "float32", rng()), ShapeError, "Identity"),
        (lambda: of("Orthogonal", {})((3,), "float32", rng()), ShapeError, "Orthogonal"),
        (lambda: of("RandomNormal", {})((3,), "int32", rng()), UnsupportedError, "int32"),
        (lambda: of("VarianceScaling", {"mode": "fan"}), UnsupportedError, "mode='fan'"),
        (lambda: of("VarianceScaling", {"distribution": "cauchy"}), UnsupportedError, "distribution='cauchy'"),
        (lambda: of("VarianceScaling", {"scale": 0.0}), UnsupportedError, "scale=0.0"),
        (lambda: of("STFT", {"window": "tukey"}), UnsupportedError, "window='tukey'"),
        (lambda: of("STFT", {"side": "left"}), UnsupportedError, "side='left'"),
        (lambda: of("STFT", {"window": [1.0]})((3, 1, 3), "float32", rng()), ShapeError, "window"),
    ],
)
def test_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
