"""Pictures of results: curves of the loss, and bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenun.debug.figures import new_figure, write_figure

from .job import Experiment, Record, Row, at

COLUMNS = 4
COLOURS = ("#d1495b", "#7fc8a9", "#1b7f5c", "#30638e", "#edae49", "#8e6c8a")
LINES = {"keras": ("Keras", COLOURS[0], 3.0), "own": ("here", COLOURS[2], 1.2)}  # the thin line lies on the thick one
Results = Sequence[tuple[Row, Record]]


def plots(experiment: Experiment, results: Results, folder: Path) -> list[str]:
    """Draw what an experiment asks for; the names of the files."""
    written = []
    for wanted, suffix, draw in ((experiment.bars, "bars", _bars), (experiment.curves, "curves", _curves)):
        figure = draw(experiment, results) if wanted else None
        if figure is not None:
            written.append(f"{experiment.name}-{suffix}.svg")
            write_figure(figure, folder / written[-1])
    return written


def _bars(experiment: Experiment, results: Results) -> Any:
    """A group of bars for each row."""
    rows = [(row, record) for row, record in results if any(at(record, path) for _, path in experiment.bars)]
    if not rows:
        return None
    figure = new_figure(8.0, 1.2 + 0.35 * len(rows))
    panel = figure.subplots()
    height = 0.84 / len(experiment.bars)
    for i, (label, path) in enumerate(experiment.bars):
        there = [(j, value) for j, (_, record) in enumerate(rows) if (value := at(record, path)) is not None]
        places = [j + (i - (len(experiment.bars) - 1) / 2) * height for j, _ in there]
        panel.barh(places, [value for _, value in there], height, label=label, color=COLOURS[i])
    panel.set_yticks(range(len(rows)), [row.name for row, _ in rows], fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="x", alpha=0.3)
    if max(panel.get_xlim()) > 2:
        panel.set_xscale("log")
    panel.set_xlabel(experiment.bars[0][1].rpartition(".")[2])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(experiment.title)
    return figure


def _curves(experiment: Experiment, results: Results) -> Any:
    """A panel for each row: the loss of training, and that of validation dashed."""
    rows = [(row, record) for row, record in results if at(record, "own.loss")]
    if not rows:
        return None
    columns = min(COLUMNS, len(rows))
    height = -(-len(rows) // columns)
    figure = new_figure(2.8 * columns, 2.2 * height + 0.8)
    panels = figure.subplots(height, columns, squeeze=False).flat
    for (row, record), panel in zip(rows, panels):
        for who, (label, colour, width) in LINES.items():
            for key, style in (("loss", "-"), ("val_loss", "--")):
                values = at(record, f"{who}.{key}")
                if values:
                    text = f"{label}, {'validation' if key == 'val_loss' else 'training'}"
                    panel.plot(range(1, len(values) + 1), values, style, color=colour, linewidth=width, label=text)
        panel.set_title(row.name, fontsize=8)
        panel.locator_params(axis="x", integer=True)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for panel in panels:
        panel.set_visible(False)
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"{experiment.title}: loss by epoch")
    return figure
