"""JapaneseVowels: who speaks, at every step of ragged series."""

from ..columns import BARS, TRAINING
from ..job import Experiment, Row
from ..spec import L
from ..training import Training


def row(name: str, layer: L) -> Row:
    tagger = (L("Masking"), layer, L("Dense", 9, activation="softmax"))
    return Row(name, Training("vowels", tagger, 20, 16, tolerance=1e-3))


EXPERIMENT = Experiment(
    "tagger", "A tagger of ragged sequences with masks",
    "Japanese vowels of nine speakers: 12 numbers a step, 7 to 29 steps; Masking, one recurrent layer, Dense9 at every "
    "step. Steps that are not there count neither in the loss nor in F1.",
    (
        row("LSTM 32", L("LSTM", 32, return_sequences=True)),
        row("BiLSTM 32", L("Bidirectional", L("LSTM", 32, return_sequences=True))),
        row("BiGRU 32", L("Bidirectional", L("GRU", 32, return_sequences=True))),
    ),
    TRAINING, BARS, curves=True,
)  # fmt: skip
