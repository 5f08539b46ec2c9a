"""Keras' layers that augment images: what each draws and what it does with that, one file a kind."""

from . import colour, erasing, filters, geometry, histograms, mixing, policies  # noqa: F401 - into the table
