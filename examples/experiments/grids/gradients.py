"""Every layer of the report: its gradients against differences and against Keras' tape."""

from ..checks import GradientCheck, LossCheck
from ..job import Experiment, Row
from ..spec import L

IMAGE, VECTOR, STEPS, TOKENS = (8, 8, 2), (6,), (5, 4), (7,)
CONV, END = L("Conv2D", 3, 3, padding="same", activation="tanh"), (L("Flatten"), L("Dense", 2))
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "leaky_relu", "elu", "softmax")


def check(name: str, shape: tuple[int, ...], *layers: L, **more: object) -> Row:
    return Row(name, GradientCheck(layers, shape, **more))  # type: ignore[arg-type]


def loss(name: str, activation: str, penalty: str | None = None) -> Row:
    layers = L("Dense", 5, activation="tanh", kernel_regularizer=penalty), L("Dense", 3, activation=activation)
    job = LossCheck(layers, VECTOR, loss=name)
    return Row(f"loss {name}{f' and {penalty.upper()}' if penalty else ''}", job)


EXPERIMENT = Experiment(
    "gradients", "Gradients of every layer",
    "The mean squared error of a small model, by its weights and inputs: against central differences in float64, and "
    "against Keras' GradientTape in float32. Layers without weights stand behind one that has some.",
    (
        check('Conv2D, "same"', IMAGE, CONV, *END),
        check('Conv2D, "valid", strides 2', IMAGE, L("Conv2D", 3, (3, 2), strides=2, activation="tanh"), *END),
        check("MaxPooling2D", IMAGE, CONV, L("MaxPooling2D", 2), *END),
        check("AveragePooling2D", IMAGE, CONV, L("AveragePooling2D", 2), *END),
        *(check(f'{pool}, 3×3, strides 2, "same"', IMAGE, CONV, L(pool, 3, 2, padding="same"), *END)
          for pool in ("MaxPooling2D", "AveragePooling2D")),
        check("GlobalMaxPooling2D", IMAGE, CONV, L("GlobalMaxPooling2D"), L("Dense", 2)),
        check("GlobalAveragePooling2D", IMAGE, CONV, L("GlobalAveragePooling2D"), L("Dense", 2)),
        *(check(f"Dense, {a}", VECTOR, L("Dense", 5, activation=a), L("Dense", 2)) for a in ACTIVATIONS),
        check("Embedding", TOKENS, L("Embedding", 20, 3), *END, dtype="int32"),
        check("Dropout", VECTOR, L("Dense", 8), L("Dropout", 0.5, seed=1), L("Dense", 2), random=True),
        *(check(f"{'Bidirectional ' if both else ''}{cell}{', all steps' if all_steps else ''}", STEPS,
                L("Bidirectional", layer) if both else layer, *(END if all_steps else (L("Dense", 2),)))
          for cell in ("SimpleRNN", "LSTM") for both in (False, True) for all_steps in (False, True)
          for layer in (L(cell, 3, return_sequences=all_steps),)),
        loss("binary_crossentropy", "sigmoid"), loss("categorical_crossentropy", "softmax"),
        *(loss("sparse_categorical_crossentropy", "softmax", penalty) for penalty in (None, "l1", "l2")),
    ),
    (
        ("largest error against differences", "differences.error", ".1e"), ("at", "differences.where", ""),
        ("places", "differences.checked", "d"), ("against Keras' tape", "keras.error", ".1e"),
    ),
)  # fmt: skip
