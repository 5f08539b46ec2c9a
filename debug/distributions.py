"""Weights and gradients as distributions: a panel for each weight, in it a ridge for each time that it was looked at.

A layer whose gradients are a thousand times as small as those of the next, weights that no longer move, units that
have died: all that shows in the width of the ridges, and in how it changes from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backends.base import backend
from ..errors import RunError
from ..ir.builder import Builder
from ..passes.autodiff.engine import gradients
from ..passes.manager import Context, PassManager, pipeline
from .figures import new_figure, write_figure
from .weights import Statistics, statistics

Array = np.ndarray[Any, Any]

COLUMNS = 4  # panels beside one another
OVERLAP = 1.8  # the height of a ridge, the distance of two being 1
Seen = dict[str, list[Statistics]]


def gradients_of(model: Any, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, Array]:
    """The gradients of a compiled model's loss in training, on one batch, by the names of its trained weights."""
    graph, feed, names = model.loss_graph(x, y, sample_weight)
    inputs = list(graph.inputs)
    by_name = {v.name: v for v in inputs}
    graph.state = []  # a look changes nothing
    graph.set_outputs(gradients(Builder(graph), graph.outputs[:1], [by_name[name] for name in names]), names)
    chosen = backend("numpy")
    program = chosen.program(PassManager(pipeline("training"), Context(chosen.evaluate)).run(graph))
    return dict(zip(names, program(*(chosen.checked(v, feed[v.name]) for v in inputs))))


def add_look(seen: Seen, arrays: Mapping[str, Any]) -> None:
    """Note what arrays are like now; those that hold no numbers are left out."""
    for name, array in arrays.items():
        found = statistics(np.asarray(array))
        if found is not None:
            seen.setdefault(name, []).append(found)


def plot_weights(model: Any, path: Any = None) -> Any:
    """The weights in training as they are now; see `ridges`."""
    seen: Seen = {}
    add_look(seen, {p.name: p.numpy() for p in model.trainable_weights})
    return ridges(seen, f"weights of {model.name}", path)


def plot_gradients(model: Any, x: Any, y: Any = None, sample_weight: Any = None, path: Any = None) -> Any:
    """The gradients of the loss on one batch; see `ridges`."""
    seen: Seen = {}
    add_look(seen, gradients_of(model, x, y, sample_weight))
    return ridges(seen, f"gradients of {model.name}", path)


def ridges(seen: Mapping[str, Sequence[Statistics]], title: str, path: Any = None) -> Any:
    """A figure of matplotlib: for each name its distributions, the first at the bottom.

    path: an .svg, .png or .pdf file to write.  RunError where there is nothing to draw.
    """
    if not seen:
        raise RunError(f"{title}: there is nothing to draw", hint="a model without weights in training has none")
    columns = min(COLUMNS, len(seen))
    rows = -(-len(seen) // columns)
    figure = new_figure(3.0 * columns, 2.2 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for (name, looks), panel in zip(seen.items(), panels):
        _draw(panel, name, looks)
    for panel in panels:  # the iterator goes on where the names ended
        panel.set_visible(False)
    figure.suptitle(title)
    if path is not None:
        write_figure(figure, path)
    return figure


def _draw(panel: Any, name: str, looks: Sequence[Statistics]) -> None:
    """One panel; every ridge is as high as the others, so that only its form tells."""
    panel.set_title(name, fontsize=8)
    panel.tick_params(labelsize=7)
    panel.set_yticks([0, len(looks) - 1] if len(looks) > 1 else [])
    for number, look in reversed(list(enumerate(looks))):  # lower ones stand in front
        if look.min is None or look.max is None:
            continue
        edges = np.linspace(look.min, look.max, len(look.histogram) + 1)
        heights = OVERLAP * np.array(look.histogram) / max(look.histogram)
        colour = (0.1 + 0.5 * number / len(looks), 0.4, 0.6)
        panel.stairs(number + heights, edges, baseline=number, fill=True, color=colour, alpha=0.75)
    label = "" if looks[-1].std is None else f"last deviation {looks[-1].std:.2g}"
    panel.set_xlabel(label, fontsize=7)
