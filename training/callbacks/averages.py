"""Moving averages of the weights in the place of the weights."""

from __future__ import annotations

from typing import Any

from ...errors import RunError
from .base import Callback


class SwapEMAWeights(Callback):
    """Evaluate and predict with the moving averages of the weights, which an optimiser with use_ema=True keeps.

    swap_on_epoch: change weights and averages at the end of each epoch already, for callbacks which save the model.
    """

    kept = ("_ema_weights_in_model",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._ema_weights_in_model = False

    def _exchange(self, keep_weights: bool = False) -> None:
        """Weights and averages change places; keep_weights: the weights become the averages too."""
        model = self.model
        states = model.optimizer.averages(model.trainable_weights)
        missing = [s for s in states.values() if s not in model.states]
        if not states or missing:
            why = "the optimizer has not made a step yet" if states else "the optimizer has use_ema=False"
            raise RunError(f"SwapEMAWeights: there are no averages: {why}", hint="compile with use_ema=True, then fit")
        weights = {p.name: value for p, value in zip(model.weights, model.get_weights())}
        for name, state in states.items():
            average = model.states[state]
            before, weight = average.copy(), weights[name]
            weights[name] = weight if keep_weights else before
            average[...] = weight
        model.set_weights(list(weights.values()))

    def _put(self, averages: bool) -> None:
        if self._ema_weights_in_model != averages:
            self._exchange()
            self._ema_weights_in_model = averages

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put(averages=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch and not self._ema_weights_in_model:
            self._put(averages=True)
            if epoch == (self.params or {}).get("epochs", 0) - 1:
                self._exchange(keep_weights=True)  # `fit` ends with the averages in the model's weights

    def on_test_begin(self, logs: Any = None) -> None:
        self._put(averages=True)

    def on_test_end(self, logs: Any = None) -> None:
        self._put(averages=False)

    on_predict_begin, on_predict_end = on_test_begin, on_test_end
