"""Bars of ratios as SVG: one picture a family and section, one panel a model, one group of bars a batch size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .models import CASES, FAMILIES
from .records import OURS, SECTIONS, Results
from .tables import AGAINST

COLOURS = {  # of the peers, the same in all pictures
    "tenun numba": "#1b7f5c", "tenun onnx": "#7fc8a9", "keras predict": "#d1495b", "keras call": "#e58c98",
    "keras": "#d1495b", "keras with XLA": "#e58c98", "tf.function": "#edae49", "onnxruntime": "#30638e",
    "onnx reference": "#9aa5b1", "scikit-learn": "#8e6c8a",
}  # fmt: skip
COLUMNS = 4  # panels beside one another


def plots(results: Results, folder: Path) -> list[Path]:
    """Write all pictures; their paths."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tenun"  # the same figures give the same file
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for threads in results.values("threads"):
        for section in ("latency", "training", "first call", "memory"):
            for family in FAMILIES:
                panels = {model: bars for model, bars in _panels(results, section, family, threads) if bars}
                if panels:
                    suffix = f"-{threads}-threads" if threads else ""
                    path = folder / f"{section.replace(' ', '-')}-{family}{suffix}.svg"
                    _draw(panels, f"{FAMILIES[family]}. {SECTIONS[section][0]}\nRatio to tenun", path)
                    written.append(path)
    return written


Bars = dict[str, dict[int, float]]  # peer: batch: ratio


def _panels(results: Results, section: str, family: str, threads: int) -> Iterator[tuple[str, Bars]]:
    """The ratios of every model of a family."""
    against = AGAINST.get(section, lambda peer: OURS)
    there = results.values("model", section=section, threads=threads)
    for model in (name for name in CASES if name in there and CASES[name].family == family):
        bars: Bars = {}
        for record in results.select(section=section, model=model, threads=threads):
            ratio = results.ratio(*record.key, against(record.peer))
            if ratio is not None and record.peer != against(record.peer):
                bars.setdefault(record.peer, {})[record.batch] = ratio
        yield model, bars


def _draw(panels: dict[str, Bars], title: str, path: Path) -> None:
    """One picture."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (max(7.0, 3.4 * columns), 2.6 * rows + 1.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for panel, (model, bars) in zip(axes.flat, panels.items()):
        _panel(panel, model, bars)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    names = [name for name in COLOURS if any(name in bars for bars in panels.values())]
    handles = [Patch(color=COLOURS[name]) for name in names]
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(names), 2 * columns + 1), frameon=False, fontsize=8
    )
    figure.suptitle(f"{title} (above 1: tenun is ahead)", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _panel(panel: Any, model: str, bars: Bars) -> None:
    """Groups of bars, logarithmic around 1."""
    names = [name for name in COLOURS if name in bars]
    batches = sorted({batch for ratios in bars.values() for batch in ratios})
    width = 0.84 / max(len(names), 1)
    for i, name in enumerate(names):
        places = [j + (i - (len(names) - 1) / 2) * width for j, batch in enumerate(batches) if batch in bars[name]]
        heights = [bars[name][batch] for batch in batches if batch in bars[name]]
        panel.bar(places, [h - 1 for h in heights], width, bottom=1, color=COLOURS[name])
    panel.set_yscale("log")
    panel.axhline(1, color="black", linewidth=0.8)
    panel.set_xticks(range(len(batches)), [str(batch) for batch in batches])
    panel.set_xlabel("batch", fontsize=8)
    panel.set_title(model, fontsize=9)
    panel.tick_params(labelsize=8)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(axis="y", alpha=0.3)
