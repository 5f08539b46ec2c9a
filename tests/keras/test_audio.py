"""Spectrogram layers against Keras: from files and back, new ones, and their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import TenunError, UnsupportedError
from tenun.layers import LAYERS

from .image_cases import AUDIO, MEL, STFT
from .oracle import check, data, one_layer, same, saved

ROWS = [pytest.param(n, case, id=f"{n}-{i}") for n, cases in AUDIO.items() for i, case in enumerate(cases)]


@pytest.mark.parametrize(("name", "case"), ROWS)
def test_inference(keras: Any, tmp_path: Path, name: str, case: Any) -> None:
    config, shape = case
    kinds = (".keras", ".h5", "live") if case is AUDIO[name][0] else (".keras",)
    check(keras, one_layer(keras, name, config, shape), tmp_path, shape=shape, kinds=kinds)


@pytest.mark.parametrize(("name", "case"), [row for row in ROWS if str(row.id).endswith(("-0", "-7"))])
def test_written_files(keras: Any, tmp_path: Path, name: str, case: Any) -> None:
    config, shape = case
    built = one_layer(keras, name, config, shape)
    tenun.load_model(saved(built, tmp_path)).save(tmp_path / "written.keras")
    again = keras.models.load_model(tmp_path / "written.keras")
    assert again.layers[-1].get_config() == built.layers[-1].get_config()
    feed = data(built, shape)[0]
    same(keras, np.asarray(again(feed, training=False)), built(feed, training=False), 1e-6)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "boxcar", None, [0.1, 0.4, 1.0, 0.5, 0.2, 0.1]])
@pytest.mark.parametrize(
    "more", [{}, {"periodic": True, "scaling": "spectrum"}, {"scaling": None, "fft_length": 11}], ids=str
)
def test_new_kernels_are_those_of_keras(keras: Any, window: Any, more: dict[str, Any]) -> None:
    config = {"frame_length": 6, "window": window, "mode": "stft", **more}
    theirs = keras.layers.STFTSpectrogram(**config)
    theirs.build((None, 30, 2))
    model = tenun.Sequential([tenun.Input((30, 2)), LAYERS["STFTSpectrogram"](**config)])
    for ours, expected in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["magnitude", "log", "psd"])
def test_kernels_are_trained(keras: Any, tmp_path: Path, mode: str) -> None:
    """A step of training, by Keras and by us."""
    rng = np.random.default_rng(0)
    signal, labels = rng.normal(size=(4, 40, 2)).astype(np.float32), rng.normal(size=(4, 1)).astype(np.float32)
    k = keras.layers
    model = keras.Sequential([keras.Input((40, 2)), k.STFTSpectrogram(**STFT, mode=mode), k.Flatten(), k.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    ours = tenun.load_model(saved(model, tmp_path))
    for _ in range(2):
        got, want = (m.train_on_batch(signal, labels) for m in (ours, model))
        np.testing.assert_allclose(got, want, rtol=1e-4)
    for got, want in zip(ours.get_weights(), model.get_weights()):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_mel_in_other_dtypes(keras: Any, tmp_path: Path, policy: str) -> None:
    """float32 inside, the compute dtype outside; in float64 Keras fails."""
    built = one_layer(keras, "MelSpectrogram", {**MEL, "dtype": policy}, (100,))
    check(keras, built, tmp_path, tolerance=2e-2)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("MelSpectrogram", {"window": "kaiser"}, "window"),
        ("MelSpectrogram", {"fft_length": 8, "sequence_length": 9}, "fft_length"),
        ("STFTSpectrogram", {"mode": "power"}, "mode"),
        ("STFTSpectrogram", {"scaling": "loud"}, "scaling"),
        ("STFTSpectrogram", {"padding": "causal"}, "padding"),
        ("STFTSpectrogram", {"frame_step": 300}, "frame_step"),
        ("STFTSpectrogram", {"fft_length": 100}, "fft_length"),
    ],
)
def test_refused_by_name(name: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}.*{words}"):
        LAYERS[name](**config)


def test_a_signal_without_channels_is_refused() -> None:
    with pytest.raises(TenunError, match="STFTSpectrogram.*expected floats"):
        LAYERS["STFTSpectrogram"](**STFT)(tenun.Input((40,)))
