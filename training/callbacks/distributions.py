"""How weights and gradients are spread, epoch by epoch."""

from __future__ import annotations

from typing import Any

from ...debug.distributions import Seen, add_look, gradients_of, ridges
from .base import Callback


class Distributions(Callback):
    """Note the distributions of all weights in training before the first and after each epoch, to be plotted.

        seen = Distributions(x[:64], y[:64])
        model.fit(x, y, epochs=10, callbacks=[seen])
        seen.plot_weights("weights.svg"), seen.plot_gradients("gradients.svg")

    x, y, sample_weight: a batch for the gradients of the loss; without one, only weights are noted.
    `weights` and `gradients`: statistics (mean, deviation, histogram, ...) by the weight's name, one for each look.
    """

    def __init__(self, x: Any = None, y: Any = None, sample_weight: Any = None) -> None:
        self.batch = None if x is None else (x, y, sample_weight)
        self.weights: Seen = {}
        self.gradients: Seen = {}

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.weights:  # a second `fit` goes on
            self._look()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look()

    def _look(self) -> None:
        add_look(self.weights, {p.name: p.numpy() for p in self.model.trainable_weights})
        if self.batch is not None:
            add_look(self.gradients, gradients_of(self.model, *self.batch))

    def plot_weights(self, path: Any = None) -> Any:
        """The weights by epoch as a figure of matplotlib, the first look at the bottom; written to `path`, if given."""
        return ridges(self.weights, "weights by epoch", path)

    def plot_gradients(self, path: Any = None) -> Any:
        """The gradients by epoch; RunError where the callback got no batch."""
        return ridges(self.gradients, "gradients by epoch", path)
