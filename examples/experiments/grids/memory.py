"""Bytes with and without a plan of the memory."""

from ..job import Experiment, Row
from ..measures import Memory
from ..spec import cnn, recurrent

MODELS = {
    "default CNN": (cnn((32,), (64,)), (32, 32, 3), "float32", 10),
    "final CNN": (cnn((64, 64), (128, 128), (256, 256), dense=512), (32, 32, 3), "float32", 10),
    "BiLSTM 16-16": (recurrent("LSTM", 16, 16, both=True), (60,), "int32", 3),
}

EXPERIMENT = Experiment(
    "memory", "Memory with and without a plan",
    "MB of all values of a run for one batch. Without: every value in an array of its own. Bound: the most that is "
    "alive at one time.",
    tuple(Row(name, Memory(layers, shape, 64, n, dtype)) for name, (layers, shape, dtype, n) in MODELS.items()),
    tuple((f"{run}: {heading}", f"{run}.{key}", ".3g") for run in ("inference", "training")
          for heading, key in {"without": "naive", "with": "arena", "bound": "bound", "scratch": "scratch"}.items()),
)  # fmt: skip
