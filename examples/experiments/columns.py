"""Columns that several tables have: heading, where in the record, format."""

from __future__ import annotations

Column = tuple[str, str, str]

F1: tuple[Column, ...] = (
    ("macro F1: Keras", "keras.f1", ".4f"),
    ("its file run here", "run.f1", ".4f"),
    ("trained here", "own.f1", ".4f"),
)
CURVES: tuple[Column, ...] = (
    ("largest difference of a probability", "run.largest_difference", ".1e"),
    ("of a loss, first 10 steps", "first_steps", ".1e"),
    ("of a loss, whole curve", "curve", ".1e"),
)
TIMES: tuple[Column, ...] = (
    ("ms a step: here", "timing.own", ".3g"),
    ("Keras", "timing.keras", ".3g"),
    ("Keras / here", "timing.ratio", ".2f"),
    ("Keras / here by numba", "timing.ratios.numba", ".2f"),
)
TRAINING = (*F1, *CURVES, *TIMES)
BARS = (("Keras", "keras.f1"), ("its file run here", "run.f1"), ("trained here", "own.f1"))
