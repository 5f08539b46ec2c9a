"""Pictures of training."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...debug.figures import check_path, new_figure, write_figure
from .base import Array, Callback
from .progress import is_notebook, is_terminal

BLOCKS = "▁▂▃▄▅▆▇█"


class LossCurve(Callback):
    """Draw the loss while training goes on: in a notebook as a figure, on a terminal as lines of blocks.

    metrics: names of figures to draw, instead of the loss and the loss of validation; path: an .svg, .png or .pdf file
    that is written anew after each epoch; log_scale: a logarithmic axis.  Figures need matplotlib.
    """

    rank = 1  # below the finished bar
    kept = ("epochs", "curves")

    def __init__(
        self, metrics: Sequence[str] | None = None, path: str | os.PathLike[str] | None = None, log_scale: bool = False
    ) -> None:
        self.metrics = ("loss", "val_loss") if metrics is None else tuple(metrics)
        self.path = None if path is None else os.fspath(path)
        self.log_scale = log_scale
        self.epochs: list[int] = []
        self.curves: dict[str, list[float]] = {}
        if self.path is not None:
            check_path(self.path)

    def on_train_begin(self, logs: Any = None) -> None:
        self.epochs, self.curves = [], {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch + 1)
        for name in self.metrics:
            curve = self.curves.setdefault(name, [])
            curve += [math.nan] * (len(self.epochs) - 1 - len(curve))  # epochs without validation
            curve.append(float((logs or {}).get(name, math.nan)))
        if self.path is not None:
            write_figure(self.figure(), self.path)
        if is_notebook():
            display = importlib.import_module("IPython.display")
            display.clear_output(wait=True)
            display.display(self.figure())
        elif is_terminal():
            self._print()

    def figure(self) -> Any:
        """The curves as a figure of matplotlib."""
        figure = new_figure(6.4, 4.0)
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for name, curve in self.curves.items():
            if np.isfinite(curve).any():
                style = "--" if name.startswith("val_") else "-"
                axes.plot(self.epochs, curve, style, label=name, marker="." if len(curve) < 30 else None)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yscale("log" if self.log_scale else "linear")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        return figure

    def _print(self) -> None:
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False)
        for line in self.lines(console.width):
            console.print(line, overflow="crop", no_wrap=True)

    def lines(self, width: int = 80) -> list[str]:
        """The curves as text, a line each, all on one scale: name, blocks, newest and best value."""
        curves = {k: np.array(v) for k, v in self.curves.items() if np.isfinite(v).any()}
        if not curves:
            return []
        label = max(map(len, curves))
        heights = {k: np.log(np.maximum(v, 1e-30)) if self.log_scale else v for k, v in curves.items()}
        finite = np.concatenate([h[np.isfinite(h)] for h in heights.values()])
        low, high = finite.min(), finite.max()
        found = []
        for name, curve in curves.items():
            end = f" {curve[-1]:.4g} (lowest {np.nanmin(curve):.4g}, highest {np.nanmax(curve):.4g})"
            room = max(width - label - len(end) - 2, 8)
            found.append(f"{name:>{label}} {sparkline(heights[name], low, high, room)}{end}")
        return found


def sparkline(values: Array, low: float, high: float, width: int) -> str:
    """Numbers as blocks of heights between low and high, at most `width` of them; blanks for what is not finite."""
    cells = np.array_split(values, min(len(values), width))
    places = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    text = ""
    for cell in cells:
        finite = cell[np.isfinite(cell)]
        text += BLOCKS[round((finite.mean() - low) * places)] if finite.size else " "
    return text
