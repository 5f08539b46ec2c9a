"""`fit`, `evaluate`, `predict` and their like: the loops around compiled steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import RunError
from . import data
from .callbacks import CallbackList, History
from .compiled import METRICS
from .data import Batch, Batches
from .model import Model
from .runner import Runner
from .step import LOSS

Array = np.ndarray[Any, Any]
Logs = dict[str, Any]


class Tally:
    """The figures of an epoch so far: losses, weighted by the size of the batch as Keras' trackers do, and metrics.

    They live among the model's states, so that a training taken up in the middle of an epoch goes on with them.
    """

    def __init__(self, model: Model, keep: bool = False) -> None:
        self.arrays = model.states
        for name, array in self.arrays.items():
            if name.startswith(METRICS) and not keep:
                array[...] = 0
        self.runner: Runner | None = None

    def _total(self, name: str) -> Array:
        """(sum over samples, samples) of a loss."""
        return self.arrays.setdefault(f"{METRICS}total/{name}", np.zeros(2))

    def add(self, runner: Runner, losses: Sequence[float], size: int) -> None:
        """A batch has been seen."""
        self.runner = runner
        for name, value in zip([LOSS, *runner.step.losses], losses):
            self._total(name)[:] += (value * size, size) if name == LOSS else (value, 1)  # as Keras weighs them

    def logs(self) -> Logs:
        """The figures by name: the loss, the metrics, the single losses."""
        if self.runner is None:
            return {}
        step = self.runner.step
        means = {name: float(np.divide(*self._total(name))) for name in [LOSS, *step.losses]}
        found: Logs = {LOSS: means.pop(LOSS)}
        for measure in step.measures:
            prefix = measure.state("")
            state = {k.removeprefix(prefix): v for k, v in self.runner.resident.items() if k.startswith(prefix)}
            result = measure.metric.result(state)
            found[measure.label] = float(result) if np.ndim(result) == 0 else np.array(result)
        return {**found, **means}


def fit(
    model: Model, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
    callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: Any = True,
    class_weight: Mapping[int, float] | None = None, sample_weight: Any = None, initial_epoch: int = 0,
    steps_per_epoch: int | None = None, validation_steps: int | None = None,
    validation_batch_size: int | None = None, validation_freq: Any = 1,
) -> History:  # fmt: skip
    """Train for `epochs` epochs; the arguments and the History returned are Keras'.

    Ctrl-C ends the training after the step in progress and leaves the model as it is then.  Raises RunError or
    ShapeError where data do not fit the model.
    """
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = data.train_validation_split((x, y, sample_weight), validation_split)
    train = data.batches(
        x, y, sample_weight, batch_size=batch_size, steps=steps_per_epoch, shuffle=shuffle, seed=model.shuffle_seed,
        class_weight=class_weight,
    )  # fmt: skip
    held_out = None
    if validation_data is not None:
        held_out = data.validation_batches(
            validation_data, batch_size=validation_batch_size or batch_size, steps=validation_steps
        )
    _prepare(model, train.first)
    history = History()
    model.history = history
    params = {"verbose": verbose, "epochs": epochs, "steps": train.steps}
    calls = CallbackList(callbacks, model=model, history=history, params=params)
    model.stop_training, model.resume_at = False, None
    calls.on_train_begin()  # a backup may restore the model here, and say where to go on
    train.seed = model.shuffle_seed
    first, start = model.resume_at or (initial_epoch, 0)
    logs: Logs = {}
    for epoch in range(first, epochs):
        if train.ran_out():
            break
        logs = _epoch(model, train, epoch, calls, start if epoch == first else 0)
        if held_out is not None and _is_due(epoch + 1, validation_freq):
            found = _evaluate(model, held_out, calls)
            logs.update({f"val_{name}": value for name, value in found.items()})
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    _finish(model)
    calls.on_train_end(logs)
    return history


def _epoch(model: Model, train: Batches, epoch: int, calls: CallbackList, start: int) -> Logs:
    """One epoch from batch number `start` on."""
    calls.on_epoch_begin(epoch)
    tally = Tally(model, keep=start > 0)
    for number, batch in enumerate(train.epoch(epoch, start), start):
        calls.on_train_batch_begin(number)
        with whole_steps():
            tally.add(*model.run_step(True, batch.x, batch.y, batch.sample_weight), batch.size)
        calls.on_train_batch_end(number, tally.logs())
        if model.stop_training:
            break
    if tally.runner is None:
        raise RunError("there was no batch to train on", hint="the data are empty, or a generator has run out")
    return tally.logs()


@contextmanager
def whole_steps() -> Iterator[None]:
    """Ctrl-C inside waits for the end, so that no step is left half done; a second one does not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[Any] = []

    def wait(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        raise KeyboardInterrupt


def _finish(model: Model) -> None:
    """Moving averages of weights take their places, where the optimiser keeps some."""
    optimizer = model.compiled().optimizer
    by_name = {p.name: p for p in model.trainable_weights}
    for name, state in optimizer.averages(list(by_name.values())).items():
        by_name[name].assign(model.states[state])


def _prepare(model: Model, first: Callable[[], Batch]) -> None:
    """Build a model that waits for the first batch to tell its input shape."""
    if not model.knows_its_input:
        model.build(np.shape(first().x))


def _is_due(epoch: int, frequency: Any) -> bool:
    return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency


def evaluate(
    model: Model, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
    sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
) -> Any:  # fmt: skip
    """The loss and the metrics on data: a number, a list in the order of `metrics_names`, or a dict by name."""
    held_out = data.batches(x, y, sample_weight, batch_size=batch_size, steps=steps)
    _prepare(model, held_out.first)
    calls = CallbackList(callbacks, model=model, params={"verbose": verbose, "steps": held_out.steps, "epochs": 1})
    return _returned(_evaluate(model, held_out, calls), return_dict)


def _evaluate(model: Model, held_out: Batches, calls: CallbackList) -> Logs:
    calls.on_test_begin()
    tally = Tally(model)
    for number, batch in enumerate(held_out.epoch(0)):
        calls.on_test_batch_begin(number)
        tally.add(*model.run_step(False, batch.x, batch.y, batch.sample_weight), batch.size)
        calls.on_test_batch_end(number, tally.logs())
    logs = tally.logs()
    calls.on_test_end(logs)
    return logs


def _returned(logs: Logs, return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def predict(
    model: Model, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
    callbacks: Any = None,
) -> Any:  # fmt: skip
    """What the model makes of many samples, batch by batch, as in inference; joined along axis 0."""
    batches = data.batches(x, batch_size=batch_size, steps=steps)
    _prepare(model, batches.first)
    calls = CallbackList(callbacks, model=model, params={"verbose": verbose, "steps": batches.steps, "epochs": 1})
    calls.on_predict_begin()
    parts: list[dict[str, Any]] = []
    for number, batch in enumerate(batches.epoch(0)):
        calls.on_predict_batch_begin(number)
        parts.append(model.infer(batch.x))
        calls.on_predict_batch_end(number, {"outputs": parts[-1]})
    calls.on_predict_end()
    if not parts:
        raise RunError("there was no batch to predict", hint="the data are empty, or a generator has run out")
    return model.packed({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def on_batch(
    model: Model, train: bool, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool
) -> Any:
    """train_on_batch and test_on_batch: one step, and the figures of this batch alone."""
    batch = data.single_batch(x, y, sample_weight, class_weight)
    _prepare(model, lambda: batch)
    tally = Tally(model)
    tally.add(*model.run_step(train, batch.x, batch.y, batch.sample_weight), batch.size)
    return _returned(tally.logs(), return_dict)
