"""CIFAR-10: number of convolutions, filters, size of the kernel, kind of the pooling."""

from ..columns import BARS, TRAINING
from ..job import Experiment, Row
from ..spec import cnn
from ..training import Training

EPOCHS = 8
DEFAULT = cnn((32,), (64,))


def row(name: str, layers: tuple, report: str) -> Row:  # type: ignore[type-arg]
    return Row(name, Training("cifar10", layers, EPOCHS, tolerance=1e-2), report)


EXPERIMENT = Experiment(
    "cnn", "CNN on CIFAR-10",
    "Each model is trained by Keras, saved, and its file run here on the whole test set; and it is trained here from "
    "the same first weights on the same batches. Default: Conv32, pool, Conv64, pool, Flatten, Dense64, Dense10; 3×3, "
    "relu, Adam, batches of 64.",
    (
        row("1 convolution (64)", cnn((64,)), ".6427"),
        row("2 convolutions (64)", cnn((64,), (64,)), ".6976"),
        row("3 convolutions (64)", cnn((64,), (64,), (64,)), ".7229"),
        row("filters 16-32", cnn((16,), (32,)), ".6659"),
        row("filters 32-64", DEFAULT, ".7028"),
        row("filters 64-128", cnn((64,), (128,)), ".7088"),
        *(row(f"kernel {k}×{k}", cnn((32,), (64,), kernel=k), f1)
          for k, f1 in zip((2, 3, 4, 5, 6), (".6733", ".6897", ".6915", ".6782", ".6710"))),
        row("max pooling", DEFAULT, ".7014"),
        row("average pooling", cnn((32,), (64,), pooling="AveragePooling2D"), ".6829"),
    ),
    TRAINING, BARS, curves=True,
    remarks="Three rows are the same model and are run once. Curves drift apart as rounding grows (a relu or a maximum "
    "that flips, Adam's division by the size of a gradient): docs/trajectories.md shows Keras drifting as far from "
    "itself.",
)  # fmt: skip
