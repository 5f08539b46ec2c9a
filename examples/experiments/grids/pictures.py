"""How weights and gradients are spread, by layer and epoch."""

from ..checks import Distribution
from ..job import Experiment, Row
from ..spec import cnn, mlp

EXPERIMENT = Experiment(
    "pictures", "Weights and gradients by layer and epoch",
    "`callbacks.Distributions` notes them before the first and after each epoch; the report's earlier library drew "
    "them too. Ridges: the first look at the bottom.",
    (
        Row("CNN", Distribution("cifar10", cnn((32,), (64,)), 5, "cnn", samples=3000)),
        Row("dense, relu", Distribution("mnist", mlp(64, 64, 64), 10, "dense-relu")),
        Row("dense, sigmoid", Distribution("mnist", mlp(64, 64, 64, activation="sigmoid"), 10, "dense-sigmoid")),
    ),
    (("epochs", "epochs", "d"), ("deviation of the gradient before training: first kernel", "deviations.first", ".1e"),
     ("last kernel", "deviations.last", ".1e")),
)  # fmt: skip
