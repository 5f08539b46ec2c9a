"""The report's way of computing a CNN, and better ones."""

from ..job import Experiment, Row
from ..measures import Speed
from ..spec import cnn

MODELS = {"default CNN": cnn((32,), (64,)), "final CNN": cnn((64, 64), (128, 128), (256, 256), dense=512)}
ENGINES = {"loops over the kernel": "loops", "im2col": "im2col", "as compiled (Winograd where it pays)": "tenun",
           "the same, numba": "numba", "Keras": "keras", "ONNX Runtime": "onnxruntime"}  # fmt: skip

EXPERIMENT = Experiment(
    "speed", "One CNN, six ways to compute it",
    "The forward pass, milliseconds. The loops are the report's: over the positions of the kernel, NumPy for the rest.",
    tuple(Row(f"{name}, batch {n}", Speed(layers, (32, 32, 3), n)) for name, layers in MODELS.items() for n in (1, 64)),
    tuple((heading, f"engines.{name}.ms", ".2f") for heading, name in ENGINES.items()),
    tuple((heading, f"engines.{name}.ms") for heading, name in ENGINES.items()),
)  # fmt: skip
