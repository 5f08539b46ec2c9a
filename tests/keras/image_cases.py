"""Cases of image and audio layers, rows of the table in cases.py."""

from __future__ import annotations

from typing import Any

SIZE = {"height": 5, "width": 7}
IMAGE, FIRST = (9, 8, 3), (3, 9, 8)


def _resizing() -> list[Any]:
    """Every interpolation, larger and smaller, with and without antialias; both ways to keep the aspect ratio."""
    names = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5")
    cases: list[Any] = []
    for i, name in enumerate(names):
        cases.append(({**SIZE, "interpolation": name}, IMAGE))
        cases.append(({"height": 12, "width": 4, "interpolation": name, "antialias": True}, IMAGE))
        more = {"crop_to_aspect_ratio": True} if i % 2 else {"pad_to_aspect_ratio": True, "fill_value": 2.0}
        cases.append(({**SIZE, "interpolation": name, **more}, (11, 6, 2)))
    cases.append(({**SIZE, "pad_to_aspect_ratio": True}, (4, 15, 2)))
    cases.append(({**SIZE, "crop_to_aspect_ratio": True, "antialias": True}, (4, 15, 2)))
    cases.append(({**SIZE, "data_format": "channels_first"}, FIRST))
    cases.append(({"height": 9, "width": 8}, IMAGE))
    cases.append((SIZE, (None, None, 3)))
    cases.append(({**SIZE, "crop_to_aspect_ratio": True, "interpolation": "nearest"}, (None, 6, 3)))
    return cases


FACTOR = ({"factor": 0.3}, IMAGE)
PAIR = ({"factor": (0.1, 0.4), "value_range": (0, 1), "seed": 5, "data_format": "channels_first"}, FIRST)
SAMPLED = {"fill_mode": "wrap", "interpolation": "nearest", "fill_value": 3.0}

IMAGES: dict[str, list[Any]] = {
    "CenterCrop": [
        (SIZE, IMAGE), (SIZE, (4, 12, 3)), (SIZE, (3, 5, 1)), ({**SIZE, "data_format": "channels_first"}, FIRST),
        (SIZE, (None, None, 3)), ({"height": 9, "width": 8}, IMAGE),
    ],
    "Resizing": _resizing(),
    "RandomCrop": [({"height": 9, "width": 8}, IMAGE), ({"height": 9, "width": 8, "seed": 3}, IMAGE)],
    "RandomFlip": [({}, IMAGE), ({"mode": "horizontal", "data_format": "channels_first"}, FIRST)],
    "RandomRotation": [FACTOR, ({"factor": (-0.1, 0.4), **SAMPLED}, IMAGE)],
    "RandomShear": [({"x_factor": 0.3, "y_factor": (0.1, 0.4)}, IMAGE)],
    "RandomTranslation": [({"height_factor": 0.3, "width_factor": (-0.1, 0.4), **SAMPLED}, IMAGE)],
    "RandomZoom": [({"height_factor": 0.3}, IMAGE), ({"height_factor": (-0.3, 0.1), "width_factor": 0.2}, IMAGE)],
    "RandomPerspective": [({}, IMAGE), ({"factor": (0.2, 0.3), "scale": 0.4, "interpolation": "nearest"}, IMAGE)],
    "RandomElasticTransform": [({}, IMAGE), ({"factor": 0.4, "scale": (0.1, 0.5), "fill_mode": "wrap"}, IMAGE)],
    "RandomBrightness": [FACTOR, PAIR],
    "RandomContrast": [FACTOR, PAIR],
    "RandomColorDegeneration": [FACTOR, PAIR],
    "RandomHue": [FACTOR, PAIR],
    "RandomSaturation": [FACTOR, PAIR],
    "RandomSharpness": [FACTOR, PAIR],
    "RandomInvert": [({}, IMAGE), PAIR],
    "RandomPosterization": [({"factor": 3}, IMAGE), ({"factor": (2, 5), "value_range": (0, 1)}, IMAGE)],
    "RandomGrayscale": [({}, IMAGE), ({"factor": 0.2, "data_format": "channels_first"}, FIRST)],
    "RandomColorJitter": [
        ({}, IMAGE), ({"brightness_factor": 0.3, "contrast_factor": 0.2, "hue_factor": 0.1, "saturation_factor": 0.4},
                      IMAGE),
    ],
    "RandomGaussianBlur": [({}, IMAGE), ({"factor": 0.4, "kernel_size": (3, 5), "sigma": (0.1, 0.5)}, IMAGE)],
    "RandomErasing": [({}, IMAGE), ({"scale": 0.2, "fill_value": (1, 2, 3), "value_range": (0, 1)}, IMAGE)],
    "Solarization": [({}, IMAGE), ({"addition_factor": 0.2, "threshold_factor": (0.1, 0.4)}, IMAGE)],
    "AutoContrast": [({}, IMAGE), ({"value_range": (-2, 1)}, IMAGE), ({"data_format": "channels_first"}, FIRST)],
    "Equalization": [({}, IMAGE), ({"value_range": (-2, 1), "bins": 16}, IMAGE)],
    "ContrastLimitedAdaptiveHistogramEqualization": [
        ({"value_range": (-3, 3)}, (16, 24, 2)),
        ({"value_range": (-3, 3), "tile_grid_size": (2, 3), "clip_limit": 1.5}, (15, 17, 2)),
        ({"value_range": (-3, 3), "tile_grid_size": (2, 3), "clip_limit": 0.0, "data_format": "channels_first"},
         (2, 15, 17)),
        ({"value_range": (-3, 3), "tile_grid_size": (2, 3)}, (None, None, 2)),
    ],
    "MixUp": [({}, IMAGE), ({"alpha": 0.4, "seed": 3}, IMAGE)],
    "CutMix": [({}, IMAGE), ({"factor": (0.2, 0.5)}, IMAGE)],
    "RandAugment": [({}, IMAGE), ({"num_ops": 3, "factor": 0.3, "value_range": (0, 1)}, IMAGE)],
    "AugMix": [({}, IMAGE), ({"num_chains": 2, "chain_depth": 1, "all_ops": False, "alpha": 0.5}, IMAGE)],
}  # fmt: skip

MEL = {"fft_length": 32, "sequence_stride": 8, "num_mel_bins": 6, "sampling_rate": 1000}
STFT = {"frame_length": 12, "frame_step": 5}

AUDIO: dict[str, list[Any]] = {
    "MelSpectrogram": [
        (MEL, (100,)),
        ({**MEL, "sequence_length": 21, "window": "hamming", "mag_exp": 1.0, "power_to_db": False}, (3, 100)),
        ({**MEL, "window": None, "min_freq": 50.0, "max_freq": 400.0, "top_db": 10.0, "ref_power": 2.0}, (101,)),
        ({"fft_length": 8, "sequence_stride": 3, "num_mel_bins": 3, "sampling_rate": 1000, "min_power": 0.5}, (None,)),
    ],
    "STFTSpectrogram": [
        *(({**STFT, "mode": m}, (40, 2)) for m in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")),
        ({**STFT, "mode": "magnitude", "padding": "same", "expand_dims": True, "scaling": "spectrum"}, (41, 2)),
        ({"frame_length": 5, "mode": "stft", "window": None, "fft_length": 16, "expand_dims": True}, (None, 1)),
        ({"frame_length": 8, "mode": "psd", "window": "hamming", "periodic": True, "scaling": None}, (40, 2)),
        ({**STFT, "data_format": "channels_first"}, (2, 40)),
        ({**STFT, "data_format": "channels_first", "expand_dims": True, "mode": "stft"}, (2, 40)),
    ],
}  # fmt: skip
