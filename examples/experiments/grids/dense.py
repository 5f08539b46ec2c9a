"""Digits: activations, regularisation, first weights; scikit-learn beside it."""

from ..columns import CURVES, TIMES
from ..job import Experiment, Row
from ..spec import mlp
from ..training import Training, TrainingBy

UNITS = (128, 64)
EPOCHS = 15
SKLEARN = {"linear": "identity", "relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}
ACTIVATIONS = {"linear": "89.55", "relu": "97.29", "sigmoid": "96.16", "tanh": "96.57", "elu": "96.27",
               "leaky_relu": "97.18"}  # fmt: skip
INITIALISERS = ("zeros", "random_normal", "random_uniform", "glorot_uniform", "he_normal")


def row(name: str, report: str = "", activation: str = "relu", **more: str) -> Row:
    same = {"hidden_layer_sizes": UNITS, "activation": SKLEARN.get(activation), "alpha": 0.0}
    layers = mlp(*UNITS, activation=activation, **more)
    plain = activation in SKLEARN and not more
    job = Training("mnist", layers, EPOCHS, sklearn=same if plain else None, tolerance=1e-3)
    return Row(name, job, report)


EXPERIMENT = Experiment(
    "dense", "Dense nets on digits",
    "Dense128, Dense64, Dense10; Adam, batches of 64, 15 epochs. scikit-learn's MLPClassifier has the same sizes, "
    "batches and epochs, and first weights of its own.",
    (
        *(row(f"activation {a}", accuracy, a) for a, accuracy in ACTIVATIONS.items()),
        row("no regularisation", "97.15 (MLPClassifier 96.27)"),
        row("L1", "96.93", kernel_regularizer="l1"),
        row("L2", "97.15", kernel_regularizer="l2"),
        *(row(f"first weights {name}", "", kernel_initializer=name) for name in INITIALISERS),
        Row("optimiser SGD", TrainingBy("mnist", mlp(*UNITS), EPOCHS, tolerance=1e-3)),
    ),
    (
        ("accuracy: Keras", "keras.accuracy", ".2%"), ("its file run here", "run.accuracy", ".2%"),
        ("trained here", "own.accuracy", ".2%"), ("MLPClassifier", "sklearn.accuracy", ".2%"), *CURVES, *TIMES,
        ("MLPClassifier", "timing.sklearn", ".3g"),
    ),
    (("Keras", "keras.accuracy"), ("its file run here", "run.accuracy"), ("trained here", "own.accuracy"),
     ("MLPClassifier", "sklearn.accuracy")), curves=True, against=("keras.accuracy", 100.0),
    remarks="Zeros as first weights learn nothing beyond the classes' shares, as they should.",
)  # fmt: skip
