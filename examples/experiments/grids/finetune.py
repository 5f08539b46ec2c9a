"""CIFAR-10: few images of ten classes, from scratch or from a file that Keras has trained on five of them."""

from ..columns import BARS, TRAINING
from ..job import Experiment, Row
from ..spec import cnn
from ..training import Start, Training

MODEL = cnn((32,), (64,))
FIRST_FIVE = (0, 1, 2, 3, 4)


def row(name: str, start: Start | None = None) -> Row:
    return Row(name, Training("cifar10", MODEL, 5, 32, samples=1000, start=start, tolerance=1e-2))


EXPERIMENT = Experiment(
    "finetune", "Fine-tuning from a pretrained Keras file",
    "1,000 images of ten classes, 5 epochs. Pretrained: by Keras on all images of the first five classes, 5 epochs; "
    "the file is loaded here, its last layer replaced, and trained on.",
    (
        row("from scratch"),
        row("pretrained", Start(FIRST_FIVE, 5)),
        row("pretrained, convolutions frozen", Start(FIRST_FIVE, 5, frozen=("Conv2D",))),
    ),
    TRAINING, BARS, curves=True,
)  # fmt: skip
