"""The experiments, a file each: rows as data."""

from __future__ import annotations

from ..job import Experiment
from . import cnn, dense, final_cnn, finetune, gradients, memory, pictures, sentiment, speed, tagger, value

MODULES = (cnn, final_cnn, sentiment, dense, value, gradients, pictures, speed, memory, finetune, tagger)
EXPERIMENTS: dict[str, Experiment] = {module.EXPERIMENT.name: module.EXPERIMENT for module in MODULES}
