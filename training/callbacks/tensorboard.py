"""Files of events for TensorBoard."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import RunError, UnsupportedError
from .base import Callback
from .rates import rate_of


@dataclass(frozen=True)
class EventWriter:
    """A file of events in the making: add(name, value, step)."""

    add: Callable[[str, float, int], object]
    flush: Callable[[], object]
    close: Callable[[], object]


def _tensorboard(directory: str) -> EventWriter:
    writer = importlib.import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter(directory)
    event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
    summary = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary

    def add(name: str, value: float, step: int) -> None:
        figure = summary.Value(tag=name, simple_value=value)
        writer.add_event(event(wall_time=time.time(), step=step, summary=summary(value=[figure])))

    return EventWriter(add, writer.flush, writer.close)


def _tensorboard_x(directory: str) -> EventWriter:
    writer = importlib.import_module("tensorboardX").SummaryWriter(logdir=directory)
    return EventWriter(writer.add_scalar, writer.flush, writer.close)


EVENT_WRITERS = {"tensorboard": _tensorboard, "tensorboardX": _tensorboard_x}


class TensorBoard(Callback):
    """Write the figures for TensorBoard: `train` and `validation` under log_dir, with Keras' names.

    update_freq: "epoch", or "batch" or a number of batches for figures of batches too; write_steps_per_second: speed as
    well.  The package tensorboard or tensorboardX has to be there, else UnsupportedError.  Graphs are not written,
    whatever write_graph says; what else goes beyond figures raises UnsupportedError.
    """

    kept = ("_global_train_batch",)

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False, update_freq: Any = "epoch",
        profile_batch: Any = 0, embeddings_freq: int = 0, embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        more = {
            "histogram_freq": histogram_freq, "write_images": write_images, "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq, "embeddings_metadata": embeddings_metadata,
        }  # fmt: skip
        wrong = [f"{k}={v!r}" for k, v in more.items() if v]
        if wrong:
            raise UnsupportedError(f"TensorBoard: {', '.join(wrong)} not supported", hint="only figures are written")
        found = [make for package, make in EVENT_WRITERS.items() if importlib.util.find_spec(package)]
        if not found:
            raise UnsupportedError(
                "TensorBoard: neither tensorboard nor tensorboardX is installed", hint="pip install tensorboard"
            )
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise RunError(f"TensorBoard: update_freq={update_freq!r} is unknown", hint="'epoch', 'batch' or a number")
        self.log_dir, self.write_graph = os.fspath(log_dir), write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._make = found[0]
        self._writers: dict[str, EventWriter] = {}
        self._global_train_batch = 0
        self._batch_start = self._epoch_start = 0.0
        self._epoch_steps = 0

    def _writer(self, part: str) -> EventWriter:
        if part not in self._writers:
            self._writers[part] = self._make(os.path.join(self.log_dir, part))
        return self._writers[part]

    def _write(self, part: str, figures: Mapping[str, Any], step: int) -> None:
        for name, value in figures.items():
            if np.ndim(value) == 0:
                self._writer(part).add(name, float(value), step)

    def on_train_begin(self, logs: Any = None) -> None:
        self._global_train_batch = 0

    def on_train_end(self, logs: Any = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_test_end(self, logs: Any = None) -> None:
        step = getattr(self.model.optimizer, "iterations", None)
        if step is not None:
            figures = {f"evaluation_{k}_vs_iterations": v for k, v in (logs or {}).items()}
            self._write("validation", figures, int(step))
            self._writer("validation").flush()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._global_train_batch += 1
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self._global_train_batch
        if self.update_freq == "epoch" or step % self.update_freq:
            return
        figures = {f"batch_{k}": v for k, v in (logs or {}).items()}
        if self.write_steps_per_second:
            figures["batch_steps_per_second"] = 1.0 / max(time.perf_counter() - self._batch_start, 1e-9)
        self._write("train", figures, step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start, self._epoch_steps = time.perf_counter(), self._global_train_batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not logs:
            return
        train = {k: v for k, v in logs.items() if not k.startswith("val_")}
        train["learning_rate"] = rate_of(self.model.optimizer)
        if self.write_steps_per_second:
            taken = max(time.perf_counter() - self._epoch_start, 1e-9)
            train["steps_per_second"] = (self._global_train_batch - self._epoch_steps) / taken
        held_out = {k[4:]: v for k, v in logs.items() if k.startswith("val_")}
        for part, figures in (("train", train), ("validation", held_out)):
            if figures:
                self._write(part, {f"epoch_{k}": v for k, v in figures.items()}, epoch)
                self._writer(part).flush()
