"""The report line by line: which rows are its counterparts here, or where else it is, or why it is not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A line of the report.

    rows: patterns (`fnmatch`) of names of rows, by experiment.  note: what differs, or where it is if there is no row.
    """

    what: str
    rows: dict[str, tuple[str, ...]]
    note: str = ""


def nusax(what: str, *models: str) -> Line:
    note = "20 epochs, 60 words a text; the report does not say its own"
    return Line(what, {"sentiment": tuple(f"NusaX: {model}" for model in models)}, note)


FEWER = "8 epochs, a part of the images; the report does not say how long it trained"
DIGITS = "15 epochs, the digits at hand; the report does not say how long it trained"
LINES: dict[str, tuple[Line, ...]] = {
    "Value": (
        Line("operators `+ * @ / ** -`, each also reflected; `T`", {"value": ("*v*",)},
             "a transposed operand in `v @ v.T`"),
        Line("`exp log abs sum mean`, `clamp`", {"value": ("exp", "log", "abs", "sum", "mean", "clamp")}),
        Line("activations of a Value",
             {"value": ("linear", "relu", "tanh", "sigmoid", "leaky_relu", "elu", "softmax")}),
        Line("`backward`: order, accumulation, broadcast operands", {"value": ("*",)}),
        Line("`Module`: `zero_grad`, `parameters`", {},
             "an interface, nothing to measure: `tests/test_value.py`, and the notebook trains with it"),
    ),
    "Layers": (
        Line("Conv2D, its gradients by weights, bias and input", {"gradients": ("Conv2D*",)}),
        Line("max and average pooling, global too", {"gradients": ("*Pooling2D*",)}),
        Line("Flatten", {"gradients": ("Conv2D*",)}, "a part of these models"),
        Line("Dense, each activation", {"gradients": ("Dense*",), "dense": ("activation*",)}),
        Line("Embedding", {"gradients": ("Embedding",)}),
        Line("Dropout", {"gradients": ("Dropout",)},
             "what is dropped is drawn otherwise than in Keras: against differences only"),
        Line("SimpleRNN, LSTM, their gates, one direction and both, `return_sequences`",
             {"gradients": ("*SimpleRNN*", "*LSTM*")}),
    ),
    "Models": (
        Line("`fit` with validation, `predict` in batches, call", {"cnn": ("*",), "sentiment": ("*",)}),
        Line("`load_weights` of a Keras model", {"cnn": ("*",)}, "the whole file of Keras is loaded"),
        Line("outputs of every layer beside Keras'", {},
             "the command `tenun compare` prints them for a file of any row: docs/compare.md"),
    ),
    "First weights, losses, optimisers": (
        Line("zeros, random normal and uniform, Xavier, He", {"dense": ("first weights*",)},
             "Keras' defaults of mean, deviation and bounds, which the report does not state"),
        Line("mean squared error", {"gradients": ("Dense*",)}),
        Line("binary, categorical and sparse cross-entropy, L1 and L2", {"gradients": ("loss*",)}),
        Line("Adam, SGD", {"dense": ("activation relu", "optimiser SGD")}, "all other rows: Adam"),
    ),
    "CNN on CIFAR-10": (
        Line("1, 2, 3 convolutions: .6427 .6976 .7229", {"cnn": ("? convolution*",)}, FEWER),
        Line("filters 16-32, 32-64, 64-128: .6659 .7028 .7088", {"cnn": ("filters*",)}, FEWER),
        Line("kernel 2 to 6: .6733 .6897 .6915 .6782 .6710", {"cnn": ("kernel*",)}, FEWER),
        Line("pooling: .7014 .6829", {"cnn": ("* pooling",)}, FEWER),
        Line("final model: .7361 on 1000 test images", {"final_cnn": ("6 epochs",)},
             "on all test images, which the report could not do; 6 epochs instead of 15"),
        Line("loss on one batch: 7.1528 3.6319 .7803 …", {"final_cnn": ("loss on one batch",)},
             "other first weights: the report does not give its own"),
    ),
    "RNN and LSTM on NusaX": (
        nusax("SimpleRNN, layers: .3519 .3477 .3744", "SimpleRNN 16", "SimpleRNN 16-16", "SimpleRNN 16-16-16"),
        nusax("SimpleRNN, cells: .3462 .3726 .4532", "SimpleRNN 8", "SimpleRNN 16", "SimpleRNN 24"),
        nusax("SimpleRNN, directions: .4382 .5400", "SimpleRNN 16", "BiSimpleRNN 16"),
        nusax("LSTM, layers: .4525 .4828 .6866", "LSTM 16", "LSTM 16-16", "LSTM 16-16-16"),
        nusax("LSTM, cells: .5553 .4501 .4808", "LSTM 8", "LSTM 16", "LSTM 24"),
        nusax("LSTM, directions: .6686 .6675", "LSTM 16", "BiLSTM 16"),
    ),
    "Dense nets on MNIST": (
        Line("six activations: 89.55 97.29 96.16 96.57 96.27 97.18", {"dense": ("activation*",)}, DIGITS),
        Line("own 97.15, MLPClassifier 96.27", {"dense": ("no regularisation",)}, DIGITS),
        Line("no regularisation, L1, L2: 97.15 96.93 97.15", {"dense": ("no regularisation", "L1", "L2")},
             DIGITS),
        Line("curves of training and validation loss of every run", {}, "the plots of each table"),
    ),
    "What the report wished for": (
        Line("a GPU", {}, "not here: both backends of tenun compute on CPUs"),
        Line("convolution as a product of matrices", {"speed": ("*",)}),
        Line("backpropagation through RNN and LSTM", {"sentiment": ("*",), "tagger": ("*",)},
             "the columns *trained here* and *of a loss*"),
    ),
}  # fmt: skip
