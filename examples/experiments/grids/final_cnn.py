"""CIFAR-10: the final CNN, six convolutions."""

from ..columns import BARS, TRAINING
from ..job import Experiment, Row
from ..spec import cnn
from ..training import OneBatch, Training

FINAL = cnn((64, 64), (128, 128), (256, 256), dense=512)

EXPERIMENT = Experiment(
    "final_cnn", "The final CNN",
    "2×Conv64, pool, 2×Conv128, pool, 2×Conv256, pool, Flatten, Dense512, Dense10. The first row is the report's table "
    "of the loss on one batch of 64 from equal weights.",
    (
        Row("loss on one batch", OneBatch("cifar10", FINAL), "7.1528 3.6319 .7803 .0477 .0036 …"),
        Row("6 epochs", Training("cifar10", FINAL, 6, tolerance=1e-2), ".7361 (15 epochs, 1000 test images)"),
    ),
    TRAINING, BARS, curves=True,
)  # fmt: skip
