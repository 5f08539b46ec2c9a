"""NusaX and SmSA: SimpleRNN and LSTM; layers, cells, directions, masks."""

from ..columns import BARS, TRAINING
from ..job import Experiment, Row
from ..spec import L, recurrent
from ..training import Training

WORDS = L("TextVectorization", max_tokens=2000, output_sequence_length=60)
FIGURES = {  # (units, both): the report's F1
    "SimpleRNN": {((16,), False): ".3519", ((16, 16), False): ".3477", ((16, 16, 16), False): ".3744",
                  ((8,), False): ".3462", ((24,), False): ".4532", ((16,), True): ".5400"},
    "LSTM": {((16,), False): ".4525", ((16, 16), False): ".4828", ((16, 16, 16), False): ".6866",
             ((8,), False): ".5553", ((24,), False): ".4808", ((16,), True): ".6675"},
}  # fmt: skip
OTHERS = {("SimpleRNN", ((16,), False)): " (.3726, .4382 in its other tables)",
          ("LSTM", ((16,), False)): " (.4501, .6686 in its other tables)"}  # fmt: skip


def row(data: str, cell: str, units: tuple[int, ...], both: bool, report: str = "", mask: bool = False) -> Row:
    name = f"{'Bi' if both else ''}{cell} {'-'.join(map(str, units))}{', masked' if mask else ''}"
    epochs = 20 if data == "nusax" else 5
    job = Training(data, recurrent(cell, *units, both=both, mask=mask), epochs, 32, vectorizer=WORDS, tolerance=1e-3)
    return Row(f"{'NusaX' if data == 'nusax' else 'SmSA'}: {name}", job, report)


EXPERIMENT = Experiment(
    "sentiment", "Sentiment of Indonesian texts: SimpleRNN and LSTM",
    "TextVectorization (2,000 words, 60 a text), Embedding 32, the recurrent layers, Dense3. The vocabulary is learnt "
    "from the training texts and lies inside of the .keras file, which is run here on the texts themselves. Training "
    "here is backpropagation through time, which the report could not do.",
    (
        *(row("nusax", cell, units, both, f1 + OTHERS.get((cell, (units, both)), ""))
          for cell, figures in FIGURES.items() for (units, both), f1 in figures.items()),
        *(row("nusax", cell, (16,), True, mask=True) for cell in FIGURES),
        *(row("smsa", cell, (16,), both, mask=True) for cell in FIGURES for both in (False, True)),
    ),
    TRAINING, BARS, curves=True,
    remarks="The report trained longer and on longer texts, and does not say how; without a mask the cells read the "
    "padding last, which is why so little is learnt. Masked rows are not the report's.",
)  # fmt: skip
